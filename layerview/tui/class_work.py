"""What a Class view asks of the machine: which containers run, their events, one more, one less."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from layerview.errors import LayerviewError
from layerview.tui.container_lines import ContainerLine, loss_words, read_changes, read_lines
from layerview.tui.errands import Returned
from layerview.watch.target import Target, below

Ask = Callable[[Sequence[str]], Returned]
"""Has a command of layerview's own carried out."""


Finder = Callable[[], list[Target]]
"""Returns the containers that run; called in a thread."""


def running_here() -> list[Target]:
    """Return what runs in the storage area.

    Raises:
        LayerviewError: when that can't be read.
    """
    from layerview.store.area import default_root
    from layerview.watch import ours

    root = default_root()
    # An area is made by the first load.
    return ours.running(root) if os.path.lexists(root) else []


def sharing(targets: Sequence[Target], stack: Sequence[str], image: str) -> list[Target]:
    """Return those that share one stack of layers.

    Args:
        targets: containers.
        stack: the ChainIDs of the image's layers, base first; may be empty.
        image: what the containers call their image, where the stack is not known.
    """
    found = [target for target in targets if _has(target, stack, image)]
    if not found:
        return []
    # The same layers under another driver lie elsewhere: that is another stack.
    folders = _folders(found[0])
    return [target for target in found if _folders(target) == folders]


def _has(target: Target, stack: Sequence[str], image: str) -> bool:
    own = [layer.chain_id for layer in reversed(below(target))]
    if stack and any(own):
        return own == list(stack)
    return target.image.removesuffix(":latest") == image.removesuffix(":latest")


def _folders(target: Target) -> tuple[str, ...]:
    return tuple(layer.folder for layer in below(target))


def start_words(image: str, count: int, volumes: Sequence[str]) -> list[str]:
    """Return the command that starts containers to type in.

    Args:
        image: as `run` takes it.
        count: how many.
        volumes: as `--volume` takes them.
    """
    words = ["run", "--detach", "--json", "--interactive", "--tty"]
    if count > 1:
        words += ["--count", str(count)]
    for volume in volumes:
        words += ["--volume", volume]
    return [*words, image]


def volumes_of(target: Target) -> list[str]:
    """Return a container's named volumes as `--volume` takes them."""
    return [
        f"{volume.name}:/{volume.target.decode()}" + (":ro" if volume.read_only else "")
        for volume in target.volumes
        # One without a name of its own is a container's own.
        if volume.name and len(volume.name) < 64 and volume.target.isascii()
    ]


def loss_of(ask: Ask, id: str, binary: bool) -> str:
    """Say what is lost with a container, and what stays.

    Raises:
        LayerviewError: when there is no such container.
    """
    lines = read_lines(ask(["ps", "--json", "-a", "-s"]).said)
    line: ContainerLine | None = next((line for line in lines if line.id == id), None)
    if line is None:
        raise LayerviewError("it is removed already")
    try:
        changes = read_changes(ask(["changes", "--json", id]).said)
    except LayerviewError:
        # It goes all the same; how many files that are is not known.
        return loss_words([line], None, binary)
    return loss_words([line], changes, binary)
