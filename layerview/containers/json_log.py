"""Writing a container's log as Docker's json-file driver does; see log.py for reading.

The shim holds this module for as long as a container runs: it imports nothing heavy.
"""

from __future__ import annotations

import codecs
import os
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LINE = 16 << 10
"""Bytes of a line that become one entry of the log (moby, daemon/logger/copier.go)."""


def _replaced(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\\ufffd" * (error.end - error.start), error.end


codecs.register_error("layerview-log", _replaced)

# As Go's encoding/json and moby's jsonlog write text; line feeds are looked after elsewhere.
_ESCAPES = [(b"\\", b"\\\\"), (b'"', b'\\"'), (b"\r", b"\\r")]
_ESCAPES += [
    (bytes([code]), b"\\u00%02x" % code) for code in (*range(32), *b"<>&") if code not in b"\r\n"
]
_SPECIAL = b"".join(char for char, _ in _ESCAPES)


def escaped(data: bytes) -> bytes:
    """Write bytes as the inside of a JSON string, but for line feeds, which stay."""
    if len(data.translate(None, _SPECIAL)) != len(data):
        for char, escape in _ESCAPES:
            if char in data:
                data = data.replace(char, escape)
    if not data.isascii():
        text = data.decode("utf-8", "layerview-log")
        data = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()
    return data


def timestamp() -> str:
    """Return the time as Go's RFC3339Nano."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    at = time.gmtime(seconds)
    text = (
        f"{at.tm_year:04}-{at.tm_mon:02}-{at.tm_mday:02}"
        f"T{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}.{nanoseconds:09}"
    )
    return text.rstrip("0").rstrip(".") + "Z"


class Log:
    """A container's log as Docker's json-file driver writes it."""

    def __init__(self, path: str, kept: dict[str, Any] | None = None) -> None:
        """Write to a file.

        Args:
            path: made when it is missing.
            kept: what `hand_over` gave.
        """
        self._path = path
        self.fd = -1
        self._parts: dict[str, bytes] = {}
        """Lines that have not ended, by stream."""
        self._since: dict[str, str] = {}
        """When the line began that is logged in parts."""
        self._lost = 0
        self._reason = ""
        if kept is not None:
            self.fd = kept["fd"]
            self._parts = kept["parts"]
            self._since = kept["since"]
            self._lost, self._reason = kept["lost"], kept["reason"]

    def hand_over(self) -> dict[str, Any]:
        """Return what another process needs to go on."""
        return {
            "fd": self.fd,
            "parts": self._parts,
            "since": self._since,
            "lost": self._lost,
            "reason": self._reason,
        }

    def add(self, stream: str, data: bytes) -> None:
        """Log output; a line that has not ended waits."""
        now = timestamp()
        data = self._parts.pop(stream, b"") + data
        end = data.rfind(b"\n") + 1
        whole, rest = data[:end], data[end:]
        said = []
        if whole:
            if stream in self._since or (len(whole) > _LINE and _longest(whole) >= _LINE):
                for line in whole[:-1].split(b"\n"):
                    said += self._long(stream, line, now)
            else:
                mark = _after(stream, now)
                said.append(b'{"log":"')
                said.append(escaped(whole[:-1]).replace(b"\n", b"\\n" + mark + b'{"log":"'))
                said.append(b"\\n" + mark)
        while len(rest) >= _LINE:
            said.append(self._part(stream, rest[:_LINE], now))
            rest = rest[_LINE:]
        if rest:
            self._parts[stream] = rest
        if said:
            self._write(b"".join(said), len(data) - len(rest))

    def finish(self) -> None:
        """Log what waits for the rest of its line."""
        now = timestamp()
        for stream, rest in self._parts.items():
            self._write(self._part(stream, rest, now), len(rest))
        self._parts.clear()
        if self._lost:
            self._write(b"", 0)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _long(self, stream: str, line: bytes, now: str) -> list[bytes]:
        said = []
        while len(line) >= _LINE:
            said.append(self._part(stream, line[:_LINE], now))
            line = line[_LINE:]
        at = self._since.pop(stream, now)
        said.append(b'{"log":"' + escaped(line) + b"\\n" + _after(stream, at))
        return said

    def _part(self, stream: str, part: bytes, now: str) -> bytes:
        at = self._since.setdefault(stream, now)
        return b'{"log":"' + escaped(part).replace(b"\n", b"\\n") + _after(stream, at)

    def _write(self, lines: bytes, size: int) -> None:
        """Append lines, or none of them: a log that is cut in a line is damaged.

        Args:
            lines: to write.
            size: bytes of output in them.
        """
        if self._lost:
            note = f"layerview: {self._lost} bytes of output are missing here: {self._reason}"
            lines = b'{"log":"' + note.encode() + b"\\n" + _after("stderr", timestamp()) + lines
        start = -1
        try:
            if self.fd < 0:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self.fd = os.open(self._path, flags, 0o640)
            done = os.write(self.fd, lines)
            while done < len(lines):
                if start < 0:
                    start = os.fstat(self.fd).st_size - done
                done += os.write(self.fd, lines[done:])
            self._lost = 0
        except OSError as error:
            self._lost += size
            self._reason = (error.strerror or "").lower()
            if start >= 0:
                with suppress(OSError):
                    os.ftruncate(self.fd, start)


def _after(stream: str, now: str) -> bytes:
    return f'","stream":"{stream}","time":"{now}"}}\n'.encode()


def _longest(data: bytes) -> int:
    return max(map(len, data.split(b"\n")))
