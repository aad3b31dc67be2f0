"""`layerview whose`: whose something below a data root is, and where somebody's bytes lie."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import suppress

from layerview.cli.area import in_own_area, is_mine, settle_root
from layerview.cli.options import parser
from layerview.cli.output import print_json
from layerview.cli.roots import say_lines
from layerview.errors import LayerviewError, NotFoundError, UsageError
from layerview.sizes import format_size
from layerview.store.answers import Answer, Place
from layerview.store.data_root import DataRoot
from layerview.store.inventory import ImageUse
from layerview.store.root_paths import root_of
from layerview.store.saved_account import path_fields
from layerview.store.whose import Whose
from layerview.store.whose_words import TYPES, Words
from layerview.text import printable

_KINDS = {
    "layer": "a layer",
    "container": "a container",
    "init": "the init layer of a container",
    "volume": "a volume",
    "cache": "build cache",
    "orphan": "an orphan: no image, container or build cache refers to it",
    "image": "an image",
    "log": "the log of a container",
    "metadata": "metadata",
    "temporary": "temporary",
    "other": "nothing that is known",
}


def run(words: Sequence[str]) -> int:
    """Print whose something is."""
    made = parser(
        "whose",
        "Say which image, layer and containers something below a data root belongs to: a path,\n"
        "also deep in a layer; a folder of a driver by its ID, a layer by DiffID or ChainID, a\n"
        "volume. Of an image or a container it says where its bytes lie.",
        example="layerview whose /var/lib/docker/overlay2/3f2a…/diff/usr/bin",
        reads=False,
    )
    made.add_argument("what", metavar="PATH|ID|NAME")
    made.add_argument(
        "--type", choices=TYPES, help="what it is, where a name may be several things"
    )
    made.add_argument(
        "--root",
        metavar="PATH",
        help="a Docker data root; else the one that a path lies in, or the storage area",
    )
    arguments = made.parse_args(words)
    what: str = arguments.what
    if not what:
        raise UsageError("a path, an ID or a name is needed")
    arguments.query = what
    arguments.is_own = not arguments.root
    if _is_path(arguments):
        arguments.type = "path"
        if arguments.is_own:
            root, arguments.what = root_of(what)
            arguments.root = root.path
            arguments.is_own = root.path == _default_root()
        else:
            root = os.path.abspath(arguments.root)
            place = os.path.abspath(what)
            # From where one is, or from the root.
            inside = os.path.commonpath((place, root)) == root
            arguments.what = place if inside else os.path.join(root, what)
    settle_root(arguments)
    if arguments.is_own and not os.path.lexists(os.path.join(arguments.root, "image")):
        raise NotFoundError(
            f"there is no storage area at {printable(arguments.root)} yet; name an engine's data"
            f" root with --root to ask for {printable(what[:120])} there"
        )
    if arguments.is_own or is_mine(arguments.root):
        return in_own_area(arguments, lambda: _whose(arguments))
    return _whose(arguments)


def _is_path(arguments: argparse.Namespace) -> bool:
    """Whether a path was asked about: it looks like one, or names a file of a data root here."""
    what = arguments.what
    if arguments.type is not None:
        return bool(arguments.type == "path")
    if os.path.isabs(what) or what.startswith("."):
        return True
    # Of what is gone, a record may speak still.
    there = os.path.lexists(what) or ("/" in what and os.path.isdir(os.path.dirname(what)))
    if arguments.root or not there:
        return False
    with suppress(LayerviewError):
        root_of(what)
        return True
    return False


def _default_root() -> str:
    from layerview.store.area import default_root

    return default_root()


def _whose(arguments: argparse.Namespace) -> int:
    root = DataRoot(arguments.root)
    known = Whose(root)
    answer = _asked(known, arguments)
    answer = known.measured(answer, lambda: False)
    if arguments.json:
        print_json(_document(answer, arguments))
    else:
        _print(answer, root, arguments)
    return say_lines(known.problems)


def _asked(known: Whose, arguments: argparse.Namespace) -> Answer:
    what, type_ = arguments.what, arguments.type
    if type_ == "path":
        return known.of_path(what)
    try:
        return Words(known).find(what, type_)
    except NotFoundError as error:
        # A name of a file here: in a folder of the root, or below the root itself.
        for place in (os.path.abspath(what), os.path.join(arguments.root, what)):
            inside = os.path.commonpath((place, arguments.root)) == arguments.root
            if type_ is None and inside and os.path.lexists(place):
                return known.of_path(place)
        if arguments.is_own:
            raise NotFoundError(f"{error}; for an engine's data root: --root PATH") from None
        raise


# Printing ------------------------------------------------------------------------------------


def _document(answer: Answer, arguments: argparse.Namespace) -> dict[str, object]:
    layer = answer.layer
    path = path_fields(answer.path) if answer.path else {"path": None}
    inside = {"inside": None} if answer.inside is None else path_fields(answer.inside, "inside")
    return {
        "query": arguments.query,
        "kind": answer.kind,
        **path,
        "root": arguments.root,
        "driver": answer.driver or None,
        "cache_id": answer.cache_id or None,
        "diff_id": str(layer.diff_id) if layer is not None else None,
        "chain_id": str(layer.chain_id) if layer is not None else None,
        "bytes": answer.bytes,
        "unique_bytes": answer.bytes_alone,
        **inside,
        "images": [
            {"reference": reference, "image_id": str(image.record.image_id), "layer": number}
            for image, number in answer.images
            for reference in _references(image)
        ],
        "containers": [{"id": one.id, "name": one.name} for one in answer.containers],
        "orphan": answer.orphan,
        "note": answer.note or None,
        "places": [_place_fields(place) for place in answer.places],
    }


def _references(image: ImageUse) -> tuple[str | None, ...]:
    return image.record.references or image.record.digests or (None,)


def _place_fields(place: Place) -> dict[str, object]:
    layer = place.layer
    return {
        "kind": place.kind,
        **path_fields(place.path),
        "bytes": place.bytes,
        "layer": place.number,
        "cache_id": layer.cache_id if layer is not None else None,
        "diff_id": str(layer.diff_id) if layer is not None else None,
        "chain_id": str(layer.chain_id) if layer is not None else None,
        "shared": place.shared,
        "own": place.own,
    }


def _print(answer: Answer, root: DataRoot, arguments: argparse.Namespace) -> None:
    def size(count: int | None) -> str:
        return "?" if count is None else format_size(count, binary=arguments.binary)

    what = _KINDS[answer.kind]
    print(f"{printable(answer.path or arguments.query)}: {what}, {size(answer.bytes)}")
    lines = []
    if answer.inside not in (None, "/"):
        lines.append(("there as", printable(str(answer.inside))))
    if answer.layer is not None:
        lines += [
            ("DiffID", str(answer.layer.diff_id)),
            ("ChainID", str(answer.layer.chain_id)),
        ]
    if answer.cache_id:
        lines.append(("driver", f"{answer.driver}, {answer.cache_id}"))
    if answer.kind == "image" and answer.bytes != answer.bytes_alone:
        lines.append(("alone", f"{size(answer.bytes_alone)} of it: others need the rest, too"))
    for image, number in answer.images:
        names = ", ".join(printable(name) for name in _references(image) if name) or "no name"
        which = f", its layer {number}" if number is not None else ""
        lines.append(("image", f"{names} ({image.record.image_id.short}){which}"))
    for one in answer.containers:
        lines.append(("container", f"{printable(one.name) or 'gone'} ({one.id[:12]})"))
    if answer.note:
        lines.append(("note", printable(answer.note)))
    for label, text in lines:
        print(f"  {label:<10} {text}")
    if len(answer.places) > 1 or not answer.path:
        print("\nIts bytes:\n")
        for place in answer.places:
            words = place.kind.replace("_", " ")
            if place.number is not None:
                words += f" {place.number}"
            if place.shared:
                words += ", shared"
            elif place.kind == "volume" and not place.own:
                words += ", used"
            print(f"  {size(place.bytes):>9}   {words:<22}   {printable(place.path)}")
    if answer.kind == "orphan":
        print(f"\n`layerview usage {printable(root.path)}` says how it can be deleted safely.")
