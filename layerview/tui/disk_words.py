"""What the Disk screen says of a row: where it lies, and what would free its bytes."""

from __future__ import annotations

from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.disk_model import SHARED, Disk, Row
from layerview.tui.widgets.chrome import Piece, muted, plain, strong
from layerview.tui.words import count_of

Groups = list[list[Piece]]


def place_words(row: Row) -> Groups:
    """Say where a row lies, or what is in it."""
    groups: Groups = [[plain(printable(row.path))]] if row.path else []
    if row.note and not row.problem:
        groups.append([muted(printable(row.note))])
    if row.entries:
        groups.append([muted(count_of(row.entries, "entry", "entries"))])
    if not row.whole:
        groups.append([("not all of it may be read", "warning", False)])
    return groups


def fate_words(disk: Disk, row: Row, *, own: bool, binary: bool) -> Groups:
    """Say what deleting a row would free, and how that is done without harm.

    Args:
        disk: what is known of the root.
        row: one of it.
        own: whether the root is layerview's to change.
        binary: sizes in KiB and MiB.
    """
    groups: Groups = []
    if row.frees is not None:
        freed = format_size(row.frees, binary=binary)
        groups.append([muted("deleting it frees "), strong(freed)])
    if row.grown:
        more, size = "grew by", format_size(abs(row.grown), binary=binary)
        if row.grown < 0:
            more = "shrank by"
        groups.append([(f"{more} {size}", "warning", False), muted(" since it was looked at")])
    if row.apart:
        groups.append([muted("several images have it: it counts among the shared layers")])
    elif row.key == SHARED:
        groups.append([muted("a layer goes with the last image that has it")])
    elif row.key == "group:orphan":
        groups.append([muted(_orphans(own))])
    elif len(row.parts) == 1:
        way = disk.ways.get(row.parts[0].path, "")
        if way:
            groups.append([muted(way)])
    return groups


def _orphans(own: bool) -> str:
    if own:
        return "Del deletes them, after asking"
    return "Enter lists them, each with the safe way to act"
