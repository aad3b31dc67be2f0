"""What the Disk screen's process tells an ordinary user; run as a program."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from layerview.tui.disk_model import Disk
from layerview.tui.disk_told import read_containers, read_images, read_lines, read_parts
from tests.support.container_lab import Lab, busybox_layer
from tests.tui.disk_talk import talking


def roots(root: str) -> None:
    """See what may be seen of a root of root's, be told of the rest, and find no false orphan."""
    with talking() as talk:
        *answers, last = talk.ask("account", root=root)
    assert last.get("done"), last
    disk = Disk()
    disk.images = read_images(answers[0]["images"])
    disk.containers = read_containers(answers[0]["containers"])
    disk.settle(read_parts(last["parts"]))
    disk.problems = read_lines(last["problems"])
    assert any("may only be read by its owner" in line for line in disk.problems), last
    rows = {row.name: row for row in disk.top()}
    unread = [row for row in rows.values() if not row.whole]
    assert unread, rows
    assert any(row.problem for row in rows.values())
    orphans = [part for part in disk.of_kind("orphan") if not part.path.endswith("ab" * 32)]
    assert not orphans, orphans


def main() -> int:
    """Measure an area in which a container wrote as other users, and a folder of root's."""
    assert os.geteuid() != 0
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder) / "area", driver="vfs")
        lab.load("base:1", busybox_layer())
        script = "mkdir -m 700 /hidden; head -c 70000 /dev/zero >/hidden/big; chown -R demo /hidden"
        lab.call("run", "--name", "one", "base:1", "sh", "-c", script)
        try:
            with talking() as talk:
                *answers, last = talk.ask("account", root=str(lab.root))
                assert last.get("done"), last
                disk = Disk()
                disk.images = read_images(answers[0]["images"])
                disk.containers = read_containers(answers[0]["containers"])
                disk.settle(read_parts(last["parts"]))
                assert not read_lines(last["problems"]), last["problems"]
                rows = {row.name: row for row in disk.top()}
                assert rows.keys() == {"base:1", "one", "metadata"}, rows
                assert (rows["one"].bytes or 0) > 70_000 + 1_000_000, rows["one"]
                assert all(row.whole for row in rows.values())
                [answer] = talk.ask("folder", root="/root", path="/root")
                assert "error" in answer, answer
                [answer] = talk.ask("account", root="/var/lib/no-docker")
                assert "error" in answer, answer
        finally:
            lab.ask("rm", "-f", "one")
            lab.end_worker()
        roots(sys.argv[1])
    print("all is well")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
