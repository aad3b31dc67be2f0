"""The floor of every first screen: the smallest Textual app, run as a script."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.widgets import Static

SHOWN = "a bare Textual app"


class BareApp(App[None]):
    def compose(self) -> ComposeResult:
        yield Static(SHOWN)


if __name__ == "__main__":
    BareApp().run()
