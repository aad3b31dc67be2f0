"""A data root that a real engine fills: what layerview reads there is what the engine says."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerview.layer.build import build_index
from layerview.layer.folder import read_changes, read_folder
from layerview.layer.index import NO_DIR, LayerIndex
from layerview.layer.kinds import Kind
from layerview.layer.tar import RawEntries, scan
from layerview.layer.tar_split import read_headers
from layerview.layer.windows import StreamWindow
from layerview.sources.loading import ImageContents, load_layers
from layerview.sources.resolve import open_image
from layerview.store.data_root import DataRoot, LayerRecord
from layerview.store.rebuilding import rebuilt
from layerview.view.union import UnionView
from tests.drivers.people import as_user, readable_site, user
from tests.support.commands import Command
from tests.support.dockerd import Dockerd

LAB = os.environ.get("LAYERVIEW_LAB_IMAGES", "")
NAMES = ["busybox", "whiteouts", "opaque", "hardlinks", "kinds", "meta", "deep", "empty"]

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(not LAB, reason="LAYERVIEW_LAB_IMAGES names no folder of lab images"),
]

CHANGES = (
    "echo new >/srv/new; ln /srv/new /srv/new2; rm /bin/vi; mkdir -p /etc/x; chmod 700 /root;"
    " rm -rf /srv/a; mkdir /srv/a; echo 1 >/srv/a/one; mkfifo /srv/p; ln -s one /srv/a/l;"
    " chown 7:8 /srv/new"
)
BUILD = """\
FROM lab/whiteouts
LABEL a=b c=d
RUN echo built >/built
RUN rm -r /srv/a && mkdir /srv/a
"""


@pytest.fixture(scope="module", params=["overlay2", "vfs"])
def engine(request: pytest.FixtureRequest) -> Iterator[Dockerd]:
    with Dockerd(request.param) as started:
        for name in NAMES:
            started.docker("load", "-q", "-i", f"{LAB}/docker/{name}.tar")
        run = ("--network", "none")
        started.docker("run", *run, "--name", "done", "lab/whiteouts", "sh", "-c", CHANGES)
        started.docker("build", "-q", "-t", "built:1", "-", stdin=BUILD.encode())
        started.docker("tag", "built:1", "other.example:5000/x/built:2")
        started.docker("tag", "lab/deep", "built:deep")
        started.docker("rmi", "lab/deep")
        started.docker("commit", "done")  # without a name
        started.docker("volume", "create", "vol")
        more = ("--name", "up", "-v", "vol:/v")
        script = "echo 12345 >/v/f; echo one >/one; touch /ready; sleep 1000"
        started.docker("run", *run, "-d", *more, "lab/busybox", "sh", "-c", script)
        end = time.monotonic() + 60
        while "ready" not in started.docker("diff", "up").decode():
            assert time.monotonic() < end
            time.sleep(0.1)
        yield started


def place(engine: Dockerd, name: str) -> str:
    return f"data-root:{engine.data}:{name}"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


# Records -------------------------------------------------------------------------------------


def test_images_are_those_that_the_engine_lists(engine: Dockerd, run: Command) -> None:
    found = {
        one["image_id"]: (
            sorted(one["references"]),
            one["size"],
            one["shared_size"],
            one["containers"],
        )
        for one in run.json("images", "--root", engine.data)
    }
    said = engine.api("/system/df")
    assert found == {
        one["Id"]: (
            sorted(tag for tag in one["RepoTags"] or [] if tag != "<none>:<none>"),
            one["Size"],
            one["SharedSize"],
            one["Containers"],
        )
        for one in said["Images"]
    }
    assert any(not references for references, *_ in found.values())


@pytest.mark.parametrize(
    "flags", [[], ["-a"], ["-a", "-f", "dangling=true"], ["-a", "-f", "dangling=false"]]
)
def test_the_engine_lists_the_same_ids(engine: Dockerd, run: Command, flags: list[str]) -> None:
    ours = run("images", "-q", "--no-trunc", *flags, "--root", engine.data)
    theirs = engine.docker("images", "-q", "--no-trunc", *flags).decode()
    assert sorted(set(ours.out.split())) == sorted(set(theirs.split()))


@pytest.mark.parametrize(
    "wanted",
    [
        "reference=lab/*",
        "reference=*/*:latest",
        "reference=built",
        "reference=built:?",
        "reference=b*:[0-9]",
        "dangling=true",
        "dangling=false",
        "label=a",
        "label=a=b",
        "label=a=x",
        "before=lab/kinds",
        "since=lab/kinds",
    ],
)
def test_filters_choose_what_the_engine_chooses(engine: Dockerd, run: Command, wanted: str) -> None:
    form = "{{.Repository}}:{{.Tag}}"
    theirs = engine.docker("images", "--filter", wanted, "--format", form).decode().split()
    answer = run("images", "--filter", wanted, "--root", engine.data)
    rows = [line.split()[:2] for line in answer.out.splitlines()[1:]]
    assert sorted(f"{repository}:{tag}" for repository, tag in rows) == sorted(theirs)


@pytest.mark.parametrize("name", ["lab/whiteouts", "built:1", "lab/empty", "built:deep"])
def test_history_is_the_engines(engine: Dockerd, run: Command, name: str) -> None:
    said = engine.api(f"/images/{name}/history")
    assert [
        (
            one["image_id"] or "<missing>",
            one["created_by"] or "",
            one["size"],
            one["comment"] or "",
        )
        for one in run.json("history", place(engine, name))
    ] == [(one["Id"], one["CreatedBy"], one["Size"], one["Comment"]) for one in said]
    lines = engine.docker("history", "--no-trunc", "-q", name).decode().split()
    ours = run("history", "--no-trunc", "-q", place(engine, name))
    assert ours.out.split() == lines
    if name == "built:1":
        assert sum(one["Id"] != "<missing>" for one in said) == 4


@pytest.mark.parametrize("by", ["name", "id", "short", "hex"])
def test_inspect_says_what_the_engine_says(engine: Dockerd, run: Command, by: str) -> None:
    said = engine.inspect("built:1")
    image_id = said["Id"]
    names = {"name": "built:1", "id": image_id, "short": image_id[7:15], "hex": image_id[7:]}
    found = run.json("inspect", place(engine, names[by]))
    assert found["image_id"] == image_id
    assert sorted(found["references"]) == sorted(said["RepoTags"])
    assert [layer["diff_id"] for layer in found["layers"]] == said["RootFS"]["Layers"]
    assert found["config"]["config"]["Labels"] == said["Config"]["Labels"]
    directories = [layer["directory"] for layer in found["layers"]]
    if said["GraphDriver"]["Name"] == "overlay2":
        data = said["GraphDriver"]["Data"]
        stack = [data["UpperDir"], *data["LowerDir"].split(":")]
        assert directories == stack[::-1]
    for layer in found["layers"]:
        assert layer["cache_id"] in layer["directory"]
        assert layer["cache_id"] not in (layer["diff_id"][7:], layer["chain_id"][7:])


def test_df_adds_up_to_what_the_engine_says(engine: Dockerd, run: Command) -> None:
    said = engine.api("/system/df")
    found = run.json("df", "-v", "--root", engine.data)
    images, containers, disks = found["images"], found["containers"], found["volumes"]
    assert images["size"] == said["LayersSize"]
    assert (
        sum(one["unique_size"] for one in images["items"]) + images["shared_size"]
        == (images["size"])
    )
    assert images["active"] == sum(one["Containers"] > 0 for one in said["Images"])
    used = sum(one["Size"] - one["SharedSize"] for one in said["Images"] if one["Containers"])
    assert images["reclaimable"] == said["LayersSize"] - used
    assert {one["id"]: (one["size_rw"], one["size_root"]) for one in containers["items"]} == {
        one["Id"]: (one.get("SizeRw", 0), one["SizeRootFs"]) for one in said["Containers"]
    }
    assert {one["name"]: (one["size"], one["links"]) for one in disks["items"]} == {
        one["Name"]: (one["UsageData"]["Size"], one["UsageData"]["RefCount"])
        for one in said["Volumes"]
    }
    assert (containers["count"], containers["active"]) == (2, 1)


def test_the_tree_has_every_layer_once(engine: Dockerd, run: Command) -> None:
    lines = run("images", "--tree", "--no-trunc", "--root", engine.data).out
    root = DataRoot(str(engine.data))
    layers = root.layers(root.drivers()[0])
    assert all(lines.count(str(layer.chain_id)) == 1 for layer in layers)
    assert lines.count("= ") == len(run.json("images", "--root", engine.data))


# Layers --------------------------------------------------------------------------------------


def rows(index: LayerIndex, *, marks: bool = True) -> dict[bytes, Any]:
    """All that an index says of each path, but where a tar has its bytes.

    What a tar and a folder can't have in common is left out: the attributes of a deletion (a
    character device has none of them), and the root's (few tars have it). Hard links are sets of
    names, for their order is the tar's.
    """
    names: dict[int, set[bytes]] = {}
    for path, row in index.walk_rows():
        names.setdefault(index.inode(row), set()).add(path)
    found: dict[bytes, Any] = {}
    for path, row in index.walk_rows():
        kind = Kind(index.kinds[row])
        if kind is Kind.WHITEOUT:
            found[path] = kind
            continue
        number = index.dir_of_row[row]
        found[path] = (
            kind,
            index.modes[row],
            index.uids[row],
            index.gids[row],
            index.sizes[row],
            index.mtimes[row],
            index.fraction(row),
            index.targets.get(row),
            index.xattrs.get(row),
            index.columns.devices.get(row),
            marks and number != NO_DIR and number in index.opaque,
            sorted(names[index.inode(row)]),
        )
    return found


def archived(name: str) -> list[LayerIndex]:
    """The indexes of an image's layers, from their tars."""
    with open_image(f"{LAB}/docker/{name}.tar") as image:
        loaded = load_layers(image, cache=False)
    return [layer.index for layer in loaded if layer.index is not None]


def rebuilt_index(layer: LayerRecord) -> LayerIndex:
    """The index of a layer's tar as tar-split makes it again; it is the very tar."""
    assert layer.tar_split is not None
    data = b"".join(rebuilt(layer.tar_split, layer.folder))
    assert hashlib.sha256(data).hexdigest() == layer.diff_id.hex
    raw = RawEntries()
    scan(StreamWindow(io.BytesIO(data)), raw)
    return build_index(raw)


@pytest.mark.parametrize("name", NAMES)
def test_a_tar_made_again_is_the_tar_that_was_loaded(engine: Dockerd, name: str) -> None:
    root = DataRoot(str(engine.data))
    record = root.image("built:deep" if name == "deep" else f"lab/{name}")
    layers = [root.layer(record.driver, chain_id) for chain_id in record.chain_ids]
    assert [rows(rebuilt_index(layer)) for layer in layers] == [
        rows(index) for index in archived(name)
    ]


@pytest.mark.parametrize(
    "name", [*(f"lab/{name}" for name in NAMES if name != "deep"), "built:deep", "built:1"]
)
def test_a_layer_walked_is_a_layer_of_its_tar(engine: Dockerd, name: str) -> None:
    root = DataRoot(str(engine.data))
    record = root.image(name)
    below = None
    for chain_id in record.chain_ids:
        layer = root.layer(record.driver, chain_id)
        tar = rebuilt_index(layer)
        assert layer.tar_split is not None
        with open(layer.tar_split, "rb") as file:
            headers = read_headers(file)
        assert rows(headers) == rows(tar)
        assert (headers.opaque, headers.size) == (tar.opaque, tar.size)
        assert list(headers.offsets) == list(tar.offsets)
        if record.driver == "overlay2":
            walked = read_folder(layer.folder, whiteouts=root.whiteouts("overlay2"))
            assert rows(walked) == rows(tar)
            assert (walked.size, walked.entry_count) == (tar.size, tar.entry_count)
            assert walked.warnings == ()
        else:
            # A full tree has all that the tar has, as the tar has it, ...
            full = rows(read_folder(layer.folder), marks=False)
            listed = rows(tar, marks=False)
            for path, found in listed.items():
                if found is Kind.WHITEOUT:
                    assert path not in full, path
                elif found[0] is not Kind.IMPLIED_DIR:
                    assert full[path][:-1] == found[:-1], path
                    assert set(full[path][-1]) >= set(found[-1]), path
            if below is not None:
                # ... and what it changes of the tree below is in the tar or deleted by it; it does
                # not show what was listed unchanged, nor which folder was made anew.
                changed = rows(read_changes(below, layer.folder), marks=False)
                for path, found in changed.items():
                    if found is not Kind.WHITEOUT:
                        assert found == listed[path], path
        below = layer.folder


@pytest.mark.parametrize("name", ["lab/kinds", "built:1"])
def test_the_digests_hold_when_the_tars_are_made_again(
    engine: Dockerd, run: Command, name: str
) -> None:
    found = run.json("layers", place(engine, name), "--verify")
    assert [layer["verified"] for layer in found] == [True] * len(found)


# Containers ----------------------------------------------------------------------------------


def exported(data: bytes) -> dict[str, Any]:
    """What `docker export` says of each path: kind, attributes and content."""
    found: dict[str, Any] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            path = "/" + member.name.strip("/")
            first = tar.getmember(member.linkname) if member.islnk() else member
            content = tar.extractfile(first) if first.isfile() else None
            kind = next(
                kind
                for kind, known in (
                    ("dir", first.isdir()),
                    ("file", first.isfile()),
                    ("symlink", first.issym()),
                    ("fifo", first.isfifo()),
                    ("char", first.ischr()),
                    ("block", first.isblk()),
                )
                if known
            )
            found[path] = (
                kind,
                f"{first.mode & 0o7777:04o}",
                first.uid,
                first.gid,
                first.mtime,
                first.linkname if first.issym() else None,
                hashlib.sha256(content.read()).hexdigest() if content is not None else None,
            )
    found.pop("/", None)
    return found


@pytest.mark.parametrize("name", ["done", "up"])
def test_a_container_shows_what_its_export_has(engine: Dockerd, name: str) -> None:
    with open_image(place(engine, f"container:{name}")) as image:
        assert image.place == "data-root"
        assert [layer.role for layer in image.layers[-2:]] == ["init", "container"]
        loaded = load_layers(image, cache=False)
        view = UnionView([layer.index for layer in loaded])
        contents = ImageContents(loaded)
        found: dict[str, Any] = {}
        for node in view.walk():
            digest = None
            if node.kind == Kind.FILE:
                assert node.index is not None
                assert node.written is not None
                digest = contents.digests(node.written, [node.inode])[node.inode].hex()
            assert node.index is not None
            # An export has whole seconds.
            seconds = node.index.mtimes[node.row]
            found["/" + node.path.decode("utf-8", "surrogateescape")] = (
                node.type,
                f"{node.mode:04o}",
                node.uid,
                node.gid,
                seconds,
                node.target.decode() if node.target is not None else None,
                digest,
            )
    said = exported(engine.docker("export", name))
    assert found.keys() == said.keys()
    assert {path: (found[path], said[path]) for path in said if found[path] != said[path]} == {}


@pytest.mark.parametrize("name", ["done", "up"])
def test_the_containers_layer_is_what_docker_diff_says(
    engine: Dockerd, run: Command, name: str
) -> None:
    kinds = {0: "C", 1: "A", 2: "D"}
    container = engine.inspect(name)["Id"]
    said = {one["Path"]: kinds[one["Kind"]] for one in engine.api(f"/containers/{name}/changes")}
    spoken = place(engine, f"container:{container[:12]}")
    top = len(run.json("layers", spoken)) - 1
    words = {"added": "A", "deleted": "D"}
    found = {
        line["path"]: words.get(line["change"], "C")
        for line in run.lines("files", spoken, "--layer", top)
    }
    if name == "done":
        # An opaque folder says with one mark what Docker takes from the layers below.
        for path in [path for path in said if path not in found]:
            assert said[path] == "D"
            assert path.startswith("/srv/a/")
            del said[path]
    assert found == said


def test_the_search_names_the_files_on_the_disk(engine: Dockerd, run: Command) -> None:
    answer = run("which", place(engine, "container:done"), "/srv/a/keep", "--json")
    assert answer.status == 1
    rungs = [rung for rung in answer.json["ladder"] if rung["state"] == "hidden"]
    paths = [rung["disk_path"] for rung in rungs]
    assert [Path(path).read_text() for path in paths] == ["keep\n"]
    assert all(path.startswith(str(engine.data)) for path in paths)


# What is never done -----------------------------------------------------------------------------


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """All that is below a folder, with what a change of any kind would change."""
    found: dict[str, tuple[object, ...]] = {}
    for at, folders, files in os.walk(root):
        for name in [".", *folders, *files]:
            path = os.path.join(at, name)
            state = os.lstat(path)
            found[path] = (
                *(state.st_ino, state.st_mode, state.st_uid, state.st_gid, state.st_nlink),
                *(state.st_size, state.st_mtime_ns, state.st_ctime_ns),
                sorted(os.listxattr(path, follow_symlinks=False)),
            )
    return found


def test_nothing_is_written_there(engine: Dockerd, run: Command, tmp_path: Path) -> None:
    data, spoken = engine.data, place(engine, "built:1")
    before = listing(data)
    for words in (
        ["images", "--all", "--tree", "--root", data],
        ["images", "--root", data],
        ["df", "-v", "--root", data],
        ["history", spoken],
        ["inspect", spoken, "--verify"],
        ["layers", spoken, "--verify"],
        ["files", spoken, "/srv"],
        ["files", place(engine, "container:done"), "--layer", "5"],
        ["files", place(engine, "container:up"), "/"],
        ["which", place(engine, "lab/opaque"), "/etc/passwd"],
        ["cat", spoken, "/built"],
        ["extract", spoken, "/etc", tmp_path / "etc"],
        ["waste", place(engine, "lab/whiteouts")],
        ["diff", place(engine, "lab/busybox"), spoken],
        ["save", "built:1", "-o", tmp_path / "saved", "--root", data],
        ["load", "-i", f"{LAB}/docker/busybox.tar", "--root", data],
        ["tag", "built:1", "other:1", "--root", data],
        ["rmi", "built:1", "--root", data],
        ["prune", "-f", "--root", data],
        ["doctor", "--repair", "--root", data],
    ):
        answer = run(*words)
        refused = words[0] in ("save", "load", "tag", "rmi", "prune", "doctor")
        assert (answer.status != 0) == refused, (words, answer)
        if refused:
            assert "layerview did not make" in answer.out + answer.errors, (words, answer)
    assert (tmp_path / "etc" / "passwd").exists()
    assert listing(data) == before
    assert sum(stat.S_ISREG(int(str(one[1]))) for one in before.values()) > 100


def test_what_an_ordinary_user_may_not_read_is_said(engine: Dockerd) -> None:
    who, root = user("lvuser"), DataRoot(str(engine.data))
    record = root.image("built:1")
    spoken = ["-m", "layerview"]
    kept = {
        path: stat.S_IMODE(os.lstat(path).st_mode) for path in [engine.data.parent, engine.data]
    }
    with readable_site() as site:
        try:
            engine.data.parent.chmod(0o755)
            # As the engine leaves it: its folder is shut.
            for words in (["images", "--root", engine.data], ["layers", place(engine, "built:1")]):
                done = as_user(who, site, *spoken, *map(str, words))
                assert (done.returncode, done.stdout) == (1, "")
                assert done.stderr.count("\n") == 1
                assert "permission denied" in done.stderr
                assert str(engine.data) in done.stderr
            # As some machines have it: the records may be read, the layers' files may not.
            engine.data.chmod(0o755)
            home = engine.data / record.driver
            changed = [path for path in (engine.data / "image").rglob("*") if path.is_dir()]
            changed += [path for path in (engine.data / "image").rglob("*") if path.is_file()]
            changed.append(engine.data / "image")
            for path in [*changed, home]:
                kept[path] = stat.S_IMODE(path.stat().st_mode)
            for path in changed:
                path.chmod(kept[path] | (0o555 if path.is_dir() else 0o444))
            home.chmod(0o700)
            done = as_user(who, site, *spoken, "images", "--root", str(engine.data))
            assert "built" in done.stdout
            assert "Traceback" not in done.stderr
            done = as_user(who, site, *spoken, "cat", place(engine, "built:1"), "/built")
            assert (done.returncode, done.stdout) == (1, "")
            assert "permission denied" in done.stderr
            assert str(home) in done.stderr
        finally:
            for path, mode in kept.items():
                path.chmod(mode)
