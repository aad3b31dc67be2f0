"""What screens with workers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.worker import Worker, WorkerState

if TYPE_CHECKING:
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
