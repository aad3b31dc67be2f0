"""The local storage area: a Docker data root of layerview's own, and who may write it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from layerview.errors import FormatError, LayerviewError, NotFoundError
from layerview.store.data_root import DataRoot
from layerview.store.durable import make_folders, named, read_small, refused, write_file
from layerview.store.locks import AreaLock, without_engine
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.store.writing import Writing

VERSION = 1
"""Of what layerview itself keeps in an area, in ROOT/layerview."""
_MACHINE = "/var/lib/layerview"


def default_root() -> str:
    """Return the folder of the area: LAYERVIEW_ROOT, root's, or the user's XDG data folder."""
    named_root = os.environ.get("LAYERVIEW_ROOT", "")
    if named_root:
        return os.path.abspath(named_root)
    if os.geteuid() == 0:
        return _MACHINE
    data = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification: a relative path is invalid and must be ignored.
    if not os.path.isabs(data):
        data = os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(data, "layerview")


def is_own(own: str) -> bool:
    """Whether a folder is layerview's corner of an area, and of this version."""
    try:
        return read_small(os.path.join(own, "version"), 64) == f"{VERSION}\n".encode()
    except LayerviewError:
        return False


class Area:
    """A storage area that layerview made."""

    def __init__(self, root: str, driver: str | None) -> None:
        """Use `Area.open`."""
        self.root = root
        self.wanted_driver = driver
        self.own = os.path.join(root, "layerview")
        """Our own corner: Docker passes over it."""
        self.scratch = os.path.join(self.own, "tmp")
        """Files on their way to their place; written under the lock alone."""
        self._data: DataRoot | None = None

    @classmethod
    def open(
        cls, root: str | None = None, *, driver: str | None = None, create: bool = False
    ) -> Area:
        """Open the area, or make it.

        Args:
            root: its folder; `default_root()` when left out.
            driver: under which images shall be loaded; see `drivers.probe.choose_driver`.
            create: make it where the folder is missing or empty.

        Raises:
            NotFoundError: when it is not there.
            FormatError: when the folder is something else, or a newer layerview made it.
            LayerviewError: when it can't be read or made.
        """
        area = cls(os.path.abspath(root) if root else default_root(), driver)
        if not area._is_made():
            if not create:
                raise NotFoundError(
                    f"there is no storage area at {printable(area.root)};"
                    " `layerview load` makes one"
                )
            area._make()
        area._check_version()
        return area

    @property
    def data(self) -> DataRoot:
        """What the area holds, read in place."""
        if self._data is None:
            self._data = DataRoot(self.root)
        return self._data

    @property
    def _version_file(self) -> str:
        return os.path.join(self.own, "version")

    def _is_made(self) -> bool:
        """Whether it is ours.

        Raises:
            FormatError: when it is a folder of something else.
        """
        shown = printable(self.root)
        try:
            with named(self.root):
                names = set(os.listdir(self.root))
            if os.path.lexists(self._version_file):
                return True
            # Nothing yet, or what is left of an attempt that died before it wrote its version.
            half = names == {"layerview"} and set(os.listdir(self.own)) <= {"tmp", "lock"}
        except NotFoundError:
            return False
        except NotADirectoryError:
            half = False
        if names and not half:
            if os.path.lexists(self._version_file):
                return True  # another has made it meanwhile, the version first
            if "image" in names:
                raise FormatError(
                    f"{shown} is a data root that layerview did not make, and is only read:"
                    f" data-root:{shown}; choose another area with --root"
                )
            raise FormatError(
                f"{shown} is no storage area, and not empty; choose another place with --root"
            )
        return False

    def _make(self) -> None:
        if not os.path.isdir(self.root):
            make_folders(os.path.dirname(self.root), 0o755)
            make_folders(self.root, 0o710)
        make_folders(self.scratch)
        with AreaLock(os.path.join(self.own, "lock"), lambda message: None).hold():
            version = f"{VERSION}\n".encode()
            write_file(self._version_file, version, scratch=self.scratch, mode=0o644)

    def _check_version(self) -> None:
        text = read_small(self._version_file, 4096).decode("utf-8", "replace").removesuffix("\n")
        if text == str(VERSION):
            return
        where = printable(self._version_file)
        if text.isascii() and text.isdecimal() and int(text[:9]) > VERSION:
            raise FormatError(
                f"{where}: a newer layerview made this area (version {text[:9]}; this one knows"
                f" {VERSION})"
            )
        raise FormatError(f'{where}: version "{printable(text[:40])}" is not known')

    @contextmanager
    def writing(self, say: Callable[[str], None] = lambda message: None) -> Iterator[Writing]:
        """Change the area: undo what dead writers left, and keep engines away meanwhile.

        Several processes may be in here at once; each change takes the lock for itself.

        Args:
            say: told when another process holds the lock for long, and what can't be undone yet.

        Raises:
            LayerviewError: when a live engine holds the data root, or it can't be written.
        """
        from layerview.store.writing import Writing

        self._check_writable()
        with without_engine(self.root):
            lock = AreaLock(os.path.join(self.own, "lock"), say)
            # Those for removals as well: nothing need be made where a disk is full.
            for name in ("tmp", "intents", "making", "removing"):
                make_folders(os.path.join(self.own, name))
            make_folders(os.path.join(self.root, "image"))
            writing = Writing(self, lock)
            try:
                with lock.hold():
                    writing.recover()
                for line in writing.unfinished:
                    say(line)
                yield writing
            finally:
                with lock.hold():
                    writing.settle()

    def _check_writable(self) -> None:
        if os.access(self.own, os.W_OK | os.X_OK):
            return
        probe = os.path.join(self.own, "tmp", "probe")
        try:
            os.mkdir(probe)
            os.rmdir(probe)
        except OSError as error:
            error.filename = self.root  # the person knows no other name of it
            raise refused(error, self.root) from None
        raise LayerviewError(f"{printable(self.own)}: no permission")
