"""layerview's command line, run in this process."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest

from layerview.cli.main import main


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command left behind."""

    status: int
    out: str
    errors: str

    @property
    def json(self) -> Any:
        """The one document that it printed."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON lines that it printed."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def paths(self) -> list[str]:
        """The path of each line."""
        return [line["path"] for line in self.lines]


class Command:
    """Runs commands; the index cache is left alone unless they are told to use it."""

    def __init__(self, capture: pytest.CaptureFixture[str], cache: bool = False) -> None:
        self._capture = capture
        self._env = {} if cache else {"LAYERVIEW_NO_CACHE": "1"}

    def __call__(self, *words: object) -> Answer:
        """Run a command; whatever happens, it prints no traceback."""
        self._capture.readouterr()
        try:
            with mock.patch.dict(os.environ, self._env):
                status = main([*map(str, words)])
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        found = self._capture.readouterr()
        assert "Traceback" not in found.err
        return Answer(status, found.out, found.err)

    def json(self, *words: object) -> Any:
        """Run a command that goes well and says nothing on stderr; return its document."""
        answer = self(*words, "--json")
        assert (answer.status, answer.errors) == (0, ""), words
        return answer.json

    def lines(self, *words: object) -> list[Any]:
        """Run a command that goes well and says nothing on stderr; return its lines."""
        answer = self(*words, "--json")
        assert (answer.status, answer.errors) == (0, ""), words
        return answer.lines
