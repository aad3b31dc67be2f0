"""`layerview watch`: what a container copies up, writes and hides, as it happens."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from layerview.cli.area import say
from layerview.cli.flags import Flags, Values
from layerview.errors import LayerviewError, UsageError
from layerview.text import printable

if TYPE_CHECKING:
    from queue import SimpleQueue

    from layerview.watch.events import Copying, Record
    from layerview.watch.ledger import Ledger
    from layerview.watch.recording import Recorder
    from layerview.watch.target import Target

_LOOK = 1.0
"""Seconds between two looks at whether the reader of a pipe is there still."""
_PATIENCE = 10.0
"""Seconds that the observer has to come to its end."""


def run(words: Sequence[str]) -> int:
    """Tell what happens in a container."""
    flags = Flags(
        "watch",
        "CONTAINER",
        "Tell what happens in a container's layer, a line an event: files that the driver copies\n"
        "up, and from which layer, what is made, written to, hidden and removed. It begins with\n"
        "what the layer holds already, and ends with the container, or by Ctrl-C. CONTAINER is\n"
        "one of the storage area, of Docker or of Podman. Nothing of it is changed.",
        example="layerview watch try --summary --for 60",
    )
    flags.json()
    flags.switch("--summary", about="no events: what they came to, in the end")
    flags.switch("--reads", about="what is read, too, where the driver sees it (aufs)")
    flags.value("--for", metavar="SECONDS", about="end after so long", read=_seconds)
    flags.value("--record", metavar="FILE", about="keep what is told in a file")
    flags.value("--replay", metavar="FILE", about="tell what a file kept; no container is needed")
    flags.switch("--binary", about="sizes in KiB and MiB")
    flags.value(
        "--root", metavar="DIR", about="a storage area or Docker data root, where alone it looks"
    )
    arguments = flags.parse(words, most=1)
    if arguments.replay is not None:
        if arguments.rest or arguments.record or arguments.reads or getattr(arguments, "for"):
            raise UsageError("--replay needs no CONTAINER, and no options but --json, --summary")
        return _replay(arguments)
    if not arguments.rest:
        raise UsageError("it takes CONTAINER, or --replay FILE; see layerview watch --help")
    from layerview.watch.targets import find_target

    target = find_target(arguments.rest[0], root=arguments.root)
    if target.engine == "layerview" and os.geteuid() != 0:
        from layerview.drivers.namespace import run_in_user_namespace
        from layerview.errors import NamespaceError

        # Where all ids of its containers are a user's own, nothing is hidden, running or not.
        with suppress(NamespaceError):
            return run_in_user_namespace(lambda: _watch(target, arguments))
    return _watch(target, arguments)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise UsageError(f"--for {printable(text[:40])!r}: a number of seconds")
    return seconds


def _watch(target: Target, arguments: Values) -> int:
    from layerview.watch.ledger import Ledger

    told, ledger = _Told(target, arguments), Ledger()
    alive = target.pid is not None or (target.steps is not None and os.path.exists(target.steps))
    with _recorder(arguments.record, target) as recorder:
        for batch in _batches(target, arguments, alive):
            if recorder is not None:
                recorder.write(batch)
            told.tell(batch)
            ledger.add_all(batch)
    if not alive:
        say(f"{printable(target.name)} does not run: that is what it holds, and nothing will come")
    if arguments.summary:
        if ledger.bytes_written is None:
            _measure(target, ledger)
        told.sum_up(ledger)
    return 0


def _measure(target: Target, ledger: Ledger) -> None:
    from layerview.watch.compare import changed_bytes

    # What is not to be read is null.
    with suppress(LayerviewError):
        ledger.bytes_changed = changed_bytes(target, ledger.holds)


def _replay(arguments: Values) -> int:
    from layerview.watch.ledger import Ledger
    from layerview.watch.recording import Recording

    with Recording(arguments.replay) as recording:
        told, ledger = _Told(recording.target, arguments), Ledger()
        for record in recording.records():
            told.tell([record])
            ledger.add(record)
        if recording.cut_off:
            say(f"{printable(recording.path)}: its last line is cut off, and left out")
    if arguments.summary:
        told.sum_up(ledger)
    return 0


@contextmanager
def _recorder(path: str | None, target: Target) -> Iterator[Recorder | None]:
    if path is None:
        yield None
        return
    from layerview.watch.recording import Recorder

    with Recorder(path, target) as recorder:
        yield recorder


class _Told:
    """What is printed of records."""

    def __init__(self, target: Target, arguments: Values) -> None:
        self._target = target
        self._json: bool = arguments.json
        self._binary: bool = arguments.binary
        self._silent: bool = arguments.summary
        self._headed = self._shown = False
        self._rising = sys.stderr.isatty()

    def tell(self, records: Sequence[Record]) -> None:
        """Print records: events on standard output, what is said besides on standard error."""
        from layerview.watch.events import Copying, CowEvent, Ended, Notice

        lines = []
        for record in records:
            if not isinstance(record, Copying):
                self._clear()
            elif self._rising and record.total:
                self._show(record)
            if isinstance(record, CowEvent) and not self._silent:
                lines.append(self._line(record))
            elif isinstance(record, Notice):
                say(record.text)
            elif isinstance(record, Ended):
                say(f"{self._target.name}: {record.reason}")
        if lines:
            sys.stdout.write("".join(lines))
            sys.stdout.flush()

    def _show(self, copying: Copying) -> None:
        """Show how far a copy-up is, in a line that goes away again."""
        share = 100 * copying.done // (copying.total or 1)
        what = f"/{printable(copying.path)}" if copying.path else "a file"
        sys.stderr.write(f"\r\x1b[K{what} is copied up: {min(share, 100)} %")
        sys.stderr.flush()
        self._shown = True

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False

    def _line(self, event: object) -> str:
        from layerview.watch.events import CowEvent

        assert isinstance(event, CowEvent)
        if self._json:
            from json import dumps

            from layerview.watch.lines import event_fields

            fields = event_fields(event)
            time_ = {"time": fields.pop("time")}
            return dumps({**time_, "container": self._target.id, **fields}) + "\n"
        from layerview.cli.watch_lines import HEADING, line

        heading = "" if self._headed else HEADING
        self._headed = True
        return heading + line(event, binary=self._binary)

    def sum_up(self, ledger: Ledger) -> None:
        """Print what the events came to."""
        if self._json:
            from layerview.cli.output import print_json

            target = self._target
            print_json(
                {
                    "container": target.id,
                    "name": target.name,
                    "image": target.image,
                    "driver": target.driver,
                    "events": ledger.events,
                    "copied_at_start": target.copied_at_start,
                    **ledger.summary(),
                }
            )
            return
        from layerview.cli.watch_lines import summary

        summary(self._target, ledger, binary=self._binary)


# --- observing ---


def _batches(target: Target, arguments: Values, alive: bool) -> Iterator[list[Record]]:
    """Yield what an observer in a thread tells, until it ends, time is over or a signal comes."""
    from queue import Empty, SimpleQueue

    told: SimpleQueue[list[Record] | BaseException | None] = SimpleQueue()
    stop = threading.Event()
    thread = threading.Thread(
        target=_observe, args=(target, stop, told, arguments.reads), name="observer", daemon=True
    )
    limit = getattr(arguments, "for")
    end: float | None = None
    with _signals(lambda: told.put(None)):
        thread.start()
        try:
            while True:
                left = _LOOK if end is None else min(_LOOK, end - time.monotonic())
                try:
                    item = told.get(timeout=max(left, 0.0))
                except Empty:
                    _look_at_reader()
                    if end is not None and time.monotonic() >= end:
                        break
                    continue
                if item is None:
                    break
                if isinstance(item, BaseException):
                    raise item
                yield item
                if not alive:
                    break
                # Time counts from when what is there already was looked at.
                if end is None and limit is not None:
                    end = time.monotonic() + limit
        finally:
            stop.set()
            thread.join(_PATIENCE)
        # What happened until then was looked at once more.
        with suppress(Empty):
            while alive and (last := told.get_nowait()) is not None:
                if not isinstance(last, BaseException):
                    yield last


def _observe(
    target: Target,
    stop: threading.Event,
    told: SimpleQueue[list[Record] | BaseException | None],
    reads: bool,
) -> None:
    from layerview.watch.observe import observe

    try:
        for batch in observe(target, stop, reads=reads):
            told.put(batch)
    except BaseException as error:
        told.put(error)
    else:
        told.put(None)


@contextmanager
def _signals(ended: Callable[[], None]) -> Iterator[None]:
    """Take SIGINT and SIGTERM for the wish to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: ended()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _look_at_reader() -> None:
    """Make sure that somebody reads what is printed.

    Raises:
        BrokenPipeError: when the reader has gone.
    """
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        gone = any(events & select.POLLERR for _, events in poll.poll(0))
    except (OSError, ValueError):
        return
    if gone:
        raise BrokenPipeError
