"""Which engine is asked: the environment, contexts, the usual sockets, in Docker's order."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from layerview.errors import FormatError, LayerviewError, NotFoundError, UsageError
from layerview.sources import docker_context
from layerview.sources.docker_context import (
    TLS,
    Endpoint,
    candidates,
    context_names,
    current_endpoint,
    named,
)

VARIABLES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS", "DOCKER_TLS_VERIFY")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a runtime folder of our own, and no engine of this machine's."""
    for name in (*VARIABLES, "DOCKER_CERT_PATH", "DOCKER_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run" / "podman").mkdir(parents=True)
    monkeypatch.setattr(docker_context, "DEFAULT_SOCKET", str(tmp_path / "docker.sock"))
    monkeypatch.setattr(docker_context, "PODMAN_SOCKET", str(tmp_path / "podman.sock"))
    return tmp_path


def write_context(home: Path, name: str, meta: Any, *, tls: tuple[str, ...] = ()) -> None:
    """Write a context where Docker's client writes it."""
    key = hashlib.sha256(name.encode()).hexdigest()
    folder = home / ".docker" / "contexts"
    (folder / "meta" / key).mkdir(parents=True)
    text = meta if isinstance(meta, str) else json.dumps(meta)
    (folder / "meta" / key / "meta.json").write_text(text)
    for file in tls:
        (folder / "tls" / key / "docker").mkdir(parents=True, exist_ok=True)
        (folder / "tls" / key / "docker" / file).write_text("x")


def meta(name: str, host: str, **fields: Any) -> dict[str, Any]:
    return {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, **fields}}}


def choose(home: Path, name: str) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker" / "config.json").write_text(json.dumps({"currentContext": name}))


def listen(path: Path) -> None:
    plug = socket.socket(socket.AF_UNIX)
    plug.bind(str(path))
    plug.close()


def test_without_any_setting_it_is_the_default_socket(home: Path) -> None:
    assert current_endpoint() == Endpoint("docker", f"unix://{home}/docker.sock", current=True)


def test_the_rootless_socket_stands_in_where_the_default_one_is_not_there(home: Path) -> None:
    listen(home / "run" / "docker.sock")
    assert current_endpoint().address == f"unix://{home}/run/docker.sock"
    listen(home / "docker.sock")
    assert current_endpoint().address == f"unix://{home}/docker.sock"


def test_the_environment_comes_before_contexts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_context(home, "far", meta("far", "tcp://far:1"))
    write_context(home, "near", meta("near", "unix:///near.sock"))
    choose(home, "far")
    assert current_endpoint().address == "tcp://far:1"
    monkeypatch.setenv("DOCKER_CONTEXT", "near")
    assert current_endpoint().socket == "/near.sock"
    monkeypatch.setenv("DOCKER_HOST", "unix:///host.sock")
    assert current_endpoint().socket == "/host.sock"
    assert current_endpoint().said_by == "DOCKER_HOST"


def test_the_context_default_is_the_default_socket(home: Path) -> None:
    choose(home, "default")
    assert current_endpoint().name == "docker"


def test_a_context_that_is_not_there_says_who_names_it(home: Path) -> None:
    choose(home, "gone")
    with pytest.raises(NotFoundError, match=r"no Docker context gone .*config\.json names it"):
        current_endpoint()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", FormatError),
        ("[]", FormatError),
        ('{"Name": "odd"}', FormatError),
        ('{"Name": "odd", "Endpoints": {"docker": {"Host": 7}}}', FormatError),
        ('{"Name": "odd", "Endpoints": []}', FormatError),
        ("[" * 100_000, FormatError),
        (json.dumps({"Name": "x" * (1 << 20)}), FormatError),
    ],
)
def test_a_broken_context_is_one_line(home: Path, text: str, error: type[LayerviewError]) -> None:
    write_context(home, "odd", text)
    choose(home, "odd")
    with pytest.raises(error) as caught:
        current_endpoint()
    assert "\n" not in str(caught.value)
    assert candidates()[0].name == "docker"


@pytest.mark.parametrize("name", ["../../x", "a\nb", "", "x" * 200, "-x"])
def test_a_contexts_name_never_becomes_a_path(home: Path, name: str) -> None:
    with pytest.raises(NotFoundError):
        named(name)


def test_certificates_of_a_context(home: Path) -> None:
    write_context(home, "safe", meta("safe", "tcp://h:2376"), tls=("ca.pem", "cert.pem", "key.pem"))
    folder = home / ".docker/contexts/tls" / hashlib.sha256(b"safe").hexdigest() / "docker"
    files = [str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem")]
    assert named("safe").tls == TLS(*files, verify=True)
    write_context(home, "open", meta("open", "tcp://h:2375"))
    assert named("open").tls is None
    write_context(home, "lax", meta("lax", "tcp://h:2376", SkipTLSVerify=True))
    assert named("lax").tls == TLS(verify=False)


def test_certificates_of_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://h")
    assert current_endpoint().tls is None
    assert current_endpoint().host_and_port == ("h", 2375)
    (home / "certs").mkdir()
    (home / "certs" / "ca.pem").write_text("x")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(home / "certs"))
    assert current_endpoint().tls == TLS(ca=str(home / "certs/ca.pem"), verify=True)
    assert current_endpoint().host_and_port == ("h", 2376)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://host:1234", ("host", 1234)),
        ("tcp://[::1]:1234", ("::1", 1234)),
        ("tcp://:1234", ("localhost", 1234)),
        ("tcp://192.0.2.7", ("192.0.2.7", 2375)),
    ],
)
def test_addresses(address: str, expected: tuple[str, int]) -> None:
    endpoint = Endpoint("x", address)
    assert endpoint.socket is None
    assert endpoint.host_and_port == expected


@pytest.mark.parametrize(
    "address",
    ["npipe:////./pipe/x", "tcp://a b", "tcp://h:99999", "tcp://h/path", "fd://", "tcp://h:1\n"],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        _ = Endpoint("x", address).host_and_port
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["relative", "/" + "x" * 108, "/a\0b"])
def test_sockets_that_are_none(path: str) -> None:
    with pytest.raises(UsageError):
        _ = Endpoint("x", f"unix://{path}").socket


def test_ssh_is_refused_with_a_remedy() -> None:
    with pytest.raises(UsageError, match=r"ssh -NL .* me@host .*DOCKER_HOST=unix"):
        _ = Endpoint("x", "ssh://me@host").host_and_port


def test_candidates_are_there_once_each(home: Path) -> None:
    listen(home / "run" / "docker.sock")
    listen(home / "run" / "podman" / "podman.sock")
    (home / "podman.sock").symlink_to(home / "run" / "podman" / "podman.sock")
    write_context(home, "same", meta("same", f"unix://{home}/run/docker.sock"))
    write_context(home, "far", meta("far", "tcp://far:1"))
    write_context(home, "bad", "{")
    found = candidates()
    assert [endpoint.name for endpoint in found] == ["rootless", "podman", "context far"]
    assert [endpoint.current for endpoint in found] == [True, False, False]
    assert context_names() == ["far", "same"]


def test_engines_by_name(home: Path) -> None:
    listen(home / "run" / "podman" / "podman.sock")
    assert named("podman").address == f"unix://{home}/run/podman/podman.sock"
    assert named("unix:///x.sock").socket == "/x.sock"
    write_context(home, "far", meta("far", "tcp://far:1"))
    assert named("far").address == "tcp://far:1"
