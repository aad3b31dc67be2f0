"""The outer tar of an image archive: its members by name, each a run of bytes in the file."""

from __future__ import annotations

import os
import sys
from typing import IO

from layerview.errors import DamageError, FormatError, LimitError
from layerview.layer.blob import Blob, BlobReader, open_regular
from layerview.layer.compression import open_plain
from layerview.layer.kinds import Kind
from layerview.layer.names import normalise
from layerview.layer.tar import RawEntries, TarDamage, TooManyEntries, scan
from layerview.layer.windows import FileWindow
from layerview.progress import QUIET, Progress
from layerview.text import printable

MAX_DOCUMENT = 16 << 20
"""Bytes of a manifest, an index or a config that layerview reads."""
_MAX_MEMBERS = 65_536
"""Members looked at before a tar without an image's documents is taken for a file system."""
_KEPT_FREE = 1 << 30
"""Bytes of disk that unpacking an outer compression leaves free."""
_MAX_LINKS = 8
_DOCUMENTS = (b"manifest.json", b"index.json", b"oci-layout", b"repositories")


class Archive:
    """An open archive file, or standard input, and where its members lie."""

    def __init__(
        self,
        name: str,
        progress: Progress = QUIET,
        *,
        stream: IO[bytes] | None = None,
        expected: int | None = None,
    ) -> None:
        """Open an archive; an outer compression is undone into an unnamed temporary file.

        Args:
            name: path of the file; "-" is standard input. With a stream, what to call that.
            progress: told about unpacking.
            stream: what to read instead of a file: it is copied into such a file as well.
            expected: bytes that the stream will have, about; only for the progress.

        Raises:
            NotFoundError: when there is no such file.
            FormatError: when it is empty.
            LimitError: when unpacking would fill the disk.
            DamageError: when the outer compression is corrupt.
        """
        self.name = name
        self.damage: list[str] = []
        if stream is not None:
            self.fd = _spool(stream, name, progress, expected=expected)
        elif name == "-":
            self.fd = _spool(sys.stdin.buffer, "standard input", progress)
        else:
            self.fd = open_regular(name)
        try:
            self.length = os.fstat(self.fd).st_size
            if not self.length:
                raise FormatError(f"{name} is empty")
            blob = self.whole()
            if blob.compression != "none":
                packed = self.fd
                reader = BlobReader(packed, blob, progress=progress, what=f"unpacking {name}")
                plain = open_plain(reader.buffered(), blob.compression)
                self.fd = _spool(plain, name, progress, self.damage)
                os.close(packed)
                self.length = os.fstat(self.fd).st_size
            self._scan()
        except BaseException:
            os.close(self.fd)
            raise

    def whole(self) -> Blob:
        """Return the archive itself as a blob."""
        return Blob(self.name, fd=self.fd, length=self.length)

    def _scan(self) -> None:
        self.members: dict[bytes, tuple[int, int]] = {}
        self._links: dict[bytes, bytes] = {}
        self.is_image = False
        raw = RawEntries()
        window = FileWindow(self.fd, 0, self.length)
        try:
            scan(window, raw, most=_MAX_MEMBERS)
        except TooManyEntries:
            return
        except TarDamage as error:
            self.damage.append(str(error))
        for row, recorded in enumerate(raw.paths[: len(raw.offsets)]):
            path, _ = normalise(recorded)
            self._links.pop(path, None)
            self.members.pop(path, None)
            if row in raw.targets:
                parent = path.rpartition(b"/")[0]
                target = raw.targets[row]
                full = target if target.startswith(b"/") else parent + b"/" + target
                self._links[path] = normalise(full)[0]
            elif row in raw.links:
                self._links[path] = normalise(raw.links[row])[0]
            elif raw.kinds[row] == Kind.FILE and row not in raw.sparse:
                self.members[path] = (raw.offsets[row], raw.sizes[row])
        self.is_image = any(name in self.members for name in _DOCUMENTS)

    def find(self, name: bytes) -> Blob | None:
        """Find a member as a blob; symbolic and hard links between members are followed."""
        name = normalise(name)[0]
        for _ in range(_MAX_LINKS):
            if name not in self._links:
                break
            name = self._links[name]
        member = self.members.get(name)
        if member is None:
            return None
        start, length = member
        # A truncated archive: what is there of the member can still be looked at.
        length = min(length, self.length - start)
        return Blob(self.name, fd=self.fd, start=start, length=length)

    def read(self, name: bytes) -> bytes | None:
        """Read a small member whole; None when it is not there.

        Raises:
            LimitError: when it is larger than any such document should be.
        """
        blob = self.find(name)
        return None if blob is None else read_document(blob, f"{self.name}: {printable(name)}")

    def close(self) -> None:
        """Close the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def read_document(blob: Blob, what: str) -> bytes:
    """Read a JSON document's bytes.

    Raises:
        LimitError: when it is larger than any such document should be.
    """
    if blob.length > MAX_DOCUMENT:
        raise LimitError(f"{what} has {blob.length:,} bytes; a document of an image has far less")
    with blob.opened() as fd:
        return os.pread(fd, blob.length, blob.start)


def _spool(
    stream: object,
    name: str,
    progress: Progress,
    damage: list[str] | None = None,
    expected: int | None = None,
) -> int:
    """Copy a stream into an unnamed temporary file; return its descriptor."""
    import shutil
    import tempfile

    read: IO[bytes] = stream  # type: ignore[assignment]
    with tempfile.TemporaryFile(prefix="layerview-") as spool:
        done = unchecked = 0
        while True:
            try:
                data = read.read(1 << 20)
            except DamageError as error:
                if damage is None or not done:
                    raise DamageError(f"{name}: {error}") from None
                damage.append(str(error))
                break
            if not data:
                break
            unchecked += len(data)
            if unchecked >= 1 << 26:
                unchecked = 0
                if shutil.disk_usage(tempfile.gettempdir()).free < _KEPT_FREE:
                    raise LimitError(
                        f"{name} unpacks to more than {tempfile.gettempdir()} has room for;"
                        " set TMPDIR to a larger disk"
                    )
            spool.write(data)
            done += len(data)
            total = expected if expected is not None and done <= expected else None
            progress.step(f"reading {name}", done, total)
        if not done:
            raise FormatError(f"{name} is empty")
        spool.flush()
        return os.dup(spool.fileno())
