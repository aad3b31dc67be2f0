"""What deleting would free is what it frees: held against real deletions in a storage area."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from layerview.oci.digest import Digest
from layerview.store.account import Account, Part
from layerview.store.build_cache import CacheRecord
from layerview.store.cache_use import listed_records
from layerview.store.data_root import DataRoot
from layerview.store.freeing import Freeing
from layerview.store.usage import account
from tests.support import archives, build_caches, tars
from tests.support.commands import Command

BLOCKS = 4096
"""Bytes by which lists of names may grow or shrink beside what is deleted."""


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "area"))
    monkeypatch.setenv("LAYERVIEW_DRIVER", "vfs")
    return Command(capsys)


@pytest.fixture
def root(run: Command, tmp_path: Path) -> Path:
    return tmp_path / "area"


def freeing(root: Path) -> Freeing:
    data = DataRoot(str(root))
    found = Freeing(data, account(data))
    assert found.exact
    return found


def taken(root: Path) -> int:
    """What `du` says."""
    seen = {}
    for at, _, files in os.walk(root):
        for name in (".", *files):
            state = os.lstat(os.path.join(at, name))
            seen[state.st_ino] = state.st_blocks * 512
    return sum(seen.values())


def layer(number: int, size: int) -> bytes:
    return tars.layer(
        tars.folder(f"d{number}"),
        tars.file(f"d{number}/f", os.urandom(size)),
        tars.hardlink(f"d{number}/again", f"d{number}/f"),
        tars.symlink(f"d{number}/l", "f"),
    )


def load(run: Command, folder: Path, name: str, *layers: bytes) -> None:
    file = archives.docker_archive(folder / "it.tar", archives.image(*layers, tags=[name]))
    assert run("load", "-i", file).status == 0
    file.unlink()


@pytest.mark.parametrize("seed", range(8))
def test_as_much_goes_as_was_said(run: Command, root: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    pool = [layer(number, chance.choice((10, 5000, 70_000))) for number in range(5)]
    # Stacks that begin alike share those layers; a stack may be another's beginning.
    stacks = [pool[: chance.randint(1, 4)] for _ in range(2)]
    stacks += [[*pool[: chance.randint(0, 2)], layer(9 + at, 20_000)] for at in range(2)]
    for at, stack in enumerate(stacks):
        load(run, tmp_path, f"i{at}:1", *stack)
    images = [f"i{at}:1" for at in range(len(stacks))]
    assert run("tag", "i0:1", "second:1").status == 0
    containers = []
    for at in range(3):
        image = chance.choice(images)
        answer = run("create", "--name", f"c{at}", "-v", f"v{at}:/v", image, "true")
        assert answer.status == 0, answer
        containers.append(f"c{at}")
    for at in range(3):
        (root / f"volumes/v{at}/_data/f").write_bytes(bytes(chance.randint(0, 50_000)))
    going = [("rm", name) for name in containers] + [("rmi", name) for name in images]
    chance.shuffle(going)
    going += [("volume", f"v{at}") for at in range(3)]
    for verb, name in going:
        said, before = freeing(root), taken(root)
        words: tuple[str, ...] = (verb, name)
        if verb == "rm":
            [record] = [one for one in said.containers if one.name == name]
            size = said.container(record)
        elif verb == "volume":
            size, words = said.volume(name), ("volume", "rm", name)
        else:
            found = [one for one in said.images if name in one.references]
            if not found:
                continue  # two stacks that are the same are one image
            words = ("rmi", "-f", *found[0].references)
            size = said.image(found[0])
        answer = run(*words)
        assert answer.status == 0, answer
        assert abs(before - taken(root) - size) <= BLOCKS, (words, size)
    end = freeing(root)
    assert not end.images
    assert not end.containers


def test_several_images_free_what_they_share(run: Command, root: Path, tmp_path: Path) -> None:
    base = layer(0, 90_000)
    load(run, tmp_path, "a:1", base, layer(1, 10))
    load(run, tmp_path, "b:1", base, layer(2, 10))
    said, before = freeing(root), taken(root)
    each = [said.image(image) for image in said.images]
    together = said.images_together(said.images)
    assert together > sum(each) + 90_000
    assert run("rmi", "a:1", "b:1").status == 0
    assert abs(before - taken(root) - together) <= BLOCKS


def test_an_image_that_others_were_built_on_frees_nothing(
    run: Command, root: Path, tmp_path: Path
) -> None:
    load(run, tmp_path, "a:1", layer(0, 50_000))
    load(run, tmp_path, "b:1", layer(1, 50_000))
    ids = {one.references[0]: one.image_id for one in DataRoot(str(root)).images("vfs")}
    metadata = root / "image/vfs/imagedb/metadata/sha256" / ids["b:1"].hex
    metadata.mkdir(parents=True)
    (metadata / "parent").write_text(str(ids["a:1"]))
    said = freeing(root)
    by_name = {one.references[0]: one for one in said.images}
    assert said.image(by_name["a:1"]) == 0
    alone = said.image(by_name["b:1"])
    assert 100_000 > alone > 50_000
    # Without a name the lower one goes with the upper one.
    assert run("rmi", "a:1").status == 0
    said, before = freeing(root), taken(root)
    [top] = [one for one in said.images if one.references]
    assert said.image(top) > 100_000
    size = said.image(top)
    assert run("rmi", "b:1").status == 0
    assert abs(before - taken(root) - size) <= BLOCKS
    assert not freeing(root).images


# Build caches --------------------------------------------------------------------------------

A, B, C, D = (letter * 25 for letter in "abcd")


def _folder(root: Path, id: str, size: int) -> None:
    folder = root / "vfs/dir" / id
    folder.mkdir(parents=True)
    (folder / "f").write_bytes(bytes(size))


def _rows(said: Freeing) -> dict[str, int]:
    return {one.id: said.cache_record(one) for one in listed_records(said.cache)}


def test_a_record_of_the_cache_frees_its_folder_unless_another_lies_on_it(
    run: Command, root: Path, tmp_path: Path
) -> None:
    load(run, tmp_path, "a:1", layer(0, 10))
    _folder(root, B, 40_000)
    _folder(root, D, 80_000)
    build_caches.write(
        root,
        {A: {"committed": B}, B: {"iscommitted": ""}, C: {"committed": D}, D: {"iscommitted": ""}},
        {A: {}, C: {"cache.parent": A}},
    )
    said = freeing(root)
    assert _rows(said) == {A: 0, C: 81_920 + 4096}
    assert said.whole_cache() == 81_920 + 4096 + 40_960 + 4096


def test_what_images_have_stays_with_the_cache_gone(
    run: Command, root: Path, tmp_path: Path
) -> None:
    load(run, tmp_path, "a:1", layer(0, 60_000))
    [record] = DataRoot(str(root)).layers("vfs")
    snapshots = {A: {"committed": record.cache_id, "chainid": str(record.chain_id)}}
    build_caches.write(root, snapshots, {A: {}})
    said = freeing(root)
    assert _rows(said) == {A: 0}
    assert said.whole_cache() == 0
    [image] = said.images
    assert said.image(image) < 10_000
    # As soon as the image is gone the layer is the cache's alone.
    assert run("rmi", "a:1").status == 0
    said = freeing(root)
    assert said.whole_cache() == _rows(said)[A] > 60_000


def test_two_records_with_one_snapshot_free_it_once(
    run: Command, root: Path, tmp_path: Path
) -> None:
    load(run, tmp_path, "a:1", layer(0, 10))
    _folder(root, B, 40_000)
    build_caches.write(root, {B: {"parent": ""}}, {A: {"cache.equalMutable": B}, B: {}})
    said = freeing(root)
    assert _rows(said) == {B: 45_056}
    assert said.whole_cache() == 45_056


def test_a_blob_goes_with_the_last_record_that_has_it(
    run: Command, root: Path, tmp_path: Path
) -> None:
    load(run, tmp_path, "a:1", layer(0, 10))
    blob = Digest.of(b"blob")
    place = root / "buildkit/content/blobs/sha256" / blob.hex
    place.parent.mkdir(parents=True)
    place.write_bytes(bytes(30_000))
    values = {"cache.blob": str(blob), "cache.blobonly": True}
    build_caches.write(root, {}, {A: values, B: values})
    said = freeing(root)
    assert _rows(said) == {A: 0, B: 0}
    assert said.whole_cache() == 32_768
    build_caches.write(root, {}, {A: values})
    assert _rows(freeing(root)) == {A: 32_768}


def test_what_is_not_there_frees_nothing(run: Command, root: Path, tmp_path: Path) -> None:
    load(run, tmp_path, "a:1", layer(0, 10))
    data = DataRoot(str(root))
    said = Freeing(data, Account(str(root), "vfs", (Part("volume", "v", "/v", 5, id="v"),)))
    assert said.volume("none") == 0
    assert said.volume("v") == 5
    assert said.cache_record(CacheRecord(A)) == 0
    [image] = said.images
    assert said.image(image._replace(image_id=Digest.of(b"other"))) == 0


def test_damaged_records_are_said(run: Command, root: Path, tmp_path: Path) -> None:
    load(run, tmp_path, "a:1", layer(0, 10))
    [record] = DataRoot(str(root)).layers("vfs")
    (root / "image/vfs/layerdb/sha256" / record.chain_id.hex / "diff").write_text("?")
    data = DataRoot(str(root))
    assert not Freeing(data, account(data)).exact
