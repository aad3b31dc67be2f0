"""Waste: every byte that layers carry and nobody sees, who wrote it, and who hides it."""

from __future__ import annotations

from hypothesis import given, settings

from layerview.view import UnionView
from layerview.view.waste import KINDS, measure
from tests.support import tars
from tests.view import naive
from tests.view.naive import Stack
from tests.view.stacks import view_of

K = b"k" * 1000
anything = settings(max_examples=300, deadline=None)


@anything
@given(naive.stacks())
def test_the_sums_agree(stack: Stack) -> None:
    view, contents = view_of(stack)
    waste = measure(view, contents)
    assert waste.total_bytes == view.total_bytes == sum(len_of(view, n) for n in range(len(stack)))
    assert waste.live_bytes == view.live_bytes
    assert waste.wasted_bytes == waste.total_bytes - waste.live_bytes
    assert list(waste.by_kind) == list(KINDS)
    assert sum(waste.by_kind.values()) == waste.wasted_bytes
    assert [item.layer for item in waste.by_layer] == list(range(len(stack)))
    for kind in KINDS:
        assert sum(item.by_kind[kind] for item in waste.by_layer) == waste.by_kind[kind]
    for item in waste.by_layer:
        assert sum(item.by_kind.values()) == item.bytes
    for path in waste.paths:
        assert sum(version.bytes for version in path.versions) == path.bytes
        assert all(version.layer < version.hidden_by for version in path.versions)
        layers = [version.layer for version in path.versions]
        assert layers == sorted(layers)
    assert sum(path.bytes for path in waste.paths) == waste.wasted_bytes
    order = [(-path.bytes, path.path) for path in waste.paths]
    assert order == sorted(order)


def len_of(view: UnionView, layer: int) -> int:
    index = view.layers[layer]
    assert index is not None
    return index.size


@anything
@given(naive.stacks())
def test_what_shows_counts_each_inode_once(stack: Stack) -> None:
    view, contents = view_of(stack)
    seen = {}
    for node in view.walk():
        if node.type == "file":
            assert node.layer is not None
            seen[view.source_of(node.layer, node.row)] = node.size
    assert measure(view, contents).live_bytes == sum(seen.values())


@anything
@given(naive.stacks())
def test_each_hidden_version_is_what_the_model_says(stack: Stack) -> None:
    view, contents = view_of(stack)
    model = naive.Model(stack)
    expected = model.wasted()
    waste = measure(view, contents)
    assert waste.total_bytes == model.total()
    found = [
        (path.path, version) for path in waste.paths for version in path.versions if version.bytes
    ]
    assert len(found) == len(expected)
    for path, version in found:
        # Of several names hidden at once any may stand for the inode.
        matching = [
            inode
            for inode, (last, ends) in expected.items()
            if inode.layer == version.layer
            and inode.size == version.bytes
            and last == version.hidden_by
            and (path, version.kind) in ends
        ]
        assert matching, (path, version)


def wasted(*stack: list[tars.Part]) -> dict[str, int]:
    view, contents = view_of(stack)
    return {kind: size for kind, size in measure(view, contents).by_kind.items() if size}


def test_a_changed_file_leaves_its_old_version() -> None:
    assert wasted([tars.file("f", K)], [tars.file("f", b"x")]) == {"overwritten": 1000}


def test_a_copy_for_a_change_of_mode_owner_or_attributes_is_metadata_only() -> None:
    for changed in ({"mode": 0o600}, {"uid": 5}, {"gid": 5}, {"xattrs": {"user.x": b"1"}}):
        assert wasted([tars.file("f", K)], [tars.file("f", K, **changed)]) == {
            "metadata_only": 1000
        }


def test_a_file_added_again_unchanged_is_identical_whatever_its_time() -> None:
    assert wasted([tars.file("f", K, mtime=5)], [tars.file("f", K)]) == {"identical": 1000}


def test_as_many_bytes_are_not_the_same_bytes() -> None:
    assert wasted([tars.file("f", K)], [tars.file("f", b"x" * 1000)]) == {"overwritten": 1000}


def test_a_file_deleted_with_its_folder_is_deleted() -> None:
    assert wasted([tars.folder("a"), tars.file("a/f", K)], [tars.whiteout("a")]) == {
        "deleted": 1000
    }


def test_a_file_deleted_and_added_again_later_is_deleted_by_the_first() -> None:
    view, contents = view_of([[tars.file("f", K)], [tars.whiteout("f")], [tars.file("f", K)]])
    (path,) = measure(view, contents).paths
    (version,) = path.versions
    assert (version.layer, version.kind, version.hidden_by) == (0, "deleted", 1)


def test_bytes_that_another_name_keeps_are_not_wasted() -> None:
    first = [tars.file("a", K), tars.hardlink("b", "a")]
    assert wasted(first, [tars.whiteout("a")]) == {}
    assert wasted(first, [tars.whiteout("a")], [tars.whiteout("b")]) == {"deleted": 1000}
    assert wasted([tars.file("a", K)], [tars.hardlink("b", "a"), tars.whiteout("a")]) == {}


def test_an_image_without_bytes_wastes_none() -> None:
    view, contents = view_of([])
    waste = measure(view, contents)
    assert (waste.total_bytes, waste.live_bytes, waste.wasted_bytes) == (0, 0, 0)
    assert waste.efficiency == 1.0
    assert waste.dive.efficiency_score == 1.0
    assert waste.dive.user_wasted_percent == 0.0


def test_without_contents_equal_sizes_count_as_overwritten() -> None:
    view, _ = view_of([[tars.file("f", K)], [tars.file("f", K)]])
    assert measure(view).by_kind["overwritten"] == 1000
