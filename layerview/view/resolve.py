"""The search for a path: every layer's answer from the top, symbolic links followed inside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from layerview.layer.index import NO_DIR, LayerIndex
from layerview.layer.kinds import Kind
from layerview.view.nodes import Node
from layerview.view.union import UnionView

MAX_LINKS = 40
"""Symbolic links followed before the search ends, as in Linux (path_resolution(7))."""


class Link(NamedTuple):
    """A symbolic link that was followed on the way."""

    path: bytes
    target: bytes
    layer: int


class Rung(NamedTuple):
    """One layer's answer."""

    layer: int
    state: str
    """absent, unknown, whiteout, opaque, hidden or winner."""
    node: Node | None = None
    """The version that the layer holds, where it holds one."""


@dataclass(slots=True)
class Resolution:
    """What became of a search."""

    path: bytes
    """The path as it was asked for."""
    resolved: bytes
    """The path after following symbolic links."""
    links: list[Link] = field(default_factory=list)
    ladder: list[Rung] = field(default_factory=list)
    """Every layer's answer for the resolved path, top first."""
    node: Node | None = None
    """What shows at the resolved path."""
    loop: bool = False
    """Whether the search ended in a loop of symbolic links."""
    certain: bool = True
    """Whether every layer that could decide otherwise is here."""

    @property
    def exists(self) -> bool:
        """Whether anything shows."""
        return self.node is not None

    @property
    def layer(self) -> int | None:
        """The layer that the path resolves from."""
        return self.node.layer if self.node is not None else None


def resolve(view: UnionView, path: bytes, *, follow: bool = True) -> Resolution:
    """Search for a path as a process in the container would.

    Args:
        view: all layers.
        path: relative to the image's root.
        follow: whether a symbolic link at the very end is followed too.
    """
    links: list[Link] = []
    waiting = _parts(path)
    done: list[bytes] = []
    broken = loop = False
    node: Node | None = view.root()
    while waiting:
        part = waiting.pop()
        if part == b".":
            continue
        if part == b"..":
            if broken:
                break
            if done:
                done.pop()
            continue
        done.append(part)
        if broken:
            continue
        node = view.node(b"/".join(done))
        if node is None or (waiting and not (node.is_dir or node.kind == Kind.SYMLINK)):
            broken = True
            continue
        if node.kind == Kind.SYMLINK and (waiting or follow):
            target = node.target or b""
            assert node.layer is not None
            if len(links) >= MAX_LINKS:
                loop = broken = True
                continue
            links.append(Link(node.path, target, node.layer))
            done.pop()
            if target.startswith(b"/"):
                done = []
            waiting.extend(_parts(target))
    resolved = b"/".join(done)
    there = view.node(resolved)
    found = None if broken else there
    resolution = Resolution(path.strip(b"/"), resolved, links, node=found, loop=loop)
    resolution.ladder = ladder(view, resolved, there)
    if found is not None:
        resolution.certain = found.certain
    else:
        # Nothing below the highest layer that says anything could make it show.
        answers = (rung.state for rung in resolution.ladder)
        resolution.certain = next((s for s in answers if s != "absent"), "absent") != "unknown"
    return resolution


def _parts(path: bytes) -> list[bytes]:
    """Split a path, its last part first; a "." stands for a slash or "." at its end.

    What stands before that must be a folder (path_resolution(7)).
    """
    parts = path.split(b"/")
    kept = [part for part in parts if part not in (b"", b".")]
    if kept and parts[-1] in (b"", b"."):
        kept.append(b".")
    return kept[::-1]


def ladder(view: UnionView, path: bytes, winner: Node | None) -> list[Rung]:
    """Ask every layer about a path, from the top."""
    rungs = []
    for number in range(len(view.layers) - 1, -1, -1):
        index = view.layers[number]
        if index is None:
            rungs.append(Rung(number, "unknown"))
            continue
        state, row = _answer(index, path)
        node = None
        if row is not None:
            node = _version(view, index, number, row, path)
            wins = winner is not None and winner.layer == number and winner.row == row
            state = "winner" if wins else "hidden"
        rungs.append(Rung(number, state, node))
    return rungs


def _version(view: UnionView, index: LayerIndex, layer: int, row: int, path: bytes) -> Node:
    if index.dir_of_row[row] != NO_DIR:
        return Node(path, index.kinds[row], layer, row, index, row)
    return view.entry_node(path, layer, row)


def _answer(index: LayerIndex, path: bytes) -> tuple[str, int | None]:
    """Say what a layer holds at a path: a row, or how it hides what is below."""
    hides = "opaque" if 0 in index.opaque else "absent"
    number = 0
    if not path:
        root = index.row_of_dir[0]
        return (hides, None) if index.kinds[root] == Kind.IMPLIED_DIR else ("version", root)
    parts = path.split(b"/")
    for at, part in enumerate(parts):
        row = index.find_in(number, part)
        if row is None:
            return hides, None
        kind = index.kinds[row]
        if kind == Kind.WHITEOUT:
            return "whiteout", None
        if at == len(parts) - 1:
            return (hides, None) if kind == Kind.IMPLIED_DIR else ("version", row)
        number = index.dir_of_row[row]
        if number == NO_DIR:
            return "opaque", None
        if number in index.opaque:
            hides = "opaque"
    raise AssertionError("unreachable")
