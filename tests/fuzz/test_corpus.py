"""The fuzzer's kept inputs, each handled once more: seeds, and all that ever made it fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.seeds import CORPUS, SEEDS
from tests.fuzz.targets import TARGETS
from tests.support.trees import remove

KEPT = [
    (name, file) for name in TARGETS for file in sorted((CORPUS / name).glob("*")) if file.is_file()
]


@pytest.mark.parametrize(("name", "file"), KEPT, ids=[f"{name}-{file.name}" for name, file in KEPT])
def test_kept_input(name: str, file: Path, tmp_path: Path) -> None:
    try:
        TARGETS[name](file.read_bytes(), tmp_path)
    finally:
        remove(tmp_path / "yard")


@pytest.mark.parametrize("file", sorted((CORPUS / "tar").glob("*")), ids=lambda file: file.name)
def test_kept_layer_is_extracted(file: Path, tmp_path: Path) -> None:
    try:
        TARGETS["extract"](file.read_bytes(), tmp_path)
    finally:
        remove(tmp_path / "yard")


def test_every_target_has_inputs_to_start_from() -> None:
    assert set(SEEDS) == set(TARGETS)
    assert {name for name, _ in KEPT} >= set(TARGETS) - {"extract", "sparse"}


def test_the_fuzzer_runs_and_counts() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--seconds", "1", "--seed", "1"],
        capture_output=True,
        check=False,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert first == "seed 1"
    assert last.startswith("fuzz: ")
    assert "no failure: tar " in last
