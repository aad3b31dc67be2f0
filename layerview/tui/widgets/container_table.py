"""The list of containers: one row each, sizes and states as they change."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType

from layerview.sizes import format_size
from layerview.tui.cells import Line, fit
from layerview.tui.container_lines import ContainerLine
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.widgets.list_table import ListTable

_STATE, _DRIVER, _SIZE, _START, _AGE = 13, 8, 9, 7, 7


@dataclass(frozen=True, slots=True)
class ContainerColumns:
    """The columns that a list has room for."""

    name: int
    image: int
    command: int
    """Cells of the command; 0 where it has no room."""
    full: bool
    """Whether driver and start time are shown."""

    @classmethod
    def for_width(cls, width: int) -> ContainerColumns:
        """Choose them for a list's width."""
        fixed = 3 + _STATE + 2 + _SIZE + 2 + _AGE
        full = width >= 96
        if full:
            fixed += _DRIVER + 2 + _START + 2
        spare = width - fixed - 1
        if width < 114:
            name = min(22, max(10, spare // 2 - 2))
            return cls(name, max(6, spare - name - 4), 0, full)
        name = min(22, spare * 2 // 5 - 3)
        image = min(26, spare * 2 // 5 - 3)
        return cls(name, image, max(8, spare - name - image - 6), full)

    def heads(self) -> list[tuple[str, int, bool]]:
        """Return each column's label, its cells, and whether it stands at the right."""
        heads = [
            ("Container", self.name, False),
            ("State", _STATE, False),
            ("Image", self.image, False),
        ]
        if self.command:
            heads.append(("Command", self.command, False))
        if self.full:
            heads.append(("Driver", _DRIVER, False))
        heads.append(("Layer", _SIZE, True))
        if self.full:
            heads.append(("Start", _START, True))
        return [*heads, ("Age", _AGE, True)]


class ContainerTable(ListTable[ContainerLine]):
    """All containers, the newest first."""

    HELP = """
# Containers

The containers of the local storage area. **Enter** opens a shell in one that runs: what its own
program shows where that has a terminal, else a new `sh`. **L** watches it live, copy-up by copy-up;
**W** asks which container, Docker's and Podman's too. **n** starts new ones, **S** and **K**
start and stop, **Del** removes; **Space** marks several. *Layer* is what a container changed: its
own thin layer, not its image's.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "shell", key_display="Enter", id="containers.shell"),
        Binding("space", "mark", "mark", show=False, id="containers.mark"),
    ]

    def __init__(
        self, *, binary: bool = False, glyphs: Glyphs = UNICODE, id: str | None = None
    ) -> None:
        super().__init__(binary=binary, glyphs=glyphs, id=id)
        self.marked: set[str] = set()
        """IDs of those that are marked."""
        self.doing: Mapping[str, str] = {}
        """What is being done to a container, by its ID."""

    def key(self, row: ContainerLine) -> str:
        """Return its ID."""
        return row.id

    @property
    def columns(self) -> ContainerColumns:
        """The columns that there is room for."""
        return ContainerColumns.for_width(self.scrollable_content_region.width)

    def heads(self) -> list[tuple[str, int, bool]]:
        """Return each column's label, its cells, and whether it stands at the right."""
        return self.columns.heads()

    def show_rows(self, rows: Sequence[ContainerLine], *, stay: bool = True) -> None:
        """Show these; of those that are gone no mark stays."""
        self.marked &= {row.id for row in rows}
        super().show_rows(rows, stay=stay)

    @property
    def chosen(self) -> list[ContainerLine]:
        """Those that are marked, else the one under the cursor."""
        marked = [row for row in self.rows if row.id in self.marked]
        current = self.current
        return marked or ([current] if current is not None else [])

    def paint_row(self, line: Line, row: int, width: int, back: str, bold: bool) -> None:
        """Paint a container."""
        paint, columns, shown = self.paint, self.columns, self.rows[row]
        dots = self.glyphs.ellipsis
        plain, quiet = paint.style("foreground", back), paint.style("muted", back)
        gap = ("  ", plain)
        now = time.time()
        mark = self.glyphs.marked if shown.id in self.marked else " "
        line.add(f"{mark} ", paint.style("foreground", back, True))
        line.add(fit(shown.name, columns.name, dots), paint.style("foreground", back, True))
        line.add(*gap)
        sign, words = shown.state(now, self.glyphs)
        color = "error" if shown.failed else "foreground" if shown.runs else "muted"
        doing = self.doing.get(shown.id)
        if doing:
            words, color = doing, "foreground"
        line.add(fit(f"{sign} {words}", _STATE, dots), paint.style(color, back)).add(*gap)
        line.add(fit(shown.image, columns.image, dots), plain).add(*gap)
        if columns.command:
            line.add(fit(shown.command, columns.command, dots), quiet).add(*gap)
        if columns.full:
            line.add(fit(shown.driver, _DRIVER, dots), quiet).add(*gap)
        if shown.size is None:
            line.add(fit(dots, _SIZE, right=True), paint.style("faint", back))
        else:
            size = format_size(shown.size, binary=self.binary)
            front = "foreground" if shown.size else "faint"
            line.add(fit(size, _SIZE, dots, right=True), paint.style(front, back, True))
        line.add(*gap)
        if columns.full:
            line.add(fit(shown.start_words(), _START, dots, right=True), quiet).add(*gap)
        line.add(fit(shown.age(now), _AGE, dots, right=True), quiet)

    def action_mark(self) -> None:
        """Mark the container under the cursor, or take the mark away, and go on."""
        current = self.current
        if current is not None:
            self.marked ^= {current.id}
            self.refresh()
            self.cursor += 1
