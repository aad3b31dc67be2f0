"""`layerview prune --orphans`: delete the storage drivers' folders that belong to nobody."""

from __future__ import annotations

import argparse
import os

from layerview.cli.area import area, in_area, say, settle_root
from layerview.cli.options import TerminalProgress
from layerview.cli.output import print_json
from layerview.cli.pruning import agreed
from layerview.sizes import format_size
from layerview.store.account import Part
from layerview.store.area import Area
from layerview.store.orphan_removal import check_own, remove_orphans
from layerview.text import printable


def prune_orphans(arguments: argparse.Namespace) -> int:
    """Delete the orphans of an area, after they were shown and a person agreed.

    Raises:
        LayerviewError: when it is an engine's data root, or a live engine holds it.
    """
    settle_root(arguments)
    check_own(os.path.realpath(arguments.root))
    return in_area(arguments, lambda: _prune(arguments))


def _prune(arguments: argparse.Namespace) -> int:
    place = area(arguments)
    # What dead writers left open is settled first: it is theirs, and no orphan.
    with place.writing(say):
        pass
    orphans = _orphans(place, arguments)
    if not orphans:
        return _report(arguments, [], [])
    held = format_size(sum(part.bytes for part in orphans), binary=arguments.binary)
    if not arguments.force:
        for part in orphans:
            size = format_size(part.bytes, binary=arguments.binary)
            say(f"{size:>9}  {part.path}: {part.note}")
        if not agreed(f"{_folders(len(orphans))} to nobody, {held}"):
            return 1
    with place.writing(say) as writing:
        gone = remove_orphans(writing, orphans)
    return _report(arguments, gone.deleted, gone.kept)


def _folders(count: int) -> str:
    return "1 folder that belongs" if count == 1 else f"{count} folders that belong"


def _orphans(place: Area, arguments: argparse.Namespace) -> list[Part]:
    from layerview.store.usage import account

    progress = TerminalProgress()
    found = account(place.data, progress=progress)
    progress.clear()
    wanted = arguments.driver
    return [part for part in found.of("orphan") if wanted in (None, part.driver)]


def _report(arguments: argparse.Namespace, deleted: list[Part], kept: list[str]) -> int:
    size = sum(part.bytes for part in deleted)
    if arguments.json:
        print_json(
            {
                "deleted": [part.path for part in deleted],
                "kept": kept,
                "bytes": size,
            }
        )
    else:
        for part in deleted:
            print(f"Deleted: {printable(part.path)}")
        print(f"{format_size(size, binary=arguments.binary)} freed")
    for line in kept:
        say(f"not deleted: {line}")
    return 1 if kept else 0
