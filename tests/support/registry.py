"""A registry on loopback that serves images made by hand, for engines that pull."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support import archives


class _Registry(ThreadingHTTPServer):
    manifests: dict[str, bytes]
    blobs: dict[str, bytes]


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Registry

    def do_GET(self) -> None:
        """Serve a manifest or a blob."""
        manifest = self.server.manifests.get(self.path)
        data = self.server.blobs.get(self.path, b"") if manifest is None else manifest
        self.send_response(200 if data or self.path == "/v2/" else 404)
        if manifest is not None:
            self.send_header("Content-Type", archives.DOCKER_MANIFEST)
            self.send_header("Docker-Content-Digest", archives.sha256(manifest))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET

    def log_message(self, *ignored: object) -> None:
        """Say nothing."""


@contextmanager
def registry(**images: archives.Image) -> Iterator[str]:
    """Serve images with gzip layers, each as `HOST:PORT/NAME:1`; yield `HOST:PORT`."""
    server = _Registry(("127.0.0.1", 0), _Answers)
    server.manifests, server.blobs = {}, {}
    for name, image in images.items():
        manifest = image.manifest_bytes(docker=True)
        for tag in ("1", archives.sha256(manifest)):
            server.manifests[f"/v2/{name}/manifests/{tag}"] = manifest
        server.blobs[f"/v2/{name}/blobs/{image.image_id}"] = image.config_bytes
        for layer in image.layers:
            server.blobs[f"/v2/{name}/blobs/{layer.said_digest}"] = layer.blob
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
