"""From the word by which a person calls a container to what can be watched of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from layerview.errors import LayerviewError, NotFoundError
from layerview.store.area import default_root
from layerview.text import printable
from layerview.watch import docker, ours, podman
from layerview.watch.target import Target


def find_target(word: str, *, root: str | None = None) -> Target:
    """Find a container: in the storage area, then in Docker, then in Podman.

    Args:
        word: its name, its ID, or the first digits of that.
        root: an area or a data root, where alone it is looked for.

    Raises:
        NotFoundError: when there is none; the message says where it was looked for.
        UsageError: when several IDs begin so.
        LayerviewError: when it is there and can't be watched, with the remedy.
    """
    if root is not None:
        return _readable(ours.find(word, os.path.abspath(root)))
    tried = []
    places: list[Callable[[str], Target]] = [_in_area, docker.find, podman.find]
    for look in places:
        try:
            return _readable(look(word))
        except NotFoundError as error:
            tried.append(str(error))
    raise NotFoundError(f"there is no container {printable(word)}: {'; '.join(tried)}")


def targets(*, root: str | None = None) -> list[Target]:
    """List what runs and can be watched: the area's containers, Docker's, Podman's."""
    found: dict[str, Target] = {}
    own = root or default_root()
    places: list[Callable[[], list[Target]]] = [
        lambda: ours.running(own),
        docker.running,
        podman.running,
    ]
    for look in places:
        with suppress(LayerviewError):
            for target in look():
                with suppress(LayerviewError):
                    found.setdefault(target.id, _readable(target))
    return list(found.values())


def _in_area(word: str) -> Target:
    root = default_root()
    # An area is made by the first load.
    if not os.path.lexists(root):
        raise NotFoundError(f"the storage area {printable(root)} is not made yet")
    return ours.find(word, root)


def _readable(target: Target) -> Target:
    """Return a target whose layers may be looked at from here.

    Raises:
        LayerviewError: when they may not, or are not there.
    """
    places = [target.upper, *(layer.folder for layer in target.layers)]
    start = f"container {printable(target.name)} can't be watched: "
    for place in places:
        try:
            os.lstat(place)
        except PermissionError:
            raise LayerviewError(
                f"{start}{printable(place)}: permission denied; use sudo"
            ) from None
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise LayerviewError(f"{start}{printable(place)}: {why}") from None
    state = os.lstat(target.upper)
    # Who may not read it all, but owns it, can enter the user namespace that does.
    if os.geteuid() not in (0, state.st_uid) and not os.access(target.upper, os.R_OK | os.X_OK):
        raise LayerviewError(f"{start}{printable(target.upper)} is another user's; use sudo")
    return target
