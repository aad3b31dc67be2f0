"""The footer: the keys that work now, as many as there is room for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from layerview.tui.cells import width_of


class Keys(Footer):
    """Textual's footer, which in a narrow window says less instead of running out of it."""

    SHORT: ClassVar[dict[str, tuple[str, str]]] = {
        "image.layer": ("l", "layer"),
        "app.palette": ("^P", "all"),
        "tree.choose": ("Enter", "content"),
        "images.open_file": ("o", "open file"),
    }
    """Binding id: key and description for a narrow window."""

    LEAVE_OUT: ClassVar[tuple[str, ...]] = (
        "app.quit",
        "image.diff",
        "images.diff",
        "image.extract",
        "images.sort",
        "image.waste",
        "image.pane",
        "images.open_file",
        "image.sort",
    )
    """Binding ids to leave out in a narrow window, in this order."""

    NARROW: ClassVar[tuple[str, ...]] = ("tree.choose",)
    """Binding ids that are worth a place only where panes take turns."""

    DEFAULT_CSS = """
    Keys {
        background: $background;
        padding: 0 1;
        FooterKey { background: $background; }
    }
    """

    _composed_for = 0

    def compose(self) -> ComposeResult:
        """Show the keys of the focused widget, its screen and the app."""
        if not self._bindings_ready:
            return
        seen: set[str] = set()
        bindings: list[tuple[Binding, bool, str]] = []
        for _, binding, enabled, tooltip in self.screen.active_bindings.values():
            if binding.show and binding.action not in seen:
                seen.add(binding.action)
                bindings.append((binding, enabled, tooltip))
        if self.screen.has_class("-narrow"):
            bindings += [
                (binding, enabled, tooltip)
                for _, binding, enabled, tooltip in self.screen.active_bindings.values()
                if binding.id in self.NARROW
            ]
        bindings.sort(key=lambda item: (item[0].id or "").startswith("app."))
        room = self.size.width or self.app.size.width - 2
        self._composed_for = room
        texts = [self._texts(item[0], False) for item in bindings]
        if _width(texts) > room:
            texts = [self._texts(item[0], True) for item in bindings]
            for unwanted in self.LEAVE_OUT:
                if _width(texts) <= room:
                    break
                for number, item in enumerate(bindings):
                    if item[0].id == unwanted:
                        del bindings[number], texts[number]
                        break
        for (binding, enabled, tooltip), (key, description) in zip(bindings, texts, strict=True):
            yield FooterKey(
                binding.key,
                key,
                description,
                binding.action,
                disabled=not enabled,
                tooltip=tooltip or binding.tooltip,
            ).data_bind(compact=Footer.compact)

    def on_resize(self) -> None:
        """Choose anew what there is room for."""
        if self._bindings_ready and self.size.width != self._composed_for:
            self.refresh(recompose=True)

    def _texts(self, binding: Binding, short: bool) -> tuple[str, str]:
        if short and binding.id in self.SHORT:
            return self.SHORT[binding.id]
        return self.app.get_key_display(binding), binding.description


def _width(texts: Iterable[tuple[str, str]]) -> int:
    return sum(width_of(key) + width_of(description) + 3 for key, description in texts)
