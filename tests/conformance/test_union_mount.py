"""The union, mounted, against a folder of the machine's own file system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unionfs import behaviours
from tests.unionfs.behaviours import Behaviour
from tests.unionfs.mounted import Mounted, copy, mounted, need_mounts

pytestmark = pytest.mark.conformance


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_mounts()
    place = tmp_path_factory.mktemp("base")
    behaviours.make(place)
    return place


@pytest.fixture(params=[True, False], ids=["passthrough", "served"])
def union(request: pytest.FixtureRequest, base: Path, tmp_path: Path) -> Iterator[Mounted]:
    """All of the base lies two branches down, but for what lies on top already."""
    branches = [tmp_path / name for name in ("top", "middle", "lower")]
    for branch in branches:
        branch.mkdir()
    copy(base, branches[2])
    with mounted(branches, tmp_path / "union", passthrough=request.param) as made:
        if request.param and not made.passthrough:
            pytest.skip("the kernel does not read and write files itself for this user")
        yield made


@pytest.mark.parametrize("behaviour", behaviours.SEEN, ids=lambda one: one.__name__)
def test_it_behaves_as_a_folder(
    behaviour: Behaviour, base: Path, union: Mounted, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    copy(base, plain)
    assert behaviour(union.place) == behaviour(plain)
