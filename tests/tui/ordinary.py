"""What the Containers screen does below the screen, as an ordinary user; run as a program."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from layerview.tui import shells
from layerview.tui.terminal.wires import Wire
from layerview.tui.worker import WorkerProcess
from tests.support.container_lab import Lab, changed_layers


async def talk(wire: Wire, typed: bytes, awaited: bytes) -> None:
    """Type something into a terminal and wait for what it says."""
    heard = bytearray()
    wire.open(heard.extend, lambda status: heard.extend(b"<ended>"))
    wire.resize(30, 90)
    wire.write(typed)
    end = time.monotonic() + 20
    while awaited not in heard:
        assert time.monotonic() < end, bytes(heard)
        await asyncio.sleep(0.01)
    wire.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def main() -> int:
    """Run two containers, talk to both, measure and remove them."""
    assert os.geteuid() != 0
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder) / "area", driver="vfs")
        lab.load("changed:latest", *changed_layers())
        os.environ["LAYERVIEW_ROOT"] = str(lab.root)
        worker = WorkerProcess()
        try:
            run = ["run", "--detach", "--json"]
            [own] = worker.ask([*run, "-it", "changed", "sh"]).said
            [beside] = worker.ask([*run, "changed", "sleep", "600"]).said
            assert isinstance(own, dict)
            assert isinstance(beside, dict)
            typed = b"stty size; head -c 70000 /dev/zero > /big; echo $((40+2))\r"
            asyncio.run(talk(shells.attach(own["id"]), typed, b"42\r\n"))
            asyncio.run(talk(shells.shell(beside["id"], 24, 80), b"id -u; exit\r", b"<ended>"))
            asyncio.run(talk(shells.log(own["id"]), b"", b"42"))
            [found] = worker.ask(["ps", "--json", "-a", "-s"]).said
            assert isinstance(found, list)
            assert max(one["size_rw"] for one in found) >= 70000, found
            worker.ask(["rm", "--json", "--force", own["id"], beside["id"]])
            assert worker.ask(["ps", "--json", "-a"]).said == ([],)
            until(lambda: not lab.processes() or lab.processes() == [worker._child.pid])  # type: ignore[union-attr]
        finally:
            lab.clear()
            worker.close()
            lab.end_worker()
            lab.out("doctor")
            # What other IDs own can be deleted inside of the namespace alone.
            lab.out("prune", "-f", "-a")
    print("all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
