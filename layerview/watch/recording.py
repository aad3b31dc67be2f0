"""Recordings: what was told of a watched container, kept in a file.

A recording is text, a JSON object a line, ASCII. The first line says what it is:

    {"format": "layerview-recording", "version": 1, "layerview": "0.1.0",
     "recorded": TIME, "container": {...}}

`container` has what Target has: engine, id, name, image, driver, whiteouts, upper, layers (layer,
directory, chain_id, instruction, size; top first), volumes (name, source, target, read_only), pid,
steps, work, copied_at_start. Each line after it is one record, in the order in which they came:

    {"record": "event", ...}    the names of `watch --json`
    {"record": "copying", "time", "path", "layer", "done", "total"}
    {"record": "notice", "time", "text"}
    {"record": "ended", "time", "reason"}

Times are RFC 3339, UTC, with nine digits. A path that is not UTF-8 stands under its name with
`_bytes` as well, as base64. Whole lines are written, so that only the last can be cut off; what a
reader does not know in a line, it leaves out. A change that older readers would get wrong raises
the version.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

from pydantic import ValidationError

from layerview import __version__
from layerview.errors import FormatError, LayerviewError, LimitError, NotFoundError
from layerview.text import printable
from layerview.watch.events import Record
from layerview.watch.lines import record_fields, target_fields, time_text
from layerview.watch.recording_lines import LINES, Header
from layerview.watch.target import Target

FORMAT, VERSION = "layerview-recording", 1

LONGEST_LINE = 1 << 20
"""Bytes of a record's line."""
LONGEST_HEADER = 1 << 24
MOST_RECORDS = 2_000_000


def header_line(target: Target, recorded: int) -> bytes:
    """Return a recording's first line.

    Args:
        target: the container.
        recorded: when it began, nanoseconds since 1970.
    """
    return _line(
        {
            "format": FORMAT,
            "version": VERSION,
            "layerview": __version__,
            "recorded": time_text(recorded),
            "container": target_fields(target),
        }
    )


def record_lines(records: Iterable[Record]) -> bytes:
    """Return the lines of records."""
    return b"".join(_line(record_fields(record)) for record in records)


def _line(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"


class Recorder:
    """Writes a recording; a batch is in the file when `write` comes back."""

    def __init__(self, path: str, target: Target) -> None:
        """Begin it.

        Raises:
            LayerviewError: when there is such a file, or none can be made.
        """
        self.path = path
        self._fd = create(path)
        try:
            self._write(header_line(target, time.time_ns()))
        except BaseException:
            self.close()
            raise

    def write(self, records: Sequence[Record]) -> None:
        """Put records at the end.

        Raises:
            LayerviewError: when there is no room, or the file has gone.
        """
        if records:
            self._write(record_lines(records))

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise _unwritable(error, self.path) from None

    def close(self) -> None:
        """End it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def create(path: str) -> int:
    """Make the file of a recording, or open the pipe that is there; return a descriptor.

    Raises:
        LayerviewError: when there is such a file, or none can be made.
    """
    flags = os.O_WRONLY | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        pass
    except OSError as error:
        raise _unwritable(error, path) from None
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return os.open(path, flags)
    except OSError as error:
        raise _unwritable(error, path) from None
    raise LayerviewError(f"{printable(path)} is there already: remove it, or record elsewhere")


async def recorded(
    batches: AsyncIterator[list[Record]], path: str, target: Target
) -> AsyncIterator[list[Record]]:
    """Pass batches on, each when it is in the recording.

    Raises:
        LayerviewError: as Recorder.
    """
    import aiofiles

    fd = create(path)
    try:
        async with aiofiles.open(fd, "wb", buffering=0) as file:
            await file.write(header_line(target, time.time_ns()))
            async for batch in batches:
                data = record_lines(batch)
                while data:
                    data = data[await file.write(data) :]
                yield batch
    except OSError as error:
        raise _unwritable(error, path) from None


class Recording:
    """A recording that is read, once, from its start."""

    def __init__(self, path: str) -> None:
        """Open it and read what it is about.

        Raises:
            NotFoundError: when there is none.
            FormatError: when it is no recording, or one of a later version.
            LayerviewError: when it can't be read.
        """
        self.path = path
        self.cut_off = False
        """Whether its last line was found to be incomplete."""
        self._number = 1
        try:
            self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise _unreadable(error, path) from None
        try:
            header = self._header()
        except BaseException:
            self._file.close()
            raise
        self.target = header.container.target()
        self.layerview = header.layerview
        """The version of the program that recorded it."""
        self.recorded = int(header.recorded or 0)
        """When it began, nanoseconds since 1970."""

    def _header(self) -> Header:
        what = f"{printable(self.path)} is no recording of `layerview watch --record`"
        line = self._next_line(LONGEST_HEADER, lambda: FormatError(what))
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            raise FormatError(what) from None
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise FormatError(what)
        version = fields.get("version")
        if type(version) is not int or version < 1:
            raise FormatError(f"{what}: it has no version")
        if version > VERSION:
            raise FormatError(
                f"{printable(self.path)} was recorded by a later layerview, as version"
                f" {str(version)[:20]}; this one reads version {VERSION}: replay it with that one"
            )
        try:
            return Header.model_validate(fields)
        except ValidationError as error:
            raise self._damaged(error) from None

    def records(self) -> Iterator[Record]:
        """Read the records, in the order in which they came.

        Raises:
            FormatError: when a line is none.
            LimitError: when a line is too long, or there are too many.
            LayerviewError: when it can't be read.
        """
        while True:
            line = self._next_line(LONGEST_LINE, self._too_long)
            if not line:
                return
            self._number += 1
            if self._number > MOST_RECORDS + 1:
                raise LimitError(f"{printable(self.path)} has more than {MOST_RECORDS:,} records")
            try:
                fields = json.loads(line)
                kind = fields.get("record") if isinstance(fields, dict) else None
                model = LINES.get(kind) if isinstance(kind, str) else None
                if model is None:
                    raise ValueError("no record that is known")
                record = model.model_validate(fields).record()
            except (ValueError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    # Who recorded it was ended in the midst of a line.
                    self.cut_off = True
                    return
                raise self._damaged(error) from None
            yield record

    def _next_line(self, longest: int, too_long: Callable[[], LayerviewError]) -> bytes:
        try:
            line = self._file.readline(longest + 1)
        except OSError as error:
            raise _unreadable(error, self.path) from None
        if len(line) > longest:
            raise too_long()
        return line

    def _too_long(self) -> LayerviewError:
        return LimitError(
            f"line {self._number + 1} of {printable(self.path)} is longer than"
            f" {LONGEST_LINE >> 20} MiB"
        )

    def _damaged(self, error: Exception) -> FormatError:
        why = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            why = f"{where}: {first['msg']}" if where else first["msg"]
        elif isinstance(error, json.JSONDecodeError):
            why = "no JSON"
        elif isinstance(error, RecursionError):
            why = "nested too deeply"
        return FormatError(
            f"line {self._number} of {printable(self.path)} is damaged ({printable(why)[:200]})"
        )

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _unreadable(error: OSError, path: str) -> LayerviewError:
    shown = printable(path)
    if error.errno == errno.ENOENT:
        return NotFoundError(f"{shown} is not there")
    if error.errno == errno.EISDIR:
        return FormatError(f"{shown} is a folder, not a recording")
    return LayerviewError(f"{shown} can't be read: {(error.strerror or str(error)).lower()}")


def _unwritable(error: OSError, path: str) -> LayerviewError:
    why = (error.strerror or str(error)).lower()
    return LayerviewError(f"{printable(path)} can't be written: {why}; record elsewhere")
