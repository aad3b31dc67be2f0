"""overlay2 on disk: Docker's layout, half-made states, damage, and several users of one tree."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.drivers import mounts
from layerview.drivers.overlay2 import Overlay2
from layerview.errors import DamageError, FormatError, LayerviewError, NotFoundError
from tests.support.trees import snapshot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

A, B, C = ("a" * 64, "b" * 64, f"{'c' * 64}-init")


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Overlay2]:
    yield Overlay2(str(tmp_path / "root"))
    left = mounts.mount_points(os.path.realpath(tmp_path))
    for place in left:
        mounts.detach(place)
    assert left == []


def mode(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_the_layout_is_dockers(driver: Overlay2) -> None:
    before = os.umask(0o077)
    try:
        driver.create(A, None)
        driver.create(B, A)
        driver.create_writable(C, B)
    finally:
        os.umask(before)
    home = Path(driver.home)
    assert sorted(os.listdir(home)) == sorted([A, B, C, "l"])
    assert sorted(os.listdir(home / A)) == ["committed", "diff", "link"]
    assert sorted(os.listdir(home / B)) == ["committed", "diff", "link", "lower", "work"]
    assert sorted(os.listdir(home / C)) == ["diff", "link", "lower", "work"]
    assert mode(home) == mode(home / B) == 0o710
    assert mode(home / B / "diff") == 0o755
    assert mode(home / B / "work") == 0o700
    assert (home / A / "committed").read_bytes() == b""
    short = {id: (home / id / "link").read_text() for id in (A, B, C)}
    for id, name in short.items():
        assert re.fullmatch(r"[A-Z2-7]{26}", name)
        assert os.readlink(home / "l" / name) == f"../{id}/diff"
    assert sorted(os.listdir(home / "l")) == sorted(short.values())
    assert (home / B / "lower").read_text() == f"l/{short[A]}"
    assert (home / C / "lower").read_text() == f"l/{short[B]}:l/{short[A]}"
    assert driver.lowers(C) == [B, A]
    with driver.mounted(C) as place:
        assert place == str(home / C / "merged")
        # An index would lie beside overlayfs's own folder: there is none (index=off).
        assert os.listdir(home / C / "work") == ["work"]
    assert not (home / C / "merged").exists()


def test_a_folder_with_colons_and_commas(tmp_path: Path) -> None:
    driver = Overlay2(str(tmp_path / "a:b,c\\d e"))
    driver.create(A, None)
    driver.create(B, A)
    (Path(driver.layer_folder(A)) / "f").write_text("f")
    with driver.mounted(B) as place:
        (Path(place) / "g").write_text("g")
        assert sorted(os.listdir(place)) == ["f", "g"]
    assert os.listdir(driver.layer_folder(B)) == ["g"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "l", "a" * 63, "A" * 64, f"../{'a' * 64}", f"{'a' * 64}/..", "é" * 64]
)
def test_what_is_no_id_becomes_no_path(name: str, driver: Overlay2) -> None:
    driver.create(A, None)
    before = snapshot(driver.home)
    for call in (driver.remove, driver.exists, driver.layer_folder):
        with pytest.raises(FormatError):
            call(name)
    with pytest.raises(FormatError):
        driver.create(name, None)
    with pytest.raises(FormatError):
        driver.create(B, name or "x")
    assert snapshot(driver.home) == before


def test_what_is_not_there_is_said(driver: Overlay2) -> None:
    with pytest.raises(NotFoundError), driver.mounted(A):
        pass
    with pytest.raises(NotFoundError):
        driver.changes(A, None)


def damages(driver: Overlay2) -> list[tuple[str, str]]:
    return [
        ("lower", "l/short"),
        ("lower", "/etc"),
        ("lower", f"l/{'A' * 26}"),
        ("lower", "\xff"),
        ("lower", ""),
    ]


@pytest.mark.parametrize("number", range(5))
def test_a_damaged_list_of_layers_is_named(number: int, driver: Overlay2) -> None:
    driver.create(A, None)
    driver.create(B, A)
    name, text = damages(driver)[number]
    (Path(driver.home) / B / name).write_text(text, "latin-1")
    with pytest.raises(DamageError, match=name if number != 2 else "l/AAAA"), driver.mounted(B):
        pass
    driver.remove(B)
    driver.remove(A)
    assert os.listdir(Path(driver.home) / "l") == []


def test_a_short_link_that_leads_elsewhere_is_not_followed(
    driver: Overlay2, tmp_path: Path
) -> None:
    driver.create(A, None)
    driver.create(B, A)
    link = Path(driver.home) / "l" / (Path(driver.home) / A / "link").read_text()
    link.unlink()
    link.symlink_to("/etc")
    with pytest.raises(DamageError, match="leads to no layer"), driver.mounted(B):
        pass
    # The folder's own link is not the one that leads to it: it is left for somebody to look at.
    driver.remove(A)
    assert os.path.lexists(link)


STATES = {
    "nothing": (),
    "a folder": ("diff",),
    "no short link": ("diff", "link"),
    "a link without its name": ("diff", "l"),
    "half a link": ("diff", "link-half", "l"),
    "no list": ("diff", "link", "l", "work"),
    "a tree left there": ("diff", "link", "l", "work", "merged"),
}


@pytest.mark.parametrize("state", STATES)
def test_every_half_made_state_can_be_removed(state: str, driver: Overlay2) -> None:
    driver.create(A, None)
    before = snapshot(driver.home)
    home, short = Path(driver.home), "B" * 26
    (home / B).mkdir()
    for part in STATES[state]:
        match part:
            case "link":
                (home / B / "link").write_text(short)
            case "link-half":
                (home / B / "link").write_text(short[:7])
            case "l":
                (home / "l" / short).symlink_to(f"../{B}/diff")
            case _:
                (home / B / part / "x").mkdir(parents=True)
    driver.remove(B)
    assert {path: found.content for path, found in snapshot(home).items()} == {
        path: found.content for path, found in before.items()
    }
    driver.remove(B)


def test_removal_is_over_even_when_only_the_link_is_left(driver: Overlay2) -> None:
    driver.create(A, None)
    link = Path(driver.home) / "l" / ("C" * 26)
    link.symlink_to(f"../{B}/diff")
    driver.remove(B)
    assert not os.path.lexists(link)


HOLD = """
import sys, time
from layerview.drivers.overlay2 import Overlay2
with Overlay2(sys.argv[1]).mounted(sys.argv[2]) as place:
    print(place, flush=True)
    sys.stdin.readline()
"""


def hold(driver: Overlay2, id: str) -> subprocess.Popen[str]:
    """Mount a tree in another process; it is there on return."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, os.path.dirname(driver.home), id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() != ""
    return process


def test_two_processes_share_a_tree_and_the_last_one_unmounts(driver: Overlay2) -> None:
    driver.create(A, None)
    driver.create(B, A)
    other = hold(driver, B)
    with driver.mounted(B) as place:
        (Path(place) / "f").write_text("f")
        assert mounts.mount_points(place) == [place]
        other.communicate("go\n")
        assert other.returncode == 0
        assert (Path(place) / "f").read_text() == "f"
    assert mounts.mount_points(place) == []
    assert not os.path.exists(place)


def test_the_first_one_leaves_it_to_the_other(driver: Overlay2) -> None:
    driver.create(A, None)
    driver.create(B, A)
    with driver.mounted(B) as place:
        other = hold(driver, B)
    assert mounts.mount_points(place) == [place]
    with pytest.raises(LayerviewError, match="in use"):
        driver.remove(B)
    other.communicate("go\n")
    assert mounts.mount_points(place) == []
    driver.remove(B)


@pytest.mark.parametrize("then", ["mount", "remove"])
def test_who_is_about_to_let_go_of_a_layer_is_waited_for(then: str, driver: Overlay2) -> None:
    driver.create(A, None)
    driver.create_writable(B, A)
    # As a container's keeper: with a mount namespace of its own, and the lock for as long.
    folder = os.open(f"{driver.home}/{B}", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_SH)
    timer = threading.Timer(0.1, os.close, [folder])
    timer.start()
    if then == "mount":
        with driver.mounted(B) as place:
            assert mounts.mount_points(place) == [place]
    else:
        driver.remove(B)
    timer.join()
    assert mounts.mount_points(driver.home) == []


def test_a_tree_left_by_a_killed_process_is_cleared_away(driver: Overlay2) -> None:
    driver.create(A, None)
    driver.create(B, A)
    for after in ("mount", "remove"):
        other = hold(driver, B)
        other.send_signal(signal.SIGKILL)
        other.communicate()
        merged = f"{driver.home}/{B}/merged"
        assert mounts.mount_points(merged) == [merged]
        if after == "mount":
            with driver.mounted(B) as place:
                (Path(place) / "f").write_text("f")
                assert mounts.mount_points(merged) == [merged]
            assert mounts.mount_points(merged) == []
            assert os.listdir(driver.layer_folder(B)) == ["f"]
        else:
            driver.remove(B)
            assert mounts.mount_points(merged) == []
            assert driver.ids() == [A]


def test_a_mount_that_fails_leaves_nothing(
    driver: Overlay2, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **more: object) -> None:
        raise OSError(22, "invalid argument")

    driver.create(A, None)
    driver.create(B, A)
    monkeypatch.setattr("layerview.drivers.overlay2.mount_overlay", refuse)
    with pytest.raises(LayerviewError, match="layerview drivers says"), driver.mounted(B):
        pass
    assert not (Path(driver.home) / B / "merged").exists()
    monkeypatch.undo()
    with driver.mounted(B):
        pass
    driver.remove(B)
