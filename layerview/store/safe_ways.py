"""What a person can safely do about a part of a data root: Docker's way, or the area's own."""

from __future__ import annotations

import os
import shlex
from functools import cached_property
from typing import NamedTuple

from layerview.store.account import Part
from layerview.store.area import is_own
from layerview.store.data_root import DataRoot
from layerview.store.driver_homes import HOMES, REMOVING
from layerview.store.references import Records
from layerview.store.volumes import is_name
from layerview.text import printable


class Way(NamedTuple):
    """What frees a part's space without harm."""

    words: str
    commands: tuple[str, ...] = ()
    """To be run after what the words say, one after the other."""

    def __str__(self) -> str:
        return self.words + " and then".join(f" `{command}`" for command in self.commands)


class SafeWays:
    """Says what can be done about the parts of one data root's account."""

    def __init__(self, root: DataRoot) -> None:
        """Name the root; its records are read when they are first needed."""
        self._root = root
        self.own = is_own(os.path.join(root.path, "layerview"))
        """Whether it is a storage area that layerview made, and may change."""

    def way(self, part: Part) -> str:
        """Say in a line what frees a part's space without harm; "" where nothing need be said."""
        return str(self.steps(part) or "")

    def steps(self, part: Part) -> Way | None:
        """Say what frees a part's space without harm; None where nothing need be said."""
        if part.kind == "orphan":
            return self._own_orphan() if self.own else self._orphan(part)
        # Without a note, somebody unknown may mount it.
        if part.kind == "volume" and part.note and not part.owners and is_name(part.name):
            word = "layerview" if self.own else "docker"
            command = f"{word} volume rm {_quoted(part.name)}"
            return Way("if its data is not needed:", (command,))
        if part.kind == "build_cache" and part.driver:
            # What the databases themselves take stays.
            return Way("deletes what no build uses:", ("docker builder prune",))
        if part.kind == "temporary":
            said = self._temporary(part)
            return Way(said) if said else None
        return None

    def _own_orphan(self) -> Way:
        command = f"layerview prune --orphans --root {_quoted(self._root.path)}"
        return Way("deletes them, after asking:", (command,))

    def _temporary(self, part: Part) -> str:
        if self.own:
            return "the next command that changes the area clears it up, if nobody is at it"
        below = os.path.relpath(part.path, self._root.path)
        if below.split("/", 1)[0] == "tmp":
            return "the engine empties this when it starts"
        if part.path.endswith(REMOVING):
            return "a restart of the engine finishes the deletion"
        return ""

    def _orphan(self, part: Part) -> Way:
        """Docker has no command for it: what it does not know it does not prune."""
        idle = self._records.drivers[part.driver].idle.get(part.id)
        if idle is not None and idle.why == "removing":
            return Way("a restart of the engine finishes the deletion that was interrupted")
        folders = [path for path in self._folders(part) if os.path.lexists(path)]
        # Whatever is mounted there still is not the orphan's.
        remove = "rm -r --one-file-system"
        commands = [f"{remove} {_quoted(*folders)}"]
        if part.driver == "btrfs":
            commands = [f"btrfs subvolume delete {_quoted(*folders)}"]
        if idle is not None:
            # The record first: without its folder it would have the engine count on nothing.
            commands.insert(0, f"{remove} {_quoted(idle.record)}")
        return Way("stop the engine, run this again, and if it is still an orphan:", (*commands,))

    def _folders(self, part: Part) -> list[str]:
        home = HOMES.get(part.driver)
        if home is None:
            return [part.path]
        base = os.path.join(self._root.path, part.driver)
        return [os.path.join(base, place, part.id) for place in home.places]

    @cached_property
    def _records(self) -> Records:
        return Records(self._root, HOMES)


def _quoted(*paths: str) -> str:
    return " ".join(shlex.quote(printable(path)) for path in paths)
