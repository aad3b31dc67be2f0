"""A union copied out without a mount: what comes out is what the layers say together."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerview.drivers.copying import TreeCopy
from layerview.unionfs.source import UnionSource
from layerview.unionfs.union import Union
from tests.unionfs import flat
from tests.unionfs.random_layers import make

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others: needs root")


def copied(layers: list[Path], path: bytes, target: Path) -> None:
    """Copy a folder of the layers' union, the lowest layer first, into a new one."""
    target.mkdir()
    with ExitStack() as held:
        fds = [os.open(layer, flat.FOLDER) for layer in reversed(layers)]
        for fd in fds:
            held.callback(os.close, fd)
        union = held.enter_context(closing(Union(fds, writable=False)))
        folder = union.root
        for name in path.split(b"/") if path else ():
            folder = union.lookup(folder, name)
        to = os.open(target, flat.FOLDER & ~os.O_PATH)
        held.callback(os.close, to)
        TreeCopy(UnionSource(union, folder), to).run()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=4))
def test_the_copy_is_what_a_plain_reading_of_the_layers_gives(
    tmp_path: Path, seeds: list[int]
) -> None:
    place = tmp_path / "example"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    layers = [place / f"layer{number}" for number in range(len(seeds))]
    for layer, seed in zip(layers, seeds, strict=True):
        make(layer, seed)
    flat.flatten(layers, place / "flat")
    copied(layers, b"", place / "copy")
    wanted, got = flat.look_flat(place / "flat"), flat.look_flat(place / "copy")
    # The root's own attributes are the top layer's, which a plain reading does not take over.
    wanted.seen[b""] = got.seen[b""]._replace(content=wanted.seen[b""].content)
    flat.compare(wanted, got, since=2**63)


def test_a_folder_in_it_comes_from_all_layers_that_have_it(tmp_path: Path) -> None:
    low, top = tmp_path / "low", tmp_path / "top"
    (low / "etc/app").mkdir(parents=True)
    (low / "etc/app/kept").write_text("low")
    (low / "etc/app/gone").write_text("low")
    (top / "etc/app").mkdir(parents=True)
    (top / "etc/app/.wh.gone").touch()
    (top / "etc/app/new").write_text("top")
    os.link(top / "etc/app/new", top / "etc/app/same")
    copied([low, top], b"etc/app", tmp_path / "copy")
    copy = tmp_path / "copy"
    assert sorted(os.listdir(copy)) == ["kept", "new", "same"]
    assert (copy / "kept").read_text() == "low"
    assert (copy / "new").samefile(copy / "same")
