"""`layerview watch` as an ordinary user, on containers of one's own, with files of other ids."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.watching import layers, told, told_rightly
from tests.drivers import people
from tests.support import archives
from tests.support.container_lab import BUSYBOX

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root"),
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed"),
]


class Area:
    """An ordinary user's area."""

    def __init__(self, user: str, site: Path, root: Path) -> None:
        self.user = user
        self.site = site
        self.env = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(root),
            "LC_ALL": "C.UTF-8",
            "LAYERVIEW_ROOT": f"{root}/area",
            "DOCKER_HOST": f"unix://{root}/none",
            "PYTHONPATH": str(site),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def words(self, *words: str) -> list[str]:
        """Return layerview's words as the user calls it."""
        become = ["setpriv", "--reuid", self.user, "--regid", self.user, "--init-groups"]
        return [*become, people.PYTHON, "-m", "layerview", *words]

    def out(self, *words: str) -> str:
        """Have a command done that goes well."""
        done = subprocess.run(
            self.words(*words), env=self.env, cwd=self.site, capture_output=True, check=False
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.decode()


@pytest.fixture(params=["lvuser", "lvplain"])
def area(request: pytest.FixtureRequest) -> Iterator[Area]:
    user = people.user(request.param)
    spec = archives.image(
        *layers(), tags=["bb:1"], config={"Cmd": ["sh"], "Volumes": {"/data": {}}}
    )
    with people.readable_site() as site, tempfile.TemporaryDirectory(prefix="lvw-") as folder:
        os.chmod(folder, 0o777)
        archive = archives.docker_archive(Path(folder) / "bb.tar", spec)
        archive.chmod(0o644)
        made = Area(user, site, Path(folder))
        made.out("load", "-q", "--driver", "overlay2", "-i", str(archive))
        made.out("run", "-d", "--name", "web", "bb:1", "sleep", "1000")
        try:
            yield made
        finally:
            made.out("rm", "-f", "-v", "web")


def test_a_users_container_is_told_of_while_it_runs_and_afterwards(area: Area) -> None:
    lines = told(
        area.words("watch", "web", "--json"),
        area.env,
        lambda script: area.out("exec", "web", "sh", "-c", script),
        area.site,
    )
    upper = json.loads(area.out("inspect", "web", "--json"))["upper"]
    told_rightly(lines, upper, origins=False)
    if area.user == "lvuser":
        # Of an id that is not the user's: nobody but the user's namespace may look into it.
        area.out("exec", "web", "sh", "-c", "umask 077; mkdir /own; echo abc > /own/f")
        area.out("exec", "web", "chown", "-R", "1000", "/own")
    before = json.loads(area.out("watch", "web", "--summary", "--json", "--for", "0.2"))
    assert before["bytes_changed"] is not None
    area.out("stop", "-t", "0", "web")
    after = json.loads(area.out("watch", "web", "--summary", "--json"))
    assert after == before
    paths = [one["path"] for one in after["by_path"]]
    assert ("/own/f" in paths) is (area.user == "lvuser")
