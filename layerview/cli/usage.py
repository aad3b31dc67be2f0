"""`layerview usage`: where the disk went, every byte below a data root, and whose it is."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from layerview.cli.area import in_own_area, is_mine, settle_root
from layerview.cli.options import TerminalProgress, parser
from layerview.cli.output import print_json, table
from layerview.cli.roots import say_lines
from layerview.errors import FormatError, LayerviewError, NotFoundError, UsageError
from layerview.sizes import format_size
from layerview.store.account import KINDS, Account, Part
from layerview.store.data_root import DataRoot
from layerview.store.root_paths import root_of
from layerview.store.safe_ways import SafeWays
from layerview.store.saved_account import (
    Changed,
    SavedAccount,
    account_fields,
    changes,
    part_fields,
    read_saved,
)
from layerview.store.tree_size import LEFT_OUT
from layerview.text import printable

LABELS = {
    "image_layer": "Image layers",
    "container_layer": "Containers' layers",
    "init_layer": "Their init layers",
    "log": "Containers' logs",
    "volume": "Volumes",
    "build_cache": "Build cache",
    "metadata": "Metadata",
    "temporary": "Temporary",
    "orphan": "Orphans",
    "other": "Other",
}
_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LARGEST = 10
"""Parts and changes that are shown without -v."""
_TOLD = ("volume", "build_cache", "temporary")
"""Kinds of parts whose space may be had back, besides orphans."""


def run(words: Sequence[str]) -> int:
    """Print what takes the space below a data root."""
    made = parser(
        "usage",
        "Say what takes the space below a Docker data root, to the byte, as du counts: layers,\n"
        "containers, logs, volumes, build cache, and orphans, which belong to nobody. Nothing is\n"
        "changed. Without DATA_ROOT it is the storage area.",
        example="layerview usage /var/lib/docker",
        reads=False,
    )
    made.add_argument("data_root", metavar="DATA_ROOT", nargs="?", help="as --root DATA_ROOT")
    made.add_argument(
        "--root",
        metavar="PATH",
        help="a Docker data root; else the storage area (or set LAYERVIEW_ROOT)",
    )
    made.add_argument(
        "--since", metavar="FILE", help="what changed since `usage --json` printed FILE"
    )
    made.add_argument(
        "--kind",
        metavar="K",
        action="append",
        default=[],
        help=f"only parts of a kind: {', '.join(KINDS)}",
    )
    made.add_argument("-v", "--verbose", action="store_true", help="all parts, not the largest")
    arguments = made.parse_args(words)
    if arguments.data_root and arguments.root:
        raise UsageError("DATA_ROOT and --root are two words for one thing: name it once")
    for word in (arguments.data_root, arguments.root, arguments.since):
        if word == "":
            raise UsageError("a path is empty: DATA_ROOT, --root and --since need one")
    arguments.root = arguments.data_root or arguments.root
    for kind in arguments.kind:
        if kind not in KINDS:
            raise UsageError(f"--kind {printable(kind[:40])}: it takes {', '.join(KINDS)}")
    saved = read_saved(arguments.since) if arguments.since else None
    own = not arguments.root
    settle_root(arguments)
    if own and not os.path.lexists(os.path.join(arguments.root, "image")):
        raise NotFoundError(
            f"there is no storage area at {printable(arguments.root)} yet; for an engine's data"
            " root: layerview usage /var/lib/docker"
        )
    if own or is_mine(arguments.root):
        return in_own_area(arguments, lambda: _usage(arguments, saved))
    return _usage(arguments, saved)


def _data_root(path: str) -> DataRoot:
    """Open a data root; of a folder in one, say how to ask for it."""
    try:
        return DataRoot(path)
    except FormatError as error:
        with suppress(NotFoundError):
            root, _ = root_of(path)
            way = f"`layerview whose {printable(path)}` says whose it is"
            raise FormatError(f"{error}, but lies in {printable(root.path)}: {way}") from None
        raise


def _usage(arguments: argparse.Namespace, saved: SavedAccount | None) -> int:
    from layerview.store.usage import account

    root = _data_root(arguments.root)
    time = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    progress = TerminalProgress()
    found = account(root, progress=progress)
    progress.clear()
    ways, shared = SafeWays(root), _shared(root, found)
    changed = changes(saved.account, found) if saved is not None else []
    if arguments.kind:
        changed = [one for one in changed if {one.part.kind, one.was} & {*arguments.kind}]
    if arguments.json:
        document = account_fields(found, time)
        document["parts"] = [
            part_fields(part) | {"shared": part.path in shared, "remedy": ways.way(part) or None}
            for part in _wanted(found, arguments)
        ]
        if saved is not None:
            document["since"] = _since_fields(found, saved, changed, arguments.since)
        print_json(document)
    elif saved is not None:
        _print_changes(found, saved, changed, arguments)
    else:
        _print(found, ways, shared, arguments)
    problems = _real(found)
    if saved is not None and (then := _real(saved.account)):
        problems.append(f"the account of {saved.time or 'then'} was not whole: {then[0]}")
    return say_lines(problems)


def _real(found: Account) -> list[str]:
    """Leave out what is mounted: `du -x` does so too."""
    return [line for line in found.problems if not line.endswith(LEFT_OUT)]


def _shared(root: DataRoot, found: Account) -> set[str]:
    """Return the paths of the layers that several images have; an image may have several names."""
    named: dict[str, dict[str, str]] = {}
    shared = set()
    for part in found.of("image_layer"):
        if part.driver not in named:
            named[part.driver] = {}
            with suppress(LayerviewError):
                tags = root.tags(part.driver).items()
                named[part.driver] = {name: str(image_id) for name, image_id in tags}
        if len({named[part.driver].get(owner, owner) for owner in part.owners}) > 1:
            shared.add(part.path)
    return shared


def _since_fields(
    found: Account, saved: SavedAccount, changed: list[Changed], file: str
) -> dict[str, object]:
    return {
        "file": file,
        "time": saved.time or None,
        "total_bytes": saved.account.total_bytes,
        "bytes": found.total_bytes - saved.account.total_bytes,
        "changes": [_change_fields(one) for one in changed],
    }


def _change_fields(one: Changed) -> dict[str, object]:
    fields = part_fields(one.part)
    return {
        "change": one.word,
        "kind": one.part.kind,
        "was": one.was or None,
        "name": one.part.name,
        **{key: value for key, value in fields.items() if key.startswith("path")},
        "before": one.before,
        "after": one.after,
        "bytes": one.bytes,
        "owners": list(one.part.owners),
    }


def _wanted(found: Account, arguments: argparse.Namespace) -> list[Part]:
    kinds = arguments.kind or KINDS
    return [part for part in found.parts if part.kind in kinds]


# Tables --------------------------------------------------------------------------------------


def _print(found: Account, ways: SafeWays, shared: set[str], arguments: argparse.Namespace) -> None:
    def size(count: int) -> str:
        return format_size(count, binary=arguments.binary)

    total = found.total_bytes
    engine = f", which {found.engine} holds" if found.engine else ""
    print(f"{printable(found.root)}: {size(total)}{printable(engine)}\n")
    wanted = sorted(_wanted(found, arguments), key=lambda part: (-part.bytes, part.path))
    if not wanted:
        print("There is nothing of that kind.")
        return
    rows = [["TYPE", "COUNT", "SIZE", "SHARE"]]
    for kind in KINDS:
        parts = found.of(kind)
        if parts and (not arguments.kind or kind in arguments.kind):
            held = sum(part.bytes for part in parts)
            rows.append([LABELS[kind], str(len(parts)), size(held), _share(held, total)])
            if kind == "image_layer":
                for label, several in (("of one image", False), ("shared", True)):
                    own = [part.bytes for part in parts if (part.path in shared) is several]
                    rows.append([f"  {label}", str(len(own)), size(sum(own)), ""])
    table(rows, right=(1, 2, 3))
    if any(part.driver == "btrfs" for part in found.parts):
        print("\nOn btrfs layers share blocks with those below; like du, this counts them in each.")
    _print_mounts(found, arguments)
    shown = wanted if arguments.verbose else wanted[:_LARGEST]
    print("\nEach:\n" if len(shown) == len(wanted) else "\nThe largest:\n")
    _print_parts(shown, arguments)
    if orphans := [part for part in wanted if part.kind == "orphan"]:
        _print_orphans(orphans, ways, arguments)
    _print_others(wanted, ways, arguments)


def _print_mounts(found: Account, arguments: argparse.Namespace) -> None:
    """Say what is no part of it: the trees of running containers, as a rule."""
    lines = [line for line in found.problems if line.endswith(LEFT_OUT)]
    if lines and arguments.verbose:
        print("\n" + "\n".join(map(printable, lines)))
    elif lines:
        print(f"\nLeft out, as du -x does: {len(lines)} mounted there (-v names them)")


def _share(held: int, total: int) -> str:
    share = 100 * held / total if total else 0.0
    return "<1%" if 0 < share < 1 else f"{share:.0f}%"


def _print_parts(parts: Sequence[Part], arguments: argparse.Namespace) -> None:
    rows = [["SIZE", "TYPE", "NAME", "WHOSE"]]
    for part in parts:
        size = format_size(part.bytes, binary=arguments.binary)
        if not part.complete:
            size = f">{size}"
        rows.append([size, part.kind, _short(part), _whose(part)])
    table(rows, right=(0,), cut=3)


def _short(part: Part) -> str:
    """Return a part's name for a table."""
    return _cut(part.name)


def _cut(text: str) -> str:
    """Cut IDs to the length in which engines print them."""
    return _ID.sub(lambda found: found[0][:12], printable(text))


def _whose(part: Part) -> str:
    owners = printable(", ".join(part.owners[:3]))
    more = f" and {len(part.owners) - 3} more" if len(part.owners) > 3 else ""
    return owners + more if owners else printable(part.note)


def _print_orphans(orphans: Sequence[Part], ways: SafeWays, arguments: argparse.Namespace) -> None:
    held = format_size(sum(part.bytes for part in orphans), binary=arguments.binary)
    print(f"\nOrphans, {held}: no image, container or build cache refers to them\n")
    helped: dict[str, list[str]] = {}
    for part in orphans:
        size = format_size(part.bytes, binary=arguments.binary)
        print(f"  {size:>9}   {printable(part.path)}\n{'':14}{printable(part.note)}")
        way = ways.steps(part)
        if way is not None:
            commands = helped.setdefault(way.words, [])
            commands += [command for command in way.commands if command not in commands]
    for words, commands in helped.items():
        print(f"\n  {words}")
        for command in commands:
            print(f"    {command}")


def _print_others(parts: Sequence[Part], ways: SafeWays, arguments: argparse.Namespace) -> None:
    """Say what else a person may want to have back."""
    several: dict[str, list[Part]] = {}
    for part in parts:
        if part.kind in _TOLD and part.entries > 1 and (way := ways.way(part)):
            several.setdefault(way, []).append(part)
    lines = []
    for way, held_by in several.items():
        size = format_size(sum(part.bytes for part in held_by), binary=arguments.binary)
        lines.append(f"  {size:>9}   {_what(held_by)}: {way}")
    if lines:
        print("\nWhat else can be had back:\n")
        shown = lines if arguments.verbose else lines[:_LARGEST]
        print("\n".join(shown))
        if len(lines) > len(shown):
            print(f"  and {len(lines) - len(shown)} more: -v shows all")


def _what(parts: Sequence[Part]) -> str:
    kind = parts[0].kind
    if kind == "volume":
        return f"volume {_short(parts[0])}, which no container mounts"
    if kind == "build_cache":
        return "build cache"
    return _cut(parts[0].path) if len(parts) == 1 else f"{len(parts)} temporary things"


def _print_changes(
    found: Account, saved: SavedAccount, changed: Sequence[Changed], arguments: argparse.Namespace
) -> None:
    def size(count: int) -> str:
        return format_size(count, binary=arguments.binary)

    before, after = saved.account.total_bytes, found.total_bytes
    since = f" since {saved.time}" if saved.time else ""
    print(
        f"{printable(found.root)}: {size(before)} -> {size(after)},"
        f" {_signed(after - before, size(abs(after - before)))}{since}"
    )
    if not changed:
        print("\nNothing changed.")
        return
    rows = [["CHANGE", "HOW", "SIZE", "TYPE", "NAME", "WHOSE"]]
    shown = changed
    if not arguments.verbose and len(changed) > 2 * _LARGEST:
        shown = [*changed[:_LARGEST], *changed[-_LARGEST:]]
    for one in shown:
        kind = f"{one.was} -> {one.part.kind}" if one.was else one.part.kind
        rows.append(
            [
                _signed(one.bytes, size(abs(one.bytes))),
                one.word,
                size(one.after),
                kind,
                _short(one.part),
                _whose(one.part),
            ]
        )
    print()
    table(rows, right=(0, 2), cut=5)
    if len(shown) < len(changed):
        print(f"\nand {len(changed) - len(shown)} smaller ones: -v shows all")


def _signed(count: int, size: str) -> str:
    return f"{'-' if count < 0 else '+'}{size}" if count else "0 B"
