"""What differs between two images."""

from __future__ import annotations

from hypothesis import given, settings

from layerview.view.diff import Side, compare
from tests.support import tars
from tests.view import naive
from tests.view.naive import Stack
from tests.view.stacks import view_of

anything = settings(max_examples=300, deadline=None)


def expected_change(a: naive.Name | None, b: naive.Name | None) -> str | None:
    if a is None:
        return "added"
    if b is None:
        return "removed"
    ours, theirs = a.inode, b.inode
    facts = [(inode.type, inode.content, inode.target) for inode in (ours, theirs)]
    if facts[0] != facts[1]:
        return "modified"
    return None if ours.attributes == theirs.attributes else "metadata"


def side_of(stack: Stack, keys: bool) -> Side:
    view, contents = view_of(stack)
    # Layers with the same bytes have the same key, as a DiffID is one.
    data = [tars.layer(*layer) for layer in stack]
    return Side(view, contents, data if keys else ())


def check(first: Stack, second: Stack, keys: bool) -> None:
    found = compare(side_of(first, keys), side_of(second, keys))
    a, b = naive.Model(first).tree, naive.Model(second).tree
    expected = {
        path: change
        for path in a.keys() | b.keys()
        if path and (change := expected_change(a.get(path), b.get(path)))
    }
    assert {item.path: item.change for item in found} == expected
    paths = [item.path for item in found]
    assert paths == sorted(paths, key=lambda path: path.split(b"/"))
    for item in found:
        assert (item.a is None) == (item.path not in a)
        assert (item.b is None) == (item.path not in b)


@anything
@given(naive.stacks(most=3), naive.stacks(most=3))
def test_two_images_differ_as_their_models_do(first: Stack, second: Stack) -> None:
    check(first, second, keys=False)
    check(first, second, keys=True)


@anything
@given(naive.stacks(most=3), naive.stacks(most=2, links=False))
def test_shared_layers_change_nothing_in_what_differs(base: Stack, top: Stack) -> None:
    check(base, Stack([*base, *top]), keys=True)
    check(Stack([*base, *top[:1]]), Stack([*base, *top[1:]]), keys=True)


@anything
@given(naive.stacks())
def test_an_image_does_not_differ_from_itself(stack: Stack) -> None:
    for keys in (False, True):
        assert compare(side_of(stack, keys), side_of(stack, keys)) == []
