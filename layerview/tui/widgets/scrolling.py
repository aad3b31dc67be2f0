"""Telling a scrolling widget how many rows it has."""

from __future__ import annotations

from textual.geometry import Size
from textual.scroll_view import ScrollView


def fit_rows(view: ScrollView, rows: int) -> None:
    """Set how many rows a view scrolls over; its own size does not depend on them.

    Textual lays the whole screen out anew whenever a virtual size changes, which was half of the
    time that a move of the cursor took. There is no need where nothing scrolls before or after.
    """
    room = view.scrollable_content_region
    size = Size(room.width, rows)
    if max(rows, view.virtual_size.height) <= room.height:
        view.set_reactive(ScrollView.virtual_size, size)
    else:
        view.virtual_size = size
