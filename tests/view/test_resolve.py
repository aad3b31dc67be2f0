"""The search for a path: every layer's answer, links followed inside the image."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.view import UnionView
from layerview.view.resolve import MAX_LINKS, Resolution, resolve
from tests.support import tars
from tests.view import naive
from tests.view.naive import Stack
from tests.view.stacks import index_of, view_of

anything = settings(max_examples=300, deadline=None)
PATHS = [b"a", b"b", b"a/a", b"a/b", b"a/b/c", b"b/a/c", b"c/a-b", b"a.l", b"a/b.l", b"zz", b"zz/y"]


def states(resolution: Resolution) -> list[str]:
    assert [rung.layer for rung in resolution.ladder] == list(range(len(resolution.ladder)))[::-1]
    return [rung.state for rung in resolution.ladder]


def own_state(own: naive.Own, path: bytes, showing: naive.Name | None) -> set[str]:
    """What a layer answers, by the words of json.md; where two fit, both."""
    version = own.versions().get(path)
    if version is not None:
        return {"winner" if version is showing else "hidden"}
    found = set()
    above = naive.parents(path)
    if any(at in own.whiteouts for at in [*above, path]):
        found.add("whiteout")
    if any(at in own.opaque or (at in own.tree and not own.tree[at].is_dir) for at in above):
        found.add("opaque")
    if any(at in own.whiteouts and at in own.tree for at in above):
        # Deleted and made again: that folder is as good as opaque.
        found.add("opaque")
    if path in own.whiteouts and path in own.tree:
        found = {"absent", "whiteout"} if not found - {"whiteout"} else found
    return found or {"absent"}


@anything
@given(naive.stacks(), st.sampled_from(PATHS))
def test_every_layer_answers_as_the_model_says(stack: Stack, path: bytes) -> None:
    view, _ = view_of(stack)
    model = naive.Model(stack)
    resolution = resolve(view, path, follow=False)
    if resolution.links:
        return
    showing = model.tree.get(path)
    assert resolution.exists == (showing is not None)
    assert resolution.layer == (showing.layer if showing is not None else None)
    assert resolution.certain
    for state, own in zip(states(resolution), reversed(model.owns), strict=True):
        assert state in own_state(own, path, showing), own.layer


@anything
@given(naive.stacks(), st.sampled_from(PATHS), st.sets(st.integers(0, 4)))
def test_a_layer_that_is_not_here_is_unknown_and_leaves_what_it_could_change_uncertain(
    stack: Stack, path: bytes, absent: set[int]
) -> None:
    layers = view_of(stack)[0].layers
    view = UnionView([None if n in absent else layer for n, layer in enumerate(layers)])
    resolution = resolve(view, path, follow=False)
    if resolution.links:
        return
    found = states(resolution)
    for state, number in zip(found, range(len(layers) - 1, -1, -1), strict=True):
        assert (state == "unknown") == (number in absent)
    decisive = [state for state in found if state != "absent"]
    if resolution.layer is not None or not resolution.exists:
        assert resolution.certain == (not decisive or decisive[0] != "unknown")


# ---- links ----------------------------------------------------------------------------------


def usrmerged() -> UnionView:
    base = [
        tars.folder("usr"),
        tars.folder("usr/bin"),
        tars.file("usr/bin/dash", b"d"),
        tars.symlink("bin", "usr/bin"),
    ]
    return view_of([base, [tars.folder("usr/bin"), tars.symlink("usr/bin/sh", "dash")]])[0]


def test_every_link_on_the_way_has_its_own_layer() -> None:
    found = resolve(usrmerged(), b"bin/sh")
    assert found.resolved == b"usr/bin/dash"
    assert [(link.path, link.target, link.layer) for link in found.links] == [
        (b"bin", b"usr/bin", 0),
        (b"usr/bin/sh", b"dash", 1),
    ]
    assert (found.layer, states(found)) == (0, ["absent", "winner"])


def test_the_last_link_stays_when_it_is_not_to_be_followed() -> None:
    found = resolve(usrmerged(), b"bin/sh", follow=False)
    assert (found.resolved, found.layer) == (b"usr/bin/sh", 1)
    assert [link.path for link in found.links] == [b"bin"]


def test_a_trailing_slash_follows_the_last_link_and_asks_for_a_folder() -> None:
    assert resolve(usrmerged(), b"bin/", follow=False).resolved == b"usr/bin"
    found = resolve(usrmerged(), b"usr/bin/dash/")
    assert (found.exists, found.resolved) == (False, b"usr/bin/dash")


def test_a_link_that_goes_above_the_root_stays_inside() -> None:
    view = view_of([[tars.file("etc", b"x"), tars.symlink("s", "../../../etc")]])[0]
    assert resolve(view, b"s").resolved == b"etc"
    assert resolve(view, b"../..").exists
    assert resolve(view, b"../s").resolved == b"etc"


def test_loops_end() -> None:
    view = view_of([[tars.symlink("a", "b"), tars.symlink("b", "/a"), tars.symlink("c", "c/x")]])[0]
    for path in (b"a", b"b", b"c", b"a/x"):
        found = resolve(view, path)
        assert (found.loop, found.exists) == (True, False)
        assert len(found.links) == MAX_LINKS
    assert resolve(view, b"a", follow=False).exists


def test_as_many_links_as_linux_follows_are_followed() -> None:
    for count in (MAX_LINKS, MAX_LINKS + 1):
        links = [tars.symlink(f"l{at}", f"l{at + 1}") for at in range(count)]
        view = view_of([[*links, tars.file(f"l{count}", b"x")]])[0]
        found = resolve(view, b"l0")
        assert found.exists == (count <= MAX_LINKS)


def test_a_link_that_names_nothing_says_where_it_leads() -> None:
    view = view_of([[tars.symlink("s", "gone/../there")], [tars.symlink("t", "no")]])[0]
    assert not resolve(view, b"s").exists
    found = resolve(view, b"t")
    assert (found.exists, found.resolved, states(found)) == (False, b"no", ["absent", "absent"])


def test_a_file_is_no_folder_on_the_way() -> None:
    view = view_of([[tars.file("f", b"x"), tars.file("g", b"x")]])[0]
    for path in (b"f/..", b"f/../g", b"f/.", b"f/x"):
        assert not resolve(view, path).exists, path


def test_the_root_has_the_highest_layers_attributes() -> None:
    view = view_of([[tars.folder("", mode=0o700)], [tars.folder("", mode=0o711)], []])[0]
    found = resolve(view, b"")
    assert (found.layer, states(found)) == (1, ["absent", "winner", "hidden"])
    assert found.node is not None
    assert found.node.mode == 0o711


TARGETS = st.sampled_from(
    [b"a", b"b", b"/c", b"../a", b"a/b", b"b/..", b"./c", b"/", b"..", b"a/", b"//b"]
)
NAMES = st.sampled_from([b"a", b"b", b"c", b"a/a", b"a/b", b"b/a", b"b/c"])


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(NAMES, st.one_of(TARGETS, st.just("dir"), st.just("file"))),
    st.lists(st.sampled_from([b"a", b"b", b"c", b"..", b".", b""]), min_size=1, max_size=5),
)
@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_links_lead_where_the_kernel_goes_in_a_chroot(
    tree: dict[bytes, bytes | str], parts: list[bytes]
) -> None:
    entries: list[tars.Part] = []
    for path, kind in sorted(tree.items()):
        if path.rpartition(b"/")[0] and tree.get(path.rpartition(b"/")[0]) != "dir":
            continue
        if kind == "dir":
            entries.append(tars.folder(path))
        elif kind == "file":
            entries.append(tars.file(path, b"x"))
        else:
            entries.append(tars.symlink(path, kind))
    view = UnionView([index_of(tars.layer(*entries))])
    path = b"/".join(parts)
    expected = _in_chroot(entries, path)
    found = resolve(view, path)
    assert (b"/" + found.resolved if found.exists else None) == expected


def _in_chroot(entries: list[tars.Part], path: bytes) -> bytes | None:
    """Where the kernel says a path leads, in a chroot of the entries; None: nowhere."""
    import shutil
    import tempfile

    place = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    try:
        for entry in entries:
            assert isinstance(entry, tars.Entry)
            full = os.fsencode(place) + b"/" + entry.name.rstrip(b"/")
            if entry.typeflag == b"5":
                os.mkdir(full)
            elif entry.typeflag == b"2":
                os.symlink(entry.target, full)
            else:
                Path(os.fsdecode(full)).write_bytes(b"x")
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                # Inodes tell places apart: nothing of the machine is mounted in there.
                os.chroot(place)
                os.chdir("/")
                state = os.stat(b"/" + path)
                os.write(write, str(state.st_ino).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as answer:
            inode = answer.read()
        os.waitpid(child, 0)
        if not inode:
            return None
        for at, _, files in os.walk(os.fsencode(place)):
            for name in [b"", *files]:
                full = at + b"/" + name if name else at
                if not os.path.islink(full) and os.stat(full).st_ino == int(inode):
                    return posixpath.normpath(b"/" + full[len(place) :].lstrip(b"/"))
        return None
    finally:
        shutil.rmtree(place)
