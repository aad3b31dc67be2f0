"""What is said of a machine that can't run containers, or not all: seen by making it so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.containers import machine
from layerview.drivers.namespace import is_initial
from tests.drivers.people import as_user, readable_site, user

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not is_initial(), reason="needs the machine's root"
)


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    with readable_site() as made:
        yield made


def said(text: str) -> dict[str, dict[str, object]]:
    """Return what doctor says of a machine, by name."""
    found = json.loads(text)
    # What a machine lacks does not make the area unsound.
    assert found["ok"] is True
    return {check["name"]: check for check in found["checks"]}


DOCTOR = ("-m", "layerview", "doctor", "--json", "--root", "/tmp/layerview-nowhere")


@needs_root
def test_this_machine_runs_containers() -> None:
    assert machine.launcher_problem() is None
    assert machine.ids_problem() is None
    assert machine.users_problem() is None


@needs_root
def test_where_namespaces_are_not_permitted_it_says_what_helps() -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    # As in a container: root without CAP_SYS_ADMIN.
    words = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [*words, sys.executable, *DOCTOR],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    checks = said(done.stdout)
    for runtime in ("layerview", "crun", "runc"):
        check = checks[f"machine: runtime {runtime}"]
        if check["found"] != "not installed":
            assert str(check["found"]).startswith("namespaces are not permitted")
            assert "--cap-add SYS_ADMIN" in str(check["remedy"])


@needs_root
def test_where_proc_is_partly_hidden_it_says_what_helps(site: Path) -> None:
    # As in a container whose runtime masks parts of /proc.
    hide = "mount --bind /dev/null /proc/timer_list && exec"
    code = f"{hide} setpriv --reuid lvuser --regid lvuser --init-groups"
    code += f" env -i PATH=/usr/bin:/bin PYTHONPATH={site} PYTHONDONTWRITEBYTECODE=1"
    code += f" /usr/bin/python3 {' '.join(DOCTOR)}"
    user("lvuser")
    words = ["unshare", "--mount", "sh", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    check = said(done.stdout)["machine: runtime layerview"]
    assert "/proc can't be mounted" in str(check["found"])
    assert "systempaths=unconfined" in str(check["remedy"])


def test_without_ranges_only_an_image_s_root_runs(site: Path) -> None:
    checks = said(as_user(user("lvplain"), site, *DOCTOR).stdout)
    check = checks["machine: user IDs"]
    assert check["ok"] is False
    assert "/etc/subuid gives you no range" in str(check["found"])
    assert "usermod --add-subuids" in str(check["remedy"])
    assert str(check["remedy"]).count("lvplain") == 1
    assert checks["machine: user namespaces"]["ok"] is True
    assert checks["machine: runtime layerview"]["ok"] is True


def test_with_ranges_but_without_newuidmap_it_is_named(site: Path, tmp_path: Path) -> None:
    code = "import sys, shutil; shutil.which = lambda name: None; sys.argv[1:] = sys.argv[3:];"
    code += "from layerview.cli.main import main; main()"
    # Without newuidmap in PATH the ids are not mapped, and so it is looked for.
    done = as_user(user("lvuser"), site, "-c", code, *DOCTOR, PATH="/nowhere")
    check = said(done.stdout)["machine: user IDs"]
    assert "newuidmap is not installed and newgidmap is not installed" in str(check["found"])
    assert "uidmap" in str(check["remedy"])
    assert "usermod" not in str(check["remedy"])


def test_with_ranges_all_is_well(site: Path) -> None:
    checks = said(as_user(user("lvuser"), site, *DOCTOR).stdout)
    assert checks["machine: user IDs"]["ok"] is True
    assert checks["machine: user namespaces"]["ok"] is True


OFF = """
import os, sys
from layerview.drivers.mounts import unshare
mapped, tell = os.pipe()
made, tell_made = os.pipe()
child = os.fork()
if child == 0:
    unshare(0x10000000)
    os.write(tell_made, b"1")
    os.read(mapped, 1)
    # The limit is the namespace's own: the machine keeps its.
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")
    os.setgroups([])
    os.setresgid(1001, 1001, 1001)
    os.setresuid(1001, 1001, 1001)
    os.execv(sys.argv[1], sys.argv[1:])
os.read(made, 1)
for name in ("uid_map", "gid_map"):
    with open(f"/proc/{child}/{name}", "w") as file:
        file.write("0 0 100000")
os.write(tell, b"1")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@needs_root
def test_without_user_namespaces_doctor_says_so_and_the_rest_too(site: Path) -> None:
    done = subprocess.run(
        ["/usr/bin/python3", "-c", OFF, "/usr/bin/python3", *DOCTOR],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    checks = said(done.stdout)
    for name in ("user namespaces", "runtime layerview", "driver overlay2"):
        check = checks[f"machine: {name}"]
        assert check["ok"] is False
        assert "user.max_user_namespaces is 0" in str(check["found"])
        assert "sysctl user.max_user_namespaces=15000" in str(check["remedy"])
    assert checks["machine: driver vfs"]["ok"] is True
    assert checks["area"]["ok"] is True
