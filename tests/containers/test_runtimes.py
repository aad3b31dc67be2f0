"""Containers by crun and runc: what is started is as by the launcher, and nothing of them stays.

As root these run here; as ordinary users, with and without ranges of IDs, the file runs again.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from layerview.containers import trials
from layerview.containers.by_runtime import find_runtime
from layerview.containers.plan import Bind, StartError
from layerview.containers.runtimes import choose_runtime, probe_runtimes
from layerview.drivers.namespace import is_initial
from layerview.errors import LayerviewError, UsageError
from layerview.store.area import VERSION
from tests.containers.starters import RUNTIMES, need_runtime
from tests.containers.starting import DRIVERS, Lab, busybox, lab, stand_in, wait_for_end
from tests.drivers.people import as_user, readable_site, user
from tests.support import tars

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
KINDS = [(driver, runtime) for driver in sorted(DRIVERS) for runtime in RUNTIMES[1:]]


@pytest.fixture(params=KINDS, ids="-".join)
def area(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    monkeypatch.setattr("layerview.containers.shim.keep", stand_in)
    driver, runtime = request.param
    cgroups = _cgroups()
    with lab(driver, tmp_path / "root", need_runtime(runtime)) as made:
        yield made
        left = [str(path) for path in (made.root / "layerview/run").glob("*/*")]
        assert [path for path in left if not path.endswith("/shim")] == []
    assert _cgroups() <= cgroups


def _cgroups() -> set[str]:
    """Return the cgroups that a container of a test could be called by."""
    found = Path("/sys/fs/cgroup").rglob("0*")
    return {str(path) for path in found if re.fullmatch("0{40}[0-9a-f]{24}", path.name)}


# Whether they work.


@needs_root
def test_what_is_installed_is_tried_and_the_own_launcher_is_the_usual_one(tmp_path: Path) -> None:
    before = _cgroups()
    found = probe_runtimes(str(tmp_path / "nowhere"))
    assert [finding.name for finding in found] == list(RUNTIMES)
    assert [finding.name for finding in found if finding.default] == ["layerview"]
    for finding in found[1:]:
        assert finding.works == (find_runtime(finding.name) is not None), finding
    for finding in found:
        assert finding.reason
        assert bool(finding.remedy) == (not finding.works)
        assert "\n" not in finding.reason + finding.remedy
    assert os.listdir(tmp_path) == []
    assert _cgroups() <= before


def _install(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program of a runtime's name where it is found first."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return program


@needs_root
@pytest.mark.parametrize("name", RUNTIMES[1:])
def test_what_a_runtime_complains_of_is_the_reason(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = json.dumps({"level": "error", "msg": "this machine is too old"})
    _install(tmp_path / "bin", name, f"echo '{said}' > log; exit 1", monkeypatch)
    found = {each.name: each for each in probe_runtimes(str(tmp_path))}[name]
    assert not found.works
    assert found.reason == f"{name}: this machine is too old"
    assert "layerview's own launcher" in found.remedy
    with pytest.raises(LayerviewError, match=f"runtime {name}: .*too old; use another"):
        choose_runtime(str(tmp_path), name)


@needs_root
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "ended with status 3"),
        ("kill -9 $$", "status -9"),
        ("exit 0", "named no process"),
    ],
)
def test_a_program_that_is_no_runtime(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "bin", "runc", script, monkeypatch)
    found = {each.name: each for each in probe_runtimes(str(tmp_path))}["runc"]
    assert not found.works
    assert reason in found.reason


@needs_root
def test_a_runtime_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.5)
    mark = tmp_path / "pid"
    _install(tmp_path / "bin", "runc", f"echo $$ > {mark}; sleep 1234567", monkeypatch)
    found = {each.name: each for each in probe_runtimes(str(tmp_path))}["runc"]
    assert not found.works
    assert "within 0.5 s" in found.reason
    assert mark.exists()
    ps = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert "sleep 1234567" not in ps.stdout


@needs_root
def test_a_runtime_that_lets_devices_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_initial():
        pytest.skip("a user namespace has no devices")
    real = find_runtime(need_runtime("crun"))
    # Without the entry that sets nodev once more crun's root has it no longer.
    script = f"""sed -i 's/"remount", "nodev"/"remount"/' config.json; exec {real} "$@" """
    _install(tmp_path / "bin", "crun", script, monkeypatch)
    found = {each.name: each for each in probe_runtimes(str(tmp_path))}["crun"]
    assert (found.works, found.reason) == (False, "it leaves device files of an image working")


@needs_root
def test_that_one_works_is_remembered_until_the_program_or_the_boot_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = tmp_path / "count"
    real = find_runtime(need_runtime("runc"))
    script = f'echo once >> {count}; exec {real} "$@"'
    program = _install(tmp_path / "bin", "runc", script, monkeypatch)
    area = tmp_path / "area"
    area.mkdir()
    assert choose_runtime(str(area), "runc") == "runc"
    # Nothing is written to what is no area of layerview's.
    assert os.listdir(area) == []
    count.unlink()
    (area / "version").write_text(f"{VERSION}\n")
    for _ in range(2):
        assert choose_runtime(str(area), "runc") == "runc"
        assert count.read_text() == "once\n"
    assert sorted(os.listdir(area)) == ["runtimes.json", "version"]
    os.utime(program, ns=(1, 1))
    assert choose_runtime(str(area), "runc") == "runc"
    assert count.read_text() == "once\n" * 2
    # Another boot, and what is no JSON at all.
    known = json.loads((area / "runtimes.json").read_text())
    known["runc"][4] = "another"
    for number, text in enumerate((json.dumps(known), "[", "[]", '{"runc": 3}')):
        (area / "runtimes.json").write_text(text)
        assert choose_runtime(str(area), "runc") == "runc"
        assert count.read_text() == "once\n" * (3 + number)


@needs_root
def test_that_one_does_not_work_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = find_runtime(need_runtime("runc"))
    broken = tmp_path / "broken"
    broken.touch()
    script = f'[ ! -e {broken} ] || exit 1; exec {real} "$@"'
    _install(tmp_path / "bin", "runc", script, monkeypatch)
    with pytest.raises(LayerviewError, match="ended with status 1"):
        choose_runtime(str(tmp_path), "runc")
    broken.unlink()
    assert choose_runtime(str(tmp_path), "runc") == "runc"


def test_the_choice_is_the_call_s_then_the_environment_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAYERVIEW_RUNTIME", raising=False)
    assert choose_runtime(str(tmp_path), "") == "layerview"
    monkeypatch.setenv("LAYERVIEW_RUNTIME", "kata")
    assert choose_runtime(str(tmp_path), "layerview") == "layerview"
    with pytest.raises(UsageError, match="'kata': layerview, crun, runc are"):
        choose_runtime(str(tmp_path), "")
    with pytest.raises(UsageError, match="no runtime is called"):
        choose_runtime(str(tmp_path), "../../bin/sh")


def test_what_is_not_installed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerview.containers.by_runtime.find_runtime", lambda name: None)
    with pytest.raises(LayerviewError, match="runtime crun: not installed; install crun, or"):
        choose_runtime(str(tmp_path), "crun")


def _mapped_ids() -> int:
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    return sum(int(line.split()[2]) for line in lines)


# What they start.

LOOK = """
grep -E "Cap|Seccomp:|NoNew|Groups|Sig(Ign|Blk)|Uid|Gid" /proc/self/status; id; env | sort
ls /dev /sys /dev/pts /dev/shm /; cat /proc/self/cgroup; pwd; ulimit -n; umask; hostname
ls /proc/self/fd; cut -d' ' -f2-3 /proc/mounts | grep -v overlay | sort; ifconfig lo
stat -c '%n %a %u %g %t %T' / /dev /dev/null /dev/tty /proc /tmp /dev/shm
ps > /dev/shm/ps; wc -l < /dev/shm/ps
"""


@pytest.mark.parametrize("who", ["", "joe", "0:1001"])
def test_a_program_finds_what_the_own_launcher_gives_it(who: str, area: Lab) -> None:
    if who and _mapped_ids() == 1:
        pytest.skip("there is but one ID here")
    shown = {}
    for runtime in (area.runtime, "layerview"):
        ended = area.sh(LOOK, runtime=runtime, user=who, hostname="box", cwd="/made/here")
        assert ended.err == ""
        shown[runtime] = ended.out.splitlines()
    lines = difflib.ndiff(shown["layerview"], shown[area.runtime])
    found = [line for line in lines if line[0] in "+-"]
    # runc makes no /dev/core where there is no /proc/kcore.
    assert found in ([], ["- core"])


def test_the_exit_status_and_both_streams_are_the_program_s(area: Lab) -> None:
    ended = area.sh("echo out; echo err >&2; echo again > /dev/stdout; exit 7")
    assert (ended.status, ended.out, ended.err) == (7, "out\nagain\n", "err\n")


def test_a_quick_program_s_status_is_never_lost(area: Lab) -> None:
    for _ in range(5):
        assert area.run("true").status == 0
        assert area.run("false").status == 1


def test_a_terminal_has_its_size_and_is_the_program_s_own(area: Lab) -> None:
    ended = area.sh(
        "tty; stty size; echo told > /dev/tty; ls -l /dev/console | cut -c1",
        tty=True,
        rows=30,
        columns=99,
    )
    assert ended.out.split() == ["/dev/pts/0", "30", "99", "told", "c"]


@pytest.mark.parametrize("tty", [False, True])
@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("nosuch",), 127, 'exec: "nosuch": executable file not found in $PATH'),
        (("/nosuch",), 127, 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        (("/etc",), 126, 'exec: "/etc": is a directory'),
        (("/etc/passwd",), 126, 'exec: "/etc/passwd": permission denied'),
        (("/odd/format",), 126, "exec /odd/format: exec format error"),
        (("script",), 126, "exec script: no such file or directory (of its interpreter)"),
        (("/volume/nosuch",), 127, 'exec: "/volume/nosuch": stat /volume/nosuch: no such file'),
    ],
)
def test_what_cannot_be_run_leaves_nothing(
    args: tuple[str, ...], code: int, message: str, tty: bool, area: Lab
) -> None:
    odd = area.layer(
        tars.layer(
            tars.folder("odd"),
            tars.file("odd/format", b"\x00\x01\x02", mode=0o755),
            tars.file("odd/script", b"#!/nosuch\n", mode=0o755),
        ),
        area.image,
    )
    plan = area.plan(*args, image=odd, env=("PATH=/bin:/odd",), tty=tty)
    with pytest.raises(StartError) as caught:
        area.start(plan)
    assert caught.value.code == code
    assert str(caught.value).startswith(message)
    assert not os.path.exists(plan.run)


def test_a_program_from_a_volume_runs(area: Lab, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    shutil.copy("/bin/busybox", tmp_path / "bin/busybox")
    binds = (Bind(str(tmp_path / "bin"), "/volume", read_only=True),)
    assert area.run("/volume/busybox", "echo", "hello", binds=binds).out == "hello\n"


def test_binds_show_what_is_mounted_below_and_cannot_be_written_when_read_only(
    area: Lab, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "below").mkdir(parents=True)
    (outside / "file").write_text("seen\n")
    binds = (
        Bind(str(outside), "/rw"),
        Bind(str(outside), "/ro", read_only=True),
        Bind(str(outside / "file"), "/etc/hosts"),
        Bind("", "/memory", kind="tmpfs"),
    )
    subprocess.run(["mount", "-t", "tmpfs", "none", str(outside / "below")], check=True)
    try:
        ended = area.sh(
            "cat /rw/file /ro/file /etc/hosts; echo 1 > /rw/new; echo 1 > /rw/below/new;"
            "echo 2 > /ro/new; echo 2 > /ro/below/new; rm /ro/file; touch /memory/x;"
            "stat -c %a /memory; grep -c nodev.*none.*memory /proc/self/mountinfo",
            binds=binds,
        )
        assert ended.out.split()[:4] == ["seen", "seen", "seen", "1777"]
        assert ended.err.count("Read-only file system") == 3
        assert (outside / "new").read_text() == (outside / "below/new").read_text() == "1\n"
    finally:
        subprocess.run(["umount", str(outside / "below")], check=True)


@pytest.mark.parametrize(
    ("bind", "message"),
    [
        (Bind("/nosuch", "/x"), "/nosuch, for /x in the container: no such file or directory"),
        (Bind("/srv", "/"), "/: nothing is mounted on the container's root"),
        (Bind("/srv", "/../."), "/../.: nothing is mounted on the container's root"),
        (Bind("/srv", "/top"), "/top: nothing is mounted on the container's root"),
        (Bind("/srv", "/proc/sys"), "/proc/sys: nothing is mounted inside of /proc"),
        (Bind("/srv", "/info"), "/info: nothing is mounted inside of /proc"),
        (Bind("/srv", "/etc/passwd"), "/srv is a folder, and /etc/passwd in the container a file"),
        (Bind("/etc/passwd", "/tmp"), "/etc/passwd is a file, and /tmp in the container a folder"),
    ],
)
def test_a_bind_that_cannot_be(bind: Bind, message: str, area: Lab) -> None:
    links = tars.layer(tars.symlink("top", "/"), tars.symlink("info", "proc"))
    image = area.layer(links, area.image)
    for runtime in (area.runtime, "layerview"):
        with pytest.raises(StartError) as caught:
            area.start(area.plan("true", image=image, binds=(bind,), runtime=runtime))
        assert (caught.value.code, str(caught.value)) == (125, message)


def test_a_container_reaches_no_device_and_no_namespace(area: Lab) -> None:
    nodes = (
        area.layer(tars.layer(tars.char("node", 1, 3, mode=0o666)), area.image)
        if (is_initial())
        else area.image
    )
    ended = area.sh(
        "for d in /tmp /dev /dev/shm /root; do mknod $d/n c 1 3 && echo x > $d/n && echo reached;"
        "done; [ ! -e /node ] || { echo x > /node && echo reached; };"
        "echo x > /dev/null && echo ok;"
        "chmod 666 /dev/null && echo changed; unshare -r true && echo namespace;"
        "mount -t tmpfs none /tmp && echo mounted; umount /proc && echo unmounted;"
        "hostname other && echo named",
        image=nodes,
    )
    assert ended.out == "ok\n"


def test_links_of_an_image_lead_nowhere_out_of_it(area: Lab, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    image = area.layer(
        busybox(
            tars.symlink("volume", "../../../../../.." + str(outside)),
            tars.symlink("etc/hosts", str(outside / "hosts")),
        )
    )
    source = tmp_path / "source"
    source.mkdir()
    binds = (Bind(str(source), "/volume/new"), Bind(str(source), "/etc/../volume/other"))
    ended = area.sh("echo 1 > /volume/new/f", image=image, binds=binds)
    assert (ended.status, (source / "f").read_text()) == (0, "1\n")
    assert os.listdir(outside) == []


def test_a_user_who_has_no_id_here_cannot_be_and_is_told_what_helps(area: Lab) -> None:
    if _mapped_ids() > 1:
        pytest.skip("there are IDs for all here")
    with pytest.raises(StartError, match=r"user 1000 .* /etc/subuid .* -u 0") as caught:
        area.start(area.plan("true", user="joe"))
    assert caught.value.code == 125
    with pytest.raises(StartError, match="unable to find user nobody"):
        area.start(area.plan("true", user="nobody"))


def test_the_keeper_s_end_ends_all(area: Lab) -> None:
    plan = area.plan("sh", "-c", "sleep 1000 & sleep 1000")
    started = area.start(plan)
    assert b"sleep" in Path(f"/proc/{started.pid}/cmdline").read_bytes()
    os.kill(started.shim, signal.SIGKILL)
    wait_for_end(started.pid)
    wait_for_end(started.shim)


KILL = """
import os, signal, sys, time
def fields(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()
end = time.monotonic() + 20
while time.monotonic() < end:
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read() == b"sleep\\0" + sys.argv[1].encode() + b"\\0":
                    os.kill(int(fields(fields(pid)[1])[1]), signal.SIGKILL)
                    sys.exit(0)
        except OSError:
            pass
    time.sleep(0.01)
sys.exit(1)
"""
"""Kill who started who started a certain `sleep`."""


def test_when_the_keeper_is_killed_in_a_start_the_next_one_clears_up(
    area: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, hang = find_runtime(area.runtime), tmp_path / "hang"
    hang.touch()
    seconds = f"{os.getpid()}.5"
    script = f'[ ! -e {hang} ] || sleep {seconds}; exec {real} "$@"'
    _install(tmp_path / "bin", area.runtime, script, monkeypatch)
    plan = area.plan("echo", "started")
    killer = subprocess.Popen([sys.executable, "-c", KILL, seconds])
    with pytest.raises(StartError, match="killed while it started"):
        area.start(plan)
    assert killer.wait() == 0
    assert os.path.exists(f"{plan.run}/runc/config.json")
    hang.unlink()
    assert area.wait(plan, area.start(plan)).out == "started\n"


# As ordinary users.

AGAIN = """
import sys
import pytest
from layerview.drivers.namespace import run_in_user_namespace
words = ["-q", "-p", "no:cacheprovider", "-rs", "--basetemp", sys.argv[1], sys.argv[2]]
sys.exit(run_in_user_namespace(lambda: int(pytest.main(words))))
"""


@pytest.mark.conformance
@pytest.mark.parametrize("name", ["lvuser", "lvplain"])
def test_all_of_it_holds_for_an_ordinary_user(name: str, folder_of: Callable[[str], Path]) -> None:
    if not is_initial():
        pytest.skip("it is the ordinary user who is here")
    own = folder_of(user(name))
    with readable_site() as site:
        done = as_user(name, site, "-c", AGAIN, f"{own}/tmp", "tests/containers/test_runtimes.py")
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 60


@pytest.fixture
def folder_of() -> Iterator[Callable[[str], Path]]:
    """Give a user a folder on a disk, not in memory."""
    made = Path(f"/var/tmp/layerview-runtimes-{os.getpid()}")
    made.mkdir(mode=0o755)

    def own(name: str) -> Path:
        place = made / name
        place.mkdir()
        shutil.chown(place, name)
        return place

    yield own
    subprocess.run(["rm", "-rf", "--", str(made)], check=True)
