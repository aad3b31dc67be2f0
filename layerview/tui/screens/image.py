"""The Image screen: the layer stack, the unified view, and where each file comes from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from layerview.errors import LayerviewError
from layerview.text import printable
from layerview.tui.cells import fit_start
from layerview.tui.facts import describe, insight, layer_facts, search_marks
from layerview.tui.listing import is_demo
from layerview.tui.opened import OpenedImage, Status
from layerview.tui.screens.image_content import ImageContent
from layerview.tui.screens.image_work import ImageWork
from layerview.tui.tree_rows import TreeRows
from layerview.tui.widgets.chrome import (
    AreaBar,
    Column,
    Insight,
    Pane,
    Panes,
    PaneTitle,
    Piece,
    SubjectRow,
    muted,
    strong,
)
from layerview.tui.widgets.content import ContentView
from layerview.tui.widgets.details import LayerDetails
from layerview.tui.widgets.filter import FilterInput
from layerview.tui.widgets.keys import Keys
from layerview.tui.widgets.stack import LayerStack, Slab
from layerview.tui.widgets.tree import FileTree
from layerview.view.resolve import Resolution, resolve

if TYPE_CHECKING:
    from layerview.sources.background import Event
    from layerview.view.nodes import Node

REST = 0.06
"""Seconds the cursor must rest before a file's content is read."""

AT_ONCE = 0.05
"""Seconds that the first frame waits for layers out of the index cache."""

FURNISH = 0.2
"""Seconds after which the lower panes are filled, if no rows come before."""

REBUILD = 0.25
"""Seconds at least between two views while layers come in."""


class ImageScreen(ImageContent):
    """One image."""

    CSS_PATH = "../styles/image.tcss"

    HELP = """
# Image

The layers stand at the left, the files that a container would see at the right. Move through the
files, and the search column beside the layers shows which layer each one comes from.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "pane", key_display="Tab", id="image.pane"),
        Binding("shift+tab", "app.focus_previous", "pane before", show=False, id="image.pane_back"),
        Binding("slash", "filter", "filter", key_display="/", id="image.filter"),
        Binding("l", "layer", "this layer only", id="image.layer"),
        Binding("v", "view", "unified or layer", show=False, id="image.view"),
        Binding("s", "sort", "sort", id="image.sort"),
        Binding("u", "unchanged", "hide unchanged", show=False, id="image.unchanged"),
        Binding("w", "waste", "waste", id="image.waste"),
        Binding("x", "extract", "extract", id="image.extract"),
        Binding("d", "diff", "diff", id="image.diff"),
        Binding("r", "run", "run", id="image.run"),
        # The same key twice: it is shown where it is the shortest way to see something happen.
        Binding("t", "try_demo", "try it live", id="image.try"),
        Binding("t", "live", "start one, live", show=False, id="image.live"),
        Binding("A", "class", "all its containers", show=False, id="image.class"),
        Binding("b", "hex", "text or bytes", show=False, id="image.hex"),
        Binding("escape", "back", "back, stop reading", show=False, id="image.back"),
    ]

    # Layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay out the panes."""
        glyphs = self.app.glyphs
        # Before there are widgets, whose styles would all be worked out twice.
        self._classify(*self.app.size)
        yield AreaBar(glyphs=glyphs, id="areas")
        yield SubjectRow(glyphs=glyphs, id="subject")
        with Panes(id="panes"):
            with Column(id="left"):
                with Pane(id="stack-pane"):
                    yield PaneTitle("Layers", glyphs=glyphs, id="stack-title")
                    yield LayerStack(glyphs=glyphs, id="stack")
                yield Pane(id="details-pane")
            with Column(id="right"):
                with Pane(id="files-pane"):
                    yield PaneTitle("Files", glyphs=glyphs, id="files-title")
                    yield FileTree(glyphs=glyphs, binary=self.app.binary_sizes, id="files")
                yield Pane(id="content-pane")
        yield Insight(glyphs=glyphs, id="insight")
        yield Keys()

    def on_mount(self) -> None:
        """Start opening the image; the frame is painted meanwhile."""
        self.query_one(FileTree).clear("Opening…" if not self.app.ascii else "Opening..")
        self.query_one(FileTree).focus()
        self._reflow(self.app.size.width, self.app.size.height)
        self._later("furnish", FURNISH, self._furnish)
        if self._opening is not None and self._opening.is_open:
            with suppress(LayerviewError):
                image = self._opening.image()
                opened = OpenedImage(image, self.app.hues)
                self._image_opened(self.Opened(opened))
                self._take_events(opened, self._opening.at_hand(AT_ONCE))
                return
        self.open_image()

    async def _furnish(self) -> None:
        """Fill the panes that wait until the first frames are painted."""
        if self._furnished or self.query("#details-title"):
            return
        glyphs, compact = self.app.glyphs, self.has_class("-compact")
        details = PaneTitle("Layer", glyphs=glyphs, id="details-title")
        content = PaneTitle("Content", glyphs=glyphs, id="content-title")
        details.set_reactive(PaneTitle.compact, compact)
        content.set_reactive(PaneTitle.compact, compact)
        details_pane = self.query_one("#details-pane")
        content_pane = self.query_one("#content-pane")
        mounts = (
            details_pane.mount(details, LayerDetails(glyphs=glyphs, id="details")),
            content_pane.mount(content, ContentView(glyphs=glyphs, id="content")),
        )
        for mount in mounts:
            await mount
        if not (details.is_attached and content.is_attached):
            return  # The screen was left meanwhile: it takes no panes any more.
        self._furnished = True
        self._show_details()
        self._read_content()

    @on(Panes.Resized)
    def _panes_resized(self, message: Panes.Resized) -> None:
        self._reflow(message.width, message.height)

    def _classify(self, width: int, height: int) -> tuple[bool, bool]:
        """Tell the style sheet what kind of window this is; return whether narrow and compact."""
        narrow, low = width < 100, height < 30
        compact = narrow or low
        if compact:
            self.app.want_style("image-small.tcss")
        self.set_class(narrow, "-narrow")
        self.set_class(low, "-low")
        self.set_class(compact, "-compact")
        self.set_class(width >= 130, "-wide")
        return narrow, compact

    def _reflow(self, width: int, height: int) -> None:
        """Put panes side by side or one above the other, with or without blank rows."""
        if not self.query(FileTree):
            return
        narrow, compact = self._classify(width, height)
        stack = self.query_one(LayerStack)
        if not narrow:
            room = max(4, (height - (4 if compact else 8)) * 6 // 10)
        elif height < 20:
            room = max(3, height - 14)
        else:
            room = max(3, 8 if height < 40 else height // 3)
        stack.fit(compact=narrow, room=room)
        for title in self.query(PaneTitle):
            title.compact = compact
        self.query_one(AreaBar).compact = compact
        self.query_one(FileTree).compact = narrow
        self._show_subject()
        self._show_files_title()

    def _replace_with(self, pane: str | None) -> None:
        """Show a pane (`content`, `details`) in the tree's place, or the tree again."""
        self.app.want_style("image-small.tcss")
        for name in ("content", "details"):
            self.set_class(pane == name, f"-show-{name}")

    @property
    def _showing(self) -> str | None:
        return next((x for x in ("content", "details") if self.has_class(f"-show-{x}")), None)

    # Opening and reading -----------------------------------------------------------------------

    @on(ImageWork.Opened)
    def _image_opened(self, message: ImageWork.Opened) -> None:
        self.opened = message.opened
        top = len(message.opened.layers) - 1
        stack = self.query_one(LayerStack)
        stack.set_reactive(LayerStack.selected, top)
        self.query_one(FileTree).hues = message.opened.hues
        self._show_slabs()
        self._show_subject()
        self._show_details()
        self.query_one(FileTree).clear("Reading the layers", "Esc stops")
        place, name = message.opened.image.place, self.image_name
        if place in ("docker-daemon", "local") and not name.startswith(f"{place}:"):
            # A bare name may be a file's some day, or another place's.
            name = f"{place}:{name}"
        self.app.remember(name)
        self.call_after_refresh(self.load_layers)

    @on(ImageWork.Ambiguous)
    def _ask_which(self, message: ImageWork.Ambiguous) -> None:
        from layerview.tui.screens.choose import ChooseImage

        self.app.push_screen(
            ChooseImage("Which image?", "The file holds several.", message.choices), self._chosen
        )

    def _chosen(self, name: str | None) -> None:
        if name is None:
            self.app.action_images()
        else:
            self.image_name = name
            self.open_image()

    @on(ImageWork.StillOpening)
    def _still_opening(self, message: ImageWork.StillOpening) -> None:
        if self.opened is None and not self._failed:
            self.query_one(FileTree).clear(message.words, "Esc leaves")

    @on(ImageWork.OpenFailed)
    def _open_failed(self, message: ImageWork.OpenFailed) -> None:
        self._pane_failed("files", message.reason)

    @on(ImageWork.Happened)
    def _loader_events(self, message: ImageWork.Happened) -> None:
        if self.opened is not None:
            self._take_events(self.opened, message.events)
            self.call_after_refresh(message.painted.set)
            # Events come in bursts; the screen tells of them ten times a second.
            self._later("progress", 0.1, self._show_progress, push_back=False)

    def _take_events(self, opened: OpenedImage, events: Sequence[Event]) -> None:
        from layerview.sources import background

        came = False
        for event in events:
            if isinstance(event, background.LayerStarted):
                opened.layers[event.number].status = Status.READING
            elif isinstance(event, background.LayerProgress):
                layer = opened.layers[event.number]
                # Once it is read, it is hashed behind the screen.
                if layer.status in (Status.WAITING, Status.READING):
                    layer.status = Status.READING
                    layer.done, layer.total = event.done, event.total or layer.total
            elif isinstance(event, background.LayerLoaded):
                opened.take_layer(event.layer)
                came = True
            elif isinstance(event, background.Verified):
                self._take_verified(event.number, event.ok, event.message)
            elif isinstance(event, background.LoadFailed):
                self._pane_failed("files", event.message)
            elif isinstance(event, background.Finished) and not opened.finished:
                self._all_in()
        if not came:
            return
        if opened.all_in:
            self._all_in()
        elif self.query_one(FileTree).rows is None:
            self._rebuild()
        else:
            wait = max(0.02, self._rebuilt + REBUILD - time.monotonic())
            self._later("rebuild", wait, self._rebuild, push_back=False)

    def _show_progress(self) -> None:
        self._show_slabs()
        self._show_subject()

    def _all_in(self) -> None:
        """All layers are read; hashing may go on behind the screen."""
        assert self.opened is not None
        self.opened.finished = True
        self._rebuild()

    def _take_verified(self, number: int, ok: bool, reason: str) -> None:
        assert self.opened is not None
        layer = self.opened.layers[number]
        layer.verified = ok
        if not ok:
            layer.damage = reason
            layer.status = Status.FAILED
            self.notify(reason, title=f"Layer {number}", severity="error", markup=False, timeout=10)
        self._show_details()

    def _pane_failed(self, pane: str, reason: str) -> None:
        self._failed = pane == "files"
        self._show_subject()
        text = f"{self.app.glyphs.waste} {printable(reason)}"
        if pane == "files":
            self.query_one(FileTree).clear(text, "r tries again, Esc goes back", error=True)
        else:
            self._content_failed = True
            self.query_one(ContentView).show_notes((text, "error"), ("r tries again", "muted"))

    @on(ImageWork.WorkFailed)
    def _work_failed(self, message: ImageWork.WorkFailed) -> None:
        self._pane_failed(message.pane, message.reason)

    # The tree's rows ---------------------------------------------------------------------------

    def _rebuild(self) -> None:
        """Lay the layers that are loaded over one another; once all are, sum up the sizes too."""
        self._no_longer("rebuild")
        if self.opened is None:
            return
        self._rebuilt = time.monotonic()
        if self.opened.finished:
            self._building = True
            if not self.opened.summed:
                # The names at once; the sizes follow when they are summed up.
                self.opened.view = self.opened.make_view()
                self._lay_rows()
            self.call_after_refresh(self.build_view)
            return
        self.opened.view = self.opened.make_view()
        self._lay_rows()
        self._show_details()

    @on(ImageWork.ViewBuilt)
    def _view_built(self, message: ImageWork.ViewBuilt) -> None:
        assert self.opened is not None
        self._building = False
        self.opened.view = message.view
        self.opened.summed = True
        self._lay_rows()
        self._show_details()
        self._show_subject()
        if self.opened.waste is None:
            self.measure_waste()
        if is_demo(self.image_name):
            from layerview.tui.live_start import warm_up

            warm_up(self.app)

    def _lay_rows(self, at: bytes | None = None, *, fresh: bool = False) -> None:
        """Make the rows anew: in a worker whenever that can take long."""
        tree = self.query_one(FileTree)
        expanded = [b""] if fresh or tree.rows is None else list(tree.rows.expanded())
        if self.needle or self.hide_unchanged or self.sort_key != "name":
            self.lay_rows(expanded, at)
            return
        self._cancel("rows")
        self.workers.cancel_group(self, "rows")
        source = self._plain_source()
        rows = TreeRows(source.root(), source.folder, expanded=expanded)
        self._rows_ready(self.RowsReady(rows, source, at, ""))

    @on(ImageWork.RowsReady)
    def _rows_ready(self, message: ImageWork.RowsReady) -> None:
        self._source = message.source
        tree = self.query_one(FileTree)
        tree.complete = self.opened is not None and self.opened.finished
        tree.show(message.rows, message.source, message.at)
        self._found = message.found
        if not self._furnished:
            # Not before the rows are painted.
            self._later("furnish", 0.04, self._furnish)
        self._show_files_title()
        self._show_subject()

    # What stands where -------------------------------------------------------------------------

    def _show_subject(self) -> None:
        opened = self.opened
        areas, row = self.query_one(AreaBar), self.query_one(SubjectRow)
        if opened is None:
            name = printable(self.image_name)
            areas.show((), [strong(name)])
            state = ("not opened", "error", False) if self._failed else muted("opening")
            row.show([[strong(name)], [state]])
            return
        image = opened.image
        subject = describe(opened, self.app.binary_sizes, self.app.glyphs)
        location = fit_start(printable(image.location), 40, self.app.glyphs.ellipsis)
        areas.show((image.place, location), subject.short)
        row.show(subject.groups, subject.right)

    def _show_slabs(self) -> None:
        opened = self.opened
        if opened is None:
            return
        total = opened.slabs_sizes()
        slabs = []
        for number, layer in enumerate(opened.layers):
            size, identity, files = opened.slab_texts(
                number, self.app.binary_sizes, self.app.glyphs.ellipsis
            )
            instruction = opened.instruction(number)
            share = None if layer.size is None else (layer.size / total if total else 0.0)
            slabs.append(
                Slab(
                    number,
                    f"{self.app.glyphs.waste} {instruction}" if layer.damage else instruction,
                    size,
                    identity,
                    files,
                    share,
                    layer.hue,
                    layer.read,
                    missing=layer.index is None and layer.status in (Status.MISSING, Status.FAILED),
                )
            )
        self.query_one(LayerStack).show(slabs, printable(opened.name))

    def _show_files_title(self) -> None:
        words = "unified view" if self.layer_only is None else f"layer {self.layer_only} only"
        right = [muted(words), muted(f"   by {self.sort_key}")]
        if self.needle:
            right = [strong(printable(self.needle)), muted(f"   {self._found}"), *right[1:]]
        if self.hide_unchanged:
            right.append(muted("   changed only"))
        if not self.has_class("-narrow"):
            glyphs = self.app.glyphs
            right += [
                muted(f"   {glyphs.added} new"),
                muted(f"   {glyphs.modified} changed"),
                muted(f"   {glyphs.deleted} deleted"),
            ]
        self.query_one("#files-title", PaneTitle).show("Files", right)

    # The file under the cursor -----------------------------------------------------------------

    @on(FileTree.Highlighted)
    def _file_highlighted(self, message: FileTree.Highlighted) -> None:
        message.stop()
        if self.opened is None:
            return
        node = message.node
        self._show_search(node)
        self._content_node = node
        self._later("content", REST, self._read_content)

    def _show_search(self, node: Node) -> None:
        assert self.opened is not None
        title = self.query_one("#stack-title", PaneTitle)
        if not node.path:
            # All layers make the root; there is nothing to search for.
            self.resolution = None
            self.query_one(LayerStack).show_marks({})
            title.show(right=[])
            self.query_one(Insight).show("")
            return
        resolution = resolve(self.opened.view, node.path)
        self.resolution = resolution
        stack = self.query_one(LayerStack)
        stack.show_marks(search_marks(resolution, self.app.binary_sizes))
        layer = node.layer if self.layer_only is not None else resolution.layer
        if layer is not None and layer != stack.selected:
            stack.selected = layer
            self._show_details()
        name = printable(node.name) or "/"
        if resolution.links:
            name = f"{name} {self.app.glyphs.link} {printable(resolution.resolved) or '/'}"
        title.show(right=[muted(f"where {name} comes from")])
        self._show_insight(node, resolution)

    def _show_insight(self, node: Node, resolution: Resolution) -> None:
        text, color = insight(
            node, resolution, self.opened, self.app.binary_sizes, self.app.glyphs.waste
        )
        self.query_one(Insight).show(text, color)

    @on(FileTree.Chosen)
    def _file_chosen(self, message: FileTree.Chosen) -> None:
        message.stop()
        if not self._furnished:
            return
        if self.query_one("#content-pane").display and self._showing is None:
            self.query_one(ContentView).focus()
        else:
            self._replace_with("content")
            self.query_one(ContentView).focus()

    # The layer's details -----------------------------------------------------------------------

    @on(LayerStack.Selected)
    def _layer_selected(self, message: LayerStack.Selected) -> None:
        message.stop()
        if self.layer_only is not None and message.number != self.layer_only:
            self.layer_only = message.number
            self._lay_rows(fresh=True)
        self._show_details()

    @on(LayerStack.Chosen)
    def _layer_chosen(self, message: LayerStack.Chosen) -> None:
        message.stop()
        self.layer_only = message.number
        self._lay_rows(fresh=True)
        self._replace_with(None)
        self.query_one(FileTree).focus()

    def _show_details(self) -> None:
        opened = self.opened
        if opened is None or not opened.layers:
            return
        number = max(0, self.query_one(LayerStack).selected)
        self._want_changes(number)
        if not self._furnished:
            return
        cause = opened.causes.get(number)
        right: list[Piece] = []
        if cause is not None and cause.total:
            text = f"{self.app.glyphs.waste} {self._bytes(cause.total)} wasted"
            right = [strong(text, "warning")]
        self.query_one("#details-title", PaneTitle).show(
            "", right, chip=(str(number), opened.hues[number]), name=opened.instruction(number)
        )
        self.query_one(LayerDetails).show(
            layer_facts(opened, number, self.app.binary_sizes, self.app.glyphs)
        )

    def _want_changes(self, number: int) -> None:
        opened = self.opened
        if opened is None or not opened.finished or number in opened.changes:
            return
        if opened.layers[number].index is not None:
            self._later("changes", REST, lambda: self.measure_changes(number))

    @on(ImageWork.ChangesMeasured)
    def _changes_measured(self, message: ImageWork.ChangesMeasured) -> None:
        if message.number == self.query_one(LayerStack).selected:
            self._show_details()
        if message.number == self.layer_only:
            self._lay_rows()

    @on(ImageWork.WasteMeasured)
    def _waste_measured(self) -> None:
        self._show_subject()
        self._show_details()
        node = self.query_one(FileTree).node
        if node is not None and self.resolution is not None:
            self._show_insight(node, self.resolution)

    @on(FilterInput.Changed)
    def _filter_typed(self, event: FilterInput.Changed) -> None:
        event.stop()
        self.set_needle(event.value)

    @on(FilterInput.Ended)
    def _filter_ended(self, event: FilterInput.Ended) -> None:
        event.stop()
        self.end_filter(event.keep)

    # Keys --------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Type a part of a name; only what matches stays in the tree."""
        self._replace_with(None)
        existing = self.query(FilterInput)
        if existing:
            existing.first().focus()
            return
        entry = FilterInput(self.needle)
        self.query_one("#files-pane").mount(entry, before="#files")
        entry.focus()

    def set_needle(self, needle: str) -> None:
        """Filter the tree by a part of a name."""
        if needle != self.needle:
            self.needle = needle
            self._found = ""
            self._lay_rows()
            self._show_files_title()

    def end_filter(self, keep: bool) -> None:
        """Go from the filter's entry to the tree; without `keep` show everything again."""
        for entry in self.query(FilterInput):
            if not keep or not self.needle:
                entry.remove()
        if not keep:
            self.set_needle("")
        self.query_one(FileTree).focus()

    def action_sort(self) -> None:
        """Sort by size, or by name again."""
        self.sort_key = "size" if self.sort_key == "name" else "name"
        self._lay_rows()
        self._show_files_title()

    def action_unchanged(self) -> None:
        """Hide what the base layer brought and nothing changed, or show it again."""
        self.hide_unchanged = not self.hide_unchanged
        self._lay_rows()
        self._show_files_title()

    def action_view(self) -> None:
        """Change between the unified view and what one layer holds."""
        if self.opened is None or not self.opened.layers:
            return
        if self.layer_only is None:
            self.layer_only = max(0, self.query_one(LayerStack).selected)
        else:
            self.layer_only = None
        self._lay_rows()
        self._show_files_title()

    def action_layer(self) -> None:
        """Show this layer only; in a small window, where details have no room, show those."""
        if self.has_class("-narrow"):
            show = None if self._showing == "details" else "details"
            self._replace_with(show)
            self.query_one(LayerDetails if show else FileTree).focus()
        else:
            self.action_view()

    def action_waste(self) -> None:
        """Show what is wasted, by path and by layer."""
        if self.opened is None or self.opened.waste is None:
            self.notify("The waste is known when all layers are read.", markup=False)
            return
        from layerview.tui.screens.waste import WasteScreen

        self.app.push_screen(WasteScreen(self.opened), self._go_to)

    def _go_to(self, path: bytes | None) -> None:
        if path is not None:
            self.layer_only = None
            self.query_one(FileTree).go_to(path)

    def action_extract(self) -> None:
        """Copy the file or folder under the cursor out of the image."""
        node = self.query_one(FileTree).node
        if node is None or self.opened is None:
            return
        from layerview.tui.screens.extract import ExtractDialog

        self.app.push_screen(ExtractDialog(self.opened, node, self.layer_only))

    def action_diff(self) -> None:
        """Compare this image with another."""
        if self.opened is None or not self.opened.finished:
            self.notify("Images can be compared when all layers are read.", markup=False)
            return
        from layerview.tui.recent import recent
        from layerview.tui.screens.choose import ChooseImage

        names = [*self.app.names, *recent(), "demo:"]
        others = [(name, name) for name in dict.fromkeys(names) if name != self.image_name]
        self.app.push_screen(
            ChooseImage(
                "Compare with",
                "Choose another image, or type a path.",
                others,
                typed="path or transport:path",
            ),
            self._compare_with,
        )

    def _compare_with(self, name: str | None) -> None:
        if name is not None and self.opened is not None:
            from layerview.tui.screens.diff import DiffScreen

            self.app.push_screen(DiffScreen(self.opened, name))

    def action_run(self) -> None:
        """Start containers of the image; where something failed or stopped, try that again."""
        opened = self.opened
        if opened is None:
            self._failed = False
            self.query_one(FileTree).clear("Opening")
            self._show_subject()
            self.open_image()
        elif opened.stopped or (self._failed and not opened.finished):
            opened.stopped = self._failed = False
            self.load_layers()
        elif self._content_failed and self._content_node is not None:
            self._read_content()
        elif self._given is None:
            from layerview.tui.screens.run_container import RunContainer

            self.app.push_screen(RunContainer(self._runnable_name(opened)), self._ran)

    def _runnable_name(self, opened: OpenedImage) -> str:
        """Return what `run` takes for this image."""
        place = opened.image.place
        if place == "local" and not self.image_name.startswith("local:"):
            return f"local:{self.image_name}"
        return self.image_name

    def _ran(self, ids: list[str] | None) -> None:
        if ids:
            self.app.show_containers(ids[0])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show the key for a live container beside the demo image alone."""
        return action != "try_demo" or is_demo(self.image_name)

    def action_try_demo(self) -> None:
        """Start a container of the demo image, and show it live."""
        self.action_live()

    def action_live(self) -> None:
        """Start a container of the image, and show it live with a shell."""
        if self.opened is None or self._given is not None:
            return
        from layerview.tui.live_start import start_live

        here = self.opened.image.place == "local"
        start_live(self.app, self._runnable_name(self.opened), here=here)

    def action_class(self) -> None:
        """Show all containers of the image over its layers."""
        if self.opened is None:
            return
        from layerview.tui.screens.class_view import ClassScreen

        stack = [str(layer.chain_id or "") for layer in self.opened.image.layers]
        name = self._runnable_name(self.opened)
        self.app.push_screen(ClassScreen(name, stack=stack))

    def action_back(self) -> None:
        """Leave what is open inside the screen, stop reading, or go back to the images."""
        opened = self.opened
        if self._showing is not None:
            self._replace_with(None)
            self.query_one(FileTree).focus()
        elif self.needle:
            self.end_filter(keep=False)
        elif opened is not None and not opened.finished and not opened.stopped:
            opened.stopped = True
            self._stop_reading()
            for layer in opened.layers:
                if layer.status is Status.READING:
                    layer.status = Status.WAITING
            self._show_slabs()
            self._show_subject()
        elif isinstance(self.focused, ContentView):
            self.query_one(FileTree).focus()
        elif self.layer_only is not None:
            self.action_view()
        else:
            self.app.action_images()
