"""`layerview images`: the images of the storage area, or of a Docker data root."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from layerview.cli.options import parser
from layerview.cli.output import print_json, table
from layerview.cli.roots import add_root_options, inventory, say_problems
from layerview.errors import UsageError
from layerview.oci.instruction import instruction
from layerview.oci.reference import Reference
from layerview.sizes import format_size
from layerview.store.data_root import LayerRecord
from layerview.store.inventory import ImageUse, Inventory
from layerview.text import printable
from layerview.times import ago, seconds_of, utc

_FILTERS = ("before", "dangling", "label", "reference", "since")


def run(words: Sequence[str]) -> int:
    """Print images, the newest first."""
    made = parser(
        "images",
        "Print the images of the storage area, or of a Docker data root, as docker images does.",
        example="layerview images --root /var/lib/docker --tree",
        reads=False,
    )
    made.add_argument("reference", metavar="REFERENCE", nargs="?", help="as --filter reference=…")
    made.add_argument("-a", "--all", action="store_true", help="steps on the way to others, too")
    made.add_argument(
        "-f",
        "--filter",
        metavar="WHAT=VALUE",
        action="append",
        default=[],
        help=f"{', '.join(_FILTERS[:-1])} or {_FILTERS[-1]}",
    )
    made.add_argument("--digests", action="store_true", help="registries' digests, too")
    made.add_argument("--no-trunc", action="store_true", help="do not shorten IDs")
    made.add_argument("-q", "--quiet", action="store_true", help="print IDs alone")
    made.add_argument("--tree", action="store_true", help="the layers as a tree: who shares what")
    add_root_options(made)
    arguments = made.parse_args(words)
    found = inventory(arguments)
    images = _chosen(found, arguments) if found is not None else []
    if arguments.json:
        print_json([image_fields(image, str(arguments.place)) for image in images])
    elif arguments.quiet:
        for image in images:
            print(_id(image, arguments))
    elif arguments.tree:
        _print_tree(images, arguments)
    else:
        _print(images, arguments)
    return say_problems(found)


def image_fields(image: ImageUse, place: str) -> dict[str, object]:
    """Return an image's fields, as `images --json` prints them."""
    record = image.record
    whole = image.is_whole
    return {
        "references": list(record.references),
        "image_id": str(record.image_id),
        "created": utc(record.config.created),
        "size": image.size if whole else None,
        "shared_size": image.shared_size if whole else None,
        "unique_size": image.unique_size if whole else None,
        "layers": len(record.chain_ids),
        "containers": len(image.containers),
        "place": place,
        "driver": record.driver,
        "digests": list(record.digests),
        "parent": str(record.parent) if record.parent is not None else None,
    }


def _id(image: ImageUse, arguments: argparse.Namespace) -> str:
    image_id = image.record.image_id
    return str(image_id) if arguments.no_trunc else image_id.short


# Choosing ------------------------------------------------------------------------------------


def _chosen(found: Inventory, arguments: argparse.Namespace) -> list[ImageUse]:
    images = found.images if arguments.all else found.listed
    wanted = [_split(text) for text in arguments.filter]
    references = [value for what, value in wanted if what == "reference"]
    if arguments.reference is not None:
        references.append(arguments.reference)
    if references:
        matching = [_matcher(text) for text in references]
        images = [kept for image in images if (kept := _with_names(image, matching)) is not None]
    for what, value in wanted:
        if what == "dangling":
            # As Docker does even with --all: steps on the way to another image are neither.
            images = [
                image
                for image in images
                if image.is_dangling is _truth(value) and not image.is_intermediate
            ]
        elif what == "label":
            images = [image for image in images if _has_label(image, value)]
        elif what in ("before", "since"):
            limit = _created(found.image(value))
            later = what == "since"
            images = [
                image
                for image in images
                if (_created(image) > limit if later else _created(image) < limit)
            ]
    return images


def _split(text: str) -> tuple[str, str]:
    what, equals, value = text.partition("=")
    if what not in _FILTERS or not equals:
        raise UsageError(
            f"--filter {printable(text)}: it takes {', '.join(f'{name}=…' for name in _FILTERS)}"
        )
    return what, value


def _truth(text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise UsageError(f"--filter dangling={printable(text)}: it is true or false")


def _has_label(image: ImageUse, wanted: str) -> bool:
    labels = image.record.config.config.get("Labels")
    key, equals, value = wanted.partition("=")
    return isinstance(labels, dict) and key in labels and (not equals or labels[key] == value)


def _created(image: ImageUse) -> float:
    created = seconds_of(image.record.config.created)
    return created if created is not None else float("-inf")


def _matcher(pattern: str) -> Callable[[str], bool]:
    """Make a test of a familiar reference, with or without its tag (Docker: FamiliarMatch)."""
    parts = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        end = pattern.find("]", at + 2) if char == "[" else -1
        if char == "*":
            parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif end > 0:
            inside = pattern[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"(?!/)[{inside}]")
            at = end
        else:
            parts.append(re.escape(char))
        at += 1
    try:
        compiled = re.compile("".join(parts))
    except re.error:
        raise UsageError(f"{printable(pattern)} is no pattern of references") from None

    def matches(name: str) -> bool:
        if compiled.fullmatch(name):
            return True
        return compiled.fullmatch(Reference.parse(name).familiar_name) is not None

    return matches


def _with_names(image: ImageUse, matching: list[Callable[[str], bool]]) -> ImageUse | None:
    """Keep of an image's names those that match; None when none does."""
    record = image.record

    def kept(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if any(matches(name) for matches in matching))

    references, digests = kept(record.references), kept(record.digests)
    if not references and not digests:
        return None
    return replace(image, record=record._replace(references=references, digests=digests))


# Tables --------------------------------------------------------------------------------------


def name_rows(image: ImageUse, *, digests: bool = False) -> list[tuple[str, str, str]]:
    """Return repository, tag and digest of each line that Docker gives an image."""
    tags: dict[str, list[str]] = {}
    known: dict[str, list[str]] = {}
    for name in image.record.references:
        repository, _, tag = name.rpartition(":")
        tags.setdefault(repository, []).append(tag)
    for name in image.record.digests:
        repository, _, digest = name.rpartition("@")
        known.setdefault(repository, []).append(digest)
    rows = []
    for repository in dict.fromkeys([*tags, *known]):
        sums = known.get(repository, ["<none>"]) if digests else ["<none>"]
        rows += [
            (repository, tag, digest) for digest in sums for tag in tags.get(repository, ["<none>"])
        ]
    return rows or [("<none>", "<none>", "<none>")]


def _print(images: list[ImageUse], arguments: argparse.Namespace) -> None:
    now = time.time()
    heading = ["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE", "SHARED", "UNIQUE"]
    rows = [heading]
    for image in images:
        sizes = [
            format_size(size, binary=arguments.binary) if image.is_whole else "?"
            for size in (image.size, image.shared_size, image.unique_size)
        ]
        created = ago(image.record.config.created, now)
        for repository, tag, digest in name_rows(image, digests=arguments.digests):
            rows.append([repository, tag, digest, _id(image, arguments), created, *sizes])
    if not arguments.digests:
        rows = [[*row[:2], *row[3:]] for row in rows]
    end = len(rows[0])
    table(rows, right=range(end - 3, end))


@dataclass(slots=True)
class _Branch:
    """A layer in the tree, with the layers on it and the images whose top it is."""

    layer: LayerRecord
    made_by: str
    children: list[_Branch]
    tops: list[ImageUse]


def _print_tree(images: list[ImageUse], arguments: argparse.Namespace) -> None:
    """Print the layers as a tree: a layer that several images have stands there once."""
    branches: dict[tuple[str, str], _Branch] = {}
    roots: list[_Branch] = []
    for image in images:
        history = [step for step in image.record.config.history if not step.empty_layer]
        siblings = roots
        branch: _Branch | None = None
        for number, layer in enumerate(image.layers):
            key = (layer.driver, str(layer.chain_id))
            branch = branches.get(key)
            if branch is None:
                step = history[number] if number < len(history) else None
                branch = branches[key] = _Branch(layer, instruction(step), [], [])
                siblings.append(branch)
            siblings = branch.children
        if branch is not None:
            branch.tops.append(image)
    width = os.get_terminal_size().columns if os.isatty(1) else None
    for branch in roots:
        for line in _tree_lines(branch, arguments):
            print(line if width is None or len(line) <= width else line[: width - 1] + "…")
    for image in images:
        if not image.layers:
            print(f"{_named(image)}   {_id(image, arguments)}   no layers")


def _tree_lines(root: _Branch, arguments: argparse.Namespace) -> Iterator[str]:
    # An explicit stack: an image may have more layers than Python's own allows for.
    waiting: list[tuple[_Branch, str, str]] = [(root, "", "")]
    while waiting:
        branch, first, rest = waiting.pop()
        # Layers with one child and no image on top stand below one another: only forks indent.
        layer = branch.layer
        size = format_size(layer.size, binary=arguments.binary)
        name = str(layer.chain_id) if arguments.no_trunc else layer.chain_id.short
        yield f"{first}{name}  {size:>9}  {branch.made_by}".rstrip()
        for image in branch.tops:
            bar = "│ " if branch.children else "  "
            used = len(image.containers)
            containers = f", {used} container{'s' if used != 1 else ''}" if used else ""
            whole = format_size(image.size, binary=arguments.binary)
            unique = format_size(image.unique_size, binary=arguments.binary)
            yield (
                f"{rest}{bar}= {_named(image)}   {_id(image, arguments)}"
                f"   {whole}, {unique} its own{containers}"
            )
        last = len(branch.children) - 1
        if last == 0:
            waiting.append((branch.children[0], rest, rest))
            continue
        for at in range(last, -1, -1):
            ends = at == last
            waiting.append(
                (
                    branch.children[at],
                    rest + ("└─ " if ends else "├─ "),
                    rest + ("   " if ends else "│  "),
                )
            )


def _named(image: ImageUse) -> str:
    names = image.record.references or image.record.digests
    return printable(", ".join(names)) or "<none>"
