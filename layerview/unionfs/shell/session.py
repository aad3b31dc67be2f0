"""What a command of the shell has to do with: the tree, where it stands, its input and output."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from typing import NoReturn

from layerview.text import decode, encode, printable
from layerview.unionfs.shell.places import Place, Tree, fail
from layerview.unionfs.shell.streams import (
    Interrupted,
    Nothing,
    OpenFile,
    Sink,
    Source,
    Zeros,
    refuse_devices,
)

_OWN_DEVICES: dict[bytes, type[Nothing | Zeros]] = {b"/dev/null": Nothing, b"/dev/zero": Zeros}
"""A container's /dev is no part of the union: these are the shell's own."""
_MAX_ACCOUNTS = 1 << 20
"""Bytes of etc/passwd and etc/group that are read."""


class UsageError(Exception):
    """A command's words make no sense; the message is the command's."""


class Session:
    """A shell's state, as its commands see it."""

    def __init__(
        self,
        tree: Tree,
        *,
        stopped: Callable[[], bool] = lambda: False,
        columns: int = 0,
        umask: int = 0o022,
        home: bytes = b"/root",
    ) -> None:
        """Begin at the root.

        Args:
            tree: to work on.
            stopped: whether the person wants the command to end.
            columns: of the terminal, for lists in columns; 0 where there is none.
            umask: of what is made.
            home: where `cd` leads.
        """
        self.tree = tree
        self.at = tree.root
        self.at.union.hold(self.at.node)
        self.shown_at = b"/"
        """The path that `pwd` prints: the one by which one came."""
        self.before = b""
        """That before the last `cd`."""
        self.home = home
        self.umask = umask
        self.columns = columns
        self.status = 0
        self.ended = False
        self.input: Source = Nothing()
        self.output: Sink = Nothing()
        self.errors: Sink = Nothing()
        self.on_screen = False
        """Whether the command's output goes to a terminal."""
        self._stopped = stopped
        self._groups: dict[int, int] = {}
        self._accounts: dict[bytes, tuple[object, dict[int, bytes]]] = {}

    def go(self, place: Place, shown: bytes) -> None:
        """Go to a folder, which the union keeps known meanwhile, whatever becomes of its name."""
        place.union.hold(place.node)
        self.at.union.forget(self.at.node)
        self.before, self.shown_at, self.at = self.shown_at, shown, place

    def tick(self) -> None:
        """Stop here where the person wants it.

        Raises:
            Interrupted: then.
        """
        if self._stopped():
            raise Interrupted

    # -- saying -------------------------------------------------------------------------------

    def write(self, text: bytes | str) -> None:
        """Write to the output."""
        self.output.write(text if isinstance(text, bytes) else encode(text))

    def name(self, name: bytes) -> bytes:
        """Return a name as it is printed: as it is, but on a terminal in one line."""
        return encode(printable(name)) if self.on_screen else name

    def complain(self, command: str, text: str | bytes) -> int:
        """Write a line to the errors; return the exit status of a failure."""
        text = decode(text) if isinstance(text, bytes) else text
        self.errors.write(encode(f"{command}: {printable(text)}\n"))
        return 1

    # -- files --------------------------------------------------------------------------------

    def find(self, path: bytes, *, follow: bool = True) -> Place:
        """Return what a path leads to; see Tree.find."""
        return self.tree.find(self.at, path, follow=follow)

    def above(self, path: bytes) -> tuple[Place, bytes]:
        """Return the folder that a path's last name lies in, and the name; see Tree.above."""
        return self.tree.above(self.at, path)

    def target(self, folder: Place, name: bytes) -> Place | None:
        """Return what a name in a folder stands for, itself; None for nothing."""
        try:
            return self.tree.child(folder, name)
        except FileNotFoundError:
            return None

    def open_to_read(self, path: bytes) -> Source:
        """Open a path to be read; `close` it.

        Raises:
            OSError: when it can't be; EISDIR for a folder, ENXIO for a device.
        """
        own = _OWN_DEVICES.get(os.path.normpath(path) if path else b"")
        if own is not None:
            return own()
        return self.open_file(self.find(path))

    def open_file(self, place: Place) -> OpenFile:
        """Open a regular file to be read.

        Raises:
            OSError: when it is none.
        """
        attributes = place.attributes()
        refuse_devices(attributes.mode)
        if place.is_folder:
            fail(errno.EISDIR)
        fd = place.union.open(place.node, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, self.tree.by)
        return OpenFile(place, fd, attributes.size, self.tree.by)

    def open_to_write(
        self, path: bytes, flags: int = os.O_TRUNC, mode: int = 0o666
    ) -> OpenFile | Nothing | Zeros:
        """Open a path to be written, and make it where it is not there; `close` it.

        Args:
            path: of the file; a link is followed.
            flags: O_TRUNC, O_APPEND, or 0.
            mode: of a new one, before the umask.

        Raises:
            OSError: when it can't be; EISDIR for a folder, ENXIO for a device.
        """
        own = _OWN_DEVICES.get(os.path.normpath(path) if path else b"")
        if own is not None:
            return own()
        place, name = self.tree.find_or_new(self.at, path)
        flags |= os.O_WRONLY
        if name:
            return self.create(place, name, mode & ~self.umask, flags)
        return self.open_place(place, flags)

    def open_place(self, place: Place, flags: int) -> OpenFile:
        """Open a regular file to be written.

        Raises:
            OSError: when it is none.
        """
        attributes = place.attributes()
        refuse_devices(attributes.mode)
        if place.is_folder:
            fail(errno.EISDIR)
        fd = place.union.open(place.node, flags | os.O_NONBLOCK | os.O_CLOEXEC, self.tree.by)
        size = 0 if flags & os.O_TRUNC else attributes.size
        return OpenFile(place, fd, size, self.tree.by)

    def create(self, folder: Place, name: bytes, mode: int, flags: int = os.O_WRONLY) -> OpenFile:
        """Make a file, and open it to be written.

        Raises:
            OSError: when it can't be made.
        """
        node, fd = folder.union.create(
            folder.node, name, mode, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self.tree.by
        )
        return OpenFile(Place(folder.union, node, folder, name), fd, 0, self.tree.by)

    # -- who ----------------------------------------------------------------------------------

    def user(self, uid: int) -> bytes:
        """Return a user's name by the tree's etc/passwd, else the number."""
        return self._names(b"/etc/passwd").get(uid, b"%d" % uid)

    def group(self, gid: int) -> bytes:
        """Return a group's name by the tree's etc/group, else the number."""
        return self._names(b"/etc/group").get(gid, b"%d" % gid)

    def user_number(self, name: bytes) -> int | None:
        """Return a user's number; None where there is no such user."""
        return _number(name, self._names(b"/etc/passwd"))

    def group_number(self, name: bytes) -> int | None:
        """Return a group's number; None where there is no such group."""
        return _number(name, self._names(b"/etc/group"))

    def main_group(self, uid: int) -> int | None:
        """Return the group of a user's own; None where it is not known."""
        self._names(b"/etc/passwd")
        return self._groups.get(uid)

    def _names(self, path: bytes) -> dict[int, bytes]:
        """Read an accounts' file of the tree, where it has changed since."""
        try:
            place = self.tree.find(self.tree.root, path)
            state = place.attributes()
            if not stat.S_ISREG(state.mode):
                return {}
            seen = (state.ino, state.size, state.mtime_ns)
            known = self._accounts.get(path)
            if known is not None and known[0] == seen:
                return known[1]
            file = self.open_file(place)
        except OSError:
            return {}
        data = b""
        try:
            while len(data) < _MAX_ACCOUNTS and (piece := file.read(_MAX_ACCOUNTS)):
                data += piece
        except OSError:
            return {}
        finally:
            file.close()
        found: dict[int, bytes] = {}
        if path == b"/etc/passwd":
            self._groups.clear()
        for line in data.split(b"\n"):
            words = line.split(b":")
            if len(words) > 2 and words[2].isdigit() and len(words[2]) < 11:
                found.setdefault(int(words[2]), words[0])
                if path == b"/etc/passwd" and len(words) > 3 and words[3][:10].isdigit():
                    self._groups.setdefault(int(words[2]), int(words[3][:10]))
        self._accounts[path] = (seen, found)
        return found


def _number(name: bytes, names: dict[int, bytes]) -> int | None:
    for number, known in names.items():
        if known == name:
            return number
    return int(name) if name.isdigit() and len(name) < 11 and int(name) < (1 << 32) - 1 else None


def now_ns() -> int:
    """Return the time."""
    return time.time_ns()


def text_of(error: OSError) -> str:
    """Return an error's words, as the C library has them."""
    return os.strerror(error.errno) if error.errno else str(error)


def close(stream: object) -> None:
    """Close a source or a sink, where it is a file."""
    if isinstance(stream, OpenFile):
        stream.close()


def off(text: str) -> NoReturn:
    """Say that a command's words make no sense."""
    raise UsageError(text)
