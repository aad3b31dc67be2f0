"""The signs that the screens draw with, in Unicode and in ASCII."""

from __future__ import annotations

import locale
from typing import NamedTuple


class Glyphs(NamedTuple):
    """One set of signs; every sign is one cell wide except `arrow`, `mode_arrow` and `ellipsis`."""

    closed: str = "▸"
    opened: str = "▾"
    selected: str = "▸"
    winner: str = "●"
    hidden: str = "○"
    absent: str = "·"
    whiteout: str = "✕"
    unknown: str = "▒"
    added: str = "+"
    modified: str = "~"
    deleted: str = "−"
    waste: str = "▲"
    cursor: str = "▌"
    marked: str = "✓"
    bar: str = "▄"
    bar_half: str = "▖"
    track: str = "▁"
    eighths: str = " ▏▎▍▌▋▊▉█"
    half_row: str = "▀"
    rule: str = "─"
    heavy_rule: str = "━"
    plinth_left: str = "╰"
    plinth_right: str = "╯"
    hatch: str = "▒"
    arrow: str = "→"
    times: str = "×"
    ellipsis: str = "…"
    link: str = "→"
    down: str = "▾"
    search_top: str = "┌"
    search_line: str = "│"
    search_mark: str = "├"
    riser: str = "┃"
    riser_flat: str = "━"
    riser_corner: str = "┛"
    riser_turn: str = "┏"
    route: str = "┊"
    route_flat: str = "┄"
    route_corner: str = "┐"
    route_end: str = "◂"
    way_corner: str = "╰"
    way_mark: str = "├"
    growth: str = "▁▂▃▄▅▆▇█"


UNICODE = Glyphs()

ASCII = Glyphs(
    closed=">",
    opened="v",
    selected=">",
    winner="*",
    hidden="o",
    absent=".",
    whiteout="x",
    unknown="%",
    added="+",
    modified="~",
    deleted="-",
    waste="!",
    cursor=">",
    marked="*",
    bar="#",
    bar_half="=",
    track=".",
    eighths=" =======#",
    half_row=" ",
    rule="-",
    heavy_rule="=",
    plinth_left="+",
    plinth_right="+",
    hatch="%",
    arrow="->",
    times="x",
    ellipsis="..",
    link="->",
    down="v",
    search_top="+",
    search_line="|",
    search_mark="+",
    riser="|",
    riser_flat="=",
    riser_corner="+",
    riser_turn="+",
    route=":",
    route_flat="-",
    route_corner="+",
    route_end="<",
    way_corner="+",
    way_mark="+",
    growth=".--===##",
)


def choose_glyphs(ascii_only: bool, encoding: str | None = None) -> Glyphs:
    """Return the set that the terminal can show: ASCII when asked for or without UTF-8."""
    name = (encoding or locale.getpreferredencoding(False)).lower().replace("-", "")
    return ASCII if ascii_only or name != "utf8" else UNICODE
