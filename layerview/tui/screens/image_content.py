"""The content pane of the Image screen: the file under the cursor, or what there is instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on

from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.facts import about
from layerview.tui.screens.image_work import ImageWork
from layerview.tui.widgets.chrome import PaneTitle, Piece, muted
from layerview.tui.widgets.content import ContentView, looks_binary

if TYPE_CHECKING:
    from layerview.view.nodes import Node


class ImageContent(ImageWork):
    """What an Image screen does to show a file's content."""

    def _bytes(self, size: int | None) -> str:
        if size is None:
            return self.app.glyphs.ellipsis
        return format_size(size, binary=self.app.binary_sizes)

    def _read_content(self) -> None:
        self._no_longer("content")
        self._content_failed = False
        node = self._content_node
        if node is None or self.opened is None or not self._furnished:
            return
        view = self.query_one(ContentView)
        title = self.query_one("#content-title", PaneTitle)
        glyphs = self.app.glyphs
        hues = self.opened.hues
        name = printable(node.name) or "/"
        chip = None if node.layer is None else (str(node.layer), hues[node.layer])
        shown = node
        notes: list[tuple[str, str]] = []
        if node.type == "symlink" and self.layer_only is None and self.resolution is not None:
            for link in self.resolution.links:
                notes.append(
                    (
                        f"{printable(link.path)} {glyphs.link} {printable(link.target)}"
                        f"   (link in layer {link.layer})",
                        "muted",
                    )
                )
            if self.resolution.loop:
                notes.append((f"{glyphs.waste} the links go round in a circle", "error"))
            winner = next((r for r in self.resolution.ladder if r.state == "winner"), None)
            if winner is not None and winner.node is not None and not winner.node.is_dir:
                shown = winner.node
                chip = (str(winner.layer), hues[winner.layer])
                name = f"{name} {glyphs.link} {printable(self.resolution.resolved)}"
                notes = []
            elif not self.resolution.exists and not self.resolution.loop:
                notes.append(("the link leads to nothing", "muted"))
        if shown.type != "file":
            about = [] if shown.type == "whiteout" else self._mode_pieces(shown)
            title.show(
                "Content",
                [muted(shown.type), *about],
                chip=chip,
                name=name,
            )
            view.show_notes(*(notes or self._about(shown)))
            return
        title.show(
            "Content",
            [muted(self._bytes(shown.size)), *self._mode_pieces(shown)],
            chip=chip,
            name=name,
        )
        self._content_name = name
        self.read_content(shown)

    @staticmethod
    def _mode_pieces(node: Node, owner: str | None = None) -> list[Piece]:
        who = owner or f"{node.uid}:{node.gid}"
        return [muted(f"   {node.mode:04o}"), muted(f"   {who}")]

    def _about(self, node: Node) -> list[tuple[str, str]]:
        if self.opened is None or self._source is None:
            return []
        weight = self._source.weigh(node) if node.is_dir else None
        return about(node, weight, self.opened, self.app.binary_sizes)

    @on(ImageWork.ContentRead)
    def _content_read(self, message: ImageWork.ContentRead) -> None:
        node, data = message.node, message.data
        view = self.query_one(ContentView)
        if not data:
            view.show_notes(("the file is empty", "muted"))
            kind = "empty"
        else:
            as_hex = looks_binary(data) if self._want_hex is None else self._want_hex
            view.show(data, message.lines, node.size, as_hex=as_hex)
            kind = "bytes" if as_hex else "text"
        assert self.opened is not None
        assert node.layer is not None
        self.query_one("#content-title", PaneTitle).show(
            "Content",
            [
                muted(kind),
                muted("   " + self._bytes(node.size)),
                *self._mode_pieces(node, message.owner),
            ],
            chip=(str(node.layer), self.opened.hues[node.layer]),
            name=self._content_name,
        )

    def action_hex(self) -> None:
        """Change between text and bytes, for this file and the next ones."""
        if not self._furnished:
            return
        view = self.query_one(ContentView)
        self._want_hex = not view.hex
        view.set_hex(self._want_hex)
