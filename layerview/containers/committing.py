"""Making an image of what a container changed, as `docker commit` does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain

from layerview.errors import UsageError
from layerview.oci.digest import Digest
from layerview.oci.platform import Platform
from layerview.oci.reference import Reference
from layerview.progress import QUIET, Progress
from layerview.store.data_root import ContainerRecord, ImageRecord
from layerview.store.writing import Writing
from layerview.text import printable

_EMPTY_TAR = 1024
"""Bytes of a tar without an entry: such a layer is none (moby, layer.IsEmpty)."""
_INSTRUCTIONS = (
    *("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "ONBUILD", "USER", "VOLUME", "WORKDIR"),
    "STOPSIGNAL",
)


class _Pieces:
    """An iterator of bytes that is read like a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def read(self, size: int, /) -> bytes:
        """See Readable."""
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._left = piece
        found, self._left = self._left[:size], self._left[size:]
        return found


def commit(
    writing: Writing,
    container: ContainerRecord,
    document: Mapping[str, object],
    base: ImageRecord,
    *,
    reference: Reference | None = None,
    author: str = "",
    message: str = "",
    changes: Sequence[str] = (),
    progress: Progress = QUIET,
) -> Digest:
    """Make an image of a container's layer on top of its image; return the image's ID.

    Args:
        writing: of the area.
        container: whose layer.
        document: its config.v2.json.
        base: its image.
        reference: names the new image.
        author: of the image.
        message: its comment.
        changes: Dockerfile instructions that change its config.
        progress: told about the packing.
    """
    config = _config(document)
    for line in changes:
        _change(config, line)
    driver = writing.driver(container.driver)
    below = base.chain_ids[-1] if base.chain_ids else None
    # The layers below stay while this goes on, whatever is deleted meanwhile.
    writing.hold(container.driver, base.chain_ids)
    pieces = driver.diff(container.mount_id, container.init_id or None)
    first = b""
    for piece in pieces:
        first += piece
        if len(first) > _EMPTY_TAR:
            break
    diff_ids = list(map(str, base.config.diff_ids))
    empty = len(first) <= _EMPTY_TAR and not first.strip(b"\0")
    if not empty:
        _, diff_id = writing.add_layer(
            container.driver,
            below,
            _Pieces(chain([first], pieces)),
            progress=progress,
            what=f"the layer of container {container.id[:12]}",
        )
        diff_ids.append(str(diff_id))
    data = _image(container, document, base, config, diff_ids, author, message, empty)
    image_id = writing.add_image(container.driver, data)
    if reference is not None:
        writing.tag(container.driver, reference, image_id)
    writing.note_parent(container.driver, image_id, base.image_id)
    return image_id


def _config(document: Mapping[str, object]) -> dict[str, object]:
    found = document.get("Config")
    return dict(found) if isinstance(found, dict) else {}


def _image(
    container: ContainerRecord,
    document: Mapping[str, object],
    base: ImageRecord,
    config: Mapping[str, object],
    diff_ids: Sequence[str],
    author: str,
    message: str,
    empty: bool,
) -> bytes:
    """Write the config (moby, image.NewChildImage)."""
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    before = json.loads(base.config.raw)
    command = _config(document).get("Cmd")
    words = command if isinstance(command, list) else []
    step: dict[str, object] = {"created": now}
    if author:
        step["author"] = author
    step["created_by"] = " ".join(map(str, words))
    if message:
        step["comment"] = message
    if empty:
        step["empty_layer"] = True
    own = Platform.host()
    made: dict[str, object] = {
        "architecture": base.config.architecture or own.architecture,
        "config": config,
        "container": container.id,
        "container_config": _config(document),
        "created": now,
        "history": [*(before.get("history") or []), step],
        "os": base.config.os or own.os,
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    }
    if author:
        made["author"] = author
    if message:
        made["comment"] = message
    for key in ("variant", "os.version"):
        if before.get(key):
            made[key] = before[key]
    return json.dumps(dict(sorted(made.items())), separators=(",", ":")).encode()


def _change(config: dict[str, object], line: str) -> None:
    """Carry out a Dockerfile instruction that changes the config alone."""
    word, _, rest = line.strip().partition(" ")
    name, rest = word.upper(), rest.strip()
    if name not in _INSTRUCTIONS or not rest:
        raise UsageError(
            f"{printable(line[:80])!r} is no change: {', '.join(_INSTRUCTIONS)} and what follows"
        )
    if name in ("CMD", "ENTRYPOINT"):
        config[name.capitalize()] = _list(rest) or ["/bin/sh", "-c", rest]
        if name == "ENTRYPOINT":
            config["Cmd"] = None
    elif name == "ENV":
        entries = list(map(str, _array(config, "Env")))
        for key, value in _pairs(rest, line):
            entries = [entry for entry in entries if entry.partition("=")[0] != key]
            entries.append(f"{key}={value}")
        config["Env"] = entries
    elif name == "LABEL":
        labels = config.get("Labels")
        config["Labels"] = {**(labels if isinstance(labels, dict) else {}), **_pairs_of(rest, line)}
    elif name in ("EXPOSE", "VOLUME"):
        key = "ExposedPorts" if name == "EXPOSE" else "Volumes"
        words = (_list(rest) if name == "VOLUME" else None) or rest.split()
        if name == "EXPOSE":
            words = [each if "/" in each else f"{each}/tcp" for each in words]
        held = config.get(key)
        config[key] = {**(held if isinstance(held, dict) else {}), **{each: {} for each in words}}
    elif name == "ONBUILD":
        config["OnBuild"] = [*_array(config, "OnBuild"), rest]
    elif name == "USER":
        config["User"] = rest
    elif name == "STOPSIGNAL":
        config["StopSignal"] = rest
    else:
        import posixpath

        config["WorkingDir"] = posixpath.join(str(config.get("WorkingDir") or "/"), rest)


def _array(config: Mapping[str, object], key: str) -> list[object]:
    found = config.get(key)
    return found if isinstance(found, list) else []


def _list(text: str) -> list[str] | None:
    """Read the form `["a", "b"]`; None when it is another."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    whole = isinstance(found, list) and all(isinstance(each, str) for each in found)
    return found if whole else None


def _pairs(text: str, line: str) -> Iterator[tuple[str, str]]:
    import shlex

    try:
        words = shlex.split(text)
    except ValueError:
        raise UsageError(f"{printable(line[:80])!r}: a quotation mark is missing") from None
    if words and "=" not in words[0]:
        # The old form: ENV KEY all the rest.
        yield words[0], text.partition(" ")[2].strip()
        return
    for word in words:
        key, sign, value = word.partition("=")
        if not key or not sign:
            raise UsageError(f"{printable(line[:80])!r}: {printable(word)} is not KEY=value")
        yield key, value


def _pairs_of(text: str, line: str) -> dict[str, str]:
    return dict(_pairs(text, line))
