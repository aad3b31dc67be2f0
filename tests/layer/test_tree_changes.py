"""What a tree changes of another, by Docker's rules."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import assume, given, settings

from layerview.errors import NotFoundError
from layerview.layer.tree_changes import Change, compare_trees, folder_changes
from layerview.layer.whiteouts import Whiteouts
from tests.layer.applying import merged, scratch, unpack
from tests.support import tars
from tests.view.naive import Model, Stack, stacks

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and overlays need root")


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal trees."""
    for name in ("lower", "upper"):
        top = tmp_path / name
        (top / "d" / "e").mkdir(parents=True)
        (top / "d" / "e" / "f").write_bytes(b"content")
        os.utime(top / "d" / "e" / "f", ns=(0, 5_000_000_007))
        (top / "s").symlink_to("d")
        os.utime(top / "s", (6, 6), follow_symlinks=False)
    return tmp_path / "lower", tmp_path / "upper"


def said(changes: list[Change]) -> list[str]:
    return [f"{change.kind} {change.path.decode()}" for change in changes]


def rewritten(path: Path, data: bytes, mtime: int) -> None:
    path.write_bytes(data)
    os.utime(path, ns=(0, mtime))


CASES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (lambda top: None, []),
    "a folder's time": (lambda top: os.utime(top / "d", (1, 1)), []),
    "a folder's mode": (lambda top: os.chmod(top / "d", 0o700), ["C d"]),
    "the root's mode": (lambda top: os.chmod(top, 0o700), []),
    "a new file": (lambda top: (top / "d" / "n").touch(), ["C d", "A d/n"]),
    "at the root": (lambda top: (top / "n").touch(), ["A n"]),
    "a deletion": (
        lambda top: (top / "d" / "e" / "f").unlink(),
        ["C d", "C d/e", "D d/e/f"],
    ),
    "a time, whole seconds": (
        lambda top: rewritten(top / "d" / "e" / "f", b"CONTENT", 5_000_000_000),
        [],
    ),
    "a time, other nanoseconds": (
        lambda top: rewritten(top / "d" / "e" / "f", b"CONTENT", 5_000_000_008),
        ["C d", "C d/e", "C d/e/f"],
    ),
    "a time set back": (
        lambda top: rewritten(top / "d" / "e" / "f", b"CONTENT", 5_000_000_007),
        [],
    ),
    "a size": (
        lambda top: rewritten(top / "d" / "e" / "f", b"more content", 5_000_000_007),
        ["C d", "C d/e", "C d/e/f"],
    ),
    "a user's attribute": (
        lambda top: os.setxattr(top / "d" / "e" / "f", "user.x", b"1"),
        [],
    ),
    "a file for a link": (lambda top: ((top / "s").unlink(), (top / "s").touch()), ["C s"]),
    "a folder for a link": (
        lambda top: ((top / "s").unlink(), (top / "s").mkdir(), (top / "s" / "x").touch()),
        ["C s", "A s/x"],
    ),
    "a moved folder": (
        lambda top: (top / "d" / "e").rename(top / "m"),
        ["C d", "D d/e", "A m", "A m/f"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_rule(trees: tuple[Path, Path], case: str) -> None:
    lower, upper = trees
    change, expected = CASES[case]
    change(upper)
    assert said(compare_trees(str(lower), str(upper))) == expected


def test_all_of_a_tree_is_new_above_nothing(trees: tuple[Path, Path]) -> None:
    lower, _ = trees
    everything = ["A d", "A d/e", "A d/e/f", "A s"]
    assert said(compare_trees(None, str(lower))) == everything
    assert said(folder_changes(str(lower), [], Whiteouts.AUFS)) == everything
    assert compare_trees(str(lower), str(lower)) == []
    with pytest.raises(NotFoundError):
        compare_trees(str(lower), str(lower / "missing"))


@needs_root
@pytest.mark.parametrize("what", ["owner", "capability"])
def test_what_only_root_changes(trees: tuple[Path, Path], what: str) -> None:
    lower, upper = trees
    file = upper / "d" / "e" / "f"
    if what == "owner":
        os.chown(file, 0, 9)
    else:
        os.setxattr(file, "security.capability", b"\1\0\0\2" + bytes(16))
    assert said(compare_trees(str(lower), str(upper))) == ["C d", "C d/e", "C d/e/f"]


@needs_root
@settings(max_examples=50, deadline=None)
@given(stacks(most=4, links=False))
def test_a_folder_tells_what_the_mounted_trees_do(stack: Stack) -> None:
    # The kernel does not ask a layer's root whether it is opaque.
    assume(not any(b"" in own.opaque for own in Model(stack).owns))
    with scratch() as top, ExitStack() as held:
        folders: list[Path] = []
        shown = top / "merged-0"
        shown.mkdir()
        for number, entries in enumerate(stack, 1):
            data = tars.layer(*entries)
            folders.append(unpack(top / f"layer-{number}", data, lower=shown).folder)
            before, shown = shown, held.enter_context(merged(folders, top / f"merged-{number}"))
            wanted = compare_trees(str(before), str(shown))
            lowers = [str(folder) for folder in reversed(folders[:-1])]
            assert folder_changes(str(folders[-1]), lowers, Whiteouts.TRUSTED) == wanted
