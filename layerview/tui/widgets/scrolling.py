"""Telling a scrolling widget how many rows it has."""

from __future__ import annotations

from textual.geometry import Size
from textual.scroll_view import ScrollView


def fit_rows(view: ScrollView, rows: int) -> None:
    """Set how many rows a view scrolls over; its own size does not depend on them.

    Textual lays the whole screen out anew whenever a virtual size changes, which was half of the
    time that a move of the cursor took; so few rows count as many as there is room for.
    """
    room = view.scrollable_content_region
    view.virtual_size = Size(room.width, max(rows, room.height))
