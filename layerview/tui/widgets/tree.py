"""The file tree: any number of rows, of which only those in sight are ever made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.bars import cut_bar, share_of
from layerview.tui.cells import Line, fit, width_of
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.tree_rows import TreeRows
from layerview.tui.widgets.chrome import Painted
from layerview.tui.widgets.scrolling import fit_rows

if TYPE_CHECKING:
    from layerview.tui.tree_sources import TreeSource, Weight
    from layerview.view.nodes import Node


class FileTree(Painted, ScrollView, can_focus=True):
    """A tree of an image's files, each with its size, its layers and how it changed."""

    HELP = """
# Files

The unified view: what a container of this image sees. The first column says how a file differs
from the layers below its own: **+** new, **~** changed, **−** deleted. The bar is the part of the
folder above, cut into the colours of the layers that hold the bytes; the number is the layer.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(-1)", "up", show=False, id="tree.up"),
        Binding("down,j", "cursor(1)", "down", show=False, id="tree.down"),
        Binding("pageup,ctrl+b", "page(-1)", "page up", show=False, id="tree.page_up"),
        Binding("pagedown,ctrl+f", "page(1)", "page down", show=False, id="tree.page_down"),
        Binding("home,g", "first", "first row", show=False, id="tree.first"),
        Binding("end,G", "last", "last row", show=False, id="tree.last"),
        Binding("left,h", "close", "close, or go to the folder", show=False, id="tree.close"),
        Binding("right", "open", "open, or go inside", show=False, id="tree.open"),
        Binding("space", "toggle_folder", "open or close", show=False, id="tree.toggle"),
        Binding("enter", "choose", "open or close, show content", show=False, id="tree.choose"),
    ]

    DEFAULT_CSS = """
    FileTree {
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
    }
    """

    cursor: reactive[int] = reactive(0, repaint=False)
    """The row under the cursor."""

    class Highlighted(Message):
        """The cursor stands on another row."""

        def __init__(self, tree: FileTree, node: Node) -> None:
            self.tree = tree
            self.node = node
            super().__init__()

        @property
        def control(self) -> FileTree:
            """The tree that sent this."""
            return self.tree

        def can_replace(self, message: Message) -> bool:
            """Only the newest place of the cursor counts."""
            return isinstance(message, FileTree.Highlighted)

    class Chosen(Highlighted):
        """Enter was pressed on a file."""

        def can_replace(self, message: Message) -> bool:
            """Every choice counts."""
            return False

    def __init__(
        self,
        *,
        glyphs: Glyphs = UNICODE,
        binary: bool = False,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.glyphs = glyphs
        self.binary = binary
        self.rows: TreeRows | None = None
        self.message: tuple[str, str] = ("", "")
        """Shown when there are no rows: a sentence, and the key that helps."""
        self.failed = False
        self.complete = False
        """All layers are read: what is uncertain now stays so, and is marked."""
        self.compact = False
        """In a narrow window the bar is shorter and there is room for more layers' numbers."""
        self.hues: list[int | None] = []
        self._source: TreeSource | None = None
        self._weights: LRUCache[bytes, Weight] = LRUCache(8192)
        self._strips: LRUCache[tuple[int, bool, int], Strip] = LRUCache(512)

    # What it shows ---------------------------------------------------------------------------

    def show(self, rows: TreeRows, source: TreeSource, at: bytes | None = None) -> None:
        """Show the rows of a source, with the cursor at a path (or where it stood)."""
        path = at if at is not None else self.path
        offset = self.cursor - round(self.scroll_y)
        self.rows = rows
        self._source = source
        self._weights.clear()
        self._forget_rows()
        row = rows.nearest(path) if path is not None else 0
        self.set_reactive(FileTree.cursor, row)
        self._fit_virtual_size()
        if self.size.height:
            self.scroll_to(y=max(0, row - max(0, min(offset, self.size.height - 1))), animate=False)
        self._tell()

    def clear(self, sentence: str = "", hint: str = "", *, error: bool = False) -> None:
        """Show no rows but a sentence; an error in the colour of errors."""
        self.rows = None
        self.message = (sentence, hint)
        self.failed = error
        self._forget_rows()
        self._fit_virtual_size()

    @property
    def node(self) -> Node | None:
        """The file or folder under the cursor."""
        if self.rows is None or not 0 <= self.cursor < len(self.rows):
            return None
        return self.rows.row(self.cursor).node  # type: ignore[return-value]

    @property
    def path(self) -> bytes | None:
        """The path under the cursor."""
        node = self.node
        return None if node is None else node.path

    def go_to(self, path: bytes) -> bool:
        """Open the folders above a path and put the cursor on it."""
        if self.rows is None:
            return False
        row = self.rows.reveal(path)
        self._rows_changed()
        if row is None:
            return False
        self.cursor = row
        return True

    def notify_style_update(self) -> None:
        """Forget the colours of the theme before."""
        super().notify_style_update()
        self._strips.clear()

    def _forget_rows(self) -> None:
        self._strips.clear()
        self.refresh()

    def _fit_virtual_size(self) -> None:
        fit_rows(self, len(self.rows) if self.rows else 0)

    def _rows_changed(self) -> None:
        self._forget_rows()
        self._fit_virtual_size()

    def on_resize(self) -> None:
        """Fit the rows to the new width and keep the cursor in sight."""
        self._strips.clear()
        self._fit_virtual_size()
        self._show_cursor()

    # The cursor ------------------------------------------------------------------------------

    def validate_cursor(self, row: int) -> int:
        """Keep the cursor on a row."""
        return max(0, min(row, (len(self.rows) if self.rows else 1) - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        """Repaint the two rows that changed, and tell about the new one."""
        if old == new:
            return
        self._refresh_row(old)
        self._refresh_row(new)
        self._show_cursor()
        self._tell()

    def _refresh_row(self, row: int) -> None:
        self.refresh(Region(0, row - round(self.scroll_y), self.size.width, 1))

    def _show_cursor(self) -> None:
        height = self.size.height
        top = round(self.scroll_y)
        if not height:
            return
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True)

    def _tell(self) -> None:
        node = self.node
        if node is not None:
            self.post_message(self.Highlighted(self, node))

    def on_focus(self) -> None:
        """Show the cursor's sign."""
        self._forget_rows()

    def on_blur(self) -> None:
        """Take the cursor's sign away."""
        self._forget_rows()

    # Painting --------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Paint one row."""
        width = self.scrollable_content_region.width
        paint = self.paint
        if self.rows is None:
            return self.paint_message(y, self.message, self.failed).strip(width, paint.style())
        row = round(self.scroll_y) + y
        if row >= len(self.rows):
            return Strip.blank(width, paint.style())
        here = row == self.cursor
        key = (row, here, width)
        strip = self._strips.get(key)
        if strip is None:
            strip = self._paint_row(row, here, width)
            self._strips[key] = strip
        return strip

    def _weight(self, node: Node) -> Weight:
        assert self._source is not None
        if not node.is_dir:
            return self._source.weigh(node)
        weight = self._weights.get(node.path)
        if weight is None:
            weight = self._source.weigh(node)
            self._weights[node.path] = weight
        return weight

    def _columns(self, width: int) -> tuple[int, int, int]:
        """Return the widths of name, bar and layers; the size has ten."""
        if width >= 67:
            bar, layers = (12, 11) if self.compact else (16, 10)
        elif width >= 56:
            bar, layers = 9, 10
        elif width >= 44:
            bar, layers = 0, 8
        else:
            bar, layers = 0, 4
        return width - 3 - 10 - (bar + 2 if bar else 0) - 2 - layers, bar, layers

    def _paint_row(self, index: int, here: bool, width: int) -> Strip:
        assert self.rows is not None
        row = self.rows.row(index)
        node: Node = row.node  # type: ignore[assignment]
        paint, glyphs = self.paint, self.glyphs
        focused = self.has_focus
        back = "cursor-row" if here else "background"
        text = paint.style("foreground", back, here)
        muted = paint.style("muted", back)
        faint = paint.style("faint", back)
        name_width, bar_width, layers_width = self._columns(width)
        line = Line()
        line.add(glyphs.cursor if here and focused else " ", paint.style("foreground", back, True))
        assert self._source is not None
        change = self._source.change(node)
        sign, color = {
            "added": (glyphs.added, "success"),
            "modified": (glyphs.modified, "warning"),
            "metadata": (glyphs.modified, "warning"),
            "deleted": (glyphs.deleted, "error"),
        }.get(change, (" ", "muted"))
        line.add(sign, paint.style(color, back, True))
        doubt = self.complete and not node.certain
        line.add(glyphs.unknown if doubt else " ", paint.style("line", back))
        deleted = change == "deleted"
        indent = min(2 * row.depth, max(0, name_width - 16))
        line.add(" " * indent, text)
        marker = "  "
        if node.is_dir and not deleted:
            marker = (glyphs.opened if row.expanded else glyphs.closed) + " "
        line.add(marker, muted)
        name = printable(node.name) + ("/" if node.is_dir else "") if node.name else "/"
        room = name_width - indent - 2
        used = min(width_of(name), room)
        line.add(fit(name, used, glyphs.ellipsis), muted if deleted else text)
        if node.target and room - used > width_of(glyphs.link) + 4:
            target = f" {glyphs.link} {printable(node.target)}"
            line.add(fit(target, min(width_of(target), room - used), glyphs.ellipsis), muted)
        line.to(3 + name_width, text)
        size, by_layer = self._weight(node)
        shown = getattr(node, "hides", 0) if deleted else size
        if deleted and not shown:
            size_text, size_style = "", faint
        else:
            size_text = glyphs.ellipsis
            if shown is not None:
                size_text = format_size(shown, binary=self.binary)
            size_style = faint if shown == 0 else (muted if deleted else text)
        line.add(fit(size_text, 10, right=True), size_style)
        if bar_width:
            line.add("  ", text)
            self._paint_bar(line, row.branch, size, by_layer, bar_width, back)
        line.add(" ", text)
        self._paint_layers(line, node, size, by_layer, layers_width, back)
        return line.strip(width, text)

    def _paint_bar(
        self,
        line: Line,
        branch: object,
        size: int | None,
        by_layer: Mapping[int, int],
        width: int,
        back: str,
    ) -> None:
        paint = self.paint
        whole = size if branch is None else self._folder_weight(branch)
        if size is None or whole is None:
            line.add(" " * width, paint.style(back=back))
            return
        for signs, layer in cut_bar(width, share_of(size, whole), by_layer, self.glyphs):
            color = paint.color("track") if layer is None else paint.layer(self._hue(layer))
            line.add(signs, paint.style(color, back))

    def _folder_weight(self, branch: object) -> int | None:
        assert self.rows is not None
        path: bytes = branch.path  # type: ignore[attr-defined]
        weight = self._weights.get(path)
        if weight is not None:
            return weight[0]
        node = self.rows.row(self.rows.find(path) or 0).node
        return self._weight(node)[0]  # type: ignore[arg-type]

    def _hue(self, layer: int) -> int | None:
        return self.hues[layer] if 0 <= layer < len(self.hues) else None

    def _paint_layers(
        self,
        line: Line,
        node: Node,
        size: int | None,
        by_layer: Mapping[int, int],
        width: int,
        back: str,
    ) -> None:
        paint = self.paint
        owners = sorted(by_layer, reverse=True)
        if not owners and node.layer is not None and size is not None:
            owners = [node.layer]
        if not owners:
            return
        if len(owners) == 1:
            text = str(owners[0])
            line.add(f" {text} " if len(text) < 3 else text, paint.chip(self._hue(owners[0])))
            return
        text = " ".join(str(owner) for owner in owners)
        line.add(" ", paint.style(back=back))
        line.add(fit(text, width - 1, self.glyphs.ellipsis), paint.style("muted", back))

    # Keys and mouse --------------------------------------------------------------------------

    def action_cursor(self, by: int) -> None:
        """Move the cursor by rows."""
        self.cursor += by

    def action_page(self, by: int) -> None:
        """Move the cursor by pages."""
        self.cursor += by * max(1, self.size.height - 1)

    def action_first(self) -> None:
        """Go to the first row."""
        self.cursor = 0

    def action_last(self) -> None:
        """Go to the last row."""
        self.cursor = len(self.rows) - 1 if self.rows else 0

    def action_close(self) -> None:
        """Close an open folder; elsewhere go to the folder that the row stands in."""
        if self.rows is None:
            return
        if self.rows.row(self.cursor).expanded:
            self.rows.collapse(self.cursor)
            self._rows_changed()
        else:
            self.cursor = self.rows.parent_row(self.cursor)

    def action_open(self) -> None:
        """Open a closed folder; in an open one go to its first row."""
        if self.rows is None:
            return
        row = self.rows.row(self.cursor)
        if not row.node.is_dir:
            return
        if not row.expanded:
            self.rows.expand(self.cursor)
            self._rows_changed()
        else:
            self.cursor += 1

    def action_toggle_folder(self) -> None:
        """Open or close the folder under the cursor."""
        if self.rows is not None and self.rows.toggle(self.cursor):
            self._rows_changed()

    def action_choose(self) -> None:
        """Open or close a folder; ask to see a file's content."""
        node = self.node
        if node is None:
            return
        if node.is_dir:
            self.action_toggle_folder()
        else:
            self.post_message(self.Chosen(self, node))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the clicked row; a click where it stands acts as Enter."""
        row = round(self.scroll_y) + int(event.y)
        if self.rows is None or row >= len(self.rows):
            return
        depth = self.rows.row(row).depth
        on_marker = 3 + 2 * depth <= event.x <= 4 + 2 * depth
        if row == self.cursor or on_marker:
            self.cursor = row
            self.action_choose()
        else:
            self.cursor = row
