"""The footer: the keys that work now, as many as there is room for, in one painted line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual import events
from textual.binding import Binding
from textual.screen import Screen
from textual.strip import Strip

from layerview.tui.cells import Line, width_of
from layerview.tui.widgets.chrome import Painted


class Key(NamedTuple):
    """A key as it is shown, and what it does."""

    key: str
    description: str
    press: str
    """The name under which it can be pressed."""
    enabled: bool


class Keys(Painted):
    """The keys of the focused widget, its screen and the app; a click presses one.

    A footer of Textual's own is a widget a key: mounting and styling those took a sixth of the
    time to the first screen, and as much again at every change of focus.
    """

    DEFAULT_CSS = """
    Keys { height: 1; width: 1fr; padding: 0 2; }
    """

    SHORT: ClassVar[dict[str, tuple[str, str]]] = {
        "image.layer": ("l", "layer"),
        "app.palette": ("^P", "all"),
        "containers.remove": ("Del", "rm"),
        "live.pane": ("F2", "shell"),
        "live.slow": ("m", "slow"),
        "live.events": ("e", "events"),
        "tree.choose": ("Enter", "content"),
        "images.open_file": ("o", "open file"),
        "disk.root": ("p", "root"),
        "disk.reload": ("R", "again"),
    }
    """Binding id: key and description for a narrow window."""

    LEAVE_OUT: ClassVar[tuple[str, ...]] = (
        "app.quit",
        "live.new",
        "live.changes",
        "live.stop",
        "live.lanes",
        "live.tries",
        "events.choose",
        "image.diff",
        "images.diff",
        "image.extract",
        "image.run",
        "images.sort",
        "image.waste",
        "image.pane",
        "images.open_file",
        "image.sort",
        "containers.commit",
        "containers.changes",
        "images.run",
        "disk.sort",
        "disk.reload",
    )
    """Binding ids to leave out in a narrow window, in this order."""

    NARROW: ClassVar[tuple[str, ...]] = ("tree.choose",)
    """Binding ids that are worth a place only where panes take turns."""

    def on_mount(self) -> None:
        """Follow what the screen's keys are."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def _bindings_changed(self, _: Screen[object]) -> None:
        self.refresh()

    def shown(self) -> list[Key]:
        """Return the keys that there is room for."""
        narrow = self.screen.has_class("-narrow")
        seen: set[str] = set()
        bindings: list[tuple[Binding, bool]] = []
        for _, binding, enabled, _ in self.screen.active_bindings.values():
            wanted = binding.show or (narrow and binding.id in self.NARROW)
            if wanted and binding.action not in seen:
                seen.add(binding.action)
                bindings.append((binding, enabled))
        bindings.sort(key=lambda item: (item[0].id or "").startswith("app."))
        room = self.size.width
        texts = [self._texts(binding, False) for binding, _ in bindings]
        if _width(texts) > room:
            texts = [self._texts(binding, True) for binding, _ in bindings]
            for unwanted in self.LEAVE_OUT:
                if _width(texts) <= room:
                    break
                for number, (binding, _) in enumerate(bindings):
                    if binding.id == unwanted:
                        del bindings[number], texts[number]
                        break
            while texts and _width(texts) > room:
                # Beside the help panel, which lists them all, the first ones are enough.
                del bindings[-1], texts[-1]
        return [
            Key(key, description, binding.key, enabled)
            for (binding, enabled), (key, description) in zip(bindings, texts, strict=True)
        ]

    def render_line(self, y: int) -> Strip:
        """Paint the keys."""
        paint = self.paint
        line = Line()
        for number, key in enumerate(self.shown()):
            line.add("  " if number else "", paint.style())
            line.add(key.key, paint.style("foreground" if key.enabled else "faint", bold=True))
            line.add(f" {key.description}", paint.style("muted" if key.enabled else "faint"))
        return line.strip(self.size.width, paint.style())

    def on_click(self, event: events.Click) -> None:
        """Press the key under the pointer."""
        at = event.get_content_offset(self)
        if at is None:
            return
        start = 0
        for key in self.shown():
            end = start + width_of(key.key) + 1 + width_of(key.description)
            if start <= at.x < end and key.enabled:
                self.app.simulate_key(key.press)
                return
            start = end + 2

    def _texts(self, binding: Binding, short: bool) -> tuple[str, str]:
        if short and binding.id in self.SHORT:
            return self.SHORT[binding.id]
        return self.app.get_key_display(binding), binding.description


def _width(texts: Sequence[tuple[str, str]]) -> int:
    return sum(width_of(key) + width_of(description) + 3 for key, description in texts) - 2
