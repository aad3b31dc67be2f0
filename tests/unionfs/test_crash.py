"""A process that is killed anywhere in an operation: the union is as before, or as after it.

The kill comes before each call in turn that changes something on disk; none is made after it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerview.unionfs.union import RENAME_EXCHANGE, Union
from tests.unionfs import flat

CALLS = ["mkdir", "rmdir", "rename", "link", "symlink", "unlink", "mknod", "chmod", "chown"]
CALLS += ["fchmod", "fchown", "utime", "setxattr", "removexattr", "ftruncate", "copy_file_range"]


class Killed(BaseException):
    pass


class Killer:
    """Lets so many changes through, and none after them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
        self.left = left
        for name in CALLS:
            monkeypatch.setattr(os, name, self._guarded(getattr(os, name)))
        opened = os.open

        def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if flags & (os.O_CREAT | os.O_TRUNC):
                self._count()
            return opened(path, flags, mode, dir_fd=dir_fd)

        monkeypatch.setattr(os, "open", open_)
        monkeypatch.setattr("layerview.unionfs.changes._rename", self._guarded(flat.rename))

    def _guarded(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*given: Any, **named: Any) -> Any:
            self._count()
            return call(*given, **named)

        return guarded

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def build(base: Path) -> list[Path]:
    low, mid, top = base / "low", base / "mid", base / "top"
    (low / "d/e").mkdir(parents=True)
    (low / "d/e/f").write_bytes(b"below")
    (low / "d/e").chmod(0o2711)
    (low / "other").write_bytes(b"other")
    (low / "empty/inner").mkdir(parents=True)
    (low / "gone").mkdir()
    (low / "gone/old").write_bytes(b"old")
    (low / "link").symlink_to("nowhere")
    (low / "names").write_bytes(b"of one file")
    os.link(low / "names", low / "d/e/second")
    os.link(low / "names", low / "third")
    mid.mkdir()
    (mid / "d").mkdir()
    (mid / "d/g").write_bytes(b"mid")
    top.mkdir()
    (top / ".wh.gone").write_bytes(b"")
    (top / "empty").mkdir()
    (top / "empty/.wh.inner").write_bytes(b"")
    (top / "own/inside").mkdir(parents=True)
    (top / "own/.wh..wh..opq").write_bytes(b"")
    (top / "own/inside/f").write_bytes(b"own")
    return [top, mid, low]


def opened(folders: list[Path]) -> tuple[Union, list[int]]:
    fds = [os.open(folder, flat.FOLDER) for folder in folders]
    return Union(fds), fds


def seen(folders: list[Path]) -> tuple[dict[bytes, tuple[Any, ...]], set[frozenset[bytes]]]:
    """Return all that shows but times, and which names are one file's."""
    union, fds = opened(folders)
    look = flat.look_union(union)
    union.close()
    for fd in fds:
        os.close(fd)
    return {
        path: (each.mode, each.uid, each.gid, each.size, each.content, each.xattrs)
        for path, each in look.seen.items()
    }, flat.links(look)


def copied_up(union: Union) -> None:
    folder = union.lookup(union.lookup(union.root, b"d"), b"e")
    os.close(union.open(union.lookup(folder, b"f"), os.O_RDWR))


def renamed_from_below(union: Union) -> None:
    folder = union.lookup(union.lookup(union.root, b"d"), b"e")
    union.rename(folder, b"f", union.root, b"new")


def replaced(union: Union) -> None:
    union.rename(union.lookup(union.root, b"d"), b"g", union.root, b"other")


def folder_over_folder(union: Union) -> None:
    union.rename(union.root, b"own", union.root, b"empty")


def folder_over_whiteout(union: Union) -> None:
    union.rename(union.root, b"own", union.root, b"gone")


def exchanged(union: Union) -> None:
    union.rename(union.root, b"own", union.root, b"other", RENAME_EXCHANGE)


def copied_up_with_names(union: Union) -> None:
    os.close(union.open(union.lookup(union.root, b"third"), os.O_RDWR))


def linked(union: Union) -> None:
    union.link(union.lookup(union.root, b"other"), union.lookup(union.root, b"d"), b"new")


OPERATIONS: list[Callable[[Union], Any]] = [
    copied_up,
    renamed_from_below,
    replaced,
    folder_over_folder,
    folder_over_whiteout,
    exchanged,
    copied_up_with_names,
    linked,
    lambda union: union.unlink(union.root, b"other"),
    lambda union: union.unlink(union.root, b"link"),
    lambda union: union.rmdir(union.root, b"empty"),
    lambda union: union.mkdir(union.root, b"gone", 0o755),
    lambda union: union.symlink(union.root, b"gone", b"there"),
    lambda union: union.set_attributes(union.lookup(union.root, b"link"), uid=os.geteuid()),
    lambda union: union.set_xattr(union.lookup(union.root, b"other"), b"user.a", b"b"),
    lambda union: union.set_attributes(union.lookup(union.root, b"other"), mode=0o600),
]


@pytest.mark.parametrize("number", range(len(OPERATIONS)))
def test_a_kill_leaves_the_union_as_before_or_as_after(tmp_path: Path, number: int) -> None:
    operation = OPERATIONS[number]
    for left in range(60):
        base = tmp_path / str(left)
        folders = build(base)
        before = seen(folders)
        union, fds = opened(folders)
        with pytest.MonkeyPatch.context() as monkeypatch:
            Killer(monkeypatch, left)
            try:
                operation(union)
            except Killed:
                done = False
            else:
                done = True
        for fd in fds:
            os.close(fd)
        after = seen(folders)
        if done:
            finished = after
            break
        if after != before:
            # Whatever is done later, the operation as a whole looks so.
            again = build_done(tmp_path / f"{left}-done", operation)
            assert after == again, f"killed before change {left}"
    assert done
    assert left > 0
    assert finished == build_done(tmp_path / "done", operation)


def build_done(base: Path, operation: Callable[[Union], Any]) -> object:
    folders = build(base)
    union, fds = opened(folders)
    operation(union)
    union.close()
    for fd in fds:
        os.close(fd)
    return seen(folders)
