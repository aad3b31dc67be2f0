"""The line in which a filter is typed."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


class FilterInput(Input):
    """Filters as one types; Enter keeps the filter, Escape ends it."""

    HELP = """
# Filter

Type a part of a name. Only what matches, and the folders that lead to it, stay.
**Enter** goes to the list and keeps the filter, **Esc** shows everything again.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,down", "keep", "to the list", key_display="Enter", id="filter.keep"),
        Binding("escape", "show_all", "show all", key_display="Esc", id="filter.end"),
    ]

    DEFAULT_CSS = """
    FilterInput {
        border: none;
        height: 1;
        padding: 0 1;
        margin: 0 1;
        background: $panel;
        &:focus { border: none; background: $panel; }
        & > .input--placeholder { color: $faint; }
    }
    """

    class Ended(Message):
        """The entry was left; `keep` says whether the filter stays."""

        def __init__(self, entry: FilterInput, keep: bool) -> None:
            self.entry = entry
            self.keep = keep
            super().__init__()

        @property
        def control(self) -> FilterInput:
            """The entry that sent this."""
            return self.entry

    def __init__(self, value: str = "", placeholder: str = "/ type to filter") -> None:
        super().__init__(value, placeholder=placeholder)
        self.cursor_blink = False

    def action_keep(self) -> None:
        """Go to the list and keep the filter."""
        self.post_message(self.Ended(self, True))

    def action_show_all(self) -> None:
        """Show everything again."""
        self.post_message(self.Ended(self, False))
