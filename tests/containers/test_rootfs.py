"""What a container sees as its files: devices, /proc, /sys, volumes; and what it can change."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.containers.plan import Bind, StartError
from layerview.drivers import mounts
from tests.containers.starting import Lab, busybox
from tests.support import tars

MS_BIND = 0x1000


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "outside"
    place.mkdir()
    yield place
    for mounted in reversed(mounts.mount_points(os.path.realpath(place))):
        mounts.detach(mounted)


def test_its_devices_work(area: Lab) -> None:
    script = (
        "echo x > /dev/null; cat /dev/null; head -c 3 /dev/zero | wc -c;"
        " head -c 3 /dev/random | wc -c; head -c 3 /dev/urandom | wc -c; echo x > /dev/full;"
        " echo piped | cat /dev/stdin; echo out > /dev/stdout; echo err > /dev/stderr;"
        " cat /dev/fd/5 5< /etc/hostname"
    )
    ended = area.sh(script)
    assert ended.out.split() == ["3", "3", "3", "piped", "out"]
    assert ended.err.splitlines() == ["sh: write error: No space left on device", "err"]


def test_shared_memory_and_queues_are_its_own(area: Lab) -> None:
    ended = area.sh(
        "echo x > /dev/shm/f && cat /dev/shm/f; ls /dev/mqueue; grep -c mqueue /proc/mounts"
    )
    assert ended.out.split() == ["x", "1"]
    assert not os.path.exists("/dev/shm/f")


def test_what_all_containers_share_is_hidden_or_read_only(area: Lab) -> None:
    script = """
        for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do
            test -e $f && wc -c < $f
        done
        ls /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v :
        for f in /proc/sys/kernel/hostname /proc/sys/vm/drop_caches /proc/sysrq-trigger \\
                /proc/irq/default_smp_affinity /sys/power/state /sys/kernel/mm/ksm/run \\
                /proc/bus/x /sys/x /proc/fs/x /proc/acpi/x /sys/firmware/x; do
            echo 0 2>/dev/null > $f && echo "wrote $f"
        done
        for d in /proc /proc/sys /sys /dev /proc/acpi; do
            mkdir $d/made 2>/dev/null && echo "made $d/made"
        done
        true
    """
    ended = area.sh(script)
    said = ended.out.split()
    # All files that are hidden are empty. A folder in the container's own /dev is its own matter.
    assert set(said) <= {"0", "made", "/dev/made"}, said
    assert "/dev/made" in said


def test_it_cannot_change_what_its_devices_are(area: Lab) -> None:
    names = ("null", "zero", "full", "random", "urandom", "tty")
    before = [os.stat(f"/dev/{name}") for name in names]
    script = (
        "for n in null zero full random urandom tty; do chmod 0 /dev/$n; chown 7:7 /dev/$n; done"
    )
    script += "; rm -f /dev/null; touch -d 2001-01-01 /dev/zero; true"
    area.sh(script)
    after = [os.stat(f"/dev/{name}") for name in names]
    assert [(s.st_mode, s.st_uid, s.st_gid) for s in before] == [
        (s.st_mode, s.st_uid, s.st_gid) for s in after
    ]
    assert before[1].st_mtime == after[1].st_mtime


def test_the_container_can_change_its_own_root(area: Lab) -> None:
    plan = area.plan("sh", "-c", "rm -r /tmp && mkdir /new && echo x > /etc/passwd && chmod 700 /")
    assert area.wait(plan, area.start(plan)).status == 0
    assert (area.upper(plan) / "new").is_dir()


# Volumes and binds.


def test_folders_and_files_are_mounted_where_it_was_asked_for(area: Lab, outside: Path) -> None:
    (outside / "f").write_text("f\n")
    binds = (
        Bind(str(outside), "/made/for/it"),
        Bind(str(outside / "f"), "/etc/hosts"),
        Bind(str(outside / "f"), "/new/file"),
    )
    script = (
        "cat /made/for/it/f /etc/hosts /new/file; echo more >> /etc/hosts; echo g > /made/for/it/g"
    )
    plan = area.plan("sh", "-c", script, binds=binds)
    assert area.wait(plan, area.start(plan)).out == "f\n" * 3
    assert (outside / "f").read_text() == "f\nmore\n"
    assert (outside / "g").read_text() == "g\n"
    # What they are mounted on was made in the container's own layer, and nothing else.
    upper = area.upper(plan)
    assert (upper / "new/file").read_bytes() == b""
    assert list((upper / "made/for/it").iterdir()) == []
    assert stat.S_IMODE(os.stat(upper / "made/for").st_mode) == 0o755


def test_what_is_read_only_stays_as_it_is(area: Lab, outside: Path) -> None:
    (outside / "f").write_text("f\n")
    (outside / "d").mkdir()
    before = os.stat(outside / "f")
    binds = (Bind(str(outside), "/v", read_only=True), Bind(str(outside / "f"), "/w", True))
    script = (
        "echo x >> /v/f; echo x > /v/g; rm -r /v/d; chmod 0 /v/f; echo x > /w; chmod 0 /w; cat /w"
    )
    ended = area.sh(script, binds=binds)
    assert ended.out == "f\n"
    assert ended.err.count("Read-only file system") == 6
    assert sorted(os.listdir(outside)) == ["d", "f"]
    assert os.stat(outside / "f") == before


def test_mounts_inside_of_what_is_mounted_come_along_as_they_should(
    own: Lab, outside: Path
) -> None:
    (outside / "in").mkdir()
    mounts.mount("tmpfs", str(outside / "in"), "tmpfs")
    (outside / "in/f").write_text("f\n")
    binds = (Bind(str(outside), "/r", read_only=True), Bind(str(outside), "/w"))
    ended = own.sh(
        "cat /r/in/f; echo x > /r/in/g; echo y > /w/in/h; mknod /w/in/n c 1 3; cat /w/in/n",
        binds=binds,
    )
    assert ended.out == "f\n"
    assert "/r/in/g: Read-only file system" in ended.err
    assert "can't open '/w/in/n'" in ended.err
    assert {"f", "h"} <= set(os.listdir(outside / "in")) <= {"f", "h", "n"}


def test_they_are_mounted_in_order_one_on_the_other(area: Lab, outside: Path) -> None:
    for name in ("a", "b"):
        (outside / name).mkdir()
        (outside / name / name).touch()
    (outside / "a/below").mkdir()
    binds = (Bind(str(outside / "a"), "/v"), Bind(str(outside / "b"), "/v/below"))
    assert area.sh("ls /v /v/below", binds=binds).out.split() == [
        "/v:",
        "a",
        "below",
        "/v/below:",
        "b",
    ]


def test_what_is_mounted_meanwhile_does_not_show(own: Lab, outside: Path) -> None:
    (outside / "in").mkdir()
    plan = own.plan(
        "sh", "-c", "read x; ls /v/in; echo end", binds=(Bind(str(outside), "/v"),), open_stdin=True
    )
    with own.attached(plan) as line:
        mounts.mount("tmpfs", str(outside / "in"), "tmpfs")
        (outside / "in/f").touch()
        line.send("go\n")
        assert line.read() == 0
    assert line.out == "end\n"


def test_a_folder_in_memory(own: Lab) -> None:
    binds = (
        Bind("", "/t", kind="tmpfs"),
        Bind("", "/tmp", kind="tmpfs"),
        Bind("", "/ro", True, "tmpfs"),
    )
    image = own.layer(busybox(tars.folder("tmp", mode=0o1770)))
    script = "stat -c %a /t /tmp; echo x > /t/f; cat /t/f; echo y > /ro/f; grep ' /t ' /proc/mounts"
    plan = own.plan("sh", "-c", script, binds=binds, image=image)
    ended = own.wait(plan, own.start(plan))
    assert ended.out.split()[:3] == ["1777", "1770", "x"]
    assert {"nosuid", "nodev", "noexec"} <= set(ended.out.split()[6].split(","))
    assert "Read-only file system" in ended.err
    assert not (own.upper(plan) / "t/f").exists()


def test_links_on_the_way_lead_inside_of_the_container(area: Lab, outside: Path) -> None:
    image = area.layer(
        busybox(
            tars.folder("real"),
            tars.symlink("abs", "/real"),
            tars.symlink("up", "../../../../real"),
            tars.symlink("dangling", "/not/yet"),
            tars.symlink("chain", "abs"),
        )
    )
    (outside / "f").write_text("f\n")
    for target in ("/abs/v", "/up/v", "/chain/v", "/abs/../../../real/v"):
        ended = area.sh("cat /real/v/f", image=image, binds=(Bind(str(outside), target),))
        assert ended.out == "f\n", target
    ended = area.sh("cat /not/yet/f", image=image, binds=(Bind(str(outside), "/dangling"),))
    assert ended.out == "f\n"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/", "nothing is mounted on the container's root"),
        ("/../..", "nothing is mounted on the container's root"),
        ("/proc", "nothing is mounted inside of /proc"),
        ("/proc/self/fd", "nothing is mounted inside of /proc"),
        ("/lproc/1", "nothing is mounted inside of /proc"),
        ("/loop", "too many"),
        ("/etc/passwd", "is a folder, and /etc/passwd in the container a file"),
        ("/etc/passwd/x", "not a directory"),
    ],
)
def test_where_nothing_can_be_mounted_is_said(
    target: str, message: str, own: Lab, outside: Path
) -> None:
    image = own.layer(busybox(tars.symlink("lproc", "/proc"), tars.symlink("loop", "loop")))
    with pytest.raises(StartError, match=message) as caught:
        own.run("true", image=image, binds=(Bind(str(outside), target),))
    assert caught.value.code == 125


def test_a_file_cannot_be_mounted_on_a_folder(own: Lab, outside: Path) -> None:
    (outside / "f").touch()
    with pytest.raises(StartError, match=r"is a file, and /etc in the container a folder"):
        own.run("true", binds=(Bind(str(outside / "f"), "/etc"),))


def test_what_is_not_there_to_be_mounted_is_named(own: Lab, outside: Path) -> None:
    source = outside / "missing\n"
    with pytest.raises(StartError) as caught:
        own.run("true", binds=(Bind(str(source), "/v"),))
    assert (
        str(caught.value)
        == f"{outside}/missing\\n, for /v in the container: no such file or directory"
    )


def test_a_device_that_is_mounted_by_name_is_not_usable(own: Lab) -> None:
    """As in Docker, where the devices' cgroup forbids it."""
    ended = own.sh("echo x > /d", binds=(Bind("/dev/zero", "/d"),))
    assert "can't create /d: Permission denied" in ended.err


def test_no_mount_outlives_a_start_that_failed(own: Lab, outside: Path) -> None:
    for binds in ((Bind(str(outside), "/proc"),), (Bind(str(outside), "/v"), Bind("/nope", "/w"))):
        with pytest.raises(StartError):
            own.run("true", binds=binds)
    for place in (own.root, outside):
        assert str(place) not in Path("/proc/self/mountinfo").read_text()
