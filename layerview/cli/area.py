"""Words that the commands of the storage area share, and the way to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from layerview.errors import LayerviewError, NamespaceError
from layerview.store.area import Area, default_root
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from layerview.cli.flags import Values
    from layerview.containers.life import Containers


def add_area_options(parser: argparse.ArgumentParser, *, driver: bool = True) -> None:
    """Add --root and --driver to a command's words."""
    parser.add_argument("--root", metavar="DIR", help="the storage area (or set LAYERVIEW_ROOT)")
    if driver:
        parser.add_argument(
            "--driver", metavar="D", help="the storage driver (or set LAYERVIEW_DRIVER)"
        )


def in_area(arguments: argparse.Namespace | Values, work: Callable[[], int]) -> int:
    """Do work that writes the area: an ordinary user's as root of a user namespace.

    `work` opens the area with `area`; `arguments.root` is settled before, by who one is outside.
    """
    settle_root(arguments)
    if sys.platform != "linux":
        raise LayerviewError(
            "the storage area and its containers need Linux; images in files open everywhere"
        )
    if os.geteuid() == 0:
        return work()
    from layerview.drivers.namespace import run_in_user_namespace

    return run_in_user_namespace(work)


def in_own_area(arguments: argparse.Namespace | Values, work: Callable[[], int]) -> int:
    """Do work that needs no mount; where there are no user namespaces, as who one is.

    All in an ordinary user's area is then the user's own.
    """
    try:
        return in_area(arguments, work)
    except NamespaceError:
        return work()


def is_mine(root: str) -> bool:
    """Whether a root is an ordinary user's own, in which much is hidden outside of a namespace."""
    try:
        return os.stat(root).st_uid == os.geteuid() != 0
    except OSError:
        return False


def settle_root(arguments: argparse.Namespace | Values) -> None:
    """Make `arguments.root` say where the area is, in a user namespace as well as outside."""
    arguments.root = os.path.abspath(arguments.root) if arguments.root else default_root()


def containers(arguments: argparse.Namespace | Values) -> Containers:
    """Return the containers of the area that the call names."""
    from layerview.containers.life import Containers

    return Containers(area(arguments), say)


def area(arguments: argparse.Namespace | Values, *, create: bool = False) -> Area:
    """Open the area that the call names."""
    return Area.open(arguments.root, driver=getattr(arguments, "driver", None), create=create)


def say(message: str) -> None:
    """Say something on stderr."""
    sys.stdout.flush()
    print(f"layerview: {printable(message)}", file=sys.stderr)
