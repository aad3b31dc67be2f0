"""Following a container on this process's own terminal or pipes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from layerview.containers import sockets
from layerview.errors import LayerviewError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.containers.life import Containers
    from layerview.containers.plan import Started
    from layerview.containers.talk import Attached


def check_terminal(*, stdin: bool, tty: bool) -> None:
    """Make sure that what is typed for a terminal comes from one, as Docker does.

    Raises:
        UsageError: when standard input is none.
    """
    if stdin and tty and not os.isatty(0):
        raise UsageError("standard input is no terminal: leave out -t")


def terminal_size() -> tuple[int, int]:
    """Return rows and columns of our own terminal; 0, 0 where there is none."""
    from layerview.containers.terminal import size

    return next((found for found in map(size, (1, 0, 2)) if found != (0, 0)), (0, 0))


def follow(
    containers: Containers, id: str, attached: Attached, *, stdin: bool, signals: bool = True
) -> int | None:
    """Follow a container until it ends or is left alone.

    Args:
        containers: of the area.
        id: its ID.
        attached: the connection.
        stdin: whether it gets our input.
        signals: whether the signals that we get are passed on to it.

    Returns:
        Its exit status; None when it goes on without us.
    """
    from layerview.containers.terminal import follow as on_terminal

    def resize(rows: int, columns: int) -> None:
        with suppress(LayerviewError):
            containers.resize(id, rows, columns)

    def send(number: int) -> None:
        with suppress(LayerviewError):
            containers.kill(id, number)

    sys.stdout.flush()
    return on_terminal(
        attached, stdin=0 if stdin else None, resize=resize, send_signal=send if signals else None
    )


def start_and_follow(
    containers: Containers,
    id: str,
    *,
    tty: bool,
    stdin: bool,
    signals: bool = True,
    started: Callable[[Started], None] = lambda started: None,
) -> int | None:
    """Start a container and follow it from its first byte on; see `follow`.

    Args:
        containers: of the area.
        id: its ID.
        tty: whether it has a terminal.
        stdin: whether it gets our input.
        signals: whether the signals that we get are passed on to it.
        started: told how the start went, before anything is shown.

    Raises:
        StartError: when it was not started.
        LayerviewError: likewise.
    """
    rows, columns = terminal_size() if tty else (0, 0)
    ours, theirs = sockets.socketpair()
    try:
        with theirs:
            begun = containers.start(
                id, client=theirs, rows=rows, columns=columns, meanwhile=_prepare
            )
        started(begun)
        from layerview.containers.talk import Attached

        return follow(containers, id, Attached(ours, tty, stdin), stdin=stdin, signals=signals)
    finally:
        ours.close()


def _prepare() -> None:
    """Import what follows a container, while that is put together."""
    import layerview.containers.terminal  # noqa: F401
