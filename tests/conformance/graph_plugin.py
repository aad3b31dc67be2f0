"""One of layerview's drivers as a plugin of a real Docker Engine 20.10 (graph-driver protocol).

    python -m tests.conformance.graph_plugin SOCKET DRIVER

POST /Plugin.Activate and /GraphDriver.*, JSON in and out, layers as plain tars (moby,
docs/extend/plugins_graphdriver; daemon/graphdriver/proxy.go). The engine says where to keep all.
"""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import sys
import threading
import urllib.parse
from contextlib import AbstractContextManager
from typing import Any

from layerview.drivers.base import Driver
from layerview.drivers.by_name import make_driver
from tests.conformance.engine_layers import as_docker_20_10

KINDS = {"C": 0, "A": 1, "D": 2}


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
                assert not self.driver.exists(id), f"{id} is there after it was removed"
                assert id not in self.driver.ids(), f"{id} is listed after it was removed"
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
