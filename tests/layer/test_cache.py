"""The cache of indexes: what was hashed is found again, what an archive claims decides nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from layerview import settings
from layerview.layer import cache as cache_module
from layerview.layer.blob import Blob
from layerview.layer.cache import IndexCache
from layerview.layer.reading import read_layer
from layerview.sources.loading import LoadedLayer, load_layers
from layerview.sources.resolve import open_image
from tests.support import archives, tars

BASE = tars.layer(tars.file("base", b"b" * 1000))
OTHER = tars.layer(tars.file("other", b"o" * 1000))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LAYERVIEW_NO_CACHE", raising=False)
    return tmp_path / "cache"


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def load(path: Path, **options: Any) -> list[LoadedLayer]:
    with open_image(str(path)) as image:
        return load_layers(image, **options)


def names(layer: LoadedLayer) -> list[bytes]:
    assert layer.index is not None
    return [path for path, _ in layer.index.walk_rows()]


def blob_of(path: Path, data: bytes) -> Blob:
    path.write_bytes(data)
    return Blob(str(path), length=len(data))


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_layer_read_once_is_found_again(tmp_path: Path, compression: str) -> None:
    blob = blob_of(tmp_path / "blob", archives.compress(BASE, compression))
    cache = IndexCache(settings.cache_dir())
    assert cache.find(blob) is None
    assert cache.sizes(blob) is None
    read = read_layer(blob)
    cache.keep(blob, read)
    found = IndexCache(settings.cache_dir()).find(blob)
    assert found is not None
    assert list(found.index.walk_rows()) == list(read.index.walk_rows())
    assert (found.diff_id, found.digest) == (read.diff_id, read.digest)
    assert cache.sizes(blob) == (1000, 1)
    cache.forget(blob)
    assert cache.find(blob) is None


def test_an_index_stands_under_a_diff_id_only_when_the_bytes_were_hashed(
    tmp_path: Path, folder: Path
) -> None:
    image = archives.oci_layout(tmp_path / "image", archives.image(BASE))
    load(image)
    assert [path.name[:5] for path in files(folder)] == ["file-"]
    load(image, verify=True)
    assert {path.name[:5] for path in files(folder)} == {"file-", "diffi"}


@pytest.mark.parametrize("change", ["content", "time", "inode"])
def test_a_file_that_changed_is_read_again(tmp_path: Path, change: str) -> None:
    path = tmp_path / "blob"
    blob = blob_of(path, BASE)
    cache = IndexCache(settings.cache_dir())
    cache.keep(blob, read_layer(blob))
    before = os.stat(path)
    if change == "content":
        path.write_bytes(OTHER)
        os.utime(path, ns=(1, before.st_mtime_ns + 1))
    elif change == "time":
        os.utime(path, ns=(1, 1))
    else:
        (tmp_path / "new").write_bytes(OTHER)
        os.utime(tmp_path / "new", ns=(1, before.st_mtime_ns))
        os.replace(tmp_path / "new", path)
    assert cache.find(Blob(str(path), length=len(BASE))) is None


def test_two_layers_in_one_file_are_told_apart(tmp_path: Path) -> None:
    image = archives.docker_archive(tmp_path / "i.tar", archives.image(BASE, OTHER))
    for _ in range(2):
        assert [names(layer) for layer in load(image)] == [[b"base"], [b"other"]]


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("first", ["lie", "truth"])
def test_a_lie_about_a_diff_id_neither_poisons_nor_hides(
    tmp_path: Path, compression: str, verify: bool, first: str
) -> None:
    truth = archives.oci_layout(tmp_path / "truth", archives.image(BASE, compression=compression))
    lying = archives.Layer(tar=OTHER, compression=compression, diff_id=archives.sha256(BASE))
    lie = archives.oci_layout(tmp_path / "lie", archives.image(lying))
    order = [lie, truth] if first == "lie" else [truth, lie]
    for image in [*order, *order]:
        (layer,) = load(image, verify=verify)
        assert names(layer) == [b"other" if image == lie else b"base"]
        if image == lie and (verify or compression == "gzip"):
            # Each time, from the cache or not.
            assert layer.verified is False
            assert layer.damage is not None
            assert "DiffID" in layer.damage
        else:
            assert layer.damage is None
            assert layer.verified is not False


def test_a_lie_about_a_digest_is_said_each_time(tmp_path: Path) -> None:
    lying = archives.Layer(tar=OTHER, compression="gzip", digest=archives.sha256(BASE))
    image = archives.oci_layout(tmp_path / "image", archives.image(lying))
    for _ in range(3):
        (layer,) = load(image)
        assert layer.verified is False
        assert "digest" in (layer.damage or "")


def test_a_hit_is_no_verification(tmp_path: Path) -> None:
    image = archives.oci_layout(tmp_path / "image", archives.image(BASE, compression="gzip"))
    assert [load(image)[0].verified for _ in range(2)] == [True, None]
    assert load(image, verify=True)[0].verified is True


def test_damaged_layers_are_not_kept(tmp_path: Path, folder: Path) -> None:
    image = archives.oci_layout(
        tmp_path / "image", archives.image(archives.Layer(tar=BASE, stored=BASE[:1200]))
    )
    for _ in range(2):
        assert load(image)[0].damage is not None
    assert files(folder) == []


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_damaged_cache_files_are_as_good_as_none(
    tmp_path: Path, folder: Path, compression: str
) -> None:
    image = archives.oci_layout(tmp_path / "image", archives.image(BASE, compression=compression))
    load(image)
    for path in files(folder):
        good = path.read_bytes()
        bad = [b"", good[:1], good[:-1], good[: len(good) // 2], b"\0" * len(good), b"x" + good]
        bad += [
            bytes([*good[:at], good[at] ^ 1 << at % 8, *good[at + 1 :]])
            for at in range(0, len(good), 7)
        ]
        for data in bad:
            path.write_bytes(data)
            (layer,) = load(image)
            assert names(layer) == [b"base"]
            assert layer.damage is None
        path.write_bytes(good)


def test_no_cache_leaves_no_file(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = archives.oci_layout(tmp_path / "image", archives.image(BASE, compression="gzip"))
    load(image, cache=False)
    monkeypatch.setenv("LAYERVIEW_NO_CACHE", "1")
    load(image)
    assert not folder.exists()
    monkeypatch.setenv("LAYERVIEW_NO_CACHE", "0")
    load(image)
    assert files(folder)


def test_no_cache_by_option_or_environment_leaves_no_file(tmp_path: Path, folder: Path) -> None:
    image = archives.oci_layout(tmp_path / "image", archives.image(BASE, compression="gzip"))
    for words, more in ((["--no-cache"], {}), ([], {"LAYERVIEW_NO_CACHE": "1"})):
        for command in (["layers"], ["files"], ["waste"], ["inspect", "--verify"]):
            subprocess.run(
                [sys.executable, "-m", "layerview", *command, str(image), *words],
                check=True,
                capture_output=True,
                env={**os.environ, **more},
            )
    assert not folder.exists()


def test_the_cache_stays_bounded_and_keeps_what_was_used_last(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "MAX_BYTES", 20_000)
    monkeypatch.setattr(cache_module, "_TRIM_EVERY", 2_000)
    cache = IndexCache(settings.cache_dir())
    blobs = []
    for number in range(60):
        entries = [tars.file(os.urandom(20).hex(), b"") for _ in range(10)]
        blob = blob_of(tmp_path / f"blob{number}", tars.layer(*entries))
        before = files(folder)
        cache.keep(blob, read_layer(blob))
        for path in set(files(folder)).difference(before):
            # Long ago, but for what is used below.
            os.utime(path, (number, number))
        if blobs:
            assert cache.find(blobs[0]) is not None
        blobs.append(blob)
    assert sum(path.stat().st_size for path in files(folder)) < 24_000
    assert cache.find(blobs[0]) is not None
    assert cache.find(blobs[1]) is None


def test_loading_leads_to_trimming(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "MAX_BYTES", 0)
    monkeypatch.setattr(IndexCache, "_untrimmed", 1 << 40)
    load(archives.oci_layout(tmp_path / "image", archives.image(BASE)))
    assert files(folder) == []


def test_a_cache_that_can_not_be_written_is_none(tmp_path: Path, folder: Path) -> None:
    folder.write_bytes(b"a file where the folder should be")
    image = archives.oci_layout(tmp_path / "image", archives.image(BASE, compression="gzip"))
    for _ in range(2):
        assert names(load(image)[0]) == [b"base"]


def test_several_processes_write_and_read_at_once(tmp_path: Path, folder: Path) -> None:
    layers = [tars.layer(*(tars.file(f"{n}/{m}", b"x") for m in range(200))) for n in range(8)]
    image = archives.docker_archive(
        tmp_path / "image.tar", archives.image(*layers, compression="zstd")
    )
    program = (
        "import sys\n"
        "from layerview.sources.loading import load_layers\n"
        "from layerview.sources.resolve import open_image\n"
        "for _ in range(15):\n"
        "    with open_image(sys.argv[1]) as image:\n"
        "        for layer in load_layers(image):\n"
        "            assert layer.damage is None, layer.damage\n"
        "            assert len(layer.index) == 201, len(layer.index)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(image)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, b"")
    kept = files(folder)
    assert not [path for path in kept if path.name.startswith("writing-")]
    assert len(kept) == 2 * len(layers)
