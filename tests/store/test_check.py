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


DAMAGES = [
    ("rm {top}/new", "/new: no such file", "load"),
    ("chmod 4755 {top}/new", "/new has mode 4755, not 0644", "load"),
    ("chmod 700 {base}/d", "/d has mode 0700, not 0750", "load"),
    ("ln -sfn elsewhere {base}/l", "/l leads elsewhere", "load"),
    ("rm {base}/l; mkdir {base}/l", "/l is a folder, not a symbolic link", "load"),
    ("rm {base}/e", "/e is not there", "load"),
    ("rm -r {base}", "no such file", "load"),
    ("rm -rf {top}/new; mkfifo {top}/new", "/new", "load"),
    ("rm {record}/tar-split.json.gz", "tar-split.json.gz is not there", "load"),
    ("echo x >{record}/tar-split.json.gz", "tar-split", "load"),
    ("rm -r {db}/sha256/{base_chain}", "is not there", "orphan"),
    ("rm -r {record}", "is not there", "orphan"),
    ("echo x >{image}", "is damaged", "again"),
    ("rm {record}/cache-id", "cache-id", "repair"),
    ("echo ../../etc >{base_record}/cache-id", "cache-id", "repair"),
    ("rm {record}/cache-id {top}/new", "cache-id", "orphan"),
    ("echo x >{record}/parent", "parent", "repair"),
    ("rm {record}/parent", "parent", "repair"),
    ("cp {record}/diff {base_record}/parent", "parent", "repair"),
    ("rm {record}/diff", "diff", "repair"),
    ("echo x >{base_record}/diff; echo y >{record}/diff", "diff", "repair"),
    ("printf 12x >{record}/size; rm {base_record}/size", "size", "repair"),
    ("rm {record}/diff {record}/parent {record}/size {record}/cache-id", "diff", "repair"),
    ("rm {record}/diff; mkdir {record}/diff", "diff", "orphan"),
    ("mkdir {home}/{other}", "belongs to no layer and no container", "look"),
    ("mkdir {db}/tmp/write-set-1", "was left behind", "look"),
    ("mkdir {db}/sha256/odd", "odd is no layer", "look"),
    ("touch {images}/odd", "odd is no image", "look"),
    ("echo no >{repositories}", "repositories.json", "look"),
]


@pytest.fixture
def places(run: Command, root: Path, driver: str) -> dict[str, object]:
    db = image(root, driver) / "layerdb"
    records = list((db / "sha256").iterdir())
    (top,) = [path for path in records if (path / "parent").exists()]
    (base,) = [path for path in records if path != top]
    home = root / ("vfs/dir" if driver == "vfs" else "overlay2")
    inner = "" if driver == "vfs" else "/diff"
    images = image(root, driver) / "imagedb/content/sha256"
    return {
        "top": f"{home}/{(top / 'cache-id').read_text()}{inner}",
        "base": f"{home}/{(base / 'cache-id').read_text()}{inner}",
        "record": top,
        "base_record": base,
        "home": home,
        "db": db,
        "other": "0" * 64,
        "base_chain": base.name,
        "images": images,
        "image": next(images.iterdir()),
        "repositories": image(root, driver) / "repositories.json",
    }


@pytest.mark.parametrize(("change", "said", "cure"), DAMAGES)
def test_other_damage_is_found_and_the_remedy_helps(
    run: Command, root: Path, places: dict[str, object], change: str, said: str, cure: str
) -> None:
    subprocess.run(["sh", "-c", change.format(**places)], check=True)
    answer = run("doctor", "--json")
    assert answer.status == 1
    wrong = [check for check in answer.json["checks"] if not check["ok"]]
    wrong = [check for check in wrong if not check["name"].startswith("machine")]
    assert any(said in check["found"] for check in wrong), wrong
    before = sorted(map(str, root.rglob("*")))
    repaired = run("doctor", "--repair")
    if cure == "repair":
        assert all("doctor --repair" in check["remedy"] for check in wrong), wrong
        assert (repaired.status, run("doctor").status) == (0, 0), repaired
    else:
        assert repaired.status == 1
        assert sorted(map(str, root.rglob("*"))) == before
    if cure == "again":
        assert [check["remedy"] for check in wrong] == ["load the image again"], wrong
        assert run("load", root.parent / "a.tar", "-t", "a:1").status == 0
        assert run("doctor").status == 0
    if cure in ("load", "orphan"):
        rest = [check for check in wrong if "rmi --force" not in check["remedy"]]
        assert len(rest) < len(wrong), wrong
        run("rmi", "--force", "a:1", "a:2", "b:1")
        assert run("load", root.parent / "a.tar", "-t", "a:1").status == 0
        answer = run("doctor", "--json")
        left = [check for check in answer.json["checks"] if not check["ok"]]
        left = [check for check in left if not check["name"].startswith("machine")]
        if cure == "load":
            assert (rest, left) == ([], [])
        else:
            # A folder that nothing names any more is never deleted.
            assert all("belongs to no layer" in check["found"] for check in [*rest, *left]), left


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


def test_what_a_killed_trial_of_drivers_left_is_removed(run: Command, root: Path) -> None:
    old, new = root / ".layerview-probe-00ff", root.parent / ".layerview-probe-00ee"
    for path in (old, new, root / ".layerview-probe-young"):
        (path / "w" / "work").mkdir(parents=True)
        (path / "w" / "work").chmod(0)
        (path / "u").mkdir()
    (root.parent / ".layerview-probe-file").write_text("no folder")
    victim = root.parent / "victim"
    victim.mkdir()
    (root.parent / ".layerview-probe-link").symlink_to(victim)
    for path in (old, new, root.parent / ".layerview-probe-file"):
        os.utime(path, (1, 1))
    answer = run("doctor", "--json")
    assert answer.status == 0
    said = [check["found"] for check in answer.json["checks"] if "a trial of" in check["found"]]
    assert [line.split()[0] for line in said] == [str(old), str(new)]
    answer = run("doctor", "--repair")
    assert (answer.status, answer.errors.count("repaired:")) == (0, 2)
    left = sorted(path.name for folder in (root, root.parent) for path in folder.glob(".lay*"))
    assert left == [".layerview-probe-file", ".layerview-probe-link", ".layerview-probe-young"]
    assert victim.exists()
    assert "a trial of" not in run("doctor").out


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
