"""Talk with the process that measures for the Disk screen, without a screen."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from layerview.tui.disk_reader import DiskReader

PATIENCE = 60.0
"""Seconds to wait for an answer."""

Document = Mapping[str, object]


class Talk:
    """Asks, and waits for the answers."""

    def __init__(self) -> None:
        self.heard: queue.Queue[tuple[int, Document]] = queue.Queue()
        self.reader = DiskReader(lambda number, answer: self.heard.put((number, answer)))

    def answers(self, number: int) -> Iterator[Document]:
        """Yield what is answered to something, to its end."""
        while True:
            heard, answer = self.heard.get(timeout=PATIENCE)
            if heard == number:
                yield answer
                if "done" in answer or "error" in answer:
                    return

    def ask(self, do: str, **words: object) -> list[Document]:
        """Ask for something, and return all answers."""
        return list(self.answers(self.reader.ask(do, **words)))


@contextmanager
def talking() -> Iterator[Talk]:
    """Talk, and end the process."""
    talk = Talk()
    try:
        yield talk
    finally:
        talk.reader.close()
