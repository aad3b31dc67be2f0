"""Containers on a real terminal, as a person has them: keys, sizes, whole screens, detaching.

As root here, and as ordinary users with a copy of layerview that they may read.
"""

from __future__ import annotations

import fcntl
import os
import pty
import pwd
import re
import select
import shutil
import signal
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.drivers.people import PYTHON, readable_site, user
from tests.support import archives
from tests.support.container_lab import BUSYBOX, busybox_layer

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed"),
]
DETACH = b"\x10\x11"
PEOPLE = ("root", "lvuser", "lvplain")


class Screen:
    """A terminal on which a command runs, and what it has shown."""

    def __init__(self, master: int, child: int) -> None:
        self.master, self.child = master, child
        self.shown = b""

    def type(self, keys: bytes | str) -> None:
        """Type."""
        os.write(self.master, keys.encode() if isinstance(keys, str) else keys)

    def read_until(self, pattern: str, patience: float = 30) -> str:
        """Wait until something shows that was not looked for before; return all up to it."""
        end = time.monotonic() + patience
        while True:
            found = re.search(pattern.encode(), self.shown)
            if found is not None:
                before, self.shown = self.shown[: found.end()], self.shown[found.end() :]
                return before.decode("utf-8", "replace")
            left = end - time.monotonic()
            assert left > 0, (pattern, self.shown)
            if select.select([self.master], [], [], left)[0]:
                try:
                    data = os.read(self.master, 1 << 16)
                except OSError:
                    data = b""
                assert data, (pattern, self.shown)
                self.shown += data

    def resize(self, rows: int, columns: int) -> None:
        """Make it larger or smaller."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def mode(self) -> list[object]:
        """Return how the terminal is set."""
        return list(termios.tcgetattr(self.master))

    def end(self, patience: float = 30) -> int:
        """Wait for the command's end; return its exit status."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            pid, status = os.waitpid(self.child, os.WNOHANG)
            if pid:
                self.child = 0
                return os.waitstatus_to_exitcode(status)
            if select.select([self.master], [], [], 0.02)[0]:
                try:
                    self.shown += os.read(self.master, 1 << 16)
                except OSError:
                    time.sleep(0.02)
        raise AssertionError(f"it does not end; it showed {self.shown!r}")


class Person:
    """Somebody who has a shell, an area, and an image with busybox in it."""

    def __init__(self, name: str, site: Path, home: Path) -> None:
        self.root = home / "area"
        words = ["env", "-i", f"HOME={home}", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "TERM=xterm"]
        words += [f"PYTHONPATH={site}", f"LAYERVIEW_ROOT={self.root}", "LC_ALL=C.UTF-8"]
        words += ["PYTHONDONTWRITEBYTECODE=1"]
        python = sys.executable
        if name != "root":
            become = ["setpriv", "--reuid", name, "--regid", name, "--init-groups", "--reset-env"]
            words, python = become + words, PYTHON
        self._words = [*words, python, "-P", "-m", "layerview"]

    @contextmanager
    def on_terminal(self, *words: str, rows: int = 30, columns: int = 100) -> Iterator[Screen]:
        """Run layerview on a terminal."""
        child, master = pty.fork()
        if child == 0:
            try:
                os.chdir("/")
                size = struct.pack("HHHH", rows, columns, 0, 0)
                fcntl.ioctl(0, termios.TIOCSWINSZ, size)
                os.execvp(self._words[0], [*self._words, *words])
            finally:
                os._exit(127)
        screen = Screen(master, child)
        try:
            yield screen
        finally:
            if screen.child:
                os.kill(screen.child, signal.SIGKILL)
                os.waitpid(screen.child, 0)
            os.close(master)

    def out(self, *words: str) -> str:
        """Run a command that goes well, on a terminal; return what it showed."""
        with self.on_terminal(*words, columns=200) as screen:
            status = screen.end()
            shown = screen.shown.decode()
            assert status == 0, (words, shown)
            return shown.replace("\r\n", "\n")


@pytest.fixture(scope="module", params=PEOPLE)
def person(request: pytest.FixtureRequest) -> Iterator[Person]:
    name: str = request.param
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    if name != "root":
        user(name)
    with readable_site() as site:
        home = Path(tempfile.mkdtemp(prefix="layerview-home-"))
        try:
            path = archives.docker_archive(
                home / "bb.tar",
                archives.image(busybox_layer(), tags=["bb:1"], config={"Cmd": ["sh"]}),
            )
            path.chmod(0o644)
            entry = pwd.getpwnam(name)
            os.chown(home, entry.pw_uid, entry.pw_gid)
            made = Person(name, site, home)
            made.out("load", "-q", "-i", str(path))
            yield made
            left = made.out("ps", "-aq").split()
            if left:
                made.out("rm", "-f", *left)
        finally:
            shutil.rmtree(home, ignore_errors=True)


def test_a_shell_is_left_found_again_and_ended(person: Person) -> None:
    with person.on_terminal("run", "-it", "--name", "shell", "bb:1", "sh") as screen:
        before = screen.mode()
        screen.read_until(r"started in [0-9.]+ ms, [0-9.]+ k?B allocated \(\w+\)")
        screen.read_until("# ")
        assert screen.mode() != before
        screen.type("stty size; tty\n")
        screen.read_until("30 100\r\n/dev/pts/0\r\n")
        screen.resize(20, 60)
        screen.type('x=$(stty size); echo "<$x>"\n')
        screen.read_until("<20 60>")
        screen.type(DETACH)
        assert screen.end() == 0
        assert screen.mode() == before
    assert '"sh"' in person.out("ps")
    with person.on_terminal("attach", "shell") as screen:
        screen.read_until("# ")
        screen.type("echo $x; stty size\n")
        screen.read_until("20 60\r\n30 100\r\n")
        screen.type("exit 5\n")
        assert screen.end() == 5
        assert screen.mode() == before
    assert "Exited (5)" in person.out("ps", "-a")
    assert person.out("logs", "shell").count("30 100") == 2
    assert person.out("rm", "shell") == "shell\n"


def test_a_full_screen_program_runs(person: Person) -> None:
    with person.on_terminal("run", "-it", "--rm", "bb:1", "vi", "/tmp/f") as screen:
        screen.read_until("/tmp/f")
        screen.type("ihello there")
        screen.read_until("hello there")
        screen.type("\x1b")
        screen.read_until(r"/tmp/f \[")
        time.sleep(0.5)  # vi waits whether the escape begins a key
        screen.type(":wq\n")
        assert screen.end() == 0


def test_what_is_typed_at_a_terminal_interrupts_the_program_there(person: Person) -> None:
    with person.on_terminal("run", "-it", "--rm", "bb:1", "sh") as screen:
        screen.read_until("# ")
        screen.type("sleep 1000\n")
        time.sleep(0.5)
        screen.type("\x03")
        screen.read_until("# ")
        screen.type("exit 6\n")
        assert screen.end() == 6


def test_an_interrupt_goes_to_a_container_without_a_terminal(person: Person) -> None:
    script = "trap 'echo got it; exit 4' INT; echo ready; while :; do sleep 0.1; done"
    with person.on_terminal("run", "--rm", "bb:1", "sh", "-c", script) as screen:
        screen.read_until("ready")
        screen.type("\x03")
        screen.read_until("got it")
        assert screen.end() == 4


def test_another_command_has_a_terminal_of_its_own(person: Person) -> None:
    id = person.out("run", "-d", "bb:1", "sleep", "1000").splitlines()[0]
    with person.on_terminal("exec", "-it", "-e", "A=b", "-w", "/etc", id, "sh") as screen:
        before = screen.mode()
        screen.read_until("# ")
        screen.type("stty size; tty; echo $A $TERM; pwd\n")
        screen.read_until("30 100\r\n/dev/pts/0\r\nb xterm\r\n/etc\r\n")
        screen.resize(25, 80)
        screen.type('x=$(stty size); echo "<$x>"\n')
        screen.read_until("<25 80>")
        screen.type("exit 7\n")
        assert screen.end() == 7
        assert screen.mode() == before
    assert person.out("rm", "-f", id) == f"{id}\n"


def test_a_log_is_followed_until_it_is_interrupted(person: Person) -> None:
    script = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.1; done"
    person.out("run", "-d", "--name", "talks", "bb:1", "sh", "-c", script)
    with person.on_terminal("logs", "-f", "--tail", "1", "talks") as screen:
        screen.read_until(r"line \d+\r\nline \d+\r\nline \d+\r\n")
        screen.type("\x03")
        assert screen.end() == 130
        assert b"interrupted" not in screen.shown
    with person.on_terminal("logs", "-f", "--tail", "0", "talks") as screen:
        screen.read_until("line")
        person.out("stop", "-t", "0", "talks")
        assert screen.end() == 0
    person.out("rm", "talks")
