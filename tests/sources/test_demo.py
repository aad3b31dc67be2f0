"""The demo image: complete, deterministic, safe to make twice at once, and honest without tools."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from layerview.errors import Cancelled, FormatError, LayerviewError
from layerview.progress import Progress
from layerview.settings import asset
from layerview.sources import demo
from layerview.sources.demo import make as making
from layerview.sources.demo import tools
from layerview.sources.demo.elf import read_elf
from layerview.sources.demo.recipe import parse_recipe

ELF_SHELL = tools.gather([]).programs == ["sh"]
needs_programs = pytest.mark.skipif(not ELF_SHELL, reason="this machine's sh cannot be taken")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "layerview" / "demo"


@pytest.fixture
def own_sh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs with a copy of sh in it, and no other."""
    folder = tmp_path / "programs"
    folder.mkdir()
    shutil.copy(os.path.realpath("/bin/sh"), folder / "sh")
    monkeypatch.setattr(tools, "PROGRAM_FOLDERS", (str(folder),))
    return folder / "sh"


@pytest.fixture
def no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any building from here on fails the test."""
    monkeypatch.delattr(making, "build_image")


def document(layout: Path, digest: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())
    return found


def images(layout: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Manifest and config by reference."""
    index = json.loads((layout / "index.json").read_bytes())
    found = {}
    for item in index["manifests"]:
        manifest = document(layout, item["digest"])
        config = document(layout, manifest["config"]["digest"])
        found[item["annotations"]["org.opencontainers.image.ref.name"]] = manifest, config
    return found


def layers(layout: Path) -> list[dict[str, tarfile.TarInfo]]:
    manifest, _ = images(layout)[demo.DEFAULT_REFERENCE]
    found = []
    for layer in manifest["layers"]:
        with tarfile.open(layout / "blobs" / layer["digest"].replace(":", "/"), "r:") as tar:
            found.append({member.name: member for member in tar})
    return found


def read(layout: Path, number: int, path: str) -> bytes:
    manifest, _ = images(layout)[demo.DEFAULT_REFERENCE]
    digest = manifest["layers"][number]["digest"]
    with tarfile.open(layout / "blobs" / digest.replace(":", "/"), "r:") as tar:
        file = tar.extractfile(path)
        assert file is not None
        return file.read()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def unpack(layout: Path, root: Path) -> None:
    """Apply the layers as the image spec says, with tarfile and rmtree."""
    manifest, _ = images(layout)[demo.DEFAULT_REFERENCE]
    for layer in manifest["layers"]:
        with tarfile.open(layout / "blobs" / layer["digest"].replace(":", "/"), "r:") as tar:
            # Python before 3.11.4 knows no filters, and 3.14 filters when not told otherwise.
            tar.extraction_filter = lambda member, _: member
            for member in tar:
                place = root / member.name
                if place.name == ".wh..wh..opq":
                    for child in place.parent.iterdir():
                        shutil.rmtree(child) if child.is_dir() else child.unlink()
                elif place.name.startswith(".wh."):
                    place.with_name(place.name[4:]).unlink()
                else:
                    tar.extract(member, root)


def test_every_blob_has_its_digest_and_every_descriptor_its_size() -> None:
    layout = demo.demo_image()
    for blob in (layout / "blobs" / "sha256").iterdir():
        assert blob.name == hashlib.sha256(blob.read_bytes()).hexdigest()
    for manifest, config in images(layout).values():
        for descriptor in (manifest["config"], *manifest["layers"]):
            blob = layout / "blobs" / descriptor["digest"].replace(":", "/")
            assert blob.stat().st_size == descriptor["size"]
        assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]


def test_it_is_the_stack_of_the_documentation() -> None:
    check_stack(demo.demo_image())


def check_stack(layout: Path) -> None:
    found = images(layout)
    base, _ = found["ubuntu-demo:15.04"]
    changed, config = found["changed-ubuntu:latest"]
    assert len(base["layers"]) == 4
    assert changed["layers"][:4] == base["layers"]
    commands = [entry["created_by"].removeprefix("/bin/sh -c ") for entry in config["history"]]
    assert commands[0].startswith("#(nop) ADD file:")
    assert "policy-rc.d" in commands[1]
    assert commands[2].startswith("sed -i")
    assert commands[4].startswith("#(nop) CMD")
    assert commands[5] == 'echo "Hello world" > /tmp/newfile'
    empty = [entry.get("empty_layer", False) for entry in config["history"]]
    assert empty == [False, False, False, False, True, False]


def test_the_layers_show_every_kind_of_change() -> None:
    check_changes(demo.demo_image())


def check_changes(layout: Path) -> None:
    base, policy, edited, cleaned, top = layers(layout)
    assert set(top) == {"tmp", "tmp/newfile"}
    assert read(layout, 4, "tmp/newfile") == b"Hello world\n"
    assert policy["usr/sbin/policy-rc.d"].mode == 0o755
    lower, upper = read(layout, 0, "etc/apt/sources.list"), read(layout, 2, "etc/apt/sources.list")
    assert lower.count(b"# deb") - upper.count(b"# deb") == 8
    assert set(edited) == {"etc", "etc/apt", "etc/apt/sources.list"}
    assert {"etc/.wh.legal", "var/log/.wh.bootstrap.log", "var/lib/apt/lists/.wh..wh..opq"} < set(
        cleaned
    )
    assert {"etc/legal", "var/log/bootstrap.log", "var/lib/apt/lists/lock"} < set(base)
    dear = "var/cache/debconf/templates.dat"
    assert read(layout, 0, dear) == read(layout, 3, dear)
    assert (base[dear].mode, cleaned[dear].mode) == (0o644, 0o600)
    again = "var/lib/dpkg/status"
    assert read(layout, 0, again) == read(layout, 3, again)
    assert base[again].mtime < cleaned[again].mtime
    assert base["bin"].linkname == "usr/bin"
    assert base["usr/share/zoneinfo/UTC"].linkname == "usr/share/zoneinfo/Etc/UTC"
    assert base["run/initctl"].isfifo()
    assert base["tmp"].mode == 0o1777


def test_parents_come_before_what_they_hold_and_nothing_is_listed_twice() -> None:
    layout = demo.demo_image()
    for number, members in enumerate(layers(layout)):
        manifest, _ = images(layout)[demo.DEFAULT_REFERENCE]
        blob = layout / "blobs" / manifest["layers"][number]["digest"].replace(":", "/")
        with tarfile.open(blob, "r:") as tar:
            names = tar.getnames()
        assert len(names) == len(members)
        for place, name in enumerate(names):
            parent = name.rpartition("/")[0]
            assert not parent or parent in names[:place]


@needs_programs
def test_it_is_of_a_handy_size_and_takes_no_special_rights_along() -> None:
    layout = demo.demo_image()
    total = sum(blob.stat().st_size for blob in (layout / "blobs" / "sha256").iterdir())
    # One file is large on purpose: what a copy-up costs is to be seen.
    large = layers(layout)[0]["srv/data/places.db"].size
    assert large == 38_700_000
    assert 3_000_000 < total - large < 25_000_000
    for name, member in layers(layout)[0].items():
        if name.startswith("usr/bin/"):
            assert member.mode & 0o7022 == 0 or member.issym()


@needs_programs
@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_its_shell_runs_in_the_unpacked_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    unpack(demo.demo_image(), root)
    script = "cat /tmp/newfile; ls -d /var/lib/apt/lists/*; echo one > /tmp/x && wc -c /tmp/x"
    done = subprocess.run(
        [sys.executable, "-c", "import os, sys; os.chroot(sys.argv[1]); os.chdir('/');"
         "os.execv('/bin/sh', ['sh', '-c', sys.argv[2]])", str(root), script],
        capture_output=True, text=True, env={"PATH": "/usr/bin"}, check=False, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout == "Hello world\n/var/lib/apt/lists/partial\n4 /tmp/x\n"


@needs_programs
def test_every_program_taken_starts_in_the_image(tmp_path: Path) -> None:
    """The loader finds each library where it lies in the unpacked root, and nowhere else."""
    box = tools.gather(parse_recipe(asset("demo-image.toml").read_text()).programs)
    root = tmp_path / "root"
    unpack(demo.demo_image(), root)
    assert {"sh", "cat", "ls"} <= set(box.programs)
    for place, source in box.files.items():
        elf = read_elf(source)
        assert elf is not None
        assert (root / place).read_bytes() == Path(source).read_bytes()
        if elf.interpreter is not None:
            assert inside(root, elf.interpreter).is_file()


def inside(root: Path, path: str) -> Path:
    """Resolve the folder links of a path within the root, as a process in it would."""
    place = root
    for part in path.strip("/").split("/"):
        place = place / part
        if place.is_symlink():
            target = os.readlink(place)
            place = root / target[1:] if target[0] == "/" else place.parent / target
    return place


def test_the_same_machine_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = contents(demo.demo_image())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert contents(demo.demo_image()) == first


def test_the_second_opening_takes_what_is_kept(request: pytest.FixtureRequest, cache: Path) -> None:
    first = demo.demo_image()
    request.getfixturevalue("no_build")
    assert demo.demo_image() == first
    assert [path.name for path in cache.iterdir()] == [first.parent.name]


def test_a_kept_image_opens_without_the_machinery_of_building() -> None:
    demo.demo_image()
    code = (
        "import sys; from layerview.sources.demo import demo_image; demo_image();"
        "print([name for name in ('tarfile', 'tomllib', 'shutil') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@needs_programs
def test_a_changed_program_makes_it_anew(own_sh: Path) -> None:
    first = demo.demo_image()
    os.utime(own_sh, ns=(1, 1))
    assert demo.demo_image() != first


@needs_programs
def test_a_program_that_comes_or_goes_makes_it_anew(own_sh: Path) -> None:
    first = demo.demo_image()
    shutil.copy(own_sh, own_sh.with_name("cat"))
    second = demo.demo_image()
    assert "usr/bin/cat" not in layers(first)[0]
    assert any(name.endswith("/cat") for name in layers(second)[0])
    own_sh.with_name("cat").unlink()
    assert demo.demo_image() == first


def test_a_changed_recipe_makes_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo.demo_image()
    other = tmp_path / "demo-image.toml"
    other.write_text(asset("demo-image.toml").read_text().replace("Hello world", "Good day"))
    monkeypatch.setattr(demo, "asset", lambda name: other)
    second = demo.demo_image()
    assert second != first
    assert read(second, 4, "tmp/newfile") == b"Good day\n"


@pytest.mark.parametrize("harm", ["remove", "cut", "stamp"])
def test_a_damaged_image_is_made_again_in_its_place(harm: str, cache: Path) -> None:
    layout = demo.demo_image()
    before = contents(layout)
    blob = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    if harm == "remove":
        blob.unlink()
    elif harm == "cut":
        blob.write_bytes(blob.read_bytes()[:-1])
    else:
        (layout.parent / "stamp.json").write_text("[]")
    assert demo.demo_image() == layout
    assert contents(layout) == before
    assert [path.name for path in cache.iterdir()] == [layout.parent.name]


def test_several_processes_may_make_it_at_once(cache: Path) -> None:
    code = "from layerview.sources.demo import demo_image; print(demo_image())"
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    places = {process.communicate(timeout=120)[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert len(places) == 1
    assert len(list(cache.iterdir())) == 1
    assert Path(places.pop().strip()) == demo.demo_image()


def test_what_crashed_builds_left_is_swept_once_it_is_old(cache: Path) -> None:
    for name, age in ((".part-1-dead", 1), (".part-2-live", 10**10), ("old", 1)):
        (cache / name / "ubuntu-demo").mkdir(parents=True)
        os.utime(cache / name, (age, age))
    final = demo.demo_image().parent.name
    assert {path.name for path in cache.iterdir()} == {".part-2-live", final}


def check_data_only(layout: Path) -> None:
    base = layers(layout)[0]
    assert "etc/passwd" in base
    assert base["bin"].linkname.startswith("usr/")
    assert not [name for name in base if name.startswith(("usr/bin/", "usr/lib/x86_64"))]
    check_stack(layout)
    check_changes(layout)


def test_without_programs_it_holds_data_files_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "PROGRAM_FOLDERS", ())
    check_data_only(demo.demo_image())


@pytest.mark.parametrize(
    "shell",
    [
        b"#!/usr/bin/python3\n",
        b"\x7fELF",
        b"\x7fELF\x02\x01\x01" + b"\xff" * 57,
        # A file of another kind of machine: e_machine 0x1234, no program headers.
        b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x34\x12" + bytes(44),
    ],
)
def test_a_shell_that_cannot_be_taken_leaves_data_files_only(own_sh: Path, shell: bytes) -> None:
    own_sh.write_bytes(shell)
    check_data_only(demo.demo_image())


@needs_programs
def test_a_program_whose_library_is_missing_is_left_out(own_sh: Path) -> None:
    broken = own_sh.read_bytes().replace(b"libc.so.6", b"libq.so.6")
    if broken == own_sh.read_bytes():
        pytest.skip("this sh does not need libc.so.6")
    program = own_sh.with_name("cat")
    program.write_bytes(broken)
    program.chmod(0o755)
    assert tools.gather(["cat"]).programs == ["sh"]


def test_one_program_of_many_names_is_stored_once(own_sh: Path) -> None:
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        pytest.skip("no busybox on this machine")
    program = own_sh.with_name("busybox")
    shutil.copy(busybox, program)
    for name in ("sh", "cat"):
        own_sh.with_name(name).unlink(missing_ok=True)
        own_sh.with_name(name).symlink_to(program)
    box = tools.gather(["cat"])
    assert box.programs == ["sh", "cat"]
    assert [at for at, source in box.files.items() if source == str(program)] == [str(program)[1:]]
    assert set(box.links.values()) >= {"busybox"}


def test_folders_that_are_not_merged_into_usr_here_are_in_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os.path, "islink", lambda path: False)
    monkeypatch.setattr(os.path, "isdir", lambda path: path != "/lib64")
    folders = tools.Toolbox().folders
    assert folders == {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib"}


@needs_programs
def test_what_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = tools.gather([])
    monkeypatch.setattr(tools, "MAX_TOTAL", alone.size)
    assert tools.gather(["bash", "ls"]).size == alone.size
    monkeypatch.setattr(tools, "MAX_FILE", 1000)
    assert tools.gather(["bash", "ls"]).programs == []


@needs_programs
def test_broken_elf_files_raise_one_kind_of_error(tmp_path: Path) -> None:
    whole = Path(os.path.realpath("/bin/sh")).read_bytes()
    victim = tmp_path / "elf"
    for cut in (4, 16, 20, 33, 55, 57, 63, 64, 100, 500, 1000, 5000):
        victim.write_bytes(whole[:cut])
        harmless(victim)
    for place in range(64 + 56 * 13):
        victim.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        harmless(victim)


def harmless(path: Path) -> None:
    with contextlib.suppress(FormatError, OSError):
        read_elf(str(path))


def test_it_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(LayerviewError, match=r"cannot make the demo image in .*XDG_CACHE_HOME"):
        demo.demo_image()


def test_cancelling_leaves_nothing_behind(cache: Path) -> None:
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        demo.demo_image(progress)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("text", ["", "version = ", "programs = 1\nstep = [1]\nimage = []"])
def test_a_broken_recipe_says_so(text: str) -> None:
    with pytest.raises(FormatError, match="recipe of the demo image"):
        parse_recipe(text)


def test_a_recipe_that_changes_what_is_not_there_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "demo-image.toml"
    text = asset("demo-image.toml").read_text()
    other.write_text(text.replace('path = "var/lib/dpkg/status"\ntouch', 'path = "none"\ntouch'))
    monkeypatch.setattr(demo, "asset", lambda name: other)
    with pytest.raises(FormatError, match="changes none, which is no file"):
        demo.demo_image()


def test_only_owner_may_write_what_is_kept(cache: Path) -> None:
    demo.demo_image()
    for path in cache.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o002
