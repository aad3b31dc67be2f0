"""The containers of one image as boxes over the stack of layers that they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from layerview.oci.config import History
from layerview.oci.instruction import instruction
from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.cells import fit, width_of
from layerview.tui.class_layout import Board, Place, lay_out
from layerview.tui.class_model import Box, ClassModel, Riser
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.live_words import KINDS, layer_name, name_of, size_words, volume_name
from layerview.tui.palette import blend
from layerview.tui.widgets.canvas import CanvasLine
from layerview.tui.widgets.chrome import Painted
from layerview.tui.words import count_of


class ClassBoard(Painted, can_focus=True):
    """Boxes over slabs; a file rises from its slab into the box of the one who wrote."""

    HELP = """
# Class

Every box is the writable layer of one container; below them lies the stack of read-only layers,
which is there once for all. When somebody writes to a file of the image, its layer brightens, and
the file is copied up into that container's box alone. A volume lies beside the stack: what is
written there passes by all boxes, and stays when they go.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "live view", key_display="Enter", id="class.choose"),
        Binding("left,h", "move(-1)", "left", show=False, id="class.left"),
        Binding("right,l", "move(1)", "right", show=False, id="class.right"),
        Binding("up,k", "move_row(-1)", "up", show=False, id="class.up"),
        Binding("down,j", "move_row(1)", "down", show=False, id="class.down"),
        Binding("home,g", "move(-100000)", "first", show=False, id="class.first"),
        Binding("end,G", "move(100000)", "last", show=False, id="class.last"),
    ]

    DEFAULT_CSS = """
    ClassBoard { height: 1fr; width: 1fr; margin: 0 1; }
    """

    cursor: reactive[int] = reactive(0)
    """The number of the box under the cursor."""

    class Chosen(Message):
        """A box was chosen with Enter or by a click on the one under the cursor."""

        def __init__(self, id: str) -> None:
            self.id = id
            super().__init__()

    class Highlighted(Message):
        """The cursor stands on another box."""

    def __init__(
        self,
        model: ClassModel,
        hue: Callable[[int], int | None],
        clock: Callable[[], float],
        *,
        binary: bool = False,
        glyphs: Glyphs = UNICODE,
        id: str | None = None,
    ) -> None:
        """Show a model.

        Args:
            model: what is known.
            hue: of a layer by its number.
            clock: seconds, as the model was given them.
            binary: sizes in KiB and MiB.
            glyphs: the signs to draw with.
            id: as for every widget.
        """
        super().__init__(id=id)
        self.model = model
        self.glyphs = glyphs
        self.binary = binary
        self.plinth = ""
        self.message: tuple[str, str] = ("", "")
        self.failed = False
        self._hue = hue
        self._clock = clock

    # Boxes -----------------------------------------------------------------------------------

    @property
    def boxes(self) -> Sequence[Box]:
        """All boxes, in their order."""
        return list(self.model.boxes.values())

    @property
    def current(self) -> Box | None:
        """The box under the cursor."""
        boxes = self.boxes
        return boxes[min(self.cursor, len(boxes) - 1)] if boxes else None

    def board(self) -> Board:
        """Return how it is laid out now."""
        model, size = self.model, self.size
        return lay_out(
            size.width,
            size.height,
            len(model.boxes),
            len(model.layers),
            len(model.volumes),
            min(self.cursor, max(0, len(model.boxes) - 1)),
        )

    def go_to(self, id: str) -> bool:
        """Put the cursor on a container's box; return whether there is one."""
        ids = list(self.model.boxes)
        if id in ids:
            self.cursor = ids.index(id)
        return id in ids

    def boxes_changed(self) -> None:
        """Fit the cursor to boxes that came or went."""
        self.cursor = max(0, min(self.cursor, len(self.model.boxes) - 1))
        self.refresh()

    def watch_cursor(self) -> None:
        """Tell of it."""
        self.post_message(self.Highlighted())

    def action_move(self, by: int) -> None:
        """Move among the boxes."""
        self.cursor = max(0, min(self.cursor + by, len(self.model.boxes) - 1))

    def action_move_row(self, by: int) -> None:
        """Move among the rows of boxes."""
        to = self.cursor + by * self.board().columns
        if 0 <= to < len(self.model.boxes):
            self.cursor = to
        elif by > 0 and self.model.boxes:
            self.cursor = len(self.model.boxes) - 1

    def action_choose(self) -> None:
        """Choose the box under the cursor."""
        box = self.current
        if box is not None:
            self.post_message(self.Chosen(box.target.id))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the clicked box; a click where it stands chooses it."""
        at = event.get_content_offset(self)
        board = self.board()
        if at is None or at.y >= len(board.places) or board.places[at.y].kind != "box":
            return
        column = max(0, at.x - board.indent) // (board.box + 2)
        index = board.places[at.y].number * board.columns + column
        if column >= board.columns or index >= len(self.model.boxes):
            return
        if index == self.cursor:
            self.action_choose()
        self.cursor = index

    # Painting --------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Paint one row."""
        paint, width = self.paint, self.size.width
        board = self.board()
        if not self.model.layers:
            return self.paint_message(y, self.message, self.failed).strip(width, paint.style())
        line = CanvasLine(width, paint.style())
        if y >= len(board.places):
            return line.strip()
        place = board.places[y]
        now = self._clock()
        if place.kind == "box":
            self._paint_boxes(line, board, place, now)
        elif place.kind == "more":
            hidden = len(self.model.boxes) - board.shown * board.columns
            words = f"{self.glyphs.ellipsis} {hidden} more"
            line.put(board.indent + 2, words, paint.style("muted"))
        elif place.kind == "layers":
            words = f"{self.glyphs.ellipsis} {count_of(place.number, 'more layer')}"
            line.put(board.indent, words, paint.style("muted"))
        elif place.kind == "plinth":
            self._paint_plinth(line)
        elif place.kind == "volume":
            self._paint_volume(line, place.number, now)
        elif place.kind != "blank":
            self._paint_slab(line, board, place, now)
        self._paint_risers(line, board, y, now)
        return line.strip()

    def _paint_boxes(self, line: CanvasLine, board: Board, place: Place, now: float) -> None:
        boxes = self.boxes
        start = place.number * board.columns
        for column in range(board.columns):
            if start + column < len(boxes):
                here = start + column == min(self.cursor, len(boxes) - 1)
                at = board.gutter(column) + 2
                self._paint_box(line, at, board.box, boxes[start + column], place.part, here, now)

    def _paint_box(
        self, line: CanvasLine, at: int, width: int, box: Box, part: int, here: bool, now: float
    ) -> None:
        paint, glyphs = self.paint, self.glyphs
        lit = box.lit(now)
        share = (0.20 if paint.dark else 0.14) + (0.12 if here else 0.0) + (0.20 if lit else 0.0)
        fill = blend(paint.color("surface"), paint.color("foreground"), share)
        if part == 2:
            if glyphs.half_row.strip():
                line.put(at, glyphs.half_row * 3, paint.style("foreground"))
                line.put(at + 3, glyphs.half_row * (width - 3), paint.style(fill))
            return
        sign = glyphs.selected if here and self.has_focus else " "
        line.put(at, f" W{sign}" if part == 0 else "   ", paint.writable_chip())
        line.put(at + 3, " " * (width - 3), paint.style(back=fill))
        room = width - 5
        if part == 0:
            size = format_size(box.size, binary=self.binary)
            name = printable(box.target.name)
            name_room = room - width_of(size) - 1
            style = paint.style("foreground", fill, here)
            line.put(at + 4, fit(name, name_room, glyphs.ellipsis), style)
            line.put(at + width - 1 - width_of(size), size, paint.style("foreground", fill, True))
            return
        self._paint_last(line, at + 4, room, box, fill, lit)

    def _paint_last(
        self, line: CanvasLine, at: int, room: int, box: Box, fill: str, lit: bool
    ) -> None:
        """Paint what happened last in a container."""
        paint, glyphs = self.paint, self.glyphs
        quiet = paint.style("foreground" if lit else paint.slab_text(fill), fill)
        end = at + room
        copying, event = box.copying, box.last
        if copying is not None:
            chip, name = copying.layer, name_of(copying.path)
            total = copying.total or 0
            words = f"{100 * copying.done // total} %" if total else ""
        elif event is not None:
            chip = event.layer if event.kind == "copy_up" else None
            name, words = name_of(event.path), size_words(event, self.binary)
            if chip is None:
                name = f"{KINDS.get(event.kind, event.kind)} {name}"
        else:
            line.put(at, fit(box.ended or "nothing yet", room, glyphs.ellipsis), quiet)
            return
        if chip is not None:
            at = line.put(at, f" {layer_name(chip)} ", paint.chip(self._hue(chip)))
            at = line.put(at, " ", quiet)
        words = words if width_of(words) + 8 <= end - at else ""
        room = end - at - (width_of(words) + 1 if words else 0)
        line.put(at, fit(name, room, glyphs.ellipsis), quiet)
        line.put(end - width_of(words), words, quiet)

    def _paint_slab(self, line: CanvasLine, board: Board, place: Place, now: float) -> None:
        paint, glyphs, width = self.paint, self.glyphs, self.size.width
        number = place.number
        layer = next(one for one in self.model.layers if one.number == number)
        hue = self._hue(number)
        bright = number in self.model.sources(now)
        base = (0.22 if paint.dark else 0.20) + (0.14 if bright else -0.04)
        over = paint.color("muted") if hue is None else paint.layer(hue)
        fill = blend(paint.color("surface"), over, base * (0.7 if hue is None else 1.0))
        band = board.indent - 1
        if place.kind == "gap":
            if glyphs.half_row.strip():
                hue_color = paint.layer(hue) if hue is not None else paint.color("panel")
                line.put(0, glyphs.half_row * band, paint.style(hue_color))
                line.put(band, glyphs.half_row * (width - band), paint.style(fill))
            return
        second = place.kind == "second"
        line.put(0, " " * band if second else fit(f" {number}", band), paint.chip(hue))
        line.put(band, " " * (width - band), paint.style(back=fill))
        text = paint.style("foreground" if bright else paint.slab_text(fill), fill)
        at = board.gutter(0) + 2
        if second:
            identity = layer.chain_id.partition(":")[2][:12] or "read-only"
            users = f"once for {count_of(len(self.model.boxes), 'container')}"
            line.put(at, identity, text)
            line.put(width - 1 - width_of(users), users, text)
            return
        size = "" if layer.size is None else format_size(layer.size, binary=self.binary)
        room = width - at - width_of(size) - 3
        said = instruction(History(created_by=layer.instruction))
        words = fit(printable(said), room, glyphs.ellipsis)
        line.put(at, words, paint.style("foreground", fill, bright))
        line.put(width - 1 - width_of(size), size, paint.style("foreground", fill, True))

    def _paint_plinth(self, line: CanvasLine) -> None:
        paint, glyphs, width = self.paint, self.glyphs, self.size.width
        rule = paint.style("line")
        line.put(0, glyphs.plinth_left + glyphs.rule * (width - 2) + glyphs.plinth_right, rule)
        name = f" {fit(self.plinth, min(width_of(self.plinth), width - 20), glyphs.ellipsis)} "
        line.put(3, name, paint.style("foreground", bold=True))
        line.put(width - 14, " read-only ", paint.style("muted"))

    def _paint_volume(self, line: CanvasLine, number: int, now: float) -> None:
        paint, glyphs = self.paint, self.glyphs
        shared = list(self.model.volumes.values())[number]
        lit = now < shared.lit_until
        back = "cursor-row" if lit else "panel"
        volume = shared.volume
        line.put(0, " vol ", paint.style("background", "muted", True))
        at = line.put(5, f" {volume_name(volume)} ", paint.style("foreground", back, True))
        where = f"{glyphs.arrow} /{printable(volume.target)} "
        at = line.put(at, where, paint.style("foreground", back))
        if shared.written:
            size = format_size(shared.written, binary=self.binary)
            at = line.put(at, f"{size} written ", paint.style("foreground", back))
        users = len(shared.users)
        words = f"  {count_of(users, 'container')}, bypasses the layers"
        if not users:
            words = "  no container has it mounted; it stays"
        line.put(at, words, paint.style("muted"))

    # Ways ------------------------------------------------------------------------------------

    def _paint_risers(self, line: CanvasLine, board: Board, y: int, now: float) -> None:
        """Paint the ways of files from their slabs to their boxes, through the gutters."""
        boxes = self.boxes
        first, last = board.first * board.columns, (board.first + board.shown) * board.columns
        for index in range(first, min(last, len(boxes))):
            riser = boxes[index].riser(now)
            if riser is None:
                continue
            source, end = board.row_of_layer(riser.layer), board.row_of_box(index)
            if source is None or end is None:
                continue
            # A tall box's last row is half a one.
            end -= board.places[end].part == 2
            if end <= y <= source:
                column = board.gutter(index % board.columns)
                self._paint_way(line, column, y, source, end, riser, board.places[y])

    def _paint_way(
        self,
        line: CanvasLine,
        column: int,
        y: int,
        source: int,
        end: int,
        riser: Riser,
        place: Place,
    ) -> None:
        glyphs, paint = self.glyphs, self.paint
        color = paint.layer(self._hue(riser.layer))
        top = source - round(riser.share * (source - end))
        back = self._back_of(place)
        style = Style.combine([paint.style(color, bold=True), Style(bgcolor=back)])
        if y == end:
            arrived = riser.share >= 1
            line.put(column, glyphs.riser_turn if arrived else glyphs.route_flat, style)
            line.put(column + 1, glyphs.selected, style)
        else:
            line.put(column, glyphs.riser if y >= top else glyphs.route, style)

    def _back_of(self, place: Place) -> str:
        """Return the colour under a way."""
        paint = self.paint
        if place.kind not in ("first", "second", "single"):
            return paint.color("background")
        hue = self._hue(place.number)
        over = paint.color("muted") if hue is None else paint.layer(hue)
        share = ((0.22 if paint.dark else 0.20) - 0.04) * (0.7 if hue is None else 1.0)
        return blend(paint.color("surface"), over, share)
