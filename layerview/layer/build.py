"""From entries in the order of a tar to the sorted columns of a LayerIndex.

What several entries of one tar mean together is decided here: the last of a repeated name wins
(OCI image spec, layer.md: such tars should not be; engines refuse them), whiteouts hide only what
lower layers hold and so never an entry of their own layer, wherever in the tar they stand.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate, groupby
from typing import Any

from layerview.layer.index import NO_DIR, UNRESOLVED, IndexColumns, LayerIndex
from layerview.layer.kinds import Kind
from layerview.layer.names import OPAQUE_MARKER, WHITEOUT_PREFIX, is_aufs_metadata, normalise
from layerview.layer.replay import replay
from layerview.layer.tar import RawEntries
from layerview.text import printable

MAX_FOLDER_BYTES = 1 << 29
"""Bytes of all folder paths of a layer together: bounds what a deeply nested tar can cost."""

_WHITEOUT = int(Kind.WHITEOUT)
_DIR = int(Kind.DIR)
_IMPLIED = int(Kind.IMPLIED_DIR)


class TooDeep(Exception):
    """The folders of a layer take more memory than layerview is willing to spend."""


class _Folders:
    """The folders met so far, each with the rows that stand in it."""

    def __init__(self) -> None:
        self.rows: dict[bytes, list[int]] = {b"": []}
        self.budget = MAX_FOLDER_BYTES

    def get(self, path: bytes) -> list[int]:
        rows = self.rows.get(path)
        if rows is None:
            self.budget -= len(path) + 200
            if self.budget < 0:
                raise TooDeep
            rows = self.rows[path] = []
        return rows


def build_index(raw: RawEntries) -> LayerIndex:
    """Sort entries into a LayerIndex. `raw` is used up.

    Raises:
        TooDeep: when the folders are nested beyond all use.
    """
    builder = _Builder(raw)
    builder.place(enumerate(raw.paths))
    if builder.conflicts():
        moved = replay(raw)
        builder = _Builder(raw)
        builder.place(moved.rows)
        builder.inodes = moved.inodes
        builder.link_targets = moved.targets
    return builder.finish()


class _Builder:
    def __init__(self, raw: RawEntries) -> None:
        self.raw = raw
        self.count = len(raw.kinds)
        self.kinds = bytearray(raw.kinds)
        self.names: list[bytes] = [b""] * self.count
        self.folders = _Folders()
        self.dir_rows: dict[bytes, int] = {}
        self.opaque: set[bytes] = set()
        self.root_row: int | None = None
        self.inodes: dict[int, int] | None = None
        """Hard links: the row of their inode; None: not yet looked for."""
        self.link_targets: dict[int, bytes] = {}
        """Hard links that lead out of this layer: the path they lead to."""
        self.warnings = dict(raw.warnings)

    def warn(self, text: str) -> None:
        self.warnings[text] = self.warnings.get(text, 0) + 1

    # -- placing rows in folders --------------------------------------------------------------

    def place(self, paths: Iterable[tuple[int, bytes]]) -> None:
        """Put each row in its folder."""
        names, kinds = self.names, self.kinds
        folders, dir_rows = self.folders, self.dir_rows
        last, bucket = b"", folders.rows[b""]
        for row, path in paths:
            if path.endswith(b"/"):
                path = path.rstrip(b"/")
            if not path or path[0] in b"./" or b"//" in path or b"/." in path:
                path, escaped = normalise(path)
                if escaped:
                    self.warn("names climb out of the root with '..'; they are clamped to it")
                if not path:
                    self._take_root(row)
                    continue
            if b".wh." in path and (marked := self._marker(row, path)) is not None:
                if not marked:
                    continue
                path = marked
            cut = path.rfind(b"/")
            folder = path[:cut] if cut > 0 else b""
            if folder != last:
                last, bucket = folder, folders.get(folder)
            names[row] = path[cut + 1 :]
            bucket.append(row)
            if kinds[row] == _DIR:
                dir_rows[path] = row
                folders.get(path)

    def _take_root(self, row: int) -> None:
        if self.kinds[row] == _DIR:
            self.root_row = row
        else:
            self.warn("an entry that is no folder names the root; it is passed over")

    def _marker(self, row: int, path: bytes) -> bytes | None:
        """Take in a whiteout; return the path it deletes, b"" to pass over, None for an entry."""
        folder, _, name = path.rpartition(b"/")
        if name == OPAQUE_MARKER:
            self.opaque.add(folder)
            self.folders.get(folder)
            return b""
        if is_aufs_metadata(path):
            return b""
        if not name.startswith(WHITEOUT_PREFIX):
            return None
        hidden = name[len(WHITEOUT_PREFIX) :]
        if hidden in (b"", b".", b".."):
            self.warn(f"the whiteout {printable(name)} names no entry; it is passed over")
            return b""
        self.kinds[row] = _WHITEOUT
        return folder + b"/" + hidden if folder else hidden

    # -- conflicts ----------------------------------------------------------------------------

    def conflicts(self) -> bool:
        """Whether something stands below an entry of the same tar that is no folder."""
        self._add_parents()
        kinds, names, rows = self.kinds, self.names, self.folders.rows
        below: dict[bytes, set[bytes]] = {}
        for path in rows:
            if path:
                parent, _, name = path.rpartition(b"/")
                below.setdefault(parent, set()).add(name)
        for parent, folders in below.items():
            for row in rows[parent]:
                if names[row] in folders and kinds[row] not in (_WHITEOUT, _DIR):
                    path = parent + b"/" + names[row] if parent else names[row]
                    # A folder that is named and stays empty is replaced as files are.
                    if path not in self.dir_rows or rows[path] or path in below:
                        return True
        return False

    def _add_parents(self) -> None:
        rows = self.folders.rows
        for path in list(rows):
            while path:
                path = path.rpartition(b"/")[0]
                if path in rows:
                    break
                self.folders.get(path)

    # -- the sorted columns -------------------------------------------------------------------

    def finish(self) -> LayerIndex:
        """Sort, drop what later entries replaced, resolve hard links."""
        self._add_parents()
        self._imply_folders()
        raw, names = self.raw, self.names
        rows = self.folders.rows
        links = {
            row: path
            for row, path in raw.links.items()
            if names[row] and self.kinds[row] != _WHITEOUT
        }
        # Sort every folder's rows by name; equal names stay in tar order.
        name_of = names.__getitem__
        for bucket in rows.values():
            bucket.sort(key=name_of)
        inodes = self._link_inodes(links) if self.inodes is None else self.inodes
        repeated = self._drop_repeats()
        order_of_dirs = sorted(rows, key=lambda path: path.replace(b"/", b"\0"))
        number_of = {path: number for number, path in enumerate(order_of_dirs)}

        order: list[int] = []
        dir_starts = array("Q")
        for path in order_of_dirs:
            dir_starts.append(len(order))
            order.extend(rows[path])
        dir_starts.append(len(order))
        named = len(order)
        if raw.links:
            links = {old: links[old] for old in order if old in links}
            inodes = {old: inodes[old] for old in links if old in inodes}
        # Inodes that lost their names but are linked to keep a row behind the others.
        position = dict.fromkeys(inodes.values(), -1)
        if position:
            for new, old in enumerate(order):
                if old in position:
                    position[old] = new
            for old, new in position.items():
                if new < 0:
                    position[old] = len(order)
                    order.append(old)
        order.append(self.dir_rows[b""])

        columns = self._columns(order, named, links, inodes, position)
        columns.dir_starts = dir_starts
        columns.dir_ends = _subtree_ends(order_of_dirs)
        dir_of_row = array("I", [NO_DIR]) * len(order)
        row_of_dir = array("Q", bytes(8 * len(order_of_dirs)))
        new_row = self._dir_positions(order, named)
        for path, number in number_of.items():
            row = new_row[self.dir_rows[path]]
            dir_of_row[row] = number
            row_of_dir[number] = row
        columns.dir_of_row = dir_of_row
        columns.row_of_dir = row_of_dir
        columns.opaque = {number_of[path] for path in self.opaque}
        columns.repeated_bytes = repeated
        columns.warnings = tuple(
            text if times == 1 else f"{text} ({times:,} times)"
            for text, times in self.warnings.items()
        )
        return LayerIndex(columns)

    def _imply_folders(self) -> None:
        """Give every folder that no entry names a row."""
        if self.root_row is not None:
            self.dir_rows[b""] = self.root_row
        for path in list(self.folders.rows):
            if path not in self.dir_rows:
                parent, _, name = path.rpartition(b"/")
                row = len(self.names)
                self.names.append(name)
                self.kinds.append(_IMPLIED)
                self.dir_rows[path] = row
                if path:
                    self.folders.rows[parent].append(row)

    def _drop_repeats(self) -> int:
        """Keep one row a name: the last that is no whiteout; return the bytes dropped."""
        names, kinds = self.names, self.kinds
        repeated = 0
        gone: list[bytes] = []
        for folder, bucket in self.folders.rows.items():
            if len({names[row] for row in bucket}) == len(bucket):
                continue
            kept: list[int] = []
            for name, group in groupby(bucket, key=names.__getitem__):
                rows = list(group)
                versions = [row for row in rows if kinds[row] != _WHITEOUT]
                kept.append(versions[-1] if versions else rows[-1])
                if len(rows) == 1 or not versions:
                    continue
                path = folder + b"/" + name if folder else name
                if kinds[kept[-1]] not in (_DIR, _IMPLIED):
                    if self.dir_rows.pop(path, None) is not None:
                        gone.append(path)
                elif len(versions) < len(rows):
                    # Deleted and made again: what lower layers hold in it stays hidden.
                    self.opaque.add(path)
                if len(versions) > 1:
                    self.warn(
                        "names repeat; the last entry of each counts, engines refuse such tars"
                    )
                for row in versions[:-1]:
                    if kinds[row] == Kind.FILE:
                        repeated += self.raw.sizes[row]
            bucket[:] = kept
        for path in gone:
            del self.folders.rows[path]
            self.opaque.discard(path)
        return repeated

    def _link_inodes(self, links: dict[int, bytes]) -> dict[int, int]:
        """Resolve hard links to the row of their inode; those without one here are left out."""
        inodes: dict[int, int] = {}
        known: dict[bytes, list[int]] = {}
        """Rows of each target that is linked to, in the order of the tar."""
        rows, names, kinds = self.folders.rows, self.names, self.kinds
        for row in sorted(links):
            target, _ = normalise(links[row])
            folder, _, name = target.rpartition(b"/")
            bucket = rows.get(folder)
            if bucket is None:
                self.link_targets[row] = target
                continue
            versions = known.get(target)
            if versions is None:
                first = bisect_left(bucket, name, key=names.__getitem__)
                end = bisect_right(bucket, name, lo=first, key=names.__getitem__)
                versions = known[target] = [
                    there
                    for there in bucket[first:end]
                    if kinds[there] not in (_WHITEOUT, _DIR, _IMPLIED)
                ]
            # The one that stood there when the link was made.
            at = bisect_left(versions, row)
            found = versions[at - 1] if at else -1
            if found >= 0:
                inode = inodes.get(found, found)
                if inode in links and inode not in inodes:
                    # A link to a link that leads out of this layer leads there too.
                    self.link_targets[row] = self.link_targets[inode]
                else:
                    inodes[row] = inode
            else:
                self.link_targets[row] = target
        return inodes

    def _dir_positions(self, order: list[int], named: int) -> dict[int, int]:
        kinds = self.kinds
        found = {order[new]: new for new in range(named) if kinds[order[new]] in (_DIR, _IMPLIED)}
        found[order[-1]] = len(order) - 1
        return found

    def _columns(
        self,
        order: list[int],
        named: int,
        links: dict[int, bytes],
        inodes: dict[int, int],
        position: dict[int, int],
    ) -> IndexColumns:
        raw, names = self.raw, self.names
        # Attributes of implied folders: mode 0755, owners 0, as json.md has them.
        implied = len(names) - self.count
        raw.modes.extend([0o755] * implied)
        for column in (raw.uids, raw.gids, raw.sizes, raw.mtimes):
            column.extend([0] * implied)
        raw.offsets.extend([-1] * implied)

        def picked(code: str, column: array[int]) -> array[int]:
            return array(code, map(column.__getitem__, order))

        blob = b"\0".join([names[old] for old in order]) + b"\0" if order else b""
        starts = array("Q", accumulate((len(names[old]) + 1 for old in order), initial=0))
        fractions: array[int] | None = None
        if raw.fractions:
            decimals = raw.fractions
            fractions = array("Q", [decimals.get(old, 0) for old in order])
        columns = IndexColumns(
            names=blob,
            name_starts=starts,
            kinds=bytes([self.kinds[old] for old in order]),
            modes=picked("H", raw.modes),
            uids=picked("I", raw.uids),
            gids=picked("I", raw.gids),
            sizes=picked("q", raw.sizes),
            mtimes=picked("q", raw.mtimes),
            fractions=fractions,
            offsets=picked("q", raw.offsets),
            dir_of_row=array("I"),
            dir_starts=array("Q"),
            dir_ends=array("I"),
            row_of_dir=array("Q"),
        )
        few = (raw.targets, raw.xattrs, raw.devices, raw.sparse)
        if links or any(few):
            wanted: set[int] = set(links).union(*few)
            for new, old in enumerate(order):
                if old not in wanted:
                    continue
                if old in raw.targets:
                    columns.targets[new] = raw.targets[old]
                if old in raw.xattrs:
                    columns.xattrs[new] = raw.xattrs[old]
                if old in raw.devices:
                    columns.devices[new] = raw.devices[old]
                if old in raw.sparse:
                    columns.sparse[new] = raw.sparse[old]
                if old in links:
                    target = self.link_targets.get(old)
                    columns.links[new] = UNRESOLVED if target is not None else position[inodes[old]]
                    columns.link_paths[new] = target or normalise(links[old])[0]
        _settle_links(columns)
        return columns


def _settle_links(columns: IndexColumns) -> None:
    """Give every hard link its inode's attributes."""
    for row, inode in columns.links.items():
        if inode == UNRESOLVED:
            continue
        for column in (
            columns.modes,
            columns.uids,
            columns.gids,
            columns.sizes,
            columns.mtimes,
            columns.offsets,
        ):
            column[row] = column[inode]
        if columns.fractions is not None:
            columns.fractions[row] = columns.fractions[inode]
        for few in (columns.targets, columns.xattrs, columns.devices, columns.sparse):
            _copy_item(few, inode, row)
    if columns.links:
        kinds = bytearray(columns.kinds)
        for row, inode in columns.links.items():
            if inode != UNRESOLVED:
                kinds[row] = kinds[inode]
        columns.kinds = bytes(kinds)


def _copy_item(few: dict[int, Any], source: int, to: int) -> None:
    if source in few:
        few[to] = few[source]
    else:
        few.pop(to, None)


def _subtree_ends(paths: list[bytes]) -> array[int]:
    """For folders in path order, the number of the first that is not below each."""
    ends = array("I", bytes(4 * len(paths)))
    open_: list[tuple[int, bytes]] = []
    for number, path in enumerate(paths):
        while open_ and open_[-1][1] and not path.startswith(open_[-1][1]):
            ends[open_.pop()[0]] = number
        open_.append((number, path + b"/" if path else b""))
    for number, _ in open_:
        ends[number] = len(paths)
    return ends
