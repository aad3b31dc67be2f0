"""A small HTTP client for the Docker Engine's API, over Unix sockets, TCP and TLS.

Whatever answers is taken for hostile: every wait has an end, every answer a limit, redirects are
refused, and what went wrong is one line with a remedy.
"""

from __future__ import annotations

import errno
import io
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import IO

from layerview import __version__
from layerview.errors import DamageError, FormatError, LayerviewError, LimitError, NotFoundError
from layerview.oci.fields import Fields, load_json
from layerview.progress import QUIET, Progress
from layerview.sources.docker_context import Endpoint
from layerview.text import printable

CONNECT = 2.0
"""Seconds within which an engine must take a connection."""
GREETING = 5.0
"""Seconds within which it must say which version it speaks."""
ANSWER = 10.0
"""Seconds within which a document must be here whole."""
SILENCE = 900.0
"""Seconds of silence after which a stream is given up: an engine packs all of an image first."""
NEWEST_API = (1, 51)
OLDEST_API = (1, 24)
_LONGEST_ANSWER = 8 << 20
_LONGEST_COMPLAINT = 1 << 16
_OVERHEAD = 1 << 20
"""Bytes of headers, chunk sizes and trailers beyond a small answer's own that are read."""
_TICK = 0.5
_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")


class EngineError(LayerviewError):
    """An engine that is not there, does not answer, or refuses."""


class NotInEngine(NotFoundError):
    """The engine has no such image or container."""


class EngineClient:
    """Asks one engine; each question has a connection of its own."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._api = ""

    @property
    def what(self) -> str:
        """The engine, for messages."""
        return f"the engine at {self.endpoint}"

    @property
    def api(self) -> str:
        """The API's version that both sides know, as "1.41".

        Raises:
            EngineError: when the engine does not answer.
        """
        if self._api:
            return self._api
        with self._asked("GET", "/_ping", time.monotonic() + GREETING) as (response, _):
            said = response.headers.get("Api-Version", "")
        engines = _parse_version(said) or OLDEST_API
        wanted = _parse_version(os.environ.get("DOCKER_API_VERSION", "")) or NEWEST_API
        chosen = min(engines, wanted, NEWEST_API)
        self._api = f"{chosen[0]}.{chosen[1]}"
        return self._api

    def knows(self, major: int, minor: int) -> bool:
        """Whether the API that is spoken is of this version or newer."""
        return (_parse_version(self.api) or OLDEST_API) >= (major, minor)

    def json(self, path: str, *, seconds: float | None = None) -> object:
        """Ask for a document.

        Args:
            path: from the API's root, with a leading slash, as it goes over the wire.
            seconds: within which it must be here; None is `ANSWER`.

        Raises:
            NotInEngine: when the engine says that there is no such thing.
            EngineError: when it does not answer, or refuses.
            FormatError: when the answer is no JSON.
            LimitError: when it is longer than any such answer.
        """
        until = time.monotonic() + (ANSWER if seconds is None else seconds)
        api = self.api
        with self._asked("GET", f"/v{api}{path}", until) as (response, raw):
            data = self._body(response, raw, _LONGEST_ANSWER)
        return load_json(data, f"{self.what}: {path.partition('?')[0]}")

    def fields(self, path: str, *, seconds: float | None = None) -> Fields:
        """Ask for a document that is one object; see `json`."""
        document = f"{self.what}: {path.partition('?')[0]}"
        return Fields(self.json(path, seconds=seconds), document)

    @contextmanager
    def stream(
        self, path: str, *, progress: Progress = QUIET, what: str = ""
    ) -> Iterator[IO[bytes]]:
        """Ask for a stream of bytes; see `json` for the errors.

        Args:
            path: as for `json`.
            progress: asked during every wait whether to go on.
            what: said to it while nothing comes.
        """
        api = self.api
        with self._asked("GET", f"/v{api}{path}", None, progress=progress, what=what) as (
            response,
            raw,
        ):
            yield io.BufferedReader(_Stream(self, response, raw), 1 << 16)

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        until: float | None,
        *,
        progress: Progress = QUIET,
        what: str = "",
    ) -> Iterator[tuple[HTTPResponse, _Raw]]:
        """Send a question and take the head of its answer, which is a good one."""
        plug = self._connect()
        raw = _Raw(plug, until, progress, what)
        try:
            with self._errors():
                connection = HTTPConnection("docker")
                connection.sock = _Wire(raw)
                raw.allow(0)
                connection.request(
                    method,
                    path,
                    headers={"User-Agent": f"layerview/{__version__}", "Connection": "close"},
                )
                response = connection.getresponse()
            if response.status != 200:
                self._refused(response, raw)
            yield response, raw
        finally:
            raw.hang_up()

    def _refused(self, response: HTTPResponse, raw: _Raw) -> None:
        status = response.status
        if 300 <= status < 400:
            raise EngineError(f"{self.what} answers with a redirect, which is not followed")
        said = ""
        with suppress(LayerviewError):
            data = self._body(response, raw, _LONGEST_COMPLAINT)
            said = data.decode("utf-8", "replace").strip()
            said = Fields(load_json(data, ""), "").text("message")
        shown = printable(said[:200])
        if status == 404:
            raise NotInEngine(f"{self.what}: {shown or 'there is no such thing'}")
        if "HTTP request to an HTTPS server" in said:
            raise EngineError(
                f"{self.what} speaks TLS: set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the"
                " folder of ca.pem, cert.pem and key.pem"
            )
        raise EngineError(f"{self.what} refuses (status {status}){': ' + shown if shown else ''}")

    def _body(self, response: HTTPResponse, raw: _Raw, most: int) -> bytes:
        pieces: list[bytes] = []
        length = 0
        while data := self.read(response, raw, 1 << 16):
            length += len(data)
            if length > most:
                raise LimitError(f"{self.what}: the answer is longer than {most >> 20 or 1} MiB")
            pieces.append(data)
        return b"".join(pieces)

    def read(self, response: HTTPResponse, raw: _Raw, count: int) -> bytes:
        """Read some of an answer; b"" at its end.

        Raises:
            DamageError: when it was broken off.
            LimitError: when it is more wrapping than content.
        """
        raw.allow(count)
        with self._errors():
            data = response.read(count)
            if not data and response.length:
                raise DamageError(f"{self.what} broke off its answer")
        return data

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise EngineError(
                f"{self.what} does not answer; is it stopped or overloaded?"
            ) from None
        except ConnectionError:
            raise EngineError(f"{self.what} broke off the connection") from None
        except _TooMuch:
            raise LimitError(f"{self.what}: the answer is no HTTP of an engine") from None
        except IncompleteRead:
            raise DamageError(f"{self.what} broke off its answer") from None
        except (HTTPException, ValueError):
            raise FormatError(f"{self.what} does not speak HTTP as an engine does") from None
        except OSError as error:
            said = printable((error.strerror or str(error)).lower()[:200])
            raise EngineError(f"{self.what}: {said}") from None

    # Connecting --------------------------------------------------------------------------------

    def _connect(self) -> socket.socket:
        path = self.endpoint.socket
        try:
            return self._connect_tcp() if path is None else _connect_unix(path)
        except LayerviewError:
            raise
        except (TimeoutError, BlockingIOError):
            raise EngineError(
                f"{self.what} does not take connections; is it stopped or overloaded?"
            ) from None
        except OSError as error:
            raise EngineError(self._unreachable(error, path)) from None

    def _unreachable(self, error: OSError, path: str | None) -> str:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            why = "there is no such socket; is the engine running?"
        elif error.errno in (errno.EACCES, errno.EPERM):
            why = "permission denied; use sudo, or join the socket's group (usually docker)"
        elif error.errno == errno.ECONNREFUSED:
            why = "nothing listens there; is the engine running?"
        elif error.errno in (errno.ENOTSOCK, errno.EPROTOTYPE):
            why = "that is no socket an engine listens on"
        elif isinstance(error, socket.gaierror):
            why = f"the host is not found ({(error.strerror or '').lower()})"
        else:
            why = printable((error.strerror or str(error)).lower()[:200])
        return f"{self.what}: {why}"

    def _connect_tcp(self) -> socket.socket:
        host, port = self.endpoint.host_and_port
        plain = socket.create_connection((host, port), timeout=CONNECT)
        tls = self.endpoint.tls
        if tls is None:
            return plain
        import ssl

        plain.settimeout(ANSWER)
        try:
            settings = ssl.create_default_context(cafile=tls.ca or None)
            if not tls.verify:
                settings.check_hostname = False
                settings.verify_mode = ssl.CERT_NONE
            if tls.certificate and tls.key:
                settings.load_cert_chain(tls.certificate, tls.key)
            return settings.wrap_socket(plain, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            said = printable(error.verify_message[:200])
            raise EngineError(f"{self.what}: its certificate is not accepted: {said}") from None
        except ssl.SSLError as error:
            plain.close()
            said = printable((error.reason or str(error)).lower().replace("_", " ")[:200])
            raise EngineError(
                f"{self.what}: TLS fails ({said}); are ca.pem, cert.pem and key.pem the right ones?"
            ) from None
        except BaseException:
            plain.close()
            raise


def _connect_unix(path: str) -> socket.socket:
    until = time.monotonic() + CONNECT
    plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        plug.settimeout(CONNECT)
        while True:
            try:
                plug.connect(path)
                return plug
            except BlockingIOError:
                # Its queue is full; Linux does not wait for that.
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
    except BaseException:
        plug.close()
        raise


def _parse_version(text: str) -> tuple[int, int] | None:
    match = _VERSION.fullmatch(text.strip())
    return None if match is None else (int(match[1]), int(match[2]))


class _TooMuch(Exception):
    """More bytes came than the answer's content explains."""


class _Raw(io.RawIOBase):
    """What comes from a socket, until a moment, and no more than was allowed."""

    def __init__(
        self, plug: socket.socket, until: float | None, progress: Progress, what: str
    ) -> None:
        super().__init__()
        self._plug = plug
        self._until = until
        self._progress = progress
        self._what = what
        self._allowed = 0

    def readable(self) -> bool:
        """See io.IOBase."""
        return True

    def allow(self, count: int) -> None:
        """Let as many bytes come as `count` bytes of content can need, and headers."""
        # One byte in a chunk of its own takes six.
        self._allowed = 8 * count + _OVERHEAD

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """See io.RawIOBase."""
        silent_until = time.monotonic() + SILENCE
        until = silent_until if self._until is None else self._until
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._plug.settimeout(min(left, _TICK))
            try:
                count = self._plug.recv_into(buffer)
                break
            except TimeoutError:
                self._progress.check()
                if self._what:
                    self._progress.step(self._what, 0, None)
        self._allowed -= count
        if self._allowed < 0:
            raise _TooMuch
        return count

    def send(self, data: bytes) -> None:
        """Send all of a question."""
        self._plug.settimeout(CONNECT)
        self._plug.sendall(data)

    def hang_up(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self._plug.close()


class _Wire:
    """What http.client takes for a socket: it writes, and reads through `_Raw`."""

    def __init__(self, raw: _Raw) -> None:
        self._raw = raw

    def sendall(self, data: bytes) -> None:
        """See socket.socket."""
        self._raw.send(data)

    def makefile(self, *_: object, **__: object) -> IO[bytes]:
        """See socket.socket."""
        return io.BufferedReader(self._raw, 1 << 16)

    def close(self) -> None:
        """Leave it open: http.client closes before the body is read."""


class _Stream(io.RawIOBase):
    """The content of an answer, as a file."""

    def __init__(self, client: EngineClient, response: HTTPResponse, raw: _Raw) -> None:
        super().__init__()
        self._client = client
        self._response = response
        self._raw = raw

    def readable(self) -> bool:
        """See io.IOBase."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """See io.RawIOBase."""
        data = self._client.read(self._response, self._raw, len(buffer))
        buffer[: len(data)] = data
        return len(data)
