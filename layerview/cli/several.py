"""Commands that do the same to each of several containers, as Docker's do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from layerview.cli.area import say
from layerview.errors import LayerviewError
from layerview.text import printable


class Done(NamedTuple):
    """What became of one."""

    id: str
    name: str


def each(words: Iterable[str], work: Callable[[str], Done], *, json: bool = False) -> int:
    """Do something to each; what fails is said, and the others are done all the same.

    Args:
        words: that name containers; each is printed when it is done, as Docker does.
        work: does it.
        json: print a document of those that are done instead.
    """
    status = 0
    done: list[Done] = []
    for word in words:
        try:
            done.append(work(word))
        except LayerviewError as error:
            say(str(error))
            status = 1
            continue
        if not json:
            print(printable(word))
            sys.stdout.flush()
    if json:
        from layerview.cli.output import print_json

        print_json([{"id": one.id, "name": one.name} for one in done])
    return status


def at_once(words: Sequence[str], work: Callable[[str], Done], *, json: bool = False) -> int:
    """Do something that is mostly waiting to all at the same time; see `each`."""
    if len(words) < 2:
        return each(words, work, json=json)
    from threading import Thread

    ends: dict[int, Done | LayerviewError] = {}

    def one(number: int, word: str) -> None:
        try:
            ends[number] = work(word)
        except LayerviewError as error:
            ends[number] = error
        except OSError as error:
            ends[number] = LayerviewError((error.strerror or str(error)).lower())

    threads = [Thread(target=one, args=item, daemon=True) for item in enumerate(words)]
    for thread in threads:
        thread.start()
    waiting = dict(enumerate(threads))

    def ended(word: str) -> Done:
        number = min(waiting)
        waiting.pop(number).join()
        end = ends[number]
        if isinstance(end, LayerviewError):
            raise end
        return end

    return each(words, ended, json=json)
