"""The Disk screen: who has the bytes of a data root, and the files they are in."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from layerview.oci.digest import Digest
from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.cells import fit_start
from layerview.tui.disk_model import SORTS, Disk, in_order
from layerview.tui.disk_places import DiskRoot, merged, roots_here
from layerview.tui.disk_rows import Row, StackLayer
from layerview.tui.disk_words import fate_words, orphans_words, place_words, safe_way
from layerview.tui.screens.disk_work import EVERY, DiskWork
from layerview.tui.widgets.chrome import (
    AreaBar,
    PaneTitle,
    Piece,
    SubjectRow,
    muted,
    plain,
    strong,
)
from layerview.tui.widgets.disk_table import DiskTable
from layerview.tui.widgets.lying_stack import LyingSlab, LyingStack
from layerview.tui.widgets.row_list import RowList
from layerview.tui.words import count_of


class DiskScreen(DiskWork):
    """The account of a root: owners, their layers, their files."""

    CSS_PATH: ClassVar[list[str | PurePath]] = ["../styles/lists.tcss", "../styles/disk.tcss"]

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/", id="disk.filter"),
        Binding("s", "sort", "sort", id="disk.sort"),
        Binding("p", "root", "another root", id="disk.root"),
        Binding("delete", "remove", "free", key_display="Del", id="disk.remove"),
        Binding("R", "reload", "read again", id="disk.reload"),
        Binding("escape", "stop", "stop, or show all", show=False, id="disk.stop"),
    ]

    AREA = "Disk"

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[DiskRoot] = []
        self.way: list[str] = []
        """The keys of the rows that were gone into."""
        self._passed: list[Row] = []
        """These rows, as far as they are there."""
        self.sort = "size"
        self._asked_engines = False
        self._known_hues: dict[str, int | None] = {}
        self._hued: tuple[Disk, bool, int] | None = None
        """Of what the hues are known."""

    def compose_table(self) -> DiskTable:
        """Make the list."""
        return DiskTable(binary=self.app.binary_sizes, glyphs=self.app.glyphs, id="disk")

    def compose_details(self) -> ComposeResult:
        """Lay out what is known of one row."""
        yield SubjectRow(glyphs=self.app.glyphs, id="place")
        yield SubjectRow(glyphs=self.app.glyphs, id="fate")
        yield LyingStack(glyphs=self.app.glyphs, id="lying")

    @property
    def table(self) -> DiskTable:
        """The list."""
        return self.query_one(DiskTable)

    def heads(self) -> list[tuple[str, int, bool]]:
        """Return the list's own."""
        return self.table.heads()

    def on_mount(self) -> None:
        """Read the first root there is, and find the others."""
        self.table.focus()
        self.roots = roots_here()
        wanted = self.app.disk_root
        if wanted is not None:
            self.roots = merged(self.roots, [wanted])
        self.find_engines()
        if self.roots:
            self.read(wanted or self.roots[0])
        else:
            self.fill()
        self.set_interval(EVERY, self._tick)

    def _tick(self) -> None:
        if self.app.screen is self:
            self.look_at_growth()

    def on_unmount(self) -> None:
        """Nobody waits for what is being read."""
        self.close_reader()

    def on_resize(self, event: events.Resize) -> None:
        """Show what an image lies on where the window is high enough."""
        self.set_class(event.size.height >= 36, "-high")

    @on(DiskWork.RootsFound)
    def _roots_found(self, message: DiskWork.RootsFound) -> None:
        self._asked_engines = True
        engines = {root.path for root in message.roots}
        here = [root for root in self.roots if root.kind == "local" or root.path not in engines]
        self.roots = merged([root for root in here if root.kind == "local"], message.roots, here)
        if self.root is None and self.roots:
            self.read(self.roots[0])
        self.fill()

    # Showing ---------------------------------------------------------------------------------

    def show_rows(self) -> None:
        """List what is in the row that was gone into, or who has the bytes."""
        disk, table = self.disk, self.table
        passed = self._passed = disk.follow(self.way)
        if len(passed) < len(self.way) and not self.busy:
            # What was gone into is not there any more.
            del self.way[len(passed) :]
        inner = passed[-1] if passed else None
        files = inner is not None and inner.is_folder
        if inner is not None and files:
            self.read_folder(inner.path)
        rows = disk.inside(inner) if inner is not None else disk.top()
        whole = sum(row.bytes or 0 for row in rows if not row.apart)
        needle = self.needle.casefold()
        if needle:
            rows = [row for row in rows if needle in f"{row.name} {row.type} {row.note}".casefold()]
        table.message, table.failed = self._message(inner)
        table.show(
            in_order(rows, self.sort),
            self.sort,
            whole,
            self._hues() if passed else {},
            files=files,
            owners=inner is None,
        )

    def _message(self, inner: Row | None) -> tuple[tuple[str, str], bool]:
        """Return what stands where there are no rows, and whether it tells of an error."""
        if self.root is None:
            if not self._asked_engines:
                return ("Looking for storage areas and engines", ""), False
            return (
                (
                    "Nothing is kept here yet.",
                    "`layerview load` makes a storage area; p looks into another folder",
                ),
                False,
            )
        if self.failure:
            return (f"{self.app.glyphs.waste} {self.failure}", "R tries again"), True
        if self.needle:
            return ("Nothing matches.", "Esc shows all"), False
        if self.busy:
            return ("Reading", "Esc stops"), False
        if inner is not None:
            return ("Nothing is in it.", "Backspace goes out"), False
        return ("Nothing was read.", "R reads again"), False

    def _hues(self) -> dict[str, int | None]:
        """Return the hues of all layers, by ChainID, as the other screens have them."""
        disk = self.disk
        known = (disk, disk.done, len(disk.images))
        if known != self._hued:
            sizes = {part.id: part.bytes for part in disk.of_kind("image_layer")}
            self._hued, self._known_hues = known, {}
            for image in disk.images:
                stack = [
                    (Digest.parse(layer.chain_id), sizes.get(layer.cache_id, 0))
                    for layer in image.layers
                ]
                chosen = self.app.hues.assign(stack)
                for layer, hue in zip(image.layers, chosen, strict=True):
                    self._known_hues.setdefault(layer.chain_id, hue)
        return self._known_hues

    def show_total(self) -> None:
        """Say where one is, how far the reading is, and what all takes."""
        root, glyphs = self.root, self.app.glyphs
        bar, total = self.query_one(AreaBar), self.query_one("#total", SubjectRow)
        if root is None:
            bar.show(())
            total.show([])
            return
        bar.show((root.kind, printable(root.path)))
        passed = self._passed
        left: list[list[Piece]] = []
        if passed:
            names = [printable(row.name) for row in passed]
            width = max(10, total.size.width - 18)
            left.append(
                [plain(fit_start(f" {glyphs.closed} ".join(names), width, glyphs.ellipsis))]
            )
        elif self.failure and self.disk.top():
            left.append([(f"{glyphs.waste} {self.failure}", "error", False)])
        elif self.stopped:
            left.append([("stopped", "warning", False), muted("; R reads again")])
        elif self.reading:
            done, of = self.step
            words = f"folder {done:,} of {of:,}" if of else "the records"
            left.append([muted(f"reading {words}, Esc stops")])
        elif self.disk.problems:
            problems = count_of(len(self.disk.problems), "problem")
            left.append([(f"{glyphs.waste} {problems}", "error", False)])
        elif self.disk.engine:
            left.append([muted(f"{self.disk.engine} has it")])
        right: list[Piece] = []
        if self.disk.parts:
            size = self.table.whole if passed else self.disk.total
            right = [strong(format_size(size, binary=self.app.binary_sizes))]
            right.append(muted(" in it" if passed else " on the disk"))
        total.show(left, right)

    def show_details(self) -> None:
        """Show what a row is, what lies where, and what would free it."""
        self.refresh_bindings()
        row = self.table.current
        self.set_class(row is None, "-nothing")
        if row is None:
            return
        title = self.query_one("#details-title", PaneTitle)
        hint = "Enter goes in" if row.opens else ""
        right = [muted(row.type)] + ([muted(f"   {hint}")] if hint else [])
        title.show(printable(row.name), right)
        binary = self.app.binary_sizes
        self._show_stack(row)
        brief = self.has_class("-narrow")
        self.query_one("#place", SubjectRow).show(place_words(row, brief=brief))
        fate = self.query_one("#fate", SubjectRow)
        fate.show(fate_words(self.disk, row, own=self.own, binary=binary, brief=brief))

    def _show_stack(self, row: Row) -> None:
        """Show what an image or container lies on, where there is room."""
        self.set_class(bool(self.way), "-inside")
        stack = self.disk.stack(row) if self.has_class("-high") and not self.way else []
        hues = self._hues() if stack else {}
        slabs = [
            LyingSlab(
                number,
                hues.get(layer.chain_id),
                layer.bytes,
                layer.instruction,
                format_size(layer.bytes, binary=self.app.binary_sizes),
                _whose(layer),
                writable=not layer.chain_id,
            )
            for number, layer in enumerate(stack)
        ]
        self.query_one(LyingStack).show(slabs)

    # Keys ------------------------------------------------------------------------------------

    @on(RowList.Chosen)
    def _chosen(self, message: RowList.Chosen) -> None:
        row = self.table.current
        if row is None or not row.opens:
            return
        self.way.append(row.key)
        self.end_filter()
        self.table.begin()
        self.show_details()

    def action_out(self) -> None:
        """Go out, to the row that was gone into."""
        if not self.way:
            return
        key = self.way.pop()
        self.end_filter()
        self.table.begin(key)
        self.show_details()

    def action_sort(self) -> None:
        """Sort by size, by name, or by what they are."""
        self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        self.fill()

    def action_reload(self) -> None:
        """Read all of it again; what is known stays meanwhile."""
        if self.root is not None:
            self.read(self.root)
        else:
            self.roots = roots_here()
            self.find_engines()

    def action_stop(self) -> None:
        """Show all again; else stop reading."""
        if self.needle:
            self.end_filter()
        elif self.busy:
            self.stop()
            self.fill()

    def action_root(self) -> None:
        """Choose another root."""
        from layerview.tui.screens.choose import ChooseImage

        def answer(path: str | None) -> None:
            if path is None:
                return
            path = os.path.abspath(path)
            root = next((one for one in self.roots if one.path == path), DiskRoot("root", path))
            self.roots = merged(self.roots, [root])
            self.app.disk_root = root
            self.way.clear()
            self.end_filter()
            self.read(root)
            self.table.begin()

        names = [(root.path, f"{root.kind:<7}{root.path}") for root in self.roots]
        words = "The storage area, an engine's data root, or another folder like them."
        self.app.push_screen(ChooseImage("Which root?", words, names, typed="path"), answer)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey the keys that do nothing here."""
        if not self.is_mounted or not self.query(DiskTable):
            return True
        row = self.table.current
        if action == "out":
            return True if self.way else None
        if action == "remove":
            free = row is not None and not row.problem
            return True if free and row and safe_way(self.disk, row, own=self.own) else None
        return True

    def action_remove(self) -> None:
        """Delete the orphans of the local area, after asking; of all else say the safe way."""
        from layerview.tui.screens.confirm import Confirm
        from layerview.tui.screens.tell import Tell

        row = self.table.current
        if row is None or row.problem:
            return
        if not row.warning or not self.own:
            way = safe_way(self.disk, row, own=self.own)
            if way:
                words = way[:1].upper() + way[1:] + "."
                if not self.own:
                    words += " Here the root is only read."
                self.app.push_screen(Tell(printable(row.name), words))
            return

        def answer(sure: bool | None) -> None:
            if sure:
                self.delete_orphans()

        heading, words = orphans_words(self.disk, self.app.binary_sizes)
        self.app.push_screen(Confirm(heading, words, "Delete"), answer)

    @on(DiskWork.Deleted)
    def _deleted(self, message: DiskWork.Deleted) -> None:
        if message.failed:
            self.notify(message.words, title="Not deleted", severity="error", markup=False)
        else:
            size = format_size(message.bytes, binary=self.app.binary_sizes)
            self.notify(f"{size} freed", title="Deleted", markup=False)
        self.action_reload()


def _whose(layer: StackLayer) -> str:
    if not layer.chain_id:
        return "read-write"
    return "only here" if layer.images < 2 else f"in {layer.images} images"
