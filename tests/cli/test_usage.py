"""`layerview usage`: the sums, the tables, and what changed since a saved account."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import archives, containers, tars
from tests.support.areas import BASE, TOP
from tests.support.commands import Command

OTHER = tars.layer(tars.file("other", b"o" * 100_000))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def root(tmp_path: Path, run: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An area with two images on one base, one of them by two names, a container and an orphan."""
    root = tmp_path / "area"
    monkeypatch.setenv("LAYERVIEW_ROOT", str(root))
    monkeypatch.setenv("LAYERVIEW_DRIVER", "vfs")
    for name, layers in (("a", [BASE, TOP]), ("b", [BASE, OTHER])):
        file = archives.docker_archive(tmp_path / name, archives.image(*layers, tags=[f"{name}:1"]))
        assert run("load", "-i", file).status == 0
    assert run("tag", "b:1", "again:1").status == 0
    containers.created(root, "a:1", "box")
    (root / "volumes/data/_data").mkdir(parents=True)
    (root / "volumes/data/_data/f").write_bytes(b"v" * 50_000)
    orphan = root / "vfs/dir" / secrets.token_hex(32)
    orphan.mkdir()
    (orphan / "f").write_bytes(b"f" * 70_000)
    return root


def du(path: Path) -> int:
    words = ["du", "-s", "-B1", "-x", str(path)]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[0])


def of(document: Any, kind: str) -> list[Any]:
    return [part for part in document["parts"] if part["kind"] == kind]


def test_the_parts_add_up_to_what_du_says(root: Path, run: Command) -> None:
    document = run.json("usage")
    assert document["total_bytes"] == du(root) == sum(one["bytes"] for one in document["parts"])
    assert (document["root"], document["driver"], document["engine"]) == (str(root), "vfs", None)
    assert run.json("usage", root)["parts"] == document["parts"]
    assert run.json("usage", "--root", root)["parts"] == document["parts"]
    layers = {tuple(sorted(one["owners"])): one["shared"] for one in of(document, "image_layer")}
    assert layers == {
        ("a:1", "again:1", "b:1"): True,
        ("a:1",): False,
        ("again:1", "b:1"): False,
    }
    (orphan,) = of(document, "orphan")
    assert orphan["remedy"] == (
        f"deletes them, after asking: `layerview prune --orphans --root {root}`"
    )
    assert orphan["entries"] == 2
    (volume,) = of(document, "volume")
    assert "layerview volume rm data" in volume["remedy"]


def test_people_see_kinds_the_largest_parts_and_each_orphan(root: Path, run: Command) -> None:
    answer = run("usage")
    assert (answer.status, answer.errors) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].startswith(f"{root}: ")
    assert any(line.split()[:3] == ["Image", "layers", "3"] for line in lines)
    assert any(line.split()[:2] == ["shared", "1"] for line in lines)
    orphan = next(one for one in (root / "vfs/dir").iterdir() if (one / "f").is_file())
    assert any(str(orphan) in line for line in lines)
    assert f"layerview prune --orphans --root {root}" in answer.out
    assert "layerview volume rm data" in answer.out
    assert answer.out.count("again:1") == 2
    whole = run("usage", "-v").out
    assert "\nEach:\n" in whole
    assert len(whole) > len(answer.out)
    assert run("usage", "--kind", "build_cache").out.splitlines()[1:] == [
        "",
        "There is nothing of that kind.",
    ]
    some = run("usage", "--kind", "orphan", "--kind", "volume").out
    assert "image_layer" not in some
    assert str(orphan) in some


def test_what_changed_since_is_sorted_by_how_much(root: Path, run: Command, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    saved.write_text(run("usage", "--json").out)
    assert "Nothing changed" in run("usage", "--since", saved).out
    before = json.loads(saved.read_text())
    orphan = of(before, "orphan")[0]["path"]
    (root / "volumes/data/_data/g").write_bytes(b"g" * 300_000)
    subprocess.run(["rm", "-r", orphan], check=True)
    containers.created(root, "b:1", "late")
    document = run.json("usage", "--since", saved)
    assert document["total_bytes"] == du(root)
    since = document["since"]
    assert since["total_bytes"] == before["total_bytes"]
    assert since["time"] == before["time"]
    assert since["bytes"] == document["total_bytes"] - before["total_bytes"]
    assert since["bytes"] == sum(one["bytes"] for one in since["changes"])
    words = [(one["change"], one["kind"]) for one in since["changes"]]
    assert words[0] == ("grew", "volume")
    assert words[-1] == ("went", "orphan")
    assert ("came", "container_layer") in words
    answer = run("usage", "--since", saved)
    assert (answer.status, answer.errors) == (0, "")
    assert "late" in answer.out
    only = run.json("usage", "--since", saved, "--kind", "volume")["since"]["changes"]
    assert [one["kind"] for one in only] == ["volume"]


@pytest.mark.parametrize("kind", ["missing", "text", "json", "endless", "other root", "one kind"])
def test_what_is_no_saved_account_is_one_line(
    root: Path, run: Command, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "saved.json"
    if kind == "text":
        path.write_bytes(b"\x1b[31m\n" * 100)
    elif kind == "json":
        path.write_text('{"root": "/\\u001b[31m", "parts": [{"kind": "\\u001b[31m"}]}')
    elif kind == "endless":
        path = Path("/dev/zero")
    elif kind == "other root":
        path.write_text(run("usage", "--json").out.replace(str(root), "/elsewhere"))
    elif kind == "one kind":
        path.write_text(run("usage", "--json", "--kind", "orphan").out)
    answer = run("usage", "--since", path)
    assert (answer.status, answer.out) == (1, "")
    assert answer.errors.count("\n") == 1
    assert "\x1b" not in answer.errors


def test_calls_whose_words_are_off(root: Path, run: Command, tmp_path: Path) -> None:
    for words, status in (
        (["--kind", "colour"], 2),
        ([root, "--root", root], 2),
        ([root, root], 2),
        ([""], 2),
        (["--root", ""], 2),
        (["--since", ""], 2),
        ([tmp_path / "none"], 1),
        ([tmp_path], 1),
    ):
        answer = run("usage", *words)
        assert (answer.status, answer.out, answer.errors.count("\n")) == (status, "", 1), words


def test_of_a_folder_in_a_root_it_says_how_to_ask(root: Path, run: Command) -> None:
    answer = run("usage", root / "vfs/dir")
    assert (answer.status, answer.out, answer.errors.count("\n")) == (1, "", 1)
    assert f"lies in {root}: `layerview whose {root}/vfs/dir`" in answer.errors


def test_where_no_area_is_yet_it_is_said_how_to_name_a_root(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "none"))
    for command in (["usage"], ["whose", "x"]):
        answer = run(*command)
        assert (answer.status, answer.out) == (1, "")
        assert "no storage area" in answer.errors


def test_names_are_printed_safely(root: Path, run: Command, tmp_path: Path) -> None:
    name = os.fsdecode(b"v\xff\x1b[31m\n")
    (root / "volumes" / name / "_data").mkdir(parents=True)
    answer = run("usage", "-v")
    assert "\x1b" not in answer.out + answer.errors
    saved = tmp_path / "saved.json"
    saved.write_text(run("usage", "--json").out)
    assert any("path_bytes" in one for one in of(json.loads(saved.read_text()), "volume"))
    assert run.json("usage", "--since", saved)["since"]["changes"] == []
