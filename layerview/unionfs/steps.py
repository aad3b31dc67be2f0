"""What the union did, step by step, as its server tells those who watch.

A server listens on a socket (SOCK_STREAM) in the file system. Who connects may send one line,
`{"reads": true}`, to hear of reads as well. It gets a line `{"lost": 0}` once it is heard of, which
says that all steps from then on are told; then a JSON array a line, a step's fields in their order,
paths as strings with surrogateescape. A slow listener never keeps the server waiting: what does not
fit into its buffer is lost, and a line `{"lost": N}` says so.
"""

from __future__ import annotations

import json
from typing import NamedTuple


class Step(NamedTuple):
    """One thing that the union did. Branches are numbered from 0, the top one, which is written."""

    time: int
    """Nanoseconds since 1970, UTC, when it was done."""
    kind: str
    """copy_up, copying (under way: `bytes` of `total`), create, write, metadata, whiteout, delete,
    opaque, rename, link, read; of the same meaning as watch.CowEvent's."""
    path: str
    """In the union, relative, with surrogateescape."""
    from_path: str | None = None
    found: int | None = None
    """The branch where it was found."""
    searched: tuple[int, ...] = ()
    """The branches that were looked at, in this order."""
    bytes: int | None = None
    """Bytes of data that were copied."""
    total: int | None = None
    """Bytes of the file that is being copied."""
    written: int | None = None
    duration_ns: int | None = None
    pid: int | None = None
    """Who asked, as the server's PID namespace counts."""
    cause: str | None = None


def encode(step: Step) -> bytes:
    """Return a step's line."""
    return json.dumps(step, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Step | int:
    """Return the step of a line, or how many were lost.

    Raises:
        ValueError: when it is no such line.
    """
    said = json.loads(line)
    if isinstance(said, dict):
        return int(said["lost"])
    if not isinstance(said, list) or len(said) != len(Step._fields):
        raise ValueError("not a step")
    fields = dict(zip(Step._fields, said, strict=True))
    fields["searched"] = tuple(fields["searched"])
    return Step(**fields)
