"""All that is known of one event, the place on disk first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label

from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.container_lines import nanoseconds_words
from layerview.tui.live_words import clock, kind_words, layer_name, note_words, shown_path, who
from layerview.watch.events import CowEvent


class LiveEvent(ModalScreen[None]):
    """Shows an event; any of the usual keys closes it."""

    CSS_PATH = "../styles/dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "dismiss", "back", key_display="Esc", id="event.back"),
    ]

    def __init__(self, event: CowEvent, layers: Sequence[int], *, binary: bool = False) -> None:
        super().__init__()
        self._event = event
        self._facts = facts_of(event, layers, binary)

    def compose(self) -> ComposeResult:
        """Lay out the facts."""
        with Vertical(classes="dialog"):
            yield Label(shown_path(self._event.path), classes="heading", markup=False)
            width = max(len(word) for word, _ in self._facts)
            for word, fact in self._facts:
                yield Label(f"{word:<{width}}  {fact}", classes="words", markup=False)


def facts_of(event: CowEvent, layers: Sequence[int], binary: bool) -> list[tuple[str, str]]:
    """Return what is known of an event: words and facts.

    Args:
        event: what happened.
        layers: the image's, top first.
        binary: sizes in KiB and MiB.
    """
    facts = [("on disk", printable(event.disk_path) or "not known")]
    facts.append(("what", f"{kind_words(event)} {note_words(event, layers)}".strip()))
    facts.append(("when", clock(event.time)))
    if event.from_path is not None:
        facts.append(("before", shown_path(event.from_path)))
    if event.layer is not None:
        facts.append(("layer", layer_name(event.layer)))
    for word, size in (
        ("copied", event.bytes),
        ("written", event.written),
        ("size now", event.size),
    ):
        if size is not None:
            exact = f"{size:,} bytes"
            facts.append((word, f"{format_size(size, binary=binary)} ({exact})"))
    if event.duration_ns is not None:
        facts.append(("took", nanoseconds_words(event.duration_ns)))
    if event.cause:
        facts.append(("because of", event.cause))
    if who(event):
        facts.append(("by", who(event)))
    return facts
