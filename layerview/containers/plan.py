"""What is asked of a container, and what its start needs to know.

Named tuples, for a class of these is made in a tenth of the time of a dataclass: a start waits for
all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from layerview.errors import LayerviewError
from layerview.records import Record


class StartError(LayerviewError):
    """A container, or a command in one, was not started."""

    def __init__(self, message: str, code: int = 125) -> None:
        """Keep the exit status that `docker run` has for it.

        Args:
            message: one line for people.
            code: 125: not even tried; 126: it can't be executed; 127: it was not found.
        """
        super().__init__(message)
        self.code = code


class MountWish(Record):
    """A mount as `-v` or `--mount` asks for it."""

    kind: str
    """"volume", "bind" or "tmpfs"."""
    source: str
    """The volume's name, "" for one without; for a bind the path outside, absolute."""
    target: str
    """The path in the container, absolute."""
    read_only: bool = False
    copy: bool = True
    """Fill an empty volume with what the image has at `target`."""
    make_source: bool = True
    """Make a bind's missing folder outside, as -v does and --mount does not."""


class Options(Record):
    """What a call asks of a new container, beyond the image."""

    args: tuple[str, ...] = ()
    """Takes the place of the image's Cmd."""
    name: str = ""
    entrypoint: tuple[str, ...] | None = None
    """Takes the place of the image's Entrypoint; () for none."""
    env: tuple[str, ...] = ()
    """`KEY=value`; `KEY` takes it over from here; set above the image's."""
    workdir: str = ""
    user: str = ""
    hostname: str = ""
    labels: tuple[str, ...] = ()
    stop_signal: str = ""
    tty: bool = False
    open_stdin: bool = False
    attached: bool = False
    """Somebody follows it from the start: what they type ends with them (Docker's StdinOnce)."""
    auto_remove: bool = False
    network: str = "none"
    """"none" or "host"."""
    mounts: tuple[MountWish, ...] = ()
    runtime: str = ""
    """"layerview", "runc" or "crun"; "" for the usual one."""
    driver: str | None = None


class Bind(Record):
    """A folder or file of the machine that shows in the container."""

    source: str
    """Absolute path outside."""
    target: str
    """Absolute path in the container; links in it are resolved in there."""
    read_only: bool = False
    kind: str = "bind"
    """"bind", or "tmpfs": an empty folder in memory, without a source."""


class Plan(Record):
    """All that a start needs; the rest is on disk."""

    id: str
    folder: str
    """ROOT/containers/ID, absolute."""
    run: str
    """ROOT/layerview/run/ID: the socket `shim`, and what a runtime needs."""
    mount_id: str
    """The driver's ID of the container's own layer."""
    log: str
    """The JSON log, absolute."""
    args: tuple[str, ...]
    """Program and arguments, at least one."""
    env: tuple[str, ...]
    """`KEY=value`, complete but for HOME, which the user's entry in passwd gives where missing."""
    cwd: str = "/"
    user: str = ""
    """As in the image's config: name or ID, `:` and a group."""
    hostname: str = ""
    tty: bool = False
    rows: int = 0
    columns: int = 0
    open_stdin: bool = False
    stdin_once: bool = False
    binds: tuple[Bind, ...] = ()
    """In the order in which they are mounted; /etc/hosts and the like are among them."""
    network: str = "none"
    runtime: str = "layerview"
    remove: tuple[str, ...] = ()
    """What the shim executes at the end where nobody is left to remove the container."""
    volatile: bool = False
    """The layer goes with the container: nothing of it need reach the disk."""


class ExecPlan(Record):
    """A command for a running container."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    tty: bool = False
    rows: int = 0
    columns: int = 0


class Started(Record):
    """What a start came to."""

    pid: int
    """The first process, as the machine counts."""
    shim: int
    nanoseconds: int
    """From the call until the program was executed."""
    notes: Sequence[str] = ()
