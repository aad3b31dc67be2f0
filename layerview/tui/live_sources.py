"""Where a Live view's records come from: a container that is being watched."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from layerview.watch.events import Record
from layerview.watch.target import Target

if TYPE_CHECKING:
    from layerview.tui.live_model import Source


class WatchedSource:
    """A container, watched for as long as somebody listens."""

    def __init__(self, target: Target) -> None:
        self.target = target

    async def batches(self) -> AsyncIterator[list[Record]]:
        """Give what happens; reads too, where the driver sees them."""
        from layerview.watch.stream import stream

        # Our union alone tells of them.
        told = stream(self.target, reads=self.target.steps is not None)
        async with aclosing(cast("AsyncGenerator[list[Record]]", told)) as batches:
            async for batch in batches:
                yield batch


def watched(word: str) -> Source:
    """Find a container by its name or ID, ours first; to be called in a thread.

    Raises:
        LayerviewError: when there is none, or it can't be watched.
    """
    from layerview.watch.targets import find_target

    return WatchedSource(find_target(word))
