"""The layer below a container's own: places to mount on, and nothing of the image changed."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from layerview.containers import init_layer
from layerview.drivers.base import Driver
from layerview.drivers.probe import make_driver
from tests.support import tars
from tests.support.trees import Found, snapshot

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root"),
]

BASE, TOP, INIT, OTHER = (f"{digit}" * 64 for digit in "abcd")


@pytest.fixture(params=["overlay2", "vfs"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    made = make_driver(request.param, str(tmp_path / "area"))
    yield made
    for id in made.ids():
        made.remove(id)


def image(driver: Driver, *layers: bytes) -> str:
    """Unpack layers one on the other; return the top one."""
    parent: str | None = None
    for id, layer in zip((BASE, TOP), layers, strict=False):
        driver.create(id, parent)
        driver.apply(id, parent, io.BytesIO(layer))
        parent = id
    assert parent is not None
    return parent


def shown(driver: Driver, id: str) -> dict[bytes, Found]:
    with driver.mounted(id) as place:
        return snapshot(Path(place))


def filled(driver: Driver, id: str, parent: str) -> dict[bytes, Found]:
    init_layer.fill(driver, f"{id}-init", parent)
    return shown(driver, f"{id}-init")


ORDINARY = [
    pytest.param([tars.layer(tars.file("f", b"x"))], id="nothing-there"),
    pytest.param(
        [
            tars.layer(
                tars.folder("etc", mode=0o2770, uid=7, gid=8, xattrs={"user.mine": b"kept"}),
                tars.file("etc/hosts", b"the image's\n", mode=0o600),
                tars.folder("dev", mode=0o700),
            ),
            tars.layer(tars.file("etc/passwd", b"p")),
        ],
        id="some-there",
    ),
    pytest.param(
        [
            tars.layer(tars.folder("etc"), tars.file("etc/hosts", b"gone"), tars.folder("proc")),
            tars.layer(tars.whiteout("etc/hosts"), tars.whiteout("proc")),
        ],
        id="deleted",
    ),
]


@pytest.mark.parametrize("layers", ORDINARY)
def test_it_holds_what_the_image_lacks_and_changes_nothing_else(
    driver: Driver, layers: list[bytes]
) -> None:
    top = image(driver, *layers)
    before, after = shown(driver, top), filled(driver, INIT, top)
    for path, found in before.items():
        own, now = (
            (one.mode, one.uid, one.gid, one.content, one.xattrs) for one in (found, after[path])
        )
        assert now == own, path
    for path in (b"dev/pts", b"dev/shm", b"proc", b"sys", b"etc"):
        assert after[path].kind == stat.S_IFDIR
    for path in (b"dev/console", b"etc/hostname", b"etc/hosts", b"etc/resolv.conf", b".dockerenv"):
        assert after[path].kind == stat.S_IFREG
    assert after[b"etc/mtab"].content == b"/proc/mounts"


@pytest.mark.parametrize("layers", ORDINARY)
def test_it_is_the_same_as_a_layer_that_is_unpacked(driver: Driver, layers: list[bytes]) -> None:
    """Unpacking is the slower way, which is gone where something has to give way."""
    top = image(driver, *layers)
    quick = filled(driver, INIT, top)

    def unpacked(
        driver: Driver, id: str, places: list[tuple[bytes, bytes, bytes]], _: object
    ) -> None:
        entries = b"".join(init_layer._entry(*place) for place in places)
        driver.apply(id, top, io.BytesIO(entries + bytes(1024)))

    with mock.patch.object(init_layer, "_make", unpacked):
        slow = filled(driver, OTHER, top)
    assert timeless(quick) == timeless(slow)


def timeless(tree: dict[bytes, Found]) -> dict[bytes, Found]:
    return {path: replace(found, inode=0, mtime=0) for path, found in tree.items()}


@pytest.mark.parametrize(
    "place", ["etc", "dev", "proc", "sys", "etc/hosts", "dev/pts", "dev/console"]
)
def test_a_link_gives_way_and_is_never_followed(driver: Driver, place: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("untouched")
    for number, target in enumerate((str(outside), "../../../../../" + str(outside), "/etc")):
        parts = [tars.folder("etc")] if place.startswith("etc/") else []
        parts += [tars.folder("dev")] if place.startswith("dev/") else []
        base, init = f"{number}" * 64, f"{number + 5}" * 64
        driver.create(base, None)
        driver.apply(base, None, io.BytesIO(tars.layer(*parts, tars.symlink(place, target))))
        after = filled(driver, init, base)
        files = ("etc/hosts", "dev/console")
        assert after[place.encode()].kind == (stat.S_IFREG if place in files else stat.S_IFDIR)
        assert os.listdir(outside) == ["f"]
        assert (outside / "f").read_text() == "untouched"
