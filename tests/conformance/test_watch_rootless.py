"""Watching an ordinary user's overlay, mounted in a user namespace of theirs, from outside it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.people import as_user, readable_site, user

pytestmark = pytest.mark.conformance

INSIDE = """
import os, sys
from pathlib import Path
import tests.support.overlays as overlays
from layerview.drivers.namespace import call_in_user_namespace
from layerview.watch.wire import encode_target

def go():
    place = Path(sys.argv[1])
    fills = [overlays.fill(n) for n in (1, 2, 3)]
    with overlays.overlay(place, *fills, user=True, pid=os.getpid()) as (target, top):
        (place / "target").write_bytes(encode_target(target))
        print("ready", flush=True)
        for line in sys.stdin:
            seed = int(line)
            overlays.work(top, seed, 60)
            if seed == 1 and sys.argv[2] == "ranges":
                (top / "foreign").write_bytes(b"12345")
                os.chown(top / "foreign", 33, 33)
                (top / "hidden").mkdir(mode=0o700)
                (top / "hidden/in").write_bytes(b"123")
                os.chown(top / "hidden", 33, 33)
            print("done", flush=True)
    return 0
sys.exit(call_in_user_namespace(go))
"""
OUTSIDE = """
import json, subprocess, sys
from pathlib import Path
import tests.support.overlays as overlays
from layerview.watch.compare import compare
from layerview.watch.events import Notice
from layerview.watch import inside
from layerview.watch.wire import decode_target
from layerview.drivers.namespace import call_in_user_namespace
import ctypes, os

place = Path(sys.argv[1])
other = subprocess.Popen([sys.executable, "-c", sys.argv[2], *sys.argv[1:2], sys.argv[3]],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
assert other.stdout.readline() == "ready\\n"
target = decode_target((place / "target").read_bytes())
assert inside.is_needed(target)
said = {"left": []}
with overlays.Watching(target) as watching:
    for seed in (1, 2, 3):
        other.stdin.write(f"{seed}\\n"); other.stdin.flush()
        assert other.stdout.readline() == "done\\n"
        watching.quiet(0.7)
        again = overlays.Watching(target)
        with again:
            pass
        left = overlays.differences(watching.ledger.holds, again.ledger.holds)
        said["left"].append(repr(left) if left else "")
said["holds"] = [path.decode("latin-1") for path in watching.ledger.holds]
said["notices"] = [r.text for r in watching.records if isinstance(r, Notice)]
said["events"] = watching.ledger.events
said["layers"] = sorted(watching.ledger.by_layer)
other.stdin.close()
other.wait()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    user("lvuser")
    with readable_site() as made:
        yield made


@pytest.mark.parametrize(("name", "ids"), [("lvuser", "ranges"), ("lvplain", "own")])
def test_everything_is_told_to_an_ordinary_user(name: str, ids: str, site: Path) -> None:
    place = Path(f"/var/tmp/layerview-watch-{name}")
    subprocess.run(["rm", "-rf", "--", str(place)], check=True)
    place.mkdir(mode=0o755)
    subprocess.run(["chown", user(name), str(place)], check=True)
    try:
        done = as_user(name, site, "-c", OUTSIDE, str(place / "o"), INSIDE, ids, timeout=60)
        assert done.returncode == 0, done.stderr[-3000:]
        said = json.loads(done.stdout)
        assert said["left"] == ["", "", ""]
        assert said["notices"] == []
        assert said["events"] > 60
        assert set(said["layers"]) <= {0, 1, 2}
        if ids == "ranges":
            assert {"foreign", "hidden", "hidden/in"} & set(said["holds"])
    finally:
        subprocess.run(["rm", "-rf", "--", str(place)], check=True)
