"""What each layer does to the layers below it."""

from __future__ import annotations

from hypothesis import given, settings

from layerview.layer.kinds import Kind
from layerview.view.changes import ChangedFolder, measure_changes, walk_layer
from tests.support import tars
from tests.view import naive
from tests.view.naive import Stack
from tests.view.stacks import view_of

K = b"k" * 1000
anything = settings(max_examples=300, deadline=None)


def expected_change(name: naive.Name, lower: naive.Name | None) -> str:
    mine = name.inode
    if lower is None:
        return "added"
    theirs = lower.inode
    if mine.type != theirs.type:
        return "modified"
    if lower.is_dir and lower.layer is None:
        return "metadata"
    if (mine.content, mine.target) != (theirs.content, theirs.target):
        return "modified"
    return "identical" if mine.attributes == theirs.attributes else "metadata"


@anything
@given(naive.stacks())
def test_each_entry_is_what_the_model_says(stack: Stack) -> None:
    view, contents = view_of(stack)
    model = naive.Model(stack)
    nothing: naive.Tree = {}
    for own, below in zip(model.owns, [nothing, *model.trees], strict=False):
        expected = {
            path: expected_change(name, below.get(path))
            for path, name in own.versions().items()
            if path
        }
        deleted = {path for path in own.whiteouts if path not in own.tree}
        expected |= dict.fromkeys(deleted, "deleted")
        changes = measure_changes(view, own.layer, contents)
        found = {node.path: node.change for node in walk_layer(view, changes, own.layer)}
        assert found == expected
        assert list(found) == sorted(found, key=lambda path: path.split(b"/"))
        counted = {word: list(expected.values()).count(word) for word in changes.counts}
        assert changes.counts == counted


@anything
@given(naive.stacks())
def test_a_deletion_hides_the_bytes_that_showed_there(stack: Stack) -> None:
    view, contents = view_of(stack)
    for layer in range(len(stack)):
        changes = measure_changes(view, layer, contents)
        lower = view.below(layer)
        for node in walk_layer(view, changes, layer):
            if node.kind == Kind.WHITEOUT:
                assert node.hides == lower.summary(node.path).bytes
            elif not node.is_dir:
                assert node.hides == 0


@anything
@given(naive.stacks())
def test_a_layers_folders_hold_what_a_walk_finds(stack: Stack) -> None:
    view, contents = view_of(stack)
    for layer in range(len(stack)):
        changes = measure_changes(view, layer, contents)
        walked = {node.path: node.change for node in walk_layer(view, changes, layer)}
        found = {}
        waiting = [b""]
        while waiting:
            for node in ChangedFolder(view, changes, layer, waiting.pop()):
                if node.is_dir:
                    waiting.append(node.path)
                if node.kind != Kind.IMPLIED_DIR:
                    found[node.path] = node.change
        assert found == walked


def test_a_file_that_is_deleted_and_written_in_one_layer_is_modified() -> None:
    view, contents = view_of([[tars.file("f", K)], [tars.whiteout("f"), tars.file("f", b"x")]])
    (node,) = walk_layer(view, measure_changes(view, 1, contents), 1)
    assert (node.change, node.type) == ("modified", "file")


def test_an_opaque_folder_says_what_it_hides() -> None:
    lower = [tars.folder("a"), tars.file("a/f1", K), tars.file("a/f2", K)]
    view, contents = view_of([lower, [tars.folder("a"), tars.opaque("a"), tars.file("a/f1", K)]])
    nodes = {n.path: n for n in walk_layer(view, measure_changes(view, 1, contents), 1)}
    assert (nodes[b"a"].change, nodes[b"a"].hides) == ("identical", 2000)
    assert nodes[b"a/f1"].change == "identical"


def test_a_capability_is_a_change_of_metadata() -> None:
    capable = tars.file("f", K, xattrs={"security.capability": b"\x01\0\0\x02"})
    view, contents = view_of([[tars.file("f", K)], [capable]])
    (node,) = walk_layer(view, measure_changes(view, 1, contents), 1)
    assert node.change == "metadata"
    assert node.xattrs == {b"security.capability": b"\x01\0\0\x02"}
