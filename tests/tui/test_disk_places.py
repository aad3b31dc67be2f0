"""Which roots the Disk screen finds by itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.sources.docker_context import Endpoint
from layerview.sources.engine import EngineInfo
from layerview.tui.disk_places import DiskRoot, merged, roots_here, roots_of_engines


def made(root: Path) -> str:
    """Make a folder look like a data root."""
    (root / "image").mkdir(parents=True)
    return str(root)


def test_the_area_is_found_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert roots_here() == []
    area = made(tmp_path / "area")
    engine = made(tmp_path / "docker")
    monkeypatch.setattr(
        "layerview.tui.disk_places.usual_roots", lambda: [engine, str(tmp_path / "none")]
    )
    assert roots_here() == [DiskRoot("local", area), DiskRoot("root", engine)]


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[str]:
    """Give the path of a socket that is there."""
    path = str(tmp_path / "docker.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        yield path


def test_engines_of_this_machine_say_where_their_data_is(
    tmp_path: Path, listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = made(tmp_path / "data")
    here = Endpoint("docker", f"unix://{listening}")
    ends = [
        here,
        Endpoint("far", "tcp://far:2375"),
        Endpoint("gone", f"unix://{tmp_path}/gone.sock"),
        Endpoint("podman", f"unix://{listening}.podman"),
    ]
    Path(f"{listening}.podman").touch()
    monkeypatch.setattr("layerview.sources.docker_context.candidates", lambda: ends)
    asked = []

    def look_at(endpoint: Endpoint) -> EngineInfo:
        asked.append(endpoint)
        return EngineInfo(endpoint, data_root=told)

    monkeypatch.setattr("layerview.sources.engine.look_at", look_at)
    assert roots_of_engines() == [DiskRoot("docker", told)]
    assert asked == [here]
    monkeypatch.setattr(
        "layerview.sources.engine.look_at", lambda one: EngineInfo(one, data_root="/not/here")
    )
    assert roots_of_engines() == []


def test_a_root_under_two_names_is_listed_once(tmp_path: Path) -> None:
    real = made(tmp_path / "data")
    link = str(tmp_path / "link")
    os.symlink(real, link)
    roots = merged([DiskRoot("docker", link)], [DiskRoot("root", real)])
    assert roots == [DiskRoot("docker", link)]
