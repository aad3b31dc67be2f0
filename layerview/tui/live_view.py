"""What the Live view's widgets show of what it knows; pure."""

from __future__ import annotations

from layerview.oci.config import History
from layerview.oci.digest import Digest
from layerview.oci.instruction import instruction
from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.live_model import LiveModel
from layerview.tui.live_words import Word, now_words, quiet_words, shown_path, volume_name
from layerview.tui.palette import HueBook
from layerview.tui.story import Frame
from layerview.tui.widgets.live_stack import LiveSlab, LiveTop, LiveVolume
from layerview.watch.target import Target, below


def hues_of(target: Target, book: HueBook) -> dict[int, int | None]:
    """Return the hue of each of the image's layers, the same as everywhere in the session."""
    base_first = below(target)[::-1]
    # Other screens know it by the digest itself.
    keys = [
        (Digest.parse(layer.chain_id) if layer.chain_id else layer.folder, layer.size or 0)
        for layer in base_first
    ]
    hues = book.assign(keys)
    return {layer.number: hue for layer, hue in zip(base_first, hues, strict=True)}


def slabs_of(model: LiveModel, hues: dict[int, int | None], binary: bool) -> list[LiveSlab]:
    """Return the image's layers, top first."""
    slabs = []
    for layer in below(model.target):
        tally = model.ledger.by_layer.get(layer.number)
        size = "" if layer.size is None else format_size(layer.size, binary=binary)
        digits = layer.chain_id.partition(":")[2][:12]
        slabs.append(
            LiveSlab(
                layer.number,
                printable(instruction(History(created_by=layer.instruction))),
                size,
                digits,
                hues.get(layer.number),
                tally.copy_ups if tally is not None else 0,
            )
        )
    return slabs


def top_of(model: LiveModel, now: float, binary: bool) -> LiveTop:
    """Return what the container layer's slab says, and note its size for the growth.

    Args:
        model: what is known.
        now: seconds.
        binary: sizes in KiB and MiB.
    """
    model.sample(now)
    rate = model.growth.rate(now)
    return LiveTop(
        model.target.id[:12],
        format_size(model.size, binary=binary),
        tuple(round(share, 2) for share in model.growth.shares()),
        f"{format_size(int(rate), binary=binary)}/s" if rate >= 1 else "",
    )


def volumes_of(model: LiveModel, binary: bool) -> list[LiveVolume]:
    """Return the container's volumes, and what was written to each."""
    return [
        LiveVolume(
            volume_name(volume),
            shown_path(volume.target),
            format_size(model.to_volumes[number], binary=binary)
            if model.to_volumes[number]
            else "",
            volume.read_only,
        )
        for number, volume in enumerate(model.target.volumes)
    ]


def figures(model: LiveModel, binary: bool) -> list[tuple[str, str]]:
    """Return the totals: words and numbers, the most telling first."""
    ledger, target = model.ledger, model.target

    def size(number: int) -> str:
        return format_size(number, binary=binary)

    written = size(ledger.bytes_written) if ledger.bytes_written is not None else "not told"
    if target.driver == "vfs":
        copied = target.copied_at_start
        return [
            ("copied at start", size(copied) if copied is not None else "not known"),
            ("copy-ups", "none: vfs"),
            ("written", written),
            ("new files", f"{ledger.created:,}"),
            ("deleted", f"{ledger.deleted:,}"),
            ("to volumes", size(ledger.volume_bytes)),
        ]
    return [
        ("copy-ups", f"{ledger.copy_ups:,}"),
        ("copied up", size(ledger.bytes_copied)),
        ("written", written),
        ("new files", f"{ledger.created:,}"),
        ("whiteouts", f"{ledger.whiteouts:,}"),
        ("to volumes", size(ledger.volume_bytes)),
    ]


def now_shown(
    model: LiveModel, frame: Frame | None, done: tuple[int, int | None] | None, binary: bool
) -> list[list[Word]]:
    """Say what happens now; of the last event when nothing is told any more.

    Args:
        model: what is known.
        frame: what of the story is to be seen.
        done: of a copy-up under way, the bytes copied and all of them.
        binary: sizes in KiB and MiB.
    """
    if frame is not None and frame.number < 0:
        event = frame.event
        return now_words(event, model.target, binary=binary, done=done[0] if done else 0)
    if frame is not None:
        number, event = frame.number, frame.event
    else:
        number = model.last_news
        if number < 0:
            return quiet_words(model.target, binary)
        event = model.store[number]
    first = model.first_write(number, event)
    return now_words(event, model.target, binary=binary, first_write=first)


def stopped_words(model: LiveModel, failure: str) -> list[Word]:
    """Say why nothing more will come, or what else should be known; empty when all goes well."""
    if failure:
        return [Word(failure)]
    if model.ended:
        return [Word(f"Nothing more will come: {printable(model.ended)}.")]
    return []
