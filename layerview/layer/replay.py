"""What a tar means in which entries stand below others that are no folders.

Engines unpack one entry after the other, so a name leads through a symbolic link that the same
tar made before it (inside the root, whatever the link says), and a later entry replaces an
earlier one together with all below it. Few tars need this, so it may be slow.
"""

from __future__ import annotations

from dataclasses import dataclass

from layerview.layer.kinds import Kind
from layerview.layer.names import normalise
from layerview.layer.tar import RawEntries

_MAX_LINKS = 40


class _Spot:
    """A place in the tree: the row that stands there (None: an implied folder)."""

    __slots__ = ("below", "row", "target")

    def __init__(self, row: int | None, *, folder: bool, target: bytes | None = None) -> None:
        self.row = row
        self.below: dict[bytes, _Spot] | None = {} if folder else None
        self.target = target


@dataclass(frozen=True, slots=True)
class Replayed:
    """What unpacking left."""

    rows: list[tuple[int, bytes]]
    """The rows that are still there, with their paths.

    Whiteouts and opaque markers keep their names: they are told from entries later.
    """
    inodes: dict[int, int]
    """Hard links: the row of their inode, which may have lost its name since."""
    targets: dict[int, bytes]
    """Hard links to what is not in this layer: the path they lead to."""


def replay(raw: RawEntries) -> Replayed:
    """Unpack the entries in memory, one after the other."""
    root = _Spot(None, folder=True)
    markers: list[tuple[int, bytes]] = []
    inodes: dict[int, int] = {}
    targets: dict[int, bytes] = {}
    for row, recorded in enumerate(raw.paths):
        path, _ = normalise(recorded)
        if not path:
            markers.append((row, b""))
            continue
        *folders, name = path.split(b"/")
        if name.startswith(b".wh."):
            parts = _resolve(root, folders)
            markers.append((row, b"/".join([*parts, name])))
            continue
        spot = _enter(root, _resolve(root, folders))
        assert spot.below is not None
        folder = raw.kinds[row] == Kind.DIR
        target = raw.targets.get(row)
        if row in raw.links:
            *above, last = normalise(raw.links[row])[0].split(b"/")
            linked_path = [*_resolve(root, above), last]
            linked = _look(root, linked_path)
            if linked is None or linked.row is None or linked.below is not None:
                targets[row] = b"/".join(linked_path)
            elif linked.row in targets:
                targets[row] = targets[linked.row]
            else:
                inodes[row] = inodes.get(linked.row, linked.row)
                target = linked.target
        there = spot.below.get(name)
        if folder and there is not None and there.below is not None:
            there.row = row
        else:
            spot.below.pop(name, None)
            spot.below[name] = _Spot(row, folder=folder, target=target)
    rows = [(row, path) for row, path in markers if _could_hold(root, path.split(b"/")[:-1])]
    return Replayed([*rows, *_rows(root)], inodes, targets)


def _resolve(root: _Spot, parts: list[bytes]) -> list[bytes]:
    """Follow the symbolic links on a path to a folder, inside the root."""
    done: list[bytes] = []
    spots: list[_Spot | None] = [root]
    waiting = list(reversed(parts))
    followed = 0
    while waiting:
        part = waiting.pop()
        if part == b"..":
            if done:
                done.pop()
                spots.pop()
            continue
        if part in (b"", b"."):
            continue
        at = spots[-1]
        spot = at.below.get(part) if at is not None and at.below is not None else None
        if spot is not None and spot.target is not None and followed < _MAX_LINKS:
            followed += 1
            if spot.target.startswith(b"/"):
                done, spots = [], [root]
            waiting.extend(reversed(spot.target.split(b"/")))
            continue
        done.append(part)
        spots.append(spot)
    return done


def _look(root: _Spot, parts: list[bytes]) -> _Spot | None:
    """Find what stands at a path."""
    spot: _Spot | None = root
    for part in parts:
        if spot is None or spot.below is None:
            return None
        spot = spot.below.get(part)
    return spot


def _could_hold(root: _Spot, folders: list[bytes]) -> bool:
    """Whether nothing but folders stands on a path, as far as it exists."""
    spot = root
    for part in folders:
        next_ = (spot.below or {}).get(part)
        if next_ is None:
            return True
        if next_.below is None:
            return False
        spot = next_
    return True


def _enter(root: _Spot, parts: list[bytes]) -> _Spot:
    """Go to a folder, making it where there is none."""
    spot = root
    for part in parts:
        assert spot.below is not None
        next_ = spot.below.get(part)
        if next_ is None or next_.below is None:
            next_ = spot.below[part] = _Spot(None, folder=True)
        spot = next_
    return spot


def _rows(root: _Spot) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    waiting: list[tuple[bytes, _Spot]] = [(b"", root)]
    while waiting:
        prefix, spot = waiting.pop()
        for name, below in (spot.below or {}).items():
            path = prefix + name
            if below.row is not None:
                found.append((below.row, path))
            if below.below is not None:
                waiting.append((path + b"/", below))
    # Back in the order of the tar, which hard links need.
    return sorted(found)
