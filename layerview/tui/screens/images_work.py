"""The work behind the Images screen: asking places, looking into files, errands in the area."""

from __future__ import annotations

import threading
from contextlib import suppress

from textual import on, work
from textual.message import Message
from textual.worker import get_current_worker

from layerview.errors import Cancelled, LayerviewError
from layerview.progress import Progress
from layerview.text import printable
from layerview.tui.catalogue import Catalogue
from layerview.tui.errands import Errand, names_loaded
from layerview.tui.listing import DEMO, Listed, look, names_to_list
from layerview.tui.places import Place, find_places
from layerview.tui.places import look as list_images
from layerview.tui.recent import recent
from layerview.tui.screens.list_screen import ListScreen
from layerview.tui.working import Done, tell_done


class ImagesWork(ListScreen):
    """Threads that fill an Images screen, and the messages through which they do."""

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
        self._errand: Errand | None = None
        self._doing = ""
        self._progress = Progress()
        self._looking = False

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
        self.fill()
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
            self.fill()

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
        self.fill()

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

    # The local area --------------------------------------------------------------------------

    def send(self, words: list[str], title: str, doing: str) -> None:
        """Send a command of layerview's own, and look again when it is back."""
        try:
            self._errand = Errand(words)
        except LayerviewError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self._doing = doing
        self.show_total()
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
            self.post_message(Done(title, printable(str(error)), failed=True))
        else:
            what = ", ".join(names_loaded(back)) or doing.partition(" ")[2]
            words = "; ".join([what, *back.notes])
            self.post_message(Done(title, printable(words)))

    @on(Doing)
    def _still_doing(self, message: Doing) -> None:
        if self._errand is not None:
            self._doing = message.words
            self.show_total()

    @on(Done)
    def _errand_done(self, message: Done) -> None:
        self._errand = None
        self._doing = ""
        tell_done(self, message)
        self.action_reload()
