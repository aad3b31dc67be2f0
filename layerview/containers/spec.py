"""What a container runs: the image's config and what the call asks, put together as Docker does."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from layerview.containers.plan import MountWish, Options, StartError
from layerview.errors import UsageError
from layerview.oci.config import ImageConfig
from layerview.oci.fields import Fields
from layerview.records import Record
from layerview.text import printable

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_STOP_SIGNAL = "SIGTERM"


class Settings(Record):
    """What a container runs with, as config.v2.json keeps it (moby, api/types/container)."""

    path: str
    args: tuple[str, ...]
    config: dict[str, object]
    """Docker's `Config` object."""
    mounts: tuple[MountWish, ...]
    """What was asked for and the image's own volumes, by target."""


def settle(image: ImageConfig, image_name: str, id: str, options: Options) -> Settings:
    """Put image and options together (moby, daemon/commit.go, merge).

    Args:
        image: of the image.
        image_name: as the call names it.
        id: the container's, whose first digits are its host name where none is asked for.
        options: of the call.

    Raises:
        StartError: when neither names a program.
        UsageError: when an option makes no sense.
    """
    fields = Fields(dict(image.config), "image config")
    entrypoint: tuple[str, ...]
    command = options.args
    if options.entrypoint is not None:
        # As in Docker, another entry point makes the image's Cmd count no more.
        entrypoint = options.entrypoint
    else:
        entrypoint = fields.text_or_texts("Entrypoint")
        command = command or fields.text_or_texts("Cmd")
    words = (*entrypoint, *command)
    if not words or not words[0]:
        raise StartError(
            f"image {printable(image_name)} names no program to run: say one behind the image"
        )
    env = asked_environment(options.env, fields.texts("Env"))
    workdir = options.workdir or fields.optional_text("WorkingDir") or ""
    if workdir and not workdir.startswith("/"):
        raise UsageError(f"the working directory {printable(workdir)} is not an absolute path")
    labels = {**fields.text_map("Labels"), **dict(map(_label, options.labels))}
    attached = options.attached
    config: dict[str, object] = {
        "Hostname": options.hostname or id[:12],
        "Domainname": "",
        "User": options.user or fields.optional_text("User") or "",
        "AttachStdin": attached and options.open_stdin,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "Tty": options.tty,
        "OpenStdin": options.open_stdin,
        "StdinOnce": attached and options.open_stdin,
        "Env": env,
        "Cmd": list(command) or None,
        "Image": image_name,
        "Volumes": {path: {} for path in fields.mapping("Volumes")} or None,
        "WorkingDir": workdir,
        "Entrypoint": list(entrypoint) or None,
        "OnBuild": None,
        "Labels": labels,
    }
    if ports := fields.mapping("ExposedPorts"):
        config["ExposedPorts"] = ports
    if signal := options.stop_signal or fields.optional_text("StopSignal"):
        config["StopSignal"] = signal
    return Settings(words[0], words[1:], config, _mounts(options.mounts, fields))


def asked_environment(asked: Sequence[str], image: Sequence[str] = ()) -> list[str]:
    """Return the variables that a call asks for, and those of the image that it leaves.

    Args:
        asked: `KEY=value`; `KEY` takes it over from here.
        image: `KEY=value`.

    Raises:
        UsageError: when one is no variable.
    """
    found: list[str] = []
    for entry in asked:
        key, sign, _ = entry.partition("=")
        if not key or "\0" in entry:
            raise UsageError(f"{printable(entry[:80])!r} is no environment variable: KEY=value is")
        if sign:
            found.append(entry)
        elif key in os.environ:
            found.append(f"{key}={os.environ[key]}")
    # Of a variable that is named twice the last value counts; its place is the first one's.
    by_key = {entry.partition("=")[0]: entry for entry in found}
    keys = {entry.partition("=")[0] for entry in asked}
    return [
        *by_key.values(),
        *(entry for entry in image if "\0" not in entry and entry.partition("=")[0] not in keys),
    ]


def _label(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _mounts(asked: Iterable[MountWish], image: Fields) -> tuple[MountWish, ...]:
    found: dict[str, MountWish] = {}
    for wish in asked:
        target = os.path.normpath(wish.target)
        if target in found:
            raise UsageError(f"{printable(wish.target)} is mounted on twice")
        found[target] = wish
    for target in image.mapping("Volumes"):
        # An image may say anything here; what is no place for a mount is none of its volumes.
        if target.startswith("/") and os.path.normpath(target) not in ("/", "//"):
            found.setdefault(os.path.normpath(target), MountWish("volume", "", target))
    return tuple(found[target] for target in sorted(found))


def environment(config: Mapping[str, object], hostname: str) -> tuple[str, ...]:
    """Return the first process's environment (moby, container.CreateDaemonEnvironment)."""
    fields = Fields(dict(config), "container")
    by_key = {"PATH": f"PATH={DEFAULT_PATH}", "HOSTNAME": f"HOSTNAME={hostname}"}
    if fields.flag("Tty"):
        by_key["TERM"] = "TERM=xterm"
    for entry in fields.texts("Env"):
        key, sign, _ = entry.partition("=")
        if sign:
            by_key[key] = entry
        else:
            by_key.pop(key, None)
    return tuple(by_key.values())


def signal_number(word: str) -> int:
    """Return a signal's number by its name (with or without SIG) or number.

    Raises:
        UsageError: when there is none.
    """
    import signal

    text = word.strip().upper()
    if text.isascii() and text.isdecimal() and len(text) < 4 and 0 < int(text) < signal.NSIG:
        return int(text)
    name = text if text.startswith("SIG") else f"SIG{text}"
    base, plus, offset = name.partition("+")
    if base == "SIGRTMIN" and plus and offset.isdecimal() and len(offset) < 3:
        number = signal.SIGRTMIN + int(offset)
        if number <= signal.SIGRTMAX:
            return number
    try:
        return int(signal.Signals[name])
    except KeyError:
        raise UsageError(f"{printable(word[:40])!r} is no signal") from None
