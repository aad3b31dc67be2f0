"""What every command prints as JSON: exactly the names that are promised, with their types."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import archives, tars
from tests.support.commands import Command

K = b"k" * 1000
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
MODE = re.compile(r"[0-7]{4}")
NONE = type(None)

LAYER = {
    "layer": int,
    "diff_id": DIGEST,
    "chain_id": DIGEST,
    "digest": (DIGEST, NONE),
    "media_type": (str, NONE),
    "size": (int, NONE),
    "compressed_size": (int, NONE),
    "files": (int, NONE),
    "created": (TIME, NONE),
    "created_by": (str, NONE),
    "comment": (str, NONE),
    "available": bool,
    "verified": (bool, NONE),
    "cache_id": NONE,
    "directory": (str, NONE),
    # Beside the names of the first release.
    "repeated_bytes": (int, NONE),
    "warnings": (list, NONE),
}
FILE = {
    "path": str,
    "type": re.compile("file|dir|symlink|fifo|char|block"),
    "size": (int, NONE),
    "mode": MODE,
    "uid": int,
    "gid": int,
    "mtime": (TIME, NONE),
    "layer": (int, NONE),
    "certain": bool,
}
MAY = {
    "target": str,
    "hardlink": str,
    "xattrs": dict,
    "path_bytes": str,
    "target_bytes": str,
    "hardlink_bytes": str,
}
VERSION = {"type": str, "size": int, "mode": MODE, "uid": int, "gid": int, "layer": (int, NONE)}


def fits(value: Any, form: Any) -> bool:
    if isinstance(form, tuple):
        return any(fits(value, part) for part in form)
    if isinstance(form, re.Pattern):
        return isinstance(value, str) and form.fullmatch(value) is not None
    return type(value) is form


def check(found: dict[str, Any], form: dict[str, Any], may: dict[str, Any] | None = None) -> None:
    """Hold an object against its form: all names, in any order, and none beside."""
    may = may or {}
    assert form.keys() <= found.keys() <= form.keys() | may.keys(), found
    for name, value in found.items():
        assert fits(value, {**may, **form}[name]), (name, value)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def an_image() -> archives.Image:
    base = tars.layer(
        tars.folder("d", mode=0o1777),
        tars.file("d/f", K, mode=0o4755, uid=7, gid=8, mtime="1700000000.25"),
        tars.hardlink("d/h", "d/f", mode=0o4755, uid=7, gid=8),
        tars.symlink("s", b"d/f"),
        tars.symlink(b"r\xe9", b"t\xff"),
        tars.fifo("p"),
        tars.char("c", 1, 3),
        tars.block("b", 7, 0),
        tars.file("un/listed", b"x", xattrs={"user.x": b"\0\xff"}),
        tars.file("d-d", b""),
    )
    top = tars.layer(
        tars.folder("d", mode=0o1777),
        tars.file("d/f", K),
        tars.whiteout("p"),
        tars.folder("un"),
        tars.opaque("un"),
        tars.file("new", b"n"),
    )
    history = [
        archives.made_by("ADD base"),
        archives.made_by("ENV a=b", empty=True, comment="said"),
        archives.made_by("RUN more"),
    ]
    return archives.image(base, top, history=history, compression="gzip", tags=["demo:1"])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return archives.oci_layout(tmp_path / "image", an_image())


def test_layers(run: Command, image: Path) -> None:
    layers = run.json("layers", image)
    spec = an_image()
    for layer in layers:
        check(layer, LAYER)
    assert [layer["layer"] for layer in layers] == [0, 1]
    assert [layer["diff_id"] for layer in layers] == spec.diff_ids
    assert [layer["chain_id"] for layer in layers] == spec.chain_ids
    assert [layer["digest"] for layer in layers] == [part.said_digest for part in spec.layers]
    assert [layer["compressed_size"] for layer in layers] == [len(p.blob) for p in spec.layers]
    assert [layer["size"] for layer in layers] == [1001, 1001]
    assert [layer["files"] for layer in layers] == [10, 5]
    assert [layer["created_by"] for layer in layers] == ["ADD base", "RUN more"]
    assert [layer["verified"] for layer in layers] == [True, True]


def test_plain_layers_are_verified_when_they_are_asked_to_be(run: Command, tmp_path: Path) -> None:
    image = archives.docker_archive(tmp_path / "i.tar", archives.image(tars.layer(tars.file("a"))))
    assert run.json("layers", image)[0]["verified"] is None
    assert run.json("layers", image, "--verify")[0]["verified"] is True


def test_history(run: Command, image: Path) -> None:
    rows = run.json("history", image)
    for row in rows:
        check(
            row,
            {
                "image_id": (DIGEST, NONE),
                "created": (TIME, NONE),
                "created_by": (str, NONE),
                "size": (int, NONE),
                "comment": (str, NONE),
                "empty_layer": bool,
                "layer": (int, NONE),
            },
        )
    assert [row["created_by"] for row in rows] == ["RUN more", "ENV a=b", "ADD base"]
    assert [row["layer"] for row in rows] == [1, None, 0]
    assert [row["size"] for row in rows] == [1001, 0, 1001]
    assert [row["image_id"] for row in rows] == [an_image().image_id, None, None]
    assert rows[1]["comment"] == "said"


def test_inspect(run: Command, image: Path) -> None:
    document = run.json("inspect", image)
    check(
        document,
        {
            "image_id": DIGEST,
            "references": list,
            "digest": (DIGEST, NONE),
            "platform": (str, NONE),
            "created": (TIME, NONE),
            "config": dict,
            "layers": list,
            "size": (int, NONE),
            "warnings": list,
        },
    )
    for layer in document["layers"]:
        check(layer, LAYER)
        assert layer["size"] is None
    assert document["size"] is None
    assert document["config"] == json.loads(an_image().config_bytes)
    assert document["references"] == ["demo:1"]
    assert document["platform"] == "linux/amd64"
    assert run.json("inspect", image, "--verify")["size"] == 2002


def test_files(run: Command, image: Path) -> None:
    lines = run.lines("files", image)
    for line in lines:
        check(line, FILE, MAY)
    # A folder, then its content: by components, bytewise.
    assert [line["path"] for line in lines] == [
        "/b",
        "/c",
        "/d",
        "/d/f",
        "/d/h",
        "/d-d",
        "/new",
        "/r\udce9",
        "/s",
        "/un",
    ]
    found = {line["path"]: line for line in lines}
    assert found["/d"]["mode"] == "1777"
    assert found["/d/f"]["layer"] == 1
    hardlink = found["/d/h"]
    assert (hardlink["mode"], hardlink["uid"], hardlink["gid"]) == ("4755", 7, 8)
    assert hardlink["mtime"] == "2023-11-14T22:13:20.25Z"
    assert (found["/s"]["target"], found["/s"]["size"]) == ("d/f", 3)
    odd = found["/r\udce9"]
    assert base64.b64decode(odd["path_bytes"]) == b"/r\xe9"
    assert base64.b64decode(odd["target_bytes"]) == b"t\xff"
    assert os.fsencode(odd["path"]) == b"/r\xe9"
    assert found["/un"]["layer"] == 1


def test_files_of_a_path_are_itself_and_all_below(run: Command, image: Path) -> None:
    assert [line["path"] for line in run.lines("files", image, "/d")] == ["/d", "/d/f", "/d/h"]
    assert [line["path"] for line in run.lines("files", image, "d/")] == ["/d", "/d/f", "/d/h"]
    assert [line["path"] for line in run.lines("files", image, "/d", "--depth", 0)] == ["/d"]
    top = [line["path"] for line in run.lines("files", image, "--depth", 1)]
    assert top == [
        line["path"] for line in run.lines("files", image) if "/" not in line["path"][1:]
    ]
    answer = run("files", image, "/p", "--json")
    assert (answer.status, answer.out, answer.errors.count("\n")) == (1, "", 1)


def test_what_no_tar_lists_has_no_attributes(run: Command, tmp_path: Path) -> None:
    layer = tars.layer(tars.file("un/listed", b"x", xattrs={"user.x": b"\0\xff"}))
    image = archives.oci_layout(tmp_path / "image", archives.image(layer))
    folder, file = run.lines("files", image)
    assert (folder["mode"], folder["uid"], folder["mtime"], folder["layer"]) == (
        "0755",
        0,
        None,
        None,
    )
    assert {name: base64.b64decode(v) for name, v in file["xattrs"].items()} == {
        "user.x": b"\0\xff"
    }


def test_files_of_a_layer(run: Command, image: Path) -> None:
    kinds = re.compile("added|modified|metadata|identical|deleted")
    form = {**FILE, "type": str, "change": kinds}
    lines = run.lines("files", image, "--layer", 1)
    for line in lines:
        check(line, form, {**MAY, "hides": int})
        assert ("hides" in line) == (line["change"] == "deleted" or line["path"] == "/un")
    assert {line["path"]: line["change"] for line in lines} == {
        "/d": "identical",
        "/d/f": "metadata",
        "/new": "added",
        "/p": "deleted",
        "/un": "metadata",
    }
    assert [line["change"] for line in run.lines("files", image, "--layer", 0)] == ["added"] * 10


def test_which(run: Command, image: Path) -> None:
    document = run.json("which", image, "/s")
    check(
        document,
        {
            "path": str,
            "resolved": str,
            "links": list,
            "exists": bool,
            "layer": (int, NONE),
            "certain": bool,
            "ladder": list,
        },
    )
    assert (document["path"], document["resolved"]) == ("/s", "/d/f")
    assert document["links"] == [{"path": "/s", "target": "d/f", "layer": 0}]
    states = []
    for rung in document["ladder"]:
        form: dict[str, Any] = {"layer": int, "state": str, "disk_path": NONE}
        if rung["state"] in ("hidden", "winner"):
            form |= {
                "type": str,
                "size": int,
                "mode": MODE,
                "uid": int,
                "gid": int,
                "mtime": (TIME, NONE),
                "sha256": (str, NONE),
            }
        check(rung, form)
        states.append((rung["layer"], rung["state"]))
    assert states == [(1, "winner"), (0, "hidden")]
    assert {rung["sha256"] for rung in document["ladder"]} == {
        archives.sha256(K),
    } or {rung["sha256"] for rung in document["ladder"]} == {archives.sha256(K)[7:]}
    kept = run.json("which", image, "/s", "--no-follow")
    assert (kept["resolved"], kept["links"], kept["layer"]) == ("/s", [], 0)


@pytest.mark.parametrize(
    ("path", "states"),
    [("/p", ["whiteout", "hidden"]), ("/un/listed", ["opaque", "hidden"]), ("/no", ["absent"] * 2)],
)
def test_which_prints_the_ladder_of_what_does_not_show(
    run: Command, image: Path, path: str, states: list[str]
) -> None:
    answer = run("which", image, path, "--json")
    assert (answer.status, answer.errors) == (1, "")
    document = answer.json
    assert (document["exists"], document["layer"]) == (False, None)
    assert [rung["state"] for rung in document["ladder"]] == states


def test_waste(run: Command, image: Path) -> None:
    waste = run.json("waste", image)
    kinds = {"overwritten": int, "deleted": int, "metadata_only": int, "identical": int}
    check(
        waste,
        {
            "total_bytes": int,
            "live_bytes": int,
            "wasted_bytes": int,
            "by_kind": dict,
            "by_layer": list,
            "paths": list,
            "dive": dict,
        },
    )
    check(waste["by_kind"], kinds)
    for layer in waste["by_layer"]:
        check(layer, {"layer": int, "bytes": int, "by_kind": dict})
        check(layer["by_kind"], kinds)
    for path in waste["paths"]:
        check(path, {"path": str, "bytes": int, "versions": list}, {"path_bytes": str})
        for version in path["versions"]:
            check(version, {"layer": int, "bytes": int, "kind": str, "hidden_by": int})
    check(
        waste["dive"],
        {
            "efficiencyScore": float,
            "inefficientBytes": int,
            "wastedBytes": int,
            "userWastedPercent": float,
        },
    )
    # The other name of d/f in the base keeps its bytes.
    assert (waste["total_bytes"], waste["wasted_bytes"]) == (2002, 1)
    assert waste["by_kind"]["deleted"] == 1


def test_diff(run: Command, image: Path, tmp_path: Path) -> None:
    spec = an_image()
    other = archives.image(
        spec.layers[0], tars.layer(tars.file(b"q\xff", K)), config={"Cmd": ["sh"]}
    )
    document = run.json("diff", image, archives.oci_layout(tmp_path / "other", other))
    check(document, {"layers": dict, "config": list, "files": list})
    check(document["layers"], {"shared": list, "only_a": list, "only_b": list})
    assert document["layers"]["shared"] == spec.diff_ids[:1]
    assert document["layers"]["only_a"] == spec.diff_ids[1:]
    assert document["layers"]["only_b"] == other.diff_ids[1:]
    for field in document["config"]:
        assert field.keys() == {"field", "a", "b"}
    assert {"field": "config.Cmd", "a": None, "b": ["sh"]} in document["config"]
    changes = {}
    for file in document["files"]:
        check(
            file,
            {"path": str, "change": str, "a": (dict, NONE), "b": (dict, NONE)},
            {"path_bytes": str},
        )
        for side in ("a", "b"):
            if file[side] is not None:
                check(file[side], VERSION)
        changes[file["path"]] = file["change"]
    assert changes == {
        "/d/f": "metadata",
        "/new": "removed",
        "/p": "added",
        "/q\udcff": "added",
        "/un/listed": "added",
    }


def test_all_is_ascii_whatever_the_names(run: Command, tmp_path: Path) -> None:
    names = ["é", "n\nl", "\x1b[31m", b"\xff", "\u202e", "🐋", 'q"\\']
    layer = tars.layer(*(tars.file(name, K) for name in names))
    image = archives.oci_layout(tmp_path / "image", archives.image(layer))
    for words in (["files"], ["files", "--layer", "0"], ["waste"], ["files", "--sort", "size"]):
        out = run(words[0], image, *words[1:], "--json").out
        assert out.isascii()
        for line in out.splitlines():
            if words != ["waste"]:
                json.loads(line)
    for words in (["files"], ["files", "--layer", "0"], ["layers"], ["waste"]):
        out = run(words[0], image, *words[1:]).out
        assert "\x1b" not in out
        assert "\u202e" not in out


def test_unknown_is_null(run: Command, tmp_path: Path) -> None:
    gone = archives.Layer(tar=tars.layer(tars.file("gone", K)), present=False)
    spec = archives.image(tars.layer(tars.file("a", K)), gone, history=None)
    image = archives.oci_layout(tmp_path / "image", spec)
    layers = run("layers", image, "--json").json
    for layer in layers:
        check(layer, LAYER)
    for name in ("size", "files", "verified", "created", "created_by", "comment"):
        assert layers[1][name] is None
    rows = run("history", image, "--json").json
    assert [row["size"] for row in rows] == [None, 1000]


def test_a_plain_folder_is_an_image_of_one_layer(run: Command, tmp_path: Path) -> None:
    (tmp_path / "root" / "d").mkdir(parents=True)
    (tmp_path / "root" / "d" / "f").write_bytes(K)
    image = tmp_path / "root"
    (layer,) = run.json("layers", image)
    check(layer, {**LAYER, "diff_id": NONE, "chain_id": NONE})
    assert layer["directory"] == str(image)
    document = run.json("inspect", image)
    assert (document["image_id"], document["config"]) == (None, None)
    assert [line["path"] for line in run.lines("files", image)] == ["/d", "/d/f"]
    assert run("cat", image, "/d/f").out == K.decode()
