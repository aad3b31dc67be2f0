"""Driver aufs where nothing needs a mount: Docker's layout, and what the folders alone tell."""

from __future__ import annotations

import errno
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from layerview.drivers.aufs import MAX_BRANCHES, Aufs
from layerview.drivers.by_name import make_driver
from layerview.errors import DamageError, FormatError, LimitError, NotFoundError
from layerview.unionfs.serve import can_serve
from tests.support import tars
from tests.support.trees import snapshot

A, B, C, D = ("abcd"[at] * 64 for at in range(4))


@pytest.fixture
def driver(tmp_path: Path) -> Aufs:
    return Aufs(str(tmp_path / "area"))


def applied(driver: Aufs, id: str, parent: str | None, *parts: tars.Part) -> list[str]:
    driver.create(id, parent)
    return driver.apply(id, parent, io.BytesIO(tars.layer(*parts))).notes


def stacked(driver: Aufs) -> None:
    """Make three layers that delete and hide what lies below."""
    folder, file = tars.folder, tars.file
    applied(
        driver, A, None, folder("d", mode=0o750), file("d/f", b"f"), file("g", b"g"), folder("o"),
        file("o/x", b"x"),
    )  # fmt: skip
    applied(driver, B, A, tars.whiteout("g"), tars.opaque("o"), file("o/y", b"yy"))
    applied(driver, C, B, file("d/new", b"new"), tars.whiteout("d/f"))


def listed(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def test_the_layout_is_that_of_docker(driver: Aufs, tmp_path: Path) -> None:
    stacked(driver)
    driver.create_writable(D + "-init", C)
    home = tmp_path / "area/aufs"
    assert sorted(os.listdir(home)) == ["diff", "layers", "mnt"]
    for kind in ("diff", "layers", "mnt"):
        assert sorted(os.listdir(home / kind)) == [A, B, C, D + "-init"]
    assert (home / "layers" / A).read_text() == ""
    assert (home / "layers" / C).read_text() == f"{B}\n{A}\n"
    assert (home / "layers" / (D + "-init")).read_text() == f"{C}\n{B}\n{A}\n"
    assert listed(home / "diff" / B) == {".wh.g", "o", "o/.wh..wh..opq", "o/y"}
    assert listed(home / "diff" / C) == {"d", "d/new", "d/.wh.f"}
    assert driver.ids() == [A, B, C, D + "-init"]
    assert driver.lowers(C) == [B, A]
    assert driver.layer_folder(C) == str(home / "diff" / C)
    assert make_driver("aufs", str(tmp_path / "area")).ids() == driver.ids()


def test_a_folder_that_a_layer_does_not_name_is_as_it_is_below(driver: Aufs) -> None:
    stacked(driver)
    assert stat.S_IMODE(os.stat(driver.layer_folder(C) + "/d").st_mode) == 0o750


def test_looking_sees_what_shows(driver: Aufs) -> None:
    stacked(driver)
    paths = [b"d/f", b"d/new", b"g", b"o/x", b"o/y", b"o/.wh..wh..opq", b".wh.g", b"", b"d"]
    shown = [path for path, state in zip(paths, driver.look(C, paths), strict=True) if state]
    assert shown == [b"d/new", b"o/y", b"", b"d"]
    below = [path for path, state in zip(paths, driver.look(A, paths), strict=True) if state]
    assert below == [b"d/f", b"g", b"o/x", b"", b"d"]


def test_changes_and_size_come_from_the_folder(driver: Aufs) -> None:
    stacked(driver)
    said = [(change.kind, change.path) for change in driver.changes(B, A)]
    assert said == [("D", b"g"), ("C", b"o"), ("D", b"o/x"), ("A", b"o/y")]
    said = [(change.kind, change.path) for change in driver.changes(C, B)]
    assert said == [("C", b"d"), ("D", b"d/f"), ("A", b"d/new")]
    assert (driver.size(B, A), driver.size(C, B)) == (2, 3)


def test_a_diff_has_no_marks_of_the_union_itself(driver: Aufs) -> None:
    stacked(driver)
    folder = Path(driver.layer_folder(C))
    (folder / ".wh..wh.plnk").mkdir()
    (folder / "d/linked").write_text("linked")
    os.link(folder / "d/linked", folder / ".wh..wh.plnk/17")
    (folder / ".wh..wh.aufs").write_text("")
    (folder / ".wh..wh.orph").mkdir()
    with tarfile.open(fileobj=io.BytesIO(b"".join(driver.diff(C, B)))) as opened:
        found = {member.name: member for member in opened}
    assert sorted(found) == ["d", "d/.wh.f", "d/linked", "d/new"]
    assert found["d/linked"].isreg()
    with tarfile.open(fileobj=io.BytesIO(b"".join(driver.diff(B, A)))) as opened:
        assert sorted(opened.getnames()) == [".wh.g", "o", "o/.wh..wh..opq", "o/y"]


def test_a_place_below_is_implied_with_its_attributes(driver: Aufs) -> None:
    stacked(driver)
    driver.create_writable(D, C)
    driver.imply(D, b"o")
    assert os.listdir(driver.layer_folder(D)) == ["o"]
    with pytest.raises(NotFoundError):
        driver.imply(D, b"g")


def test_removing_leaves_nothing_of_one_and_all_of_others(driver: Aufs, tmp_path: Path) -> None:
    stacked(driver)
    steps = Path(driver.steps_of(C))
    assert steps == tmp_path / "area/layerview/union" / C / "steps"
    steps.parent.mkdir(parents=True)
    steps.write_text("")
    driver.remove(C)
    driver.remove(C)
    assert driver.ids() == [A, B]
    assert not driver.exists(C)
    assert not steps.parent.exists()
    for kind in ("diff", "layers", "mnt"):
        assert sorted(os.listdir(tmp_path / "area/aufs" / kind)) == [A, B]


@pytest.mark.parametrize("left", ["diff", "renamed", "mnt", "layers"])
def test_what_a_crash_left_can_be_removed(driver: Aufs, tmp_path: Path, left: str) -> None:
    home = tmp_path / "area/aufs"
    for kind in ("diff", "layers", "mnt"):
        (home / kind).mkdir(parents=True)
    if left == "layers":
        (home / "layers" / A).write_text("")
    else:
        kind, name = ("diff", A + "-removing") if left == "renamed" else (left, A)
        (home / kind / name).mkdir()
    driver.remove(A)
    assert [os.listdir(home / kind) for kind in ("diff", "layers", "mnt")] == [[], [], []]


def test_no_more_layers_than_the_kernels_aufs_takes(driver: Aufs) -> None:
    ids = [f"{number:064x}" for number in range(MAX_BRANCHES + 1)]
    for parent, id in zip([None, *ids], ids[:-1], strict=False):
        driver.create(id, parent)
    with pytest.raises(LimitError, match="127"):
        driver.create(ids[-1], ids[-2])
    assert not driver.exists(ids[-1])


@pytest.mark.parametrize("text", ["../../etc\n", "x" * 64 + "\n", f"{A}/..\n"])
def test_a_list_of_layers_that_is_none_is_refused(driver: Aufs, tmp_path: Path, text: str) -> None:
    stacked(driver)
    path = tmp_path / "area/aufs/layers" / C
    path.write_text(text)
    with pytest.raises(DamageError, match=str(path)):
        driver.lowers(C)
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(DamageError):
        driver.lowers(C)


def test_only_ids_become_paths(driver: Aufs) -> None:
    for id in ("..", "a/b", "A" * 64, A + "-removing"):
        with pytest.raises(FormatError):
            driver.layer_folder(id)
        with pytest.raises(FormatError):
            driver.remove(id)


def test_it_says_of_itself_what_docker_info_shows(driver: Aufs, tmp_path: Path) -> None:
    stacked(driver)
    said = dict(driver.status())
    assert list(said) == ["Root Dir", "Backing Filesystem", "Dirs", "Dirperm1 Supported"]
    assert said["Root Dir"] == str(tmp_path / "area/aufs")
    assert said["Dirs"] == "3"


def test_a_base_layer_is_its_own_folder(driver: Aufs) -> None:
    stacked(driver)
    with driver.mounted(A) as place, driver.detached(A) as tree:
        assert place == driver.layer_folder(A)
        assert tree is None


@pytest.mark.skipif(os.geteuid() != 0, reason="a union is mounted by root")
def test_all_names_of_a_file_that_was_changed_by_one_are_in_the_diff(driver: Aufs) -> None:
    why = can_serve()
    if why:
        pytest.skip(why)
    applied(
        driver, A, None, tars.file("one", b"x"), tars.hardlink("two", "one"), tars.folder("d"),
        tars.hardlink("d/three", "one"),
    )  # fmt: skip
    driver.create_writable(B, A)
    with driver.mounted(B) as place:
        with open(os.path.join(place, "one"), "a") as file:
            file.write("more")
        assert {os.stat(os.path.join(place, name)).st_nlink for name in ("two", "d/three")} == {3}
    said = [(change.kind, change.path) for change in driver.changes(B, A)]
    assert said == [("C", b"d"), ("C", b"d/three"), ("C", b"one"), ("C", b"two")]
    assert driver.size(B, A) == len("xmore")
    applied_again = "e" * 64
    driver.create(applied_again, A)
    driver.apply(applied_again, A, io.BytesIO(b"".join(driver.diff(B, A))))
    with driver.mounted(applied_again) as place:
        states = [os.stat(os.path.join(place, name)) for name in ("one", "two", "d/three")]
    assert len({state.st_ino for state in states}) == 1
    assert {state.st_nlink for state in states} == {3}


@pytest.mark.skipif(os.geteuid() != 0, reason="a union is mounted by root")
def test_a_layer_that_others_lie_on_is_not_written(driver: Aufs, tmp_path: Path) -> None:
    why = can_serve()
    if why:
        pytest.skip(why)
    stacked(driver)
    before = snapshot(tmp_path / "area/aufs/diff" / B)
    with driver.mounted(B) as place:
        with pytest.raises(OSError) as refused:  # noqa: PT011
            Path(place, "new").write_text("x")
        assert refused.value.errno == errno.EROFS
        assert not os.path.exists(driver.steps_of(B))
    assert snapshot(tmp_path / "area/aufs/diff" / B) == before
