"""A worker that tells what it is told to, for screens whose containers are made up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from layerview.errors import LayerviewError
from layerview.text import printable
from layerview.times import rfc3339
from layerview.tui.app import LayerviewApp
from layerview.tui.errands import Returned

Answer = Callable[[Sequence[str]], object]


class ToldWorker:
    """Answers by the first words of a command; keeps what it was asked."""

    def __init__(self, **answers: object) -> None:
        self.answers: dict[str, object] = answers
        """For a command its JSON document, an error, or what makes one of the words."""
        self.asked: list[list[str]] = []

    def ask(self, words: Sequence[str]) -> Returned:
        """Answer."""
        self.asked.append(list(words))
        key = words[0] if words[0] != "volume" else f"volume_{words[1]}"
        answer = self.answers.get(key, [])
        if callable(answer):
            answer = answer(words)
        if isinstance(answer, Exception):
            raise LayerviewError(printable(str(answer)))
        return Returned((answer,), ())

    def done(self, *words: str) -> list[list[str]]:
        """Return the commands that began so."""
        return [asked for asked in self.asked if asked[: len(words)] == list(words)]

    def close(self) -> None:
        """Nothing is there to be closed."""


def app_on(worker: ToldWorker, **options: Any) -> LayerviewApp:
    """Return the app with this worker."""
    app = LayerviewApp(**options)
    app._worker = worker  # type: ignore[assignment]
    return app


def before(seconds: float) -> str:
    """Return the time so long ago, as records have it."""
    text = rfc3339(int(time.time() - seconds))
    assert text is not None
    return text


def container(name: str, digits: str, **more: object) -> dict[str, object]:
    """Return a container as `ps --json` tells of it."""
    item: dict[str, object] = {
        "id": (digits * 64)[:64],
        "name": name,
        "image": "shop/web:7.2",
        "image_id": "sha256:" + "3f" * 32,
        "command": ["nginx", "-g", "daemon off;"],
        "created": before(130),
        "status": "running",
        "exit_code": None,
        "pid": 4121,
        "driver": "overlay2",
        "size_rw": 24_900_000,
        "size_root": None,
        "start_ns": 6_240_000,
        "allocated": 16_384,
        "started": before(125),
        "finished": None,
        "mounts": [],
    }
    return {**item, **more}


def exited(name: str, digits: str, code: int, **more: object) -> dict[str, object]:
    """Return a container that has ended."""
    ended: dict[str, object] = {
        "status": "exited",
        "exit_code": code,
        "pid": None,
        "finished": before(7300),
        "started": before(7400),
        "created": before(7400),
    }
    return container(name, digits, **{**ended, **more})


def mount(name: str, target: str, **more: object) -> dict[str, object]:
    """Return a volume that is mounted."""
    return {
        "type": "volume",
        "name": name,
        "source": f"/var/lib/layerview/volumes/{name}/_data",
        "destination": target,
        "read_only": False,
        **more,
    }
