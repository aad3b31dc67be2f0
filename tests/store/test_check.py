"""The check finds what is wrong anywhere in an area, and repairs what is safe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import archives, areas
from tests.support.areas import BASE, TOP
from tests.support.commands import Command

DRIVERS = ["vfs", "overlay2"] if os.geteuid() == 0 else ["vfs"]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "area"


@pytest.fixture
def run(
    root: Path,
    driver: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    monkeypatch.setenv("LAYERVIEW_ROOT", str(root))
    monkeypatch.setenv("LAYERVIEW_DRIVER", driver)
    command = Command(capsys)
    spec = archives.image(BASE, TOP, tags=["a:1", "a:2"], compression="gzip")
    path = archives.oci_archive(tmp_path / "a.tar", spec)
    assert command("load", path, "-t", "a:1").status == 0
    assert command("tag", "a:1", "b:1").status == 0
    return command


def image(root: Path, driver: str) -> Path:
    return root / "image" / driver


def test_a_flipped_bit_in_any_file_is_found(run: Command, root: Path, driver: str) -> None:
    """In every file that says or holds anything; the machine's lock and empty files do not."""
    passed_over = ("layerview/lock", "/lastUpdated")
    tried = 0
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file() or not path.stat().st_size:
            continue
        name = str(path)
        if name.endswith(passed_over) or "/diffid-by-digest/" in name:
            continue
        state, data = path.stat(), path.read_bytes()
        for at in {0, len(data) // 2, len(data) - 1}:
            if name.endswith(".gz") and 4 <= at < 10:
                continue
            spoilt = bytearray(data)
            spoilt[at] ^= 1
            path.write_bytes(spoilt)
            answer = run("doctor", "--json")
            tried += 1
            assert answer.status == 1, (name, at)
            checks = answer.json["checks"]
            found = " ".join(check["found"] for check in checks if check["ok"] is False)
            parts = path.relative_to(root).parts
            said = [part for part in parts if part[:12] in found and len(part) > 11]
            assert said or path.name in found, (name, at, found)
        path.write_bytes(data)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert tried > 30
    assert run("doctor").status == 0


def test_what_is_in_a_layer_is_named_by_its_path(run: Command, root: Path, driver: str) -> None:
    home = root / ("vfs/dir" if driver == "vfs" else "overlay2")
    for path in home.glob("*/d/f" if driver == "vfs" else "*/diff/d/f"):
        if path.is_file() and path.stat().st_size == 1000:
            path.write_bytes(b"K" + path.read_bytes()[1:])
    answer = run("doctor", "--json")
    assert answer.status == 1
    found = [check["found"] for check in answer.json["checks"] if not check["ok"]]
    assert any("/d/f: its bytes are not those" in line for line in found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("rm {top}/new", "/new: no such file"),
        ("chmod 4755 {top}/new", "/new has mode 4755, not 0644"),
        ("chmod 700 {base}/d", "/d has mode 0700, not 0750"),
        ("ln -sfn elsewhere {base}/l", "/l leads elsewhere"),
        ("rm {base}/l; mkdir {base}/l", "/l is a folder, not a symbolic link"),
        ("rm {base}/e", "/e is not there"),
        ("rm -r {base}", "no such file"),
        ("rm -rf {top}/new; mkfifo {top}/new", "/new"),
        ("rm {record}/cache-id", "cache-id"),
        ("echo x >{record}/parent", "parent"),
        ("rm {record}/tar-split.json.gz", "tar-split.json.gz is not there"),
        ("mkdir {home}/{other}", "belongs to no layer and no container"),
        ("mkdir {db}/tmp/write-set-1", "was left behind"),
        ("mkdir {db}/sha256/odd", "odd is no layer"),
        ("touch {images}/odd", "odd is no image"),
        ("rm -r {db}/sha256/{base_chain}", "is not there"),
        ("echo no >{repositories}", "repositories.json"),
    ],
)
def test_other_damage(run: Command, root: Path, driver: str, change: str, said: str) -> None:
    db = image(root, driver) / "layerdb"
    records = list((db / "sha256").iterdir())
    (top,) = [path for path in records if (path / "parent").exists()]
    (base,) = [path for path in records if path != top]
    home = root / ("vfs/dir" if driver == "vfs" else "overlay2")
    inner = "" if driver == "vfs" else "/diff"
    words = {
        "top": f"{home}/{(top / 'cache-id').read_text()}{inner}",
        "base": f"{home}/{(base / 'cache-id').read_text()}{inner}",
        "record": top,
        "home": home,
        "db": db,
        "other": "0" * 64,
        "base_chain": base.name,
        "images": image(root, driver) / "imagedb/content/sha256",
        "repositories": image(root, driver) / "repositories.json",
    }
    subprocess.run(["sh", "-c", change.format(**words)], check=True)
    answer = run("doctor", "--json")
    assert answer.status == 1
    found = [check["found"] for check in answer.json["checks"] if not check["ok"]]
    assert any(said in line for line in found), found
    before = sorted(map(str, root.rglob("*")))
    assert run("doctor", "--repair").status == 1
    assert sorted(map(str, root.rglob("*"))) == before


def test_overlay2s_own_files(run: Command, root: Path, driver: str) -> None:
    if driver != "overlay2":
        pytest.skip("only overlay2 has them")
    (lower,) = (root / "overlay2").glob("*/lower")
    good = lower.read_text()
    extra = lower.parent / "diff" / "extra"
    extra.write_text("x")
    assert "/extra is not in the layer" in run("doctor").out
    extra.unlink()
    for text in ("", "l/" + "A" * 26, good + ":" + good):
        lower.write_text(text)
        answer = run("doctor")
        assert (answer.status, "does not list the layers below" in answer.out) == (1, True)
    lower.write_text(good)
    link = root / "overlay2" / good
    os.unlink(link)
    os.symlink("../../victim/diff", link)
    assert "leads elsewhere" in run("doctor").out
    os.unlink(link)
    (root / "overlay2/l" / ("B" * 26)).symlink_to("../" + "0" * 64 + "/diff")
    answer = run("doctor")
    assert (answer.status, "is not there" in answer.out, "leads nowhere" in answer.out) == (
        *(1, True, True),
    )
    answer = run("doctor", "--repair")
    assert (answer.status, answer.errors.count("repaired:")) == (0, 2)
    assert os.readlink(link).endswith("/diff")
    assert run("doctor").status == 0


def test_what_is_safe_is_repaired(run: Command, root: Path, driver: str) -> None:
    base = image(root, driver)
    repositories = base / "repositories.json"
    document = json.loads(repositories.read_text())
    document["Repositories"]["gone"] = {"gone:1": "sha256:" + "0" * 64}
    document["Other"] = {"kept": True}
    repositories.write_text(json.dumps(document))
    shutil.copytree(
        base / "imagedb/metadata/sha256" / next(iter(areas.images(root, driver)))[7:],
        base / "imagedb/metadata/sha256" / ("1" * 64),
    )
    (image_id,) = areas.images(root, driver)
    parent = base / "imagedb/metadata/sha256" / image_id[7:] / "parent"
    parent.write_text("sha256:" + "2" * 64)
    known = base / "distribution/diffid-by-digest/sha256" / ("3" * 64)
    known.write_text("nonsense")
    (root / "layerview/tmp/left").write_text("x")
    answer = run("doctor", "--json")
    assert answer.status == 1
    assert (
        sum(not check["ok"] for check in answer.json["checks"] if "machine" not in check["name"])
        == 4
    )
    answer = run("doctor", "--repair")
    assert (answer.status, answer.errors.count("repaired:")) == (0, 4)
    assert run("doctor").status == 0
    assert set(areas.names(root, driver)) == {"a:1", "b:1"}
    assert json.loads(repositories.read_text())["Other"] == {"kept": True}
    assert not parent.exists()
    assert not known.exists()
    assert (parent.parent / "lastUpdated").exists()


def test_an_unknown_intent_is_left_alone(run: Command, root: Path, driver: str) -> None:
    path = root / "layerview/intents/odd"
    path.write_text('{"why":"something new","driver":"vfs"}')
    answer = run("doctor", "--repair")
    assert answer.status == 1
    assert "odd" in answer.errors + answer.out
    assert path.exists()
    assert areas.images(root, driver)


def test_json_and_an_area_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(capsys)
    document = command.json("doctor", "--root", tmp_path / "none")
    assert document["ok"] is True
    assert {frozenset(check) for check in document["checks"]} == {
        frozenset({"name", "ok", "found", "remedy"})
    }
    assert not (tmp_path / "none").exists()
