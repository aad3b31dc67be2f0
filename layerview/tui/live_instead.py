"""The built-in shell in place of a live container, where this machine can start none."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from textual.message import Message

from layerview.containers.built_in import DRIVER
from layerview.tui.errands import COMMAND, Errand, Returned
from layerview.tui.screens.live_open import LiveMissing
from layerview.tui.working import in_background

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp

_PATIENCE = 20
"""Seconds that the look at the machine may take."""
_NEEDED = "machine: runtime layerview"
_NEEDED_BY_USERS = "machine: user namespaces"
"""Checks of `doctor`."""


class InsteadOffered(Message):
    """A container can't be started here, but opened in the built-in shell; the app's to handle."""

    def __init__(self, image: str, volumes: Sequence[str], why: str) -> None:
        self.image = image
        self.volumes = volumes
        self.why = why
        super().__init__()


class InsteadMade(Message):
    """A container that is to be opened in the built-in shell; the app's to handle."""

    def __init__(self, id: str) -> None:
        self.id = id
        super().__init__()


def why_none_start() -> str | None:
    """Say why this machine can start no container; None where it can. To be called in a thread."""
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        # In a process of its own: what is tried there can't be tried in one with threads.
        done = subprocess.run(
            [*COMMAND, "doctor", "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
        return problem_in(json.loads(done.stdout), is_root=os.geteuid() == 0)
    return None


def problem_in(said: object, *, is_root: bool) -> str | None:
    """Find in what `doctor` says why no container can be started."""
    checks = said.get("checks") if isinstance(said, dict) else None
    needed = [_NEEDED] if is_root else [_NEEDED_BY_USERS, _NEEDED]
    for name in needed:
        for check in checks if isinstance(checks, list) else []:
            if isinstance(check, dict) and check.get("name") == name and check.get("ok") is False:
                remedy = check.get("remedy")
                return f"{check.get('found')}; {remedy}" if remedy else str(check.get("found"))
    return None


def offer(app: LayerviewApp, message: InsteadOffered) -> None:
    """Ask whether the image is to be opened in the built-in shell."""
    from layerview.tui.screens.choose import ChooseImage

    def chosen(answer: str | None) -> None:
        if answer is not None:
            app.notify("It opens when its layers are in the local area.", markup=False)
            in_background(app, lambda: InsteadMade(_make(message)), LiveMissing)

    choice = f"Open {message.image} in the built-in shell: no program of it runs"
    words = f"{message.why}."
    app.push_screen(
        ChooseImage("Containers can't be started here", words, [("built-in", choice)]), chosen
    )


def _make(message: InsteadOffered) -> str:
    words = ["create", "--json", "--interactive", "--tty", "--driver", DRIVER]
    for volume in message.volumes:
        words += ["--volume", volume]
    return created_id(Errand([*words, message.image]).finish(lambda *done: None))


def created_id(back: Returned) -> str:
    """Return the ID in what `create --json` said."""
    from layerview.errors import LayerviewError

    for document in back.said:
        if isinstance(document, dict) and isinstance(document.get("id"), str):
            return str(document["id"])
    raise LayerviewError("create said no ID")


def show_made(app: LayerviewApp, message: InsteadMade) -> None:
    """Open the container in the built-in shell, in the pane of the containers."""
    app.show_containers(message.id, enter=True)
