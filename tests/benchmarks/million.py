"""Images of a million entries, written as a stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

COUNT = 1_000_000
FOLDERS = 1_000
_BLOCK = 512
_PIECE = 4096


def write_in_folders(path: Path) -> None:
    """Write an image of a million empty files in a thousand folders."""
    _write_image(path, _in_folders(), FOLDERS + COUNT)


def write_in_one(path: Path) -> None:
    """Write an image of a million empty files in one folder."""
    _write_image(path, _in_one(), 1 + COUNT)


def _in_folders() -> Iterator[bytes]:
    for folder in range(FOLDERS):
        yield b"folder%04d/" % folder
        for file in range(COUNT // FOLDERS):
            yield b"folder%04d/file%06d" % (folder, file)


def _in_one() -> Iterator[bytes]:
    yield b"folder/"
    for file in range(COUNT):
        yield b"folder/file%07d" % file


def _header(name: bytes, size: int = 0) -> bytes:
    """Return a ustar header; a name that ends with a slash is a folder's."""
    folder = name.endswith(b"/")
    made = bytearray(_BLOCK)
    made[: len(name)] = name
    made[100:108] = b"0000755\0" if folder else b"0000644\0"
    made[108:116] = made[116:124] = b"0000000\0"
    made[124:136] = b"%011o\0" % size
    made[136:148] = b"%011o\0" % 1_700_000_000
    made[148:156] = b"        "
    made[156:157] = b"5" if folder else b"0"
    made[257:265] = b"ustar\x0000"
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def _layer(names: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a layer's bytes; only the name and the checksum differ from one header to the next."""
    bare = bytearray(_header(b"x"))
    constant = sum(bare) - sum(bare[148:156]) + 8 * 32 - ord("x")
    piece = bytearray()
    for name in names:
        if name.endswith(b"/"):
            piece += _header(name)
        else:
            length = len(name)
            bare[:length] = name
            bare[length:100] = bytes(100 - length)
            bare[148:156] = b"%06o\0 " % (constant + sum(name))
            piece += bare
        if len(piece) >= _PIECE * _BLOCK:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece) + bytes(2 * _BLOCK)


def _write_image(path: Path, names: Iterator[bytes], entries: int) -> None:
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        file.write(_header(b"layer.tar", (entries + 2) * _BLOCK))
        for piece in _layer(names):
            digest.update(piece)
            file.write(piece)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "RUN a million files"}],
        }
        raw = json.dumps(config).encode()
        name = f"{hashlib.sha256(raw).hexdigest()}.json"
        manifest = [{"Config": name, "RepoTags": ["bench/million:latest"], "Layers": ["layer.tar"]}]
        _write_member(file, name.encode(), raw)
        _write_member(file, b"manifest.json", json.dumps(manifest).encode())
        file.write(bytes(2 * _BLOCK))


def _write_member(file: IO[bytes], name: bytes, data: bytes) -> None:
    file.write(_header(name, len(data)) + data + bytes(-len(data) % _BLOCK))
