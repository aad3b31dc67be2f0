"""What the fuzzer feeds: each target takes bytes and a folder, and raises where layerview errs.

LayerviewError and TarDamage are answers; anything else that comes out is a failure, and so are the
assertions here about what must hold for every input.
"""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from layerview.errors import LayerviewError
from layerview.layer.blob import Blob
from layerview.layer.build import TooDeep, build_index
from layerview.layer.cache import IndexCache
from layerview.layer.contents import TarContents
from layerview.layer.index import UNRESOLVED, LayerIndex
from layerview.layer.kinds import Kind
from layerview.layer.packing import pack, unpack
from layerview.layer.reading import read_layer
from layerview.layer.tar import RawEntries, TarDamage, parse_pax, scan
from layerview.layer.windows import FileWindow, StreamWindow
from layerview.oci.config import ImageConfig, pair_history
from layerview.oci.descriptor import Descriptor
from layerview.oci.fields import load_json
from layerview.oci.manifest import parse_manifest
from layerview.sources.loading import ImageContents, load_layers
from layerview.sources.resolve import SeveralImages, open_image
from layerview.store.bolt import Bucket, Database
from layerview.store.build_cache import BuildCache
from layerview.store.data_root import DataRoot
from layerview.store.layout import is_driver_id
from layerview.text import printable
from layerview.view.changes import measure_changes, walk_layer
from layerview.view.extract import extract
from layerview.view.resolve import resolve
from layerview.view.union import UnionView
from layerview.view.waste import measure as measure_waste
from tests.support import bolts, tars
from tests.support.archives import Layer, docker_members, image, tar_bytes
from tests.support.trees import remove, snapshot

Target = Callable[[bytes, Path], None]

NODE_FIELDS = ("size", "mode", "uid", "gid", "mtime", "target", "xattrs", "device", "type")
PATHS = (b"a", b"a/f", b"l", b"s/through", b"a/b/c", b"x/../a", b"h", b"", b"..", b"a/./f/")
_FILE = 1 << 16


class _Uneven:
    """A stream that gives as much as it likes."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self._rng = random.Random(len(data))

    def read(self, size: int, /) -> bytes:
        return self._file.read(self._rng.choice((1, 7, 512, 513, size)))


def fuzz_tar(data: bytes, place: Path) -> None:
    """Both windows see the same tar; its index holds together, packed and unpacked too."""
    file = place / "layer.tar"
    file.write_bytes(data)
    by_offset, forward = RawEntries(), RawEntries()
    fd = os.open(file, os.O_RDONLY)
    try:
        damage = _scanned(FileWindow(fd, 0, len(data)), by_offset)
    finally:
        os.close(fd)
    other = _scanned(StreamWindow(_Uneven(data)), forward)
    assert vars(by_offset) == vars(forward), "the windows see different entries"
    assert damage == other, f"the windows see different damage: {damage!r}, {other!r}"
    try:
        index = build_index(by_offset)
    except TooDeep:
        return
    check_index(index)
    again = unpack(pack(index))
    assert pack(again) == pack(index)
    check_index(again)
    for layers in ([index], [index, again], [index, None, again]):
        check_view(UnionView(layers))
    contents = TarContents(Blob(str(file), length=len(data)), index)
    check_contents(contents, index)


def look_at(thing: object, names: tuple[str, ...]) -> None:
    """Ask for attributes that are worked out only then."""
    for name in names:
        getattr(thing, name)


def one_line(error: LayerviewError) -> None:
    """What people are told says something, in a line."""
    assert str(error)
    assert "\n" not in str(error), "an error of several lines"


def _scanned(window: FileWindow | StreamWindow, raw: RawEntries) -> str | None:
    try:
        scan(window, raw)
    except TarDamage as error:
        return str(error)
    return None


def check_index(index: LayerIndex) -> None:
    """Every row is found under its own path, in path order."""
    found = list(index.walk_rows())
    assert len(found) == len(index)
    paths = [path for path, _ in found]
    keys = [path.split(b"/") for path in paths]
    assert all(part not in (b"", b".", b"..") for key in keys for part in key)
    assert all(a < b for a, b in pairwise(keys)), "rows are out of order"
    for path, row in found:
        assert index.find(path) == row
        assert index.path(row) == path
    assert index.size == sum(index.counted)
    assert all(size >= 0 for size in index.sizes)
    for inode in index.links.values():
        assert inode == UNRESOLVED or (inode not in index.links and index.kinds[inode] != Kind.DIR)
    for warning in index.warnings:
        printable(warning)


def check_view(view: UnionView) -> None:
    """Totals are the sums of what is walked; every node can say what it is."""
    seen: dict[tuple[int, int], int] = {}
    files = 0
    for node in view.walk():
        assert view.node(node.path) is not None
        look_at(node, NODE_FIELDS)
        if node.is_dir:
            continue
        files += 1
        assert node.layer is not None
        if node.kind == Kind.FILE and not view.is_unresolved(node.layer, node.row):
            seen[view.source_of(node.layer, node.row)] = node.size
    summary = view.summary(b"")
    assert summary.bytes == sum(seen.values()), "the live bytes are not the sum of the files"
    assert summary.files == files
    assert sum(summary.by_layer.values()) == summary.bytes
    for path in PATHS:
        resolve(view, path)
        resolve(view, path, follow=False)
    waste = measure_waste(view)
    assert sum(waste.by_kind.values()) == waste.wasted_bytes
    assert waste.total_bytes - waste.live_bytes == waste.wasted_bytes
    for number, layer in enumerate(view.layers):
        if layer is not None:
            changes = measure_changes(view, number)
            assert sum(1 for _ in walk_layer(view, changes, number)) == layer.entry_count


def check_contents(contents: TarContents, index: LayerIndex) -> None:
    """All ways to read a file give the same bytes."""
    rows = [
        row
        for row in range(len(index))
        if index.kinds[row] == Kind.FILE and index.inode(row) == row and index.sizes[row] < _FILE
    ][:20]
    contents.stored(rows)
    with suppress(LayerviewError):
        contents.digests(rows)
    for row, data in contents.each(rows):
        whole = bytearray(index.sizes[row])
        try:
            for offset, piece in data:
                assert offset + len(piece) <= len(whole)
                whole[offset : offset + len(piece)] = piece
        except LayerviewError:
            continue
        assert b"".join(contents.pieces(row)) == whole
        assert b"".join(contents.pieces(row, 3, 700)) == whole[3:703]


def fuzz_image(data: bytes, place: Path) -> None:
    """An archive is opened, read and looked at in every way, or refused in a line."""
    file = place / "image.tar"
    file.write_bytes(data)
    for prefix in ("", "docker-archive:", "oci-archive:"):
        names = [f"{prefix}{file}"]
        while names:
            try:
                with open_image(names.pop()) as opened:
                    layers = load_layers(opened, cache=False, verify=len(data) % 2 == 0)
                    for line in (*opened.warnings, *opened.damage):
                        assert "\n" not in printable(line)
                    look_at(opened, ("platform", "name", "history", "references"))
                    view = UnionView([layer.index for layer in layers])
                    check_view(view)
                    contents = ImageContents(layers)
                    with suppress(LayerviewError):
                        measure_waste(view, contents)
            except SeveralImages as several:
                if len(names) < 3 and prefix != "oci-archive:":
                    names += [choice.name for choice in several.choices[:3]]
                    prefix = "oci-archive:"
            except LayerviewError as error:
                one_line(error)


def fuzz_json(data: bytes, _place: Path) -> None:
    """Every parser of documents gives its type or a line."""
    document = None
    with suppress(LayerviewError):
        document = load_json(data, "fuzz")
    for parse in (parse_manifest, ImageConfig.from_json):
        try:
            found = parse(data, "fuzz")
        except LayerviewError as error:
            one_line(error)
            continue
        if isinstance(found, ImageConfig):
            for count in (0, 1, 3):
                pair_history(found.history, count)
            look_at(found, ("platform", "image_id", "created"))
    if document is not None:
        with suppress(LayerviewError):
            Descriptor.from_json(document, "fuzz")
    members = docker_members(image(Layer(tar=tars.layer())))
    members["manifest.json"] = data
    fuzz_image(tar_bytes(members), _place)


def fuzz_pax(data: bytes, place: Path) -> None:
    """Records are parsed or refused, also in front of an entry."""
    with suppress(TarDamage):
        parse_pax(data)
    entry = tars.file("a", b"content", form="ustar")
    fuzz_tar(tars.layer(tars.extended_header(data), entry), place)


def fuzz_sparse(data: bytes, place: Path) -> None:
    """Bytes taken for sparse maps of every form."""
    rng = random.Random(data)
    numbers = [rng.choice((0, 1, 512, 513, 4096, 1 << 40, (1 << 63) - 1)) for _ in range(9)]
    text = b"".join(b"%d\n" % number for number in numbers[: rng.randrange(9)])
    count = rng.choice((0, 1, 2, 4, 10**6, 10**18))
    body = b"%d\n" % count + text + data if rng.random() < 0.8 else data
    records = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": str(rng.choice(numbers)),
    }
    flat = b",".join(b"%d" % number for number in numbers[: 2 * rng.randrange(5)])
    old = tars.number_field(rng.choice(numbers), 12)
    for number in numbers[:8]:
        old += tars.number_field(number, 12, rng.random() < 0.3)
    tail = bytes(41) + old[12:].ljust(96, b"\0")[:96] + bytes([rng.randrange(2)]) + old[:12]
    fuzz_tar(
        tars.layer(
            tars.file("new", tars.padded(body), records=records),
            tars.file("flat", data, records={"GNU.sparse.map": flat, **dict(_pairs(data))}),
            tars.file("old", data, typeflag=b"S", tail=tail, form="gnu"),
        ),
        place,
    )


def _pairs(data: bytes) -> list[tuple[str, bytes]]:
    with suppress(TarDamage):
        return [(os.fsdecode(key), value) for key, value in parse_pax(data).items() if key]
    return []


def fuzz_extract(data: bytes, place: Path) -> None:
    """Nothing outside the target is written, whatever the layer says."""
    outside, target = place / "outside", place / "yard" / "target"
    if not outside.exists():
        (outside / "folder").mkdir(parents=True)
        (outside / "evil").write_bytes(b"the host's own")
        (place / "yard").mkdir()
    before = snapshot(outside)
    base = tars.layer(
        tars.symlink("up", "../../outside"),
        tars.symlink("abs", str(outside)),
        tars.file("a/f", b"base"),
        tars.symlink("l", "a"),
    )
    files = []
    for number, tar in enumerate((base, data)):
        files.append(place / f"{number}.tar")
        files[-1].write_bytes(tar)
    blobs = [Blob(str(file), length=file.stat().st_size) for file in files]
    indexes = [read_layer(blob).index for blob in blobs]
    contents = _Contents(blobs, indexes)
    view = UnionView(indexes)
    try:
        for layer in (None, 1):
            with suppress(LayerviewError):
                extract(view, contents, b"", str(target), layer=layer, force=layer is not None)
            assert snapshot(outside) == before, "something outside was changed"
            assert sorted(os.listdir(place / "yard")) in ([], ["target"])
            if target.exists():
                inodes = {found.inode for found in snapshot(outside).values()}
                made = {found.inode for found in snapshot(target).values()}
                assert not inodes & made, "something outside was linked to"
    finally:
        remove(target)


class _Contents(ImageContents):
    """Contents of layers that stand in no image."""

    def __init__(self, blobs: list[Blob], indexes: list[LayerIndex]) -> None:
        super().__init__(())
        self._layers = {
            number: TarContents(blob, index)
            for number, (blob, index) in enumerate(zip(blobs, indexes, strict=True))
        }


def fuzz_cache(data: bytes, place: Path) -> None:
    """A damaged index is refused; a damaged cache file is as good as none."""
    with suppress(LayerviewError):
        unpack(data)
    tar = place / "cached.tar"
    if not tar.exists():
        tar.write_bytes(tars.layer(tars.file("a", b"x"), tars.folder("b"), tars.symlink("c", "a")))
    blob = Blob(str(tar), length=tar.stat().st_size)
    cache = IndexCache(place / "cache")
    read = read_layer(blob)
    cache.keep(blob, read)
    rng = random.Random(data)
    for file in (place / "cache").rglob("file-*"):
        kept = bytearray(file.read_bytes())
        for _ in range(rng.randrange(4)):
            kept[rng.randrange(len(kept))] ^= 1 << rng.randrange(8)
        file.write_bytes(kept if rng.random() < 0.8 else kept[: rng.randrange(len(kept))])
    cache.sizes(blob)
    found = cache.find(blob)
    if found is not None:
        assert pack(found.index) == pack(read.index), "a damaged index was taken"


def fuzz_bolt(data: bytes, place: Path) -> None:
    """A build cache is known, or it is said why not; what it names may become part of a path."""
    for raw in (data, bolts.sealed(data)):
        for folder in ("image", "buildkit"):
            (place / folder).mkdir(exist_ok=True)
        for name in ("snapshots.db", "metadata_v2.db"):
            (place / "buildkit" / name).write_bytes(raw)
        cache = BuildCache.read(DataRoot(str(place)))
        assert "\n" not in cache.problem
        assert all(is_driver_id(id) for id in cache.driver_ids)
        for record in cache.records:
            printable(record.id)
            printable(record.description)
        with open(place / "buildkit/snapshots.db", "rb") as file, suppress(LayerviewError):
            _walk(Database(file.fileno(), "it.db").root)


def _walk(bucket: Bucket) -> None:
    for _, value in bucket.items():
        if isinstance(value, Bucket):
            _walk(value)


TARGETS: dict[str, Target] = {
    "tar": fuzz_tar,
    "image": fuzz_image,
    "json": fuzz_json,
    "pax": fuzz_pax,
    "sparse": fuzz_sparse,
    "extract": fuzz_extract,
    "cache": fuzz_cache,
    "bolt": fuzz_bolt,
}
