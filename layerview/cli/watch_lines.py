"""How `watch` prints an event and a summary for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

from layerview.sizes import format_size
from layerview.text import printable
from layerview.watch.events import INIT, CowEvent
from layerview.watch.ledger import Ledger, Tally, top
from layerview.watch.target import Target

_CAUSES = {
    "open": "opened for writing",
    "truncate": "opened to be emptied",
    "metadata": "for its mode, owner, times or attributes",
    "rename": "for a rename",
    "link": "for a link",
}
_FORM = "{:<12}  {:<9} {:<8}  {:<34} {:>9} {:>9}  {}"
HEADING = _FORM.format("TIME", "KIND", "LAYER", "PATH", "SIZE", "TOOK", "NOTE") + "\n"


def line(event: CowEvent, *, binary: bool = False) -> str:
    """Return the line of an event."""
    return (
        _FORM.format(
            _clock(event),
            event.kind,
            _move(event),
            "/" + printable(event.path),
            _size(event, binary=binary),
            _took(event.duration_ns),
            _note(event),
        ).rstrip()
        + "\n"
    )


def _clock(event: CowEvent) -> str:
    seconds, fraction = divmod(event.time, 10**9)
    # Whiteouts are one file with many names, and that was never written to.
    if event.held and event.kind == "whiteout":
        return ""
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{fraction // 10**6:03d}"


def _layer(number: int) -> str:
    return "init" if number == INIT else str(number)


def _move(event: CowEvent) -> str:
    """Say from where to where: W is the container's own layer."""
    if event.volume:
        return "volume"
    if event.kind == "read":
        return "?" if event.layer is None else _layer(event.layer)
    if event.kind == "copy_up":
        return f"{'?' if event.layer is None else _layer(event.layer)} → W"
    return "W"


def _size(event: CowEvent, *, binary: bool) -> str:
    size = event.bytes if event.kind in ("copy_up", "read") else event.written
    if size is None and event.kind == "create":
        size = event.size
    return "" if size is None else format_size(size, binary=binary)


def _took(duration: int | None) -> str:
    if duration is None:
        return ""
    if duration < 10**6:
        return f"{duration / 1000:.0f} µs"
    return f"{duration / 10**6:.1f} ms" if duration < 10**9 else f"{duration / 10**9:.2f} s"


def _note(event: CowEvent) -> str:
    notes = []
    if event.held:
        notes.append("there already")
    if event.kind == "copy_up":
        if event.searched and not event.held:
            notes.append(_searched(event))
        if event.cause in _CAUSES:
            notes.append(_CAUSES[event.cause])
    elif event.layer is not None and event.kind in ("whiteout", "opaque"):
        notes.append(f"hides layer {_layer(event.layer)}'s")
    elif event.layer is not None and event.kind == "create":
        notes.append(f"as in layer {_layer(event.layer)}, for what lies in it")
    if event.from_path is not None:
        notes.append(f"was /{printable(event.from_path)}")
    if event.volume:
        notes.append("passes the layers by")
    if event.command is not None or event.pid is not None:
        who = printable(event.command) if event.command is not None else "process"
        notes.append(f"by {who}" + (f" ({event.pid})" if event.pid is not None else ""))
    return ", ".join(notes)


def _searched(event: CowEvent) -> str:
    looked = " ".join(map(_layer, event.searched))
    found = "" if event.layer is None else f", found in {_layer(event.layer)}"
    return f"searched {looked}{found}"


# --- the summary ---


def summary(target: Target, ledger: Ledger, *, binary: bool = False) -> None:
    """Print what a container's events came to."""

    def size(count: int | None) -> str:
        return "?" if count is None else format_size(count, binary=binary)

    rows = [
        ("container", f"{printable(target.name)} ({target.driver}, {printable(target.image)})"),
        ("copy-ups", f"{ledger.copy_ups}, {size(ledger.bytes_copied)} copied"),
    ]
    if target.copied_at_start:
        rows.append(("at its start", f"{size(target.copied_at_start)} copied"))
    if ledger.bytes_written is not None:
        rows.append(("written", size(ledger.bytes_written)))
    elif ledger.bytes_changed is not None:
        rows.append(("changed", f"{size(ledger.bytes_changed)} differ from the image"))
    rows += [
        ("created", str(ledger.created)),
        ("hidden", str(ledger.whiteouts)),
        ("deleted", str(ledger.deleted)),
        ("renamed", str(ledger.renamed)),
        ("its layer", size(ledger.container_layer_size)),
        ("volumes", f"{size(ledger.volume_bytes)}, past the layers"),
    ]
    for name, value in rows:
        print(f"{name:<14}{value}")
    _table("LAYER", ((_layer(number), tally) for number, tally in sorted(ledger.by_layer.items())))
    _table("PATH", (("/" + printable(path), tally) for path, tally in top(ledger.by_path)))
    _table("PROCESS", ((printable(name), tally) for name, tally in top(ledger.by_process)))


def _table(title: str, tallies: Iterable[tuple[str, Tally]]) -> None:
    from layerview.cli.output import table

    rows = [
        [
            str(tally.copy_ups),
            format_size(tally.bytes_copied),
            "" if tally.bytes_written is None else format_size(tally.bytes_written),
            str(tally.events),
            name,
        ]
        for name, tally in tallies
    ]
    if rows:
        sys.stdout.write("\n")
        heading = ["COPY-UPS", "COPIED", "WRITTEN", "EVENTS", title]
        table([heading, *rows], right=(0, 1, 2, 3))
