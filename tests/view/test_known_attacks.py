"""Known attacks on programs that unpack or read images, each by its name with an image of its own.

The list is that of CVEs and advisories of Docker, containerd, Podman, Buildah, umoci, go-archive,
GNU tar and Python's tarfile. Where one can't apply to layerview, its test shows why.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerview.cli.main import main
from layerview.errors import DamageError, FormatError, LayerviewError, NotFoundError
from layerview.layer import beneath
from layerview.layer.contents import PIECE
from layerview.progress import QUIET, Progress
from layerview.sources.loading import ImageContents, load_layers
from layerview.sources.resolve import open_image
from layerview.view.extract import extract
from layerview.view.resolve import resolve
from tests.support import archives, tars
from tests.support.trees import remove, snapshot
from tests.view.extracting import SECRET, Opened, Yard, opened

EVIL = b"evil\n"


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard(tmp_path)
    yield made
    remove(made.yard)


def assert_apart(yard: Yard) -> None:
    """No file in the target is one of the host's: none was linked to."""
    yard.check()
    host = {found.inode for found in snapshot(yard.outside).values()}
    assert not host & {found.inode for found in yard.found().values()}


# ---- links and names in the image ---------------------------------------------------------------


def test_cve_2014_6407_links_while_unpacking(yard: Yard) -> None:
    """Docker before 1.3.2 wrote through symbolic and hard links of the image."""
    outside = os.fsencode(yard.outside)
    yard.extract(
        tars.layer(
            tars.symlink("s", outside),
            tars.file("s/evil", EVIL),
            tars.file("s/secret", EVIL),
            tars.hardlink("h", b"../../.." + outside + b"/secret"),
            tars.file("h", EVIL),
            tars.hardlink("h2", outside + b"/secret"),
            tars.hardlink("h3", "../outside/secret"),
        )
    )
    assert_apart(yard)


def test_cve_2014_9356_absolute_link_in_a_lower_layer(yard: Yard) -> None:
    """Docker before 1.3.3 followed an absolute link of an earlier layer."""
    outside = os.fsencode(yard.outside)
    base = tars.layer(tars.symlink("d", outside), tars.symlink("e/link", outside + b"/secret"))
    top = tars.layer(
        tars.file("d/evil", EVIL), tars.file("d/secret", EVIL), tars.file("e/link/x", EVIL)
    )
    yard.extract(base, top)
    assert_apart(yard)
    assert yard.found()[b"d"].kind == stat.S_IFDIR
    assert yard.found()[b"d/evil"].content == EVIL


def test_cve_2016_6321_dots_in_the_middle_of_a_name(yard: Yard) -> None:
    """GNU tar before 1.30 cut a name after `..`, and so wrote a file that was not asked for."""
    layer = tars.layer(
        tars.file("etc/motd", b"hello"),
        tars.file("etc/motd/../etc/shadow", EVIL),
        tars.file("etc/../../../outside/secret", EVIL),
    )
    yard.extract(layer, path=b"etc/motd")
    assert_apart(yard)
    assert yard.target.is_file()
    assert yard.target.read_bytes() == b"hello"


def test_cve_2021_29136_the_root_is_a_link(yard: Yard) -> None:
    """umoci before 0.4.7 took an entry `.` that is a link, and unpacked behind it."""
    outside = os.fsencode(yard.outside)
    links = [
        tars.symlink(".", outside),
        tars.symlink("/", outside),
        tars.symlink("a/..", outside),
        tars.hardlink(".", "a"),
    ]
    for link in links:
        yard.extract(tars.layer(link, tars.file("a", EVIL), tars.file("evil", EVIL)))
        assert not yard.target.is_symlink()
        assert sorted(yard.found()) in ([b"", b"a", b"evil"], [b"", b"evil"])
        assert_apart(yard)
        remove(yard.target)


def test_cve_2021_32760_modes_through_links(yard: Yard) -> None:
    """containerd before 1.4.8 (GHSA-c72p-9xmj-rx3w) changed modes of the host's files."""
    outside = os.fsencode(yard.outside)
    layer = tars.layer(
        tars.symlink("s", outside + b"/secret", mode=0o4777, uid=1, gid=1),
        tars.hardlink("h", "s", mode=0o4777, uid=1),
        tars.symlink("d", outside + b"/folder", mode=0o777),
        tars.symlink("x", b"../outside/secret", mode=0o7777, xattrs={"user.evil": b"1"}),
    )
    yard.extract(layer)
    assert_apart(yard)


def test_cve_2021_41089_a_link_that_becomes_a_folder(yard: Yard) -> None:
    """Docker before 20.10.9 changed the mode of what a link led to, while copying files."""
    outside = os.fsencode(yard.outside)
    base = tars.layer(tars.symlink("d", outside + b"/folder"), tars.symlink("f", outside))
    top = tars.layer(
        tars.folder("d", mode=0o777, uid=7), tars.file("d/file", EVIL), tars.folder("f", mode=0)
    )
    yard.extract(base, top)
    assert_apart(yard)
    assert yard.found()[b"d"].mode == 0o777
    # The same onto links that stand in the target already.
    remove(yard.target)
    yard.target.mkdir()
    (yard.target / "rootfs").mkdir()
    (yard.target / "rootfs" / "d").symlink_to(yard.outside / "folder")
    (yard.target / "rootfs" / "f").symlink_to(yard.outside)
    yard.extract(base, top, force=True)
    assert_apart(yard)


def test_cve_2021_41091_nobody_looks_in_before_modes_are_given(yard: Yard) -> None:
    """Docker before 20.10.9 let all users into folders with setuid programs."""
    layer = tars.layer(
        tars.folder("", mode=0o700), tars.folder("bin", mode=0o755), tars.file("bin/su", EVIL)
    )
    seen = []

    class Looking(Progress):
        def step(self, what: str, done: int, total: int | None) -> None:
            if what == "extracting":
                seen.extend(
                    stat.S_IMODE(os.lstat(yard.target / name).st_mode)
                    for name in (".", "bin", "bin/su")
                )

    yard.extract(layer, progress=Looking())
    assert seen == [0o700, 0o700, 0o600]
    assert yard.found()[b""].mode == 0o700
    assert yard.found()[b"bin"].mode == 0o755


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_cve_2026_17106_links_that_lexical_checks_pass(yard: Yard, compression: str) -> None:
    """go-archive before 0.3.0 (GHSA-hfg8-hc9c-6c3h) compared names, not what they lead to."""
    yard.extract(
        tars.layer(
            tars.folder("a/b/c"),
            tars.symlink("up", "a/b/c/../../../.."),
            tars.symlink("here", "."),
            tars.symlink("here2", "here/here/.."),
            tars.symlink("a/b/c/deep", "../../../../.."),
            tars.file("up/outside/evil", EVIL),
            tars.file("here2/outside/secret", EVIL),
            tars.file("a/b/c/deep/outside/secret", EVIL),
            tars.hardlink("h", "up/outside/secret"),
            tars.hardlink("i", "a/b/c/deep/outside/secret"),
            tars.folder("here2/outside/folder", mode=0o777),
        ),
        compression=compression,
    )
    assert_apart(yard)


def test_cve_2007_4559_names_that_climb_out(yard: Yard) -> None:
    """Python's tarfile.extractall, and everything that was written like it."""
    outside = os.fsencode(yard.outside)
    done = yard.extract(
        tars.layer(
            tars.file("../outside/evil", EVIL),
            tars.file("../../../../../../../../" + str(yard.outside)[1:] + "/secret", EVIL),
            tars.file(outside + b"/secret", EVIL),
            tars.file("a/../../../outside/folder/file", EVIL),
            tars.folder("../outside/folder", mode=0o777),
            tars.symlink("../outside/link", "evil"),
            tars.file("..", EVIL),
            tars.file(".", EVIL),
        )
    )
    assert_apart(yard)
    assert done.files > 0


def test_tarfile_filter_bypasses_of_2025(yard: Yard) -> None:
    """CVE-2024-12718, CVE-2025-4138, -4330, -4435, -4517: the filter looked elsewhere."""
    # -4517: a chain of links whose real path is longer than PATH_MAX, so that resolving it stops.
    parts: list[tars.Part] = []
    long, path = b"d" * 247, b""
    for step in b"abcdefghijklmnop":
        parts.append(tars.folder(path + long))
        parts.append(tars.symlink(path + bytes([step]), long))
        path += long + b"/"
    chain = b"/".join(bytes([step]) for step in b"abcdefghijklmnop")
    last = chain + b"/" + b"l" * 254
    parts.append(tars.symlink(last, b"../" * 16))
    parts.append(tars.symlink("escape", last + b"/../../outside"))
    parts.append(tars.hardlink("flag", "escape/secret"))
    parts.append(tars.file("flag", EVIL))
    parts.append(tars.file("escape/evil", EVIL))
    # -4330 and -4138: a link that is good where it is made and not where it is used.
    parts += [
        tars.symlink("x/y/good", "../.."),
        tars.hardlink("moved", "x/y/good"),
        tars.file("moved/outside/evil", EVIL),
        tars.symlink("dots", "x/.."),
        tars.symlink("empty", ""),
    ]
    # -12718: mode and time of the host's files by way of the root itself.
    parts += [
        tars.folder("x/../../outside/folder", mode=0o777, mtime=1),
        tars.folder("..", mtime=1),
    ]
    yard.extract(tars.layer(*parts))
    assert_apart(yard)


# ---- races --------------------------------------------------------------------------------------


class Meddling:
    """Contents that let somebody meddle with the disk before each file's data."""

    def __init__(self, contents: ImageContents, meddle: Callable[[int], None]) -> None:
        self._contents = contents
        self._meddle = meddle
        self.stored = contents.stored
        self.pieces = contents.pieces
        self.digests = contents.digests

    def each(
        self, layer: int, rows: Iterable[int], progress: Progress = QUIET
    ) -> Iterator[tuple[int, Iterator[tuple[int, bytes]]]]:
        for number, (row, data) in enumerate(self._contents.each(layer, rows, progress)):
            self._meddle(number)
            yield row, data


def test_cve_2018_15664_a_folder_swapped_for_a_link_step_by_step(yard: Yard) -> None:
    """docker cp resolved a path first and used it later."""
    names = [f"d{number:03}/f" for number in range(200)]

    def swap(number: int) -> None:
        # Far enough ahead that its descriptor is not held any more.
        folder = yard.target / f"d{number:03}"
        folder.rename(yard.target / f"moved{number:03}")
        folder.symlink_to(yard.outside / "folder")

    with opened(yard.place, tars.layer(*(tars.file(name, EVIL) for name in names))) as image:
        contents = Meddling(image.contents, swap)
        with pytest.raises(LayerviewError, match=r"d000/f: (too many|not a dir)"):
            extract(image.view, contents, b"", str(yard.target))
    assert_apart(yard)


def test_cve_2018_15664_a_folder_swapped_for_a_link_by_a_thread(yard: Yard) -> None:
    """The same as a race, as often as a second allows."""
    names = [f"{folder}/{number}" for number in range(30) for folder in ("a", "b", "c")]
    stop = threading.Event()
    swapped = 0

    def swap() -> None:
        nonlocal swapped
        folder, away = yard.target / "b", yard.target / "away"
        while not stop.is_set():
            try:
                folder.rename(away)
                folder.symlink_to(yard.outside / "folder")
                swapped += 1
                folder.unlink()
                away.rename(folder)
            except OSError:
                continue

    thread = threading.Thread(target=swap)
    with opened(yard.place, tars.layer(*(tars.file(name, EVIL) for name in names))) as image:
        thread.start()
        try:
            for _ in range(40):
                with contextlib.suppress(LayerviewError):
                    extract(image.view, image.contents, b"", str(yard.target))
                assert snapshot(yard.outside) == yard._before
                while yard.target.exists():
                    shutil.rmtree(yard.target, ignore_errors=True)
        finally:
            stop.set()
            thread.join()
    assert swapped
    yard.check()


def test_cve_2018_15664_a_file_replaced_before_its_attributes(yard: Yard) -> None:
    """Owner, mode and further names are given to the file that was written, not to its name."""
    layer = tars.layer(tars.file("f", b"x" * (PIECE + 1), mode=0o4777), tars.hardlink("g", "f"))
    replaced = 0

    class Replacing(Progress):
        def step(self, what: str, done: int, total: int | None) -> None:
            nonlocal replaced
            if what == "extracting":
                replaced += 1
                (yard.target / "f").unlink()
                (yard.target / "f").symlink_to(yard.outside / "secret")

    yard.extract(layer, progress=Replacing())
    assert replaced >= 2
    assert os.readlink(yard.target / "f") == str(yard.outside / "secret")
    assert yard.found()[b"g"].kind == stat.S_IFREG
    assert_apart(yard)


# ---- reading what somebody else may change ------------------------------------------------------


def rootfs(yard: Yard) -> Path:
    """A root file system as a folder beside the yard's outside."""
    source = yard.place / "yard" / "target"
    (source / "etc").mkdir(parents=True)
    (source / "etc" / "passwd").write_bytes(b"the image's own")
    return source


def test_cve_2015_3627_a_folder_of_the_image_becomes_a_link(yard: Yard) -> None:
    """libcontainer before 1.6.1 followed a link of the image on the way to a file."""
    source = rootfs(yard)
    (yard.outside / "passwd").write_bytes(SECRET)
    yard._before = snapshot(yard.outside)
    with open_image(str(source)) as image:
        found = Opened(image)
        index = found.view.layers[0]
        assert index is not None
        row = index.find(b"etc/passwd")
        assert row is not None
        assert found.contents.read(0, row) == b"the image's own"
        remove(source / "etc")
        (source / "etc").symlink_to(yard.outside)
        with pytest.raises(DamageError, match=r"/etc/passwd: (too many|not a dir)"):
            found.contents.read(0, row)
        with pytest.raises(DamageError):
            found.contents.digests(0, [row])
    yard.check()


@pytest.mark.parametrize("there", ["symlink", "fifo", "folder", "nothing", "shorter"])
def test_cve_2023_0778_a_file_replaced_between_looking_and_reading(yard: Yard, there: str) -> None:
    """podman volume export checked a name and opened it later."""
    source = rootfs(yard)
    with open_image(str(source)) as image:
        found = Opened(image)
        (source / "etc" / "passwd").unlink()
        if there == "symlink":
            (source / "etc" / "passwd").symlink_to(yard.outside / "secret")
        elif there == "fifo":
            os.mkfifo(source / "etc" / "passwd")
        elif there == "folder":
            (source / "etc" / "passwd").mkdir()
        elif there == "shorter":
            (source / "etc" / "passwd").write_bytes(b"")
        copy = yard.place / "image.tar"
        copy.mkdir()
        done = extract(found.view, found.contents, b"etc", str(copy))
        assert len(done.damage) == 1
        assert sorted(snapshot(copy)) == [b"", b"etc"]
    yard.check()


def test_cve_2024_9676_a_link_to_a_device_of_the_host(yard: Yard) -> None:
    """containers/storage read /etc/passwd of the image, a link to /dev/zero, until memory ended."""
    layer = tars.layer(
        tars.symlink("etc/passwd", "/dev/zero"), tars.symlink("etc/group", "../../../dev/zero")
    )
    with opened(yard.place, layer) as image:
        for path in (b"etc/passwd", b"etc/group"):
            found = resolve(image.view, path)
            assert not found.exists
            assert found.resolved == b"dev/zero"
    assert main(["cat", str(yard.place / "image.tar"), "/etc/passwd"]) == 1
    yard.extract(layer)
    assert os.readlink(yard.target / "etc" / "passwd") == "/dev/zero"


def test_cve_2024_9341_a_link_is_followed_inside_the_image_only(
    yard: Yard, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """containers/common bound a folder of the host where a link of the image led to."""
    outside = os.fsencode(yard.outside)
    layer = tars.layer(
        tars.symlink("etc/crypto-policies/back-ends", outside),
        tars.symlink("secret", outside + b"/secret"),
        tars.symlink("up", "../../../../.." + str(yard.outside)),
    )
    archive = str(yard.place / "image.tar")
    with opened(yard.place, layer):
        pass
    for path in ("/etc/crypto-policies/back-ends/secret", "/secret", "/up/secret"):
        assert main(["cat", archive, path]) == 1
        assert main(["extract", archive, path, str(yard.target), "--follow"]) == 1
        assert SECRET not in capsysbinary.readouterr().out
    yard.check()
    assert not yard.target.exists()


# ---- names in the documents ---------------------------------------------------------------------


def test_cve_2014_9358_names_in_the_manifest_stay_in_the_archive(yard: Yard) -> None:
    """docker load before 1.3.3 took image IDs and paths as they were written."""
    outside = str(yard.outside)
    layer = tars.layer(tars.file("a", EVIL))
    spec = archives.image(layer)
    for evil in (f"{outside}/secret", f"../../../../../../..{outside}/secret", "../outside/secret"):
        members = archives.docker_members(spec)
        config = next(name for name in members if name.endswith(".json") and "/" not in name)
        for name in (config, evil):
            members["manifest.json"] = archives.dump(
                [{"Config": name, "RepoTags": ["../../x:y"], "Layers": [evil]}]
            )
            archive = archives.write_tar(yard.place / "image.tar", members)
            with open_image(str(archive)) as image:
                assert [layer.available for layer in image.layers] == [False]
                assert load_layers(image, cache=False)[0].index is None
    yard.check()


def test_cve_2024_3727_digests_that_are_paths(yard: Yard) -> None:
    """containers/image built paths from digests that it had not checked."""
    (yard.outside / "blob").write_bytes(archives.dump({"schemaVersion": 2, "manifests": []}))
    yard._before = snapshot(yard.outside)
    evil = [
        "sha256:../../../outside/secret",
        "sha256:../../../outside/blob",
        f"sha256:{yard.outside}/blob",
        "../../outside:blob",
        "sha256:" + "0" * 62 + "/.",
        "sha256:" + "0" * 64 + "\n",
        "sha256:" + "A" * 64,
        "sha512:" + "0" * 64,
        "..:" + "0" * 64,
        "sha256/../..:" + "0" * 64,
    ]
    spec = archives.image(tars.layer(tars.file("a")))
    for number, digest in enumerate(evil):
        members = archives.oci_members(spec)
        members["index.json"] = archives.dump(
            {
                "schemaVersion": 2,
                "manifests": [{"mediaType": archives.OCI_MANIFEST, "digest": digest, "size": 10}],
            }
        )
        folder = yard.target / str(number)
        archives.write_folder(folder, members)
        with pytest.raises(FormatError):
            open_image(f"oci:{folder}")
        archive = archives.write_tar(yard.place / "image.tar", members)
        with pytest.raises(FormatError):
            open_image(f"oci-archive:{archive}")
    yard.check()


def test_cve_2024_9675_names_never_become_paths_of_the_cache(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buildah mounted a cache folder by an ID that could climb out of its place."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(yard.target))
    monkeypatch.delenv("LAYERVIEW_NO_CACHE", raising=False)
    layer = archives.Layer(tar=tars.layer(tars.file("a")), compression="gzip")
    evil = archives.image(
        layer, tags=["../../outside:x"], extra={"id": "../../outside", "parent": "../.."}
    )
    archive = archives.docker_archive(yard.place / "image.tar", evil)
    for _ in range(2):
        with open_image(str(archive)) as image:
            load_layers(image)
    names = [path.name for path in yard.target.rglob("*") if path.is_file()]
    assert names
    assert all(re.fullmatch(r"(file|diffid)-[0-9a-f]{64}", name) for name in names)
    bad = archives.image(archives.Layer(tar=layer.tar, diff_id="sha256:../../outside/secret"))
    archives.docker_archive(yard.place / "image.tar", bad)
    with open_image(str(archive)) as image:
        assert image.damage
        load_layers(image)
    yard.check()


# ---- programs and libraries of the image --------------------------------------------------------

WATCHED = """
import os, sys
forbidden = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "os.forkpty",
             "pty.spawn", "ctypes.dlopen")
def hook(event, arguments):
    # ctypes.dlopen(None) is the program itself.
    if event in forbidden and not (event == "ctypes.dlopen" and arguments[0] is None):
        sys.stderr.write(f"FORBIDDEN {event} {arguments}\\n")
        os._exit(99)
for name in ("chroot", "unshare", "setns", "mount"):
    if hasattr(os, name):
        setattr(os, name, lambda *_: os._exit(98))
import ctypes, hashlib
sys.addaudithook(hook)
from layerview.cli.main import main
if sys.argv[1:] == ["spawn"]:
    os.system("true")
status = max(main([*words.split("|")]) for words in sys.argv[1:])
with open("/proc/self/maps") as maps:
    loaded = [line for line in maps if os.getcwd() in line]
sys.exit(97 if loaded else status)
"""


def watched(yard: Yard, *commands: str, status: int = 0) -> None:
    """Run commands where starting or loading anything ends the process; PATH is the image's."""
    programs = str(yard.target / "rootfs" / "bin")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *commands],
        cwd=yard.target,
        env={
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(part for part in sys.path if part),
            "LAYERVIEW_NO_CACHE": "1",
        },
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == status, done.stderr
    assert status or not done.stderr
    assert not (yard.yard / "ran").exists()
    yard.check()


def test_the_watch_sees_a_program_start(yard: Yard) -> None:
    yard.target.mkdir()
    watched(yard, "spawn", status=99)


def program(yard: Yard) -> bytes:
    """A program that leaves a trace when it runs."""
    return f"#!/bin/sh\ntouch {yard.yard}/ran\n".encode()


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
def test_cve_2014_9357_and_2026_41567_decompressors_of_the_image(
    yard: Yard, compression: str
) -> None:
    """Docker ran `xz` from PATH on hostile bytes, as root; later from the container's PATH."""
    names = (
        "xz",
        "unxz",
        "gzip",
        "gunzip",
        "unpigz",
        "pigz",
        "bzip2",
        "bunzip2",
        "zstd",
        "unzstd",
        "tar",
        "nsenter",
        "python3",
    )
    layer = tars.layer(*(tars.file(f"bin/{name}", program(yard), mode=0o755) for name in names))
    archive = yard.place / "image.tar"
    archives.docker_archive(archive, archives.image(layer, compression=compression), outer="xz")
    yard.target.mkdir()
    watched(yard, f"extract|{archive}|/")
    # Now the image's programs lie in PATH.
    watched(yard, f"extract|{archive}|/bin|again", f"files|{archive}", f"waste|{archive}")


def test_cve_2019_14271_libraries_of_the_image(yard: Yard) -> None:
    """docker cp loaded libnss of the container after its chroot."""
    names = (
        "lib/x86_64-linux-gnu/libnss_files.so.2",
        "etc/nsswitch.conf",
        "etc/ld.so.preload",
        "sitecustomize.py",
        "usercustomize.py",
        "encodings/__init__.py",
        "lzma.py",
        "zlib.py",
    )
    evil = f"import os; os.mknod({str(yard.yard / 'ran')!r})\n".encode()
    layer = tars.layer(
        *(tars.file(name, evil, uname="root", gname="daemon", mode=0o755) for name in names)
    )
    archive = yard.place / "image.tar"
    archives.docker_archive(archive, archives.image(layer, compression="xz"))
    yard.target.mkdir()
    watched(yard, f"extract|{archive}|/|rootfs", f"files|{archive}|/lib|--json")


def test_cve_2022_1227_programs_of_the_image_are_never_run(yard: Yard) -> None:
    """podman top ran `nsenter` of the container."""
    layer = tars.layer(
        *(
            tars.file(f"{place}/{name}", program(yard), mode=0o4755)
            for place in ("bin", "usr/bin")
            for name in ("nsenter", "sh", "ps", "newuidmap")
        ),
    )
    config = {"Entrypoint": ["/bin/sh"], "Cmd": ["-c", "/bin/ps"], "Healthcheck": {"Test": ["CMD"]}}
    archive = yard.place / "image.tar"
    archives.docker_archive(
        archive, archives.image(layer, config=config, history=["RUN /bin/sh -c /bin/ps"])
    )
    yard.target.mkdir()
    commands = ("layers", "history", "inspect", "files", "waste")
    watched(
        yard,
        f"extract|{archive}|/",
        *(f"{command}|{archive}" for command in commands),
        f"which|{archive}|/bin/ps",
        f"cat|{archive}|/bin/ps",
    )


def test_cve_2024_9407_history_is_text_and_nothing_is_mounted(yard: Yard) -> None:
    """Buildah passed mount options of a Dockerfile to mount."""
    words = [
        "RUN --mount=type=bind,bind-propagation=shared,source=/,target=/mnt touch /mnt/evil",
        "RUN --mount=type=cache,id=../../..,target=/x |\x1b]0;title\x07",
    ]
    layer = tars.layer(tars.file("a"))
    archive = yard.place / "image.tar"
    archives.docker_archive(archive, archives.image(layer, layer, history=words))
    yard.target.mkdir()
    before = Path("/proc/self/mountinfo").read_text()
    watched(yard, f"history|{archive}", f"layers|{archive}", f"extract|{archive}|/a")
    assert Path("/proc/self/mountinfo").read_text() == before
    with open_image(str(archive)) as image:
        assert [layer.history and layer.history.created_by for layer in image.layers] == words


# ---- time ---------------------------------------------------------------------------------------


def test_ghsa_rp3h_work_grows_with_the_entries_alone(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unpackers walked all folders again for each entry, so that time grew as a square."""
    opened_folders = 0
    real = beneath.open_beneath

    def counting(*arguments: Any) -> int:
        nonlocal opened_folders
        opened_folders += 1
        return real(*arguments)

    monkeypatch.setattr(beneath, "open_beneath", counting)
    deep = b"/".join([b"d"] * 200)

    def cost(count: int) -> int:
        nonlocal opened_folders
        opened_folders = 0
        parts: list[tars.Part] = []
        for number in range(count):
            parts.append(tars.folder(deep, mtime=number))
            parts.append(tars.file(deep + b"/%d" % number))
            parts.append(tars.file(b"other/%d" % number))
            parts.append(tars.opaque(deep))
            parts.append(tars.whiteout(deep + b"/x%d" % number))
        yard.extract(tars.layer(*parts))
        remove(yard.target)
        return opened_folders

    small, large = cost(50), cost(400)
    assert large <= small + 50


def test_links_in_a_circle_and_long_chains_end(yard: Yard) -> None:
    parts: list[tars.Part] = [tars.symlink("a", "b"), tars.symlink("b", "a")]
    parts += [tars.symlink(f"l{number}", f"l{number + 1}") for number in range(1000)]
    parts += [tars.hardlink(f"h{number + 1}", f"h{number}") for number in range(1000)]
    parts += [tars.file("a/x", EVIL), tars.file("l0/y", EVIL)]
    yard.extract(tars.layer(*parts))
    assert_apart(yard)
    with opened(yard.place, tars.layer(*parts[:1002])) as image:
        assert resolve(image.view, b"a").loop
        assert resolve(image.view, b"l0/x").loop
        with pytest.raises(NotFoundError):
            extract(image.view, image.contents, b"a/x", str(yard.target))
