"""Stacks of any shape, unpacked in each form: what the words of the image spec say they mean."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings

from layerview.layer.folder import read_folder
from layerview.layer.kinds import Kind
from layerview.layer.tar_split import read_headers
from layerview.layer.whiteouts import Whiteouts
from tests.layer.applying import Entry, Unpacked, entries_on_disk, merged, scratch, unpack
from tests.layer.layers import index_of
from tests.support import tars
from tests.view.naive import Model, Stack, Tree, parents, stacks

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and overlays need root")


def expected(tree: Tree) -> dict[bytes, Entry]:
    """Say what a tree of the model is on disk."""
    found = {}
    for path, name in tree.items():
        inode = name.inode
        mode, uid, gid, xattrs = inode.attributes
        found[path] = Entry(
            inode.type,
            0o777 if inode.type == "symlink" else mode,
            (uid, gid),
            inode.content or inode.target,
            xattrs if inode.type in ("file", "dir") else (),
        )
    return found


def groups(tree: Tree) -> set[frozenset[bytes]]:
    names: dict[int, set[bytes]] = {}
    for path, name in tree.items():
        if not name.is_dir:
            names.setdefault(id(name.inode), set()).add(path)
    return {frozenset(paths) for paths in names.values() if len(paths) > 1}


def checked(stack: Sequence[Sequence[tars.Entry]]) -> Model:
    """Tell what a stack means; hard links to nothing are another test's."""
    model = Model(stack)
    assume(not any(name.inode.nowhere for own in model.owns for name in own.tree.values()))
    return model


def turns(entries: Sequence[tars.Entry]) -> bool:
    """Whether a layer's file becomes a folder further on in the same tar.

    In a full tree the file has taken the place of a lower layer's folder by then; the index and
    an overlay know nothing of it. Engines refuse such tars.
    """
    files: set[bytes] = set()
    for entry in entries:
        path = entry.name.rstrip(b"/")
        if files.intersection(parents(path)) or (entry.typeflag == b"5" and path in files):
            return True
        if entry.typeflag != b"5":
            files.add(path)
    return False


def check_bytes(unpacked: Unpacked, data: bytes) -> None:
    """The tar comes back, and its headers say what the tar's do."""
    assert unpacked.applied.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    assert unpacked.rebuilt() == data
    found, index = read_headers(io.BytesIO(unpacked.tar_split)).columns, index_of(data).columns
    for name in type(index).__slots__:
        assert getattr(found, name) == getattr(index, name), name


@settings(max_examples=50, deadline=None)
@given(stacks())
@example(Stack([[tars.file(b"a/b", b"k")], [tars.file(b"a/c"), tars.whiteout(b"a")]]))
@example(Stack([[tars.file(b"a/b", b"k")], [tars.folder(b"a", mode=0o700), tars.opaque(b"a")]]))
@example(Stack([[tars.folder(b"a/b", mode=0o700)], [tars.file(b"a/b/c"), tars.opaque(b"a")]]))
@example(Stack([[tars.file(b"a", b"k"), tars.hardlink(b"b", b"a"), tars.file(b"a", b"x")]]))
@example(Stack([[tars.file(b"a/b", b"k"), tars.hardlink(b"a", b"a/b")]]))
def test_a_full_tree_is_what_shows(stack: Stack) -> None:
    model = checked(stack)
    assume(not any(turns(entries) for entries in stack[1:]))
    with scratch() as folder:
        for entries, tree in zip(stack, model.trees, strict=True):
            data = tars.layer(*entries)
            check_bytes(unpack(folder / "tree", data, Whiteouts.NONE), data)
            found, links = entries_on_disk(folder / "tree")
            assert found == expected(tree)
            assert links == groups(tree)


@settings(max_examples=50, deadline=None)
@given(stacks())
def test_the_kernel_shows_layers_as_they_mean(stack: Stack) -> None:
    model = checked(stack)
    # The kernel asks no layer's root whether it is opaque, and takes folders' attributes from
    # the topmost layer that has them, opaque or not: these are the driver's to know.
    assume(not any(b"" in own.opaque for own in model.owns))
    with scratch() as top, ExitStack() as held:
        folders: list[Path] = []
        shown = top / "merged-0"
        shown.mkdir()
        for number, entries in enumerate(stack, 1):
            data = tars.layer(*entries)
            unpacked = unpack(top / f"layer-{number}", data, Whiteouts.TRUSTED, lower=shown)
            check_bytes(unpacked, data)
            folders.append(unpacked.folder)
            shown = held.enter_context(merged(folders, top / f"merged-{number}"))
            found, _ = entries_on_disk(shown)
            assert found == expected(model.trees[number - 1])


@settings(max_examples=50, deadline=None)
@given(stacks(most=2, links=False))
@pytest.mark.parametrize("form", [Whiteouts.TRUSTED, Whiteouts.USER, Whiteouts.AUFS])
def test_a_folder_holds_what_its_layer_does(form: Whiteouts, stack: Stack) -> None:
    for own in checked(stack).owns:
        data = tars.layer(*stack[own.layer])
        with scratch() as top:
            unpacked = unpack(top / "layer", data, form)
            check_bytes(unpacked, data)
            index = read_folder(str(unpacked.folder), whiteouts=form)
            kinds = {path: Kind(index.kinds[row]) for path, row in index.walk_rows()}
            assert {path for path, kind in kinds.items() if kind is Kind.WHITEOUT} == {
                path for path in own.whiteouts if path not in own.tree
            }
            assert {path for path, kind in kinds.items() if kind is not Kind.WHITEOUT} == {
                path for path in own.tree if path
            }
            opaque = {index.dir_path(number) for number in index.opaque}
            assert opaque == own.opaque | {
                path for path in own.whiteouts if path in own.tree and own.tree[path].is_dir
            }
            inodes = {id(name.inode): name.inode.size for name in own.tree.values()}
            links = {
                id(name.inode): len(name.inode.target)
                for name in own.tree.values()
                if name.inode.type == "symlink"
            }
            assert unpacked.applied.size == sum(inodes.values()) + sum(links.values())
            states = [os.lstat(path) for path in unpacked.folder.rglob("*")]
            assert unpacked.applied.size == sum(
                {s.st_ino: s.st_size for s in states if not stat.S_ISDIR(s.st_mode)}.values()
            )
