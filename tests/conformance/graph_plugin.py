"""One of layerview's drivers as a plugin of a real Docker Engine 20.10 (graph-driver protocol).

    python -m tests.conformance.graph_plugin SOCKET DRIVER

POST /Plugin.Activate and /GraphDriver.*, JSON in and out, layers as plain tars (moby,
docs/extend/plugins_graphdriver; daemon/graphdriver/proxy.go). The engine says where to keep all.
"""

from __future__ import annotations

import grp
import http.server
import json
import os
import pwd
import re
import socketserver
import stat
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from layerview.drivers.base import Driver
from layerview.drivers.probe import make_driver

KINDS = {"C": 0, "A": 1, "D": 2}
_TYPES = {
    b"0": stat.S_IFREG,
    b"2": stat.S_IFLNK,
    b"3": stat.S_IFCHR,
    b"4": stat.S_IFBLK,
    b"5": stat.S_IFDIR,
    b"6": stat.S_IFIFO,
}


def as_docker_20_10(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Put into a packed layer what engines before 24 and 23 put there, and layerview does not.

    That is all in which its bytes differ: the kind of file in `mode` (as Go 1.8 had it), and the
    names that this machine has for users and groups. Deletions have no kind; those that a full
    tree's driver writes have no owner either.
    """
    kinds: dict[bytes, int] = {}
    records = b""
    source = _Pieces(pieces)
    while block := source.take(512):
        if not any(block):
            yield block
            continue
        flag, size = block[156:157], int(block[124:135], 8)
        if flag == b"x":
            records = source.take(size + -size % 512)
            yield block + records
            continue
        said = dict(re.findall(rb"\d+ (path|linkpath|size|uid|gid)=([^\n]*)\n", records))
        records = b""
        prefix, name, link = (
            part.rstrip(b"\0") for part in (block[345:500], block[:100], block[157:257])
        )
        path = said.get(b"path", b"/".join(part for part in (prefix, name) if part))
        mode = int(block[100:107], 8)
        kind = 0
        if not path.rpartition(b"/")[2].startswith(b".wh."):
            kind = kinds[said.get(b"linkpath", link)] if flag == b"1" else _TYPES[flag]
            kinds[path] = kind
        header = bytearray(block)
        header[100:107] = b"%07o" % (mode | kind)
        if kind or mode:
            for at, key, find in ((265, b"uid", _user), (297, b"gid", _group)):
                start = 108 if key == b"uid" else 116
                number = int(said.get(key, b"%d" % int(block[start : start + 7], 8)))
                header[at : at + 32] = find(number).encode().ljust(32, b"\0")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        yield bytes(header)
        yield from source.pass_on(int(said.get(b"size", b"%d" % size)))


class _Pieces:
    """A stream of bytes, taken in blocks."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""

    def take(self, size: int) -> bytes:
        while len(self._held) < size and (piece := next(self._pieces, None)) is not None:
            self._held += piece
        found, self._held = self._held[:size], self._held[size:]
        return found

    def pass_on(self, size: int) -> Iterator[bytes]:
        left = size + -size % 512
        while left:
            piece = self.take(min(left, 1 << 20))
            left -= len(piece)
            yield piece


def _user(number: int) -> str:
    return _name(lambda: pwd.getpwuid(number).pw_name)


def _group(number: int) -> str:
    return _name(lambda: grp.getgrgid(number).gr_name)


def _name(find: Callable[[], str]) -> str:
    try:
        return find()
    except (KeyError, OverflowError):
        return ""


class Plugin:
    """What the calls have in common: the driver, and the trees that are mounted."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._made: Driver | None = None
        self._lock = threading.Lock()
        self._held: dict[str, list[AbstractContextManager[str]]] = {}
        self.calls: dict[str, int] = {}

    @property
    def driver(self) -> Driver:
        assert self._made is not None, "not initialised"
        return self._made

    def answer(self, call: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer a call whose answer is JSON."""
        id, parent = asked.get("ID", ""), asked.get("Parent") or None
        match call:
            case "Plugin.Activate":
                return {"Implements": ["GraphDriver"]}
            case "GraphDriver.Init":
                self._made = make_driver(self._name, asked["Home"])
            case "GraphDriver.Capabilities":
                return {"Capabilities": {"ReproducesExactDiffs": False}}
            case "GraphDriver.Create":
                self.driver.create(id, parent)
            case "GraphDriver.CreateReadWrite":
                self.driver.create_writable(id, parent)
            case "GraphDriver.Remove":
                self.driver.remove(id)
            case "GraphDriver.Get":
                tree = self.driver.mounted(id)
                place = tree.__enter__()
                with self._lock:
                    self._held.setdefault(id, []).append(tree)
                return {"Dir": place}
            case "GraphDriver.Put":
                with self._lock:
                    held = self._held.get(id)
                    ended = held.pop() if held else None
                if ended is not None:
                    ended.__exit__(None, None, None)
            case "GraphDriver.Exists":
                return {"Exists": self.driver.exists(id)}
            case "GraphDriver.Status":
                return {"Status": [list(pair) for pair in self.driver.status()]}
            case "GraphDriver.GetMetadata":
                return {"Metadata": {}}
            case "GraphDriver.Changes":
                found = self.driver.changes(id, parent)
                return {
                    "Changes": [
                        {"Path": "/" + os.fsdecode(change.path), "Kind": KINDS[change.kind]}
                        for change in found
                    ]
                }
            case "GraphDriver.DiffSize":
                return {"Size": self.driver.size(id, parent)}
            case "GraphDriver.Cleanup":
                with self._lock:
                    left = [tree for trees in self._held.values() for tree in trees]
                    self._held.clear()
                for tree in left:
                    tree.__exit__(None, None, None)
            case _:
                return {"Err": f"no such call: {call}"}
        return {}


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection of the engine's."""

    protocol_version = "HTTP/1.1"
    plugin: Plugin

    def do_POST(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        call = address.path.strip("/")
        body = _Body(self)
        self.plugin.calls[call] = self.plugin.calls.get(call, 0) + 1
        try:
            if call == "GraphDriver.ApplyDiff":
                words = urllib.parse.parse_qs(address.query)
                parent = words.get("parent", [""])[0] or None
                applied = self.plugin.driver.apply(words["id"][0], parent, body)
                answer: dict[str, Any] = {"Size": applied.size}
            elif call == "GraphDriver.Diff":
                asked = json.loads(body.all() or b"{}")
                pieces = self.plugin.driver.diff(asked["ID"], asked.get("Parent") or None)
                self._stream(as_docker_20_10(pieces))
                return
            else:
                answer = self.plugin.answer(call, json.loads(body.all() or b"{}"))
        except Exception as error:
            answer = {"Err": f"{type(error).__name__}: {error}"}
            print(call, answer, file=sys.stderr, flush=True)
        body.all()
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.docker.plugins.v1.1+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, pieces: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            if piece:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *words: object) -> None:
        """Say nothing of each request."""

    def address_string(self) -> str:
        """A unix socket's other end has no address."""
        return "engine"


class _Body:
    """A request's body, with a length or in chunks."""

    def __init__(self, handler: Handler) -> None:
        self._file = handler.rfile
        self._chunked = handler.headers.get("Transfer-Encoding", "") == "chunked"
        self._left = 0 if self._chunked else int(handler.headers.get("Content-Length") or 0)
        self._ended = False

    def read(self, size: int, /) -> bytes:
        if self._chunked and not self._left and not self._ended:
            self._left = int(self._file.readline().split(b";")[0], 16)
            if not self._left:
                self._ended = True
                while self._file.readline().strip():
                    pass
        if not self._left:
            return b""
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        if self._chunked and not self._left:
            self._file.readline()
        return data

    def all(self) -> bytes:
        return b"".join(iter(lambda: self.read(1 << 16), b""))


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def serve(socket: str, driver: str) -> None:
    """Serve until killed."""
    os.makedirs(os.path.dirname(socket), exist_ok=True)
    if os.path.lexists(socket):
        os.unlink(socket)
    handler = type("PluginHandler", (Handler,), {"plugin": Plugin(driver)})
    with Server(socket, handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    serve(*sys.argv[1:])
