"""Layers in AUFS's form, at random."""

from __future__ import annotations

import os
import random
from pathlib import Path

NAMES = [b"a", b"b", b"c", b"caf\xe9", b"new\nline", b"n" * 251]
TOO_LONG = b"t" * 252
OLD = 1_500_000_000_123_456_789
"""The first of the times that layers have."""


def make(layer: Path, seed: int, *, longest: bool = True, links: bool = True) -> None:
    """Fill a layer's folder; names that are too long for whiteouts and links may be left out."""
    layer.mkdir()
    chance = random.Random(seed)
    files: list[bytes] | None = [] if links else None
    _fill(os.fsencode(layer), chance, 0, files, longest)


def _fill(
    folder: bytes, chance: random.Random, depth: int, files: list[bytes] | None, longest: bool
) -> None:
    names = [*NAMES, TOO_LONG] if longest else NAMES[:-1]
    for name in names:
        path = folder + b"/" + name
        what = chance.choices(_KINDS, _WEIGHTS)[0]
        if what == "folder":
            if depth < 2:
                os.mkdir(path)
                _fill(path, chance, depth + 1, files, longest)
                if chance.random() < 0.2:
                    _mark(path + b"/.wh..wh..opq")
                _dress(path, chance, chance.choice([0o755, 0o700, 0o1777, 0o2775]))
        elif what == "whiteout" and len(name) < 252:
            _mark(folder + b"/.wh." + name)
        elif what == "file":
            with open(path, "wb") as file:
                file.write(chance.randbytes(chance.choice([0, 1, 100, 5000])))
                if chance.random() < 0.2:
                    file.truncate(100_000)
            if files is not None:
                files.append(path)
            _dress(path, chance, chance.choice([0o644, 0o4755, 0o2711, 0o400]))
            if chance.random() < 0.3:
                os.setxattr(path, b"user.\xff", chance.randbytes(5))
        elif what == "link" and files:
            os.link(chance.choice(files), path, follow_symlinks=False)
        elif what == "symlink":
            os.symlink(chance.choice([b"a", b"../b", b"/etc/\xff", b"nowhere"]), path)
            _dress(path, chance, None)
            if files is not None:
                files.append(path)
        elif what == "pipe":
            os.mkfifo(path)
            _dress(path, chance, 0o640)
            if files is not None:
                files.append(path)
        elif what == "device" and os.geteuid() == 0:
            os.mknod(path, 0o020600, os.makedev(1, 3))
            _dress(path, chance, 0o666)
    if depth == 0:
        _dress(folder, chance, 0o755)


_KINDS = ["none", "folder", "file", "link", "symlink", "whiteout", "pipe", "device"]
_WEIGHTS = [20, 30, 25, 12, 5, 12, 2, 2]


def _mark(path: bytes) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def _dress(path: bytes, chance: random.Random, mode: int | None) -> None:
    if os.geteuid() == 0:
        os.chown(path, chance.choice([0, 5]), chance.choice([0, 7]), follow_symlinks=False)
    if mode is not None:
        os.chmod(path, mode)
    moment = OLD + chance.randrange(10**9)
    os.utime(path, ns=(moment, moment), follow_symlinks=False)
