"""Images and programs that try to get out of a container, or at what others run on.

Each test holds that what lies outside is unchanged: files of the machine, the image's layers, and
another container's own.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from layerview.containers.plan import Bind, Plan, StartError
from layerview.drivers.namespace import is_initial
from tests.containers.starting import BUSYBOX, Ended, Lab, busybox, wait_for_end
from tests.support import tars
from tests.support.trees import Found, snapshot

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Target:
    """What must stay as it is."""

    lab: Lab
    outside: Path
    other: Plan
    before: dict[str, dict[bytes, Found]]

    def places(self) -> dict[str, str]:
        return {
            "outside": str(self.outside),
            "image": self.lab.driver.layer_folder(self.lab.image),
            "other": self.lab.driver.layer_folder(self.other.mount_id),
            "its init": self.lab.driver.layer_folder(f"{self.other.mount_id}-init"),
            "its folder": self.other.folder,
        }

    def look(self) -> dict[str, dict[bytes, Found]]:
        return {name: snapshot(place) for name, place in self.places().items()}

    def run(self, *args: str, **more: object) -> Ended:
        """Run a container as containers are: with its own /etc/hosts and the like."""
        plan = self.lab.plan(*args, binds=self.binds(), **more)  # type: ignore[arg-type]
        return self.lab.wait(plan, self.lab.start(plan))

    def sh(self, script: str, **more: object) -> Ended:
        return self.run("sh", "-c", script, **more)

    def binds(self, *more: Bind) -> tuple[Bind, ...]:
        made = self.outside.parent / "own"
        made.mkdir(exist_ok=True)
        found = []
        for name in ("hosts", "hostname", "resolv.conf"):
            (made / name).write_text("own\n")
            found.append(Bind(str(made / name), f"/etc/{name}"))
        return (*found, *more)


@pytest.fixture
def target(area: Lab, tmp_path: Path) -> Iterator[Target]:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("hosts", "hostname", "resolv.conf", "secret", "passwd"):
        (outside / name).write_text("outside\n")
    (outside / "pts").mkdir()
    other = area.plan("true")
    made = Target(area, outside, other, {})
    made.before = made.look()
    yield made
    assert made.look() == made.before


TOPS = ("etc", "proc", "sys", "dev")
INNER = ("etc/hosts", "etc/hostname", "etc/mtab", "dev/pts", "dev/shm", "dev/console", ".dockerenv")
PLACES = {"top": TOPS, "inside": INNER}
WITHOUT = ("etc/passwd", "etc/group")


def image_with(target: Target, *more: tars.Entry, without: tuple[str, ...] = ()) -> str:
    """Return an image that has something else in the place of what images have."""
    return target.lab.layer(busybox(*more, without=without))


def image_of(target: Target, places: str, make: Callable[[str], tars.Entry]) -> str:
    """Return an image that has something of one kind in all these places."""
    left_out = (*TOPS, *WITHOUT) if places == "top" else ()
    return image_with(target, *map(make, PLACES[places]), without=left_out)


@pytest.mark.parametrize("way", ["absolute", "climbing", "magic"])
@pytest.mark.parametrize("places", PLACES)
def test_links_of_the_image_lead_nowhere(places: str, way: str, target: Target) -> None:
    def link(place: str) -> tars.Entry:
        leads = {
            "absolute": str(target.outside / place.rpartition("/")[2]),
            "climbing": "../" * 40 + str(target.outside).lstrip("/"),
            "magic": f"/proc/1/root{target.outside}",
        }
        return tars.symlink(place, leads[way])

    script = (
        "echo pwned > /etc/hosts; echo pwned > /etc/hostname; echo pwned > /etc/resolv.conf;"
        " echo pwned > /sys/pwned; echo pwned > /proc/pwned; echo pwned > /dev/pwned;"
        " echo pwned > /dev/pts/pwned; echo pwned > /dev/shm/pwned; echo pwned > /.dockerenv;"
        " echo ran; cat /etc/hosts"
    )
    assert "ran\npwned\n" in target.sh(script, image=image_of(target, places, link)).out


KINDS_OF_FILES: dict[str, Callable[[str], tars.Entry]] = {
    "file": lambda place: tars.file(place, b"x"),
    "fifo": tars.fifo,
    "char": lambda place: tars.char(place, 1, 3),
    "folder": tars.folder,
}


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("kind", KINDS_OF_FILES)
def test_what_else_stands_there_is_no_hindrance(kind: str, places: str, target: Target) -> None:
    image = image_of(target, places, KINDS_OF_FILES[kind])
    ended = target.sh("cat /etc/hosts; ls -d /proc/1 /sys/class /dev/shm", image=image)
    assert ended.out.split() == ["own", "/dev/shm", "/proc/1", "/sys/class"]


def test_what_a_container_makes_of_itself_leads_nowhere_when_it_starts_again(
    target: Target,
) -> None:
    away = str(target.outside).replace("/tmp", "/x", 1)
    script = f"""
        mv /etc /was; ln -s {target.outside} /etc
        mkdir -p /v; rmdir /v; ln -s {target.outside} /v
        ln -s /proc/1/root{away} /w
        echo done
    """
    volume = target.outside.parent / "volume"
    volume.mkdir()
    plan = target.lab.plan("sh", "-c", script, binds=target.binds())
    assert target.lab.wait(plan, target.lab.start(plan)).out == "done\n"
    script = "echo pwned > /etc/hosts; echo pwned > /v/volume/f"
    binds = target.binds(Bind(str(volume), "/v/volume"))
    again = plan._replace(args=("sh", "-c", script), binds=binds)
    assert target.lab.wait(again, target.lab.start(again)).status == 0
    again = plan._replace(
        args=("sh", "-c", "echo pwned > /w/g"), binds=target.binds(Bind(str(volume), "/w"))
    )
    try:
        assert target.lab.wait(again, target.lab.start(again)).status == 0
    except StartError as error:
        # Runtimes are given no places that lead through /proc.
        assert plan.runtime != "layerview", str(error)  # noqa: PT017
        (volume / "g").touch()
    assert sorted(os.listdir(volume)) == ["f", "g"]


def test_volumes_are_mounted_inside_whatever_the_target_is(target: Target) -> None:
    volume = target.outside.parent / "volume"
    volume.mkdir()
    image = image_with(
        target,
        tars.symlink("abs", str(target.outside)),
        tars.symlink("up", "../" * 30 + str(target.outside)[1:]),
        tars.symlink("self", "/proc/self/cwd"),
        tars.symlink("root", "/proc/1/root"),
        tars.symlink("fd", "/proc/self/fd/9"),
    )
    asked = ["/abs", "/abs/pts", "/up", "/up/pts", f"/../../..{target.outside}", "/root/x", "/fd/y"]
    for number, path in enumerate(asked):
        plan = target.lab.plan(
            "sh",
            "-c",
            f"echo {number} > '{path}/f{number}'",
            image=image,
            binds=target.binds(Bind(str(volume), path)),
        )
        try:
            started = target.lab.start(plan)
        except StartError:
            # Through what is open in the process that mounts it.
            assert path in ("/root/x", "/fd/y"), path
            continue
        target.lab.wait(plan, started)
    assert {f"f{number}" for number in range(5)} <= set(os.listdir(volume))


def disk() -> tuple[int, int]:
    """Return the numbers of a disk of this machine."""
    for line in Path("/proc/partitions").read_text().splitlines()[2:]:
        major, minor, *_ = line.split()
        return int(major), int(minor)
    pytest.skip("this machine has no disk")


def test_device_nodes_of_the_image_do_not_work(target: Target) -> None:
    major, minor = disk()
    image = image_with(
        target,
        tars.block("disk", major, minor, mode=0o666),
        tars.char("mem", 1, 1, mode=0o666),
        tars.char("zero", 1, 5, mode=0o666),
        tars.char("kmsg", 1, 11, mode=0o666),
    )
    script = "for f in /disk /mem /zero /kmsg; do head -c 1 $f && echo got $f; echo x > $f; done"
    # What an ordinary user unpacks has no device nodes: a file, or nothing, stands there.
    ended = target.sh(script, image=image)
    assert "got" not in ended.out or not is_initial()
    if is_initial():
        assert ended.err.count("Permission denied") == 8, ended.err


def test_device_nodes_that_it_makes_do_not_work(target: Target) -> None:
    major, minor = disk()
    volume = target.outside.parent / "volume"
    volume.mkdir()
    script = f"""
        for d in / /dev /dev/shm /tmp /v /t /dev/mqueue /run/x; do
            mkdir -p $d
            mknod $d/x-disk b {major} {minor}; mknod $d/x-zero c 1 5; mknod $d/x-tap c 10 200
            for f in x-disk x-zero x-tap; do
                head -c 1 $d/$f > /dev/null && echo got $d/$f
                echo x > $d/$f && test ! -f $d/$f && echo wrote $d/$f
            done
        done
        echo end
    """
    plan = target.lab.plan(
        "sh",
        "-c",
        script,
        binds=target.binds(Bind(str(volume), "/v"), Bind("", "/t", kind="tmpfs")),
    )
    ended = target.lab.wait(plan, target.lab.start(plan))
    assert not re.search(r"^wrote", ended.out, re.M), ended.out
    # Where the kernel lets nobody make one, the shell made a plain file.
    assert is_initial() is False or ended.out == "end\n", ended.out


ESCAPES = {
    "mount": "mkdir -p /m; mount -t tmpfs none /m",
    "bind": "mkdir -p /m; mount -o bind / /m",
    "remount": "mount -o remount,rw /sys",
    "remount root": "mount -o remount,dev /",
    "unmount": "umount /proc/sys",
    "unmount proc": "umount -l /proc",
    "unmount masked": "umount /proc/acpi || umount /proc/keys",
    "user namespace": "unshare -U true",
    "mount namespace": "unshare -m true",
    "user and mount": "unshare -Urm mount -t tmpfs none /tmp",
    "pid namespace": "unshare -pf true",
    "net namespace": "unshare -n true",
    "setns": "nsenter -t 1 -m true",
    "pivot": "mkdir -p /m/o; busybox pivot_root /m /m/o",
    "hostname": "hostname pwned",
    "reboot": "busybox reboot -f",
    "swap": "dd if=/dev/zero of=/s bs=4096 count=10; busybox mkswap /s; busybox swapon /s",
    "clock": "busybox date -s 2001-01-01; test $(busybox date +%Y) = 2001",
    "module": "busybox insmod /etc/passwd",
    "loop": "busybox losetup /dev/loop0 /etc/passwd",
    "log": "busybox dmesg -c",
    "core pattern": "echo '|/bin/sh' > /proc/sys/kernel/core_pattern",
    "modprobe": "echo /x > /proc/sys/kernel/modprobe",
    "sysrq": "echo b > /proc/sysrq-trigger",
    "uevent": "echo /x > /sys/kernel/uevent_helper",
    "release agent": "mkdir -p /c && mount -t cgroup -o none,name=x none /c",
    "oom": "echo -1000 > /proc/1/oom_score_adj",
    "raw disk": "busybox fdisk -l /dev/vda | grep Disk",
}


def test_what_a_container_may_not_do_fails(target: Target) -> None:
    # Each in a shell of its own, all in one container: none gains what the next one needs.
    script = "\n".join(
        f"({command}) >/dev/null 2>&1 && echo did: '{name}'" for name, command in ESCAPES.items()
    )
    kernel = {
        path: Path(path).read_bytes()
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe")
        if os.path.exists(path)
    }
    ended = target.sh(f"{script}\necho end; hostname", hostname="mine")
    assert ended.out == "end\nmine\n"
    assert kernel == {path: Path(path).read_bytes() for path in kernel}


def test_a_chroot_inside_is_no_way_out(target: Target) -> None:
    script = f"""
        mkdir -p /c/bin; cp /bin/busybox /c/bin/; ln -s busybox /c/bin/sh
        chroot /c /bin/sh -c 'cd ..; cd ../../..; /bin/busybox ls'
        cd /; for i in 1 2 3 4 5 6 7 8 9; do cd ..; done; ls -d {target.outside}; pwd
    """
    ended = target.sh(script)
    assert ended.out == "bin\n/\n"


def test_other_processes_and_their_files_are_out_of_reach(target: Target) -> None:
    neighbour = target.lab.plan("sleep", "100")
    started = target.lab.start(neighbour)
    try:
        script = f"""
            ls /proc | grep -c '^[0-9]'
            kill -9 {started.pid} {started.shim} {os.getpid()} 2>/dev/null && echo killed
            for p in /proc/[0-9]*; do
                readlink $p/exe; ls -d $p/root{target.outside} $p/cwd{target.outside}
            done 2>/dev/null | sort -u
            kill -9 -1; echo alive
        """
        ended = target.sh(script)
        words = ended.out.split()
        # It, ls and grep; what the loop saw is busybox alone.
        assert int(words[0]) <= 3
        assert words[1:] == ["/bin/busybox", "alive"]
        os.kill(started.pid, 0)
    finally:
        os.kill(started.shim, signal.SIGKILL)
        wait_for_end(started.shim)


def test_sockets_and_files_of_the_area_are_out_of_reach(target: Target) -> None:
    root = target.lab.root
    script = f"ls -d {root} {root}/containers; grep -c layerview /proc/net/unix; ls /; true"
    ended = target.sh(script)
    assert str(root) not in ended.out
    assert ended.out.split()[0] == "0"


def test_a_working_folder_through_an_open_descriptor_is_refused(target: Target) -> None:
    # CVE-2024-21626: what is still open of the machine, as the place to be in.
    opened = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(3)]
    try:
        for fd in opened:
            os.set_inheritable(fd, True)
        for number in range(40):
            plan = target.lab.plan("sh", "-c", "ls -a; ls ..", cwd=f"/proc/self/fd/{number}")
            try:
                started = target.lab.start(plan)
            except StartError:
                continue
            ended = target.lab.wait(plan, started)
            assert "outside" not in ended.out, number
            assert "boot" not in ended.out, number
    finally:
        for fd in opened:
            os.close(fd)


def test_a_working_folder_through_a_link_is_inside(target: Target) -> None:
    image = image_with(
        target,
        tars.symlink("abs", str(target.outside)),
        tars.symlink("magic", "/proc/self/root/../../.."),
    )
    for cwd in ("/abs/made", "/magic", "/../.."):
        plan = target.lab.plan("sh", "-c", "echo pwned > secret; pwd", image=image, cwd=cwd)
        try:
            started = target.lab.start(plan)
        except StartError:
            continue
        assert target.lab.wait(plan, started).out.startswith("/")


def interpreter(program: str) -> str | None:
    """Return the name of a program's dynamic loader (ELF, PT_INTERP)."""
    with open(program, "rb") as file:
        found = re.search(rb"/[\w./-]*/ld-[\w.-]+\.so[\w.]*", file.read(1 << 16))
    return None if found is None else found[0].decode()


@pytest.mark.parametrize("way", ["link", "script", "script by a link"])
def test_the_machines_own_interpreter_is_not_for_the_container(way: str, target: Target) -> None:
    """CVE-2019-5736: an image whose program is /proc/self/exe, with a loader of its own."""
    own = os.path.realpath("/proc/self/exe")
    loader = interpreter(own)
    if loader is None:
        pytest.skip(f"{own} has no dynamic loader")
    before = os.stat(own)
    with open(BUSYBOX, "rb") as file:
        program = file.read()
    entries = {
        "link": (tars.symlink("evil/sh", "/proc/self/exe"),),
        "script": (tars.file("evil/sh", b"#!/proc/self/exe\n", mode=0o755),),
        "script by a link": (
            tars.symlink("python", "/proc/self/exe"),
            tars.file("evil/sh", b"#! /python -c x\n", mode=0o755),
        ),
    }
    image = image_with(target, *entries[way], tars.file(loader[1:], program, mode=0o755))
    script = "exec 7</proc/self/exe; echo pwned > /proc/self/fd/7; echo pwned > /proc/self/exe"
    try:
        ended = target.run("sh", "-c", script, image=image, env=("PATH=/evil",))
    except StartError as error:
        assert error.code == 126  # noqa: PT017
    else:
        assert "Text file busy" in ended.err or ended.status != 0
    after = os.stat(own)
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def test_nobody_writes_to_the_interpreter_while_a_container_runs(own: Lab) -> None:
    plan = own.plan("sleep", "100")
    started = own.start(plan)
    try:
        if os.access("/proc/self/exe", os.W_OK):
            path = os.readlink(f"/proc/{started.shim}/exe")
            with pytest.raises(OSError, match=r"Text file busy|Read-only"):
                os.close(os.open(path, os.O_WRONLY))
    finally:
        os.kill(started.shim, signal.SIGKILL)
        wait_for_end(started.shim)


def test_a_set_user_id_program_of_a_container_is_nobodys_outside(target: Target) -> None:
    plan = target.lab.plan("sh", "-c", "cp /bin/busybox /s && chown 0:0 /s && chmod 6755 /s")
    assert target.lab.wait(plan, target.lab.start(plan)).status == 0
    made = target.lab.upper(plan) / "s"
    assert stat.S_IMODE(os.lstat(made).st_mode) == 0o6755
    # Who is neither root nor the area's owner does not come to where it lies.
    assert stat.S_IMODE(os.lstat(target.lab.driver.home).st_mode) & 0o007 == 0


def test_it_writes_to_no_layer_but_its_own(target: Target) -> None:
    script = """
        for f in $(find / -xdev -type f); do echo pwned >> $f; chmod 777 $f; done
        rm -rf /bin /etc /root 2>/dev/null
        true
    """
    plan = target.lab.plan("busybox", "sh", "-c", script, binds=target.binds())
    target.lab.wait(plan, target.lab.start(plan))


def test_a_fork_bomb_ends_with_its_container(own: Lab) -> None:
    script = "i=0; while test $i != 200; do sleep 111 & i=$((i+1)); done; wait"
    plan = own.plan("sh", "-c", script)
    started = own.start(plan)
    os.kill(started.shim, signal.SIGKILL)
    wait_for_end(started.shim)
    left = subprocess.run(["ps", "-eo", "stat=,args="], capture_output=True, text=True, check=True)
    assert "sleep 111" not in left.stdout


def test_a_large_or_endless_passwd_does_not_hold_up_the_start(own: Lab) -> None:
    for entry in (
        tars.fifo("etc/passwd"),
        tars.symlink("etc/passwd", "/dev/zero"),
        tars.symlink("etc/passwd", "/proc/kmsg"),
        tars.symlink("etc/passwd", "passwd"),
    ):
        image = own.layer(busybox(entry, without=("etc/passwd",)))
        assert own.run("true", image=image).status == 0
        with pytest.raises(StartError, match="no matching entries in passwd file"):
            own.run("true", image=image, user="joe")
    image = own.layer(busybox(tars.sparse("etc/passwd", 1 << 40, []), without=("etc/passwd",)))
    with pytest.raises(StartError, match="larger than 16 MiB"):
        own.run("true", image=image, user="joe")


def test_names_in_messages_are_printable(own: Lab) -> None:
    for args, more in (
        (("\x1b[2Jx",), {}),
        (("/\x1b[2Jx",), {}),
        (("true",), {"user": "\x1b[2Jx"}),
        (("true",), {"user": "0:\x1b[2Jx"}),
        (("true",), {"binds": (Bind("/\x1b[2Jx", "/v"),)}),
        (("true",), {"binds": (Bind("/etc", "/etc/passwd/\x1b[2Jx"),)}),
        (("true",), {"cwd": "/etc/passwd/\x1b[2Jx"}),
    ):
        with pytest.raises(StartError) as caught:
            own.run(*args, **more)  # type: ignore[arg-type]
        assert str(caught.value).isprintable(), str(caught.value)


def test_keys_are_its_own(own: Lab) -> None:
    """/proc/keys is hidden; the session's keyring is another one than its starter's."""
    number = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine)
    if number is None:
        pytest.skip("keyctl's number is not known here")
    code = (
        "import ctypes, os\n"
        "call = ctypes.CDLL(None).syscall\n"
        f"keyring = lambda: call({number}, 0, ctypes.c_int(-3), 1)\n"
        "before = keyring()\n"
        "from layerview.containers.privileges import leave_keyring\n"
        "leave_keyring()\n"
        "print(before > 0 and keyring() > 0 and keyring() != before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
