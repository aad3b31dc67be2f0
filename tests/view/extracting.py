"""A place to extract to with a guarded folder beside it, for the tests of extraction."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from layerview.layer.kinds import Kind
from layerview.sources.image import Image
from layerview.sources.loading import ImageContents, load_layers
from layerview.sources.resolve import open_image
from layerview.view.extract import Extracted, extract
from layerview.view.union import UnionView
from tests.support import archives
from tests.support.trees import Found, snapshot

SECRET = b"the host's own\n"
FORMATS = {
    Kind.FILE: stat.S_IFREG,
    Kind.DIR: stat.S_IFDIR,
    Kind.IMPLIED_DIR: stat.S_IFDIR,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.FIFO: stat.S_IFIFO,
    Kind.CHAR: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
}


class Opened:
    """An image with its view and contents."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.layers = load_layers(image, cache=False)
        self.view = UnionView([layer.index for layer in self.layers])
        self.contents = ImageContents(self.layers)


@contextmanager
def opened(place: Path, *layers: bytes, compression: str = "none") -> Iterator[Opened]:
    """Open an image made of layer tars."""
    file = place / "image.tar"
    archives.docker_archive(file, archives.image(*layers, compression=compression))
    with open_image(str(file)) as image:
        yield Opened(image)


class Yard:
    """A folder `yard` to extract into, and a folder `outside` that nothing may touch."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.yard = place / "yard"
        self.outside = place / "outside"
        self.yard.mkdir()
        self.outside.mkdir()
        (self.outside / "secret").write_bytes(SECRET)
        (self.outside / "secret").chmod(0o640)
        (self.outside / "folder").mkdir(0o750)
        (self.outside / "folder" / "file").write_bytes(b"a file")
        (self.outside / "link").symlink_to("secret")
        self._before = snapshot(self.outside)

    @property
    def target(self) -> Path:
        return self.yard / "target"

    def check(self) -> None:
        """Nothing outside the target was written, made, linked to, or changed."""
        assert snapshot(self.outside) == self._before
        assert sorted(os.listdir(self.place)) in (
            ["image.tar", "outside", "yard"],
            ["outside", "yard"],
        )
        assert set(os.listdir(self.yard)) <= {"target"}

    def extract(self, *layers: bytes, path: bytes = b"", **options: Any) -> Extracted:
        """Extract from an image of these layers, and check."""
        compression = options.pop("compression", "none")
        with opened(self.place, *layers, compression=compression) as found:
            try:
                return extract(found.view, found.contents, path, str(self.target), **options)
            finally:
                self.check()

    def found(self) -> dict[bytes, Found]:
        """What stands in the target now."""
        return snapshot(self.target)


def assert_equals_view(found: dict[bytes, Found], image: Opened, *, left_out: set[bytes]) -> None:
    """The tree on disk is what the view shows, in every way that lstat tells."""
    view = image.view
    nodes = {node.path: node for node in view.walk()} | {b"": view.root()}
    assert set(found) == set(nodes) - left_out
    for path, there in found.items():
        node = nodes[path]
        assert there.kind == FORMATS[Kind(node.kind)], path
        assert (there.uid, there.gid) == (node.uid, node.gid), path
        if node.kind != Kind.SYMLINK:
            assert there.mode == node.mode, path
        if node.index is not None:
            seconds = node.index.mtimes[node.inode]
            assert there.mtime == seconds * 10**9 + (node.index.fraction(node.inode) >> 4), path
        if node.kind == Kind.SYMLINK:
            assert there.content == node.target, path
        elif node.kind == Kind.FILE:
            assert there.size == node.size, path
            assert node.written is not None
            assert there.content == image.contents.read(node.written, node.inode), path
        elif node.kind in (Kind.CHAR, Kind.BLOCK):
            assert (os.major(there.device), os.minor(there.device)) == node.device, path
        kept = {os.fsencode(name): value for name, value in there.xattrs}
        assert kept == node.xattrs, path
        if node.hardlink is not None and node.hardlink not in left_out:
            assert there.inode == found[node.hardlink].inode, path
