"""Watching a full tree (vfs): what the start copied is said, and writes copy nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from layerview.layer.whiteouts import Whiteouts
from layerview.watch.compare import changed_bytes, compare
from layerview.watch.events import CowEvent, Notice
from layerview.watch.ledger import Held
from layerview.watch.target import Target, WatchedLayer
from tests.support.overlays import Watching, fill, work


def target_in(place: Path, *seeds: int) -> Target:
    """Make a parent's tree, and the container's full copy of it."""
    parent, own = place / "parent", place / "own"
    parent.mkdir()
    for seed in seeds:
        fill(seed)(parent)
    (parent / "f").write_text("one\n")
    (parent / "g").write_text("two\n")
    shutil.copytree(parent, own, symlinks=True)
    layers = (WatchedLayer(0, str(parent)),)
    form = Whiteouts.NONE
    return Target(
        "layerview", "a" * 64, "n", "i", "vfs", form, str(own), layers, copied_at_start=2_500_000
    )


def test_a_write_is_direct_and_the_start_is_what_copied(tmp_path: Path) -> None:
    target = target_in(tmp_path, 1)
    own = Path(target.upper)
    with Watching(target) as watching:
        with open(own / "f", "a") as file:
            file.write("more\n")
        (own / "new").write_text("12345")
        watching.quiet()
        os.unlink(own / "g")
        watching.quiet()
    notice = watching.records[0]
    assert isinstance(notice, Notice)
    assert "2.5 MB were copied when the container was made" in notice.text
    told = [(r.kind, r.path, r.layer) for r in watching.records if isinstance(r, CowEvent)]
    assert sorted(told[:2]) == [("create", b"new", None), ("write", b"f", 0)]
    assert told[2:] == [("delete", b"g", 0)]
    assert watching.ledger.copy_ups == 0
    assert watching.ledger.holds == compare(target)
    assert changed_bytes(target, watching.ledger.holds) == 10


def test_what_differs_from_the_parent_is_held_at_first(tmp_path: Path) -> None:
    target = target_in(tmp_path)
    own = Path(target.upper)
    (own / "f").write_text("longer than before\n")
    (own / "g").unlink()
    (own / "new").mkdir()
    assert compare(target) == {
        b"f": Held("write", 0, 19),
        b"g": Held("delete", 0),
        b"new": Held("create"),
    }


@pytest.mark.parametrize("seed", range(3))
def test_random_work_leaves_the_paths_that_differ(seed: int, tmp_path: Path) -> None:
    target = target_in(tmp_path, seed, seed + 1)
    with Watching(target) as watching:
        work(Path(target.upper), seed, 80)
        watching.quiet(0.6)
    differing = compare(target)
    # A file that was given back its old state differs no more, but it was written to.
    assert differing.keys() <= watching.ledger.holds.keys()
