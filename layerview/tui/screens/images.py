"""The Images screen: the local area, engines, what was given or opened lately, the demo image."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.coordinate import Coordinate
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable
from textual.worker import get_current_worker

from layerview.errors import Cancelled, LayerviewError
from layerview.progress import Progress
from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.catalogue import Catalogue
from layerview.tui.errands import Errand, names_loaded
from layerview.tui.image_rows import ImageColumns, RowPainter
from layerview.tui.listing import DEMO, Listed, is_demo, look, names_to_list, users_of
from layerview.tui.places import Place, find_places
from layerview.tui.places import look as list_images
from layerview.tui.recent import recent
from layerview.tui.themes import Paint
from layerview.tui.widgets.chrome import (
    AreaBar,
    Pane,
    PaneTitle,
    SubjectRow,
    muted,
    plain,
    strong,
)
from layerview.tui.widgets.filter import FilterInput
from layerview.tui.widgets.keys import Keys
from layerview.tui.widgets.lying_stack import LyingSlab, LyingStack
from layerview.tui.widgets.table_head import TableHead
from layerview.tui.words import count_of
from layerview.tui.working import TellsFailures

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp


class ImageTable(DataTable[Text]):
    """The list of images."""

    HELP = """
# Images

Images in the local storage area, in the engines that run here, and in files and folders: those
named on the command line and those opened lately; and a demo image that layerview makes from this
machine's own programs. **Enter** opens one, **o** opens a file by its name, **/** filters the list.
**r** runs containers of one, **t** starts one and shows it live, **A** shows all of its containers.
**L** loads the image of a file into the local area, **Del** removes one from there. **R** looks
again.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "open", key_display="Enter", id="images.open"),
        Binding("k", "cursor_up", "up", show=False, id="images.up"),
        Binding("j", "cursor_down", "down", show=False, id="images.down"),
        Binding("home,g", "scroll_top", "first", show=False, id="images.first"),
        Binding("end,G", "scroll_bottom", "last", show=False, id="images.last"),
    ]


class ImagesScreen(TellsFailures, Screen[None]):
    """All images that layerview knows of."""

    CSS_PATH = "../styles/images.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/", id="images.filter"),
        Binding("s", "sort", "sort", id="images.sort"),
        Binding("r", "run", "run", id="images.run"),
        # The same key twice: it is shown where it is the shortest way to see something happen.
        Binding("t", "try_demo", "try it live", id="images.try"),
        Binding("t", "live", "start one, live", show=False, id="images.live"),
        Binding("A", "class", "all its containers", show=False, id="images.class"),
        Binding("o", "open_file", "open a file", id="images.open_file"),
        Binding("L", "load", "load", id="images.load"),
        Binding("delete", "remove", "remove", key_display="Del", id="images.remove"),
        Binding("R", "reload", "look again", show=False, id="images.reload"),
        Binding("escape", "stop", "stop, or show all", show=False, id="images.stop"),
    ]

    app: LayerviewApp

    class PlaceListed(Message):
        """The images of one place are known, or why they are not."""

        def __init__(self, place: Place, found: list[Listed], asked_in: int) -> None:
            self.place = place
            self.found = found
            self.asked_in = asked_in
            super().__init__()

    class Doing(Message):
        """How far an errand is."""

        def __init__(self, words: str) -> None:
            self.words = words
            super().__init__()

    class Done(Message):
        """An errand came back; `failed` says how it went."""

        def __init__(self, title: str, words: str, failed: bool) -> None:
            self.title = title
            self.words = words
            self.failed = failed
            super().__init__()

    class Looked(Message):
        """One line was looked into."""

        def __init__(self, line: Listed, found: list[Listed]) -> None:
            self.line = line
            self.found = found
            super().__init__()

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names
        self._catalogue = Catalogue()
        self._round = 0
        """How often places were asked: an answer to an earlier round is old."""
        self._moved = False
        """Whether a person chose a line: until then the cursor stays on the first."""
        self._errand: Errand | None = None
        self._doing = ""
        self.shown: list[Listed] = []
        self.sort_key = "given"
        self.needle = ""
        self._progress = Progress()
        self._looking = False
        self._marked_row = -1

    def compose(self) -> ComposeResult:
        """Lay out the list and the stack below it."""
        glyphs = self.app.glyphs
        yield AreaBar(glyphs=glyphs, id="areas")
        with Horizontal(id="filter-row"):
            yield FilterInput()
            yield SubjectRow(glyphs=glyphs, id="total")
        with Pane(id="list-pane"):
            yield TableHead(glyphs=glyphs, id="head")
            yield ImageTable(
                id="images",
                cursor_type="row",
                show_header=False,
                cell_padding=0,
                # The row under the cursor keeps its colours: its bar has two.
                cursor_foreground_priority="renderable",
            )
        with Vertical(id="below"):
            yield PaneTitle("", glyphs=glyphs, id="stack-title")
            yield LyingStack(glyphs=glyphs, id="lying")
            yield SubjectRow(glyphs=glyphs, id="legend")
        yield Keys()

    def on_mount(self) -> None:
        """List the names at once, then look into them."""
        self.query_one(ImageTable).focus()
        self.action_reload()

    def on_resize(self, event: events.Resize) -> None:
        """Choose the columns that there is room for."""
        narrow, low = event.size.width < 100, event.size.height < 30
        self.set_class(narrow, "-narrow")
        self.set_class(narrow or low, "-compact")
        self.query_one(AreaBar).compact = narrow
        self.query_one("#stack-title", PaneTitle).compact = narrow or low
        self._fill()

    # Finding out -----------------------------------------------------------------------------

    @property
    def lines(self) -> list[Listed]:
        """All lines: the places' as they are known, then files."""
        return self._catalogue.lines

    def action_reload(self) -> None:
        """Look again at everything that is listed; what is known stays meanwhile."""
        files = names_to_list(self.names, recent())
        places = find_places()
        self._catalogue.begin(places, files, self.names)
        self._fill()
        self._looking = True
        self._round += 1
        for place in places:
            # Not a worker: leaving the program would wait for an engine that does not answer.
            threading.Thread(
                target=self._list_place, args=(place, self._round), daemon=True
            ).start()
        self.look_into(files)

    def _list_place(self, place: Place, asked_in: int) -> None:
        """List one place's images, whatever the others do; called in a thread of its own."""
        found = list_images(place)
        # The program may have been left meanwhile.
        with suppress(RuntimeError):
            self.post_message(self.PlaceListed(place, found, asked_in))

    @on(PlaceListed)
    def _place_listed(self, message: PlaceListed) -> None:
        if message.asked_in == self._round:
            self._catalogue.place_answered(message.place, message.found)
            self._fill()

    @work(thread=True, exclusive=True, exit_on_error=False, group="look", description="Looking")
    def look_into(self, lines: list[Listed]) -> None:
        """Open each file far enough to know what is in it."""
        worker = get_current_worker()
        self._progress.cancel()
        progress = self._progress = Progress()
        try:
            for line in lines:
                if worker.is_cancelled or progress.cancelled:
                    return
                if line.name != DEMO:
                    self.post_message(self.Looked(line, look(line, self.app.platform, progress)))
        except Cancelled:
            return
        finally:
            if progress is self._progress:
                self._looking = False

    @on(Looked)
    def _looked(self, message: Looked) -> None:
        self._catalogue.file_looked_into(message.line, message.found)
        self._fill()

    def on_unmount(self) -> None:
        """Leaving stops the looking, and an errand."""
        self._progress.cancel()
        if self._errand is not None:
            self._errand.stop()
        self.workers.cancel_node(self)

    def on_screen_resume(self) -> None:
        """An image that was opened meanwhile is among the recent ones."""
        if self._catalogue.is_begun and self._catalogue.lacks(recent()[:1]):
            self.action_reload()

    @property
    def answered(self) -> int:
        """How many places have answered."""
        return self._catalogue.answered

    @property
    def doing(self) -> str:
        """What is being done in the local area; empty when nothing is."""
        return self._doing

    @property
    def looking(self) -> bool:
        """Whether files or places are still being looked into."""
        return self._looking or self._catalogue.answered < self._catalogue.places

    # The table -------------------------------------------------------------------------------

    def _fill(self) -> None:
        table = self.query_one(ImageTable)
        before, row = self._current(), table.cursor_row
        lines = [line for line in self.lines if self._matches(line)]
        if self.sort_key == "size":
            lines.sort(key=lambda line: -(line.size or 0))
        elif self.sort_key == "name":
            lines.sort(key=lambda line: (line.title, line.tag))
        self.shown = lines
        columns = ImageColumns.for_width(self.size.width)
        heads = columns.heads(self.sort_key, self.app.glyphs.down)
        self.query_one(TableHead).show_columns(heads)
        painter = RowPainter(
            columns,
            Paint(self.app.theme_variables, self.app.current_theme.dark),
            self.app.glyphs,
            self.app.binary_sizes,
            max((line.size or 0 for line in lines), default=0),
        )
        table.clear(columns=True)
        table.add_column(" ", width=3)
        for label, cells, _ in heads:
            table.add_column(label, width=cells + 2)
        for line in lines:
            table.add_row(*painter.cells(line))
        self._marked_row = -1
        if self._moved and before is not None:
            table.move_cursor(row=_same(lines, before, row), animate=False)
        self._mark_cursor(table.cursor_row)
        self._show_total()
        self._show_stack()

    def _matches(self, line: Listed) -> bool:
        text = f"{line.title}:{line.tag} {line.image_id} {line.location}".casefold()
        return self.needle.casefold() in text

    def _current(self) -> Listed | None:
        row = self.query_one(ImageTable).cursor_row
        return self.shown[row] if 0 <= row < len(self.shown) else None

    def _mark_cursor(self, row: int) -> None:
        """Put the cursor's sign before its row, so that it shows without colour."""
        table = self.query_one(ImageTable)
        for place, sign in ((self._marked_row, " "), (row, self.app.glyphs.cursor)):
            if 0 <= place < table.row_count:
                table.update_cell_at(Coordinate(place, 0), Text(sign))
        self._marked_row = row

    def _show_total(self) -> None:
        known = [line for line in self.lines if line.size is not None]
        images = len({(line.storage, line.image_id or line.name) for line in known})
        places = len({(line.place, line.storage) for line in known})
        words = [f"{images} image{'' if images == 1 else 's'}"]
        if places > 1:
            words.append(f"{places} places")
        self.query_one(AreaBar).show(words)
        total = format_size(self._catalogue.total, binary=self.app.binary_sizes)
        right = [strong(total), muted(" stored, sharing counted once")] if images else []
        left = [muted(self._doing), muted("Esc stops")] if self._doing else []
        answered, asked = self._catalogue.answered, self._catalogue.places
        if answered < asked and not left:
            left = [muted(f"{answered} of {count_of(asked, 'place')} answered")]
        self.query_one("#total", SubjectRow).show([[piece] for piece in left], right)

    def _show_stack(self) -> None:
        self.refresh_bindings()
        line = self._current()
        title = self.query_one("#stack-title", PaneTitle)
        lying = self.query_one(LyingStack)
        legend = self.query_one("#legend", SubjectRow)
        if line is None:
            title.show("No image matches", [muted("Esc shows all")])
            lying.show(())
            legend.show([])
            return
        name = f"{line.title}:{line.tag}" if line.tag else line.title
        if line.layers is None:
            hint = "Enter makes and opens it" if line.name == DEMO else "R looks again"
            title.show(name, [muted(hint)])
            lying.show(())
            words = line.error or (
                "An image like the one in Docker's documentation, made of this machine's tools."
                if line.name == DEMO
                else ""
            )
            legend.show([[(words, "error" if line.error else "muted", False)]])
            return
        title.show(name, [muted("base left, top right"), muted("   Enter opens it")])
        hues = self.app.hues.assign([(layer.key, layer.size) for layer in line.layers])
        users = users_of(self.lines)
        lying.show(
            [
                LyingSlab(
                    number,
                    hues[number],
                    layer.size,
                    layer.instruction,
                    format_size(layer.size, binary=self.app.binary_sizes),
                    _used_by(users[line.storage, layer.key]),
                )
                for number, layer in enumerate(line.layers)
            ]
        )
        glyphs = self.app.glyphs
        thin = next(
            (
                slab
                for slab, cells in zip(lying.slabs, lying.widths(lying.size.width), strict=True)
                if cells < 11
            ),
            None,
        )
        bar = glyphs.bar * 2
        legend.show(
            [
                [plain(bar), muted(" unique")],
                [(bar, "faint", False), muted(" shared with another")],
            ],
            [] if thin is None else [muted(f"{thin.number}: {thin.instruction}, {thin.size}")],
        )

    # Keys ------------------------------------------------------------------------------------

    @on(DataTable.RowHighlighted)
    def _row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._moved |= event.cursor_row > 0
        self._mark_cursor(event.cursor_row)
        self._show_stack()

    @on(DataTable.RowSelected)
    def _row_selected(self) -> None:
        line = self._current()
        if line is not None and line.name:
            self.app.open_image(line.name)

    @on(FilterInput.Changed)
    def _filter_changed(self, event: FilterInput.Changed) -> None:
        self.needle = event.value
        self._fill()

    @on(FilterInput.Ended)
    def _filter_ended(self, event: FilterInput.Ended) -> None:
        if not event.keep:
            event.entry.value = ""
        self.query_one(ImageTable).focus()

    def action_filter(self) -> None:
        """Type a part of a name, tag or ID."""
        self.query_one(FilterInput).focus()

    def action_sort(self) -> None:
        """Sort by size, by name, or as they were given."""
        keys = ("given", "size", "name")
        self.sort_key = keys[(keys.index(self.sort_key) + 1) % len(keys)]
        self._fill()

    def action_stop(self) -> None:
        """Stop the errand that is under way; else show all lines again; else stop looking."""
        if self._errand is not None:
            self._errand.stop()
        elif self.needle:
            self.query_one(FilterInput).value = ""
        else:
            self._progress.cancel()

    def action_open_file(self) -> None:
        """Open an image by the name of its file or folder."""
        from layerview.tui.screens.open_file import OpenFile

        self.app.push_screen(OpenFile(), self._opened)

    def _opened(self, name: str | None) -> None:
        if name:
            self.app.open_image(name)

    def action_run(self) -> None:
        """Start containers of the image; one that is elsewhere is loaded first."""
        from layerview.tui.screens.run_container import RunContainer

        line = self._current()
        if line is None or line.error or line.asking or not line.name:
            self.action_reload()
            return
        self.app.push_screen(RunContainer(line.name), self._ran)

    def _ran(self, ids: list[str] | None) -> None:
        if ids:
            self.app.show_containers(ids[0])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show the key for a live container beside the demo image alone."""
        if action != "try_demo" or not self.is_mounted or not self.query(ImageTable):
            return action != "try_demo"
        line = self._current()
        return line is not None and is_demo(line.name)

    def action_try_demo(self) -> None:
        """Start a container of the demo image, and show it live."""
        self.action_live()

    def action_live(self) -> None:
        """Start a container of the image, and show it live with a shell."""
        from layerview.tui.live_start import start_live

        line = self._current()
        if line is not None and line.name and not line.error:
            start_live(self.app, line.name, here=line.name.startswith("local:"))

    def action_class(self) -> None:
        """Show all containers of the image over its layers."""
        from layerview.tui.screens.class_view import ClassScreen

        line = self._current()
        if line is not None and line.name and not line.error:
            stack = [str(layer.key) for layer in line.layers or ()]
            self.app.push_screen(ClassScreen(line.name, stack=stack))

    # The local area --------------------------------------------------------------------------

    def action_load(self) -> None:
        """Load the images of a file into the local area."""
        from layerview.tui.screens.open_file import OpenFile

        if self._busy():
            return
        line = self._current()
        on_file = line is not None and line.place in ("file", "folder")
        self.app.push_screen(
            OpenFile("Load into the local area", line.name if line and on_file else ""), self._load
        )

    def _load(self, name: str | None) -> None:
        if name:
            self.send(["load", "--json", name], "Loaded", f"loading {printable(name)}")

    def action_remove(self) -> None:
        """Remove an image from the local area, after asking."""
        from layerview.tui.screens.confirm import Confirm

        line = self._current()
        if line is None or self._busy():
            return
        title = f"{line.title}:{line.tag}" if line.tag else line.title
        if not line.removable:
            hint = "it is only read"
            if line.place in ("docker", "podman"):
                hint = f"{line.place} rmi removes it there"
                if line.unique is not None:
                    hint += f", and frees {format_size(line.unique, binary=self.app.binary_sizes)}"
            words = f"{title} does not lie in the local area; {hint}."
            self.notify(words, title="Not removed", severity="warning", markup=False)
            return
        names = [
            other
            for other in self.lines
            if other.storage == line.storage and other.image_id == line.image_id
        ]
        if len(names) > 1:
            words = (
                f"Only this name goes: the image has {len(names) - 1} more,"
                " and its layers stay on the disk."
            )
        else:
            size, unique = line.size or 0, line.unique or 0
            words = f"Frees {format_size(unique, binary=self.app.binary_sizes)}."
            if size > unique:
                rest = format_size(size - unique, binary=self.app.binary_sizes)
                words += f" {rest} stay: other images share those layers."
            words += " It is refused while a container uses the image."
        wanted = line.name.removeprefix("local:")
        self.app.push_screen(
            Confirm(f"Remove {title}?", words, "Remove"),
            lambda sure: self._remove(wanted, title) if sure else None,
        )

    def _remove(self, wanted: str, title: str) -> None:
        self.send(["rmi", "--json", wanted], "Removed", f"removing {title}")

    def _busy(self) -> bool:
        if self._errand is not None:
            self.notify(f"{self._doing}: Esc stops it.", severity="warning", markup=False)
        return self._errand is not None

    def send(self, words: list[str], title: str, doing: str) -> None:
        """Send a command of layerview's own, and look again when it is back."""
        try:
            self._errand = Errand(words)
        except LayerviewError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self._doing = doing
        self._show_total()
        self.follow(self._errand, title, doing)

    @work(thread=True, exit_on_error=False, group="errand", description="Working in the area")
    def follow(self, errand: Errand, title: str, doing: str) -> None:
        """Tell how far a command is, and how it ended."""

        def progress(what: str, done: int, total: int | None) -> None:
            share = f", {100 * done // total} %" if total else ""
            self.post_message(self.Doing(f"{doing}{share}"))

        try:
            back = errand.finish(progress)
        except LayerviewError as error:
            self.post_message(self.Done(title, printable(str(error)), True))
        else:
            what = ", ".join(names_loaded(back)) or doing.partition(" ")[2]
            words = "; ".join([what, *back.notes])
            self.post_message(self.Done(title, printable(words), False))

    @on(Doing)
    def _still_doing(self, message: Doing) -> None:
        if self._errand is not None:
            self._doing = message.words
            self._show_total()

    @on(Done)
    def _errand_done(self, message: Done) -> None:
        self._errand = None
        self._doing = ""
        if message.failed:
            self.notify(
                message.words, title=f"Not {message.title.lower()}", severity="error", markup=False
            )
        else:
            self.notify(message.words, title=message.title, markup=False)
        self.action_reload()


def _same(lines: Sequence[Listed], before: Listed, row: int) -> int:
    """Return the row of a line that was looked into anew; where it is gone, the row it had."""
    for key in (
        lambda line: (line.name, line.title, line.tag, line.place, line.location),
        lambda line: (line.name, line.title, line.place),
    ):
        wanted = key(before)
        for number, line in enumerate(lines):
            if key(line) == wanted:
                return number
    return min(row, max(0, len(lines) - 1))


def _used_by(images: int) -> str:
    return "only here" if images < 2 else f"in {images} images"
