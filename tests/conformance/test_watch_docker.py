"""`layerview watch` on containers of a real engine, found by its API, seen in its data root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.errors import LayerviewError, NotFoundError
from layerview.layer.whiteouts import Whiteouts
from layerview.watch.events import INIT
from layerview.watch.targets import find_target, targets
from tests.conformance.watching import layers, told, told_rightly
from tests.drivers import people
from tests.support import archives
from tests.support.container_lab import BUSYBOX, COMMAND
from tests.support.dockerd import Dockerd

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine needs root"),
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed"),
]


@pytest.fixture(scope="module", params=["overlay2", "vfs", "fuse-overlayfs"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dockerd]:
    folder = tmp_path_factory.mktemp("engine")
    spec = archives.image(
        *layers(), tags=["bb:1"], config={"Cmd": ["sh"], "Volumes": {"/data": {}}}
    )
    with Dockerd(request.param, folder / "data") as made:
        made.docker("load", "-i", archives.docker_archive(folder / "bb.tar", spec))
        made.docker("run", "-d", "--network", "none", "--name", "web", "bb:1", "sleep", "1000")
        made.docker("run", "-d", "--network", "none", "--name", "over", "bb:1", "true")
        made.docker("wait", "over")
        yield made


@pytest.fixture(autouse=True)
def nothing_else(engine: Dockerd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.socket}")
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "area"))


def test_what_happens_in_a_container_of_dockers_is_told(engine: Dockerd) -> None:
    target = find_target("web")
    lines = told(
        [*COMMAND, "watch", "web", "--json"],
        dict(os.environ),
        lambda script: engine.docker("exec", "web", "sh", "-c", script),
        said="" if target.driver != "vfs" else "were copied when the container was made",
    )
    assert {line["container"] for line in lines} == {engine.inspect("web")["Id"]}
    if target.driver != "vfs":
        told_rightly(lines, target.upper, origins=target.driver == "overlay2")
        assert not [line for line in lines if ".wh." in line["path"]]
    else:
        # Each container has all files of its own: nothing is copied but at the start.
        assert not [line for line in lines if line["kind"] == "copy_up"]
        kinds = {line["path"]: line["kind"] for line in lines}
        assert (kinds["/srv/new"], kinds["/srv/low"]) == ("create", "write")
        assert kinds["/srv/gone"] == "delete"


def test_a_container_is_described_as_the_engine_has_it(engine: Dockerd) -> None:
    said = engine.inspect("web")
    target = find_target("web")
    assert (target.engine, target.id, target.image) == ("docker", said["Id"], "bb:1")
    assert [layer.number for layer in target.layers] == [INIT, 2, 1, 0]
    assert [layer.instruction for layer in target.layers[1:]] == [
        f"RUN step {number}" for number in (2, 1, 0)
    ]
    assert find_target(said["Id"][:12]) == target
    assert [(volume.target, volume.name) for volume in target.volumes] == [
        (b"data", said["Mounts"][0]["Name"])
    ]
    assert target.volumes[0].source == said["Mounts"][0]["Source"]
    if target.driver != "vfs":
        graph = said["GraphDriver"]["Data"]
        assert (target.upper, target.work) == (graph["UpperDir"], graph["WorkDir"])
        assert [layer.folder for layer in target.layers] == graph["LowerDir"].split(":")
        assert target.whiteouts is Whiteouts.TRUSTED
        assert target.copied_at_start == 0
    else:
        assert target.whiteouts is Whiteouts.NONE
        assert (target.copied_at_start or 0) > 2 * os.path.getsize(BUSYBOX)
    assert find_target("web", root=str(engine.data))._replace(pid=target.pid) == target


def test_the_first_process_is_the_one_that_this_machine_counts(engine: Dockerd) -> None:
    # The engine runs in a PID namespace, and says the number from there.
    target = find_target("web")
    assert target.pid is not None
    assert Path(f"/proc/{target.pid}/cmdline").read_bytes() == b"sleep\x001000\x00"


def test_what_runs_is_listed_and_what_has_ended_is_not(engine: Dockerd) -> None:
    names = [target.name for target in targets() if target.engine == "docker"]
    assert names == ["web"]


def test_a_container_that_has_ended_can_be_looked_at(engine: Dockerd) -> None:
    assert find_target("over").pid is None
    done = subprocess.run([*COMMAND, "watch", "over"], capture_output=True, timeout=30, check=False)
    assert done.returncode == 0
    assert done.stderr.decode().endswith(
        "over does not run: that is what it holds, and nothing will come\n"
    )


def test_an_unknown_container_is_said_with_where_it_was_looked_for(engine: Dockerd) -> None:
    with pytest.raises(NotFoundError, match=r"no container nothere: the storage area .* not made"):
        find_target("nothere")
    with pytest.raises(NotFoundError, match=engine.socket):
        find_target("nothere")


def test_a_missing_right_is_said_with_the_remedy(engine: Dockerd) -> None:
    if engine.inspect("web")["Driver"] != "overlay2":
        pytest.skip("the same with each driver")
    user = people.user("lvplain")
    folder = os.path.dirname(engine.socket)

    def tried(site: Path) -> str:
        done = people.as_user(
            user,
            site,
            *("-m", "layerview", "watch", "web"),
            DOCKER_HOST=f"unix://{engine.socket}",
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert len(done.stderr.splitlines()) == 1
        return done.stderr

    with people.readable_site() as site:
        os.chmod(folder, 0o711)
        assert "permission denied; use sudo, or join the socket's group" in tried(site)
        os.chmod(engine.socket, 0o666)
        try:
            assert "only root may read it; use sudo" in tried(site)
        finally:
            os.chmod(engine.socket, 0o660)
            os.chmod(folder, 0o700)


def test_an_engine_on_another_machine_is_said_to_be_one(
    engine: Dockerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(LayerviewError, match=r"tcp://127\.0\.0\.1:9"):
        find_target("web")
