"""What every storage driver can do, and the parts that they share."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack

from layerview.errors import FormatError, NotFoundError
from layerview.layer.whiteouts import Whiteouts
from layerview.progress import QUIET, Progress
from layerview.text import LOWER_CASE, consists_of, is_hex, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from layerview.layer.apply import Applied
    from layerview.layer.tar_split import TarSplitWriter
    from layerview.layer.tree_changes import Change
    from layerview.layer.windows import Readable
else:
    Protocol = object


class Driver(Protocol):
    """Keeps layers and containers' file systems on disk, each under an ID of the driver's own.

    An ID has 64 hexadecimal digits (25 letters and digits where BuildKit made it), and `-init`
    behind them for a container's first layer. What is made under an ID is made in place: where
    that may be cut short, its caller notes the ID before and calls `remove` afterwards, which
    copes with whatever is there.
    """

    name: str
    """As in `image/NAME` and on the command line."""
    home: str
    """The driver's own folder in the area."""
    copy_on_write: str
    """What a first write copies: `file`, `block`, or `none` (all was copied before)."""
    whiteouts: Whiteouts
    """The form of the folder that `layer_folder` names."""

    def create(self, id: str, parent: str | None) -> None:
        """Make an empty layer on a parent, or on nothing."""

    def create_writable(self, id: str, parent: str | None) -> None:
        """Make a container's own layer on a parent."""

    def apply(
        self,
        id: str,
        parent: str | None,
        tar: Readable,
        *,
        tar_split: TarSplitWriter | None = None,
        progress: Progress = QUIET,
    ) -> Applied:
        """Unpack a layer's plain tar into a layer that `create` made."""

    def diff(self, id: str, parent: str | None) -> Iterator[bytes]:
        """Pack what a layer changes on its parent as a plain tar, in pieces."""

    def changes(self, id: str, parent: str | None) -> list[Change]:
        """Say what a layer changes on its parent, as `docker diff` does."""

    def size(self, id: str, parent: str | None) -> int:
        """Return the bytes of the files that a layer changes on its parent."""

    def look(self, id: str, paths: Sequence[bytes]) -> list[os.stat_result | None]:
        """Look at paths of a layer with all below it, through real folders only, without a mount.

        A link is looked at itself; None where nothing is, or something else stands in the way.
        """

    def imply(self, id: str, path: bytes) -> None:
        """Have a folder of the layers below in a layer's own folder as well, as it is there.

        What lies in it in `layer_folder` then shows in the tree, beside what the layers below have.
        """

    def mounted(self, id: str, *, volatile: bool = False) -> AbstractContextManager[str]:
        """Show a layer with all below it as one tree while the context lasts; give its path.

        With `volatile` what is written need not survive the machine's sudden end.
        """

    def detached(self, id: str, *, volatile: bool = False) -> AbstractContextManager[int | None]:
        """Make a layer with all below it one tree that is mounted nowhere; give its descriptor.

        Whoever has that may `attach` the tree where it likes, and keep it when the context is
        over. None where this machine can't: see `mounted`.
        """

    def descriptors(self, id: str) -> list[int]:
        """Return the descriptors that say to others that a tree is in use, in its context.

        They do so for as long as anybody has them open.
        """

    def remove(self, id: str) -> None:
        """Remove what lies under an ID, also when it is half made or not there at all."""

    def exists(self, id: str) -> bool:
        """Whether something lies under an ID."""

    def ids(self) -> list[str]:
        """Return the IDs on disk, sorted."""

    def layer_folder(self, id: str) -> str:
        """Return the folder of a layer's own files."""

    def status(self) -> list[tuple[str, str]]:
        """Return what the driver has to say about itself, as `docker info` shows it."""


def is_id(text: str) -> bool:
    """Whether a text may be an ID; see Driver."""
    id = text.removesuffix("-init")
    return is_hex(id, 64) or (len(id) == 25 and consists_of(id, f"{LOWER_CASE}0123456789"))


def check_id(id: str) -> str:
    """Return an ID that may become part of a path.

    Raises:
        FormatError: when it is none.
    """
    if not is_id(id):
        raise FormatError(f"{printable(id[:100])}: no ID of a storage driver")
    return id


def ids_in(folder: str) -> list[str]:
    """Return the sub-folders of a folder whose names are IDs, sorted."""
    try:
        with os.scandir(folder) as found:
            return sorted(
                entry.name
                for entry in found
                if is_id(entry.name) and entry.is_dir(follow_symlinks=False)
            )
    except FileNotFoundError:
        return []


def make_folder(path: str, mode: int) -> None:
    """Make a folder with exactly this mode, whatever the umask.

    Raises:
        FileExistsError: when there is something already.
    """
    os.mkdir(path, mode)
    os.chmod(path, mode)


def is_folder(path: str) -> bool:
    """Whether a folder is there; a link to one is none."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def need(driver: Driver, id: str) -> str:
    """Return an ID that is there.

    Raises:
        NotFoundError: when it is not.
    """
    if not driver.exists(id):
        raise NotFoundError(f"{driver.home} holds no layer {id[:12]}")
    return id


def naive_changes(driver: Driver, id: str, parent: str | None) -> list[Change]:
    """Compare a layer's whole tree with its parent's."""
    from layerview.layer.tree_changes import compare_trees

    with ExitStack() as held:
        lower, upper = _both(held, driver, id, parent)
        return compare_trees(lower, upper)


def naive_diff(driver: Driver, id: str, parent: str | None) -> Iterator[bytes]:
    """Pack what differs between a layer's whole tree and its parent's."""
    from layerview.layer.pack import pack_changes
    from layerview.layer.tree_changes import compare_trees

    with ExitStack() as held:
        lower, upper = _both(held, driver, id, parent)
        yield from pack_changes(lower, upper, compare_trees(lower, upper))


def naive_size(driver: Driver, id: str, parent: str | None) -> int:
    """Sum up the files that differ; each inode once (moby, pkg/archive, ChangesSize)."""
    from layerview.layer.tree_changes import compare_trees

    with ExitStack() as held:
        lower, upper = _both(held, driver, id, parent)
        base = os.fsencode(upper)
        changed = (
            base + b"/" + change.path
            for change in compare_trees(lower, upper)
            if change.kind in "AC"
        )
        return sizes_of(os.lstat(path) for path in changed)


def _both(held: ExitStack, driver: Driver, id: str, parent: str | None) -> tuple[str | None, str]:
    lower = held.enter_context(driver.mounted(parent)) if parent is not None else None
    return lower, held.enter_context(driver.mounted(id))


def sizes_of(states: Iterable[os.stat_result]) -> int:
    """Sum up the sizes of all that are no folders, each inode once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    for state in states:
        if stat.S_ISDIR(state.st_mode):
            continue
        if state.st_nlink > 1:
            inode = (state.st_dev, state.st_ino)
            if inode in seen:
                continue
            seen.add(inode)
        total += state.st_size
    return total


def folder_size(folder: str, *, leave_out: bytes = b"") -> int:
    """Sum up all files below a folder, each inode once (moby, pkg/directory, Size).

    Args:
        folder: its path.
        leave_out: what names start with that do not count, nor what is in them.
    """
    from layerview.layer.tree_figures import apparent_size

    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return apparent_size(fd, leave_out=leave_out)
    finally:
        os.close(fd)
