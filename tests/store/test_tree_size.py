"""What trees take is what `du` says, block for block, whichever way they are read."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from layerview.drivers import mounts
from layerview.drivers.base import folder_size
from layerview.errors import Cancelled
from layerview.layer import folder_figures
from layerview.store.tree_size import MOST_PROBLEMS, Meter, Size
from tests.drivers import people

names = some.binary(min_size=1, max_size=20).filter(
    lambda name: not {0, 47} & set(name) and name not in (b".", b"..")
)
KINDS = ("folder", "file", "sparse", "short", "long", "pipe", "device", "second name", "none")
steps = some.lists(
    some.tuples(some.sampled_from(KINDS), names, some.integers(0, 1000)), max_size=40
)


def du(path: Path | str, *words: str) -> int:
    done = subprocess.run(
        ["du", "-s", "-B1", "-x", *words, os.fspath(path)],
        capture_output=True,
        check=True,
    )
    return int(done.stdout.split()[0])


def count(path: Path) -> int:
    done = subprocess.run(["find", path, "-xdev", "-printf", "x"], capture_output=True, check=True)
    return len(done.stdout)


@pytest.fixture(params=["alone", "beside a thread", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways to read a folder: inside it, by its descriptor, without the C library."""
    if request.param == "plain":
        monkeypatch.setattr(folder_figures, "_layout", lambda: None)
    threads = 2 if request.param == "beside a thread" else 1
    monkeypatch.setattr(threading, "active_count", lambda: threads)
    return str(request.param)


@pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "aarch64"), reason="its struct stat is not known"
)
def test_the_layout_of_the_c_librarys_states_is_found_on_common_machines() -> None:
    assert folder_figures._layout() is not None


def grow(root: Path, steps: list[tuple[str, bytes, int]]) -> None:
    """Make a tree: each step one entry, somewhere in what is there."""
    folders, files = [os.fsencode(root)], []
    for kind, name, number in steps:
        path = folders[number % len(folders)] + b"/" + name
        if os.path.lexists(path) or len(path) > 3000:
            continue
        if kind == "folder":
            os.mkdir(path)
            folders.append(path)
        elif kind in ("file", "sparse"):
            with open(path, "wb") as file:
                if kind == "sparse":
                    file.seek(number << 12)
                file.write(b"x" * number * 9)
            files.append(path)
        elif kind in ("short", "long"):
            os.symlink(b"a" * (20 if kind == "short" else 900), path)
            files.append(path)
        elif kind == "pipe":
            os.mkfifo(path)
            files.append(path)
        elif kind == "device" and os.geteuid() == 0:
            os.mknod(path, 0o020000, os.makedev(0, 0))
            files.append(path)
        elif kind == "second name" and files:
            os.link(files[number % len(files)], path, follow_symlinks=False)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps)
def test_any_tree_takes_what_du_says(
    way: str, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, bytes, int]]
) -> None:
    root = tmp_path_factory.mktemp("any")
    grow(root, steps)
    found = Meter(str(root)).tree(str(root))
    assert found == Size(du(root), count(root), 0)
    # Its parts, with what one meter has counted already left out, are all of it.
    meter = Meter(str(root))
    parts = list(meter.children(str(root)))
    assert sum(part.size.bytes for part in parts) + os.lstat(root).st_blocks * 512 == found.bytes
    assert sum(part.size.entries for part in parts) + 1 == found.entries
    assert {part.name for part in parts} == set(os.listdir(os.fsencode(root)))
    assert meter.problems == []


def test_the_machines_own_programs_take_what_du_says(way: str) -> None:
    assert Meter("/usr").tree("/usr/share/doc").bytes == du("/usr/share/doc")
    assert Meter("/usr/bin").tree("/usr/bin").bytes == du("/usr/bin")


def test_a_file_with_names_in_two_trees_counts_in_the_first(tmp_path: Path, way: str) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "f").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "one" / "f", tmp_path / "two" / "f")
    meter = Meter(str(tmp_path))
    one, two = meter.tree(str(tmp_path / "one")), meter.tree(bytes(tmp_path / "two"))
    assert one.bytes == du(tmp_path / "one")
    assert two == Size(os.lstat(tmp_path / "two").st_blocks * 512, 2, 0)
    assert one.bytes + two.bytes + os.lstat(tmp_path).st_blocks * 512 == du(tmp_path)


def test_a_single_file_and_what_is_not_there_can_be_asked_for(tmp_path: Path, way: str) -> None:
    (tmp_path / "f").write_bytes(b"x" * 5000)
    meter = Meter(str(tmp_path))
    assert meter.tree(str(tmp_path / "f")) == Size(du(tmp_path / "f"), 1, 0)
    assert meter.tree(str(tmp_path / "none")) == Size(0, 0, 0)
    assert meter.tree(str(tmp_path / "f" / "none")) == Size(0, 0, 0)
    assert meter.problems == []
    with pytest.raises(ValueError, match="is not beneath"):
        meter.tree("/etc")


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three thousand folders, one in the other, each with a file."""
    top = tmp_path_factory.mktemp("deep")
    at = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("folder", dir_fd=at)
        below = os.open("folder", os.O_RDONLY, dir_fd=at)
        os.close(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=at))
        os.close(at)
        at = below
    os.close(at)
    yield top
    subprocess.run(["rm", "-rf", top / "folder"], check=True)


def test_a_tree_deeper_than_a_path_can_say_is_measured(deep: Path, way: str) -> None:
    open_before = len(os.listdir("/proc/self/fd"))
    assert Meter(str(deep)).tree(str(deep)) == Size(du(deep), 6001, 0)
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_folder_with_more_names_than_are_held_is_measured(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_figures, "_LARGE", 4096)
    monkeypatch.setattr(folder_figures, "_PIECE", 10)
    (tmp_path / "below").mkdir()
    for number in range(300):
        (tmp_path / "below" / f"file{number}").write_bytes(b"x" * number * 100)
        (tmp_path / "below" / f"folder{number}").mkdir()
    found = Meter(str(tmp_path)).tree(str(tmp_path))
    assert found == Size(du(tmp_path), count(tmp_path), 0)


def test_the_process_is_where_it_was(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    here = os.getcwd()
    Meter(str(tmp_path)).tree(str(tmp_path))
    assert os.getcwd() == here
    monkeypatch.setattr(folder_figures, "_ASK", 1)
    with pytest.raises(Cancelled):
        Meter(str(tmp_path), lambda: True).tree(str(tmp_path))
    assert os.getcwd() == here


def test_it_stops_when_it_is_asked_to_and_leaves_nothing_open(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_figures, "_ASK", 100)
    for folder in range(10):
        (tmp_path / f"{folder}" / "below").mkdir(parents=True)
        for number in range(50):
            (tmp_path / f"{folder}" / "below" / f"{number}").touch()
    asked = []
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Cancelled):
        Meter(str(tmp_path), lambda: asked.append(1) or len(asked) > 2).tree(str(tmp_path))  # type: ignore[func-returns-value]
    assert len(asked) == 3
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_it_stops_within_one_large_folder(tmp_path: Path, way: str) -> None:
    for number in range(2000):
        (tmp_path / f"{number}").touch()
    asked = []
    with pytest.raises(Cancelled):
        Meter(str(tmp_path), lambda: asked.append(1) or len(asked) > 2).tree(str(tmp_path))  # type: ignore[func-returns-value]
    assert len(asked) == 3


@pytest.mark.parametrize("change", ["away", "behind a link", "the folder above, too"])
def test_what_moves_while_it_is_read_leads_nowhere_else(
    tmp_path: Path, way: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "big").write_bytes(b"x" * 1_000_000)
    deep = root.joinpath(*["d"] * 100)
    deep.mkdir(parents=True)
    for above in [root / "d", *list(deep.parents)[:98]]:
        (above / "z").mkdir(exist_ok=True)
    read = folder_figures.FolderFigures.read
    done = []

    def reading(self: folder_figures.FolderFigures, folder: int, *, large: bool = False) -> object:
        found = read(self, folder, large=large)
        found.sort(reverse=True)  # down to the last `d` first, and then the `z` on the way back
        done.append(folder)
        if len(done) == 180:
            (root / "d" / "d").rename(elsewhere / "d")
            if change == "behind a link":
                (root / "d" / "d").symlink_to(elsewhere)
            elif change == "the folder above, too":
                (root / "d").rename(elsewhere / "e")
        return found

    monkeypatch.setattr(folder_figures.FolderFigures, "read", reading)
    meter = Meter(str(root))
    found = meter.tree(str(root))
    monkeypatch.undo()
    assert len(done) > 180
    assert found.bytes < 1_000_000
    if change == "the folder above, too":
        assert found.unread == 1
        assert meter.problems == ["d, a folder: moved while it was read; look again"]
    else:
        # The link came too late to be counted.
        assert (found.entries, found.unread, meter.problems) == (200, 0, [])


def test_what_vanishes_while_it_is_read_is_no_problem(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "f").touch()
    read = folder_figures.FolderFigures.read

    def reading(self: folder_figures.FolderFigures, folder: int, *, large: bool = False) -> object:
        found = read(self, folder, large=large)
        for name in ("a", "b"):
            if b"below" in found and (tmp_path / name / "below").exists():
                (tmp_path / name / "below").rmdir()
        return found

    listed = os.listdir

    def listing(place: object = ".") -> list[object]:
        found = listed(place)  # type: ignore[call-overload]
        for name in ("a", "b"):
            if "f" in found or b"f" in found:
                (tmp_path / name / "f").unlink(missing_ok=True)
        return list(found)

    monkeypatch.setattr(folder_figures.FolderFigures, "read", reading)
    monkeypatch.setattr(os, "listdir", listing)
    meter = Meter(str(tmp_path.parent))
    found = meter.tree(str(tmp_path))
    monkeypatch.undo()
    assert (found.unread, meter.problems) == (0, [])
    # One of the two lowest folders was there when its own was read, and was counted.
    assert found.entries == 4
    assert found.bytes == du(tmp_path) + os.lstat(tmp_path / "a").st_blocks * 512


def test_a_link_on_the_way_is_not_followed(tmp_path: Path, way: str) -> None:
    (tmp_path / "real" / "f").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    meter = Meter(str(tmp_path))
    assert meter.tree(str(tmp_path / "link" / "f")) == Size(0, 0, 1)
    assert meter.problems == [
        f"{tmp_path}/link/f: a symbolic link is in the way, and is not followed"
    ]
    assert meter.tree(str(tmp_path / "link")).entries == 1


@pytest.mark.conformance
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_what_is_mounted_below_is_left_out_and_named(
    tmp_path_factory: pytest.TempPathFactory, way: str
) -> None:
    tmp_path, outside = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("outside")
    for name in ("memory", "itself", "elsewhere", "source", "kept", "file"):
        (tmp_path / name).mkdir()
    for name in ("itself", "source", "kept"):
        (tmp_path / name / "f").write_bytes(b"x" * 10_000)
    (tmp_path / "file" / "f").touch()
    (outside / "f").write_bytes(b"x" * 10_000)
    before = du(tmp_path, "--exclude=memory", "--exclude=elsewhere", "--exclude=file")
    before += os.lstat(tmp_path / "file").st_blocks * 512
    made = []

    def bind(source: Path, target: Path) -> None:
        subprocess.run(["mount", "--bind", source, target], check=True)
        made.append(target)

    try:
        mounts.mount("none", str(tmp_path / "memory"), "tmpfs")
        made.append(tmp_path / "memory")
        (tmp_path / "memory" / "f").write_bytes(b"x" * 10_000)
        bind(tmp_path / "itself", tmp_path / "itself")
        bind(outside, tmp_path / "elsewhere")
        bind(outside / "f", tmp_path / "file" / "f")
        meter = Meter(str(tmp_path))
        found = meter.tree(str(tmp_path))
        assert found.bytes == before
        assert found.unread == 0
        assert sorted(meter.problems) == [
            f"{tmp_path}/{name}: a mount, left out" for name in ("elsewhere", "file/f", "memory")
        ]
        kinds = {part.name: part.kind for part in Meter(str(tmp_path)).children(str(tmp_path))}
        assert {name for name, kind in kinds.items() if kind == "mount"} == {
            b"elsewhere",
            b"memory",
        }
        assert Meter(str(tmp_path)).tree(str(tmp_path / "memory")) == Size(0, 0, 0)
        # What is mounted after the meter was made is another device's, mostly.
        mounts.mount("none", str(tmp_path / "kept"), "tmpfs")
        made.append(tmp_path / "kept")
        assert Meter(str(tmp_path)).tree(str(tmp_path / "kept")) == Size(0, 0, 0)
    finally:
        for place in reversed(made):
            mounts.detach(str(place))


MEASURE = """
import sys
from layerview.store.tree_size import Meter
meter = Meter(sys.argv[1])
print(*meter.tree(sys.argv[1]))
for line in meter.problems:
    print(line)
"""


@pytest.mark.conformance
def test_an_ordinary_user_is_told_what_may_not_be_read() -> None:
    name = people.user("lvuser")
    with people.readable_site() as site:
        root = site / "tree"
        for folder in ("open", "shut", "names"):
            (root / folder).mkdir(parents=True)
            (root / folder / "f").write_bytes(b"x" * 10_000)
        (root / "shut").chmod(0o700)
        (root / "names").chmod(0o744)
        words = ["setpriv", "--reuid", name, "--regid", name, "--init-groups"]
        done = subprocess.run(
            [*words, people.PYTHON, "-c", MEASURE, str(root)],
            env={"PYTHONPATH": str(site), "PATH": os.environ["PATH"]},
            cwd=site,
            capture_output=True,
            text=True,
            check=True,
        )
        first, *problems = done.stdout.splitlines()
        told = subprocess.run([*words, "du", "-s", "-B1", root], capture_output=True, text=True)
        assert int(first.split()[0]) == int(told.stdout.split()[0])
        assert first.split()[2] == "2"
        assert sorted(problems) == [
            f"{root}/{folder} may only be read by its owner" for folder in ("names", "shut")
        ]


def test_problems_are_bounded(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3 * MOST_PROBLEMS):
        (tmp_path / f"{number}\n").mkdir()
    really = os.open

    def refuse(path: object, *words: object, **named: object) -> int:
        if isinstance(path, bytes) and path.endswith(b"\n"):
            raise PermissionError(13, "Permission denied")
        return really(path, *words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    meter = Meter(str(tmp_path))
    found = meter.tree(str(tmp_path))
    assert found.unread == 3 * MOST_PROBLEMS
    assert len(meter.problems) == MOST_PROBLEMS
    assert all(line.isprintable() for line in meter.problems)
    assert found.bytes == du(tmp_path)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps)
def test_lengths_are_summed_as_docker_sums_them(
    way: str, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, bytes, int]]
) -> None:
    root = tmp_path_factory.mktemp("any")
    grow(root, steps)
    lengths = {}
    for folder, _, names in os.walk(os.fsencode(root)):
        for state in (os.lstat(os.path.join(folder, name)) for name in names):
            lengths[state.st_ino] = state.st_size
        for name in os.listdir(folder):
            if os.path.islink(path := os.path.join(folder, name)):
                lengths[os.lstat(path).st_ino] = os.lstat(path).st_size
    assert folder_size(str(root)) == sum(lengths.values())


def test_what_is_left_out_of_the_lengths_does_not_count(tmp_path: Path, way: str) -> None:
    for name in ("a/b", ".wh..wh.plnk"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "f").write_bytes(b"x" * 7)
    (tmp_path / "a" / ".wh.gone").write_bytes(b"y")
    assert folder_size(str(tmp_path), leave_out=b".wh.") == 7
    with pytest.raises(FileNotFoundError):
        folder_size(str(tmp_path / "none"))
