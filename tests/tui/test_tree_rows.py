"""The rope of rows equals a plain flattening, whatever is opened, closed and sorted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerview.tui.tree_rows import TreeRows


@dataclass(frozen=True)
class Plain:
    path: bytes
    is_dir: bool
    size: int

    @property
    def name(self) -> bytes:
        return self.path.rpartition(b"/")[2]


class PlainFolder:
    def __init__(self, nodes):
        self.nodes = sorted(nodes, key=lambda node: node.name)

    def __len__(self):
        return len(self.nodes)

    def __getitem__(self, position):
        return self.nodes[position]

    def find(self, name):
        return next((at for at, node in enumerate(self.nodes) if node.name == name), None)

    def order(self, key="name", *, reverse=False):
        positions = list(range(len(self.nodes)))
        if key == "size":
            positions.sort(key=lambda at: self.nodes[at].size, reverse=True)
        return positions[::-1] if reverse else positions


class PlainTree:
    def __init__(self, sizes):
        self.nodes = {b"": Plain(b"", True, 0)}
        for path, size in sizes.items():
            parts = path.split(b"/")
            for depth in range(1, len(parts)):
                above = b"/".join(parts[:depth])
                self.nodes[above] = Plain(
                    above, True, self.nodes.get(above, Plain(b"", True, 0)).size + size
                )
            if path not in self.nodes:
                self.nodes[path] = Plain(path, False, size)

    def folder(self, path):
        inside = [
            node
            for node in self.nodes.values()
            if node.path and node.path.rpartition(b"/")[0] == path
        ]
        return PlainFolder(inside)

    def flat(self, expanded, sort, reverse):
        """What the rows should be, by the simplest means."""
        rows = []

        def enter(path, depth):
            rows.append((self.nodes[path].path, depth))
            if path in expanded and self.nodes[path].is_dir:
                folder = self.folder(path)
                for position in folder.order(sort, reverse=reverse):
                    enter(folder[position].path, depth + 1)

        enter(b"", 0)
        return rows


names = st.sampled_from([b"a", b"b", b"c", b"d", b"e e", b"\xff"])
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)
trees = st.dictionaries(paths, st.integers(0, 50), max_size=25).map(PlainTree)
moves = st.lists(st.tuples(st.sampled_from("ecte"), st.integers(0, 60)), max_size=30)


def shown(rows: TreeRows) -> list[tuple[bytes, int]]:
    found = [rows.row(at) for at in range(len(rows))]
    return [(row.node.path, row.depth) for row in found]


@given(tree=trees, moves=moves, sort=st.sampled_from(["name", "size"]), reverse=st.booleans())
def test_the_rows_are_those_of_a_plain_flattening(tree, moves, sort, reverse):
    rows = TreeRows(tree.nodes[b""], tree.folder, sort=sort, reverse=reverse)
    expanded = {b""}
    for move, at in moves:
        at %= len(rows)
        path = rows.row(at).node.path
        if not tree.nodes[path].is_dir:
            assert rows.expand(at) == 0
            continue
        opened = path in expanded
        if move == "e" or (move == "t" and not opened):
            rows.expand(at)
            expanded.add(path)
        else:
            rows.collapse(at)
            # What was open inside a folder is forgotten when that is closed.
            expanded = {
                other
                for other in expanded
                if other != path and not other.startswith(path + b"/" if path else b"")
            }
        assert shown(rows) == tree.flat(expanded, sort, reverse)


@given(tree=trees, data=st.data(), sort=st.sampled_from(["name", "size"]))
def test_rows_made_anew_have_the_same_folders_open(tree, data, sort):
    folders = sorted(path for path, node in tree.nodes.items() if node.is_dir)
    rows = TreeRows(tree.nodes[b""], tree.folder)
    for path in data.draw(st.lists(st.sampled_from(folders), max_size=6)):
        row = rows.reveal(path)
        assert row is not None
        rows.expand(row)
    again = TreeRows(tree.nodes[b""], tree.folder, sort=sort, expanded=rows.expanded())
    assert set(again.expanded()) == set(rows.expanded())
    assert shown(again) == tree.flat(set(rows.expanded()), sort, False)


@given(tree=trees, data=st.data())
def test_every_path_that_is_revealed_is_found_where_it_stands(tree, data):
    rows = TreeRows(tree.nodes[b""], tree.folder)
    for path in data.draw(st.lists(st.sampled_from(sorted(tree.nodes)), max_size=6)):
        row = rows.reveal(path)
        assert row is not None
        assert rows.row(row).node.path == path
    for at in range(len(rows)):
        path = rows.row(at).node.path
        assert rows.find(path) == at
        above = rows.row(rows.parent_row(at)).node.path
        assert above == (path.rpartition(b"/")[0] if path else b"")


def test_a_path_that_is_not_there_gives_the_closest_folder_above():
    tree = PlainTree({b"etc/apt/sources.list": 1})
    rows = TreeRows(tree.nodes[b""], tree.folder, expanded=[b"", b"etc"])
    assert rows.find(b"etc/apt/sources.list") is None
    assert rows.row(rows.nearest(b"etc/apt/sources.list")).node.path == b"etc/apt"
    assert rows.nearest(b"nowhere/at/all") == 0
    assert rows.reveal(b"nowhere") is None


def test_a_row_behind_the_last_is_an_error():
    tree = PlainTree({b"a": 1})
    rows = TreeRows(tree.nodes[b""], tree.folder)
    with pytest.raises(IndexError):
        rows.row(2)


class HugeFolder:
    """A folder of a million files that counts how many of them were made."""

    made = 0

    def __len__(self):
        return 1_000_000

    def __getitem__(self, position):
        HugeFolder.made += 1
        return Plain(b"%07d" % position, False, position)

    def find(self, name):
        return int(name)

    def order(self, key="name", *, reverse=False):
        return range(len(self))


def test_a_folder_of_a_million_files_makes_only_the_rows_that_are_asked_for():
    HugeFolder.made = 0
    rows = TreeRows(Plain(b"", True, 0), lambda path: HugeFolder())
    assert len(rows) == 1_000_001
    assert rows.row(1_000_000).node.path == b"0999999"
    assert rows.find(b"0777777") == 777_778
    assert HugeFolder.made == 1
