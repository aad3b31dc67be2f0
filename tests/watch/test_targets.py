"""What can be watched, found without an engine: mounts, stores and settings as they lie on disk."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerview.errors import FormatError, LayerviewError, LimitError, NotFoundError, UsageError
from layerview.layer.whiteouts import Whiteouts
from layerview.watch import containers_storage, podman
from layerview.watch.containers_storage import Store, below, containers, layers
from layerview.watch.events import INIT
from layerview.watch.running import OverlayMount, absolute, first_process, parse_options
from layerview.watch.targets import find_target, targets
from tests.support.engines import FakeEngine

A, B, C, IMAGE = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "area"))
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    (tmp_path / "storage.conf").write_text(
        f'[storage]\ngraphroot = "{tmp_path}/store"\nrootless_storage_path = "{tmp_path}/store"\n'
    )


# --- mounts ---


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "rw,lowerdir=/l/2:/l/1,upperdir=/u,workdir=/w,uuid=on",
            OverlayMount(("/l/2", "/l/1"), "/u", "/w", False),
        ),
        (
            r"rw,lowerdir=/a\134:b:/c\040d,upperdir=/u\054x,workdir=/w,userxattr",
            OverlayMount(("/a:b", "/c d"), "/u,x", "/w", True),
        ),
        (
            "rw,lowerdir+=/a:b,lowerdir+=/c,upperdir=/u,workdir=/w",
            OverlayMount(("/a:b", "/c"), "/u", "/w", False),
        ),
        ("ro,lowerdir=/l/2:/l/1", None),
    ],
    ids=["plain", "escaped", "one by one", "read-only"],
)
def test_an_overlays_options_are_read_as_the_kernel_shows_them(
    text: str, found: OverlayMount | None
) -> None:
    assert parse_options(text) == found


def test_relative_names_count_from_a_folder_above_the_upper_one(tmp_path: Path) -> None:
    for name in ("snapshots/1/fs", "snapshots/2/fs", "snapshots/3/fs"):
        (tmp_path / name).mkdir(parents=True)
    upper = f"{tmp_path}/snapshots/3/fs"
    mount = OverlayMount(("2/fs", "1/fs"), upper, "", False)
    found = absolute(mount)
    assert found is not None
    assert found.lowers == (f"{tmp_path}/snapshots/2/fs", f"{tmp_path}/snapshots/1/fs")
    assert absolute(OverlayMount(("2/fs", "9/fs"), upper, "", False)) is None


def test_a_process_is_a_containers_only_where_it_says_so() -> None:
    assert first_process("e" * 64, os.getpid()) is None


# --- containerd's store ---


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[tuple[Path, int, str]]:
    """A process with an overlayfs as its root, in whose mounts the container's ID is found."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    if not os.path.exists("/bin/busybox"):
        pytest.skip("busybox-static is not installed")
    place = tmp_path / "snapshots"
    for name in ("1/fs/bin", "2/fs", "3/fs/etc", "4/fs", "4/work", "merged", A):
        (place / name).mkdir(parents=True)
    (place / A / "hosts").write_text("")
    (place / "3/fs/etc/hosts").write_text("")
    (place / "1/fs/bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (place / "1/fs/bin/busybox").chmod(0o755)
    script = (
        f"cd {place} && mount -t overlay -o"
        f" lowerdir=3/fs:2/fs:1/fs,upperdir={place}/4/fs,workdir={place}/4/work overlay merged"
        f" && mount --bind {A}/hosts merged/etc/hosts && echo done"
        " && exec chroot merged /bin/busybox sleep 1000"
    )
    process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"done\n":
            pytest.skip("no overlayfs can be mounted here")
        # The shell has the word in its script too.
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"/bin/busybox"):
            pass
        yield place, process.pid, A
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def engine_of(tmp_path: Path, container: dict[str, Any]) -> FakeEngine:
    engine = FakeEngine(tmp_path / "engine")
    engine.lay(f"/containers/{container['Id']}/json", container)
    engine.lay("/containers/web/json", container)
    engine.lay("/containers/json", [{"Id": container["Id"]}])
    engine.lay(
        "/info",
        {
            "ServerVersion": "29.0",
            "Driver": "overlayfs",
            "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
            "DockerRootDir": "/nowhere",
        },
    )
    return engine


def test_containerds_layers_are_found_by_what_is_mounted(
    shown: tuple[Path, int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, pid, id = shown
    image = "sha256:" + IMAGE
    engine = engine_of(
        tmp_path,
        {
            "Id": id,
            "Name": "/web",
            "Image": image,
            "State": {"Running": True, "Pid": pid},
            "GraphDriver": None,
            "Config": {"Image": "app:1"},
            "Mounts": [{"Type": "bind", "Source": "/srv", "Destination": "/mnt", "RW": False}],
        },
    )
    engine.lay(f"/images/{image}/json", {"RootFS": {"Layers": ["sha256:" + A, "sha256:" + B]}})
    engine.lay(
        f"/images/{image}/history",
        [
            {"CreatedBy": "RUN two", "Size": 5},
            {"CreatedBy": "ENV a=b", "Size": 0},
            {"CreatedBy": "ADD one", "Size": 7},
        ],
    )
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    target = find_target("web")
    assert (target.engine, target.name, target.image, target.pid) == ("docker", "web", "app:1", pid)
    assert target.upper == f"{place}/4/fs"
    assert [(layer.number, layer.folder) for layer in target.layers] == [
        (INIT, f"{place}/3/fs"),
        (1, f"{place}/2/fs"),
        (0, f"{place}/1/fs"),
    ]
    assert [layer.instruction for layer in target.layers] == ["", "RUN two", "ADD one"]
    assert target.layers[2].chain_id == "sha256:" + A
    assert target.whiteouts is Whiteouts.TRUSTED
    assert [(volume.source, volume.target, volume.read_only) for volume in target.volumes] == [
        ("/srv", b"mnt", True)
    ]
    assert [one.id for one in targets() if one.engine == "docker"] == [id]


def test_containerds_layers_are_not_known_without_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(
        tmp_path, {"Id": A, "Name": "/web", "Image": "", "State": {"Running": False, "Pid": 0}}
    )
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    with pytest.raises(LayerviewError, match="can be found only while it runs"):
        find_target("web")


# --- Podman's store ---


def store(place: Path, **lists: object) -> Store:
    """Make a store of two layers, and a container on them."""
    known: dict[str, object] = {
        "containers": [{"id": C, "names": ["web"], "image": IMAGE, "layer": C, "metadata": "{}"}],
        "layers": [
            {"id": A, "diff-digest": "sha256:" + A, "diff-size": 10},
            {"id": B, "parent": A, "diff-digest": "sha256:" + B},
            {"id": C, "parent": B},
        ],
        **lists,
    }
    for name, listed in known.items():
        folder = place / "store" / f"overlay-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        text = listed if isinstance(listed, str) else json.dumps(listed)
        (folder / f"{name}.json").write_text(text)
    for id in (A, B, C):
        (place / "store/overlay" / id / "diff").mkdir(parents=True, exist_ok=True)
    return Store(str(place / "store"), str(place / "run"), "overlay")


def test_a_store_is_read_where_the_settings_say(tmp_path: Path) -> None:
    store(tmp_path)
    target = find_target("web")
    assert (target.engine, target.driver, target.id, target.pid) == ("podman", "overlay", C, None)
    assert [(layer.number, layer.size) for layer in target.layers] == [(1, None), (0, 10)]
    assert target.layers[1].folder == f"{tmp_path}/store/overlay/{A}/diff"
    assert target.layers[1].chain_id == "sha256:" + A
    assert find_target(C[:8]) == target


def test_containers_that_need_not_outlive_a_boot_are_found_too(tmp_path: Path) -> None:
    place = store(tmp_path, containers=[])
    folder = tmp_path / "run/overlay-containers"
    folder.mkdir(parents=True)
    (folder / "volatile-containers.json").write_text(
        json.dumps([{"id": C, "names": ["brief"], "layer": C}])
    )
    assert [one.name for one in containers(place)] == ["brief"]


def test_what_several_ids_begin_with_is_asked_back(tmp_path: Path) -> None:
    store(tmp_path, containers=[{"id": "1" + id[1:], "layer": C} for id in (A, B)])
    with pytest.raises(UsageError, match="may be several containers"):
        find_target("1")


@pytest.mark.parametrize(
    "lists",
    [
        {"containers": [{"id": "../../etc", "layer": C}]},
        {"containers": [{"id": C, "layer": "../x"}]},
        {"containers": [{"id": C, "layer": 7}]},
        {"containers": "{"},
        {"containers": [[]]},
        {"layers": [{"id": A, "parent": ".."}]},
        {"layers": [{"id": C, "parent": B}, {"id": B, "parent": C}]},
        {"layers": [{"id": C, "parent": B}]},
        {"layers": "[" * 10_000},
    ],
    ids=str,
)
def test_a_hostile_store_is_an_error_in_a_line(tmp_path: Path, lists: dict[str, object]) -> None:
    store(tmp_path, **lists)
    with pytest.raises(LayerviewError) as caught:
        find_target("web")
    assert len(str(caught.value).splitlines()) == 1


def test_a_layer_that_is_a_link_is_refused(tmp_path: Path) -> None:
    store(tmp_path)
    (tmp_path / "store/overlay" / C / "diff").rmdir()
    (tmp_path / "store/overlay" / C / "diff").symlink_to("/etc")
    with pytest.raises(LayerviewError, match=r"web of Podman can't be watched: .*not a directory"):
        find_target("web")


def test_a_list_that_is_no_file_or_too_long_is_refused(tmp_path: Path) -> None:
    place = store(tmp_path)
    listed = tmp_path / "store/overlay-layers/layers.json"
    os.truncate(listed, containers_storage.MAX_DOCUMENT_BYTES + 1)
    with pytest.raises(LimitError):
        layers(place)
    listed.unlink()
    os.mkfifo(listed)
    with pytest.raises(NotFoundError):
        layers(place)


def test_layers_without_end_are_found_out(tmp_path: Path) -> None:
    known = layers(store(tmp_path))
    assert below(known, C) == [B, A]
    with pytest.raises(FormatError):
        below({**known, A: known[A]._replace(parent=C)}, C)


def test_a_monitor_of_another_user_does_not_name_a_store(tmp_path: Path) -> None:
    """A process of anybody's may be called conmon: it counts only for a store of its user's."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    store(tmp_path)
    place = f"{tmp_path}/store/overlay-containers/{C}/userdata"
    words = ["-c", C, "-n", "web", "-b", place, "-p", f"{tmp_path}/run/a/b/c/pidfile"]
    named = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'conmon'); print(1, flush=True); "
    for user, counts in ((65534, False), (0, True)):
        process = subprocess.Popen(
            ["/usr/bin/python3", "-c", named + "time.sleep(100)", *words],
            user=user,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            process.stdout.readline()
            graphs = [monitor.store.graph for monitor in podman._monitors()]
            assert (f"{tmp_path}/store" in graphs) is counts
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
