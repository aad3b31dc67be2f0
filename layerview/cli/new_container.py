"""The words of `run` and `create`, and the image that they name."""

from __future__ import annotations

import os

from layerview.cli.flags import Flags, Values, natural
from layerview.containers.plan import MountWish, Options
from layerview.errors import NotFoundError, UsageError
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.store.area import Area
    from layerview.store.data_root import ImageRecord

_MAX_ENV_FILE = 16 << 20


def _volume(text: str) -> MountWish:
    from layerview.containers.mount_words import volume

    return volume(text)


def _mount(text: str) -> MountWish:
    from layerview.containers.mount_words import mount

    return mount(text)


def _label(text: str) -> str:
    if not text.partition("=")[0]:
        raise UsageError(f"{printable(text[:80])!r} is no label: KEY or KEY=VALUE is")
    return text


def _network(text: str) -> str:
    if text not in ("none", "host"):
        raise UsageError(
            f"--network {printable(text[:40])}: none and host are; layerview makes no networks"
        )
    return text


def add_flags(flags: Flags) -> None:
    """Add the words that `run` and `create` share."""
    flags.switch("-i", "--interactive", about="keep its input open")
    flags.switch("-t", "--tty", about="give it a terminal")
    flags.switch("--rm", about="remove it, and its volumes without a name, when it ends")
    flags.value("--name", metavar="NAME", about="call it so", default="")
    flags.values("-e", "--env", metavar="KEY=VALUE", about="an environment variable")
    flags.values("--env-file", metavar="FILE", about="environment variables, one a line")
    flags.value("-w", "--workdir", metavar="DIR", about="where its program starts", default="")
    flags.value("-u", "--user", metavar="USER", about="name or ID, and :GROUP", default="")
    flags.values(
        *("-v", "--volume"),
        metavar="[SRC:]DST[:ro]",
        read=_volume,
        about="a volume, or a folder of the machine, and where it shows",
    )
    flags.values(
        *("--mount",),
        metavar="TYPE,SRC,DST",
        read=_mount,
        about="the same: type=volume|bind|tmpfs,source=…,target=…[,readonly]",
    )
    flags.value("--entrypoint", metavar="PROGRAM", about='instead of the image\'s; "" for none')
    flags.value("-h", "--hostname", metavar="NAME", about="its host name", default="")
    flags.values("-l", "--label", metavar="KEY=VALUE", read=_label, about="a label")
    flags.value(
        *("--network", "--net"),
        metavar="none|host",
        default="none",
        read=_network,
        about="no network but its own loopback (default), or the machine's",
    )
    flags.value("--stop-signal", metavar="SIGNAL", default="", about="what stop sends it (SIGTERM)")
    flags.value(
        *("--runtime",),
        metavar="NAME",
        default="",
        about="layerview (default), runc or crun (or set LAYERVIEW_RUNTIME)",
    )
    flags.value("--platform", metavar="P", about="which image of an index is loaded")
    flags.json()
    flags.area(driver=True)


def count(text: str) -> int:
    """Read a number of 1 or more."""
    found = natural(text)
    if not found:
        raise UsageError("--count 0: one or more are started")
    return found


def options(arguments: Values, *, attached: bool) -> Options:
    """Return what a call asks of a container.

    Raises:
        UsageError: when an option makes no sense.
    """
    if arguments.stop_signal:
        from layerview.containers.spec import signal_number

        signal_number(arguments.stop_signal)
    entrypoint: tuple[str, ...] | None = None
    if arguments.entrypoint is not None:
        entrypoint = (arguments.entrypoint,) if arguments.entrypoint else ()
    return Options(
        args=tuple(arguments.rest[1:]),
        name=arguments.name,
        entrypoint=entrypoint,
        env=tuple(environment(arguments)),
        workdir=arguments.workdir,
        user=arguments.user,
        hostname=arguments.hostname,
        labels=tuple(arguments.label),
        stop_signal=arguments.stop_signal,
        tty=arguments.tty,
        open_stdin=arguments.interactive,
        attached=attached,
        auto_remove=arguments.rm,
        network=arguments.network,
        mounts=(*arguments.volume, *arguments.mount),
        runtime=arguments.runtime,
        driver=wanted_driver(arguments),
    )


def environment(arguments: Values) -> list[str]:
    """Return the variables of --env-file, and of -e behind them.

    Raises:
        NotFoundError: when a file can't be read.
        UsageError: when a line is no variable (docker/cli, opts/file.go).
    """
    found: list[str] = []
    for name in arguments.env_file:
        found += _variables(name)
    return [*found, *arguments.env]


def _variables(path: str) -> list[str]:
    shown = printable(path)
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_ENV_FILE + 1)
        text = data.decode()
    except OSError as error:
        raise NotFoundError(f"--env-file {shown}: {(error.strerror or '').lower()}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--env-file {shown} is not UTF-8") from None
    if len(data) > _MAX_ENV_FILE:
        raise UsageError(f"--env-file {shown} is longer than {_MAX_ENV_FILE:,} bytes")
    found = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        key = line.partition("=")[0]
        if not key or any(char.isspace() for char in key):
            raise UsageError(f"--env-file {shown}, line {number}: {printable(key)!r} is no name")
        found.append(line)
    return found


def wanted_driver(arguments: Values) -> str | None:
    """Return the driver that the call or LAYERVIEW_DRIVER asks for; None: any that has the image.

    Other than for a new area, nobody asks for a driver who asks for none.
    """
    return arguments.driver or os.environ.get("LAYERVIEW_DRIVER") or None


def image_in_area(
    arguments: Values, word: str, *, trial: bool = True
) -> tuple[Area, str, ImageRecord | None]:
    """Return the area and a name of the image in it; the image is loaded first where it is not.

    Where it was there already, its record comes with it.

    Args:
        arguments: `driver`, `platform`, `root`.
        word: the image's name, its ID, or a file, a folder or the like that holds it.
        trial: whether a driver is tried that the image is loaded under.

    Raises:
        NotFoundError: when it is nowhere.
        LayerviewError: when it can't be loaded.
    """
    from layerview.cli.area import area
    from layerview.store.finding import find

    driver = wanted_driver(arguments)
    try:
        place: Area | None = area(arguments)
    except NotFoundError:
        place = None
    # One that was made just now has no images' folder yet.
    if place is not None and os.path.isdir(os.path.join(place.root, "image")):
        name = word.removeprefix("local:") if word.startswith("local:") else word
        try:
            return place, name, find(place.data, name, driver).record
        except NotFoundError:
            pass
        except UsageError:
            if not os.path.exists(word):
                raise
        if driver is not None:
            try:
                record = find(place.data, name).record
            except NotFoundError:
                pass
            else:
                from layerview.cli.load_for_run import load_from_area

                load_from_area(place, record, driver, trial=trial)
                return place, name, None
    from layerview.cli.load_for_run import load_from_elsewhere

    return *load_from_elsewhere(arguments, word, driver, trial=trial), None
