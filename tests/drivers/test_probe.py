"""What `layerview drivers` finds is so: seen by making it so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerview.drivers import namespace, probe
from layerview.drivers.by_name import make_driver
from layerview.drivers.mounts import mount_points
from layerview.drivers.probe import choose_driver
from layerview.errors import LayerviewError, UsageError
from tests.drivers.people import as_user, readable_site, user
from tests.support.commands import Command
from tests.support.trees import snapshot

NAMES = ["overlay2", "aufs", "vfs", "btrfs", "zfs", "devicemapper"]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@needs_root
def test_what_works_here(tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    found = {finding.name: finding for finding in probe.probe(str(tmp_path))}
    assert list(found) == NAMES
    assert [name for name in NAMES if found[name].works] == ["overlay2", "aufs", "vfs"]
    assert [name for name in NAMES if found[name].default] == ["overlay2"]
    for finding in found.values():
        assert finding.reason
        assert bool(finding.remedy) == (not finding.works)
        assert "\n" not in finding.reason + finding.remedy
    after = snapshot(tmp_path)
    assert list(after) == list(before)


@needs_root
def test_an_area_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    found = probe.probe(str(tmp_path / "a/b/c"))
    assert found[0].works
    assert os.listdir(tmp_path) == []


@needs_root
def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(tmp_path)], check=True)
    try:
        found = probe.probe(str(tmp_path))
        assert not any(finding.works or finding.default for finding in found)
        for finding in found[:2]:
            assert "read-only" in finding.reason
            assert "--root" in finding.remedy
        with pytest.raises(LayerviewError, match="read-only"):
            choose_driver(str(tmp_path), None)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@needs_root
def test_on_an_overlay_a_union_of_our_own_works_and_vfs(tmp_path: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    merged = str(tmp_path / "merged")
    subprocess.run(["mount", "-t", "overlay", "-o", options, "none", merged], check=True)
    try:
        found = {finding.name: finding for finding in probe.probe(merged)}
        assert not found["overlay2"].works
        assert "overlay" in found["overlay2"].reason
        assert "vfs" in found["overlay2"].remedy
        assert found["aufs"].default
        assert found["vfs"].works
        assert choose_driver(merged, None).name == "aufs"
        assert os.listdir(merged) == []
    finally:
        subprocess.run(["umount", "-l", merged], check=True)


@needs_root
def test_it_is_quick(tmp_path: Path) -> None:
    probe.probe(str(tmp_path))
    took = []
    for _ in range(5):
        start = time.monotonic()
        probe.probe(str(tmp_path))
        took.append(time.monotonic() - start)
    # 0.02 s on an idle machine; processes are forked, which takes longer while others work.
    assert min(took) < 1


@needs_root
def test_which_driver_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(tmp_path)
    monkeypatch.delenv("LAYERVIEW_DRIVER", raising=False)
    assert choose_driver(root, None).name == "overlay2"
    assert choose_driver(root, "vfs").name == "vfs"
    monkeypatch.setenv("LAYERVIEW_DRIVER", "vfs")
    assert choose_driver(root, None).name == "vfs"
    assert choose_driver(root, "overlay2").name == "overlay2"
    monkeypatch.setenv("LAYERVIEW_DRIVER", "ext4")
    with pytest.raises(UsageError, match="no storage driver is called 'ext4'"):
        choose_driver(root, None)
    for name in NAMES[3:]:
        with pytest.raises(LayerviewError, match=f"driver {name}: not bundled yet.*; .*"):
            make_driver(name, root)
        with pytest.raises(LayerviewError, match="not bundled yet"):
            choose_driver(root, name)


@needs_root
def test_without_fuse_there_is_no_aufs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerview.unionfs.fuse.mount.DEVICE", str(tmp_path / "fuse"))
    found = {finding.name: finding for finding in probe.probe(str(tmp_path))}
    assert not found["aufs"].works
    assert f"there is no {tmp_path}/fuse" in found["aufs"].reason
    assert found["aufs"].remedy.endswith(", or use vfs")
    with pytest.raises(LayerviewError, match="driver aufs: there is no"):
        choose_driver(str(tmp_path), "aufs")


@needs_root
def test_ordinary_users_have_aufs_where_the_device_is_open_to_them(tmp_path: Path) -> None:
    before = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    try:
        for mode in (0o600, 0o666):
            os.chmod("/dev/fuse", mode)
            found = {finding.name: finding for finding in probe.probe(str(tmp_path))}
            assert found["aufs"].rootless is (mode == 0o666)
            with readable_site() as site:
                words = ["-m", "layerview", "drivers", "--json", "--root", "/var/tmp"]
                said = json.loads(as_user(user("lvuser"), site, *words).stdout)
            (aufs,) = (item for item in said if item["name"] == "aufs")
            assert aufs["works"] is aufs["rootless"] is (mode == 0o666), aufs
            if mode == 0o600:
                assert "/dev/fuse" in aufs["reason"]
                assert "chmod 666 /dev/fuse" in aufs["remedy"]
    finally:
        os.chmod("/dev/fuse", before)


@needs_root
def test_limits_of_users_count_for_rootless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert probe.probe(str(tmp_path))[0].rootless
    limit = "kernel/unprivileged_userns_clone"
    monkeypatch.setattr(namespace, "_setting", lambda name: "0" if name == limit else None)
    overlay2, aufs, vfs = probe.probe(str(tmp_path))[:3]
    for finding in (overlay2, aufs):
        assert finding.works
        assert not finding.rootless
    assert vfs.rootless


@pytest.mark.parametrize("name", ["lvuser", "lvplain"])
def test_an_ordinary_user_has_overlay2_too(name: str) -> None:
    user(name)
    with readable_site() as site:
        place = Path(f"/var/tmp/layerview-probe-{os.getpid()}")
        place.mkdir()
        try:
            subprocess.run(["chown", name, str(place)], check=True)
            words = ["-m", "layerview", "drivers", "--json", "--root", str(place)]
            done = as_user(name, site, *words)
            assert done.stderr == ""
            assert os.listdir(place) == []
            found = {item["name"]: item for item in json.loads(done.stdout)}
            assert found["overlay2"]["works"]
            assert found["overlay2"]["rootless"]
            assert "user namespace" in found["overlay2"]["reason"]
            other = json.loads(as_user(name, site, *words[:-1], "/usr").stdout)
            assert not any(item["works"] for item in other)
            assert "permission denied" in other[0]["reason"]
        finally:
            subprocess.run(["rm", "-rf", str(place)], check=True)


@needs_root
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = Command(capsys)
    found = command.json("drivers", "--root", tmp_path)
    assert [item["name"] for item in found] == NAMES
    keys = {"name", "works", "default", "reason", "remedy", "rootless", "copy_on_write"}
    assert all(set(item) >= keys for item in found)
    copies = [item["copy_on_write"] for item in found]
    assert copies == ["file", "file", "none", "block", "block", "block"]
    shown = command("drivers", "--root", tmp_path)
    assert (shown.status, shown.errors) == (0, "")
    lines = shown.out.splitlines()
    assert len(lines[: lines.index("")]) == 7
    assert lines[1].startswith("overlay2 (default)   yes")
    assert command("drivers", "extra").status == 2


KILLED = """
import os, signal, sys
from layerview.drivers import probe
unlink = os.unlink
def die(path, *more, **words):
    if str(path).endswith("/m/f"):
        print("mounted" if os.path.ismount(os.path.dirname(path)) else "not mounted", flush=True)
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    unlink(path, *more, **words)
os.unlink = die
probe.probe(sys.argv[1])
"""


@needs_root
def test_a_trial_that_is_killed_leaves_no_mount(tmp_path: Path) -> None:
    before = mount_points("/")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "mounted\n")
    assert mount_points("/") == before
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".layerview-probe-")
    end = time.monotonic() + 10
    while True:
        # The child dies with its parent, a moment later.
        try:
            shutil.rmtree(left)
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


@needs_root
def test_a_trial_whose_process_is_killed_is_cleared_up_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **more: object) -> None:
        (tmp_path / "reached").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("layerview.drivers.probe.mount_overlay", die)
    with pytest.raises(LayerviewError, match=r"trying it was stopped .*; try again, or use vfs"):
        choose_driver(str(tmp_path), "overlay2")
    assert choose_driver(str(tmp_path), None).name == "aufs"
    assert [path.name for path in tmp_path.iterdir()] == ["reached"]


@needs_root
def test_nothing_is_tried_in_an_engines_data_root(tmp_path: Path) -> None:
    root = tmp_path / "docker"
    (root / "image/overlay2").mkdir(parents=True)
    before = os.stat(root).st_mtime_ns, os.stat(root).st_ctime_ns
    assert probe.probe(str(root))[0].works
    assert (os.stat(root).st_mtime_ns, os.stat(root).st_ctime_ns) == before
