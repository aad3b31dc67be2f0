"""What the screens look like: each at three sizes, in both themes; snapshots/tui/test_looks/."""

from __future__ import annotations

import pytest

from layerview.tui.app import LayerviewApp
from layerview.tui.screens.diff import DiffScreen
from layerview.tui.widgets.stack import LayerStack
from tests.support import archives
from tests.tui import specimens
from tests.tui.driving import go_to, image_screen, listed, ready, settled

SIZES = {"80x24": (80, 24), "120x40": (120, 40), "140x45": (140, 45)}
SITE = b"srv/app/static/css/site.css"

every_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
both_themes = pytest.mark.parametrize("theme", ["dark", "light"])


@pytest.fixture
def shop(tmp_path):
    specimens.write_shop(tmp_path / "web.tar")


@pytest.fixture
def worker(tmp_path):
    specimens.write_worker(tmp_path / "worker")


@every_size
@both_themes
@pytest.mark.usefixtures("shop")
def test_image(snap_compare, size, theme):
    """The Image screen: the cursor on a file that the top layer copied to change its mode."""

    async def prepare(pilot):
        await ready(pilot)
        await go_to(pilot, SITE)
        await pilot.press("s")
        await settled(pilot)

    app = LayerviewApp(["web.tar"], theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
@pytest.mark.usefixtures("shop")
def test_layer_only(snap_compare, size, theme):
    """What layer 1 changed: new, changed, and deleted files."""

    async def prepare(pilot):
        await ready(pilot)
        await go_to(pilot, b"etc/hostname")
        await pilot.press("v")
        await settled(pilot)
        await go_to(pilot, b"var/cache/old.bin")

    app = LayerviewApp(["web.tar"], theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_missing_layer(snap_compare, size, theme, tmp_path):
    """A layer whose blob is not here keeps its slab, hatched; the rest lives on."""
    specimens.write_missing(tmp_path / "missing")

    async def prepare(pilot):
        await ready(pilot)
        await go_to(pilot, b"etc/os-release")
        stack = image_screen(pilot.app).query_one(LayerStack)
        stack.focus()
        await pilot.press("up", "up", "up")
        await settled(pilot)

    app = LayerviewApp(["missing"], theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_not_opened(snap_compare, size, theme):
    """A name that opens nothing: one line in the pane that failed."""
    app = LayerviewApp(["nothing.tar"], theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=settled)


@every_size
@both_themes
@pytest.mark.usefixtures("shop")
def test_waste(snap_compare, size, theme):
    """Wasted paths, the most first, and what each layer wastes."""

    async def prepare(pilot):
        await ready(pilot)
        await pilot.press("w")
        await settled(pilot)

    app = LayerviewApp(["web.tar"], theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
@pytest.mark.usefixtures("shop", "worker")
def test_diff(snap_compare, size, theme):
    """Two images that share their first layers."""

    async def prepare(pilot):
        await ready(pilot)
        screen = image_screen(pilot.app)
        pilot.app.push_screen(DiffScreen(screen.opened, "worker"))
        await pilot.pause()
        await settled(pilot)

    app = LayerviewApp(["web.tar"], theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
@pytest.mark.usefixtures("shop")
def test_extract(snap_compare, size, theme):
    """The dialog that asks where to."""

    async def prepare(pilot):
        await ready(pilot)
        await go_to(pilot, SITE)
        await pilot.press("x")
        await settled(pilot)

    app = LayerviewApp(["web.tar"], theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
@pytest.mark.usefixtures("shop")
def test_help(snap_compare, size, theme):
    """The help panel takes room, and the panes make it."""

    async def prepare(pilot):
        await ready(pilot)
        await pilot.press("question_mark")
        await settled(pilot)

    app = LayerviewApp(["web.tar"], theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
@pytest.mark.usefixtures("shop")
def test_filter(snap_compare, size, theme):
    """A filter while it is typed."""

    async def prepare(pilot):
        await ready(pilot)
        await pilot.press("slash", *"css")
        await settled(pilot)

    app = LayerviewApp(["web.tar"], theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_bytes(snap_compare, size, theme, tmp_path):
    """Content that is no text, and names that a terminal must not see as they are."""
    specimens.write_odd_names(tmp_path / "odd.tar")

    async def prepare(pilot):
        await ready(pilot)
        await go_to(pilot, b"tmp/binary")
        await pilot.press("enter")
        await settled(pilot)

    app = LayerviewApp(["odd.tar"], theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_many_layers(snap_compare, size, theme, tmp_path):
    """More layers than hues and rows: a row each, the top and the base always in sight."""
    archives.docker_archive(tmp_path / "many.tar", specimens.many_layers())

    async def prepare(pilot):
        await ready(pilot)
        await go_to(pilot, b"data/part20")

    app = LayerviewApp(["many.tar"], theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
@pytest.mark.usefixtures("shop", "worker")
def test_images(snap_compare, size, theme, tmp_path):
    """The list of images, and the stack of the one under the cursor lying down."""
    (tmp_path / "broken.tar").write_bytes(b"no tar at all")
    app = LayerviewApp(["web.tar", "worker", "broken.tar"], theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=listed)


@pytest.mark.parametrize("size", [(80, 24), (140, 45)], ids=["80x24", "140x45"])
@pytest.mark.usefixtures("shop")
def test_image_without_colour(snap_compare, size, monkeypatch):
    """NO_COLOR and ASCII: numbers and signs carry every meaning."""
    monkeypatch.setenv("NO_COLOR", "1")

    async def prepare(pilot):
        await ready(pilot)
        await go_to(pilot, SITE)

    app = LayerviewApp(["web.tar"], ascii=True)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@pytest.mark.usefixtures("shop")
def test_reading(snap_compare, size, monkeypatch):
    """While layers are read: what is known stands there, the rest is an ellipsis."""
    from layerview.sources import background, opening

    original = opening.ImageOpening.events

    def some_events(self):
        for event in (event for batch in original(self) for event in batch):
            yield [event]
            if isinstance(event, background.LayerLoaded) and event.layer.source.number == 2:
                break
        yield [background.LayerStarted(3), background.LayerProgress(3, 300_000, 760_000)]

    monkeypatch.setattr(opening.ImageOpening, "events", some_events)

    async def prepare(pilot):
        await settled(pilot)
        await settled(pilot)

    app = LayerviewApp(["web.tar"])
    assert snap_compare(app, terminal_size=size, run_before=prepare)
