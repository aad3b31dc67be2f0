"""The two themes, and how a widget gets at their colours."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from rich.style import Style
from textual.theme import Theme

from layerview.tui.palette import (
    DARK_LAYERS,
    GREYS_DARK,
    GREYS_LIGHT,
    LIGHT_LAYERS,
    blend,
    digit_color,
)

DARK = "layerview-dark"
LIGHT = "layerview-light"


def own_variables(dark: bool) -> dict[str, str]:
    """The theme variables that layerview adds: the hues and the greys that Textual has not."""
    greys = GREYS_DARK if dark else GREYS_LIGHT
    variables = {
        f"layer-{hue}": color for hue, color in enumerate(DARK_LAYERS if dark else LIGHT_LAYERS)
    }
    for name in ("line", "muted", "faint", "track", "cursor-row"):
        variables[name] = greys[name]
    return variables


def _theme(name: str, dark: bool) -> Theme:
    greys = GREYS_DARK if dark else GREYS_LIGHT
    text = greys["foreground"]
    background = greys["background"]
    return Theme(
        name=name,
        dark=dark,
        primary=text,
        secondary=greys["muted"],
        accent=text,
        warning=greys["warning"],
        error=greys["error"],
        success=greys["success"],
        foreground=text,
        background=background,
        surface=greys["surface"],
        panel=greys["panel"],
        variables={
            **own_variables(dark),
            "text": text,
            "text-muted": greys["muted"],
            "text-disabled": greys["faint"],
            "panel-lighten-2": greys["line"],
            "block-cursor-foreground": text,
            "block-cursor-background": greys["cursor-row"],
            "block-cursor-text-style": "bold",
            "block-cursor-blurred-foreground": text,
            "block-cursor-blurred-background": greys["panel"],
            "block-cursor-blurred-text-style": "none",
            "block-hover-background": greys["panel"],
            "border": text,
            "border-blurred": greys["line"],
            "scrollbar": greys["line"],
            "scrollbar-hover": greys["faint"],
            "scrollbar-active": greys["muted"],
            "scrollbar-background": background,
            "scrollbar-background-hover": background,
            "scrollbar-background-active": background,
            "scrollbar-corner-color": background,
            "footer-background": background,
            "footer-foreground": greys["muted"],
            "footer-key-foreground": text,
            "footer-description-foreground": greys["muted"],
            "input-cursor-background": text,
            "input-cursor-foreground": background,
            "input-selection-background": greys["cursor-row"],
            "link-color": text,
        },
    )


THEMES = (_theme(DARK, True), _theme(LIGHT, False))


class Paint:
    """The colours of the theme in use, as styles for line-API widgets."""

    def __init__(self, variables: Mapping[str, str], dark: bool) -> None:
        self._colors = {
            name: value[:7]
            for name, value in {**own_variables(dark), **variables}.items()
            if value.startswith("#") and len(value) in (7, 9)
        }
        self.dark = dark
        self.style = lru_cache(maxsize=1024)(self._style)

    def color(self, name: str) -> str:
        """Return a colour by the name of its theme variable, or the colour itself."""
        return name if name.startswith("#") else self._colors[name]

    def _style(
        self, front: str = "foreground", back: str = "background", bold: bool = False
    ) -> Style:
        return Style(color=self.color(front), bgcolor=self.color(back), bold=bold)

    def layer(self, hue: int | None) -> str:
        """The colour of a layer's chip and bar; grey without a hue."""
        return self._colors["muted"] if hue is None else self._colors[f"layer-{hue}"]

    def chip(self, hue: int | None) -> Style:
        """The style of a number on its layer's chip."""
        if hue is None:
            return self.style("foreground", "panel", True)
        color = self.layer(hue)
        return self.style(digit_color(color), color, True)

    def slab(self, hue: int | None, selected: bool = False) -> str:
        """The fill of a layer's slab: the hue laid thinly over the surface."""
        share = (0.22 if self.dark else 0.20) + (0.12 if selected else 0.0)
        if hue is None:
            share *= 0.7
        return blend(self._colors["surface"], self.layer(hue), share)

    def writable_chip(self) -> Style:
        """The style of the letter on a container layer's band, which has no hue."""
        return self.style("background", "foreground", True)

    def writable_slab(self) -> str:
        """The fill of a container layer's slab."""
        share = 0.20 if self.dark else 0.14
        return blend(self._colors["surface"], self._colors["foreground"], share)

    def groove(self, hue: int | None, selected: bool = False) -> str:
        """The empty part of the bar inside a slab."""
        fill = self.slab(hue, selected)
        return blend(fill, self._colors["background"], 0.45)

    def slab_text(self, fill: str) -> str:
        """The second line's colour on a slab: a little quieter than the first."""
        return blend(fill, self._colors["foreground"], 0.74)
