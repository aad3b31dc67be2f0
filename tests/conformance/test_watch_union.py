"""Watching a container on our own union: its server's steps, added up, are what lies on disk."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from layerview.drivers import mounts
from layerview.layer.whiteouts import Whiteouts
from layerview.unionfs.serve import can_serve, serve
from layerview.watch.compare import compare
from layerview.watch.events import CowEvent, Ended, Notice
from layerview.watch.ledger import Held
from layerview.watch.target import Target, WatchedLayer
from tests.support.overlays import Watching, fill, work

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a union needs root"),
]


@contextmanager
def served(place: Path, *fills: Callable[[Path], None]) -> Iterator[tuple[Target, Path, int]]:
    """Serve a union of layers, the base first; give target, place and the server's process."""
    reason = can_serve()
    if reason is not None:
        pytest.skip(reason)
    place.mkdir()
    layers: list[WatchedLayer] = []
    for number, make in enumerate(fills):
        folder = place / f"l{number}"
        folder.mkdir()
        make(folder)
        layers.insert(0, WatchedLayer(number, str(folder)))
    for name in ("upper", "merged", "told"):
        (place / name).mkdir()
    steps = str(place / "told/steps")
    branches = [str(place / "upper"), *(layer.folder for layer in layers)]
    made = serve(branches, steps=steps, volatile=True)
    spot = os.open(place / "merged", os.O_PATH | os.O_DIRECTORY)
    try:
        mounts.attach(made.tree, spot)
    finally:
        os.close(spot)
        os.close(made.tree)
    try:
        yield (
            Target(
                "layerview",
                "a" * 64,
                "name",
                "image",
                "aufs",
                Whiteouts.AUFS,
                str(place / "upper"),
                tuple(layers),
                steps=steps,
            ),
            place / "merged",
            made.pid,
        )
    finally:
        mounts.detach(str(place / "merged"))


def shape(holds: dict[bytes, Held]) -> dict[bytes, tuple[str, int]]:
    """Return what can be told of a layer of aufs's form, which has no mark on what was copied."""
    same = {"copy_up": "file", "create": "file", "implied": "file", "opaque": "file"}
    return {path: (same.get(held.kind, held.kind), held.size) for path, held in holds.items()}


def settled(watching: Watching, target: Target) -> None:
    """Assert that the ledger and the disk agree."""
    watching.quiet()
    one, other = shape(watching.ledger.holds), shape(compare(target))
    left = {p: (one.get(p), other.get(p)) for p in one.keys() | other.keys()}
    assert {path: pair for path, pair in left.items() if pair[0] != pair[1]} == {}


@pytest.mark.parametrize("seed", range(3))
def test_random_work_is_told_in_full(seed: int, tmp_path: Path) -> None:
    with served(tmp_path / "u", fill(seed), fill(seed + 1), fill(seed + 2)) as (target, top, _):
        with Watching(target) as watching:
            for part in range(3):
                work(top, seed * 10 + part, 60)
                settled(watching, target)
        assert watching.ledger.events > 40


@pytest.mark.parametrize("seed", range(3))
def test_a_look_at_the_disk_tells_as_much_where_steps_cannot_be_heard(
    seed: int, tmp_path: Path
) -> None:
    with (
        served(tmp_path / "u", fill(seed), fill(seed + 1)) as (target, top, _),
        Watching(target._replace(steps=None)) as watching,
    ):
        work(top, seed, 80)
        settled(watching, target)


def test_an_append_is_told_with_all_that_it_cost(tmp_path: Path) -> None:
    with served(tmp_path / "u", fill(1), fill(2)) as (target, top, _):
        Path(target.layers[-1].folder, "low").write_bytes(b"l" * 1000)
        with Watching(target) as watching:
            done = subprocess.Popen(["sh", "-c", "echo more >> low; echo again >> low"], cwd=top)
            done.wait()
            watching.quiet()
        told = [record for record in watching.records if isinstance(record, CowEvent)]
        up, *writes = [event for event in told if event.path == b"low"]
        assert (up.kind, up.layer, up.searched, up.bytes) == ("copy_up", 0, (1, 0), 1000)
        assert (up.pid, up.cause) == (done.pid, "open")
        assert {event.kind for event in writes} == {"write"}
        # None where the kernel writes the file itself (passthrough), and nobody counts.
        assert watching.ledger.bytes_written in (11, None)
        assert watching.ledger.container_layer_size == 1011


def test_the_servers_end_is_told(tmp_path: Path) -> None:
    with served(tmp_path / "u", fill(1)) as (target, _, pid):
        with Watching(target) as watching:
            os.kill(pid, 9)
            watching.quiet()
        assert isinstance(watching.records[-1], Ended)


def test_who_comes_while_the_server_is_at_work_misses_nothing(tmp_path: Path) -> None:
    with served(tmp_path / "u", fill(1)) as (target, top, _):
        # With several at it there is always one more request when one is answered.
        script = "n=0; while [ ! -e ../stop ]; do : >$0.$n; n=$((n + 1)); done"
        busy = [subprocess.Popen(["sh", "-c", script, name], cwd=top) for name in "abc"]
        came: list[Watching] = []
        try:
            for _ in range(5):
                came.append(Watching(target).__enter__())
        finally:
            (top.parent / "stop").touch()
            assert [process.wait(10) for process in busy] == [0, 0, 0]
            for watching in came:
                watching.quiet()
                watching.__exit__()
        for watching in came:
            settled(watching, target)


def test_what_is_done_before_the_servers_first_word_is_told_after_it(tmp_path: Path) -> None:
    place = str(tmp_path / "steps")
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(place)
        server.listen()
        upper = tmp_path / "upper"
        upper.mkdir()
        target = Target(
            "layerview", "a" * 64, "n", "i", "aufs", Whiteouts.AUFS, str(upper), (), steps=place
        )
        with Watching(target) as watching:
            (upper / "early").touch()
            line, _ = server.accept()
            line.sendall(b'{"lost": 0}\n')
            settled(watching, target)
            line.close()
        told = [record.path for record in watching.records if isinstance(record, CowEvent)]
        assert told == [b"early"]
        assert not any(isinstance(record, Notice) for record in watching.records)
