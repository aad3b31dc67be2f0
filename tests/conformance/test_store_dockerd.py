"""A real engine on an area that layerview wrote, and layerview on what that engine then made."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from layerview.cli.main import main
from layerview.oci.digest import Digest
from layerview.store.data_root import DataRoot
from tests.support.commands import Command
from tests.support.dockerd import Dockerd

LAB = os.environ.get("LAYERVIEW_LAB_IMAGES", "")
NAMES = ["busybox", "whiteouts", "opaque", "hardlinks", "kinds", "meta", "deep", "empty"]
OCI_FORMS = {"gzip": "oci-tar/{}.tar", "zstd": "oci-zstd-tar/{}.tar", "folder": "oci/{}"}
BUILD = """\
FROM lab/whiteouts
LABEL a=b
RUN echo built >/built && ln /built /built2
RUN rm -r /srv && mkdir /srv && echo anew >/srv/anew
"""
LOOK = (
    "find / -xdev ! -path '/etc/host*' ! -path '/etc/resolv.conf'"
    " -exec stat -c '%N %a %u %g %F' {} + | sort"
)

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(not LAB, reason="LAYERVIEW_LAB_IMAGES names no folder of lab images"),
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine needs root"),
]


def layerview(root: Path, *words: object) -> None:
    assert main([*map(str, words), "--root", str(root)]) == 0


@dataclass
class Two:
    """The area, the engine that is live on it, and one that loaded the same files itself."""

    root: Path
    driver: str
    here: Dockerd
    other: Dockerd
    saved: dict[str, bytes] = field(default_factory=dict)


@pytest.fixture(scope="module", params=["overlay2", "vfs"])
def area(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("area") / request.param
    for name in NAMES:
        layerview(root, "load", "-i", f"{LAB}/docker/{name}.tar", "--driver", request.param)
    for name in ("kinds", "whiteouts"):
        for form, place in OCI_FORMS.items():
            place = f"{LAB}/{place.format(name)}"
            layerview(root, "load", place, "-t", f"{form}/{name}:1", "--driver", request.param)
    return root


@pytest.fixture(scope="module")
def two(area: Path) -> Iterator[Two]:
    driver = area.name
    with Dockerd(driver, area) as here, Dockerd(driver) as other:
        for name in NAMES:
            other.docker("load", "-q", "-i", f"{LAB}/docker/{name}.tar")
        yield Two(area, driver, here, other)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def lines(engine: Dockerd, *words: str) -> list[str]:
    return sorted(engine.docker(*words).decode().splitlines())


def test_it_lists_what_an_engine_lists_that_loaded_the_files_itself(two: Two) -> None:
    form = "{{.ID}} {{.Repository}}:{{.Tag}} {{.Digest}} {{.CreatedAt}} {{.Size}}"
    words = ("images", "--all", "--no-trunc", "--digests", "--format", form)
    ours = [line for line in lines(two.here, *words) if " lab/" in line]
    assert ours == lines(two.other, *words)
    assert len(ours) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_inspects_and_histories_them_alike(two: Two, name: str) -> None:
    ours, theirs = two.here.inspect(f"lab/{name}"), two.other.inspect(f"lab/{name}")
    for document in (ours, theirs):
        del document["GraphDriver"]["Data"]  # folders, named by chance
        del document["Metadata"]  # when it was tagged
    assert ours == theirs
    words = ("history", "--no-trunc", "--format", "{{json .}}", f"lab/{name}")
    for left, right in zip(lines(two.here, *words), lines(two.other, *words), strict=True):
        one, two_ = json.loads(left), json.loads(right)
        one.pop("CreatedSince"), two_.pop("CreatedSince")
        assert one == two_


@pytest.mark.parametrize("name", ["busybox", "whiteouts", "opaque", "hardlinks", "kinds", "meta"])
def test_it_runs_them_alike(two: Two, name: str) -> None:
    words = ("run", "--rm", "--network", "none", f"lab/{name}", "sh", "-c", LOOK)
    ours = two.here.docker(*words)
    assert ours == two.other.docker(*words)
    assert ours.count(b"\n") > 250


@pytest.mark.parametrize("name", NAMES)
def test_it_saves_them_alike(two: Two, name: str) -> None:
    ours, theirs = (
        layers_of(engine.docker("save", f"lab/{name}")) for engine in (two.here, two.other)
    )
    assert ours == theirs
    assert ours["layers"] == two.here.inspect(f"lab/{name}")["RootFS"]["Layers"]


def layers_of(archive: bytes) -> dict[str, Any]:
    """Return an archive's image ID, names and DiffIDs, all by hashing what is in it."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:

        def digest(name: str) -> str:
            member = tar.getmember(name)
            while member.issym():
                member = tar.getmember(os.path.normpath(f"{name}/../{member.linkname}"))
            found = tar.extractfile(member)
            assert found is not None
            return "sha256:" + hashlib.sha256(found.read()).hexdigest()

        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        (item,) = json.loads(manifest.read())
        return {
            "image": digest(item["Config"]),
            "names": item["RepoTags"],
            "layers": [digest(layer) for layer in item["Layers"]],
        }


@pytest.mark.parametrize("name", ["kinds", "whiteouts"])
@pytest.mark.parametrize("form", OCI_FORMS)
def test_it_has_the_images_of_oci_archives(two: Two, form: str, name: str) -> None:
    reference = f"{form}/{name}:1"
    found, plain = two.here.inspect(reference), two.here.inspect(f"lab/{name}")
    assert found["RootFS"] == plain["RootFS"]
    index = json.loads(Path(f"{LAB}/oci/{name}/index.json").read_text())
    manifest = blob(name, index["manifests"][0]["digest"])
    assert found["Id"] == json.loads(manifest)["config"]["digest"]
    words = ("run", "--rm", "--network", "none", reference, "sh", "-c", LOOK)
    assert two.here.docker(*words) == two.here.docker(*words[:4], f"lab/{name}", *words[5:])
    assert layers_of(two.here.docker("save", reference))["layers"] == plain["RootFS"]["Layers"]


def blob(name: str, digest: str) -> bytes:
    return Path(f"{LAB}/oci/{name}/blobs/{digest.replace(':', '/')}").read_bytes()


def test_a_live_engine_keeps_layerview_from_writing(two: Two, run: Command) -> None:
    image = f"{LAB}/docker/busybox.tar"
    pids = {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and command(entry).find(two.here.socket) >= 0
    }
    for words in (["load", image], ["rmi", "lab/deep"], ["tag", "lab/deep", "x"], ["prune", "-f"]):
        answer = Command.__call__(run, *words, "--root", two.root)
        assert (answer.status, answer.out) == (1, "")
        assert answer.errors.count("\n") == 1
        assert "(dockerd)" in answer.errors
        assert any(f"process {pid} " in answer.errors for pid in pids), (answer.errors, pids)


def command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def test_layerview_reads_on_while_an_engine_is_live(two: Two, run: Command) -> None:
    answer = run("doctor", "--root", two.root, "--json")
    assert answer.status == 0, answer.out
    assert any("(dockerd)" in check["found"] for check in answer.json["checks"])


@pytest.fixture(scope="module")
def built(two: Two) -> dict[str, Any]:
    """What the engine says of what it built, after it was stopped."""
    here = two.here
    said: dict[str, Any] = {}
    for name, buildkit in (("classic", "0"), ("buildkit", "1")):
        words = ["/usr/bin/docker", "build", "--network", "none", "-q", "-t", f"{name}:1", "-"]
        done = subprocess.run(
            words,
            input=BUILD.encode(),
            env={**here.env, "DOCKER_BUILDKIT": buildkit},
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        said[name] = here.inspect(f"{name}:1")
        said[f"{name} saved"] = layers_of(here.docker("save", f"{name}:1"))
        said[f"{name} looked"] = here.docker(
            "run", "--rm", "--network", "none", f"{name}:1", "sh", "-c", LOOK
        )
    here.docker(
        *("run", "--network", "none", "--name", "kept", "--label", "stays=yes"),
        *("classic:1", "sh", "-c", "echo >/kept"),
    )
    said["commit"] = here.docker("commit", "kept", "committed:1").decode().strip()
    top = b"FROM buildkit:1\nRUN echo top >/top\n"
    here.docker("build", "--network", "none", "-q", "-t", "top:1", "-", stdin=top)
    said["top"] = here.inspect("top:1")
    said["top archive"] = here.docker("save", "top:1")
    here.docker("rmi", "lab/meta", "top:1")
    here.stop()
    return said


@pytest.mark.parametrize("name", ["classic", "buildkit"])
def test_layerview_reads_what_the_engine_built(
    two: Two, built: dict[str, Any], run: Command, name: str, tmp_path: Path
) -> None:
    record = DataRoot(str(two.root)).image(f"{name}:1", two.driver)
    assert str(record.image_id) == built[name]["Id"]
    assert [str(each) for each in record.config.diff_ids] == built[name]["RootFS"]["Layers"]
    out = tmp_path / "out.tar"
    words = ("--root", two.root, "--driver", two.driver)
    assert run("save", f"{name}:1", "-o", out, *words).status == 0
    assert layers_of(out.read_bytes()) == built[f"{name} saved"]


def test_the_area_is_sound_after_the_engine(two: Two, built: dict[str, Any], run: Command) -> None:
    answer = run("doctor", "--root", two.root, "--json")
    wrong = [check["found"] for check in answer.json["checks"][:20] if not check["ok"]]
    assert (answer.status, answer.json["ok"]) == (0, True), wrong


def test_layerview_writes_on_after_the_engine(
    two: Two, built: dict[str, Any], run: Command, tmp_path: Path
) -> None:
    """What is saved can be loaded again; what containers and builds use stays."""
    words = ("--root", two.root, "--driver", two.driver)
    out = tmp_path / "out.tar"
    assert run("save", "classic:1", "buildkit:1", "-o", out, *words).status == 0
    again = run("load", out, "--json", *words)
    assert [line["image_id"] for line in again.lines] == [
        built["classic"]["Id"],
        built["buildkit"]["Id"],
    ]
    assert all(layer["existed"] for line in again.lines for layer in line["layers"])
    used = run("rmi", "classic:1", *words)
    assert used.status == 1
    assert "kept" in used.errors
    assert run("rmi", "lab/whiteouts", *words).status == 0
    # On layers that BuildKit made, whose cache IDs are of another form.
    out.write_bytes(built["top archive"])
    (line,) = run("load", out, "--json", *words).lines
    assert line["image_id"] == built["top"]["Id"]
    assert [layer["existed"] for layer in line["layers"]].count(False) == 1
    # BuildKit's cache counts on its layers.
    assert run("rmi", "buildkit:1", *words).status == 0
    assert run("load", f"{LAB}/docker/meta.tar", *words).status == 0
    assert run("rmi", "lab/deep", "lab/kinds", *words).status == 0
    assert run("prune", "-f", "--filter", "label!=stays", *words).status == 0
    checked = run("doctor", "--root", two.root, "--json")
    assert checked.status == 0, [each["found"] for each in checked.json["checks"] if not each["ok"]]
    with Dockerd(two.driver, two.root) as engine:
        names = lines(engine, "images", "--format", "{{.Repository}}:{{.Tag}}")
        assert "lab/meta:latest" in names
        assert not {"lab/deep:latest", "buildkit:1", "lab/whiteouts:latest"} & set(names)
        looked = ("run", "--rm", "--network", "none", "classic:1", "sh", "-c", LOOK)
        assert engine.docker(*looked) == built["classic looked"]
        assert engine.docker("start", "-a", "kept") == b""
        assert engine.docker("run", "--rm", "--network", "none", "top:1", "cat", "/top") == b"top\n"
        engine.docker("load", "-q", "-i", f"{LAB}/docker/deep.tar")
        done = subprocess.run(
            ["/usr/bin/docker", "build", "--network", "none", "-q", "-t", "again:1", "-"],
            input=b"FROM classic:1\nRUN echo again >/again\nRUN rm /built\n",
            env={**engine.env, "DOCKER_BUILDKIT": "1"},
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
    assert DataRoot(str(two.root)).image(built["commit"]).image_id == Digest.parse(built["commit"])


def test_what_an_image_was_built_on_comes_with_a_file_that_has_both(
    two: Two, run: Command, tmp_path: Path
) -> None:
    two.other.docker("build", "-q", "-t", "built:on", "-", stdin=b"FROM lab/whiteouts\nLABEL a=b\n")
    file = tmp_path / "both.tar"
    file.write_bytes(two.other.docker("save", "lab/whiteouts", "built:on"))
    root = tmp_path / "area"
    layerview(root, "load", "-q", file, "--driver", two.driver)
    shown = run("history", f"data-root:{root}:built:on").out.splitlines()[1:]
    with Dockerd(two.driver) as fresh:
        fresh.docker("load", "-q", "-i", file)
        wanted = fresh.docker("history", "--format", "{{.ID}}", "built:on").decode().split()
    assert [line.split()[0] for line in shown] == wanted
    assert wanted[1] == two.other.inspect("lab/whiteouts")["Id"][7:19]
