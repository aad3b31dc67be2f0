"""What the Live view says of an event in words; pure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.cells import width_of
from layerview.tui.container_lines import nanoseconds_words
from layerview.tui.story import searched_layers
from layerview.tui.words import count_of
from layerview.watch.events import INIT, CowEvent
from layerview.watch.target import Target, WatchedVolume, below

UNION = "aufs"

MOST_NAMED = 7
"""Layers of a search that are named one by one in an event's row."""


class Word(NamedTuple):
    """A piece of a sentence."""

    text: str
    bold: bool = False
    chip: int | None = None
    """The number of the layer whose chip this is; the text is that number."""


KINDS: Mapping[str, str] = {
    "copy_up": "copy-up",
    "create": "new",
    "write": "write",
    "metadata": "metadata",
    "whiteout": "whiteout",
    "delete": "deleted",
    "opaque": "opaque",
    "rename": "renamed",
    "link": "link",
    "block": "block",
    "read": "read",
}


def kind_words(event: CowEvent) -> str:
    """Return the word for an event's kind."""
    return "volume" if event.volume else KINDS.get(event.kind, event.kind)


def clock(nanoseconds: int, *, short: bool = False) -> str:
    """Return a time of the day here: `21:14:03.118`, short `21:14:03`."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    try:
        text = time.strftime("%H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "?"
    return text if short else f"{text}.{rest // 1_000_000:03}"


def shown_path(path: bytes) -> str:
    """Return a path as people know it, from the container's root."""
    return "/" + printable(path)


def name_of(path: bytes) -> str:
    """Return a path's last part."""
    return printable(path.rpartition(b"/")[2]) or "/"


def who(event: CowEvent) -> str:
    """Return who did it, for the start of a sentence; empty where that is not known."""
    if event.command and event.pid is not None:
        return f"{printable(event.command)} (pid {event.pid})"
    if event.command:
        return printable(event.command)
    return f"Process {event.pid}" if event.pid is not None else ""


def volume_of(event: CowEvent, volumes: Sequence[WatchedVolume]) -> int | None:
    """Return the number of the volume that an event lies in."""
    best: int | None = None
    for number, volume in enumerate(volumes):
        inside = event.path == volume.target or event.path.startswith(volume.target + b"/")
        if inside and (best is None or len(volume.target) > len(volumes[best].target)):
            best = number
    return best


def volume_name(volume: WatchedVolume) -> str:
    """Return what a volume is called."""
    name = printable(volume.name or volume.source)
    anonymous = len(name) == 64 and all(sign in "0123456789abcdef" for sign in name)
    return name[:12] if anonymous else name


def layer_name(number: int) -> str:
    """Return what stands on a layer's chip."""
    return "init" if number == INIT else str(number)


def _listed(numbers: Sequence[int]) -> str:
    """Return `5, 4, 3 or 2`; of many only the first and the last ones."""
    words = [layer_name(number) for number in numbers]
    if len(words) > 8:
        words = [*words[:4], "…", *words[-2:]]
    if len(words) == 1:
        return words[0]
    return ", ".join(words[:-1]) + " or " + words[-1]


def size_words(event: CowEvent, binary: bool) -> str:
    """Return the bytes that an event is about, for its row; empty where there is no such number."""
    number = event.written if event.kind == "write" else event.bytes
    if number is None and (event.volume or event.kind == "create"):
        number = event.size
    return "" if number is None else format_size(number, binary=binary)


def duration_words(event: CowEvent) -> str:
    """Return how long an event took."""
    return "" if event.duration_ns is None else nanoseconds_words(event.duration_ns)


def note_words(event: CowEvent, layers: Sequence[int]) -> str:
    """Return the remark at the end of an event's row.

    Args:
        event: what happened.
        layers: the image's, top first.
    """
    if event.volume:
        return "bypasses the driver"
    if event.held:
        return "was there before"
    kind, layer = event.kind, event.layer
    if kind in ("copy_up", "read"):
        if kind == "read" and layer is None:
            return "in the container layer"
        searched = searched_layers(event, layers)
        words = ""
        if kind == "read":
            found = searched[-1] if searched else layer
            return "not copied" if found is None else f"found in {layer_name(found)}, not copied"
        if searched:
            above = " ".join(str(number) for number in searched[:-1])
            if len(searched) > MOST_NAMED:
                above = count_of(len(searched) - 1, "layer")
            words = f"searched {above}, " if above else ""
            words += f"found in {searched[-1]}"
        elif layer == INIT:
            words = "found in the init layer"
        return words
    if kind == "whiteout":
        return "hides what is below" if layer is None else f"hides the one in {layer_name(layer)}"
    if kind == "rename" and event.from_path is not None:
        return f"from {shown_path(event.from_path)}"
    return {
        "write": "already copied" if layer is not None else "no copy needed",
        "metadata": "mode, owner or times",
        "delete": "nothing is left of it",
        "opaque": "hides all below it",
        "link": "the name broke off",
    }.get(kind, "")


_CAUSES: Mapping[str, str] = {
    "open": "opened {} to write.",
    "truncate": "opened {} to write it anew.",
    "metadata": "changed mode, owner or times of {}.",
    "rename": "renamed {}.",
    "link": "made another name for {}.",
}
_PASSIVE: Mapping[str, str] = {
    "open": "{} was opened to write.",
    "truncate": "{} was opened to be written anew.",
    "metadata": "Mode, owner or times of {} were changed.",
    "rename": "{} was renamed.",
    "link": "Another name for {} was made.",
}


def _sentence(name: str, active: str, passive: str, by: str) -> list[Word]:
    """Fill a name into a sentence: who did it, or what happened where that is not known."""
    form = f"{by} {active}" if by else passive
    before, _, after = form.partition("{}")
    return [Word(before), Word(name, bold=True), Word(after)]


def now_words(
    event: CowEvent,
    target: Target,
    *,
    binary: bool = False,
    first_write: int | None = None,
    done: int | None = None,
) -> list[list[Word]]:
    """Say in sentences what happens: who did what, where it was looked for, what it costs.

    Args:
        event: what happens.
        target: the container.
        binary: sizes in KiB and MiB.
        first_write: of a copy-up, the bytes that were written first afterwards.
        done: of a copy-up under way, the bytes that are copied.
    """
    name = name_of(event.path)
    by = who(event)
    if event.volume:
        number = volume_of(event, target.volumes)
        volume = (
            "a volume" if number is None else f"the volume {volume_name(target.volumes[number])}"
        )
        verb = {"delete": "deleted", "create": "made", "rename": "renamed"}
        did = verb.get(event.kind, "wrote to")
        was = {"wrote to": "written"}.get(did, did)
        return [
            _sentence(name, f"{did} {{}}.", f"{{}} was {was}.", by),
            [Word(f"It lies in {volume}: past the storage driver. No layer changes.")],
        ]
    maker = _TELLERS.get(event.kind)
    if maker is not None:
        return maker(event, target, by, binary)
    if event.kind != "copy_up":
        return [_sentence(name, "changed {}.", "{} changed.", by)]
    cause = event.cause or ""
    active = _CAUSES.get(cause, "changed {}.")
    sentences = [_sentence(name, active, _PASSIVE.get(cause, "{} was changed."), by)]
    sentences.append(_where(event, target))
    sentences.append([Word(_cost(event, binary, first_write, done))])
    return [sentence for sentence in sentences if sentence and any(word.text for word in sentence)]


def _where(event: CowEvent, target: Target) -> list[Word]:
    """Say where it was not, and where it was found."""
    layers = [layer.number for layer in below(target)]
    searched = searched_layers(event, layers)
    if not searched:
        if event.layer is None:
            return []
        words = "Not in the container layer. Found: "
        return [Word(words), Word(layer_name(event.layer), chip=event.layer)]
    above = _listed(searched[:-1]) if len(searched) > 1 else ""
    joint = ", " if len(searched) > 2 else " or "
    words = (
        f"Not in the container layer{joint}{above}. " if above else "Not in the container layer. "
    )
    return [Word(words + "Found: "), Word(str(searched[-1]), chip=searched[-1])]


def _cost(event: CowEvent, binary: bool, first_write: int | None, done: int | None) -> str:
    if done is not None:
        words = f"{format_size(done, binary=binary)} are copied so far"
        return f"{words}; not a byte is written before all are."
    if event.bytes is None:
        return ""
    if event.bytes == 0:
        if event.cause == "truncate":
            return "No data is copied: it is emptied anyway."
        return "Only its entry is copied: there is no data."
    size = format_size(event.bytes, binary=binary)
    if first_write is not None:
        written = format_size(first_write, binary=binary)
        return f"All {size} are copied first, for a write of {written}."
    what = {
        "open": "for whatever is written",
        "metadata": "though no byte of it changes",
        "rename": "for another name",
        "link": "for one more name",
    }.get(event.cause or "", "before anything changes")
    return f"All {size} are copied first, {what}."


def _write(event: CowEvent, target: Target, by: str, binary: bool) -> list[list[Word]]:
    name = name_of(event.path)
    amount = ""
    if event.written is not None:
        amount = f"{format_size(event.written, binary=binary)} to "
    passive = f"{amount}{{}} were written." if amount else "{} was written."
    where = "It is in the container layer already: nothing is copied."
    if target.driver == "vfs":
        where = "It is the container's own copy, made at the start: nothing is copied now."
    return [_sentence(name, f"wrote {amount}{{}}.", passive, by), [Word(where)]]


def _create(event: CowEvent, target: Target, by: str, binary: bool) -> list[list[Word]]:
    return [
        _sentence(name_of(event.path), "made {}.", "{} is new.", by),
        [Word("No layer has it: nothing is copied. It lies in the container layer.")],
    ]


def _whiteout(event: CowEvent, target: Target, by: str, binary: bool) -> list[list[Word]]:
    hides: list[Word] = [Word("A whiteout hides what is below; the image keeps it.")]
    if event.layer is not None:
        hides = [
            Word("A whiteout in the container layer hides the one in "),
            Word(layer_name(event.layer), chip=event.layer),
            Word("; that layer keeps its bytes."),
        ]
    return [_sentence(name_of(event.path), "deleted {}.", "{} was deleted.", by), hides]


def _delete(event: CowEvent, target: Target, by: str, binary: bool) -> list[list[Word]]:
    where = "It was in the container layer only: nothing is left of it, and nothing is hidden."
    if target.driver == "vfs":
        where = "It is gone from the container's own copy; the image's stays as it is."
    return [_sentence(name_of(event.path), "deleted {}.", "{} was deleted.", by), [Word(where)]]


def _opaque(event: CowEvent, target: Target, by: str, binary: bool) -> list[list[Word]]:
    return [
        _sentence(name_of(event.path), "made {} anew.", "{} was made anew.", by),
        [Word("It is opaque: nothing that layers below have in it shows.")],
    ]


def _rename(event: CowEvent, target: Target, by: str, binary: bool) -> list[list[Word]]:
    before = name_of(event.from_path or b"")
    name = name_of(event.path)
    return [
        _sentence(name, f"renamed {before} to {{}}.", f"{before} is {{}} now.", by),
        [Word("It is in the container layer: only its name changes.")],
    ]


def _metadata(event: CowEvent, target: Target, by: str, binary: bool) -> list[list[Word]]:
    return [
        _sentence(
            name_of(event.path),
            "changed mode, owner or times of {}.",
            "Mode, owner or times of {} were changed.",
            by,
        ),
        [Word("It is in the container layer already: nothing is copied.")],
    ]


def _link(event: CowEvent, target: Target, by: str, binary: bool) -> list[list[Word]]:
    return [
        _sentence(name_of(event.path), "changed {}.", "{} was changed.", by),
        [Word("The copy broke its hard link: the other names still show the layer's file.")],
    ]


def _read(event: CowEvent, target: Target, by: str, binary: bool) -> list[list[Word]]:
    name = name_of(event.path)
    if event.layer is None:
        where = [Word("It is in the container layer. Nothing is copied.")]
    else:
        where = _where(event, target)
        where.append(Word(" Read from there: nothing is copied."))
    return [_sentence(name, "read {}.", "{} was read.", by), where]


_TELLERS = {
    "write": _write,
    "create": _create,
    "whiteout": _whiteout,
    "delete": _delete,
    "opaque": _opaque,
    "rename": _rename,
    "metadata": _metadata,
    "link": _link,
    "read": _read,
}


def quiet_words(target: Target, binary: bool = False) -> list[list[Word]]:
    """Say what is to be expected while nothing happens."""
    if target.driver == "vfs":
        copied = ""
        if target.copied_at_start is not None:
            size = format_size(target.copied_at_start, binary=binary)
            copied = f"{size} were copied when it was made. "
        return [
            [Word(f"{copied}vfs has no layers: each container has a whole tree of its own.")],
            [Word("Writes go straight to it; nothing is searched, nothing copied up.")],
        ]
    words = "Nothing has changed yet. What is written first is copied up, once."
    if target.driver == UNION:
        return [[Word(words)], [Word("Reading copies nothing: that is shown as well.")]]
    return [
        [Word(words)],
        [Word("Reading copies nothing; the kernel's overlayfs does not tell of it.")],
    ]


def burst_words(untold: int) -> str:
    """Say how many events are only counted."""
    return f"and {count_of(untold, 'more event')}, all in the list" if untold else ""


def wrap_words(sentences: Sequence[Sequence[Word]], width: int) -> list[list[Word]]:
    """Break sentences, each on a line of its own, at spaces; a chip takes two cells more."""
    lines: list[list[Word]] = []
    for sentence in sentences:
        line: list[Word] = []
        used = 0
        for word in sentence:
            if word.chip is not None:
                room = len(word.text) + 2
                if used + room > width and line:
                    lines.append(line)
                    line, used = [], 0
                line.append(word)
                used += room
                continue
            for part in _parts(word.text, width):
                room = width_of(part)
                if used + width_of(part.rstrip()) > width and line:
                    lines.append(line)
                    line, used = [], 0
                    part = part.lstrip()
                    room = width_of(part)
                line.append(word._replace(text=part))
                used += room
        if line:
            lines.append(line)
    return lines


def _parts(text: str, width: int) -> list[str]:
    """Cut a text into words, each with the spaces after it; longer ones than a line too."""
    parts: list[str] = []
    word = ""
    for sign in text:
        if word and word[-1] == " " and sign != " ":
            parts.append(word)
            word = ""
        word += sign
        if width_of(word) >= width:
            parts.append(word)
            word = ""
    return [*parts, word] if word else parts
