"""Inputs to start from: small ones that are right, or wrong in one known way.

`python -m tests.fuzz --write-corpus` writes them to the corpus; crashers stand there beside them.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from layerview.layer.build import build_index
from layerview.layer.packing import pack
from layerview.layer.tar import RawEntries, scan
from layerview.layer.windows import StreamWindow
from tests.support import archives, bolts, tars

CORPUS = Path(__file__).parent / "corpus"
K = b"k" * 100
_NAMES = (b"a", b"b", b"a/b", b"a/b/c", b"c", b"d", b"d/e", b"a/f", b"caf\xe9", b"b/x", b"e/e/e")


def layers() -> dict[str, bytes]:
    """Layer tars in every form."""
    everything = [
        tars.folder("", mode=0o700),
        tars.folder("a", xattrs={"user.x": b"\x00\xff"}),
        tars.file("a/f", K, mtime="1700000000.123456789"),
        tars.symlink("l", "a/f"),
        tars.hardlink("h", "a/f"),
        tars.fifo("p"),
        tars.char("c", 1, 3),
        tars.block("k", 8, 0),
        tars.file("n" * 150, b"long"),
        tars.symlink("long", "t" * 150),
    ]
    changes = [
        tars.whiteout("a/f"),
        tars.opaque("a"),
        tars.file("a/new", K),
        tars.file("a/new", K + K),
        tars.folder("b"),
        tars.file("b", b"now a file"),
        tars.file("b/below", b"x"),
        tars.hardlink("x", "lower/y"),
        tars.hardlink("y", "x"),
        tars.symlink("s", "b"),
        tars.file("s/through", b"x"),
        tars.file("../../up", b"x"),
    ]
    plain = [part for part in everything if not part.xattrs and isinstance(part.mtime, int)]
    short = [part for part in plain if len(part.name) < 100 and len(part.target) < 100]
    found = {
        "pax": tars.layer(*everything),
        "gnu": tars.layer(*plain, form="gnu"),
        "ustar": tars.layer(*short, form="ustar"),
        "v7": tars.layer(tars.header(b"d/", typeflag=b"\0", magic=tars.V7_MAGIC)),
        "changes": tars.layer(*changes),
        "global": tars.layer(tars.global_header(), tars.file("a", K)),
        "owners": tars.layer(tars.file("a", uid=1 << 40, gid=-1, mtime=-5, base256=["mtime"])),
        "deep": tars.layer(tars.file(b"d/" * 300 + b"f", K)),
        "cut": tars.layer(tars.file("a", K * 20))[:900],
        "empty": tars.layer(),
    }
    chunks = [(0, b"x" * 512), (1 << 20, b"y" * 100)]
    many = [(number * 1024, b"z" * 512) for number in range(30)]
    for style in ("gnu", "pax-0.0", "pax-0.1", "pax-1.0"):
        found[f"sparse-{style}"] = tars.layer(
            tars.sparse("s", 1 << 21, chunks, style), tars.sparse("m", 30 * 1024, many, style)
        )
    return found


def images() -> dict[str, bytes]:
    """Whole archives in every form."""
    parts = layers()
    base, top = parts["pax"], parts["changes"]
    gone = archives.Layer(tar=parts["gnu"], present=False, urls=("https://example.com/x",))
    lie = archives.Layer(tar=parts["gnu"], diff_id="sha256:" + "0" * 64)
    two = archives.image(base, top)
    arm = archives.image(base, architecture="arm64", variant="v8", tags=["x:arm"])
    made: dict[str, archives.Members] = {
        "docker": archives.docker_members(two),
        "docker-two": archives.docker_members(two, arm, symlink_repeats=True),
        "docker25": archives.docker25_members(archives.image(base, top, compression="gzip")),
        "oci": archives.oci_members(archives.image(base, gone, lie, compression="zstd")),
        "oci-index": archives.oci_members(
            archives.index(two, arm, attestation=True), attestation=True, nested=2
        ),
        "no-manifest": {
            name: member
            for name, member in archives.docker_members(two).items()
            if name != "manifest.json"
        },
    }
    found = {name: archives.tar_bytes(members) for name, members in made.items()}
    found["outer-gzip"] = archives.compress(found["docker"], "gzip")
    found["outer-xz"] = archives.compress(found["oci"], "xz")
    found["outer-bzip2"] = archives.compress(found["docker-two"], "bzip2")
    found["rootfs"] = base
    return found


def documents() -> dict[str, bytes]:
    """JSON documents of images."""
    two = archives.image(
        layers()["pax"], history=[archives.made_by("RUN x"), archives.made_by("CMD", empty=True)]
    )
    members = archives.docker25_members(two)
    return {
        "config": two.config_bytes,
        "manifest": two.manifest_bytes(),
        "manifest-docker": two.manifest_bytes(docker=True),
        "index": bytes(members["index.json"]),  # type: ignore[arg-type]
        "saved": bytes(members["manifest.json"]),  # type: ignore[arg-type]
    }


def records() -> dict[str, bytes]:
    """Bodies of pax headers."""
    return {
        "usual": tars.pax_records({"path": "a/b", "mtime": "1.5", "SCHILY.xattr.user.x": b"\0\n="}),
        "sparse": tars.pax_records([("GNU.sparse.offset", "0"), ("GNU.sparse.numbytes", "5")]),
        "numbers": tars.pax_records({"size": "5", "uid": "0", "gid": "4294967295"}),
    }


def packed() -> dict[str, bytes]:
    """Packed indexes."""
    found = {}
    for name in ("pax", "changes", "sparse-gnu"):
        raw = RawEntries()
        scan(StreamWindow(_Whole(layers()[name])), raw)
        found[name] = pack(build_index(raw))
    return found


def databases() -> dict[str, bytes]:
    """What BuildKit notes: its snapshots, its records, in small pages so that there are several."""
    ids = [letter * 25 for letter in "abcd"]
    snapshots: bolts.Tree = {
        ids[0].encode(): {b"committed": ids[1].encode(), b"chainid": b"sha256:" + b"1" * 64},
        ids[1].encode(): {b"iscommitted": b"", b"parent": b""},
        b"sha256:" + b"2" * 64: {},
    }
    values = {b"cache.description": b'{"value":"RUN x"}', b"cache.createdAt": b'{"value":17}'}
    records: bolts.Tree = {id.encode(): {**values, b"cache.parent": b'""'} for id in ids}
    many: bolts.Tree = {b"%03d" % number: b"x" * number for number in range(40)}
    return {
        "snapshots": bolts.database(snapshots, 512),
        "records": bolts.database({b"_main": records, b"_index": {b"a::b": b""}}, 512),
        "no-inline": bolts.database({b"_main": records}, 512, inline=False),
        "branches": bolts.database({b"_main": many, b"long": b"y" * 3000}, 512),
    }


class _Whole:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, /) -> bytes:
        data, self._data = self._data[:size], self._data[size:]
        return data


SEEDS = {
    "tar": layers,
    "extract": layers,
    "image": images,
    "json": documents,
    "pax": records,
    "sparse": records,
    "cache": packed,
    "bolt": databases,
}
"""Where each target's inputs come from."""
FORMS = {
    "tar": "tar",
    "extract": "tar",
    "image": "tar",
    "json": "json",
    "pax": "pax",
    "sparse": "pax",
    "cache": "bytes",
    "bolt": "bytes",
}


def corpus(target: str) -> dict[str, bytes]:
    """Return the kept inputs of a target by file name."""
    folder = CORPUS / target
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*")) if path.is_file()}


def write_corpus() -> None:
    """Write the inputs that builders make; crashers are left alone."""
    for target, build in SEEDS.items():
        if target == "extract":
            continue
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in build().items():
            (folder / f"seed-{name}").write_bytes(data)


def generate(rng: random.Random) -> bytes:
    """Make a layer tar of random entries."""
    parts: list[tars.Part] = []
    for _ in range(rng.randrange(12)):
        name = rng.choice(_NAMES)
        options: dict[str, Any] = {"mode": rng.choice((0, 0o644, 0o4755)), "uid": rng.randrange(3)}
        kind = rng.choice("ffffddsshhpcbwoS")
        if kind == "f":
            parts.append(
                tars.file(name, rng.randbytes(rng.choice((0, 1, 511, 512, 600))), **options)
            )
        elif kind == "d":
            parts.append(tars.folder(rng.choice((name, name, b"")), **options))
        elif kind == "s":
            target = rng.choice((*_NAMES, b"..", b"/", b"../../outside", b"."))
            parts.append(tars.symlink(name, target, **options))
        elif kind == "h":
            parts.append(tars.hardlink(name, rng.choice(_NAMES), **options))
        elif kind == "p":
            parts.append(tars.fifo(name, **options))
        elif kind in "cb":
            device = tars.char if kind == "c" else tars.block
            parts.append(device(name, rng.choice((0, 1, 4096)), rng.choice((0, 3)), **options))
        elif kind == "w":
            parts.append(tars.whiteout(name))
        elif kind == "o":
            parts.append(tars.opaque(rng.choice((name, b""))))
        else:
            style = rng.choice(("gnu", "pax-0.0", "pax-0.1", "pax-1.0"))
            parts.append(tars.sparse(name, 9000, [(512, b"x" * 512), (8000, b"y")], style))
    return tars.layer(*parts, form=rng.choice(("pax", "gnu")))
