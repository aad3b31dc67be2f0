"""What a file dialog lists: a folder's folders and files, and how a typed path narrows them."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from layerview.tui.listing import ARCHIVES

MOST_NAMES = 5000
"""How many entries of a folder are looked at."""


class FileKind(IntEnum):
    """What an entry is; in the order in which they are listed."""

    THIS = 0
    """The folder itself, taken for an image."""
    UP = 1
    FOLDER = 2
    LAYOUT = 3
    """A folder that is an OCI layout: an image."""
    ARCHIVE = 4
    """A file with the name of an archive."""
    FILE = 5


@dataclass(frozen=True, slots=True)
class FileRow:
    """One entry of a folder."""

    kind: FileKind
    name: str
    size: int | None = None

    @property
    def is_image(self) -> bool:
        """Whether choosing it chooses an image; else it is a folder to go into."""
        return self.kind not in (FileKind.UP, FileKind.FOLDER)


def folder_of(value: str) -> str:
    """Return the folder that a typed path lies in."""
    return os.path.dirname(os.path.expanduser(value)) or "."


def list_folder(folder: str) -> list[FileRow]:
    """List a folder: itself, the one above, folders, layouts, archives, then other files.

    Raises:
        OSError: when it can't be read.
    """
    rows: list[FileRow] = []
    with os.scandir(folder) as entries:
        for entry, _ in zip(entries, range(MOST_NAMES), strict=False):
            row = _row(entry)
            if row is not None:
                rows.append(row)
    rows.sort(key=lambda row: (row.kind, row.name.casefold(), row.name))
    top = [FileRow(FileKind.THIS, ".")]
    if os.path.realpath(folder) != "/":
        top.append(FileRow(FileKind.UP, ".."))
    return top + rows


def _row(entry: os.DirEntry[str]) -> FileRow | None:
    if not entry.name.isprintable():
        # It can't be typed or shown as it is.
        return None
    try:
        if entry.is_dir():
            layout = os.path.exists(os.path.join(entry.path, "oci-layout"))
            return FileRow(FileKind.LAYOUT if layout else FileKind.FOLDER, entry.name)
        state = entry.stat()
    except OSError:
        return None
    if not stat.S_ISREG(state.st_mode):
        return None
    kind = FileKind.ARCHIVE if entry.name.endswith(ARCHIVES) else FileKind.FILE
    return FileRow(kind, entry.name, state.st_size)


def matching(rows: Sequence[FileRow], value: str) -> list[FileRow]:
    """Return the rows that a typed path leaves; hidden names only where a dot was typed."""
    typed = value.rpartition("/")[2]
    if not typed:
        return [row for row in rows if row.kind <= FileKind.UP or not row.name.startswith(".")]
    return [row for row in rows if row.kind > FileKind.UP and row.name.startswith(typed)]


def begin_at(rows: Sequence[FileRow]) -> int:
    """Return the row that the cursor starts on: the first that is in the folder."""
    first = (number for number, row in enumerate(rows) if row.kind > FileKind.UP)
    return next(first, max(0, len(rows) - 1))


def joined(value: str, row: FileRow) -> str:
    """Return the path that a row leads to, written as the typed one is."""
    head = value[: len(value) - len(value.rpartition("/")[2])]
    if row.kind is FileKind.THIS:
        return head or "./"
    if row.kind is FileKind.UP:
        return _above(head)
    return head + row.name + ("" if row.is_image else "/")


def _above(head: str) -> str:
    parts = head.rstrip("/").split("/")
    if parts[-1] in ("", ".", ".."):
        return ("../" if parts[-1] in ("", ".") else head + "../") if head != "/" else "/"
    if parts == ["~"]:
        return os.path.dirname(os.path.expanduser("~")).rstrip("/") + "/"
    return "/".join(parts[:-1]) + "/" if len(parts) > 1 else "./"
