"""A layer's index: sorted, complete, and the same whatever way one asks."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.layer.index import NO_DIR, UNRESOLVED, LayerIndex
from layerview.layer.kinds import Kind
from tests.layer.layers import index_of, layers
from tests.support import tars
from tests.view import naive
from tests.view.naive import Stack

anything = settings(max_examples=300, deadline=None)
any_layer = st.one_of(layers, naive.stacks(most=1).map(lambda stack: tars.layer(*stack[0])))
K = b"k" * 1000


def paths(index: LayerIndex) -> list[bytes]:
    return [path for path, _ in index.walk_rows()]


@anything
@given(any_layer)
def test_rows_stand_sorted_in_their_folders(data: bytes) -> None:
    index = index_of(data)
    assert index.dir_starts[0] == 0
    assert list(index.dir_starts) == sorted(index.dir_starts)
    folders = [index.dir_path(number) for number in range(len(index.dir_ends))]
    assert folders == sorted(folders, key=lambda path: path.split(b"/") if path else [])
    for number in range(len(folders)):
        names = index.names_in(number)
        assert names == [index.name(row) for row in index.rows_in(number)]
        assert names == sorted(set(names))
        assert all(names)
    assert paths(index) == sorted(paths(index), key=lambda path: path.split(b"/"))
    assert len(paths(index)) == len(index) == index.dir_starts[-1]


@anything
@given(any_layer)
def test_every_way_to_a_row_leads_to_it(data: bytes) -> None:
    index = index_of(data)
    for path, row in index.walk_rows():
        assert index.path(row) == path
        assert index.find(path) == row
        number = index.dir_number(row)
        assert row in index.rows_in(number)
        assert index.find_in(number, index.name(row)) == row
        below = index.dir_of_row[row]
        assert (below != NO_DIR) == Kind(index.kinds[row]).is_dir
        if below != NO_DIR:
            assert index.find_dir(path) == below
            assert index.row_of_dir[below] == row
            assert index.dir_path(below) == path
        else:
            assert index.find_dir(path) is None
    assert index.find(b"no such name") is None
    assert index.find(b"") is None
    assert index.find_dir(b"") == 0
    root = index.row_of_dir[0]
    assert (root, index.path(root), index.dir_of_row[root]) == (len(index.kinds) - 1, b"", 0)


@anything
@given(any_layer)
def test_all_below_a_folder_is_one_range(data: bytes) -> None:
    index = index_of(data)
    for number in range(len(index.dir_ends)):
        path = index.dir_path(number)
        below = {row for _, row in index.walk_rows(number, path)}
        assert below == set(index.rows_below(number))
        prefix = path + b"/" if path else b""
        assert below == {row for at, row in index.walk_rows() if at.startswith(prefix)}
        inside = [
            other
            for other in range(len(index.dir_ends))
            if other != number and index.dir_path(other).startswith(prefix)
        ]
        assert inside == list(range(number + 1, index.dir_ends[number]))
        assert index.bytes_below(number) == sum(index.counted[row] for row in below)


@anything
@given(any_layer)
def test_bytes_are_counted_once_an_inode(data: bytes) -> None:
    index = index_of(data)
    inodes = {}
    for row in range(len(index.kinds)):
        inode = index.inode(row)
        if inode != UNRESOLVED and index.kinds[row] == Kind.FILE:
            inodes[inode] = index.sizes[row]
    assert index.size == sum(inodes.values()) == sum(index.counted)
    assert list(index.running) == [sum(index.counted[:at]) for at in range(len(index.kinds) + 1)]
    for row, inode in index.links.items():
        if inode != UNRESOLVED:
            assert inode not in index.links
            assert row in index.link_groups[inode]
            for column in (index.kinds, index.modes, index.sizes, index.offsets, index.mtimes):
                assert column[row] == column[inode]


@anything
@given(naive.stacks(most=1))
def test_entries_and_deletions_are_counted(stack: Stack) -> None:
    index = index_of(tars.layer(*stack[0]))
    own = naive.Model(stack).owns[0]
    deleted = {path for path in own.whiteouts if path not in own.tree}
    listed = {path for path in own.versions() if path}
    assert index.entry_count == len(listed) + len(deleted)
    assert index.whiteout_count == len(deleted)
    assert index.size == naive.Model(stack).total()


@anything
@given(naive.stacks(most=1))
def test_the_order_of_markers_does_not_matter(stack: Stack) -> None:
    entries = stack[0]
    markers = [entry for entry in entries if b".wh." in entry.name]
    others = [entry for entry in entries if b".wh." not in entry.name]
    first, last = index_of(tars.layer(*markers, *others)), index_of(tars.layer(*others, *markers))
    shown = [
        [
            (path, index.kinds[row], index.dir_of_row[row] in index.opaque)
            for path, row in index.walk_rows()
        ]
        for index in (first, last)
    ]
    assert shown[0] == shown[1]


# ---- names ----------------------------------------------------------------------------------


def test_names_are_made_relative() -> None:
    data = tars.layer(
        tars.file("./a"),
        tars.file("/b"),
        tars.file("c//d"),
        tars.file("e/./f"),
        tars.file("g/../h"),
    )
    assert paths(index_of(data)) == [b"a", b"b", b"c", b"c/d", b"e", b"e/f", b"h"]


def test_names_that_climb_out_are_clamped_and_warned_of() -> None:
    index = index_of(tars.layer(tars.file("../../x"), tars.file("../y")))
    assert paths(index) == [b"x", b"y"]
    assert any("climb" in warning and "2 times" in warning for warning in index.warnings)


def test_aufs_own_files_are_no_entries() -> None:
    data = tars.layer(
        tars.folder(".wh..wh.plnk"), tars.file(".wh..wh.plnk/1.2"), tars.file(".wh..wh.aufs")
    )
    assert paths(index_of(data)) == []


def test_whiteouts_that_name_nothing_are_passed_over() -> None:
    index = index_of(tars.layer(tars.file(".wh."), tars.file("d/.wh.."), tars.file(".wh...")))
    assert index.whiteout_count == 0
    assert len(index.warnings) == 3


def test_a_name_through_a_link_of_the_same_tar_leads_through_it() -> None:
    index = index_of(
        tars.layer(tars.folder("usr"), tars.symlink("bin", "/usr"), tars.file("bin/sh", K))
    )
    assert paths(index) == [b"bin", b"usr", b"usr/sh"]


def test_links_in_a_circle_end() -> None:
    index = index_of(
        tars.layer(tars.symlink("a", "b"), tars.symlink("b", "a"), tars.file("a/f", K))
    )
    assert index.size == 1000


def test_attributes_of_the_root_are_kept() -> None:
    index = index_of(tars.layer(tars.folder("", mode=0o700, uid=3), tars.file("f")))
    root = index.row_of_dir[0]
    assert (index.modes[root], index.uids[root], index.kinds[root]) == (0o700, 3, Kind.DIR)
    assert index_of(tars.layer()).kinds == bytes([Kind.IMPLIED_DIR])


def test_a_repeated_names_bytes_are_remembered() -> None:
    index = index_of(tars.layer(tars.file("f", K), tars.file("f", b"xx"), tars.file("f", b"y")))
    assert (index.size, index.columns.repeated_bytes) == (1, 1002)
    assert any("engines refuse" in warning for warning in index.warnings)
