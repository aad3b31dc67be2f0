"""The demo image's recipe: what assets/demo-image.toml says, as types."""

from __future__ import annotations

import base64
import tomllib
from dataclasses import dataclass, field
from typing import Any

from layerview.errors import FormatError

RECIPE = "demo-image.toml"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a step does to the file system."""

    path: str
    kind: str
    """file, folder, link, hardlink, fifo, edit, again (stored once more), delete or opaque."""
    data: bytes = b""
    target: str = ""
    edit: tuple[str, str] = ("", "")
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    xattrs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the history, and what its layer holds; `empty`: it has no layer."""

    created: str
    command: str
    empty: bool
    programs: bool
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps, and the images that are made of the first so many of them."""

    programs: tuple[str, ...]
    steps: tuple[Step, ...]
    images: tuple[tuple[str, int], ...]
    """References and numbers of steps."""


def parse_recipe(text: str) -> Recipe:
    """Read a recipe.

    Raises:
        FormatError: when it is not one.
    """
    try:
        document = tomllib.loads(text)
        return Recipe(
            programs=tuple(document["programs"]),
            steps=tuple(_step(item) for item in document["step"]),
            images=tuple((item["reference"], item["steps"]) for item in document["image"]),
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"the recipe of the demo image is broken: {error!r}") from None


def _step(item: dict[str, Any]) -> Step:
    return Step(
        created=item["created"],
        command=item["command"],
        empty=item.get("empty", False),
        programs=item.get("programs", False),
        entries=tuple(_entry(entry) for entry in item.get("entry", ())),
    )


def _entry(item: dict[str, Any]) -> Entry:
    path: str = item["path"]
    common: dict[str, Any] = {
        "path": path.rstrip("/"),
        "mode": int(item["mode"], 8) if "mode" in item else None,
        "uid": item.get("uid", 0),
        "gid": item.get("gid", 0),
        "xattrs": item.get("xattr", {}),
    }
    if item.get("delete"):
        return Entry(kind="delete", **common)
    if item.get("opaque"):
        return Entry(kind="opaque", **common)
    if path.endswith("/"):
        return Entry(kind="folder", **common)
    if item.get("fifo"):
        return Entry(kind="fifo", **common)
    if "link" in item:
        return Entry(kind="link", target=item["link"], **common)
    if "hardlink" in item:
        return Entry(kind="hardlink", target=item["hardlink"], **common)
    if "edit" in item:
        pattern, replacement = item["edit"]
        return Entry(kind="edit", edit=(pattern, replacement), **common)
    if "base64" in item:
        return Entry(kind="file", data=base64.b64decode(item["base64"]), **common)
    if "text" in item:
        # A multi-line text starts on the line below its quotes for the eye's sake alone.
        text: str = item["text"]
        repeat: int = item.get("repeat", 1)
        if repeat > 1:
            text = "".join(text.replace("{n}", f"{number:05}") for number in range(repeat))
        return Entry(kind="file", data=text.encode(), **common)
    return Entry(kind="again", **common)
