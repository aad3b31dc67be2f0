"""Small files and lists of names below a data root, read so that a missing one is told from an
unreadable one: only what is surely not there proves anything.
"""

from __future__ import annotations

import errno
import os
import stat
from types import TracebackType

from layerview.errors import FormatError, LayerviewError
from layerview.layer.beneath import OPEN_FOLDER, open_beneath
from layerview.text import printable

_MAX_TEXT = 4096
"""Bytes of a record's line; real ones have at most 71."""
_READ = os.O_RDONLY | os.O_NONBLOCK


class RecordFiles:
    """Reads beneath a folder, through real folders only."""

    def __init__(self, root: str) -> None:
        """Open the folder.

        Raises:
            LayerviewError: when it can't be opened.
        """
        self.root = root
        try:
            self._fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise unread(root, error) from None

    def __enter__(self) -> RecordFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._fd)

    def open_folder(self, path: str) -> int | None:
        """Open a folder by its whole path; None when it is not there.

        Raises:
            LayerviewError: when it can't be opened.
        """
        return self._open(path, OPEN_FOLDER)

    def names(self, path: str) -> list[str]:
        """List a folder, sorted; empty when it is not there.

        Raises:
            LayerviewError: when it can't be read.
        """
        fd = self.open_folder(path)
        if fd is None:
            return []
        try:
            return sorted(os.listdir(fd))
        except OSError as error:
            raise unread(path, error) from None
        finally:
            os.close(fd)

    def text(self, path: str) -> str | None:
        """Read a file of one line; None when it is not there.

        Raises:
            LayerviewError: when it can't be read, or is longer than such a file ever is.
        """
        fd = self._open(path, _READ)
        if fd is None:
            return None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise FormatError(f"{printable(path)} is no file")
            data = os.read(fd, _MAX_TEXT + 1)
        except OSError as error:
            raise unread(path, error) from None
        finally:
            os.close(fd)
        if len(data) > _MAX_TEXT:
            raise FormatError(f"{printable(path)} is larger than such a file ever is")
        return data.decode("utf-8", "surrogateescape").strip()

    def _open(self, path: str, flags: int) -> int | None:
        # A `..` in it is refused below.
        below = os.fsencode(path[len(self.root) :].lstrip("/"))
        try:
            return open_beneath(self._fd, below, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unread(path, error) from None


def unread(path: str, error: OSError) -> LayerviewError:
    """Say in a line that something can't be read."""
    if isinstance(error, PermissionError):
        return LayerviewError(f"{printable(path)} may only be read by its owner")
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        said = "a symbolic link or a file stands there or above it, where a folder should be"
        return LayerviewError(f"{printable(path)}: {said}")
    return LayerviewError(f"{printable(path)}: {(error.strerror or str(error)).lower()}")
