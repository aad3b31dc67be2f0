"""The user namespace: ids, mounts, errors, signals and exit statuses that pass through."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.drivers import namespace
from layerview.errors import LayerviewError, NotFoundError
from tests.drivers.people import PYTHON, as_user, readable_site, user

RUN = "from layerview.drivers.namespace import *; import os, sys, time, signal; "


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    user("lvuser")
    with readable_site() as made:
        yield made


def start(site: Path, code: str) -> subprocess.Popen[str]:
    become = ["setpriv", "--reuid", user("lvuser"), "--regid", "lvuser", "--init-groups"]
    clean = ["env", "-i", f"PYTHONPATH={site}", "PATH=/usr/bin:/bin", PYTHON]
    return subprocess.Popen(
        [*become, *clean, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=site,
    )


def started(running: subprocess.Popen[str]) -> int:
    """Return the child's id once its work has begun."""
    assert running.stdout is not None
    line = running.stdout.readline()
    if not line:
        pytest.fail(f"ended: {running.communicate()}, {running.returncode}")
    return int(line.split()[1])


def test_root_needs_none() -> None:
    if os.geteuid() != 0:
        pytest.skip("for root")
    assert namespace.run_in_user_namespace(lambda: os.getpid() % 200) == os.getpid() % 200
    assert namespace.mapped_owners() is None


def test_a_user_with_ranges_can_give_the_ids_of_an_image(site: Path) -> None:
    code = (
        "owners = lambda: print(os.getuid(), open('/proc/self/uid_map').read().split(), "
        "mapped_owners().ids(33, 65534), mapped_owners().ids(0, 0), "
        "mapped_owners().ids(70000, 0)) or 5; sys.exit(run_in_user_namespace(owners))"
    )
    done = as_user(user("lvuser"), site, "-c", RUN + code)
    uid = subprocess.run(["id", "-u", "lvuser"], capture_output=True, text=True, check=True)
    start, count = namespace.id_ranges("/etc/subuid", int(uid.stdout))[0]
    assert done.stderr == ""
    assert done.returncode == 5
    shown = ["0", uid.stdout.strip(), "1", "1", str(start), str(count)]
    assert done.stdout == f"0 {shown} (33, 65534) (0, 0) None\n"


def test_a_user_without_ranges_has_the_own_id_alone(site: Path) -> None:
    code = (
        "owners = lambda: print(os.getuid(), os.getgid(), mapped_owners().ids(0, 0), "
        "mapped_owners().ids(33, 33)) or 0; sys.exit(run_in_user_namespace(owners))"
    )
    done = as_user(user("lvplain"), site, "-c", RUN + code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 0 (0, 0) None\n", "")


def test_outside_a_user_can_give_the_own_id_alone(site: Path) -> None:
    code = "print(mapped_owners().ids(os.getuid(), os.getgid()), mapped_owners().ids(0, 0))"
    done = as_user(user("lvplain"), site, "-c", RUN + code)
    assert done.stdout.endswith(" None\n")
    assert done.stdout.startswith("(")


def test_files_get_the_ids_of_the_ranges(site: Path, tmp_path: Path) -> None:
    place = Path(f"/tmp/layerview-ids-{os.getpid()}")
    place.mkdir()
    try:
        subprocess.run(["chown", user("lvuser"), str(place)], check=True)
        code = (
            f"work = lambda: open('{place}/f', 'w').close() or "
            f"os.chown('{place}/f', 33, 44) or 0; sys.exit(run_in_user_namespace(work))"
        )
        done = as_user("lvuser", site, "-c", RUN + code)
        assert (done.returncode, done.stderr) == (0, "")
        state = os.stat(place / "f")
        start = namespace.id_ranges("/etc/subuid", os.stat(place).st_uid)[0][0]
        assert (state.st_uid, state.st_gid) == (start + 32, start + 43)
    finally:
        subprocess.run(["rm", "-rf", str(place)], check=True)


@pytest.mark.parametrize("name", ["lvuser", "lvplain"])
def test_errors_come_back_as_what_they_were(name: str, site: Path) -> None:
    code = """
from layerview.errors import *
from layerview.drivers.namespace import run_in_user_namespace
def lose(): raise NotFoundError("no such thing")
def open_missing(): open("/missing")
def stop(): raise KeyboardInterrupt
for work in (lose, open_missing, stop):
    try:
        run_in_user_namespace(work)
    except BaseException as error:
        print(type(error).__name__, error)
"""
    done = as_user(user(name), site, "-c", code)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "NotFoundError no such thing",
        "FileNotFoundError [Errno 2] No such file or directory: '/missing'",
        "KeyboardInterrupt ",
    ]


def test_errors_keep_their_kind_for_root_too() -> None:
    def lose() -> object:
        raise NotFoundError("no such thing")

    with pytest.raises(NotFoundError, match="no such thing"):
        namespace.call_in_user_namespace(lose)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_passed_on_and_say_how_it_ended(number: signal.Signals, site: Path) -> None:
    code = RUN + (
        "work = lambda: print('ready', os.getpid(), flush=True) or time.sleep(60) or 0; "
        "sys.exit(run_in_user_namespace(work))"
    )
    running = start(site, code)
    child = started(running)
    running.send_signal(number)
    _, said = running.communicate(timeout=20)
    # An interrupt is Python's own error, in the parent as it was in the child.
    expected = -signal.SIGINT if number == signal.SIGINT else 128 + number
    assert running.returncode == expected
    assert ("KeyboardInterrupt" in said) == (number == signal.SIGINT)
    assert not Path(f"/proc/{child}").exists()


def test_the_child_goes_with_a_parent_that_is_killed(site: Path) -> None:
    code = RUN + (
        "work = lambda: print('ready', os.getpid(), flush=True) or time.sleep(60) or 0; "
        "sys.exit(run_in_user_namespace(work))"
    )
    running = start(site, code)
    child = started(running)
    running.kill()
    running.wait()
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child lives on")
    running.communicate()


def test_mounts_stay_inside(site: Path) -> None:
    code = (
        "from layerview.drivers.mounts import mount; "
        "work = lambda: mount('none', '/mnt', 'tmpfs') or open('/mnt/inside', 'w').close() or "
        "os.path.exists('/mnt/inside') + 40; "
        "status = run_in_user_namespace(work); print(os.listdir('/mnt')); sys.exit(status)"
    )
    done = as_user(user("lvplain"), site, "-c", RUN + code)
    assert (done.returncode, done.stderr) == (41, "")
    assert "inside" not in done.stdout


def test_ranges_are_read_by_name_and_by_number(tmp_path: Path) -> None:
    table = tmp_path / "subuid"
    table.write_text(
        f"root:1000:5\n{os.getuid()}:2000:7\nother:3000:9\nroot:x:1\nroot:5:-1\nroot:0:9\n"
        "root:1:2:3\n\nroot:4294967290:100\nroot:99999999999999999999999:1\n"
    )
    if os.geteuid() != 0:
        pytest.skip("the table names root")
    assert namespace.id_ranges(str(table), os.getuid()) == [(1000, 5), (2000, 7)]
    assert namespace.id_ranges(str(tmp_path / "missing"), 0) == []


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("user/max_user_namespaces", "0", "turned off"),
        ("kernel/unprivileged_userns_clone", "0", "root's alone"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor"),
    ],
)
def test_limits_are_named_with_what_lifts_them(
    name: str, value: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(namespace, "_setting", lambda asked: value if asked == name else None)
    monkeypatch.setattr(namespace, "unshare", refuse)
    with pytest.raises(LayerviewError, match=f"{word}.*; .*sysctl {name.replace('/', '.')}"):
        namespace.call_in_user_namespace(lambda: 0)


def test_too_many_namespaces_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(namespace, "unshare", refuse)
    with pytest.raises(LayerviewError, match="too many user namespaces"):
        namespace.call_in_user_namespace(lambda: 0)
