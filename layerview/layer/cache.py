"""The cache of indexes on disk: a layer that was read once opens at once the next time.

An index stands under the DiffID of the bytes it was made from only when exactly those bytes were
hashed; what is known of a file (device, inode, size, mtime, offset) leads to it. So nothing that
an archive claims decides what is found: a lie can neither enter the cache nor hide behind it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from layerview.errors import LayerviewError
from layerview.layer.blob import Blob
from layerview.layer.index import LayerIndex
from layerview.layer.packing import VERSION, pack, unpack
from layerview.layer.reading import ReadLayer

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 512 << 20
"""Bytes that all cached indexes may take on disk; the longest unused go first."""
_TRIM_EVERY = 16 << 20
"""Bytes that a process writes before it looks again whether all are too large."""


class IndexCache:
    """Indexes by what is known of a layer's bytes. Any number of processes may share one.

    Every file is written beside and renamed, so a reader sees a whole one or none; a file that
    can't be read is as good as none. Nothing here ever fails: at worst nothing is cached.
    """

    _untrimmed: ClassVar[int] = _TRIM_EVERY
    """Bytes that this process wrote since it trimmed; the first write leads to it at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / f"indexes-v{VERSION}-{sys.byteorder[0]}"

    def find(self, blob: Blob, *, unpacked: bool = True) -> ReadLayer | None:
        """Find the index of a blob that was read before and did not change since.

        Args:
            blob: where the layer's bytes lie.
            unpacked: make it an index at once; who only hands it on can do without.
        """
        try:
            identity = blob.identity()
            record = self._used(self._identity_name(blob))
        except (OSError, LayerviewError):
            return None
        head, _, rest = record.partition(b"\n")
        _, _, diff_id, digest = _read_head(head)
        try:
            if diff_id:
                rest = self._used(self._diff_id_name(diff_id))
            packed = _zstd().decompress(rest)  # type: ignore[attr-defined]
            index = unpack(packed) if unpacked else None
        except Exception:  # not there, or damaged in any way: as good as not there
            return None
        return ReadLayer(
            index,
            diff_id=diff_id,
            digest=digest,
            identity=identity,
            packed=packed,
            from_cache=True,
        )

    def sizes(self, blob: Blob) -> tuple[int, int] | None:
        """Find size (bytes) and number of entries of a blob's layer, without its index."""
        try:
            with open(self._folder / self._identity_name(blob), "rb") as file:
                head = file.readline(400)
        except (OSError, LayerviewError):
            return None
        size, entries, _, _ = _read_head(head.rstrip(b"\n"))
        return (size, entries) if size is not None and entries is not None else None

    def keep(self, blob: Blob, read: ReadLayer) -> None:
        """Remember what reading a blob gave; damaged layers are not kept.

        Nor is one whose file changed since: the hash may be of other bytes than the index.
        """
        if read.damage is not None:
            return
        with suppress(OSError, LayerviewError):
            if read.identity is not None and read.identity != blob.identity():
                return
            name = self._identity_name(blob)
            packed = self._packed(read.index)
            head = f"{read.index.size} {read.index.entry_count}"
            head += f" {read.diff_id or '-'} {read.digest or '-'}\n"
            if read.diff_id is not None:
                self._write(self._diff_id_name(read.diff_id), packed)
                packed = b""
            self._write(name, head.encode() + packed)
            if IndexCache._untrimmed >= _TRIM_EVERY:
                self.trim()

    def forget(self, blob: Blob) -> None:
        """Drop what is known of a blob's file."""
        with suppress(OSError, LayerviewError):
            (self._folder / self._identity_name(blob)).unlink()

    def trim(self) -> None:
        """Remove the longest unused files while all together are too large."""
        IndexCache._untrimmed = 0
        with suppress(OSError):
            found = []
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    state = entry.stat(follow_symlinks=False)
                    found.append((max(state.st_atime, state.st_mtime), state.st_size, entry.path))
            total = sum(size for _, size, _ in found)
            for _, size, path in sorted(found):
                if total <= MAX_BYTES:
                    break
                with suppress(OSError):
                    os.unlink(path)
                total -= size

    def _identity_name(self, blob: Blob) -> str:
        identity = repr(blob.identity()).encode()
        return "file-" + hashlib.sha256(identity).hexdigest()

    def _diff_id_name(self, diff_id: str) -> str:
        return "diffid-" + hashlib.sha256(diff_id.encode()).hexdigest()

    def _used(self, name: str) -> bytes:
        """Read a file and note that it was used now."""
        path = self._folder / name
        data = path.read_bytes()
        with suppress(OSError):
            os.utime(path)
        return data

    def _packed(self, index: LayerIndex) -> bytes:
        # The checksum is of the plain bytes: a file that was damaged on disk never gets through.
        zstd: Any = _zstd()
        parameter = zstd.CompressionParameter
        options = {parameter.compression_level: 3, parameter.checksum_flag: 1}
        packed: bytes = zstd.compress(pack(index), options=options)
        return packed

    def _write(self, name: str, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        import tempfile

        fd, temporary = tempfile.mkstemp(dir=self._folder, prefix="writing-")
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            os.replace(temporary, self._folder / name)
            IndexCache._untrimmed += len(data)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


def _read_head(head: bytes) -> tuple[int | None, int | None, str | None, str | None]:
    """Read a record's first line: size, entries, DiffID and digest, "-" for unknown."""
    parts = head.decode("ascii", "replace").split(" ")
    if len(parts) != 4 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        return None, None, None, None
    diff_id, digest = (None if part == "-" else part for part in parts[2:])
    return int(parts[0]), int(parts[1]), diff_id, digest


def _zstd() -> object:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
