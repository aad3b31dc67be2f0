"""Commands as child processes, in surroundings of their own: what they take and what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

_LAUNCHER = Path(__file__).with_name("launcher.py")
_BARE = Path(__file__).with_name("bare.py")

PYTHON = [sys.executable, "-c", "pass"]
BARE = [sys.executable, "-P", str(_BARE)]
"""The bare Textual app."""


One = TypeVar("One")
Other = TypeVar("Other")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took."""

    wall: float
    cpu: float
    """Seconds, user and system, of the process and the children it waited for."""
    peak: float
    """MiB resident, of the largest of these processes."""


class CommandFailed(Exception):
    """A command that is measured did not end with 0."""


class Surroundings:
    """A folder for everything that the measured programs write, the user's home included."""

    def __init__(self, folder: Path, dive: str | None) -> None:
        """Prepare.

        Args:
            folder: an empty folder.
            dive: the program; None to leave it out.
        """
        self.folder = folder
        self.neutral = folder / "neutral"
        self.neutral.mkdir()
        self.dive = dive
        self._output = folder / "output"
        self._dive_output = folder / "dive.json"

    def environment(self, cache: str | None = None) -> dict[str, str]:
        """Return what the programs find as their environment.

        Args:
            cache: the name of a cache of its own; None runs with caches off.
        """
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        made = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "HOME": str(home),
            "XDG_CACHE_HOME": str(self.folder / f"cache-{cache}"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CONFIG_HOME": str(home / "config"),
        }
        if cache is None:
            made["LAYERVIEW_NO_CACHE"] = "1"
        return made

    def run(self, command: Sequence[str], cache: str | None = None) -> Usage:
        """Run a command to its end; its standard output goes to a file.

        Raises:
            CommandFailed: when its exit status is not 0.
        """
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(self._output), *command],
            cwd=self.neutral,
            env=self.environment(cache),
            capture_output=True,
            text=True,
            check=False,
        )
        figures = done.stdout.split()
        if done.returncode or len(figures) != 4 or figures[0] != "0":
            raise CommandFailed(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        _, wall, cpu, peak = map(float, figures)
        return Usage(wall, cpu, peak / 1024)

    def run_dive(self, image: str) -> Usage:
        """Run dive's analysis of an image.

        Raises:
            CommandFailed: when it fails or writes nothing.
        """
        assert self.dive is not None
        # dive does not shorten a file that is there already.
        self._dive_output.unlink(missing_ok=True)
        usage = self.run(
            [self.dive, "--source", "docker-archive", image, "--json", str(self._dive_output)]
        )
        if not self._dive_output.exists() or not self._dive_output.stat().st_size:
            raise CommandFailed(f"dive wrote nothing for {image}")
        self._dive_output.unlink()
        return usage

    def answer(self, *words: str) -> Any:
        """Return the JSON that a command of layerview prints."""
        self.run(layerview(*words, "--json"))
        return json.loads(self._output.read_bytes())

    def answer_lines(self, *words: str) -> list[Any]:
        """Return the JSON lines that a command of layerview prints."""
        self.run(layerview(*words, "--json"))
        return [json.loads(line) for line in self._output.read_bytes().splitlines()]


def layerview(*words: str) -> list[str]:
    """Return the command that runs layerview as it is installed beside this Python."""
    script = Path(sys.executable).with_name("layerview")
    if not script.exists():
        raise CommandFailed(f"{script} is missing: install layerview with this Python first")
    return [str(script), *words]


def in_turn(
    one: Callable[[], One], other: Callable[[], Other], rounds: int
) -> tuple[list[One], list[Other]]:
    """Measure two things in pairs, in an order that alternates."""
    ones: list[One] = []
    others: list[Other] = []
    for number in range(rounds):
        if number % 2:
            ones.append(one())
            others.append(other())
        else:
            others.append(other())
            ones.append(one())
    return ones, others
