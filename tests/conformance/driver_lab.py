"""Layers made through a driver beside a plain folder that the same is done to.

stack = Stack(make_driver("overlay2", root), root)
top = stack.write(None, lambda folder: (folder / "a").write_text("a"))
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from layerview.drivers.base import Driver
from layerview.drivers.namespace import mapped_owners
from tests.support.trees import Found, snapshot

Work = Callable[[Path], object]


def may_own(uid: int, gid: int) -> bool:
    """Whether files can be given these ids here."""
    owners = mapped_owners()
    return owners is None or owners.ids(uid, gid) is not None


def owner(uid: int, gid: int) -> tuple[int, int]:
    """Return ids that files can be given here: these, or else the own."""
    return (uid, gid) if may_own(uid, gid) else (0, 0)


class Stack:
    """Layers of one driver, and what each must look like: a plain folder, changed alike."""

    def __init__(self, driver: Driver, scratch: Path) -> None:
        self.driver = driver
        self._scratch = scratch
        self._numbers = itertools.count(1)
        self.parents: dict[str, str | None] = {}

    def id(self) -> str:
        """Return an ID that is not used yet."""
        return f"{next(self._numbers):064x}"

    def create(self, parent: str | None) -> str:
        """Make an empty layer; its plain folder is a copy of the parent's."""
        made = self.id()
        self.driver.create(made, parent)
        self.parents[made] = parent
        flat = self.flat(made)
        if parent is None:
            flat.mkdir(mode=0o755)
        else:
            copy(self.flat(parent), flat)
        return made

    def flat(self, id: str) -> Path:
        """Return the plain folder of a layer."""
        return self._scratch / f"flat-{id[-6:]}"

    def write(self, parent: str | None, *works: Work) -> str:
        """Make a layer and do the works in it and in its plain folder, one after the other."""
        made = self.create(parent)
        self.change(made, *works)
        return made

    def change(self, id: str, *works: Work) -> None:
        """Do works in a layer and in its plain folder; compare before and after each."""
        with self.driver.mounted(id) as place:
            self.check(id, Path(place))
            for work in works:
                for folder in (Path(place), self.flat(id)):
                    work(folder)
                self.check(id, Path(place))

    def check(self, id: str, place: Path | None = None) -> None:
        """Hold a layer's tree against its plain folder."""
        if place is None:
            with self.driver.mounted(id) as mounted:
                self.check(id, Path(mounted))
            return
        assert comparable(snapshot(place)) == comparable(snapshot(self.flat(id)))

    def commit(self, id: str) -> str:
        """Make a layer out of another's diff, as an engine commits a container."""
        parent = self.parents[id]
        made = self.id()
        tar = b"".join(self.driver.diff(id, parent))
        self.driver.create(made, parent)
        self.parents[made] = parent
        applied = self.driver.apply(made, parent, io.BytesIO(tar))
        assert applied.notes == []
        copy(self.flat(id), self.flat(made))
        self.check(made)
        return made


def copy(source: Path, target: Path) -> None:
    """Copy a plain folder by cp, which is nothing of layerview's."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def comparable(tree: dict[bytes, Found]) -> dict[bytes, Found]:
    """Leave out the disk's numbers and times: the works are done at two times."""
    return {path: replace(found, inode=0, mtime=0) for path, found in tree.items()}


def replace_folder(path: Path) -> None:
    """Remove a folder with all it has, and make it anew."""
    shutil.rmtree(path)
    path.mkdir()


def modes(path: Path) -> tuple[int, int, int]:
    """Return permission bits, owner and group."""
    state = os.lstat(path)
    return stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid
