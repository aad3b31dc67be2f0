"""The terminal UI's app: the areas, the session, the themes, the command palette."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from layerview.tui.glyphs import Glyphs, choose_glyphs
from layerview.tui.palette import HueBook
from layerview.tui.themes import DARK, LIGHT, THEMES, own_variables

if TYPE_CHECKING:
    from layerview.sources.image import Image
    from layerview.sources.opening import ImageOpening
    from layerview.tui.disk_places import DiskRoot
    from layerview.tui.disk_reader import DiskReader, Document
    from layerview.tui.live_instead import InsteadMade, InsteadOffered
    from layerview.tui.replay import ReplaySource
    from layerview.tui.screens.live_open import LiveChoice, LiveFound, LiveMissing
    from layerview.tui.widgets.chrome import AreaBar
    from layerview.tui.worker import WorkerProcess

SMALLEST = (60, 15)
"""The smallest window, columns and rows, that a screen is drawn in."""


class TooSmall(ModalScreen[None]):
    """Stands before the screen while the window is too small for it."""

    CSS_PATH = "styles/dialogs.tcss"

    def compose(self) -> ComposeResult:
        """Say what is needed."""
        columns, rows = SMALLEST
        yield Static(
            f"layerview needs at least\n{columns} columns and {rows} rows\n\nq quits",
            id="too-small",
            markup=False,
        )


class LayerviewApp(App[None]):
    """See every layer."""

    TITLE = "layerview"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+p", "command_palette", "commands", key_display="Ctrl+P", id="app.palette"),
        Binding("question_mark,f1", "help", "help", key_display="?", id="app.help"),
        Binding("q", "quit", "quit", id="app.quit"),
        Binding("ctrl+q,ctrl+c", "quit", "quit", show=False, id="app.quit_hard"),
        Binding("T", "theme", "dark or light", show=False, id="app.theme"),
        Binding("1", "images", "images", show=False, id="app.images"),
        Binding("2", "containers", "containers", show=False, id="app.containers"),
        Binding("3", "disk", "disk", show=False, id="app.disk"),
        Binding("4", "volumes", "volumes", show=False, id="app.volumes"),
    ]

    _has_theme = False
    """Whether our own theme is chosen; App begins with one that nothing is ever drawn in."""

    def __init__(
        self,
        names: Sequence[str] = (),
        *,
        ascii: bool = False,
        binary_sizes: bool = False,
        platform: str | None = None,
        cache: bool = True,
        theme: str = "dark",
        image: Image | None = None,
        opening: ImageOpening | None = None,
        replay: ReplaySource | None = None,
    ) -> None:
        """Make the app.

        Args:
            names: images to open, as the command line takes them; one is opened at once.
            ascii: draw with ASCII only.
            binary_sizes: print KiB and MiB.
            platform: which platform of an index to open.
            cache: keep indexes of layers on disk.
            theme: dark or light.
            image: an image that is open already, shown instead of `names`.
            opening: the one image of `names`, where it is being opened already.
            replay: a recording to show in front of the list.
        """
        self._opens_image = (
            image is not None
            or opening is not None
            or (len(names) == 1 and not _is_folder_of_images(names[0]))
        )
        # The first screen's style is read with the app's own, in one go.
        first = ["image"] if self._opens_image else ["lists", "images"]
        super().__init__(css_path=[f"styles/{name}.tcss" for name in ("app", *first)])
        self.names = list(names)
        self.ascii = ascii
        self.glyphs: Glyphs = choose_glyphs(ascii)
        self.binary_sizes = binary_sizes
        self.platform = platform
        self.cache = cache
        self.hues = HueBook()
        self._image = image
        self._opening = opening
        self._replay = replay
        self._worker: WorkerProcess | None = None
        self.disk_root: DiskRoot | None = None
        """The root that a person chose to see the account of."""
        for own in THEMES:
            self.register_theme(own)
        # No watchers: nothing is styled yet that would have to be styled again.
        self.set_reactive(LayerviewApp.theme, LIGHT if theme == "light" else DARK)
        self._has_theme = True
        self.set_class(theme == "light", "-light-mode")
        self.set_class(theme != "light", "-dark-mode")
        self.stylesheet.set_variables(self.get_css_variables())

    def on_mount(self) -> None:
        """Leave in good order when the terminal is closed or the program is told to end."""
        if self._replay is not None:
            from layerview.tui.screens.live import LiveScreen

            self.push_screen(LiveScreen(self._replay))
        loop = asyncio.get_running_loop()
        # Only the main thread can have handlers; elsewhere nobody sends the program signals.
        with suppress(RuntimeError, ValueError):
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, self.exit, None, 128 + number)
        if not self.is_headless:
            from layerview.tui.hangup import end_with_terminal

            end_with_terminal(lambda code: loop.call_soon_threadsafe(self.exit, None, code))

    def on_resize(self, event: events.Resize) -> None:
        """Say so when the window is too small for any screen."""
        columns, rows = SMALLEST
        width, height = event.size
        too_small = width < columns or height < rows
        if too_small and not isinstance(self.screen, TooSmall):
            self.push_screen(TooSmall())
        elif not too_small and isinstance(self.screen, TooSmall):
            self.pop_screen()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Give other themes the hues that suit their background."""
        return own_variables(self.current_theme.dark)

    def get_css_variables(self) -> dict[str, str]:
        """Leave out the colours of the theme that is there before ours."""
        return super().get_css_variables() if self._has_theme else {}

    def get_default_screen(self) -> Screen[object]:
        """Return the first screen, painted at once instead of after an empty one."""
        screen = self._first_screen()
        # Textual keeps none for a default screen, and so could not switch it for another.
        screen._push_result_callback(self, None)
        return screen

    def _first_screen(self) -> Screen[object]:
        """Make the screen of the image that was named, or the list of images."""
        if self._opens_image:
            from layerview.tui.screens.image import ImageScreen

            name = self.names[0] if self.names else ""
            first = ImageScreen(name, image=self._image, opening=self._opening)
            return cast("Screen[object]", first)
        from layerview.tui.screens.images import ImagesScreen

        return cast("Screen[object]", ImagesScreen(self.names))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything that has a key is in the command palette too."""
        seen: set[str] = set()
        for _, binding, enabled, _ in screen.active_bindings.values():
            if not enabled or not binding.description or binding.action in seen:
                continue
            if binding.action in ("command_palette", "app.command_palette"):
                continue
            seen.add(binding.action)
            action = binding.action
            node = (
                screen.active_bindings[binding.key].node
                if binding.key in screen.active_bindings
                else screen
            )
            title = binding.description[:1].upper() + binding.description[1:]
            key = self.get_key_display(binding)

            async def run_action(action: str = action, node: object = node) -> None:
                await self.run_action(action, cast("Screen[object]", node))

            yield SystemCommand(title, f"Key {key}", run_action)
        yield SystemCommand("Theme", "Choose among all themes", self.action_change_theme)
        yield SystemCommand(
            "Save a picture", "Save the screen as an SVG file", self.action_screenshot
        )

    def action_help(self) -> None:
        """Show or hide the help panel."""
        if self.screen.query("HelpPanel"):
            self.action_hide_help_panel()
            return
        self.want_style("help.tcss")
        self.action_show_help_panel()

    def want_style(self, name: str) -> None:
        """Read a style sheet of styles/, unless it was read before.

        Parsing styles is much of the time to the first screen, which goes without most of them.
        """
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "styles", name)
        if not self.stylesheet.has_source(path):
            self.stylesheet.read(path)

    def action_theme(self) -> None:
        """Change between dark and light."""
        self.theme = DARK if self.theme == LIGHT else LIGHT

    def action_images(self) -> None:
        """Go to the list of images."""
        from layerview.tui.screens.images import ImagesScreen

        self._show_area(ImagesScreen, lambda: ImagesScreen(self.names))

    def action_containers(self) -> None:
        """Go to the containers."""
        self.show_containers()

    def show_containers(self, id: str = "", *, enter: bool = False) -> None:
        """Go to the containers.

        Args:
            id: of the one that is chosen there; the first when left out.
            enter: open it in the built-in shell.
        """
        from layerview.tui.screens.containers import ContainersScreen

        self._show_area(ContainersScreen, ContainersScreen)
        if id and isinstance(self.screen, ContainersScreen):
            self.screen.choose(id, enter=enter)

    def on_instead_offered(self, message: InsteadOffered) -> None:
        """Offer the built-in shell where containers can't be started."""
        from layerview.tui.live_instead import offer

        offer(self, message)

    def on_instead_made(self, message: InsteadMade) -> None:
        """Open a container in the built-in shell."""
        from layerview.tui.live_instead import show_made

        show_made(self, message)

    def on_live_found(self, message: LiveFound) -> None:
        """Show a container live."""
        from layerview.tui.screens.live_open import show_found

        show_found(self, message)

    def on_live_choice(self, message: LiveChoice) -> None:
        """Ask which container is to be shown live."""
        from layerview.tui.screens.live_open import ask_which

        ask_which(self, message.targets)

    def on_live_missing(self, message: LiveMissing) -> None:
        """Say why a container can't be shown live."""
        self.notify(message.reason, title="Not watched", severity="error", markup=False)

    def action_disk(self) -> None:
        """Go to what takes the space on the disk."""
        from layerview.tui.screens.disk import DiskScreen

        self._show_area(DiskScreen, DiskScreen)

    def action_volumes(self) -> None:
        """Go to the volumes."""
        from layerview.tui.screens.volumes import VolumesScreen

        self._show_area(VolumesScreen, VolumesScreen)

    def _show_area(self, kind: type[Screen[None]], make: Callable[[], Screen[None]]) -> None:
        """Show an area's screen: the one that is open, or a new one in place of the last."""
        while len(self.screen_stack) > 1 and not isinstance(self.screen, kind):
            self.pop_screen()
        if not isinstance(self.screen, kind):
            self.switch_screen(make())

    def on_area_bar_chosen(self, message: AreaBar.Chosen) -> None:
        """Go to the area that was clicked."""
        actions = {
            "Images": self.action_images,
            "Containers": self.action_containers,
            "Disk": self.action_disk,
        }
        actions.get(message.area, self.action_volumes)()

    @property
    def worker(self) -> WorkerProcess:
        """The process that carries out commands; it is started when it is first asked."""
        if self._worker is None:
            from layerview.tui.worker import WorkerProcess

            self._worker = WorkerProcess()
        return self._worker

    def disk_reader(self, tell: Callable[[int, Document], None]) -> DiskReader:
        """Return what measures a root in a process of its own, and tells of it in a thread."""
        from layerview.tui.disk_reader import DiskReader

        return DiskReader(tell)

    def on_unmount(self) -> None:
        """Let the worker go."""
        if self._worker is not None:
            self._worker.close()

    def open_image(self, name: str) -> None:
        """Show an image."""
        from layerview.tui.screens.image import ImageScreen

        self.push_screen(ImageScreen(name))

    def remember(self, name: str) -> None:
        """Put an image that was opened among the recent ones."""
        if name:
            from layerview.tui.recent import remember

            remember(name)


def _is_folder_of_images(name: str) -> bool:
    if not os.path.isdir(name):
        return False
    from layerview.tui.listing import is_folder_of_images

    return is_folder_of_images(name)


def run(
    names: Sequence[str] = (),
    *,
    ascii: bool = False,
    binary_sizes: bool = False,
    platform: str | None = None,
    cache: bool = True,
    theme: str = "dark",
    opening: ImageOpening | None = None,
    replay: ReplaySource | None = None,
) -> int:
    """Run the terminal UI until it is left; return the exit status. Arguments as for the app."""
    app = LayerviewApp(
        names,
        ascii=ascii,
        binary_sizes=binary_sizes,
        platform=platform,
        cache=cache,
        theme=theme,
        opening=opening,
        replay=replay,
    )
    # Work in other threads may hold the interpreter for 5 ms at a time by default; a key must not
    # wait for that several times over.
    sys.setswitchinterval(0.001)
    app.run()
    return app.return_code or 0
