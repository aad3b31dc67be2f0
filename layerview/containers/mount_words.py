"""Reading `-v` and `--mount` as Docker 20.10 does.

moby, volume/mounts/linux_parser.go; docker/cli, opts/mount.go.
"""

from __future__ import annotations

import os

from layerview.containers.plan import MountWish
from layerview.errors import UsageError
from layerview.text import printable

_ACCESS = ("ro", "rw")
_LABELS = ("z", "Z")
_PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_CONSISTENCY = ("consistent", "cached", "delegated")
_MODES = (_ACCESS, _LABELS, _PROPAGATION, ("nocopy",), _CONSISTENCY)
_TRUTHS = ("1", "t", "T", "TRUE", "true", "True")
_LIES = ("0", "f", "F", "FALSE", "false", "False")
_KEYS = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
}
_SWITCHES = ("readonly", "volume-nocopy", "bind-nonrecursive")
_KNOWN = (
    *("type", "source", "target", "readonly", "consistency", "bind-propagation"),
    *("bind-nonrecursive", "volume-nocopy", "volume-label", "volume-driver", "volume-opt"),
    *("tmpfs-size", "tmpfs-mode"),
)
_LEFT_OUT = {
    "bind-nonrecursive": "what is mounted below a bound folder always shows with it",
    "volume-label": "layerview keeps no labels of volumes",
    "volume-opt": "layerview's volumes are plain folders",
    "tmpfs-size": "a tmpfs has the size that the kernel gives it",
    "tmpfs-mode": "a tmpfs has the mode 1777",
}


def volume(text: str) -> MountWish:
    """Read what follows `-v`: `[SOURCE:]TARGET[:MODES]`.

    Raises:
        UsageError: when it says no mount, or one that layerview can't make.
    """
    parts = text.split(":")
    off = UsageError(f"-v {printable(text)}: [SOURCE:]TARGET[:ro] is meant")
    if not parts[0] or len(parts) > 3:
        raise off
    if len(parts) == 1:
        return _checked(f"-v {text}", MountWish("volume", "", parts[0]))
    source, target = parts[:2]
    mode = parts[2] if len(parts) == 3 else ""
    if not target or (len(parts) == 2 and _is_mode(target)):
        raise off
    if not _is_mode(mode):
        raise UsageError(f"-v {printable(text)}: {printable(mode)} is no mode: ro, rw, nocopy are")
    modes = mode.split(",")
    kind = "bind" if source.startswith("/") else "volume"
    if kind == "volume" and "/" in source:
        raise UsageError(
            f"-v {printable(text)}: {printable(source)} is neither a volume's name nor an absolute"
            " path; a folder of this machine is named by its whole path"
        )
    if kind == "bind" and "nocopy" in modes:
        raise UsageError(f"-v {printable(text)}: nocopy is for volumes; nothing is copied here")
    propagation = [word for word in modes if word in _PROPAGATION]
    if propagation and kind == "volume":
        raise UsageError(f"-v {printable(text)}: {propagation[0]} is for folders of the machine")
    for word in propagation:
        _check_propagation(f"-v {text}", word)
    wish = MountWish(kind, source, target, read_only="ro" in modes, copy="nocopy" not in modes)
    return _checked(f"-v {text}", wish)


def _is_mode(text: str) -> bool:
    """Whether it is a list of modes, at most one of each sort."""
    if not text:
        return True
    words = text.split(",")
    known = all(any(word in sort for sort in _MODES) for word in words)
    return known and all(sum(word in sort for word in words) <= 1 for sort in _MODES)


def _check_propagation(what: str, word: str) -> None:
    if word not in ("private", "rprivate"):
        raise UsageError(
            f"{printable(what)}: propagation {printable(word)} is not made: a container's mounts"
            " are private"
        )


def _checked(what: str, wish: MountWish) -> MountWish:
    """Return a wish whose paths can be used."""
    target = wish.target
    if not target.startswith("/"):
        raise UsageError(f"{printable(what)}: {printable(target)} is not an absolute path")
    if os.path.normpath(target) in ("/", "//"):
        raise UsageError(f"{printable(what)}: nothing can be mounted on / itself")
    if "\0" in wish.source + target:
        raise UsageError(f"{printable(what)}: a path has no zero byte")
    if wish.kind == "bind":
        source = os.path.normpath(wish.source)
        return MountWish("bind", source, target, wish.read_only, wish.copy, wish.make_source)
    return wish


def mount(text: str) -> MountWish:
    """Read what follows `--mount`: `type=volume|bind|tmpfs,source=…,target=…[,readonly]`.

    Raises:
        UsageError: when it says no mount, or one that layerview can't make.
    """
    what = f"--mount {text}"
    said: dict[str, str] = {"type": "volume"}
    for field in _fields(what, text):
        word, sign, value = field.partition("=")
        key = _KEYS.get(word.lower(), word.lower())
        if not sign and key not in _SWITCHES:
            raise UsageError(f"{printable(what)}: {printable(field)!r} is not KEY=VALUE")
        if key not in _KNOWN:
            raise UsageError(f"{printable(what)}: there is no {printable(word)}")
        if key in _SWITCHES:
            value = _truth(what, word, value if sign else "true")
        said[key] = value
    kind = said["type"].lower()
    if kind not in ("volume", "bind", "tmpfs"):
        raise UsageError(f"{printable(what)}: type is volume, bind or tmpfs")
    for key in said:
        sort, dash, _ = key.partition("-")
        if dash and sort != kind:
            raise UsageError(f"{printable(what)}: {key} is for type={sort}, not for {kind}")
    if "target" not in said:
        raise UsageError(f"{printable(what)}: target=PATH is missing")
    source = said.get("source", "")
    if kind == "bind" and not source.startswith("/"):
        why = "is not an absolute path" if source else "is missing"
        raise UsageError(f"{printable(what)}: source=PATH {why}")
    if kind == "tmpfs" and source:
        raise UsageError(f"{printable(what)}: a tmpfs has no source")
    if kind == "volume" and "/" in source:
        raise UsageError(
            f"{printable(what)}: {printable(source)} is no volume's name; a folder of this machine"
            " is type=bind"
        )
    for key, why in _LEFT_OUT.items():
        if said.get(key, "false") != "false":
            raise UsageError(f"{printable(what)}: {key} can't be had: {why}")
    if said.get("volume-driver", "local") not in ("", "local"):
        raise UsageError(f"{printable(what)}: layerview has volumes of the driver local alone")
    if "bind-propagation" in said:
        _check_propagation(what, said["bind-propagation"].lower())
    wish = MountWish(
        kind,
        source,
        said["target"],
        read_only=said.get("readonly") == "true",
        copy=said.get("volume-nocopy") != "true",
        make_source=kind != "bind",
    )
    return _checked(what, wish)


def _fields(what: str, text: str) -> list[str]:
    """Split at commas, but for those in quotes."""
    if not text:
        raise UsageError("--mount: type=…,source=…,target=… is meant")
    if '"' not in text:
        return text.split(",")
    import csv

    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise UsageError(f"{printable(what)}: {error}") from None


def _truth(what: str, word: str, value: str) -> str:
    if value in _TRUTHS:
        return "true"
    if value in _LIES:
        return "false"
    raise UsageError(f"{printable(what)}: {printable(word)} is true or false")
