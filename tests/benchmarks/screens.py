"""First screens on a real terminal, beside the start of a bare Textual app."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from tests.benchmarks.bare import SHOWN
from tests.benchmarks.panes import Panes, is_reading
from tests.benchmarks.processes import BARE, Surroundings, in_turn, layerview
from tests.benchmarks.rows import Row, ratios
from tests.benchmarks.terminal import Screen, Terminal

FIRST_GOAL = 1.3
AGAIN_GOALS = {"S": 1.3, "M": 1.3, "L": 1.6}
"""By image: the tree from the cache is usable within this multiple of a bare start."""


def first_rows(
    images: Mapping[str, str],
    surroundings: Surroundings,
    rounds: int,
    say: Callable[[str], None],
) -> list[Row]:
    """Time the first screen with the layer list, caches off."""
    rows = []
    for name, image in images.items():
        rows.append(_first_row(name, image, surroundings, rounds))
        say(f"{name} first screen: {rows[-1].figure:.2f}x")
    return rows


def _first_row(name: str, image: str, surroundings: Surroundings, rounds: int) -> Row:
    listed = _shows_layers(surroundings.answer("layers", image))

    def first() -> tuple[float, float, float]:
        with _open(surroundings, image, None) as terminal:
            frame = terminal.wait(_shows_title) - terminal.start
            with_list = terminal.wait(listed) - terminal.start
            return 1000 * frame, 1000 * with_list, 1000 * terminal.cpu()

    first()
    times, floor = in_turn(first, lambda: _bare(surroundings), rounds)
    ours = [both[1] for both in times]
    pairs = ratios(ours, [both[0] for both in floor])
    return Row(
        "first screen with the layer list, caches off, by a bare Textual start",
        name,
        median(pairs),
        "x",
        FIRST_GOAL,
        raw={
            "layer list, ms": ours,
            "bare Textual app, ms": [both[0] for both in floor],
            "ratio of each pair": pairs,
            "frame without the list, ms": [both[0] for both in times],
            "CPU until the layer list, ms": [both[2] for both in times],
            "CPU of the bare app, ms": [both[1] for both in floor],
        },
    )


def again_rows(
    images: Mapping[str, str],
    surroundings: Surroundings,
    rounds: int,
    say: Callable[[str], None],
) -> list[Row]:
    """Time the second open until the tree, from the cache, is usable."""
    rows = []
    for name, image in images.items():
        rows += _again_rows(name, image, surroundings, rounds)
        say(f"{name} again: {rows[-2].figure:.2f}x, all layers in {rows[-1].figure:.2f}x")
    return rows


def _again_rows(name: str, image: str, surroundings: Surroundings, rounds: int) -> list[Row]:
    top = surroundings.answer_lines("files", image, "--depth", "1")
    names = {entry["path"].strip("/") for entry in top}

    def usable(screen: Screen) -> bool:
        return _shows_tree(screen, names)

    def again() -> tuple[float, float]:
        with _open(surroundings, image, name) as terminal:
            tree = terminal.wait(usable, 120.0) - terminal.start
            whole = terminal.wait(lambda screen: not is_reading(screen), 300.0) - terminal.start
            return 1000 * tree, 1000 * whole

    with _open(surroundings, image, name) as terminal:
        terminal.wait(usable, 300.0)
        terminal.wait(lambda screen: not is_reading(screen), 300.0)
        # What hashes behind the screen has to come to its end, too.
        for _ in range(3000):
            if not terminal.children():
                break
            terminal.idle(0.1)
    times, floor = in_turn(again, lambda: _bare(surroundings), rounds)
    rows = []
    for at, what, limit in ((0, "tree usable", AGAIN_GOALS.get(name)), (1, "all layers in", None)):
        ours = [both[at] for both in times]
        bare = [both[0] for both in floor]
        pairs = ratios(ours, bare)
        raw = {
            f"{what}, ms": ours,
            "bare Textual app, ms": bare,
            "ratio of each pair": pairs,
        }
        title = f"second open from the cache, {what}, by a bare Textual start"
        rows.append(Row(title, name, median(pairs), "x", limit, raw=raw))
    return rows


def _open(surroundings: Surroundings, image: str, cache: str | None) -> Terminal:
    environment = surroundings.environment(cache)
    return Terminal(layerview(image), environment, str(surroundings.neutral))


def _bare(surroundings: Surroundings) -> tuple[float, float]:
    """Return the milliseconds from exec until the bare app's text is there, and of CPU."""
    with Terminal(BARE, surroundings.environment(), str(surroundings.neutral)) as terminal:
        shown = terminal.wait(lambda screen: SHOWN in screen.text())
        return 1000 * (shown - terminal.start), 1000 * terminal.cpu()


def _shows_title(screen: Screen) -> bool:
    return "layerview" in screen.line(0) and "Layers" in screen.text()


def _shows_layers(layers: list[dict[str, Any]]) -> Callable[[Screen], bool]:
    """Return a test for the numbers and the instructions of the two highest layers."""
    wanted = []
    for layer in layers[-2:]:
        made = re.escape(" ".join(str(layer["created_by"]).split())[:14])
        wanted.append(re.compile(rf"(?m)^ +{layer['layer']}\W+{made}"))

    def shows(screen: Screen) -> bool:
        text = screen.text()
        return all(pattern.search(text) for pattern in wanted)

    return shows


def _shows_tree(screen: Screen, names: set[str]) -> bool:
    """Whether the root's children stand in the tree, as many as have room there."""
    panes = Panes.find(screen)
    if panes is None:
        return False
    shown = {name.strip("▸▾ /") for name in panes.names(screen)}
    return len(shown & names) >= min(len(names), panes.height - 1)
