"""The stack of a running container: the search that goes down, the file that comes up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.style import Style
from textual.strip import Strip

from layerview.sizes import format_size
from layerview.tui.bars import solid_bar
from layerview.tui.cells import fit, width_of
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.live_route import Route, Row, marked_rows, route, row_of, stack_rows
from layerview.tui.live_words import name_of
from layerview.tui.palette import blend
from layerview.tui.stack_rows import visible_layers
from layerview.tui.story import Frame, searched_layers
from layerview.tui.widgets.canvas import CanvasLine
from layerview.tui.widgets.chrome import Painted

GROWTH = 8
"""Cells of the bar that shows how the container layer grew."""


class LiveSlab(NamedTuple):
    """What a read-only layer's slab says."""

    number: int
    instruction: str
    size: str
    identity: str
    hue: int | None
    copied: int = 0
    """How many files were copied up out of it."""


class LiveTop(NamedTuple):
    """What the container layer's slab says."""

    identity: str = ""
    size: str = ""
    growth: tuple[float, ...] = ()
    """Its sizes lately, as shares of the largest."""
    rate: str = ""


class LiveVolume(NamedTuple):
    """What a volume's row says."""

    name: str
    target: str
    size: str = ""
    """Bytes that were written to it."""
    read_only: bool = False


class _Columns(NamedTuple):
    """Where things stand in a row."""

    slab: int
    """The first column of the slabs; the way to the volumes runs before it."""
    slab_end: int
    search: int
    search_width: int
    chip: int
    """The first column of the file's chip; 0 where the chip has a row of its own."""
    chip_width: int

    @property
    def riser(self) -> int:
        """The column in which the file rises."""
        return self.chip + self.chip_width // 2

    @classmethod
    def for_width(cls, width: int, narrow: bool, volumes: bool) -> _Columns:
        """Choose them for a width."""
        slab = 3 if volumes and not narrow else 0
        if narrow:
            search = 12 if width >= 70 else 2
            end = width - search - 1
            return cls(slab, end, end + 1, search, 0, 0)
        search, chip = (12, 20) if width >= 72 else (11, 14)
        end = width - search - chip - 2
        return cls(slab, end, end + 1, search, width - chip, chip)


class LiveStack(Painted):
    """The container layer over its image's layers, and what is being searched and copied."""

    DEFAULT_CSS = """
    LiveStack { height: 1; width: 1fr; margin: 0 1; }
    """

    def __init__(self, *, glyphs: Glyphs = UNICODE, binary: bool = False, id: str | None = None):
        super().__init__(id=id)
        self.glyphs = glyphs
        self.binary = binary
        self.top = LiveTop()
        self.slabs: Sequence[LiveSlab] = ()
        """Top first."""
        self.volumes: Sequence[LiveVolume] = ()
        self.plinth = ""
        self.frame: Frame | None = None
        self.done: tuple[int, int | None] | None = None
        """Of a copy-up under way: the bytes copied, and all of them."""
        self.narrow = False
        self.room = 0
        """Rows that it may take; 0: as many as it needs."""
        self.low = False
        """One row a layer, whatever there is room for."""

    # What it shows ---------------------------------------------------------------------------

    def show(
        self,
        top: LiveTop,
        slabs: Sequence[LiveSlab],
        volumes: Sequence[LiveVolume],
        plinth: str,
    ) -> None:
        """Show the container's layer, its image's layers (top first) and its volumes."""
        new = (top, tuple(slabs), tuple(volumes), plinth)
        if new != (self.top, self.slabs, self.volumes, self.plinth):
            self.top, self.slabs, self.volumes, self.plinth = new
            self.fit_height()
            self.refresh()

    def show_frame(self, frame: Frame | None, done: tuple[int, int | None] | None) -> None:
        """Show a frame of the story.

        Args:
            frame: what of an event is to be seen.
            done: of a copy-up under way, the bytes copied and all of them.
        """
        if (frame, done) != (self.frame, self.done):
            self.frame, self.done = frame, done
            self.refresh()

    def fit(self, *, narrow: bool, room: int, low: bool = False) -> None:
        """Fit it to its pane."""
        self.narrow, self.room, self.low = narrow, room, low
        self.fit_height()
        self.refresh()

    # Layout ----------------------------------------------------------------------------------

    @property
    def shown_volumes(self) -> int:
        """How many volumes have a row."""
        return min(len(self.volumes), 1 if self.narrow else 3)

    def one_row(self) -> bool:
        """Whether a layer gets one row."""
        if self.narrow or self.low:
            return True
        tall = 4 + 3 * len(self.slabs) + 1 + (1 + self.shown_volumes if self.volumes else 0)
        return bool(self.room) and tall > self.room

    def rows(self) -> list[Row]:
        """Return what each row shows."""
        one = self.one_row()
        plinth = not self.narrow
        fixed = (2 if one else 4) + plinth + self.shown_volumes
        fixed += bool(self.volumes) and not one
        count = len(self.slabs)
        space = max(3, self.room - fixed) if self.room else count * 3
        # The rule counts places from the base, and leaves the one that matters in sight.
        layer = self.frame.event.layer if self.frame is not None else None
        ordered = self.slabs[::-1]
        chosen = next((at for at, slab in enumerate(ordered) if slab.number == layer), -1)
        places = visible_layers(count, space, 1 if one else 3, chosen)
        numbers = [place if place < 0 else ordered[place].number for place in places]
        return stack_rows(
            numbers,
            self.shown_volumes,
            tall=not one,
            chip_row=self.narrow,
            plinth=plinth,
        )

    def fit_height(self) -> None:
        """Take the rows that are needed."""
        # An explicit height: Textual may keep an automatic one that was asked for too early.
        self.styles.height = max(1, len(self.rows()))

    # Painting --------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Paint one row."""
        paint, width = self.paint, self.size.width
        line = CanvasLine(width, paint.style())
        rows = self.rows()
        if y >= len(rows) or width < 20:
            return line.strip()
        columns = _Columns.for_width(width, self.narrow, bool(self.volumes))
        row = rows[y]
        self._paint_slab(line, row, columns)
        self._paint_way(line, rows, y, columns)
        self._paint_search(line, rows, y, columns)
        if not self.narrow:
            self._paint_route(line, rows, y, columns)
        return line.strip()

    def _slab(self, number: int) -> LiveSlab | None:
        return next((slab for slab in self.slabs if slab.number == number), None)

    @property
    def _band(self) -> int:
        digits = max((len(str(slab.number)) for slab in self.slabs), default=1)
        return max(3 if self.one_row() else 4, digits + 2)

    def _fill(self, slab: LiveSlab) -> str:
        """The fill of a slab; the source's of what is being copied is brighter."""
        paint, frame = self.paint, self.frame
        share = 0.22 if paint.dark else 0.20
        lit = (
            frame is not None
            and frame.found
            and not frame.faint
            and frame.event.layer == slab.number
            and not frame.sign
        )
        share += 0.14 if lit else -0.04 if frame is not None and frame.found else 0.0
        if slab.hue is None:
            share *= 0.7
        return blend(paint.color("surface"), paint.layer(slab.hue), share)

    def _paint_slab(self, line: CanvasLine, row: Row, columns: _Columns) -> None:
        kind = row.kind
        if kind in ("top", "top2", "top_gap"):
            self._paint_top(line, kind, columns)
        elif kind == "chip":
            self._paint_chip_row(line, columns)
        elif kind in ("first", "second", "gap", "single"):
            slab = self._slab(row.number)
            if slab is not None:
                self._paint_layer(line, kind, slab, columns)
        elif kind == "more":
            words = f"{self.glyphs.ellipsis} {row.number} more"
            line.put(columns.slab + self._band + 1, words, self.paint.style("muted"))
        elif kind == "plinth":
            self._paint_plinth(line, columns)
        elif kind == "volume":
            self._paint_volume(line, self.volumes[row.number], columns)

    def _paint_top(self, line: CanvasLine, kind: str, columns: _Columns) -> None:
        paint, glyphs, frame = self.paint, self.glyphs, self.frame
        start, end, band = columns.slab, columns.slab_end, self._band
        fill = paint.writable_slab()
        if frame is not None and frame.bright:
            fill = blend(fill, paint.color("foreground"), 0.22)
        if kind == "top_gap":
            if glyphs.half_row.strip():
                line.put(start, glyphs.half_row * band, paint.style("foreground"))
                line.put(start + band, glyphs.half_row * (end - start - band), paint.style(fill))
            return
        line.put(start, fit(" W" if kind == "top" else "", band), paint.writable_chip())
        line.put(start + band, " " * (end - start - band), paint.style(back=fill))
        at, room = start + band + 1, end - start - band - 2
        quiet = paint.style(paint.slab_text(fill), fill)
        if kind == "top":
            size = self.top.size
            line.put(end - 1 - width_of(size), size, paint.style("foreground", fill, True))
            room -= width_of(size) + 1
            title = fit("container layer", min(room, 15), glyphs.ellipsis)
            line.put(at, title, paint.style("foreground", fill, True))
            if room >= 27:
                line.put(at + 17, "read-write", quiet)
            return
        landed = frame is not None and frame.landed
        growth = self._growth_signs()
        rate = self.top.rate
        line.put(end - 1 - width_of(rate), rate, quiet)
        if landed and frame is not None:
            name = name_of(frame.event.path)
            line.put(
                at,
                fit(name, min(room - width_of(rate) - 1, width_of(name)), glyphs.ellipsis),
                paint.style("foreground", fill, True),
            )
            return
        line.put(at, fit(self.top.identity, max(0, min(12, room - width_of(rate) - 1))), quiet)
        if room >= 12 + 2 + GROWTH + 12:
            line.put(end - 1 - 11 - GROWTH - 1, growth, paint.style("foreground", fill))

    def _growth_signs(self) -> str:
        signs = self.glyphs.growth
        marks = "".join(
            signs[min(len(signs) - 1, int(share * (len(signs) - 1) + 0.5))]
            for share in self.top.growth
        )
        return fit(marks, GROWTH, right=True) if marks else " " * GROWTH

    def _paint_layer(self, line: CanvasLine, kind: str, slab: LiveSlab, columns: _Columns) -> None:
        paint, glyphs = self.paint, self.glyphs
        start, end, band = columns.slab, columns.slab_end, self._band
        fill = self._fill(slab)
        hue = paint.layer(slab.hue) if slab.hue is not None else paint.color("panel")
        if kind == "gap":
            if glyphs.half_row.strip():
                line.put(start, glyphs.half_row * band, paint.style(hue))
                line.put(start + band, glyphs.half_row * (end - start - band), paint.style(fill))
            return
        number = str(slab.number) if kind in ("first", "single") else ""
        line.put(start, fit(f" {number}", band), paint.chip(slab.hue))
        line.put(start + band, " " * (end - start - band), paint.style(back=fill))
        at, room = start + band + 1, end - start - band - 2
        lit = self.frame is not None and self.frame.found and self.frame.event.layer == slab.number
        quiet = paint.style("foreground" if lit else paint.slab_text(fill), fill)
        copied = f"{slab.copied:,} copied up" if slab.copied else ""
        if kind == "second":
            line.put(at, fit(slab.identity, min(12, room)), quiet)
            if copied and width_of(copied) + 13 <= room:
                line.put(end - 1 - width_of(copied), copied, quiet)
            return
        size = slab.size
        line.put(end - 1 - width_of(size), size, paint.style("foreground", fill, True))
        text = room - max(10, width_of(size) + 2)
        if kind == "single" and copied and text >= 34:
            line.put(end - 1 - 10 - 16, fit(copied, 15, right=True), quiet)
            text -= 18
        if text > 2:
            words = fit(slab.instruction, text, glyphs.ellipsis)
            line.put(at, words, paint.style("foreground", fill, lit))

    def _paint_plinth(self, line: CanvasLine, columns: _Columns) -> None:
        paint, glyphs = self.paint, self.glyphs
        width = columns.slab_end - columns.slab
        name = fit(self.plinth, min(width_of(self.plinth), width - 8), glyphs.ellipsis)
        rule = paint.style("line")
        left = (width - 4 - width_of(name)) // 2
        at = line.put(columns.slab, glyphs.plinth_left + glyphs.rule * left, rule)
        at = line.put(at, f" {name} ", paint.style(bold=True))
        line.put(at, glyphs.rule * (columns.slab_end - at - 1) + glyphs.plinth_right, rule)
        line.put(columns.search, "read-only", paint.style("faint"))

    def _paint_volume(self, line: CanvasLine, volume: LiveVolume, columns: _Columns) -> None:
        paint, glyphs = self.paint, self.glyphs
        start, end = columns.slab, line.width
        fill = paint.style("muted", "panel")
        line.put(start, " " * (end - start), paint.style(back="panel"))
        at = line.put(
            start, fit(" vol", max(5, self._band)), paint.style("background", "muted", True)
        )
        room = columns.slab_end - at - 2
        size = volume.size
        room -= width_of(size) + 1 if size else 0
        name = fit(volume.name, min(width_of(volume.name), max(4, room - 4)), glyphs.ellipsis)
        at = line.put(at + 1, name, paint.style("foreground", "panel", True))
        rest = f" {glyphs.arrow} {volume.target}{'  read-only' if volume.read_only else ''}"
        room -= width_of(name)
        line.put(at, fit(rest, max(0, min(room, width_of(rest))), glyphs.ellipsis), fill)
        line.put(
            columns.slab_end - 1 - width_of(size), size, paint.style("foreground", "panel", True)
        )
        words = "bypasses the storage driver"
        if width_of(words) > end - columns.search - 1:
            words = "bypasses it"
        line.put(columns.search, words[: max(0, end - columns.search)], fill)

    def _paint_way(self, line: CanvasLine, rows: Sequence[Row], y: int, columns: _Columns) -> None:
        """Paint the way that leads around the stack to the volumes."""
        if not columns.slab:
            return
        paint, glyphs = self.paint, self.glyphs
        ends = [at for at, row in enumerate(rows) if row.kind == "volume"]
        if not ends or y > ends[-1]:
            return
        frame = self.frame
        way = frame.way if frame is not None else None
        quiet = paint.style("line")
        if y == 0:
            text = glyphs.search_top + glyphs.rule * 2
        elif y in ends:
            corner = glyphs.way_corner if y == ends[-1] else glyphs.way_mark
            text = corner + glyphs.rule + glyphs.selected
        else:
            text = glyphs.route
        line.put(0, text, paint.style() if way is not None and y <= way * ends[-1] else quiet)
        if way is not None and y == round(way * ends[-1]) and y not in ends:
            line.put(0, glyphs.down, paint.style(bold=True))

    # The search ------------------------------------------------------------------------------

    def _paint_search(
        self, line: CanvasLine, rows: Sequence[Row], y: int, columns: _Columns
    ) -> None:
        frame = self.frame
        if frame is None or frame.way is not None or frame.event.volume:
            return
        paint, glyphs = self.paint, self.glyphs
        at, words = columns.search, columns.search_width >= 11
        color = "faint" if frame.faint else "muted"
        quiet, strong = (
            paint.style(color),
            paint.style("faint" if frame.faint else "foreground", bold=not frame.faint),
        )
        searched = searched_layers(frame.event, [slab.number for slab in self.slabs])
        marked = marked_rows(rows, searched, frame.seen) if frame.searching else {}
        last = max(marked, default=0)
        row = rows[y]
        if row.kind == "top":
            sign, text, style = self._top_mark(frame, quiet, strong)
            if sign:
                line.put(at, f"{sign} {text}" if words else sign, style)
        elif y in marked:
            found = frame.found and y == last
            hides = frame.sign in ("whiteout", "opaque")
            if found:
                sign, text = (glyphs.hidden, "hidden") if hides else (glyphs.winner, "found")
                if frame.event.kind == "read":
                    text = "read here"
                line.put(at, f"{sign} {text}" if words else sign, strong)
            elif hides:
                line.put(at, glyphs.search_line, quiet)
            else:
                sign = glyphs.search_mark if words else glyphs.absent
                line.put(at, f"{sign} not here" if words else sign, quiet)
        elif 0 < y < last and words and row.kind != "chip":
            line.put(at, glyphs.search_line, quiet)

    def _top_mark(self, frame: Frame, quiet: Style, strong: Style) -> tuple[str, str, Style]:
        """The mark beside the container layer: sign, words, style."""
        glyphs, paint = self.glyphs, self.paint
        if not frame.sign:
            if frame.searching:
                sign = glyphs.search_top if not self.narrow else glyphs.absent
                return sign, "not here", quiet
            return "", "", quiet
        sign, color = {
            "here": (glyphs.winner, "foreground"),
            "new": (glyphs.added, "success"),
            "changed": (glyphs.modified, "warning"),
            "renamed": (glyphs.modified, "warning"),
            "linked": (glyphs.modified, "warning"),
            "gone": (glyphs.deleted, "error"),
            "whiteout": (glyphs.whiteout, "error"),
            "opaque": (glyphs.whiteout, "error"),
        }[frame.sign]
        if frame.faint:
            color = "faint"
        return sign, frame.sign, paint.style(color, bold=not frame.faint)

    # The file on its way ---------------------------------------------------------------------

    def _route(self, rows: Sequence[Row], frame: Frame) -> Route | None:
        end = next((at for at, row in enumerate(rows) if row.kind == "top2"), 1)
        source = None
        if frame.event.layer is not None:
            source = row_of(rows, frame.event.layer)
        if source is None:
            bases = [at for at, row in enumerate(rows) if row.kind in ("second", "single")]
            source = bases[-1] + 1 if bases else end + 1
        return route(source, end, frame.share or 0.0, 1 if self.one_row() else 3)

    def _paint_route(
        self, line: CanvasLine, rows: Sequence[Row], y: int, columns: _Columns
    ) -> None:
        frame = self.frame
        if frame is None or frame.share is None:
            return
        way = self._route(rows, frame)
        if way is None:
            return
        paint, glyphs = self.paint, self.glyphs
        slab = self._slab(frame.event.layer) if frame.event.layer is not None else None
        color = paint.layer(slab.hue if slab is not None else None)
        hue = paint.style(color)
        x = columns.riser
        if y == way.end:
            line.put(columns.slab_end, glyphs.route_end, hue)
            flat = glyphs.route_flat * (x - columns.slab_end - 2)
            line.put(columns.slab_end + 2, flat + glyphs.route_corner, hue)
        elif way.above(y):
            line.put(x, glyphs.route, hue)
        elif way.below(y):
            line.put(x, glyphs.riser, hue)
        if y == way.source and slab is not None:
            start = columns.search + len("* found ")
            line.put(start, glyphs.riser_flat * (x - start) + glyphs.riser_corner, hue)
        if way.chip <= y < way.chip + way.tall:
            self._paint_chip(line, y - way.chip, way.tall, frame, slab, columns)

    def _copied(self, frame: Frame) -> tuple[int | None, int | None]:
        """The bytes copied and all of them, so far as they are known."""
        if self.done is not None and frame.number < 0:
            return self.done
        total = frame.event.bytes
        return (None if total is None else round(total * (frame.share or 0.0))), total

    def _paint_chip(
        self,
        line: CanvasLine,
        part: int,
        tall: int,
        frame: Frame,
        slab: LiveSlab | None,
        columns: _Columns,
    ) -> None:
        paint, ellipsis = self.paint, self.glyphs.ellipsis
        hue = slab.hue if slab is not None else None
        fill = blend(paint.color("surface"), paint.layer(hue), 0.34)
        at, width = columns.chip, columns.chip_width
        name = name_of(frame.event.path) if frame.event.path else "a file"
        share = frame.share or 0.0
        percent = f"{share * 100:.0f} %"
        if tall == 1:
            words = fit(name, width - 2 - 6, ellipsis) + fit(percent, 6, right=True)
            self._paint_filled(line, at, f" {words} ", share, hue, fill)
            return
        style = paint.style(back=fill)
        line.put(at, " " * width, style)
        if part == 0:
            words = fit(name, width - 2, ellipsis)
            line.put(at + 1, words, paint.style(back=fill, bold=True))
        elif part == 1:
            done, total = self._copied(frame)
            words = self._of(done, total)
            line.put(at + 1, fit(words, width - 2, ellipsis), style)
        else:
            self._paint_filled(line, at, fit(f" {percent}", width), share, hue, fill)

    def _of(self, done: int | None, total: int | None) -> str:
        return of_words(done, total, self.binary)

    def _paint_filled(
        self, line: CanvasLine, at: int, text: str, share: float, hue: int | None, fill: str
    ) -> None:
        """Paint a text on a bar that is filled so far."""
        paint = self.paint
        if not self.glyphs.half_row.strip():
            # Without colours only signs can fill a bar.
            filled = solid_bar(len(text), share, self.glyphs)[0]
            words = text.rstrip()
            text = words + " " + filled[len(words) + 1 :] if len(filled) > len(words) else text
        full = round(len(text) * share)
        chip = paint.chip(hue) if hue is not None else paint.style("background", "muted", True)
        line.put(at, text[:full], chip)
        line.put(at + full, text[full:], paint.style("foreground", fill, True))

    def _paint_chip_row(self, line: CanvasLine, columns: _Columns) -> None:
        """Paint the file on its way in a row of its own: `1 → W  name  64 %`."""
        frame = self.frame
        if frame is None:
            return
        paint, glyphs = self.paint, self.glyphs
        event = frame.event
        if frame.way is not None:
            line.put(1, f"{glyphs.down} ", paint.style(bold=True))
            words = f"{name_of(event.path)}  to the volume"
            line.put(3, fit(words, line.width - 4, glyphs.ellipsis), paint.style("muted"))
            return
        if frame.share is None and not frame.landed:
            return
        slab = self._slab(event.layer) if event.layer is not None else None
        at = 1
        if slab is not None:
            at = line.put(at, f" {slab.number} ", paint.chip(slab.hue))
        at = line.put(at + 1, f"{glyphs.arrow} W  ", paint.style("muted"))
        share = frame.share if frame.share is not None else 1.0
        done, total = self._copied(frame._replace(share=share))
        right = f"{self._of(done, total)}  {share * 100:.0f} %"
        room = line.width - at - width_of(right) - 3
        name = fit(name_of(event.path) if event.path else "a file", max(4, room), glyphs.ellipsis)
        full = round(width_of(name) * share)
        hue = slab.hue if slab is not None else None
        fill = blend(paint.color("surface"), paint.layer(hue), 0.34)
        self._paint_filled(line, at, name, full / max(1, len(name)), hue, fill)
        line.put(line.width - 1 - width_of(right), right, paint.style(bold=True))


def of_words(done: int | None, total: int | None, binary: bool) -> str:
    """Return how far a copy is: `24.9 of 38.7 MB`."""
    if total is None:
        return "" if done is None else format_size(done, binary=binary)
    whole = format_size(total, binary=binary)
    if done is None or done == total:
        return whole
    part = format_size(done, binary=binary)
    unit = whole.rpartition(" ")[2]
    if part.endswith(" " + unit):
        part = part[: -len(unit) - 1]
    return f"{part} of {whole}"
