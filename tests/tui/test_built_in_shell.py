"""The built-in shell in a terminal of the screen's own making."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from layerview.errors import LayerviewError
from layerview.tui import shells
from tests.support import tars
from tests.support.container_lab import GROUP, PASSWD, Lab

IMAGE = tars.layer(
    tars.folder("etc"),
    tars.file("etc/passwd", PASSWD),
    tars.file("etc/group", GROUP),
    tars.file("note", b"from the image\n"),
)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = Lab(tmp_path / "area", driver="aufs")
    monkeypatch.setenv("LAYERVIEW_ROOT", str(made.root))
    try:
        made.load("lab:1", IMAGE)
        made.out("create", "-it", "--driver", "aufs", "--name", "one", "lab:1")
    finally:
        made.end_worker()
    return made


async def typed(id: str, *keys: bytes) -> tuple[bytes, int | None]:
    """Type into the shell, a piece at each prompt; return what it showed, and its end."""
    shown = bytearray()
    ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    wire = shells.built_in(id, 24, 80)
    wire.open(shown.extend, ended.set_result)
    try:
        for number, piece in enumerate(keys, 1):
            async with asyncio.timeout(20):
                while shown.count(b" # ") < number:
                    await asyncio.sleep(0.02)
            wire.write(piece)
        async with asyncio.timeout(20):
            return bytes(shown), await ended
    finally:
        wire.close()


def test_it_is_typed_into_and_ends_with_the_status(lab: Lab) -> None:
    keys = (b"cat /no\t\r", b"rm /note\r", b"exit 3\r")
    shown, status = asyncio.run(typed("one", *keys))
    assert b"built-in shell: no program runs" in shown
    assert b"from the image" in shown
    assert status == 3
    assert "D /note" in lab.call("changes", "one").stdout.decode()


def test_ctrl_c_reaches_its_command(lab: Lab) -> None:
    keys = (b"cat /dev/zero > /z; echo never\r\x03", b"echo again\r", b"exit\r")
    shown, status = asyncio.run(typed("one", *keys))
    assert b"\r\nnever" not in shown
    assert b"\r\nagain" in shown
    assert status == 0


def test_closing_the_pane_ends_it(lab: Lab) -> None:
    async def close() -> None:
        wire = shells.built_in("one", 24, 80)
        wire.open(lambda data: None, lambda status: None)
        while lab.state("one")["status"] != "running":
            await asyncio.sleep(0.05)
        wire.close()
        while lab.state("one")["status"] != "exited":
            await asyncio.sleep(0.05)

    try:
        asyncio.run(asyncio.wait_for(close(), 30))
    finally:
        lab.end_worker()


def test_without_an_area_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(LayerviewError):
        shells.built_in("one", 24, 80)
