"""What hard links do to a view: which names are one inode, and where its bytes count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layerview.layer.index import NO_DIR, UNRESOLVED
from layerview.layer.kinds import Kind
from layerview.view.summary import Summary

if TYPE_CHECKING:
    from layerview.view.union import UnionView

Inode = tuple[int, int]
"""Layer and row of an inode, or of one of its names."""


@dataclass(slots=True)
class Links:
    """What hard links do to a view."""

    first_path: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """By layer and row of a name: the first path of its inode, where that is another one."""
    source: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """By layer and row of a link to a lower layer: layer and row of the inode."""
    extra: dict[bytes, Summary] = field(default_factory=dict)
    """By folder: bytes kept only by a link while the inode's own name is hidden."""
    kept: set[tuple[int, int]] = field(default_factory=set)
    """Inodes (layer, row) that some visible name keeps."""


def find_links(view: UnionView) -> Links:
    """Find out what the hard links in a view's layers mean."""
    links = Links()
    groups: dict[Inode, list[Inode]] = {}
    for layer, index in enumerate(view.layers):
        if index is None or not index.links:
            continue
        for row, inode in index.links.items():
            if inode != UNRESOLVED:
                source = (layer, inode)
            else:
                found = _linked(view, links, layer, index.link_paths[row])
                if found is None:
                    continue
                source = links.source[layer, row] = found
            group = groups.setdefault(source, [])
            if not group:
                owner = view.layers[source[0]]
                assert owner is not None
                if source[1] < len(owner):
                    group.append(source)
            group.append((layer, row))
    for source, group in groups.items():
        _settle(view, links, source, group)
    return links


def _linked(view: UnionView, links: Links, layer: int, path: bytes) -> Inode | None:
    """Find what a link names that was not there before it in its own layer.

    What links of lower layers mean must be known: a view below is not asked for its own links,
    each of which would ask the views below it.
    """
    below = view.below(layer).entry(path)
    if below is not None:
        number, row = below
        index = view.layers[number]
        assert index is not None
        inode = index.links.get(row, row)
        return links.source.get(below, below) if inode == UNRESOLVED else (number, inode)
    index = view.layers[layer]
    assert index is not None
    found = index.find(path)
    if found is None or index.dir_of_row[found] != NO_DIR or index.kinds[found] == Kind.WHITEOUT:
        return None
    inode = index.links.get(found, found)
    return None if inode == UNRESOLVED else (layer, inode)


def _settle(view: UnionView, links: Links, source: Inode, group: list[Inode]) -> None:
    """Find which names of an inode show, and where its bytes count."""
    visible = []
    for layer, row in group:
        index = view.layers[layer]
        assert index is not None
        path = index.path(row)
        if view.entry(path) == (layer, row):
            visible.append((path.replace(b"/", b"\0"), path, layer, row))
    if not visible:
        return
    links.kept.add(source)
    visible.sort()
    first = visible[0][1]
    for _, _, layer, row in visible[1:]:
        links.first_path[layer, row] = first
    if all((layer, row) != source for _, _, layer, row in visible):
        # The inode's own name is hidden: its bytes count where they first show.
        owner = view.layers[source[0]]
        assert owner is not None
        size = owner.sizes[source[1]] if owner.kinds[source[1]] == Kind.FILE else 0
        folder = first
        while folder:
            folder = folder.rpartition(b"/")[0]
            extra = links.extra.setdefault(folder, Summary())
            extra.add(Summary(size, {source[0]: size}))
