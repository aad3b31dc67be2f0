"""The unified view of stacks of any shape is what a naive model makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.layer.kinds import Kind
from layerview.view import Node, UnionView
from tests.support import tars
from tests.view import naive
from tests.view.naive import Stack
from tests.view.stacks import Memory, view_of

anything = settings(max_examples=300, deadline=None)


def described(node: Node, contents: Memory) -> tuple[object, ...]:
    content = b""
    if node.kind == Kind.FILE and node.written is not None and node.size:
        content = b"".join(contents.pieces(node.written, node.inode))
    attributes = (node.mode, node.uid, node.gid, tuple(sorted(node.xattrs.items())))
    target = node.target or b""
    return node.type, node.layer, attributes, content, target


def expected(name: naive.Name) -> tuple[object, ...]:
    inode = name.inode
    return inode.type, name.layer, inode.attributes, inode.content, inode.target


@anything
@given(naive.stacks())
def test_every_path_shows_what_the_model_shows(stack: Stack) -> None:
    view, contents = view_of(stack)
    model = naive.Model(stack)
    shown = {node.path: described(node, contents) for node in [view.root(), *view.walk()]}
    assert shown == {path: expected(name) for path, name in model.tree.items()}


@anything
@given(naive.stacks())
def test_names_of_one_inode_name_the_first(stack: Stack) -> None:
    view, _ = view_of(stack)
    model = naive.Model(stack)
    first = model.first_names()
    for node in view.walk():
        name = first[model.tree[node.path].inode]
        assert node.hardlink == (None if name == node.path else name)


@anything
@given(naive.stacks())
def test_the_ways_to_a_path_agree(stack: Stack) -> None:
    view, _ = view_of(stack)

    def facts(node: Node | None) -> tuple[object, ...] | None:
        if node is None:
            return None
        return node.path, node.kind, node.layer, node.row, node.inode, node.hardlink, node.written

    walked = {node.path: facts(node) for node in view.walk()}
    assert list(walked) == sorted(walked, key=lambda path: path.split(b"/"))
    assert {path for path, _, _, _ in view.walk_rows()} == walked.keys()
    fresh = view_of(stack)[0]
    for path, found in walked.items():
        assert facts(fresh.node(path)) == found
    for folder in [b"", *walked]:
        children = view.folder(folder)
        below = [path for path in walked if path and path.rpartition(b"/")[0] == folder]
        if not folder:
            below = [path for path in walked if b"/" not in path]
        assert [facts(child) for child in children] == [walked[path] for path in below]
        assert [children.name_at(at) for at in range(len(children))] == [
            path.rpartition(b"/")[2] for path in below
        ]
        for at, path in enumerate(below):
            assert children.find(path.rpartition(b"/")[2]) == at
        assert children.find(b"no such name") is None
        sizes = list(children.sizes())
        assert sizes == [
            view.summary(child.path).bytes if child.is_dir else child.size for child in children
        ]
        by_size = list(children.order("size"))
        assert [sizes[at] for at in by_size] == sorted(sizes, reverse=True)
        assert sorted(by_size) == list(children.order("name"))


@anything
@given(naive.stacks(), st.integers(1, 3))
def test_a_walk_goes_as_deep_as_it_is_told(stack: Stack, depth: int) -> None:
    view, _ = view_of(stack)
    for start in [b"", b"a", b"a/b"]:
        base = start.count(b"/") + 1 if start else 0
        deep = [n.path for n in view.walk(start) if n.path.count(b"/") + 1 - base <= depth]
        assert [node.path for node in view.walk(start, depth)] == deep


@anything
@given(naive.stacks())
def test_a_summary_sums_what_shows_below(stack: Stack) -> None:
    view, _ = view_of(stack)
    model = naive.Model(stack)
    counted = model.counted_names()
    for folder, found in model.tree.items():
        below = {
            path: name
            for path, name in model.tree.items()
            if not name.is_dir and (path == folder or not folder or path.startswith(folder + b"/"))
        }
        summary = view.summary(folder)
        assert summary.files == len(below), folder
        if not found.is_dir:
            assert summary.bytes == found.inode.size
            continue
        by_layer: dict[int | None, int] = {}
        for path, name in below.items():
            if name.inode.size and counted[name.inode] == path:
                size = by_layer.get(name.inode.layer, 0) + name.inode.size
                by_layer[name.inode.layer] = size
        assert summary.bytes == sum(by_layer.values()), folder
        assert {layer: size for layer, size in summary.by_layer.items() if size} == by_layer
    assert view.live_bytes == sum(inode.size for inode in model.live())
    assert view.total_bytes == model.total()


@anything
@given(naive.stacks(), st.sets(st.integers(0, 4)))
def test_a_layer_that_is_not_here_makes_what_it_could_change_uncertain(
    stack: Stack, absent: set[int]
) -> None:
    layers = view_of(stack)[0].layers
    view = UnionView([None if n in absent else layer for n, layer in enumerate(layers)])
    missing = [number for number in absent if number < len(layers)]
    for node in [view.root(), *view.walk()]:
        above = [n for n in missing if node.layer is None or n > node.layer]
        assert node.certain == (not above)


@pytest.mark.parametrize("layers", [2, 300])
def test_a_name_linked_again_in_each_layer_stays_the_first_ones_inode(layers: int) -> None:
    again = [tars.hardlink("b", "a"), tars.hardlink("a", "b")]
    view, _ = view_of([[tars.file("a", b"12345")], *[again] * layers])
    for name in (b"a", b"b"):
        node = view.node(name)
        assert node is not None
        assert (node.layer, node.written, node.inode) == (layers, 0, 0)
    assert view.live_bytes == 5
