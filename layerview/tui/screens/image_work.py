"""The work behind the Image screen: opening, reading, searching and measuring, in workers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual import work
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer
from textual.worker import get_current_worker

from layerview.errors import Cancelled, LayerviewError
from layerview.progress import Progress
from layerview.tui.opened import OpenedImage
from layerview.tui.tree_rows import SortKey, TreeRows
from layerview.tui.tree_sources import LayerTree, PrunedTree, TreeSource, UnifiedTree
from layerview.tui.widgets.chrome import Bare
from layerview.tui.widgets.content import split_lines
from layerview.tui.words import opening_words
from layerview.tui.working import TellsFailures
from layerview.view.resolve import Resolution
from layerview.view.union import UnionView

if TYPE_CHECKING:
    from layerview.sources.background import Event
    from layerview.sources.image import Image
    from layerview.sources.opening import ImageOpening
    from layerview.tui.app import LayerviewApp
    from layerview.view.nodes import Node

PATIENCE = 0.25
"""Seconds that the reading thread waits at most for what it told to be painted, or for news."""

CONTENT_LIMIT = 1 << 20
"""Bytes of a file that are read to be looked at."""


class ImageWork(TellsFailures, Screen[None], Bare):
    """Workers that fill an Image screen, and the messages through which they do."""

    app: LayerviewApp

    class Opened(Message):
        """The image is open; its layers are known, none is read yet."""

        def __init__(self, opened: OpenedImage) -> None:
            self.opened = opened
            super().__init__()

    class Ambiguous(Message):
        """The name stands for several images: what opens each, and what to show for it."""

        def __init__(self, choices: list[tuple[str, str]]) -> None:
            self.choices = choices
            super().__init__()

    class StillOpening(Message):
        """Opening takes long; how far it is, in words."""

        def __init__(self, words: str) -> None:
            self.words = words
            super().__init__()

    class OpenFailed(Message):
        """The image could not be opened."""

        def __init__(self, reason: str) -> None:
            self.reason = reason
            super().__init__()

    class Happened(Message):
        """What the loader says."""

        def __init__(self, events: list[Event]) -> None:
            self.events = events
            self.painted = threading.Event()
            """Set when the screen shows them."""
            super().__init__()

    class ViewBuilt(Message):
        """All layers lie over one another, and all sizes are summed up."""

        def __init__(self, view: UnionView) -> None:
            self.view = view
            super().__init__()

    class RowsReady(Message):
        """The tree's rows are laid out."""

        def __init__(
            self, rows: TreeRows, source: TreeSource, at: bytes | None, found: str
        ) -> None:
            self.rows = rows
            self.source = source
            self.at = at
            self.found = found
            super().__init__()

    class WorkFailed(Message):
        """Work for one pane failed."""

        def __init__(self, pane: str, reason: str) -> None:
            self.pane = pane
            self.reason = reason
            super().__init__()

    class ContentRead(Message):
        """A file's content, or a part of it, was read."""

        def __init__(self, node: Node, data: bytes, lines: list[bytes], owner: str) -> None:
            self.node = node
            self.data = data
            self.lines = lines
            self.owner = owner
            super().__init__()

    class ChangesMeasured(Message):
        """What one layer changed is known."""

        def __init__(self, number: int) -> None:
            self.number = number
            super().__init__()

    class WasteMeasured(Message):
        """The waste of the image is known."""

    def __init__(
        self,
        name: str,
        *,
        image: Image | None = None,
        opening: ImageOpening | None = None,
    ) -> None:
        """Show an image by the name that opens it.

        Args:
            name: as the command line takes it.
            image: the image, where it is open already; it stays its owner's to close.
            opening: the image, where it is being opened already.
        """
        super().__init__()
        self.image_name = name
        self._given = image
        self._opening = opening
        self.opened: OpenedImage | None = None
        self.sort_key: SortKey = "name"
        self.layer_only: int | None = None
        self.hide_unchanged = False
        self.needle = ""
        self.resolution: Resolution | None = None
        self._content_node: Node | None = None
        self._want_hex: bool | None = None
        self._timers_by_name: dict[str, Timer] = {}
        self._found = ""
        self._failed = False
        self._content_failed = False
        """Whether the file under the cursor could not be read."""
        self._content_name = ""
        self._rebuilt = 0.0
        self._building = False
        self._furnished = False
        self._progress: dict[str, Progress] = {}
        self._reading: ImageOpening | None = None
        self._source: TreeSource | None = None

    def _later(
        self, name: str, delay: float, call: Callable[[], object], *, push_back: bool = True
    ) -> None:
        """Call once after a delay (seconds); asked for again meanwhile, that starts anew."""
        if name in self._timers_by_name:
            if not push_back:
                return
            self._timers_by_name[name].stop()

        def run() -> object:
            self._timers_by_name.pop(name, None)
            # A screen that is being left has panes no more.
            return call() if self.is_attached and self.is_running else None

        self._timers_by_name[name] = self.set_timer(delay, run)

    @property
    def has_waiting_work(self) -> bool:
        """Whether a delayed call is still to come."""
        return bool(self._timers_by_name) or self._building or not self._furnished

    def _no_longer(self, name: str) -> None:
        """Take back a delayed call."""
        timer = self._timers_by_name.pop(name, None)
        if timer is not None:
            timer.stop()

    def _cancel(self, group: str) -> None:
        progress = self._progress.pop(group, None)
        if progress is not None:
            progress.cancel()

    def _stop_reading(self) -> None:
        for opening in (self._reading, self._opening):
            if opening is not None:
                opening.cancel()

    def on_unmount(self) -> None:
        """Leaving stops all work and closes the image."""
        self._stop_reading()
        for progress in self._progress.values():
            progress.cancel()
        self.workers.cancel_node(self)
        if self.opened is not None and self._given is None:
            self.opened.image.close()

    @work(thread=True, exclusive=True, exit_on_error=False, group="open", description="Opening")
    def open_image(self) -> None:
        """Open the image; its layers begin to be read at the same time."""
        from layerview.sources.opening import ImageOpening
        from layerview.sources.resolve import SeveralImages

        worker = get_current_worker()
        try:
            if self._given is not None:
                image = self._given
            else:
                if self._opening is None:
                    self._opening = ImageOpening(
                        self.image_name, platform=self.app.platform, cache=self.app.cache
                    )
                while not self._opening.wait(PATIENCE):
                    # An engine streams all of an image before it can be opened.
                    if self._opening.progress is not None:
                        words = opening_words(self._opening.progress, self.app.binary_sizes)
                        self.post_message(self.StillOpening(words))
                image = self._opening.image()
            opened = OpenedImage(image, self.app.hues)
        except SeveralImages as several:
            self._opening = None
            if not worker.is_cancelled:
                choices = [
                    (choice.name, f"{choice.name}   {choice.platform or ''}".rstrip())
                    for choice in several.choices
                ]
                self.post_message(self.Ambiguous(choices))
            return
        except (LayerviewError, OSError) as error:
            self._opening = None
            if not worker.is_cancelled:
                self.post_message(self.OpenFailed(str(error)))
            return
        if worker.is_cancelled:
            image.close()
        else:
            self.post_message(self.Opened(opened))

    @work(thread=True, exclusive=True, exit_on_error=False, group="load", description="Reading")
    def load_layers(self) -> None:
        """Read the layers in another process and tell the screen what comes."""
        from layerview.sources.opening import ImageOpening

        assert self.opened is not None
        worker = get_current_worker()
        # What began with the opening goes on; after it was stopped, reading starts anew.
        opening, self._opening = self._opening, None
        if opening is None:
            opening = ImageOpening(self.image_name, cache=self.app.cache, image=self.opened.image)
        self._reading = opening
        try:
            for events in opening.events():
                if worker.is_cancelled:
                    break
                # Decoding on while the screen paints would take turns with it.
                message = self.Happened(events)
                self.post_message(message)
                message.painted.wait(PATIENCE)
        finally:
            opening.cancel()

    @work(thread=True, exclusive=True, exit_on_error=False, group="view", description="Summing up")
    def build_view(self) -> None:
        """Merge all layers, and sum up their sizes while nobody waits."""
        assert self.opened is not None
        view = self.opened.make_view()
        view.summary(b"")
        if not get_current_worker().is_cancelled:
            self.post_message(self.ViewBuilt(view))

    def _plain_source(self) -> TreeSource:
        assert self.opened is not None
        if self.layer_only is not None:
            changes = self.opened.changes.get(self.layer_only)
            return LayerTree(self.opened.view, self.layer_only, changes)
        return UnifiedTree(self.opened.view, summed=self.opened.summed)

    @work(thread=True, exclusive=True, exit_on_error=False, group="rows", description="Searching")
    def lay_rows(self, expanded: list[bytes], at: bytes | None) -> None:
        """Filter and sort the rows."""
        assert self.opened is not None
        self._cancel("rows")
        progress = self._progress["rows"] = Progress()
        worker = get_current_worker()
        source = self._plain_source()
        found = ""
        try:
            if self.needle or self.hide_unchanged:
                pruned = PrunedTree(source, self.needle, self.hide_unchanged)
                opened = pruned.prepare(progress)
                if self.needle:
                    expanded = opened
                    found = f"{pruned.count:,} found"
                source = pruned
            rows = TreeRows(
                source.root(),
                source.folder,
                sort=self.sort_key,
                expanded=expanded,
            )
        except Cancelled:
            return
        except (LayerviewError, OSError) as error:
            if not worker.is_cancelled:
                self.post_message(self.WorkFailed("files", str(error)))
            return
        if not worker.is_cancelled:
            self.post_message(self.RowsReady(rows, source, at, found))

    @work(thread=True, exclusive=True, exit_on_error=False, group="content", description="Content")
    def read_content(self, node: Node) -> None:
        """Read the start of a file from its layer."""
        assert self.opened is not None
        assert node.layer is not None
        worker = get_current_worker()
        try:
            data = self.opened.read(node, CONTENT_LIMIT)
            owner = self.opened.owner_names(node)
        except (LayerviewError, OSError) as error:
            if not worker.is_cancelled:
                self.post_message(self.WorkFailed("content", str(error)))
            return
        if not worker.is_cancelled:
            self.post_message(self.ContentRead(node, data, split_lines(data), owner))

    @work(thread=True, exclusive=True, exit_on_error=False, group="changes", description="Changes")
    def measure_changes(self, number: int) -> None:
        """Compare a layer with what shows below it."""
        from layerview.view.changes import measure_changes

        self._no_longer("changes")
        opened = self.opened
        assert opened is not None
        worker = get_current_worker()
        self._cancel("changes")
        progress = self._progress["changes"] = Progress()
        try:
            changes = measure_changes(opened.view, number, opened.contents, progress)
        except (LayerviewError, OSError):
            # Cancelled, or the layer's damage: the layer itself tells of that.
            return
        if not worker.is_cancelled:
            opened.changes[number] = changes
            self.post_message(self.ChangesMeasured(number))

    @work(thread=True, exclusive=True, exit_on_error=False, group="waste", description="Waste")
    def measure_waste(self) -> None:
        """Find out which bytes no container can see, and why."""
        from layerview.view.waste import measure

        opened = self.opened
        assert opened is not None
        worker = get_current_worker()
        self._cancel("waste")
        progress = self._progress["waste"] = Progress()
        try:
            waste = measure(opened.view, opened.contents, progress)
        except Cancelled:
            return
        except (LayerviewError, OSError) as error:
            if not worker.is_cancelled:
                self.app.call_from_thread(
                    self.notify, str(error), title="Waste", severity="error", markup=False
                )
            return
        if not worker.is_cancelled:
            opened.take_waste(waste)
            self.post_message(self.WasteMeasured())
