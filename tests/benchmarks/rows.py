"""Rows of the result: a goal, a figure, whether it is met, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from tests.benchmarks.machine import load


@dataclass(slots=True)
class Row:
    """One thing measured; without a limit it is only told."""

    what: str
    image: str
    figure: float
    unit: str
    """ "x" for a ratio, "ms", "s" or "MiB"."""
    limit: float | None = None
    aim: float | None = None
    raw: dict[str, list[float]] = field(default_factory=dict)
    """The numbers behind it, by name with unit."""
    note: str = ""
    load: str = field(default_factory=load)

    @property
    def goal(self) -> str:
        """The limit in words."""
        if self.limit is None:
            return "-"
        aim = "" if self.aim is None else f" (aim {_number(self.aim, self.unit)})"
        return f"<= {_number(self.limit, self.unit)}{aim}"

    @property
    def met(self) -> str:
        """Whether the figure is within the limit."""
        if self.limit is None:
            return "-"
        if self.figure > self.limit:
            return "NO"
        return "yes" if self.aim is None or self.figure <= self.aim else "yes, not the aim"

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return {**asdict(self), "goal": self.goal, "met": self.met}


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each pair; one single figure of theirs stands for all."""
    if len(theirs) == 1:
        theirs = [theirs[0]] * len(ours)
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def percentile(numbers: Sequence[float], share: float) -> float:
    """Return the smallest number that at least this share of all does not exceed."""
    ordered = sorted(numbers)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out as a plain table, and below it the numbers behind them."""
    heads = ["", "what", "image", "goal", "figure", "met", "load"]
    cells = [
        [str(n), row.what, row.image, row.goal, _number(row.figure, row.unit), row.met, row.load]
        for n, row in enumerate(rows, 1)
    ]
    widths = [max(len(line[at]) for line in [heads, *cells]) for at in range(len(heads))]

    def line(parts: Sequence[str]) -> str:
        return "  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True))

    lines = [line(heads), line(["-" * width for width in widths]), *map(line, cells)]
    lines += ["", "min / median / max of the numbers behind each row:"]
    for n, row in enumerate(rows, 1):
        for name, numbers in row.raw.items():
            if numbers:
                three = (min(numbers), median(numbers), max(numbers))
                shown = " / ".join(f"{number:.4g}" for number in three)
                lines.append(f"  {n:>2}  {name}: {shown}  (n = {len(numbers)})")
        if row.note:
            lines.append(f"  {n:>2}  {row.note}")
    return "\n".join(part.rstrip() for part in lines)


def _number(number: float, unit: str) -> str:
    if unit == "x":
        return f"{number:.2f}x" if number >= 0.1 else f"{number:.4f}".rstrip("0") + "x"
    return f"{number:.0f} {unit}" if unit == "ms" else f"{number:.3g} {unit}"
