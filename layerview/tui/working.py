"""What screens with workers share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from textual.message import Message
from textual.worker import Worker, WorkerState

from layerview.errors import LayerviewError
from layerview.text import printable

if TYPE_CHECKING:
    from textual.message_pump import MessagePump
    from textual.screen import Screen


class TellsFailures:
    """A mixin for screens: a worker that fails unexpectedly says so, and the screen lives on."""

    def on_worker_state_changed(self: Screen[object], event: Worker.StateChanged) -> None:  # type: ignore[misc]
        """Tell of an error that the worker itself did not."""
        if event.state is WorkerState.ERROR:
            error = event.worker.error
            self.notify(
                f"{type(error).__name__}: {error}",
                title=f"{event.worker.description or event.worker.name} failed",
                severity="error",
                markup=False,
                timeout=20,
            )


class Done(Message):
    """A command is carried out, or why it is not."""

    def __init__(
        self, title: str, words: str, ids: Sequence[str] = (), *, failed: bool = False
    ) -> None:
        self.title = title
        self.words = words
        self.ids = ids
        """Of what it is about."""
        self.failed = failed
        super().__init__()


def tell_done(screen: Screen[None], message: Done) -> None:
    """Tell how a command went."""
    if message.failed:
        title = f"Not {message.title.lower()}"
        screen.notify(message.words, title=title, severity="error", markup=False)
    else:
        screen.notify(message.words, title=message.title, markup=False)


def in_background(
    target: MessagePump, work: Callable[[], Message], failed: Callable[[str], Message]
) -> None:
    """Do work that may take long in a thread, and post the message that it comes to.

    Not a Textual worker: leaving the program would wait for it.

    Args:
        target: what the message is for; it may be gone by then.
        work: returns the message. One with a `dispose` is disposed of when nobody takes it.
        failed: makes a message of why it went wrong.
    """

    def run() -> None:
        try:
            message = work()
        except (LayerviewError, OSError) as error:
            message = failed(printable(str(error)))
        except Exception as error:
            message = failed(printable(f"{type(error).__name__}: {error}"))
        taken = False
        with suppress(RuntimeError):
            taken = target.is_running and target.post_message(message)
        if not taken and hasattr(message, "dispose"):
            message.dispose()

    threading.Thread(target=run, daemon=True).start()
