"""The Waste screen: bytes that the image carries and no container sees, by path and by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.bars import cut_bar, share_of
from layerview.tui.cells import Line, fit, fit_start
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.opened import OpenedImage
from layerview.tui.widgets.chrome import (
    AreaBar,
    Pane,
    Panes,
    PaneTitle,
    Piece,
    SubjectRow,
    fit_window,
    muted,
    strong,
)
from layerview.tui.widgets.keys import Keys
from layerview.tui.widgets.row_list import RowList
from layerview.tui.words import KIND_WORDS

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp
    from layerview.view.waste import WastedPath


class WastedPaths(RowList):
    """The paths with wasted bytes, the most first."""

    HELP = """
# Waste

Each line is a path with versions that a layer above hides: how many bytes, the layers that wrote
them, the layer that made them useless, and how. **Enter** shows the path in the tree.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "show in tree", key_display="Enter", id="waste.show"),
    ]

    def __init__(
        self,
        opened: OpenedImage,
        binary: bool,
        *,
        glyphs: Glyphs = UNICODE,
        id: str | None = None,
    ) -> None:
        super().__init__(glyphs=glyphs, id=id)
        self._opened = opened
        self._binary = binary
        self.paths: list[WastedPath] = []
        self.message = (
            "Nothing is wasted.",
            "Every byte of every layer can be seen. Esc goes back",
        )

    def row_count(self) -> int:
        """How many paths there are."""
        return len(self.paths)

    def paint_row(self, line: Line, row: int, width: int, back: str, bold: bool) -> None:
        """Paint bytes, layers, kind and path."""
        paint, glyphs = self.paint, self.glyphs
        wasted = self.paths[row]
        text = paint.style("foreground", back, bold)
        quiet = paint.style("muted", back)
        line.add(fit(format_size(wasted.bytes, binary=self._binary), 10, right=True), text)
        line.add("  ", text)
        version = max(wasted.versions, key=lambda version: version.bytes)
        hues = self._opened.hues
        line.add(
            fit(f" {version.layer}", 3) if version.layer < 100 else str(version.layer),
            paint.chip(hues[version.layer]),
        )
        line.add(" ", quiet)
        line.add(fit(glyphs.arrow, 2), quiet)
        by = version.hidden_by
        line.add(fit(f" {by}", 3) if by < 100 else str(by), paint.chip(hues[by]))
        more = len(wasted.versions) - 1
        line.add(fit(f" +{more}" if more else "", 4), quiet)
        kind_width = 15 if width >= 56 else 0
        line.add(fit(KIND_WORDS.get(version.kind, version.kind), kind_width), quiet)
        room = width - line.width - 1
        line.add(fit_start(printable(wasted.path), room, glyphs.ellipsis), text)


class LayersWaste(RowList):
    """How much each layer carries in vain."""

    HELP = """
# By layer

The bytes that each layer carries and a layer above hides. **Enter** lists only that layer's paths.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "its paths", key_display="Enter", id="waste.layer"),
    ]

    def __init__(
        self,
        opened: OpenedImage,
        binary: bool,
        *,
        glyphs: Glyphs = UNICODE,
        id: str | None = None,
    ) -> None:
        super().__init__(glyphs=glyphs, id=id)
        self._opened = opened
        self._binary = binary
        waste = opened.waste
        self.wasting = sorted(
            (layer for layer in (waste.by_layer if waste else ()) if layer.bytes),
            key=lambda layer: (-layer.bytes, layer.layer),
        )

    def row_count(self) -> int:
        """How many layers waste anything."""
        return len(self.wasting)

    def paint_row(self, line: Line, row: int, width: int, back: str, bold: bool) -> None:
        """Paint chip, bytes, bar and instruction."""
        paint, glyphs = self.paint, self.glyphs
        layer = self.wasting[row]
        number = layer.layer
        text = paint.style("foreground", back, bold)
        line.add(" ", text)
        line.add(fit(f" {number}", 4), paint.chip(self._opened.hues[number]))
        line.add(fit(format_size(layer.bytes, binary=self._binary), 11, right=True), text)
        line.add("  ", text)
        share = share_of(layer.bytes, self.wasting[0].bytes)
        for signs, owner in cut_bar(8, share, {number: layer.bytes}, glyphs):
            color = (
                paint.color("track") if owner is None else paint.layer(self._opened.hues[number])
            )
            line.add(signs, paint.style(color, back))
        line.add("  ", text)
        room = width - line.width - 1
        line.add(
            fit(self._opened.instruction(number), room, glyphs.ellipsis),
            paint.style("muted", back),
        )


class WasteScreen(Screen[bytes | None]):
    """What is wasted, and where."""

    CSS_PATH = "../styles/panes.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "pane", key_display="Tab", id="waste.pane"),
        Binding("a", "all_layers", "all layers", id="waste.all"),
        Binding("escape,w", "back", "back", key_display="Esc", id="waste.back"),
    ]

    app: LayerviewApp

    def __init__(self, opened: OpenedImage) -> None:
        super().__init__()
        self.opened = opened
        self.only: int | None = None

    def compose(self) -> ComposeResult:
        """Lay out the panes."""
        glyphs = self.app.glyphs
        binary = self.app.binary_sizes
        yield AreaBar(glyphs=glyphs, id="areas")
        yield SubjectRow(glyphs=glyphs, id="subject")
        with Panes(id="panes"):
            with Pane(id="layers-pane"):
                yield PaneTitle("By layer", glyphs=glyphs, id="layers-title")
                yield LayersWaste(self.opened, binary, glyphs=glyphs, id="layers")
            with Pane(id="paths-pane"):
                yield PaneTitle("Paths", glyphs=glyphs, id="paths-title")
                yield WastedPaths(self.opened, binary, glyphs=glyphs, id="paths")
        yield Keys()

    def on_mount(self) -> None:
        """Fill the lists."""
        self._show_paths()
        self.query_one(LayersWaste).rows_changed()
        self.query_one(WastedPaths).focus()
        self._show_subject()

    @on(Panes.Resized)
    def _panes_resized(self, message: Panes.Resized) -> None:
        fit_window(self, message.width, message.height)
        rows = min(6, self.query_one(LayersWaste).row_count())
        self.query_one("#layers-pane").styles.height = (
            rows + 1 if self.has_class("-narrow") else None
        )
        self._show_subject()

    def _bytes(self, size: int) -> str:
        return format_size(size, binary=self.app.binary_sizes)

    def _show_subject(self) -> None:
        waste = self.opened.waste
        assert waste is not None
        name = printable(self.opened.name)
        wasted = self._bytes(waste.wasted_bytes)
        share = share_of(waste.wasted_bytes, waste.total_bytes)
        groups: list[list[Piece]] = [
            [strong(name)],
            [strong(wasted, "warning"), (" wasted", "warning", False)],
            [strong(f"{share * 100:.1f} %"), muted(" of " + self._bytes(waste.total_bytes))],
        ]
        for kind, size in waste.by_kind.items():
            if size:
                groups.append([strong(self._bytes(size)), muted(" " + KIND_WORDS[kind])])
        self.query_one(SubjectRow).show(groups)
        compact = [strong(name), (f"   {wasted} wasted", "warning", True)]
        self.query_one(AreaBar).show(("waste",), compact)

    def _show_paths(self) -> None:
        waste = self.opened.waste
        assert waste is not None
        paths = self.query_one(WastedPaths)
        if self.only is None:
            paths.paths = waste.paths
            words = "all layers"
        else:
            paths.paths = [
                path
                for path in waste.paths
                if any(version.layer == self.only for version in path.versions)
            ]
            words = f"of layer {self.only}"
        paths.cursor = 0
        paths.rows_changed()
        count = f"{len(paths.paths):,}"
        right = [muted(words), muted(f"   {count}"), muted("   most first")]
        self.query_one("#paths-title", PaneTitle).show("Paths", right)
        self.query_one("#layers-title", PaneTitle).show(
            "By layer", [muted("carried by it, hidden by a layer above")]
        )

    @on(RowList.Chosen, "#paths")
    def _path_chosen(self, event: RowList.Chosen) -> None:
        self.dismiss(self.query_one(WastedPaths).paths[event.row].path)

    @on(RowList.Chosen, "#layers")
    def _layer_chosen(self, event: RowList.Chosen) -> None:
        self.only = self.query_one(LayersWaste).wasting[event.row].layer
        self._show_paths()
        self.query_one(WastedPaths).focus()

    def action_all_layers(self) -> None:
        """List the paths of all layers again."""
        self.only = None
        self._show_paths()

    def action_back(self) -> None:
        """Go back to the image."""
        self.dismiss(None)
