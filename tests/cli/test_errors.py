"""Bad calls and bad input: one clear line, the right exit status, and what could be read."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import archives, tars
from tests.support.commands import Command

K = b"k" * 1000
GOOD = tars.layer(tars.folder("d"), tars.file("d/f", K), tars.symlink("loop", "loop"))
COMMANDS = [
    ["layers"],
    ["history"],
    ["inspect"],
    ["files"],
    ["files", "--layer", "0"],
    ["waste"],
    ["which", "/d/f"],
    ["cat", "/d/f"],
]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def words_of(command: list[str], image: object) -> list[object]:
    return [command[0], image, *command[1:]]


@pytest.mark.parametrize(
    "words",
    [
        ["files"],
        ["files", "a", "b", "c"],
        ["files", "IMAGE", "--layer", "x"],
        ["files", "IMAGE", "--depth", "-1"],
        ["files", "IMAGE", "--changes", "added"],
        ["files", "IMAGE", "--layer", "0", "--changes", "painted"],
        ["files", "IMAGE", "--no-such-option"],
        ["files", "IMAGE", "--sort", "colour"],
        ["which", "IMAGE"],
        ["cat", "IMAGE", "/d/f", "--json"],
        ["diff", "IMAGE"],
        ["layers", "docker://alpine"],
        ["layers", "IMAGE", "--platform", "not a platform!"],
    ],
)
def test_a_call_whose_words_are_off_is_2(run: Command, tmp_path: Path, words: list[str]) -> None:
    image = archives.docker_archive(tmp_path / "i.tar", archives.image(GOOD))
    answer = run(*[str(image) if word == "IMAGE" else word for word in words])
    assert (answer.status, answer.out) == (2, "")
    assert answer.errors.count("\n") == 1
    assert answer.errors.startswith("layerview: ")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    "kind", ["missing", "empty", "text", "fifo", "device", "folder in the way", "no list"]
)
def test_what_is_no_image_is_1_and_one_line(
    run: Command, tmp_path: Path, command: list[str], kind: str
) -> None:
    path = tmp_path / "x"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_bytes(b"this is no tar\n" * 100)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/null")
    elif kind == "folder in the way":
        path = tmp_path / "x" / "y"
        (tmp_path / "x").write_bytes(b"")
    elif kind == "no list":
        members: archives.Members = {"manifest.json": b"[]", "x": b"y"}
        archives.write_tar(path, members)
    answer = run(*words_of(command, path))
    assert (answer.status, answer.out) == (1, ""), answer
    assert answer.errors.count("\n") == 1
    assert str(path) in answer.errors


def test_an_empty_layer_is_a_layer(run: Command, tmp_path: Path) -> None:
    (tmp_path / "empty.tar").write_bytes(bytes(1024))
    spec = archives.image(bytes(1024), GOOD)
    for image in (tmp_path / "empty.tar", archives.docker_archive(tmp_path / "i.tar", spec)):
        answer = run("layers", image)
        assert (answer.status, answer.errors) == (0, "")
        assert "not here" not in answer.out
        layer = run.json("layers", image)[0]
        assert (layer["size"], layer["files"], layer["available"]) == (0, 0, True)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_truncated_layer_is_1_and_shows_what_came_before(
    run: Command, tmp_path: Path, command: list[str], compression: str
) -> None:
    tar = tars.layer(tars.folder("d"), tars.file("d/f", K), tars.file("z", os.urandom(9000)))
    stored = archives.compress(tar, compression)[:-6000]
    layer = archives.Layer(tar=tar, compression=compression, stored=stored)
    image = archives.oci_layout(tmp_path / "image", archives.image(layer))
    answer = run(*words_of(command, image))
    assert answer.out
    if command != ["inspect"]:
        assert answer.status == 1
        assert answer.errors.count("\n") == 1
        assert "truncated" in answer.errors or "ends" in answer.errors
    if command == ["files"]:
        assert "/d/f" in answer.out
    if command[0] == "cat":
        assert answer.out == K.decode()


@pytest.mark.parametrize("lie", ["diff_id", "digest"])
def test_a_wrong_digest_is_said_and_what_is_there_is_shown(
    run: Command, tmp_path: Path, lie: str
) -> None:
    layer = archives.Layer(tar=GOOD, compression="gzip", **{lie: archives.sha256(b"else")})
    image = archives.oci_layout(tmp_path / "image", archives.image(layer))
    answer = run("files", image, "--json")
    assert answer.status == 1
    assert answer.paths == ["/d", "/d/f", "/loop"]
    assert answer.errors.count("\n") == 1
    assert "as claimed" in answer.errors
    assert run("layers", image, "--json").json[0]["verified"] is False


def test_a_wrong_diff_id_of_a_plain_layer_is_said_with_verify(run: Command, tmp_path: Path) -> None:
    layer = archives.Layer(tar=GOOD, diff_id=archives.sha256(b"else"))
    image = archives.docker_archive(tmp_path / "i.tar", archives.image(layer))
    assert run("files", image).status == 0
    for command in ("layers", "files", "inspect"):
        answer = run(command, image, "--verify")
        assert answer.status == 1
        assert "as claimed" in answer.errors


def test_a_damaged_config_leaves_the_layers(run: Command, tmp_path: Path) -> None:
    spec = archives.image(GOOD)
    for write, find in (
        (archives.docker_members, lambda members: spec.image_id[7:] + ".json"),
        (archives.oci_members, lambda members: "blobs/sha256/" + spec.image_id[7:]),
    ):
        for data in (b"", b"{", b"[]", b'{"rootfs": 5}', b"\xff"):
            members = write(spec)
            members[find(members)] = data
            answer = run("files", archives.write_tar(tmp_path / "i.tar", members), "--json")
            assert answer.status == 1
            assert answer.paths == ["/d", "/d/f", "/loop"]
            assert answer.errors.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["manifest.json", "index.json", "oci-layout", "the image's manifest"]
)
@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"null", b'"x"', b"[" * 5000, b'{"a":1e999}'])
def test_damaged_documents_are_one_line(
    run: Command, tmp_path: Path, name: str, data: bytes
) -> None:
    spec = archives.image(GOOD)
    members = (
        archives.docker_members(spec) if name == "manifest.json" else archives.oci_members(spec)
    )
    if name == "the image's manifest":
        name = "blobs/sha256/" + archives.sha256(spec.manifest_bytes())[7:]
    members[name] = data
    answer = run("files", archives.write_tar(tmp_path / "i.tar", members), "--json")
    assert answer.status in (0, 1)
    assert answer.errors.count("\n") <= 1
    assert answer.status == 0 or answer.errors


def test_links_in_a_circle_end(run: Command, tmp_path: Path) -> None:
    image = archives.docker_archive(tmp_path / "i.tar", archives.image(GOOD))
    answer = run("which", image, "/loop", "--json")
    assert (answer.status, answer.json["exists"]) == (1, False)
    answer = run("cat", image, "/loop")
    assert (answer.status, answer.out, answer.errors.count("\n")) == (1, "", 1)


def test_layers_that_are_not_there_are_said(run: Command, tmp_path: Path) -> None:
    image = archives.docker_archive(tmp_path / "i.tar", archives.image(GOOD))
    for words in (["files", image, "--layer", 1], ["cat", image, "/d/f", "--layer", 7]):
        answer = run(*words)
        assert (answer.status, answer.out, answer.errors.count("\n")) == (1, "", 1)
        assert "there is no layer" in answer.errors


def test_names_never_reach_the_terminal_raw(run: Command, tmp_path: Path) -> None:
    name = "\x1b]0;title\x07\n\u202e"
    image = archives.docker_archive(
        tmp_path / "i.tar", archives.image(tars.layer(tars.file(name, K)), tags=[f"x{name}:1"])
    )
    for words in (
        ["layers", image],
        ["inspect", image],
        ["files", image],
        ["which", image, f"/{name}"],
        ["cat", image, f"/no{name}"],
        ["files", f"{image}{name}"],
        ["files", f"{image}:no{name}"],
    ):
        answer = run(*words)
        for char in ("\x1b", "\x07", "\u202e"):
            assert char not in answer.out + answer.errors


def test_standard_input_may_be_an_image(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = archives.docker_archive(tmp_path / "i.tar", archives.image(GOOD)).read_bytes()
    for data, status in ((whole, 0), (gzip.compress(whole), 0), (whole[:3000], 1), (b"", 1)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        answer = run("files", "-", "--json")
        assert answer.status == status
        assert answer.errors.count("\n") == (1 if status else 0)


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    layer = tars.layer(*(tars.file(f"f{n:05}") for n in range(5000)))
    image = archives.docker_archive(tmp_path / "i.tar", archives.image(layer))
    command = [sys.executable, "-m", "layerview", "files", str(image), "--json", "--no-cache"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait() == 1
    process.stderr.close()


@pytest.mark.parametrize("depth", [5000])
def test_deep_trees_do_not_exhaust_the_stack(run: Command, tmp_path: Path, depth: int) -> None:
    deep = "d/" * depth
    layers = [tars.layer(tars.file(deep + name, K)) for name in ("a", "b")]
    image = archives.docker_archive(tmp_path / "i.tar", archives.image(*layers))
    for command in (["files"], ["waste"], ["layers"], ["which", "/" + deep + "a"]):
        assert run(*words_of(command, image), "--json").status == 0
    assert run("diff", image, image, "--json").json["files"] == []
