"""The builders build what they say: seen by tarfile and by hashing, not by layerview."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support import archives, tars

K = b"k" * 1000


def members_of(data: bytes, **options: Any) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", **options) as tar:
        return tar.getmembers()


def content_of(data: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        found = tar.extractfile(name)
        assert found is not None
        return found.read()


def every_kind() -> list[tars.Entry]:
    return [
        tars.folder(""),
        tars.folder("d", mode=0o1777, uid=7, gid=8),
        tars.file("d/f", K, mode=0o4755, mtime=12),
        tars.hardlink("d/h", "d/f"),
        tars.symlink("d/s", "f"),
        tars.fifo("d/p"),
        tars.char("d/c", 1, 3),
        tars.block("d/b", 8, 0),
        tars.whiteout("d/gone"),
        tars.opaque("d"),
        tars.file("d/f", b"twice"),
    ]


@pytest.mark.parametrize("form", ["ustar", "gnu", "pax"])
def test_every_kind_of_entry_is_read_back(form: str) -> None:
    data = tars.layer(*every_kind(), form=form)
    found = members_of(data)
    names = [member.name for member in found]
    assert names[:4] == [".", "d", "d/f", "d/h"]
    assert names[-3:] == ["d/.wh.gone", "d/.wh..wh..opq", "d/f"]
    assert [member.type for member in found] == list(
        map(bytes, [b"5", b"5", b"0", b"1", b"2", b"6", b"3", b"4", b"0", b"0", b"0"])
    )
    assert (found[1].mode, found[1].uid, found[1].gid) == (0o1777, 7, 8)
    assert (found[2].mode, found[2].mtime, found[2].size) == (0o4755, 12, 1000)
    assert (found[6].devmajor, found[6].devminor) == (1, 3)
    assert data == tars.layer(*every_kind(), form=form)


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_long_names_and_large_numbers(form: str) -> None:
    name, target = "d/" * 90 + "f", "t" * 300
    found = members_of(
        tars.layer(
            tars.symlink(name, target, uid=2**31, mtime=2**34),
            tars.file("g", b"x", uid=3, base256=["uid", "size"]),
            form=form,
        )
    )
    assert (found[0].name, found[0].linkname) == (name, target)
    assert (found[0].uid, found[0].mtime) == (2**31, 2**34)
    assert (found[1].uid, found[1].size) == (3, 1)


def test_ustar_splits_a_name_and_refuses_what_does_not_fit() -> None:
    name = "p" * 90 + "/" + "n" * 90
    assert members_of(tars.layer(tars.file(name), form="ustar"))[0].name == name
    with pytest.raises(ValueError, match="does not fit"):
        tars.layer(tars.file("n" * 101), form="ustar")


def test_pax_records_carry_xattrs_fractions_and_raw_names() -> None:
    xattr = {"security.capability": b"\x01\x00\x00\x02\xff"}
    entry = tars.file(b"caf\xe9", xattrs=xattr, mtime="-1.5", records={"comment": "é"})
    (found,) = members_of(tars.layer(tars.global_header(), entry), errors="surrogateescape")
    assert found.name == "caf\udce9"
    assert found.mtime == -1.5
    value = found.pax_headers["SCHILY.xattr.security.capability"]
    assert value.encode("utf-8", "surrogateescape") == xattr["security.capability"]


@pytest.mark.parametrize("style", ["gnu", "pax-0.0", "pax-0.1", "pax-1.0"])
@pytest.mark.parametrize("count", [0, 3, 60])
def test_sparse_files_are_read_back_whole(style: str, count: int) -> None:
    size, expected = 100_000, bytearray(100_000)
    chunks = [(number * 1536, bytes([number + 1]) * 700) for number in range(count)]
    for offset, data in chunks:
        expected[offset : offset + len(data)] = data
    data = tars.layer(tars.sparse("d/s", size, chunks, style), tars.file("after", b"a"))
    assert content_of(data, "d/s") == bytes(expected)
    assert content_of(data, "after") == b"a"


def test_lies_stand_in_the_header_as_told() -> None:
    entry = tars.file("f", b"abc", claimed_size=b"77777777777\x00", checksum=1)
    data = tars.layer(entry, end=0)
    assert data[124:136] == b"77777777777\x00"
    assert data[148:156] == b"000001\x00 "
    assert len(data) == 1024


def two_images() -> list[archives.Image]:
    base = tars.layer(tars.file("a", K))
    top = tars.layer(tars.whiteout("a"))
    history = [
        archives.made_by("ADD file:1 in /"),
        archives.made_by('CMD ["sh"]', empty=True),
        archives.made_by("RUN rm a"),
    ]
    return [
        archives.image(base, top, tags=["one:1", "one:latest"], history=history),
        archives.image(base, tags=None, config={"Cmd": ["sh"]}),
    ]


def archive_files(path: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(path) as tar:
        for member in tar:
            data = tar.extractfile(member) if member.isreg() or member.issym() else None
            found[member.name] = data.read() if data else b""
    return found


@pytest.mark.parametrize("style", ["docker", "skopeo"])
@pytest.mark.parametrize("repeats", [False, True])
def test_docker_archive_holds_what_its_manifest_says(
    tmp_path: Path, style: str, repeats: bool
) -> None:
    images = two_images()
    path = archives.docker_archive(
        tmp_path / "i.tar", *images, style=style, symlink_repeats=repeats, outer="gzip"
    )
    files = archive_files(path)
    manifest = json.loads(files["manifest.json"])
    assert [item["RepoTags"] for item in manifest] == [["one:1", "one:latest"], None]
    for spec, item in zip(images, manifest, strict=True):
        config = files[item["Config"]]
        assert item["Config"] == hashlib.sha256(config).hexdigest() + ".json"
        hashes = [archives.sha256(files[name]) for name in item["Layers"]]
        assert hashes == json.loads(config)["rootfs"]["diff_ids"] == spec.diff_ids
    assert json.loads(files["repositories"])["one"].keys() == {"1", "latest"}


def check_blobs(files: dict[str, bytes]) -> None:
    for name, data in files.items():
        if name.startswith("blobs/sha256/"):
            assert name == "blobs/sha256/" + hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "bzip2", "xz"])
def test_docker25_archive_names_its_layers_three_times(tmp_path: Path, compression: str) -> None:
    base = tars.layer(tars.file("a", K))
    spec = archives.image(base, tags=["demo:1"], compression=compression)
    path = archives.docker25_archive(tmp_path / "i.tar", spec, attestation=True)
    files = archive_files(path)
    check_blobs(files)
    (item,) = json.loads(files["manifest.json"])
    (layer,) = item["Layers"]
    (source,) = item["LayerSources"].values()
    assert layer == "blobs/" + source["digest"].replace(":", "/")
    named, note = json.loads(files["index.json"])["manifests"]
    assert named["annotations"]["io.containerd.image.name"] == "docker.io/library/demo:1"
    assert note["annotations"]["vnd.docker.reference.digest"] == named["digest"]
    assert files[item["Config"]] == spec.config_bytes


def test_oci_layout_with_platforms_attestations_and_nesting(tmp_path: Path) -> None:
    base = tars.layer(tars.file("a", K))
    amd, arm = (
        archives.image(base, architecture=name, compression="gzip") for name in ("amd64", "arm64")
    )
    several = archives.index(amd, arm, tags=["latest"], attestation=True)
    path = archives.oci_layout(tmp_path / "i", several, nested=1)
    files = {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    check_blobs(files)
    (top,) = json.loads(files["index.json"])["manifests"]
    assert top["annotations"] == {archives.REF_NAME: "latest"}
    (middle,) = json.loads(files["blobs/" + top["digest"].replace(":", "/")])["manifests"]
    inner = json.loads(files["blobs/" + middle["digest"].replace(":", "/")])["manifests"]
    assert [item["platform"]["architecture"] for item in inner] == [
        "amd64",
        "arm64",
        "unknown",
        "unknown",
    ]
    layer = json.loads(amd.manifest_bytes())["layers"][0]
    stored = files["blobs/" + layer["digest"].replace(":", "/")]
    assert gzip.decompress(stored) == base
    assert archives.oci_members(several, nested=1) == archives.oci_members(several, nested=1)


def test_a_layer_lies_or_stays_away_when_told_to() -> None:
    base, other = tars.layer(tars.file("a", K)), tars.layer(tars.file("b", K))
    lie = archives.sha256(other)
    spec = archives.image(
        archives.Layer(tar=base, diff_id=lie, digest=lie, size=1),
        archives.Layer(tar=other, present=False, urls=("https://example.org/l",)),
    )
    members = archives.oci_members(spec)
    assert members["blobs/" + lie.replace(":", "/")] == base
    assert spec.diff_ids == [lie, lie]
    first, second = json.loads(spec.manifest_bytes())["layers"]
    assert (first["digest"], first["size"]) == (lie, 1)
    assert second["urls"] == ["https://example.org/l"]
    absent = archives.image(archives.Layer(tar=other, present=False))
    assert "blobs/" + lie.replace(":", "/") not in archives.oci_members(absent)
