"""The colours: one hue for each layer, kept for the session, and the numbers of both themes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

HUES = 12

DARK_LAYERS = (
    "#6f86fb",
    "#f8b53e",
    "#3fe8c4",
    "#f375b3",
    "#f6e13a",
    "#b296f1",
    "#77d98f",
    "#e16078",
    "#c3ecff",
    "#cfa552",
    "#cfb8ff",
    "#9b8c12",
)
LIGHT_LAYERS = (
    "#2640d0",
    "#c24b09",
    "#1b8988",
    "#912152",
    "#a8860a",
    "#5b2a91",
    "#237d09",
    "#e0456a",
    "#4a8fd0",
    "#67310e",
    "#8d409a",
    "#707a58",
)

GREYS_DARK = {
    "background": "#101317",
    "surface": "#171b21",
    "panel": "#222932",
    "line": "#3a434e",
    "foreground": "#e4e8ed",
    "muted": "#9ba6b2",
    "faint": "#7c8793",
    "warning": "#f2c14e",
    "success": "#8fcf9a",
    "error": "#ff8a80",
    "track": "#272d35",
    "cursor-row": "#373f49",
}
GREYS_LIGHT = {
    "background": "#eef0f3",
    "surface": "#fbfcfd",
    "panel": "#e3e7ec",
    "line": "#bcc4cd",
    "foreground": "#1a2028",
    "muted": "#4f5a66",
    "faint": "#616c78",
    "warning": "#7d4a00",
    "success": "#1d6b30",
    "error": "#b3261e",
    "track": "#d6dbe1",
    "cursor-row": "#cdd3d9",
}

TERMINAL_DARK = (
    "#222932",
    "#ff8a80",
    "#8fcf9a",
    "#f2c14e",
    "#8aa0ff",
    "#e79bd0",
    "#66d9cf",
    "#c8cfd6",
    "#7c8793",
    "#ffb0a8",
    "#b5e6bd",
    "#ffdd8a",
    "#b3c1ff",
    "#f5bfe3",
    "#a0efe8",
    "#ffffff",
)
TERMINAL_LIGHT = (
    "#1a2028",
    "#b3261e",
    "#1d6b30",
    "#7d4a00",
    "#2640d0",
    "#8a2a86",
    "#0f6674",
    "#616c78",
    "#4f5a66",
    "#c02f26",
    "#23733a",
    "#8a5300",
    "#3a52e0",
    "#97328f",
    "#146b7a",
    "#39424d",
)
"""A terminal's 16 colours: each can be read on the background, but for the dark one's black."""

CHIP_DARK = "#0d1014"
CHIP_LIGHT = "#ffffff"


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def blend(under: str, over: str, share: float) -> str:
    """Lay `over` on `under` with the opacity `share` (0 to 1); colours are `#rrggbb`."""
    mixed = (
        round(low + (high - low) * share)
        for low, high in zip(_channels(under), _channels(over), strict=True)
    )
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def luminance(color: str) -> float:
    """The relative luminance of WCAG 2, 0 (black) to 1 (white)."""
    parts = []
    for channel in _channels(color):
        value = channel / 255
        parts.append(value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2, 1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def digit_color(chip: str) -> str:
    """Return the colour for a digit on a chip: whichever of dark and white contrasts more."""
    return max((CHIP_DARK, CHIP_LIGHT), key=lambda color: contrast(color, chip))


class HueBook:
    """Gives layers their hues and remembers them: a layer met again has the same hue everywhere."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def assign(self, stack: Sequence[tuple[Hashable, int]]) -> list[int | None]:
        """Return a hue number for each layer of a stack, or None for a grey chip.

        Args:
            stack: for each layer, base first, its key (the ChainID) and its size in bytes. Of
                more than 12 layers the 12 largest get hues.
        """
        by_size = sorted(range(len(stack)), key=lambda number: (-stack[number][1], number))
        chosen = sorted(by_size[:HUES])
        hues: list[int | None] = [None] * len(stack)
        taken: set[int] = set()
        for number in chosen:
            known = self._known.get(stack[number][0])
            if known is not None and known not in taken:
                hues[number] = known
                taken.add(known)
        for number in chosen:
            if hues[number] is None:
                hue = next(hue for hue in range(HUES) if hue not in taken)
                hues[number] = hue
                taken.add(hue)
                self._known.setdefault(stack[number][0], hue)
        return hues
