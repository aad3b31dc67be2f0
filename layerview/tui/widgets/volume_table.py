"""The list of volumes."""

from __future__ import annotations

import time

from layerview.sizes import format_size
from layerview.tui.cells import Line, fit, fit_start
from layerview.tui.container_lines import short_time
from layerview.tui.volume_lines import VolumeLine
from layerview.tui.widgets.list_table import ListTable

_SIZE, _AGE = 9, 8


class VolumeTable(ListTable[VolumeLine]):
    """All volumes, by name."""

    HELP = """
# Volumes

Folders that containers share and that outlive them; what is written there bypasses the storage
driver. `-v NAME:/data` mounts one. **n** makes one, **Del** removes one that no container has,
**P** removes all those.
"""

    def key(self, row: VolumeLine) -> str:
        """Return its name."""
        return row.name

    def _widths(self) -> tuple[int, int, int]:
        """Return the cells of the name, of the users and of the place."""
        spare = self.scrollable_content_region.width - 3 - (_SIZE + 2) - (_AGE + 2) - 1
        name = max(14, min(30, spare // 3))
        rest = spare - name - 4
        if rest < 50:
            return name, max(8, rest + 2), 0
        users = min(34, rest * 2 // 5)
        return name, users, rest - users

    def heads(self) -> list[tuple[str, int, bool]]:
        """Return each column's label, its cells, and whether it stands at the right."""
        name, users, place = self._widths()
        heads = [
            ("Volume", name, False),
            ("Size", _SIZE, True),
            ("Created", _AGE, True),
            ("Mounted by", users, False),
        ]
        return [*heads, ("Place", place, False)] if place else heads

    def paint_row(self, line: Line, row: int, width: int, back: str, bold: bool) -> None:
        """Paint a volume."""
        paint, shown, dots = self.paint, self.rows[row], self.glyphs.ellipsis
        name, users, place = self._widths()
        plain, quiet = paint.style("foreground", back), paint.style("muted", back)
        line.add("  ", plain)
        front = "muted" if shown.anonymous else "foreground"
        line.add(fit(shown.shown, name, dots), paint.style(front, back, True)).add("  ", plain)
        if shown.size is None:
            line.add(fit("?", _SIZE, right=True), paint.style("faint", back))
        else:
            size = format_size(shown.size, binary=self.binary)
            front = "foreground" if shown.size else "faint"
            line.add(fit(size, _SIZE, dots, right=True), paint.style(front, back, True))
        line.add("  ", plain)
        age = short_time(shown.created, time.time())
        line.add(fit(age, _AGE, dots, right=True), quiet).add("  ", plain)
        if shown.users:
            line.add(fit(shown.used_by, users, dots), plain)
        else:
            line.add(fit("no container", users, dots), paint.style("faint", back))
        if place:
            line.add("  ", plain)
            line.add(fit(fit_start(shown.place, place, dots), place, dots), quiet)
