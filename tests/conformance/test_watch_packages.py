"""Watching what dpkg does to a system of packages, on overlay2 and on aufs.

dpkg writes each file beside, gives it owner, mode and times, links what it replaces to a third
name, and renames over it; hard links it makes of files that are not in their place yet.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from layerview.watch.compare import compare
from layerview.watch.events import CowEvent
from layerview.watch.ledger import Held
from layerview.watch.target import Target
from tests.conformance.test_watch_union import served
from tests.support.container_lab import eventually
from tests.support.overlays import Watching, differences, hear_by, overlay

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting an overlay needs root"),
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg is not installed"),
]

QUIET = {**os.environ, "DPKG_COLORS": "never", "LC_ALL": "C"}
WORK = (
    "dpkg --root=. --unpack {new} && dpkg --root=. --configure tool",
    "chown -R 1:1 usr/share/tool srv",
    "chmod -R go-rx usr/lib/tool/many && touch -d 2001-01-01 usr/lib/tool/many/*",
    "dpkg --root=. --unpack {other}",
    "rm -rf usr/lib/tool/many && mkdir usr/lib/tool/many && echo new > usr/lib/tool/many/3",
    "dpkg --root=. --purge other",
)
"""What is done, a step after the other."""


def package(place: Path, name: str, version: int) -> Path:
    """Build a package: files, hard links, links, setuid, and what only one version has."""
    tree = place / f"{name}-{version}"
    for number in range(60):
        _file(tree / f"usr/lib/{name}/many/{number}", f"{name} {version}\n" * (number * 20))
        _file(tree / f"usr/share/{name}/doc{number}", f"the same in each version {number}\n")
    _file(tree / f"usr/lib/{name}/only-in-{version}", "one version has it\n")
    _file(tree / f"etc/{name}.conf", f"setting={version}\n")
    _file(tree / f"usr/bin/{name}", f"#!/bin/sh\necho {version}\n" + "#" * 9000)
    (tree / f"usr/bin/{name}").chmod(0o4755)
    for link in ("one", "two", "three"):
        os.link(tree / f"usr/bin/{name}", tree / f"usr/bin/{name}-{link}")
    (tree / f"usr/bin/{name}-link").symlink_to(name if version == 1 else f"{name}-one")
    (tree / f"usr/lib/{name}/moves").symlink_to("many") if version == 1 else _file(
        tree / f"usr/lib/{name}/moves", "a file now\n"
    )
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: n <n@e>\n"
    _file(tree / "DEBIAN/control", f"{control}Description: tests\n")
    _file(tree / "DEBIAN/conffiles", f"/etc/{name}.conf\n")
    built = place / f"{name}_{version}.deb"
    subprocess.run(["dpkg-deb", "-Znone", "-b", tree, built], check=True, capture_output=True)
    return built


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("packages")
    return {
        "old": package(place, "tool", 1),
        "new": package(place, "tool", 2),
        "other": package(place, "other", 1),
    }


def system(old: Path) -> Callable[[Path], None]:
    """Return what makes a base layer in which the old version is installed."""

    def make(folder: Path) -> None:
        for name in ("info", "updates", "triggers"):
            (folder / "var/lib/dpkg" / name).mkdir(parents=True)
        for number in range(30):
            _file(folder / f"srv/kept{number}", f"of no package, {number}\n")
        for name in ("status", "available"):
            (folder / "var/lib/dpkg" / name).touch()
        subprocess.run(
            ["dpkg", f"--root={folder}", "--force-unsafe-io", "-i", old],
            check=True,
            capture_output=True,
            env=QUIET,
        )

    return make


def upper(folder: Path) -> None:
    """Make a layer above the base."""
    _file(folder / "usr/share/tool/doc1", "from the layer above\n" * 50)
    _file(folder / "srv/kept1", "from the layer above\n")


def do(top: Path, packages: dict[str, Path], step: str) -> None:
    words = step.format(**packages)
    done = subprocess.run(["sh", "-c", words], cwd=top, env=QUIET, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("way", ["fanotify", "inotify"])
def test_on_overlay2_the_ledger_is_what_a_full_comparison_finds(
    way: str, packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear_by(way, monkeypatch)
    with overlay(tmp_path / "o", system(packages["old"]), upper) as (target, top):
        with Watching(target) as watching:
            for step in WORK:
                do(top, packages, step)
                same(watching, target)
        copied = {
            event.path: event.layer
            for event in watching.records
            if isinstance(event, CowEvent) and event.kind == "copy_up"
        }
        assert copied[b"srv/kept1"] == 1
        assert copied[b"srv/kept2"] == 0
        told(watching, target, top)


@pytest.mark.parametrize("steps", [True, False], ids=["steps", "looks"])
def test_on_aufs_the_ledger_is_what_a_full_comparison_finds(
    steps: bool, packages: dict[str, Path], tmp_path: Path
) -> None:
    with served(tmp_path / "u", system(packages["old"]), upper) as (target, top, _):
        watched = target if steps else target._replace(steps=None)
        with Watching(watched) as watching:
            for step in WORK:
                do(top, packages, step)
                same(watching, target)
        told(watching, target, top)


def same(watching: Watching, target: Target) -> None:
    """Assert that the ledger and a look at everything agree, so far as the disk can tell."""
    watching.quiet(0.15)
    found: dict[bytes, object] = {}

    def agree() -> bool:
        found.clear()
        one, other = watching.ledger.holds, compare(target)
        found.update(differences(known(target, one), known(target, other)))
        return not found

    try:
        eventually(agree, "they differ")
    except AssertionError:
        raise AssertionError(found) from None


def known(target: Target, holds: dict[bytes, Held]) -> dict[bytes, Held]:
    """Leave out what a layer on disk does not tell.

    aufs leaves no mark on a copy, overlayfs none on one of a file with several names: whether such
    a file was copied up or made anew must be guessed from its bytes, and who watched knows better.
    Both have the same paths, the same sizes, and the same whiteouts.
    """
    if target.driver != "aufs":
        return {path: _unless_linked(target, path, held) for path, held in holds.items()}
    made = ("copy_up", "create", "implied", "opaque")
    return {
        path: Held("made", None, held.size) if held.kind in made else Held(held.kind)
        for path, held in holds.items()
    }


def _unless_linked(target: Target, path: bytes, held: Held) -> Held:
    if held.kind not in ("copy_up", "create"):
        return held
    for layer in target.layers:
        try:
            state = os.lstat(os.path.join(os.fsencode(layer.folder), path))
        except OSError:
            continue
        linked = state.st_nlink > 1 and not stat.S_ISDIR(state.st_mode)
        return Held("made", None, held.size) if linked else held
    return held


def told(watching: Watching, target: Target, top: Path) -> None:
    """Assert that the sum of all that was told is what the container now shows on top."""
    size = 0
    seen = set()
    for at, _, names in os.walk(os.fsencode(target.upper)):
        for name in names:
            state = os.lstat(os.path.join(at, name))
            is_mark = stat.S_ISCHR(state.st_mode) or name.startswith(b".wh.")
            if not is_mark and state.st_ino not in seen:
                seen.add(state.st_ino)
                size += state.st_size
    assert watching.ledger.container_layer_size == size
    assert (top / "usr/lib/tool/many/3").read_text() == "new\n"
    assert (top / "usr/bin/tool-two").stat().st_nlink == 4
