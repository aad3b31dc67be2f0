"""The reading process: what it hashes afterwards is held against what the cache knew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerview.sources.background import BackgroundLoader, LayerLoaded, Verified
from layerview.sources.resolve import open_image
from tests.support import archives, tars

BEFORE, AFTER = tars.layer(tars.file("aaa", b"x")), tars.layer(tars.file("aab", b"x"))


def read(path: Path) -> tuple[list[LayerLoaded], list[Verified]]:
    """Read an image in the child, with the cache; return the layers and the verdicts."""
    with open_image(str(path)) as image:
        loader = BackgroundLoader(image)
        loader.start()
        events = list(loader.events())
    return (
        [event for event in events if isinstance(event, LayerLoaded)],
        [event for event in events if isinstance(event, Verified)],
    )


def test_bytes_that_changed_behind_the_caches_back_are_read_again_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LAYERVIEW_NO_CACHE", raising=False)
    honest = archives.image(archives.Layer(tar=BEFORE))
    path = archives.docker_archive(tmp_path / "image.tar", honest)
    read(path)
    loaded, verdicts = read(path)
    assert [verdict.ok for verdict in verdicts] == [True]
    assert len(loaded) == 1

    # The same inode, size and time, other bytes under the same claims.
    lying = archives.image(archives.Layer(tar=AFTER, diff_id=honest.diff_ids[0]))
    other = archives.docker_archive(tmp_path / "other.tar", lying)
    state = path.stat()
    with path.open("r+b") as file:
        file.write(other.read_bytes())
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size

    loaded, _ = read(path)
    last = loaded[-1].layer
    assert last.index is not None
    assert last.index.find(b"aab") is not None
    assert last.verified is False
    assert last.damage is not None
    assert "not" in last.damage


def test_a_file_that_changes_between_reading_and_hashing_is_not_kept(tmp_path: Path) -> None:
    from layerview.layer.blob import Blob
    from layerview.layer.cache import IndexCache
    from layerview.layer.reading import hash_blob, read_layer

    path = tmp_path / "layer.tar"
    path.write_bytes(BEFORE)
    blob = Blob(str(path), length=len(BEFORE))
    found = read_layer(blob)
    path.write_bytes(AFTER)
    os.utime(path, ns=(1, 1))
    found.diff_id = found.digest = hash_blob(blob)
    cache = IndexCache(tmp_path / "cache")
    cache.keep(blob, found)
    assert cache.find(blob) is None
    assert not list((tmp_path / "cache").rglob("diffid-*"))
