"""The work behind the Disk screen: reading a root, its folders, and what grows, in a process."""

from __future__ import annotations

import time
from contextlib import suppress

from textual import on
from textual.message import Message

from layerview.errors import LayerviewError
from layerview.text import printable
from layerview.tui.disk_model import Disk
from layerview.tui.disk_places import DiskRoot, roots_of_engines
from layerview.tui.disk_reader import DiskReader, Document
from layerview.tui.disk_rows import Folder
from layerview.tui.disk_told import (
    read_containers,
    read_found,
    read_images,
    read_lines,
    read_pair,
    read_parts,
    read_sizes,
    read_texts,
)
from layerview.tui.screens.list_screen import ListScreen
from layerview.tui.working import in_background

EVERY = 3.0
"""Seconds between two looks at what grows."""
MOST_TIME = 0.1
"""The share of time that looking may take."""


class DiskWork(ListScreen):
    """What is asked of the measuring process, and what becomes of its answers."""

    class Told(Message):
        """The measuring process answered."""

        def __init__(self, number: int, answer: Document) -> None:
            self.number = number
            self.answer = answer
            super().__init__()

    class RootsFound(Message):
        """The engines said where they keep their data."""

        def __init__(self, roots: list[DiskRoot]) -> None:
            self.roots = roots
            super().__init__()

    class Deleted(Message):
        """The orphans are deleted, or why they are not."""

        def __init__(self, bytes: int, words: str = "") -> None:  # noqa: A002 - Part's name
            self.bytes = bytes
            self.words = words
            self.failed = bool(words)
            super().__init__()

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()
        self.root: DiskRoot | None = None
        self.failure = ""
        """Why the root can't be read."""
        self.stopped = False
        self._fresh = Disk()
        """What the reading that is under way has told."""
        self.own = False
        """Whether the root is a storage area that layerview may change."""
        self._reader: DiskReader | None = None
        self._reading = 0
        """The number of the reading that is under way; 0 for none."""
        self.step = (0, 0)
        """How many of the drivers' folders are measured, and of how many."""
        self._folders: dict[int, str] = {}
        """Folders that are being read, by the number of what was asked."""
        self._growth = 0
        self._first_sizes: dict[str, int] = {}
        """What grows, as it was when it was looked at first."""
        self._look_again = 0.0
        self._asked_at = 0.0

    @property
    def reading(self) -> bool:
        """Whether the root is being read."""
        return bool(self._reading)

    @property
    def busy(self) -> bool:
        """Whether anything is being read that a person waits for."""
        return self.reading or bool(self._folders)

    def _ask(self, do: str, **words: object) -> int:
        """Ask for something about the root; 0 where nobody can be asked."""
        if self._reader is None:
            self._reader = self.app.disk_reader(self._tell)
        assert self.root is not None
        try:
            return self._reader.ask(do, root=self.root.path, **words)
        except LayerviewError as error:
            self.failure = printable(str(error))
            return 0

    def _tell(self, number: int, answer: Document) -> None:
        """Pass an answer on; called in a thread, also when the screen is gone."""
        with suppress(RuntimeError):
            if self.is_running:
                self.post_message(self.Told(number, answer))

    def find_engines(self) -> None:
        """Ask the engines where they keep their data."""
        in_background(
            self, lambda: self.RootsFound(roots_of_engines()), lambda reason: self.RootsFound([])
        )

    def read(self, root: DiskRoot) -> None:
        """Read a root; what was known of another goes."""
        self.stop()
        if self.root != root:
            self.disk, self.own = Disk(), False
        self.root, self.failure, self.stopped = root, "", False
        self.disk.folders.clear()
        self._first_sizes.clear()
        self._look_again = 0.0
        # What is told comes into an account of its own, so that it is whole or nothing.
        self._fresh, self.step = Disk(), (0, 0)
        self._reading = self._ask("account")
        if not self.disk.parts:
            self.disk = self._fresh
        self.fill()

    def read_folder(self, path: str) -> None:
        """Read a folder, unless that is done or under way."""
        if path in self.disk.folders:
            return
        folder = self.disk.folders[path] = Folder()
        number = self._ask("folder", path=path)
        if number:
            self._folders[number] = path
        else:
            folder.done, folder.problem = True, self.failure

    def stop(self) -> None:
        """Read no further."""
        for number in (self._reading, self._growth, *self._folders):
            if number and self._reader is not None:
                self._reader.stop(number)
        for path in self._folders.values():
            folder = self.disk.folders.get(path)
            if folder is not None:
                folder.done, folder.problem = True, "stopped here; R reads again"
        self.stopped = self.stopped or self.reading
        self._reading = self._growth = 0
        self._folders.clear()

    def delete_orphans(self) -> None:
        """Delete what nothing in the local area refers to, in the worker."""
        assert self.root is not None
        words = ["prune", "--orphans", "--force", "--json", "--root", self.root.path]

        def work() -> Message:
            back = self.app.worker.ask(words)
            freed = (one.get("bytes") for one in back.said if isinstance(one, dict))
            return self.Deleted(sum(size for size in freed if isinstance(size, int)))

        in_background(self, work, lambda reason: self.Deleted(0, reason))

    def close_reader(self) -> None:
        """End the measuring process."""
        if self._reader is not None:
            self._reader.close()

    # Answers ---------------------------------------------------------------------------------

    @on(Told)
    def _told(self, message: Told) -> None:
        number, answer = message.number, message.answer
        if number == self._reading:
            self._read_on(answer)
        elif number in self._folders:
            self._folder_told(number, answer)
        elif number == self._growth:
            self._growth = 0
            self._grew(read_sizes(answer.get("sizes")))
        else:
            return
        self.fill()

    def _read_on(self, answer: Document) -> None:
        fresh = self._fresh
        if "images" in answer:
            fresh.images = read_images(answer.get("images"))
            fresh.containers = read_containers(answer.get("containers"))
            self.own = answer.get("own") is True
        if "error" in answer:
            self._reading = 0
            self.failure = " ".join(read_lines([answer["error"]]))
        elif "done" in answer:
            self._reading = 0
            fresh.settle(read_parts(answer.get("parts")))
            fresh.frees = read_sizes(answer.get("frees"))
            fresh.ways = read_texts(answer.get("ways"))
            fresh.problems = read_lines(answer.get("problems"))
            fresh.engine = " ".join(read_lines([answer.get("engine")]))
            fresh.driver = " ".join(read_lines([answer.get("driver")]))
            fresh.folders = self.disk.folders
            if self.disk.done:
                fresh.compare_with(self.disk)
            self.disk = fresh
        else:
            fresh.take(read_parts(answer.get("parts")))
            self.step = read_pair(answer.get("step")) or self.step

    def _folder_told(self, number: int, answer: Document) -> None:
        folder = self.disk.folders.setdefault(self._folders[number], Folder())
        folder.found += read_found(answer.get("found"))
        if "done" in answer or "error" in answer:
            del self._folders[number]
            folder.done = True
            folder.rest = read_pair(answer.get("rest")) or (0, 0)
            problems = read_lines([answer.get("error")]) or read_lines(answer.get("problems"))
            if problems:
                folder.problem = problems[0]
                if len(problems) > 1:
                    folder.problem += f"; and {len(problems) - 1} more like this"

    # What grows ------------------------------------------------------------------------------

    def look_at_growth(self) -> None:
        """Measure what containers write again, when it is time to."""
        now = time.monotonic()
        paths = self.disk.growing() if self.disk.done and not self.busy else []
        if self._growth or not paths or now < self._look_again:
            return
        self._asked_at = now
        self._growth = self._ask("sizes", paths=paths)

    def _grew(self, sizes: dict[str, int]) -> None:
        now = time.monotonic()
        self._look_again = now + max(0.0, (now - self._asked_at) / MOST_TIME - EVERY)
        logs = {part.path: part.bytes for part in self.disk.of_kind("log")}
        for path, size in sizes.items():
            # A log's bytes are nobody else's; elsewhere files may count in another part as well.
            grown = size - self._first_sizes.setdefault(path, logs.get(path, size))
            if grown:
                self.disk.grown[path] = grown
            else:
                self.disk.grown.pop(path, None)
