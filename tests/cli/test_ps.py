"""`ps` prints Docker's table of the containers, the newest first, and their JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from layerview.store.area import Area
from layerview.store.container_files import volume_point
from layerview.store.containers import change_container
from tests.support import archives, containers, tars
from tests.support.commands import Command

HEADING = "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
IDS = {name: digit * 64 for name, digit in (("old", "a"), ("mid", "b"), ("new", "c"))}


def before(**age: float) -> str:
    """Return a time as Docker records it, a little more than so long ago."""
    moment = datetime.now(UTC) - timedelta(**age) - timedelta(seconds=5)
    return moment.isoformat().replace("+00:00", "000Z")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "area"


@pytest.fixture
def run(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    monkeypatch.setenv("LAYERVIEW_ROOT", str(root))
    monkeypatch.setenv("LAYERVIEW_DRIVER", "vfs")
    return Command(capsys)


@pytest.fixture
def three(run: Command, root: Path, tmp_path: Path) -> Command:
    """Three containers: one that is new, one that has ended, one whose image lost its name."""
    for name in ("app", "other"):
        layer = tars.layer(tars.file("f", name.encode() * 500))
        spec = archives.image(layer, tags=[f"{name}:1"])
        assert run("load", archives.docker_archive(tmp_path / name, spec)).status == 0
    keep = {"/data": volume_point(str(root), "keep", "/data", asked=True)}
    old = {"path": "sh", "args": ("-c", 'echo "a b"'), "mount_points": keep}
    make(root, "app:1", "old", created=before(days=3), **old)
    make(root, "other:1", "mid", created=before(hours=2), labels={"tier": "web", "x": ""})
    make(root, "app:1", "new", created=before(minutes=5), path="sleep", args=("1000",))
    state(root, "old", Running=False, ExitCode=3, StartedAt=before(days=2))
    state(root, "old", FinishedAt=before(minutes=40))
    run("tag", "app:1", "other:1")
    return run


def make(root: Path, image: str, name: str, **more: Any) -> None:
    labels = more.pop("labels", {})
    containers.created(root, image, name, id=IDS[name], **more)

    def change(document: dict[str, Any]) -> None:
        document["Config"]["Labels"] = labels

    change_container(Area.open(str(root)), IDS[name], change)


def state(root: Path, name: str, **fields: object) -> None:
    def change(document: dict[str, Any]) -> None:
        document["State"] |= fields

    change_container(Area.open(str(root)), IDS[name], change)


def test_where_nothing_is_made_yet_there_is_an_empty_table(run: Command, root: Path) -> None:
    assert run("ps").out == HEADING
    assert run("ps", "-aq").out == ""
    assert run.json("ps", "-as") == []
    assert not root.exists()


def test_the_table_is_docker_s(three: Command) -> None:
    assert three("ps").out == HEADING
    short = three.json("ps", "-a")[1]["image_id"].removeprefix("sha256:")[:12]
    assert three("ps", "-a").out == (
        "CONTAINER ID   IMAGE          COMMAND                  CREATED         STATUS"
        "                      PORTS     NAMES\n"
        'cccccccccccc   app:1          "sleep 1000"             5 minutes ago   Created'
        "                               new\n"
        f'bbbbbbbbbbbb   {short}   "true"                   2 hours ago     Created'
        "                               mid\n"
        'aaaaaaaaaaaa   app:1          "sh -c \'echo \\"a b\\"\'"   3 days ago      '
        "Exited (3) 40 minutes ago             old\n"
    )


def test_long_words_are_cut_and_shown_whole_when_asked_for(run: Command, three: Command) -> None:
    assert "aaaaaaaaaaaa " in three("ps", "-a").out
    shown = three("ps", "-a", "--no-trunc").out
    assert all(id in shown for id in IDS.values())


def test_a_command_of_more_than_twenty_characters_is_cut(three: Command, root: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["Path"], document["Args"] = "/docker-entrypoint.sh", ["nginx", "-g\x1b[2J"]

    change_container(Area.open(str(root)), IDS["new"], change)
    assert '"/docker-entrypoint.…"' in three("ps", "-l").out
    assert '"/docker-entrypoint.sh nginx -g\\x1b[2J"' in three("ps", "-l", "--no-trunc").out


def test_sizes_and_starts_stand_behind_when_asked_for(three: Command, root: Path) -> None:
    mount = (root / "image/vfs/layerdb/mounts" / IDS["new"] / "mount-id").read_text()
    (root / "vfs/dir" / mount / "g").write_bytes(b"g" * 12)
    head, row, *_ = three("ps", "-as").out.splitlines()
    assert head.endswith("NAMES     SIZE")
    assert row.endswith("new       12 B (virtual 1.5 kB)")
    head, row, *_ = three("ps", "-a", "--starts").out.splitlines()
    assert head.endswith("NAMES     STARTED IN   ALLOCATED   DRIVER")
    assert row.endswith("vfs")
    [first, *_] = three.json("ps", "-as")
    assert (first["size_rw"], first["size_root"]) == (12, 1512)


def test_ids_alone_of_the_newest(three: Command) -> None:
    assert three("ps", "-aq").out == "cccccccccccc\nbbbbbbbbbbbb\naaaaaaaaaaaa\n"
    assert three("ps", "-ql").out == "cccccccccccc\n"
    assert three("ps", "-qn", "2").out == "cccccccccccc\nbbbbbbbbbbbb\n"
    assert three("ps", "-aq", "--no-trunc", "-n1").out == f"{IDS['new']}\n"
    assert three("ps", "-q").out == ""


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["name=ew"], "new"),
        (["name=ew", "name=ol"], "new old"),
        (["id=bb"], "mid"),
        (["label=tier"], "mid"),
        (["label=tier=web"], "mid"),
        (["label=tier=db"], ""),
        (["status=exited"], "old"),
        (["status=created"], "new mid"),
        (["exited=3"], "old"),
        (["exited=0"], ""),
        (["before=new"], "mid old"),
        (["since=old"], "new mid"),
        (["since=old", "before=new"], "mid"),
        (["ancestor=app:1"], "new old"),
        (["volume=keep"], "old"),
        (["volume=/data"], "old"),
        (["volume=none"], ""),
        (["driver=vfs", "name=mid"], "mid"),
    ],
    ids=" ".join,
)
def test_filters(three: Command, filters: list[str], names: str) -> None:
    words = [word for text in filters for word in ("--filter", text)]
    assert [one["name"] for one in three.json("ps", "-a", *words)] == names.split()


def test_filters_by_state_show_what_does_not_run_without_a(three: Command) -> None:
    assert three("ps", "-q", "-f", "status=exited").out == "aaaaaaaaaaaa\n"
    assert three("ps", "-q", "-f", "name=old").out == ""


@pytest.mark.parametrize(
    "text",
    ["colour=red", "name", "status=asleep", "exited=x", "before=nobody", "since="],
)
def test_filters_that_are_off(three: Command, text: str) -> None:
    answer = three("ps", "-a", "--filter", text)
    assert answer.status in (1, 2)
    assert (answer.out, answer.errors.count("\n")) == ("", 1)


def test_a_container_that_can_t_be_read_is_said_and_the_others_are_shown(
    three: Command, root: Path
) -> None:
    (root / "containers" / IDS["mid"] / "config.v2.json").write_text("{")
    answer = three("ps", "-aq")
    assert (answer.status, answer.out) == (1, "cccccccccccc\naaaaaaaaaaaa\n")
    assert IDS["mid"] in answer.errors


def test_a_data_root_of_docker_s_is_listed_too(three: Command, root: Path) -> None:
    # Nothing of layerview's own is asked for.
    subprocess.run(["rm", "-r", root / "layerview"], check=True)
    assert three("ps", "-aq", "--root", root).out.count("\n") == 3
    assert three("ps", "--root", root / "nowhere").status == 1


def test_json_has_what_the_table_has_and_more(three: Command, root: Path) -> None:
    new, mid, old = three.json("ps", "-a")
    assert (new["status"], mid["status"], old["status"]) == ("created", "created", "exited")
    assert (old["exit_code"], new["exit_code"], new["pid"]) == (3, None, None)
    assert (new["image"], old["command"]) == ("app:1", ["sh", "-c", 'echo "a b"'])
    assert (new["size_rw"], new["ports"], mid["labels"]) == (None, [], {"tier": "web", "x": ""})
    assert new["driver"] == "vfs"


def test_a_reader_who_goes_away_ends_it_quietly(three: Command, root: Path) -> None:
    done = subprocess.run(
        'python -m layerview ps -a | head -c 5; echo " ${PIPESTATUS[0]}"',
        shell=True,
        executable="/bin/bash",
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("CONTA")
    assert done.stderr == ""


def test_inspect_takes_a_file_for_an_image_unless_it_is_called_as_a_container_is(
    three: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert three.json("inspect", "aaaa")["name"] == "old"
    (tmp_path / "app").rename(tmp_path / "aaaa")
    assert three.json("inspect", "aaaa")["references"] == ["app:1"]
    assert three.json("inspect", "old")["id"] == IDS["old"]
    (tmp_path / "aaaa").rename(tmp_path / "old")
    assert three.json("inspect", "old")["id"] == IDS["old"]
    assert three.json("inspect", "--type", "image", "old")["references"] == ["app:1"]
    assert three.json("inspect", "./old")["references"] == ["app:1"]


def test_inspect_looks_where_it_is_told_to(
    three: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERVIEW_ROOT", str(root / "nowhere"))
    assert three("inspect", "old").status == 1
    found = three.json("inspect", "old", "--root", root)
    assert (found["status"], found["exit_code"]) == ("exited", 3)
    assert [layer["kind"] for layer in found["layers"]] == ["image", "init", "container"]
    assert found["mounts"][0]["name"] == "keep"
    assert three.json("inspect", "app:1", "--root", root)["image_id"] == found["image_id"]
    assert three("inspect", "old", "--root", root / "nowhere").status == 1
