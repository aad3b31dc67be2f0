"""Where engines may listen: the environment, Docker's contexts, and the usual sockets.

Order as in Docker's own client (cli/command/cli.go): DOCKER_HOST, DOCKER_CONTEXT, the current
context of config.json, the default socket.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass

from layerview.errors import FormatError, LayerviewError, NotFoundError, UsageError
from layerview.layer.blob import open_regular
from layerview.oci.fields import Fields, load_json
from layerview.text import printable

DEFAULT_SOCKET = "/var/run/docker.sock"
PODMAN_SOCKET = "/run/podman/podman.sock"
_CONTEXT_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]{0,127}")
_MOST_CONTEXTS = 50
_LONGEST_FILE = 1 << 20
_LONGEST_PATH = 107
"""Bytes of a Unix socket's path (unix(7))."""


@dataclass(frozen=True, slots=True)
class TLS:
    """The certificates with which an engine is spoken to over TLS; "" where there is none."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True
    """Whether the engine's certificate must be good, and for this host."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place where an engine may listen."""

    name: str
    """What people call it: "docker", "rootless", "podman", "context NAME", "DOCKER_HOST"."""
    address: str
    """`unix:///PATH` or `tcp://HOST:PORT`, as it was written."""
    tls: TLS | None = None
    said_by: str = ""
    """Which setting names it; "" for the usual sockets."""
    current: bool = False
    """Whether Docker's own client would talk to this one."""

    @property
    def socket(self) -> str | None:
        """The path of its Unix socket.

        Raises:
            UsageError: when the path is longer than sockets' paths can be.
        """
        if not self.address.startswith("unix:"):
            return None
        path = self.address.removeprefix("unix:").removeprefix("//") or DEFAULT_SOCKET
        if not path.startswith("/"):
            raise UsageError(f"{self}: a socket is named by its whole path, as unix:///PATH")
        if len(os.fsencode(path)) > _LONGEST_PATH or "\0" in path:
            raise UsageError(f"{self}: a socket's path has at most {_LONGEST_PATH} bytes")
        return path

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Where it listens on a network.

        Raises:
            UsageError: when the address is of no kind that layerview can speak to.
        """
        scheme, found, rest = self.address.partition("://")
        if scheme == "ssh" and found:
            raise UsageError(
                f"{self}: engines are not reached over ssh; forward the socket: ssh -NL"
                f" /tmp/docker.sock:{DEFAULT_SOCKET} {printable(rest)[:120]} and set"
                " DOCKER_HOST=unix:///tmp/docker.sock"
            )
        if scheme not in ("tcp", "http", "https") or not found:
            raise UsageError(f"{self}: an engine is named by unix:///PATH or tcp://HOST:PORT")
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.%]+)\]|([\w.-]+))?(?::([0-9]{1,5}))?/?", rest)
        if match is None or int(match[3] or 0) > 65535:
            raise UsageError(f"{self}: is not of the form tcp://HOST:PORT")
        return match[1] or match[2] or "localhost", int(match[3] or (2376 if self.tls else 2375))

    def __str__(self) -> str:
        shown = printable(self.address[:160])
        return f"{shown} ({printable(self.said_by)})" if self.said_by else shown


def current_endpoint() -> Endpoint:
    """Find the engine that Docker's own client would talk to.

    Raises:
        LayerviewError: when the settings name a context that is not there, or can't be read.
    """
    host = os.environ.get("DOCKER_HOST", "")
    if host:
        if "://" not in host and not host.startswith("unix:"):
            # As Docker's client reads it.
            host = f"tcp://{host}"
        return Endpoint(
            "DOCKER_HOST", host, _tls_of_environment(host), said_by="DOCKER_HOST", current=True
        )
    wanted, said_by = os.environ.get("DOCKER_CONTEXT", ""), "DOCKER_CONTEXT"
    if not wanted:
        wanted, said_by = _current_context(), f"the current context of {_config_file()}"
    if wanted and wanted != "default":
        return context(wanted, said_by=said_by, current=True)
    return _default()


def candidates() -> list[Endpoint]:
    """List where an engine may be found here, the current one first; nothing is asked yet.

    The default socket is always among them; others where there is something.
    """
    found: list[Endpoint] = []
    with suppress(LayerviewError):
        found.append(current_endpoint())
    found.append(_default(current=False))
    found += [Endpoint(name, f"unix://{path}") for name, path in _usual() if os.path.exists(path)]
    for name in context_names():
        with suppress(LayerviewError):
            found.append(context(name))
    seen: set[str] = set()
    kept: list[Endpoint] = []
    for endpoint in found:
        key = _place(endpoint)
        if key not in seen:
            seen.add(key)
            kept.append(endpoint)
    return kept


def podman_is_here() -> bool:
    """Whether a socket of Podman's is where it usually is."""
    return any(os.path.exists(path) for name, path in _usual() if name == "podman")


def named(name: str) -> Endpoint:
    """Find an engine by what a person calls it: an address, a usual socket, or a context.

    Raises:
        LayerviewError: when there is no such engine, or its context can't be read.
    """
    if "://" in name:
        return Endpoint(name, name, _tls_of_environment(name))
    for usual, path in (("docker", DEFAULT_SOCKET), *_usual()):
        if name == usual and os.path.exists(path):
            return Endpoint(usual, f"unix://{path}")
    return context(name)


def _default(*, current: bool = True) -> Endpoint:
    sockets = [("docker", DEFAULT_SOCKET)]
    sockets += [(name, path) for name, path in _usual() if name == "rootless"]
    there = [each for each in sockets if os.path.exists(each[1])]
    usable = [each for each in there if os.access(each[1], os.W_OK)]
    name, path = (usable or there or sockets)[0]
    return Endpoint(name, f"unix://{path}", current=current)


def _usual() -> list[tuple[str, str]]:
    sockets = [("docker", DEFAULT_SOCKET)]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        sockets.append(("rootless", os.path.join(runtime, "docker.sock")))
        sockets.append(("podman", os.path.join(runtime, "podman", "podman.sock")))
    sockets.append(("podman", PODMAN_SOCKET))
    return sockets


def _place(endpoint: Endpoint) -> str:
    try:
        path = endpoint.socket
    except LayerviewError:
        path = None
    return endpoint.address if path is None else os.path.realpath(path)


# Docker's own settings -----------------------------------------------------------------------


def _config_folder() -> str:
    return os.environ.get("DOCKER_CONFIG", "") or os.path.join(os.path.expanduser("~"), ".docker")


def _config_file() -> str:
    return os.path.join(_config_folder(), "config.json")


def _current_context() -> str:
    fields = _read(_config_file())
    return (fields.optional_text("currentContext") or "") if fields is not None else ""


def context_names() -> list[str]:
    """List Docker's contexts, sorted; a file that can't be read is none."""
    folder = os.path.join(_config_folder(), "contexts", "meta")
    names = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry, _ in zip(entries, range(_MOST_CONTEXTS), strict=False):
            with suppress(LayerviewError):
                fields = _read(os.path.join(entry.path, "meta.json"))
                name = "" if fields is None else fields.text("Name")
                if _CONTEXT_NAME.fullmatch(name):
                    names.append(name)
    return sorted(names)


def context(name: str, *, said_by: str = "", current: bool = False) -> Endpoint:
    """Read one of Docker's contexts.

    Raises:
        NotFoundError: when there is none of that name.
        FormatError: when its file does not have the form it should have.
    """
    shown = printable(name[:120])
    by = f" ({said_by} names it)" if said_by else ""
    fields = None
    key = hashlib.sha256(os.fsencode(name)).hexdigest()
    file = os.path.join(_config_folder(), "contexts", "meta", key, "meta.json")
    if _CONTEXT_NAME.fullmatch(name):
        fields = _read(file)
    if fields is None:
        raise NotFoundError(
            f"there is no Docker context {shown}{by}; docker context ls lists those there are"
        )
    endpoints = fields.optional_inner("Endpoints")
    docker = endpoints.optional_inner("docker") if endpoints is not None else None
    address = docker.optional_text("Host") if docker is not None else None
    if docker is None or not address:
        raise FormatError(f"{file}: the context {shown} names no Docker endpoint")
    folder = os.path.join(_config_folder(), "contexts", "tls", key, "docker")
    unverified = docker.flag("SkipTLSVerify")
    tls: TLS | None = _certificates(folder, verify=not unverified)
    if not unverified and tls == TLS():
        tls = None
    if address.startswith("unix:"):
        tls = None
    called = f"the context {shown}"
    return Endpoint(
        f"context {name}",
        address,
        tls,
        said_by=f"{said_by}: {shown}" if said_by else called,
        current=current,
    )


def _tls_of_environment(address: str) -> TLS | None:
    verify = bool(os.environ.get("DOCKER_TLS_VERIFY"))
    wanted = verify or bool(os.environ.get("DOCKER_TLS")) or address.startswith("https:")
    if not wanted or address.startswith("unix:"):
        return None
    folder = os.environ.get("DOCKER_CERT_PATH", "") or _config_folder()
    return _certificates(folder, verify=verify or address.startswith("https:"))


def _certificates(folder: str, *, verify: bool) -> TLS:
    def there(name: str) -> str:
        path = os.path.join(folder, name)
        return path if os.path.exists(path) else ""

    return TLS(there("ca.pem"), there("cert.pem"), there("key.pem"), verify)


def _read(path: str) -> Fields | None:
    """Read one of Docker's small JSON files; None when it is not there."""
    if not os.path.lexists(path):
        return None
    fd = open_regular(path)
    try:
        data = os.pread(fd, _LONGEST_FILE + 1, 0)
    finally:
        os.close(fd)
    if len(data) > _LONGEST_FILE:
        raise FormatError(f"{path}: is longer than {_LONGEST_FILE // 1024} KiB")
    return Fields(load_json(data, path), path)
