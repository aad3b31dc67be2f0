"""What the Disk screen says of a row: where it lies, and what would free its bytes."""

from __future__ import annotations

from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.disk_model import SHARED, Disk
from layerview.tui.disk_rows import Row
from layerview.tui.widgets.chrome import Piece, muted, plain, strong
from layerview.tui.words import count_of

Groups = list[list[Piece]]


def place_words(row: Row, *, brief: bool = False) -> Groups:
    """Say where a row lies, or what is in it; where there is little room, first why it is there."""
    groups: Groups = [[plain(printable(row.path))]] if row.path else []
    if row.note and not row.problem:
        first = brief and row.type in ("orphan", "temporary")
        groups.insert(0 if first else len(groups), [muted(printable(row.note))])
    if row.entries:
        groups.append([muted(count_of(row.entries, "entry", "entries"))])
    if not row.whole:
        groups.append([("not all of it may be read", "warning", False)])
    return groups


def fate_words(disk: Disk, row: Row, *, own: bool, binary: bool, brief: bool = False) -> Groups:
    """Say what deleting a row would free, and how that is done without harm.

    Args:
        disk: what is known of the root.
        row: one of it.
        own: whether the root is layerview's to change.
        binary: sizes in KiB and MiB.
        brief: whether there is little room.
    """
    groups: Groups = []
    if row.frees is not None:
        freed = format_size(row.frees, binary=binary)
        verb = "frees " if brief else "deleting it frees "
        groups.append([muted(verb), strong(freed), muted(_used_by(disk, row))])
    if row.grown:
        more, size = "grew by", format_size(abs(row.grown), binary=binary)
        if row.grown < 0:
            more = "shrank by"
        groups.append([(f"{more} {size}", "warning", False), muted(" while it was looked at")])
    if row.apart:
        groups.append([muted("several images have it: it counts among the shared layers")])
    elif way := safe_way(disk, row, own=own):
        groups.append([muted(way)])
    return groups


def _users(disk: Disk, row: Row) -> list[str]:
    """Return the names of the containers that are made from an image."""
    return [one.name for one in disk.containers if row.key == f"image:{one.driver}:{one.image_id}"]


def _used_by(disk: Disk, row: Row) -> str:
    """Say which containers keep an image, if any do."""
    names = _users(disk, row)
    if not names:
        rest = row.key.startswith("image:") and (row.frees or 0) < (row.bytes or 0)
        return ": the rest stays, others need it" if rest else ""
    if len(names) == 1:
        return f": {names[0]} uses it"
    return f": {count_of(len(names), 'container')} use it"


def safe_way(disk: Disk, row: Row, *, own: bool) -> str:
    """Say how a row's bytes are freed without harm; "" where there is nothing to be said."""
    if row.key == SHARED or row.layer is not None:
        return "a layer goes with the last image that has it"
    if row.key == "group:orphan":
        return "Del deletes them, after asking" if own else "Del on one of them says what is safe"
    if row.warning and own:
        return "Del deletes all orphans, after asking"
    known = disk.ways.get(row.parts[0].path, "") if len(row.parts) == 1 else ""
    if known:
        return known
    if row.type == "cache":
        return next((disk.ways[one.path] for one in row.parts if one.path in disk.ways), "")
    if _users(disk, row) or (row.type == "volume" and any(part.owners for part in row.parts)):
        return "remove its containers first" + (" (2)" if own else ": `docker rm`")
    commands = {
        "image": ("Del in Images (1)", "docker rmi"),
        "container": ("Del in Containers (2)", "docker rm"),
    }
    if row.type not in commands or not row.key.startswith(f"{row.type}:"):
        return ""
    here, there = commands[row.type]
    if any(row.key == f"container:{one.id}" and one.runs for one in disk.containers):
        there += " -f"
    return f"{here} removes it, after asking" if own else f"`{there}` removes it there"


def orphans_words(disk: Disk, binary: bool) -> tuple[str, str]:
    """Return the question before all orphans are deleted, and what is lost."""
    orphans = disk.of_kind("orphan")
    size = format_size(sum(part.bytes for part in orphans), binary=binary)
    one = len(orphans) == 1
    folders = "a folder that belongs" if one else f"{len(orphans):,} folders that belong"
    which = "it" if one else "them"
    words = (
        f"Frees {size}. No image, container or build cache refers to {which}; this is proved again"
        f" before anything is deleted. What is in {which} is lost for good."
    )
    return f"Delete {folders} to nobody?", words
