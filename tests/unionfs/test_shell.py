"""The built-in shell where no other one can be asked: hostile images, mounts, steps, stops."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.unionfs.shell.completion import completions
from layerview.unionfs.shell.terminal import TerminalText
from layerview.unionfs.union import Union
from tests.unionfs.shell_lab import Place, fill


class Lab(Place):
    """A place whose branches are known."""

    def __init__(self, root: Path, *, columns: int = 0) -> None:
        self.root = root
        self.top, self.below = root / "top", root / "below"
        for folder in (self.top, self.below):
            folder.mkdir()
        fill(self.below)
        super().__init__(self.top, self.below, columns=columns)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def told(lab: Lab) -> list[tuple[str, str]]:
    return [(step.kind, step.path) for step in lab.steps]


# -- nothing leads out of the union ---------------------------------------------------------------


def test_links_lead_nowhere_but_into_the_union(lab: Lab, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_text("outside\n")
    lab.run(f"ln -s {outside} out; ln -s ../../../../../../etc/passwd up; ln -s / root")
    assert lab.run("cat out").errors.endswith(b"No such file or directory\n")
    assert lab.run("cat up").out.startswith(b"root:x:0:0")
    assert lab.run("cd /root/root/root; ls f; cat ../../../../f").out == b"f\none\ntwo\nthree\n"
    assert lab.run("echo changed > /out").status == 1
    assert outside.read_text() == "outside\n"
    lab.run("cp -a /out /copy; rm /out; mv /copy /out; chmod 777 /out; chown 5 /out")
    assert outside.read_text() == "outside\n"
    assert stat.S_IMODE(outside.stat().st_mode) != 0o777


def test_the_root_is_its_own_parent(lab: Lab) -> None:
    assert lab.run("cd /../..; pwd; ls ../../f").out == b"/\n../../f\n"


def test_a_folder_that_is_gone_can_be_left(lab: Lab) -> None:
    lab.run("mkdir here; cd here; rmdir /here")
    assert lab.run("ls").out == b""
    assert lab.run("> f").status == 1
    assert lab.run("cd ..; pwd").out == b"/\n"
    assert lab.run("cd d | cat; pwd").out == b"/\n"


def test_links_in_a_circle_end(lab: Lab) -> None:
    lab.run("ln -s b a; ln -s a b")
    for line in ("cat a", "cd a", "ls a/", "echo x > a", "cp a c", "cat loop/x"):
        found = lab.run(line)
        assert found.status != 0
        assert b"ymbolic links" in found.errors, line


def test_devices_and_pipes_of_an_image_are_never_opened(lab: Lab) -> None:
    os.mkfifo(lab.below / "pipe")
    names = [b"pipe"]
    if os.geteuid() == 0:
        # The kernel's null device, by another name.
        os.mknod(lab.below / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        names.append(b"device")
    for name in names:
        line = name.decode()
        for command in (
            f"cat {line}",
            f"cat < {line}",
            f"echo x > {line}",
            f"echo x >> {line}",
            f"head {line}",
            f"wc {line}",
            f"cp {line} copy",
            f"cp f {line}",
            f"dd if={line} of=x",
            f"dd if=f of={line}",
        ):
            found = lab.run(command)
            assert found.status == 1, command
            assert b"No such device or address" in found.errors, (command, found.errors)
        assert lab.run(f"cp -a {line} copy; ls -l copy").out[:1] in (b"p", b"c")
        assert lab.run(f"mv {line} moved; rm moved copy; ls {line}").status == 1


def test_names_bring_no_control_characters_to_a_terminal(tmp_path: Path) -> None:
    lab = Lab(tmp_path, columns=80)
    try:
        (lab.below / "d" / "bad\x1b[31m\nname").touch()
        shown = TerminalText()
        for line in ("ls d", "ls -l d", "find d", "du -a d", "cat d/bad*x", "rm -r d/b*/x"):
            found = lab.run(line)
            text = shown.feed(found.out) + shown.feed(found.errors)
            assert "\x1b" not in text
            assert "\\x1b[31m\\n" in text or "*" in line, line
    finally:
        lab.close()


def test_what_a_file_says_to_a_terminal_is_text() -> None:
    shown = TerminalText()
    assert shown.feed(b"a\x1b[2J\tb\r\n\xc3") == "a\\x1b[2J\tb\\r\n"
    assert shown.feed(b"\xa9\xff\x9b") == "é\\xff\\x9b"


def test_what_a_line_shows_is_bounded(lab: Lab) -> None:
    found = lab.run("cat /dev/zero")
    assert found.status == 1
    assert len(found.out) == 16 << 20
    # Each command of a pipe has done all before the next one begins.
    found = lab.run("cat /dev/zero | head -c 3 | wc -c")
    assert (found.status, found.out) == (0, b"3\n")
    assert b"too much for a pipe" in found.errors
    lab.run("cat big >> big")
    assert lab.run("wc -c big").out == b"140000 big\n"


def test_a_pattern_takes_no_longer_than_its_length_times_the_names(lab: Lab) -> None:
    (lab.below / ("a" * 250)).touch()
    lab.run("echo " + "*a" * 100 + "b")
    assert lab.run("find . -name '" + "*a" * 100 + "b'").out == b""


# -- the union's own story ------------------------------------------------------------------------


def test_the_steps_are_those_of_what_was_done(lab: Lab) -> None:
    assert lab.run("cat big > /dev/null; ls -lR; find .; du; stat f; wc hole").status == 0
    assert told(lab) == []
    lab.run("echo x >> big")
    assert told(lab)[:1] == [("copy_up", "big")]
    first = lab.steps[0]
    assert (first.found, first.searched, first.bytes) == (1, (0, 1), 70_000)
    lab.steps.clear()
    lab.run("echo x >> big")
    assert told(lab) == [("write", "big")]
    assert lab.steps[0].written == 2
    lab.steps.clear()
    lab.run("chmod 600 b1; mv a1 new; rm a2; rm -r d; mkdir d; > f; printf Z | dd of=hole bs=1")
    kinds = told(lab)
    for expected in (
        ("copy_up", "b1"),
        ("copy_up", "new"),
        ("whiteout", "a2"),
        ("whiteout", "d"),
        ("create", "d"),
        ("copy_up", "f"),
    ):
        assert expected in kinds or (expected[0], "a1") in kinds, (expected, kinds)
    emptied = next(step for step in lab.steps if (step.kind, step.path) == ("copy_up", "f"))
    assert (emptied.bytes, emptied.cause) == (0, "truncate")


def test_a_command_stops_where_the_person_wants_it(lab: Lab) -> None:
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    lab.shell.session._stopped = stopped
    assert lab.run("find /; echo never").status == 130
    assert b"never" not in lab.out
    lab.shell.session._stopped = lambda: False
    assert lab.run("echo on").out == b"on\n"


def test_a_volume_passes_the_union_by(lab: Lab, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "kept").write_text("kept\n")
    fd = os.open(data, os.O_PATH | os.O_DIRECTORY)
    volume = Union([fd])
    try:
        lab.tree.mount(b"/srv/data", volume, volume.root)
        lab.steps.clear()
        assert lab.run("cd /srv/data; cat kept; echo new > f; pwd; ls ..").out == (
            b"kept\n/srv/data\ndata\n"
        )
        assert (data / "f").read_text() == "new\n"
        assert told(lab) == []
        lab.run("cd /; mv f srv/data/moved; cp srv/data/kept here; ln f srv/data/x")
        assert (data / "moved").read_text() == "one\ntwo\nthree\n"
        assert b"rm: can't remove 'srv/data': Device or resource busy\n" in (
            lab.run("rm -r srv").errors
        )
        assert lab.run("mv srv/data away").errors == (
            b"mv: can't rename 'srv/data': Device or resource busy\n"
        )
        assert sorted(os.listdir(data)) == []
    finally:
        volume.close()
        os.close(fd)


def test_what_a_read_only_mount_holds_stays(lab: Lab, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "kept").write_text("kept\n")
    fd = os.open(data, os.O_PATH | os.O_DIRECTORY)
    volume = Union([fd], writable=False)
    try:
        lab.tree.mount(b"/srv", volume, volume.root)
        for line in ("echo x > srv/f", "rm srv/kept", "echo x >> srv/kept", "chmod 1 srv/kept"):
            found = lab.run(line)
            assert (found.status, b"Read-only file system" in found.errors) == (1, True), line
        assert (data / "kept").read_text() == "kept\n"
    finally:
        volume.close()
        os.close(fd)


# -- the rest -------------------------------------------------------------------------------------


def test_programs_are_said_not_to_run(lab: Lab) -> None:
    lab.run("mkdir bin; echo '#!' > bin/program; chmod 755 bin/program")
    for line in ("program", "/bin/program", "bin/program"):
        found = lab.run(line)
        assert found.status == 126
        assert b"no program runs in the built-in shell" in found.errors


@pytest.mark.parametrize(
    "line", ["echo $(ls)", "echo `ls`", "ls &", "for x in a; do ls; done", "cat <<E", "{ ls; }"]
)
def test_what_it_has_not_is_refused_and_nothing_is_done(lab: Lab, line: str) -> None:
    found = lab.run(f"> made; {line}")
    assert found.status == 2
    assert lab.run("ls made").status == 1


def test_words_are_completed(lab: Lab) -> None:
    session = lab.shell.session
    assert completions(session, "mkd", first=True) == ["mkdir "]
    assert completions(session, "d/", first=False) == ["d/e/", "d/g ", "d/run ", "d/same "]
    assert completions(session, "/etc/pa", first=False) == ["/etc/passwd "]
    assert completions(session, "nope/", first=False) == []
    assert completions(session, "w", first=False) == []


LINUX_ONLY = """
import ctypes, os, sys
for name in ("O_PATH", "O_TMPFILE", "getxattr", "setxattr", "listxattr", "removexattr", "pipe2",
             "copy_file_range", "unshare", "pidfd_open", "memfd_create", "O_DIRECT", "eventfd",
             "posix_fadvise", "posix_fallocate", "sched_getaffinity"):
    if hasattr(os, name):
        delattr(os, name)
sys.platform = "darwin"
from layerview.unionfs.shell.places import Tree
from layerview.unionfs.shell.shell import Shell
from layerview.unionfs.union import Union
fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in sys.argv[1:]]
shell = Shell(Tree(Union(fds)), lambda data: os.write(1, data) and None)
for line in sys.stdin:
    shell.run(line)
"""


def test_it_works_without_what_linux_alone_has(tmp_path: Path) -> None:
    top, below = tmp_path / "top", tmp_path / "below"
    for folder in (top, below):
        folder.mkdir()
    (below / "f").write_text("one\n")
    (below / "d").mkdir()
    (below / "d/g").write_text("g\n")
    lines = "echo two >> f; cat f; mv d e; rm -r e; mkdir d; chmod 700 d; ls; ln f d/h; cp -a d x\n"
    done = subprocess.run(
        [sys.executable, "-c", LINUX_ONLY, str(top), str(below)],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("one\ntwo\nd\nf\n", "")
    assert (below / "f").read_text() == "one\n"
    assert sorted(os.listdir(top / "x")) == ["h"]
