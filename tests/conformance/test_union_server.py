"""The server behind a mounted union: its life, its end, and what it tells."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from layerview.drivers.mounts import attach
from layerview.unionfs.serve import PROCESS_NAME, serve
from layerview.unionfs.steps import Step, decode
from tests.support.container_lab import eventually
from tests.unionfs.behaviours import failing
from tests.unionfs.mounted import Mounted, mounted, need_mounts

pytestmark = pytest.mark.conformance

MIB = 1 << 20


@pytest.fixture
def branches(tmp_path: Path) -> list[Path]:
    need_mounts()
    made = [tmp_path / name for name in ("top", "middle", "lower")]
    for branch in made:
        branch.mkdir()
    (made[2] / "file").write_text("from below\n")
    (made[2] / "folder").mkdir()
    (made[2] / "folder/deep").write_text("deep\n")
    (made[2] / "program").write_bytes(Path("/bin/sleep").read_bytes())
    (made[2] / "program").chmod(0o755)
    (made[1] / "file").write_text("from the middle\n")
    return made


@pytest.fixture(params=[True, False], ids=["passthrough", "served"])
def union(
    request: pytest.FixtureRequest, branches: list[Path], tmp_path: Path
) -> Iterator[Mounted]:
    with mounted(branches, tmp_path / "union", passthrough=request.param) as made:
        if request.param and not made.passthrough:
            pytest.skip("the kernel does not read and write files itself for this user")
        yield made


class Ear:
    """One that listens."""

    def __init__(self, union: Mounted, *, reads: bool = False) -> None:
        self._line = socket.socket(socket.AF_UNIX)
        folder = os.open(union.steps.parent, os.O_PATH)
        self._line.connect(f"/proc/self/fd/{folder}/{union.steps.name}")
        os.close(folder)
        self._line.settimeout(5)
        self._said = b""
        assert self.next() == 0
        if reads:
            self._line.sendall(b'{"reads": true}\n')
            # The server has heard it once it has answered a request that came later.
            time.sleep(0.05)

    def next(self) -> Step | int:
        while b"\n" not in self._said:
            piece = self._line.recv(1 << 16)
            assert piece, "the server said no more"
            self._said += piece
        line, self._said = self._said.split(b"\n", 1)
        return decode(line)

    def until(self, kind: str, path: str) -> list[Step]:
        """Return all steps up to one."""
        heard = []
        while True:
            step = self.next()
            assert isinstance(step, Step)
            heard.append(step)
            if (step.kind, step.path) == (kind, path):
                return heard

    def close(self) -> None:
        self._line.close()


@pytest.fixture
def ear(union: Mounted) -> Iterator[Ear]:
    made = Ear(union)
    yield made
    made.close()


# --- life and end ---


def test_the_server_has_nothing_of_its_caller(branches: list[Path], tmp_path: Path) -> None:
    kept = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(kept, True)
    with mounted(branches, tmp_path / "union") as union:
        process = Path(f"/proc/{union.pid}")
        assert (process / "comm").read_text().strip() == PROCESS_NAME
        status = dict(
            line.split(":\t", 1) for line in (process / "status").read_text().splitlines()
        )
        assert status["Threads"] == "1"
        assert int(status["NSsid"].split()[0]) != os.getsid(0)
        places = {os.readlink(one) for one in (process / "fd").iterdir()}
        assert str(tmp_path) not in places
        assert os.devnull in places
        # It sees no mount, its own among them.
        mounts = [line.split()[4] for line in (process / "mountinfo").read_text().splitlines()]
        assert "/" in mounts
        assert all(place == "/" or place.startswith("/proc") for place in mounts)
        os.kill(union.pid, signal.SIGTERM)
        os.kill(union.pid, signal.SIGINT)
        assert (union.place / "file").read_text() == "from the middle\n"
    os.close(kept)


def test_the_server_ends_with_the_mount_and_takes_its_socket_away(
    branches: list[Path], tmp_path: Path
) -> None:
    with mounted(branches, tmp_path / "union") as union:
        assert stat.S_IMODE(union.steps.stat().st_mode) == 0o600
    assert not union.is_served
    assert not union.steps.exists()


def test_the_server_ends_when_its_tree_is_attached_nowhere(
    branches: list[Path], tmp_path: Path
) -> None:
    served = serve([*map(str, branches)])
    os.close(served.tree)
    made = Mounted(branches, tmp_path, tmp_path / "none", served.pid, served.passthrough)
    eventually(lambda: not made.is_served, "the server does not end")


def test_the_server_ends_with_the_namespace_that_it_is_mounted_in(
    branches: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "place").mkdir()
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys\n"
            "from layerview.drivers.mounts import attach, mount, unshare\n"
            "from layerview.unionfs.serve import serve\n"
            "unshare(0x20000)\n"
            "mount('none', '/', '', 0x4000 | 1 << 19)\n"
            "served = serve(sys.argv[2:])\n"
            "attach(served.tree, os.open(sys.argv[1], os.O_PATH))\n"
            "print(served.pid, open(sys.argv[1] + '/file').read().strip())\n",
            str(tmp_path / "place"),
            *map(str, branches),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    pid, said = child.stdout.split(maxsplit=1)
    assert said == "from the middle\n"
    made = Mounted(branches, tmp_path, tmp_path / "none", int(pid), passthrough=True)
    eventually(lambda: not made.is_served, "the server does not end")


def test_a_branch_that_is_missing_is_said(tmp_path: Path) -> None:
    need_mounts()
    with pytest.raises(FileNotFoundError) as caught:
        serve([str(tmp_path), str(tmp_path / "missing")])
    assert caught.value.filename == str(tmp_path / "missing")


def test_a_killed_server_gives_errors_and_nothing_hangs(union: Mounted) -> None:
    with open(union.place / "folder/deep", "a+b", buffering=0) as file:
        file.write(b"x")
        os.kill(union.pid, signal.SIGKILL)
        eventually(lambda: not union.is_served, "the server does not end")
        for call in (
            lambda: os.listdir(union.place),
            lambda: os.stat(union.place / "file"),
            lambda: (union.place / "new").write_text("x"),
            lambda: os.mkdir(union.place / "folder/new"),
            lambda: os.fsync(file.fileno()),
        ):
            assert failing(call) in ("ENOTCONN", "EIO", "ECONNABORTED")
    union.steps.unlink()


def test_a_socket_that_was_left_is_replaced(branches: list[Path], tmp_path: Path) -> None:
    with mounted(branches, tmp_path / "one") as union:
        os.kill(union.pid, signal.SIGKILL)
        eventually(lambda: not union.is_served, "the server does not end")
        assert union.steps.exists()
        served = serve([*map(str, branches)], steps=str(union.steps))
        folder = os.open(union.place, os.O_PATH)
        again = union._replace(pid=served.pid)
        heard = Ear(again)
        with open(f"/proc/self/fd/{served.tree}/file", "a") as file:
            file.write("x")
        assert heard.until("copy_up", "file")
        heard.close()
        os.close(folder)
        os.close(served.tree)
        eventually(lambda: not again.is_served, "the server does not end")


# --- copy-ups under open files ---


def test_who_reads_a_file_below_goes_on_when_it_is_copied_up(union: Mounted) -> None:
    path = union.place / "file"
    with open(path, "rb", buffering=0) as reader:
        assert reader.read(5) == b"from "
        number = os.fstat(reader.fileno()).st_ino
        with open(path, "r+b", buffering=0) as writer:
            assert os.fstat(writer.fileno()).st_ino == number
            writer.write(b"FROM")
            assert os.pread(writer.fileno(), 8, 0) == b"FROM the"
            with open(path, "rb") as later:
                assert later.read() == b"FROM the middle\n"
            # As with the kernel's overlayfs, or better: what was, or what is.
            assert os.pread(reader.fileno(), 8, 0) in (b"from the", b"FROM the")
        assert path.stat().st_ino == number
        assert path.stat().st_size == 16
        os.truncate(path, 4)
        assert path.read_bytes() == b"FROM"
        assert len(reader.read()) in (0, 11)
    with open(path, "ab") as writer:
        writer.write(b"!")
    assert path.read_bytes() == b"FROM!"
    assert (union.top / "file").read_bytes() == b"FROM!"
    assert (union.branches[1] / "file").read_text() == "from the middle\n"


def test_every_change_goes_through_however_many_read(union: Mounted) -> None:
    """Modes, names, links and truncation while the file below is open, then writes again."""
    path = union.place / "folder/deep"
    readers = [open(path, "rb") for _ in range(3)]  # noqa: SIM115
    path.chmod(0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    os.link(path, union.place / "linked")
    os.rename(path, union.place / "moved")
    for name in ("moved", "linked"):
        with open(union.place / name, "a") as file:
            file.write(f"{name}\n")
    assert (union.place / "linked").read_text() == "deep\nmoved\nlinked\n"
    assert (union.place / "moved").stat().st_size == 18
    assert (union.place / "linked").stat().st_size == 18
    assert [reader.read()[:5] for reader in readers] == [b"deep\n"] * 3
    os.unlink(union.place / "moved")
    with open(union.place / "linked", "r+") as file:
        file.truncate(0)
        file.write("again")
    assert (union.place / "linked").read_text() == "again"
    for reader in readers:
        reader.close()


def test_a_running_program_is_copied_up(union: Mounted) -> None:
    program = union.place / "program"
    with subprocess.Popen([program, "30"]) as running:
        program.chmod(0o700)
        assert subprocess.run([program, "0"], check=False).returncode == 0
        running.kill()


def test_what_lies_on_top_is_one_file_for_all_that_have_it_open(union: Mounted) -> None:
    path = union.place / "file"
    path.write_text("top\n")
    with open(path, "rb", buffering=0) as reader, open(path, "ab", buffering=0) as writer:
        writer.write(b"more\n")
        assert reader.read() == b"top\nmore\n"
        assert os.fstat(reader.fileno()).st_size == 9


# --- what it tells ---


def test_the_steps_of_a_copy_up_are_told(union: Mounted, ear: Ear) -> None:
    with open(union.place / "file", "a") as file:
        file.write("x")
    heard = ear.until("copy_up", "file")
    assert [step for step in heard if step.kind == "create"] == []
    last = heard[-1]
    assert (last.found, last.searched, last.bytes) == (1, (0, 1), 16)
    assert last.pid == os.getpid()
    assert abs(last.time - time.time_ns()) < 5_000_000_000
    os.unlink(union.place / "file")
    assert ear.until("whiteout", "file")
    (union.place / "new").mkdir()
    assert ear.until("create", "new")


def test_writes_are_told_also_while_the_file_stays_open(union: Mounted, ear: Ear) -> None:
    with open(union.place / "new", "wb", buffering=0) as file:
        ear.until("create", "new")
        for _ in range(3):
            time.sleep(0.06)
            begun = time.monotonic()
            file.write(b"x" * 100)
            step = ear.until("write", "new")[-1]
            assert time.monotonic() - begun < 1
            # The kernel does not tell how much it wrote itself.
            assert step.written in (None, 100)


def test_what_was_written_is_told_in_full_where_it_passes_the_server(
    branches: list[Path], tmp_path: Path
) -> None:
    with mounted(branches, tmp_path / "union", passthrough=False) as union:
        ear = Ear(union)
        with open(union.place / "new", "wb", buffering=0) as file:
            for _ in range(50):
                file.write(b"x" * 1000)
        written = 0
        while written < 50_000:
            step = ear.next()
            assert isinstance(step, Step)
            if step.kind == "write":
                written += step.written or 0
        assert written == 50_000
        ear.close()


def test_reads_are_told_to_those_who_want_them(union: Mounted, ear: Ear) -> None:
    curious = Ear(union, reads=True)
    assert (union.place / "file").read_text() == "from the middle\n"
    (union.place / "mark").mkdir()
    heard = [(step.kind, step.path) for step in curious.until("create", "mark")]
    assert ("read", "file") in heard
    heard = [(step.kind, step.path) for step in ear.until("create", "mark")]
    assert ("read", "file") not in heard
    curious.close()


def test_one_that_does_not_listen_keeps_nobody_waiting_and_hears_what_it_lost(
    union: Mounted,
) -> None:
    slow = Ear(union)
    fast = Ear(union)
    begun = time.monotonic()
    deep = "/".join(["n" * 250] * 12)
    (union.place / deep).mkdir(parents=True)
    fast.until("create", deep)
    count = 2000
    heard = 0
    folder = os.open(union.place / deep, os.O_RDONLY)
    for number in range(count):
        os.symlink("x", str(number), dir_fd=folder)
        if number % 100 == 99:
            fast.until("create", f"{deep}/{number}")
    os.close(folder)
    assert time.monotonic() - begun < 30
    lost = 0
    while lost + heard < count + 12:
        step = slow.next()
        if isinstance(step, int):
            lost += step
        else:
            heard += 1
    assert heard >= 1000
    assert lost
    slow.close()
    fast.close()


def test_listeners_come_and_go_and_say_what_they_like(union: Mounted) -> None:
    for said in (b"", b"\n", b"{", b'{"reads": 1}\n', b"[" * 5000 + b"\n", b"\xff\n" * 3000):
        ears = [Ear(union) for _ in range(3)]
        for one in ears:
            with suppress(OSError):
                one._line.sendall(said)
            one.close()
    last = Ear(union)
    (union.place / "still").mkdir()
    assert last.until("create", "still")
    last.close()


def test_a_big_copy_up_is_told_while_it_goes_on(branches: list[Path], tmp_path: Path) -> None:
    with open(branches[2] / "big", "wb") as file:
        for _ in range(256):
            file.write(os.urandom(4096) * 256)
    with mounted(branches, tmp_path / "union") as union:
        ear = Ear(union)
        with open(union.place / "big", "r+b") as file:
            file.write(b"x")
        heard = ear.until("copy_up", "big")
        assert heard[-1].bytes == 256 * MIB
        assert heard[-1].cause == "open"
        under_way = [step.bytes for step in heard if step.kind == "copying"]
        assert under_way == sorted(under_way, key=lambda done: done or 0)
        ear.close()


# --- as a mount ---


def test_attributes_of_a_mount_are_honest(union: Mounted) -> None:
    line = next(
        line
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if line.split()[1] == str(union.place)
    )
    assert line.split()[2] == "fuse.layerview"
    real, ours = os.statvfs(union.top), os.statvfs(union.place)
    assert (ours.f_blocks, ours.f_bsize) == (real.f_blocks, real.f_bsize)


def test_interrupted_and_unknown_requests_are_answered(union: Mounted) -> None:
    fd = os.open(union.place / "file", os.O_RDONLY)
    get_flags = 0x80086601
    assert failing(lambda: fcntl.ioctl(fd, get_flags, bytearray(8))) == "ENOTTY"
    os.close(fd)
    unnamed = os.O_TMPFILE | os.O_RDWR
    assert failing(lambda: os.open(union.place, unnamed)) in ("EOPNOTSUPP", "ENOTSUP")


def test_many_files_are_open_at_once(union: Mounted) -> None:
    files = []
    for number in range(600):
        files.append(open(union.place / f"n{number}", "w+b", buffering=0))  # noqa: SIM115
        files[-1].write(b"%d" % number)
    for number, file in enumerate(files):
        assert os.pread(file.fileno(), 9, 0) == b"%d" % number
        file.close()
    eventually(
        lambda: len(os.listdir(f"/proc/{union.pid}/fd")) < 200, "the server keeps closed files"
    )
    for number in range(600):
        os.unlink(union.place / f"n{number}")
    eventually(
        lambda: len(os.listdir(f"/proc/{union.pid}/fd")) < 100, "the server keeps removed files"
    )


def test_a_server_without_descriptors_says_so_and_goes_on(union: Mounted) -> None:
    here = len(os.listdir(f"/proc/{union.pid}/fd"))
    for number in range(60):
        (union.place / f"idle{number}").write_text("x")
    resource.prlimit(union.pid, resource.RLIMIT_NOFILE, (here + 30, here + 30))
    files, said = [], set()
    for number in range(60):
        try:
            files.append(open(union.place / f"n{number}", "wb"))  # noqa: SIM115
        except OSError as error:
            said.add(error.errno)
    assert said == {errno.EMFILE}
    assert len(files) > 10
    for file in files:
        file.close()
    # The kernel tells of an end without waiting for an answer.
    eventually(lambda: failing((union.place / "after").touch) is None, "it has none any more")
    (union.place / "folder/after").write_text("x")
    assert (union.place / "file").read_text() == "from the middle\n"


def test_what_need_not_last_waits_for_no_disk(branches: list[Path]) -> None:
    served = serve([*map(str, branches)], volatile=True)
    for _ in range(2):
        with open(f"/proc/self/fd/{served.tree}/file", "a") as file:
            os.fsync(file.fileno())
            os.fdatasync(file.fileno())
        folder = os.open(f"/proc/self/fd/{served.tree}/folder", os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    os.close(served.tree)


def test_what_is_only_read_is_not_written(branches: list[Path]) -> None:
    served = serve([*map(str, branches)], read_only=True)
    place = Path(f"/proc/self/fd/{served.tree}")
    assert (place / "file").read_text() == "from the middle\n"
    assert failing(lambda: (place / "file").write_text("x")) == "EROFS"
    assert failing((place / "new").mkdir) == "EROFS"
    os.close(served.tree)


def test_a_union_is_attached_twice(union: Mounted, tmp_path: Path) -> None:
    from layerview.drivers.mounts import clone_tree, detach

    second = tmp_path / "second"
    second.mkdir()
    folder, place = os.open(union.place, os.O_PATH), os.open(second, os.O_PATH)
    tree = clone_tree(folder)
    attach(tree, place)
    for fd in (folder, place, tree):
        os.close(fd)
    (second / "by-second").write_text("1")
    assert (union.place / "by-second").read_text() == "1"
    detach(str(union.place))
    assert (second / "by-second").read_text() == "1"
    detach(str(second))


def test_its_steps_are_json_lines(union: Mounted, ear: Ear) -> None:
    os.mkdir(os.fsencode(union.place) + b"/\xff\n")
    step = ear.next()
    assert isinstance(step, Step)
    assert os.fsencode(step.path) == b"\xff\n"
    assert json.loads(json.dumps(step))
