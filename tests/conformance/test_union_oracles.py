"""The unified view beside the kernel's overlayfs and `umoci unpack`, path by path.

Compared are type, mode, owner, size, link target, content, device number, extended attributes,
which names are one inode, and the layer that wins.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance import union_oracles as oracles
from tests.support import tars

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting an overlay needs root"),
]
needs_umoci = pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed")


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=oracles.scratch(), prefix="layerview-") as place:
        yield Path(place)


# ---- generated stacks -----------------------------------------------------------------------

NAMES = [b"a", b"b", b"c", b"a-b", b"d", b"caf\xe9", b"n\nl", b".wh", b"\xf0\x9f\x90\x8b" * 20]
CONTENTS = [b"", b"k" * 700, b"x" * 700, b"y" * 10]
names = st.sampled_from(NAMES[:5]) | st.sampled_from(NAMES)
attributes = st.fixed_dictionaries(
    {
        "mode": st.sampled_from([0o644, 0o755, 0o4711, 0o1777]),
        "uid": st.sampled_from([0, 0, 1000]),
        "gid": st.sampled_from([0, 0, 5]),
    }
)
xattrs = st.sampled_from([{}, {}, {}, {"user.x": b"1"}, {"user.x": b"2\xff\x00", "user.y": b"y"}])
leaves = st.one_of(
    st.builds(
        lambda data, attrs, xattrs: tars.file("", data, xattrs=xattrs, **attrs),
        st.sampled_from(CONTENTS),
        attributes,
        xattrs,
    ),
    st.builds(
        lambda target: tars.symlink("", target), st.sampled_from([b"a", b"../b", b"/c", b"\xff"])
    ),
    st.builds(lambda attrs: tars.fifo("", **attrs), attributes),
    st.builds(lambda attrs: tars.char("", 1, 3, **attrs), attributes),
    st.builds(lambda attrs: tars.block("", 7, 1, **attrs), attributes),
    st.just("whiteout"),
    st.just("whiteout"),
    st.just("hardlink"),
)


@st.composite
def folders(
    draw: st.DrawFn, children: st.SearchStrategy[object], unlisted: bool
) -> tuple[object, ...]:
    """Attributes, where the opaque marker stands (0: nowhere), whether it is listed, children."""
    return (
        draw(attributes),
        draw(st.sampled_from([0, 0, 0, 0, 1, 2])),
        not unlisted or draw(st.sampled_from([True, True, True, False])),
        draw(st.dictionaries(names, children, max_size=4)),
    )


def stacks(*, unlisted: bool) -> st.SearchStrategy[list[tuple[object, ...]]]:
    """One to six layers; `unlisted`: folders that hold entries may lack one of their own."""
    layers = folders(leaves | folders(leaves | folders(leaves, unlisted), unlisted), unlisted)
    return st.lists(layers, min_size=1, max_size=6)


def holds_entries(node: object) -> bool:
    """Whether a part of a layer's tree is or holds more than markers."""
    if isinstance(node, tuple):
        return any(child != "whiteout" for child in node[3].values())
    return node != "whiteout"


def entries_of(layer: tuple[object, ...]) -> list[tars.Part]:
    """Write a layer's tree as entries: folders first, hard links last."""
    found: list[tars.Part] = []
    links: list[bytes] = []
    files: list[tars.Entry] = []

    def add(path: bytes, node: object) -> None:
        if node == "whiteout":
            found.append(tars.whiteout(path))
        elif node == "hardlink":
            links.append(path)
        elif isinstance(node, tars.Entry):
            files.append(replace(node, name=path))
            found.append(files[-1])
        else:
            attrs, opaque, listed, children = node
            if listed or not holds_entries(node):
                found.append(tars.folder(path, **attrs))
            if opaque == 1:
                found.append(tars.opaque(path))
            for name, child in children.items():
                add(path + b"/" + name if path else name, child)
            if opaque == 2:
                found.append(tars.opaque(path))

    add(b"", layer)
    for number, path in enumerate(links):
        if files:
            first = files[number % len(files)]
            found.append(replace(first, name=path, typeflag=b"1", target=first.name, data=b""))
    return found


def without_opaque_root(stack: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return [(attrs, 0, listed, children) for attrs, _, listed, children in stack]


def against_overlayfs(expected: oracles.Tree, found: oracles.Tree) -> list[str]:
    """Compare with the kernel's tree, but for what a tar does not say.

    The kernel gives a merged folder the attributes of the highest layer that has it, listed in
    its tar or not; a tar that does not list a folder says nothing about it.
    """
    unlisted = folders_without_layer(expected)
    fields = ("mode", "owner", "xattrs", "layer")
    return oracles.difference(
        oracles.without(expected, fields, unlisted), oracles.without(found, fields, unlisted)
    )


def against_umoci(
    expected: oracles.Tree, found: oracles.Tree, crossing: Collection[bytes] = ()
) -> list[str]:
    """Compare with umoci's tree, but for the layer where its times do not say it.

    It deletes what a marker hides when it comes to the marker, which may be after it set the
    folder's time; and a name linked to a lower layer's file has that file's time.
    """
    paths = folders_without_layer(expected) | set(crossing)
    return oracles.difference(
        oracles.without(expected, ["layer"], paths), oracles.without(found, ["layer"], paths)
    )


def folders_without_layer(tree: oracles.Tree) -> set[bytes]:
    return {path for path, seen in tree.items() if seen.type == "dir" and seen.layer is None}


def tars_of(stack: list[tuple[object, ...]]) -> list[bytes]:
    return [
        tars.layer(*oracles.stamped(entries_of(layer), number))
        for number, layer in enumerate(stack)
    ]


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(stacks(unlisted=True))
def test_generated_stacks_show_what_overlayfs_shows(
    work: Path, stack: list[tuple[object, ...]]
) -> None:
    # The kernel stacks the layers' roots before it looks at anything, so that an opaque root says
    # nothing to it; by the spec it hides as any opaque folder does (see the tests by hand).
    data = tars_of(without_opaque_root(stack))
    expected = oracles.overlay_tree(data, work)
    found = oracles.view_of(f"oci:{oracles.written(data, work)}:t")
    assert against_overlayfs(expected, found) == []


@needs_umoci
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(stacks(unlisted=False))
def test_generated_stacks_show_what_umoci_unpacks(
    work: Path, stack: list[tuple[object, ...]]
) -> None:
    data = tars_of(stack)
    layout = oracles.written(data, work)
    expected = oracles.umoci_tree(layout, "t", work)
    found = oracles.view_of(f"oci:{layout}:t")
    assert against_umoci(expected, found) == []


# ---- stacks made by hand --------------------------------------------------------------------

K = b"k" * 1000
CAPABILITY = {"security.capability": b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"}

Case = tuple[list[list[tars.Part]], dict[str, str], str]
"""Layers; the oracles left out, each with the reason; what shows, a word a path."""

CASES: dict[str, Case] = {
    "an opaque folder shows only its own layer's files": (
        [
            [tars.folder("a"), tars.file("a/f1", K), tars.file("a/f2", K)],
            [tars.folder("a"), tars.opaque("a"), tars.file("a/f3", K)],
        ],
        {},
        "a:1 a/f3:1",
    ),
    "a marker behind the new siblings hides only what is below": (
        [
            [tars.folder("a"), tars.file("a/f1", K)],
            [tars.folder("a"), tars.file("a/f3", K), tars.opaque("a")],
        ],
        {},
        "a:1 a/f3:1",
    ),
    "a folder removed and made again is empty": (
        [
            [tars.folder("d"), tars.folder("d/e"), tars.file("d/e/foo", K)],
            [tars.folder("d"), tars.opaque("d")],
        ],
        {},
        "d:1",
    ),
    "a folder deleted in one layer and made again in a later one is empty": (
        [
            [tars.folder("d"), tars.folder("d/e"), tars.file("d/e/foo", K)],
            [tars.whiteout("d")],
            [tars.folder("d"), tars.folder("d/e"), tars.file("d/e/new", K)],
        ],
        {},
        "d:2 d/e:2 d/e/new:2",
    ),
    "a folder that was replaced and made again does not merge": (
        [
            [tars.folder("d"), tars.folder("d/e"), tars.file("d/e/foo", K)],
            [tars.file("d", K)],
            [tars.folder("d"), tars.folder("d/e")],
        ],
        {},
        "d:2 d/e:2",
    ),
    "a deleted folder is gone with all below it": (
        [
            [tars.folder("a"), tars.file("a/f1", K), tars.folder("a/b"), tars.file("a/b/f", K)],
            [tars.whiteout("a")],
        ],
        {},
        "",
    ),
    "a whiteout deletes in its own folder only": (
        [
            [tars.file("test", K), tars.folder("root"), tars.file("root/test", K)],
            [tars.whiteout("test")],
        ],
        {},
        "root:0 root/test:0",
    ),
    "a whiteout of nothing does nothing": (
        [[tars.file("a", K)], [tars.whiteout("nope"), tars.file("b", K)]],
        {},
        "a:0 b:1",
    ),
    "a whiteout never hides its own layer's file": (
        [[tars.file("f", K)], [tars.file("f", 2 * K), tars.whiteout("f")]],
        {},
        "f:1",
    ),
    "a whiteout before its own layer's file": (
        [[tars.file("f", K)], [tars.whiteout("f"), tars.file("f", 2 * K)]],
        {},
        "f:1",
    ),
    "a whiteout of a folder that its own layer makes again hides what is below": (
        [
            [tars.folder("d"), tars.file("d/old", K)],
            [tars.whiteout("d"), tars.folder("d"), tars.file("d/new", K)],
        ],
        {},
        "d:1 d/new:1",
    ),
    "a whiteout behind the folder that its own layer makes again": (
        [
            [tars.folder("d"), tars.file("d/old", K)],
            [tars.folder("d"), tars.file("d/new", K), tars.whiteout("d")],
        ],
        {},
        "d:1 d/new:1",
    ),
    "whiteouts in a folder that merges with nothing are no entries": (
        [[tars.file("x", K)], [tars.folder("d"), tars.whiteout("d/a"), tars.file("d/b", K)]],
        {},
        "d:1 d/b:1 x:0",
    ),
    "a file takes a folder's place": (
        [[tars.folder("d"), tars.file("d/x", K)], [tars.file("d", K)]],
        {},
        "d:1",
    ),
    "a folder takes a file's place": (
        [[tars.file("d", K)], [tars.folder("d"), tars.file("d/x", K)]],
        {},
        "d:1 d/x:1",
    ),
    "a link takes a link's place": (
        [[tars.symlink("b", "x")], [tars.symlink("b", "y")]],
        {},
        "b:1",
    ),
    "a file takes a link's place and is not written through it": (
        [[tars.file("x", K), tars.symlink("b", "x")], [tars.file("b", b"new")]],
        {},
        "b:1 x:0",
    ),
    "a folder takes the place of a link to a folder": (
        [
            [
                tars.folder("usr"),
                tars.folder("usr/bin"),
                tars.file("usr/bin/sh", K),
                tars.symlink("bin", "usr/bin"),
            ],
            [tars.folder("bin"), tars.file("bin/x", K)],
        ],
        {},
        "bin:1 bin/x:1 usr:0 usr/bin:0 usr/bin/sh:0",
    ),
    "a file below a lower layer's link stands in a folder of its own": (
        [
            [tars.folder("usr"), tars.file("usr/sh", K), tars.symlink("bin", "usr")],
            [tars.file("bin/x", K)],
        ],
        {
            "umoci": "unpacks through the lower layer's link; a path of a layer is a path (spec:"
            " each changeset is an archive of its own), as engines that extract layers apart do"
        },
        "bin bin/x:1 usr:0 usr/sh:0",
    ),
    "a name below a link of its own layer leads through the link": (
        [
            [
                tars.folder("usr"),
                tars.symlink("bin", "usr"),
                tars.file("bin/x", K),
                tars.hardlink("bin/y", "usr/x"),
            ]
        ],
        {"umoci": "sets the folder's time before it comes back to it"},
        "bin:0 usr:0 usr/x:0 usr/y:0",
    ),
    "a folder that is listed twice has the last attributes": (
        [
            [
                tars.folder("usr"),
                tars.folder("usr/lib", mode=0o700),
                tars.file("usr/lib/a", K),
                tars.folder("usr/lib", mode=0o711),
            ]
        ],
        {},
        "usr:0 usr/lib:0 usr/lib/a:0",
    ),
    "the last of a repeated name counts": (
        [[tars.file("f", b"1"), tars.file("f", b"22")]],
        {},
        "f:0",
    ),
    "the last of a repeated name counts, whatever the kind": (
        [[tars.folder("f"), tars.file("f/x", K), tars.symlink("f", "g"), tars.folder("g")]],
        {},
        "f:0 g:0",
    ),
    "a deletion of one name of an inode leaves the other": (
        [[tars.file("a", K), tars.hardlink("b", "a")], [tars.whiteout("a")]],
        {},
        "b:0",
    ),
    "a change through one name of an inode, stored again under that name": (
        [
            [tars.file("a", K), tars.hardlink("b", "a"), tars.hardlink("c", "a")],
            [tars.file("b", 2 * K)],
        ],
        {},
        "a:0 b:1 c:0",
    ),
    "hard links below folders that no entry names": (
        [[tars.folder("bin"), tars.file("bin/app", K), tars.hardlink("x/y/app", "bin/app")]],
        {"umoci": "gives folders that it makes on the way the present time"},
        "bin:0 bin/app:0 x x/y x/y/app:0",
    ),
    "a hard link to a file of a lower layer": (
        [[tars.file("a", K, mode=0o751)], [tars.hardlink("b", "a", mode=0o751)]],
        {
            "overlay": "layers that are extracted one by one can't share an inode; the spec"
            " allows any link target that is there when the layer is applied"
        },
        "a:0 b:1",
    ),
    "a hard link to a lower file that its own layer deletes": (
        [[tars.file("a", K)], [tars.hardlink("b", "a"), tars.whiteout("a")]],
        {"overlay": "as above"},
        "b:1",
    ),
    "an opaque root hides everything below": (
        [[tars.file("a", K)], [tars.folder(""), tars.opaque(""), tars.file("b", K)]],
        {"overlay": "stacks the roots without looking at them; the spec knows no such exception"},
        "b:1",
    ),
    "a marker alone makes no folder shown as a file": (
        [[tars.folder("d"), tars.opaque("d"), tars.file("x", K)]],
        {},
        "d:0 x:0",
    ),
    "a device 0/0 is a device": (
        [[tars.file("a", K)], [tars.char("a", 0, 0)]],
        {"overlay": "takes it for its own form of a whiteout; the spec names whiteouts .wh."},
        "a:1",
    ),
    "capabilities and setuid": (
        [
            [tars.file("ping", K, mode=0o755)],
            [tars.file("ping", K, mode=0o4755, xattrs=CAPABILITY)],
        ],
        {},
        "ping:1",
    ),
    "names that look like markers and are none": (
        [[tars.file(".wh", K), tars.file("a.wh.b", K), tars.file("...", K), tars.folder("..a")]],
        {},
        "...:0 ..a:0 .wh:0 a.wh.b:0",
    ),
}


@pytest.mark.parametrize("oracle", ["overlay", "umoci"])
@pytest.mark.parametrize("name", CASES)
def test_stacks_made_by_hand(name: str, oracle: str, work: Path) -> None:
    stack, left_out, shown = CASES[name]
    data = [tars.layer(*oracles.stamped(layer, number)) for number, layer in enumerate(stack)]
    layout = oracles.written(data, work)
    found = oracles.view_of(f"oci:{layout}:t")
    del found[b""]
    words = [
        f"{path.decode()}:{seen.layer}" if seen.layer is not None else path.decode()
        for path, seen in found.items()
    ]
    assert words == shown.split()
    if oracle in left_out:
        return
    if oracle == "umoci" and shutil.which("umoci") is None:
        pytest.skip("umoci is not installed")
    if oracle == "overlay":
        expected = oracles.overlay_tree(data, work)
        del expected[b""]
        assert against_overlayfs(expected, found) == []
    else:
        expected = oracles.umoci_tree(layout, "t", work)
        del expected[b""]
        assert against_umoci(expected, found, crossing_links(stack)) == []


def crossing_links(stack: list[list[tars.Part]]) -> set[bytes]:
    """The hard links whose target is in a lower layer."""
    found = set()
    for layer in stack:
        entries = [entry for entry in layer if isinstance(entry, tars.Entry)]
        names = {entry.name for entry in entries}
        found |= {
            entry.name for entry in entries if entry.typeflag == b"1" and entry.target not in names
        }
    return found


# ---- images that an engine built ------------------------------------------------------------

LAB = Path(os.environ.get("LAYERVIEW_LAB_IMAGES") or "/tmp/lab/images")
SMALL = 64 << 20
"""Bytes of the saved image up to which it is compared."""
LAB_IMAGES = sorted(
    path.stem for path in (LAB / "docker").glob("*.tar") if path.stat().st_size < SMALL
) or ["none"]


@needs_umoci
@pytest.mark.skipif(not (LAB / "oci").is_dir(), reason=f"there are no lab images in {LAB}")
@pytest.mark.parametrize("name", LAB_IMAGES)
def test_an_engines_image_shows_what_umoci_unpacks(name: str, work: Path) -> None:
    layout = LAB / "oci" / name
    tag = json.loads((layout / "index.json").read_bytes())["manifests"][0]["annotations"]
    expected = oracles.umoci_tree(layout, tag["org.opencontainers.image.ref.name"], work, False)
    for form in ("oci/{}", "docker/{}.tar", "oci-tar/{}.tar", "oci-zstd/{}"):
        found = oracles.view_of(str(LAB / form.format(name)))
        # Real times do not tell layers; what a tar does not list has no attributes in it.
        unlisted = folders_without_layer(found)
        found = oracles.without(found, ["layer"], found)
        fields = ("mode", "owner")
        assert (
            oracles.difference(
                oracles.without(expected, fields, unlisted),
                oracles.without(found, fields, unlisted),
            )
            == []
        )
