"""The Images screen: the local area, engines, what was given or opened lately, the demo image."""

from __future__ import annotations

from pathlib import PurePath
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.image_rows import ImageColumns
from layerview.tui.listing import DEMO, Listed, is_demo, users_of
from layerview.tui.screens.images_work import ImagesWork
from layerview.tui.widgets.chrome import AreaBar, PaneTitle, SubjectRow, muted, plain, strong
from layerview.tui.widgets.image_table import ImageTable
from layerview.tui.widgets.lying_stack import LyingSlab, LyingStack
from layerview.tui.words import count_of


class ImagesScreen(ImagesWork):
    """All images that layerview knows of."""

    CSS_PATH: ClassVar[list[str | PurePath]] = ["../styles/lists.tcss", "../styles/images.tcss"]

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

    AREA = "Images"

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.sort_key = "given"

    def compose_table(self) -> ImageTable:
        """Make the list."""
        return ImageTable(id="images")

    def compose_details(self) -> ComposeResult:
        """Lay out the stack of one image."""
        yield LyingStack(glyphs=self.app.glyphs, id="lying")
        yield SubjectRow(glyphs=self.app.glyphs, id="legend")

    @property
    def table(self) -> ImageTable:
        """The list."""
        return self.query_one(ImageTable)

    def on_mount(self) -> None:
        """List the names at once, then look into them."""
        self.table.focus()
        self.action_reload()

    def fill_resized(self) -> None:
        """Fill the screen at once: its columns depend on the window alone."""
        self.fill()

    # The table -------------------------------------------------------------------------------

    @property
    def columns(self) -> ImageColumns:
        """The columns that there is room for."""
        return ImageColumns.for_width(self.size.width)

    def heads(self) -> list[tuple[str, int, bool]]:
        """Return each column's label, its cells, and whether it stands at the right."""
        return self.columns.heads(self.sort_key, self.app.glyphs.down)

    def show_rows(self) -> None:
        """List what matches, as it is sorted."""
        lines = [line for line in self.lines if self._matches(line)]
        if self.sort_key == "size":
            lines.sort(key=lambda line: -(line.size or 0))
        elif self.sort_key == "name":
            lines.sort(key=lambda line: (line.title, line.tag))
        self.table.show_lines(lines, self.columns)

    def _matches(self, line: Listed) -> bool:
        text = f"{line.title}:{line.tag} {line.image_id} {line.location}".casefold()
        return self.needle.casefold() in text

    def show_total(self) -> None:
        """Say what all take, and what is under way."""
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

    def show_details(self) -> None:
        """Show the layers of an image."""
        self.refresh_bindings()
        line = self.table.current
        title = self.query_one("#details-title", PaneTitle)
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
    def _row_highlighted(self) -> None:
        self.show_details()

    @on(DataTable.RowSelected)
    def _row_selected(self) -> None:
        line = self.table.current
        if line is not None and line.name:
            self.app.open_image(line.name)

    def action_sort(self) -> None:
        """Sort by size, by name, or as they were given."""
        keys = ("given", "size", "name")
        self.sort_key = keys[(keys.index(self.sort_key) + 1) % len(keys)]
        self.fill()

    def action_stop(self) -> None:
        """Stop the errand that is under way; else show all lines again; else stop looking."""
        if self._errand is not None:
            self._errand.stop()
        elif self.needle:
            self.end_filter()
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

        line = self.table.current
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
        line = self.table.current
        return line is not None and is_demo(line.name)

    def action_try_demo(self) -> None:
        """Start a container of the demo image, and show it live."""
        self.action_live()

    def action_live(self) -> None:
        """Start a container of the image, and show it live with a shell."""
        from layerview.tui.live_start import start_live

        line = self.table.current
        if line is not None and line.name and not line.error:
            start_live(self.app, line.name, here=line.name.startswith("local:"))

    def action_class(self) -> None:
        """Show all containers of the image over its layers."""
        from layerview.tui.screens.class_view import ClassScreen

        line = self.table.current
        if line is not None and line.name and not line.error:
            stack = [str(layer.key) for layer in line.layers or ()]
            self.app.push_screen(ClassScreen(line.name, stack=stack))

    # The local area --------------------------------------------------------------------------

    def action_load(self) -> None:
        """Load the images of a file into the local area."""
        from layerview.tui.screens.open_file import OpenFile

        if self._busy():
            return
        line = self.table.current
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

        line = self.table.current
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


def _used_by(images: int) -> str:
    return "only here" if images < 2 else f"in {images} images"
