"""Images that a real engine built and saved: every command opens each, in every form alike.

The same layers stand in five forms (docker save; OCI as a folder and as a tar, gzip and zstd), so
that what layerview says of one must be what it says of the others.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from layerview.cli.main import main

LAB = os.environ.get("LAYERVIEW_LAB_IMAGES", "")
FORMS = {
    "docker": "docker/{}.tar",
    "oci": "oci/{}",
    "oci-tar": "oci-tar/{}.tar",
    "oci-zstd": "oci-zstd/{}",
    "oci-zstd-tar": "oci-zstd-tar/{}.tar",
}
OTHER_FORMS = [form for form in FORMS if form != "docker"]

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(not LAB, reason="LAYERVIEW_LAB_IMAGES names no folder of lab images"),
]


def table() -> dict[str, tuple[str, int]]:
    """Image ID and number of layers by name, as the engine says them."""
    if not LAB:
        return {}
    rows = [line.split("\t") for line in (Path(LAB) / "images.tsv").read_text().splitlines()]
    return {row[0].removeprefix("lab/"): (row[1], int(row[2])) for row in rows}


NAMES = sorted(table()) or ["none"]


def place(name: str, form: str = "docker") -> str:
    return str(Path(LAB) / FORMS[form].format(name))


class Command:
    """layerview's command line, run in this process."""

    def __init__(self, capture: pytest.CaptureFixture[bytes]) -> None:
        self.capture = capture

    def __call__(self, *words: str) -> bytes:
        status = main(words)
        out, errors = self.capture.readouterr()
        assert (status, errors) == (0, b""), words
        return out

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Command:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Command(capfdbinary)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_opens_it(name: str, run: Command, tmp_path: Path) -> None:
    image_id, count = table()[name]
    image = place(name)
    assert run.json("inspect", image)["image_id"] == image_id
    layers = run.json("layers", image)
    assert len(layers) == count
    history = run.json("history", image)
    assert [row["layer"] for row in history if row["layer"] is not None] == list(range(count))[::-1]
    files = [json.loads(line) for line in run("files", image, "--json").splitlines()]
    paths = [record["path"].split("/") for record in files]
    assert paths == sorted(paths, key=lambda parts: [os.fsencode(part) for part in parts])
    waste = run.json("waste", image)
    assert waste["total_bytes"] == sum(layer["size"] for layer in layers)
    assert waste["total_bytes"] - waste["live_bytes"] == waste["wasted_bytes"]
    assert waste["wasted_bytes"] == sum(waste["by_kind"].values())
    found = run.json("which", image, "/bin/sh")
    assert found["resolved"] == "/bin/busybox"
    (winner,) = [rung for rung in found["ladder"] if rung["state"] == "winner"]
    content = run("cat", image, "/bin/sh")
    assert hashlib.sha256(content).hexdigest() == winner["sha256"].removeprefix("sha256:")
    run("extract", image, "/bin/busybox", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == content
    assert run.json("diff", image, image)["files"] == []
    for words in (
        ["layers", image],
        ["history", image],
        ["inspect", image],
        ["files", image],
        ["files", image, "--layer", str(count - 1)],
        ["which", image, "/bin/sh"],
        ["waste", image],
        ["diff", image, image],
    ):
        run(*words)


@pytest.mark.parametrize("form", OTHER_FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_every_form_says_the_same(name: str, form: str, run: Command) -> None:
    image, other = place(name), place(name, form)
    for words in (["files"], ["waste"], ["files", "--layer", "0"]):
        command, *options = words
        assert run(command, image, *options, "--json") == run(command, other, *options, "--json")
    assert run("which", image, "/bin/sh", "--json") == run("which", other, "/bin/sh", "--json")
    same = ("layer", "diff_id", "chain_id", "size", "files", "created_by")
    assert [[layer[key] for key in same] for layer in run.json("layers", image)] == [
        [layer[key] for key in same] for layer in run.json("layers", other)
    ]
    assert run("cat", image, "/bin/sh") == run("cat", other, "/bin/sh")
    difference = run.json("diff", image, other)
    assert difference["files"] == []
    assert not difference["layers"]["only_a"]
    assert not difference["layers"]["only_b"]
