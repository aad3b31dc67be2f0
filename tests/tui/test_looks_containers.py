"""What containers, their terminals and volumes look like; snapshots/tui/test_looks_containers/."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from layerview.errors import LayerviewError
from layerview.tui.listing import ListedLayer
from layerview.tui.screens.changes import ChangesScreen
from layerview.tui.screens.confirm import Confirm
from layerview.tui.screens.containers import ContainersScreen
from layerview.tui.screens.run_container import RunContainer
from layerview.tui.screens.volumes import VolumesScreen
from layerview.tui.ways_in import WayIn
from layerview.tui.widgets.container_table import ContainerTable
from layerview.tui.widgets.terminal import TerminalPane
from tests.tui.driving import until
from tests.tui.told import ToldWorker, app_on, before, container, exited, mount

SIZES = {"80x24": (80, 24), "120x40": (120, 40), "140x45": (140, 45)}
every_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
both_themes = pytest.mark.parametrize("theme", ["dark", "light"])

STACK = [
    ListedLayer("rootfs", 78_100_000, "ADD rootfs.tar.gz /"),
    ListedLayer("python", 143_600_000, "RUN apt-get update && apt-get install -y python3"),
    ListedLayer("needs", 1_400, "COPY requirements.txt /srv/app/"),
    ListedLayer("app", 61_400_000, "COPY app/ /srv/app/"),
]


def made_up() -> list[dict[str, object]]:
    """Return containers in every state, as old as they say when they are asked for."""
    return [
        container("hopeful_turing", "75bab0d54f3c", mounts=[mount("data", "/var/lib/shop")]),
        container(
            "quiet_hopper",
            "0f157c4e5ede",
            size_rw=411,
            started=before(41 * 60),
            created=before(41 * 60),
            start_ns=7_900_000,
        ),
        container(
            "witty_curie",
            "2b6e98f84c4c",
            image="jobs:1",
            command=["python3", "/srv/jobs/run.py", "--every", "10 min"],
            driver="vfs",
            size_rw=315_300_000,
            allocated=315_400_000,
            start_ns=840_000_000,
            started=before(3 * 86400),
            created=before(3 * 86400),
            mounts=[mount("a" * 64, "/tmp/cache"), mount("data", "/data", read_only=True)],
        ),
        exited("frosty_chandrasekhar", "c1f0a7739be2", 137, size_rw=12_400),
        exited("plain_wu", "a3d41c07be95", 0, size_rw=0, image="busybox:latest", command=["true"]),
        container(
            "new_one",
            "7d20c4e91b3a",
            status="created",
            pid=None,
            size_rw=0,
            started=None,
            start_ns=None,
            created=before(130),
        ),
    ]


LOOKED_AT = 1_795_694_400.0
"""2026-11-26, 12:00 UTC."""
VOLUMES = [
    {
        "name": "a" * 64,
        "mountpoint": f"/var/lib/layerview/volumes/{'a' * 64}/_data",
        "created": "2026-11-21T07:02:11Z",
        "size": 40_900,
        "containers": [{"id": "2b6e98f84c4c" + "0" * 52, "name": "witty_curie"}],
        "anonymous": True,
        "options": {},
    },
    {
        "name": "data",
        "mountpoint": "/var/lib/layerview/volumes/data/_data",
        "created": "2026-11-19T08:14:22Z",
        "size": 7_400_000,
        "containers": [
            {"id": "75bab0d54f3c" + "0" * 52, "name": "hopeful_turing"},
            {"id": "2b6e98f84c4c" + "0" * 52, "name": "witty_curie"},
        ],
        "anonymous": False,
        "options": {},
    },
    {
        "name": "old-backup",
        "mountpoint": "/var/lib/layerview/volumes/old-backup/_data",
        "created": "2025-03-02T19:40:00Z",
        "size": 1_300_000_000,
        "containers": [],
        "anonymous": False,
        "options": {},
    },
]
CHANGES = [
    {"path": "/etc", "kind": "C"},
    {"path": "/etc/hosts.allow", "kind": "C"},
    {"path": "/run/nginx.pid", "kind": "A"},
    {"path": "/srv/app/data/GeoLite2-City.mmdb", "kind": "C"},
    {"path": "/usr/share/doc/nginx/README", "kind": "D"},
    {"path": "/var/log/nginx/access.log", "kind": "A"},
]

SHELL = (
    b"# \x1b[1mgrep -c . /srv/app/requirements.txt\x1b[m\r\n41\r\n# \x1b[1mls -l /\x1b[m\r\n"
    b"drwxr-xr-x    2 root     root          4096 Nov 14 10:02 \x1b[1;34mbin\x1b[m\r\n"
    b"drwxrwxrwt    2 root     root          4096 Nov 14 10:02 \x1b[30;42mtmp\x1b[m\r\n"
    b"-rwxr-xr-x    1 root     root       1982256 Nov 14 10:02 \x1b[1;32mrun.sh\x1b[m\r\n"
    b"lrwxrwxrwx    1 root     root             7 Nov 14 10:02 \x1b[1;36msh\x1b[m -> busybox\r\n"
    b"\x1b[31mred \x1b[32mgreen \x1b[33myellow \x1b[34mblue \x1b[35mmagenta \x1b[36mcyan "
    b"\x1b[37mwhite \x1b[90mgrey\x1b[m \x1b[7m reverse \x1b[m \x1b[4munderlined\x1b[m "
    b"\x1b[38;5;208morange \x1b[38;2;180;120;255mlilac\x1b[m \x1b[2mdim\x1b[m\r\n"
    b"\x1b(0lqqqqqqqk\x1b(B \xe4\xb8\xad\xe6\x96\x87\r\n# \x1b[1mvi"
)


class ScriptedWire:
    """A program that has written something, and waits."""

    waiting = 0

    def __init__(self, written: bytes) -> None:
        self._written = written

    def open(self, take: Callable[[bytes], None], ended: Callable[[int | None], None]) -> None:
        take(self._written)

    def write(self, data: bytes) -> None:
        """Take no notice."""

    def resize(self, rows: int, columns: int) -> None:
        """Take no notice."""

    def close(self) -> None:
        """Nothing is open."""


def worker(**answers: object) -> ToldWorker:
    """Return a worker that knows these containers and volumes."""
    known: dict[str, object] = {"ps": made_up(), "volume_ls": VOLUMES, "changes": CHANGES}
    return ToldWorker(**{**known, **answers})


@pytest.fixture(autouse=True)
def stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know the layers of every image."""
    monkeypatch.setattr("layerview.tui.screens.containers_work._layers_of", lambda *key: STACK)


@pytest.fixture(autouse=True)
def same_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the volumes on the same day always: their ages and their dates are shown."""
    clock = SimpleNamespace(time=lambda: LOOKED_AT)
    monkeypatch.setattr("layerview.tui.widgets.volume_table.time", clock)


async def containers(pilot: Pilot[Any]) -> ContainersScreen:
    """Go to the containers, and wait until they are listed."""
    await pilot.press("2")
    await until(pilot, lambda: isinstance(pilot.app.screen, ContainersScreen))
    screen = pilot.app.screen
    assert isinstance(screen, ContainersScreen)
    await until(pilot, lambda: screen.known and not screen.looking)
    await pilot.pause(0.05)
    return screen


async def volumes(pilot: Pilot[Any]) -> None:
    """Go to the volumes, and wait until they are listed."""
    await pilot.press("4")
    await until(pilot, lambda: isinstance(pilot.app.screen, VolumesScreen))
    screen = pilot.app.screen
    assert isinstance(screen, VolumesScreen)
    await until(pilot, lambda: screen.known)
    await pilot.pause(0.05)


@every_size
@both_themes
def test_containers(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """Containers in every state; one of them marked."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await containers(pilot)
        await pilot.press("down", "space")

    assert snap_compare(app_on(worker(), theme=theme), terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_shell(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """A shell in the pane."""

    async def prepare(pilot: Pilot[Any]) -> None:
        screen = await containers(pilot)
        await open_wire(pilot, screen, "shell", SHELL)

    assert snap_compare(app_on(worker(), theme=theme), terminal_size=size, run_before=prepare)


async def open_wire(pilot: Pilot[Any], screen: ContainersScreen, kind: str, written: bytes) -> None:
    """Open a pane on what a program wrote."""
    line = screen.lines[0]
    screen._opening = (line, kind)
    screen._show_pane(line, kind, [])
    screen.add_class("-front")
    await pilot.pause()
    screen.query_one(TerminalPane).focus()
    screen.post_message(WayIn(line.id, kind, ScriptedWire(written)))
    pane = screen.query_one(TerminalPane)
    await until(pilot, lambda: pane.connected)
    await until(pilot, lambda: pane.has_focus)
    await pilot.pause(0.05)


@every_size
@both_themes
def test_log(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """A container's log, looked back at."""

    async def prepare(pilot: Pilot[Any]) -> None:
        screen = await containers(pilot)
        lines = (b'10.0.0.%d - "GET /catalog/atlas.webp" 200\r\n' % (n % 256) for n in range(300))
        await open_wire(pilot, screen, "log", b"".join(lines))
        await pilot.press("pageup", "up")
        await pilot.pause()

    assert snap_compare(app_on(worker(), theme=theme), terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_no_containers(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """None yet: what to do next."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await containers(pilot)

    app = app_on(worker(ps=[]), theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_not_listed(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """They can't be listed: why, and what to do."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await containers(pilot)

    problem = LayerviewError(
        "no user namespace can be made: this kernel forbids it (kernel.unprivileged_userns_clone);"
        " be root, or allow it"
    )
    app = app_on(worker(ps=problem), theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_remove(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """The dialog before a container is removed: what is lost, what stays."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await containers(pilot)
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))

    assert snap_compare(app_on(worker(), theme=theme), terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_run(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """The dialog that starts containers; the last try went wrong."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await containers(pilot)
        await pilot.press("n")
        screen = pilot.app.screen
        assert isinstance(screen, RunContainer)
        await until(pilot, lambda: screen.images_asked)
        screen.query_one("#image", Input).value = "shop/web:7.2"
        screen.query_one("#count", Input).value = "5"
        screen.query_one("#volumes", Input).value = "data:/var/lib/shop"
        screen._starting = True
        screen.post_message(
            RunContainer.Started([], 'exec: "ngin": executable file not found in $PATH')
        )
        await until(pilot, lambda: not screen._starting)

    assert snap_compare(app_on(worker(), theme=theme), terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_changes(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """What a container changed."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await containers(pilot)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChangesScreen))

    assert snap_compare(app_on(worker(), theme=theme), terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_commit(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """The dialog that makes an image of a container."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await containers(pilot)
        await pilot.press("C", *"shop")

    assert snap_compare(app_on(worker(), theme=theme), terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_volumes(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """Volumes: with a name, without, used and not."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await volumes(pilot)
        await pilot.press("down")

    assert snap_compare(app_on(worker(), theme=theme), terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_no_volumes(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """None yet: what to do next."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await volumes(pilot)

    app = app_on(worker(volume_ls=[]), theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_prune(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """The dialog before unused volumes are removed."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await volumes(pilot)
        await pilot.press("P")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))

    assert snap_compare(app_on(worker(), theme=theme), terminal_size=size, run_before=prepare)


@pytest.mark.parametrize("size", [(80, 24), (140, 45)], ids=["80x24", "140x45"])
def test_containers_without_colour(
    snap_compare: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR and ASCII: signs and words carry every meaning; a shell beside them."""
    monkeypatch.setenv("NO_COLOR", "1")

    async def prepare(pilot: Pilot[Any]) -> None:
        screen = await containers(pilot)
        await pilot.press("space")
        if size[0] > 100:
            await open_wire(pilot, screen, "shell", SHELL)
        assert screen.query_one(ContainerTable).marked

    app = app_on(worker(), ascii=True)
    assert snap_compare(app, terminal_size=size, run_before=prepare)
