"""`layerview watch` on containers of a real Podman, root's and an ordinary user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from layerview.layer.whiteouts import Whiteouts
from layerview.watch.target import Target
from layerview.watch.targets import find_target, targets
from tests.conformance.watching import Watching, layers, told, told_rightly
from tests.drivers import people
from tests.support import archives
from tests.support.container_lab import BUSYBOX, COMMAND
from tests.support.podman import Podman

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="another user's Podman needs root"),
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed"),
]


@dataclass
class Running:
    """A Podman with the container `web`."""

    podman: Podman
    site: Path | None

    def command(self, *words: str) -> list[str]:
        """Return layerview's words as the user calls it."""
        if self.site is None:
            return [*COMMAND, *words]
        return [*self.podman.become, people.PYTHON, "-m", "layerview", *words]

    @property
    def env(self) -> dict[str, str]:
        """The environment of a call."""
        more = {"LAYERVIEW_ROOT": f"{self.podman.folder}/area", "PYTHONDONTWRITEBYTECODE": "1"}
        if self.site is None:
            return {**os.environ, **self.podman.env, **more}
        return {**self.podman.env, **more, "PYTHONPATH": str(self.site)}


@pytest.fixture(scope="module", params=["root", "lvuser"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    name = request.param
    spec = archives.image(
        *layers(), tags=["localhost/bb:1"], config={"Cmd": ["sh"], "Volumes": {"/data": {}}}
    )
    archive = archives.docker_archive(tmp_path_factory.mktemp("image") / "bb.tar", spec)
    if name != "root":
        people.user(name)
    with Podman(name) as podman:
        podman.run("load", stdin=archive.read_bytes())
        podman.run("run", "-d", "--name", "web", "bb:1", "sleep", "1000")
        podman.run("run", "-d", "--rm", "--name", "other", "bb:1", "sleep", "1000")
        if name == "root":
            yield Running(podman, None)
        else:
            with people.readable_site() as site:
                yield Running(podman, site)


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "area"))


def inspected(podman: Podman, what: str) -> str:
    return podman.run("inspect", "web", "--format", what).stdout.decode().strip()


def found(running: Running) -> Target:
    """Find the container as root does: a user's by what watches over it."""
    return find_target(inspected(running.podman, "{{.Id}}"))


def test_what_happens_in_a_container_of_podmans_is_told(running: Running) -> None:
    target = found(running)
    lines = told(
        running.command("watch", "web", "--json"),
        running.env,
        lambda script: running.podman.run("exec", "web", "sh", "-c", script),
        running.site,
    )
    assert {line["container"] for line in lines} == {target.id}
    told_rightly(lines, target.upper, origins=running.podman.user == "root")


def test_root_watches_a_users_container_and_hears_who_did_it(running: Running) -> None:
    podman = running.podman
    if podman.user == "root":
        pytest.skip("the same as above")
    podman.run("run", "-d", "--name", "seen", "bb:1", "sleep", "1000")
    id = podman.run("inspect", "seen", "--format", "{{.Id}}").stdout.decode().strip()
    lines = told(
        [*COMMAND, "watch", id[:12], "--json"],
        dict(os.environ),
        lambda script: podman.run("exec", "seen", "sh", "-c", script),
    )
    told_rightly(lines, find_target(id).upper, origins=False)
    # What such a process is called may be too late to ask.
    assert {type(line["pid"]) for line in lines if not line["volume"]} == {int}


def test_a_container_is_described_as_podman_has_it(running: Running) -> None:
    target = found(running)
    podman = running.podman
    assert (target.engine, target.name, target.image) == ("podman", "web", "localhost/bb:1")
    assert target.upper == inspected(podman, "{{.GraphDriver.Data.UpperDir}}")
    assert target.work == inspected(podman, "{{.GraphDriver.Data.WorkDir}}")
    lowers = inspected(podman, "{{.GraphDriver.Data.LowerDir}}").split(":")
    assert [layer.folder for layer in target.layers] == lowers
    assert [layer.number for layer in target.layers] == [2, 1, 0]
    assert [layer.instruction for layer in target.layers] == [
        f"RUN step {number}" for number in (2, 1, 0)
    ]
    assert target.pid == int(inspected(podman, "{{.State.Pid}}"))
    form = Whiteouts.TRUSTED if podman.user == "root" else Whiteouts.USER
    assert target.whiteouts is form
    [volume] = target.volumes
    assert (volume.target, volume.read_only) == (b"data", False)
    assert volume.source == inspected(podman, "{{(index .Mounts 0).Source}}")
    assert volume.name == inspected(podman, "{{(index .Mounts 0).Name}}")


def test_what_runs_is_listed(running: Running) -> None:
    names = {target.name for target in targets() if target.engine == "podman"}
    assert {"web", "other"} <= names


def test_another_users_container_is_said_to_be_his(running: Running) -> None:
    if running.podman.user != "root":
        pytest.skip("root may look into all")
    user = people.user("lvplain")
    id = inspected(running.podman, "{{.Id}}")
    with people.readable_site() as site:
        done = people.as_user(user, site, "-m", "layerview", "watch", id)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"layerview: container {id} is Podman's, of user root, who alone may look into it:"
        " use sudo\n"
    )


def test_the_end_of_a_container_ends_the_watching(running: Running) -> None:
    running.podman.run("exec", "other", "touch", "/seen")
    watching = Watching(running.command("watch", "other", "--json"), running.env, running.site)
    watching.until("/seen")
    running.podman.run("stop", "-t", "0", "other")
    status, said = watching.end(interrupt=False)
    assert status == 0
    # The engine removes it as soon as it has ended: whether that is seen as well is open.
    reasons = [" ended", " ended and was removed"]
    assert said in [f"layerview: other: the container{reason}\n" for reason in reasons]
    assert not [line for line in watching.lines if line["kind"] == "delete"]
