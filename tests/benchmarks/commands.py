"""Commands: CPU and memory beside dive's, how they grow, and how fast a short one starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from statistics import median

from tests.benchmarks.processes import PYTHON, Surroundings, Usage, in_turn, layerview
from tests.benchmarks.rows import Row, ratios

Say = Callable[[str], None]
"""Told what goes on."""

COMMANDS = ("files", "waste")
CPU_GOALS = {"S": (1.0, 0.5), "M": (0.10, 0.06), "L": (0.02, 0.01)}
"""By image: at most this part of dive's CPU, and what it aims at."""
MEMORY_GOAL = 0.5
"""Of dive's peak memory, on M and L."""
GROWTH_GOAL = 1.2
"""Of the growth of the number of entries, from M to L."""
START_GOAL = 100.0
"""Milliseconds."""
DIVE_ROUNDS = {"M": 3, "L": 1}
"""At most so many runs of dive: they take half a minute on M, and ten on L."""


@dataclass(slots=True)
class Runs:
    """All runs of the commands on one image, in pairs with dive's."""

    entries: int
    ours: dict[str, list[Usage]] = field(default_factory=lambda: {name: [] for name in COMMANDS})
    dive: list[Usage] = field(default_factory=list)
    note: str = ""


def measure_runs(
    images: Mapping[str, str],
    surroundings: Surroundings,
    rounds: int,
    earlier: Mapping[str, Usage],
    say: Callable[[str], None],
) -> dict[str, Runs]:
    """Run the commands and dive on each image, in turn, in an order that alternates.

    Args:
        images: name to path.
        surroundings: where they run.
        rounds: how often.
        earlier: by image: what dive took in an earlier run, not measured again.
        say: told what goes on.
    """
    found = {}
    for name, image in images.items():
        layers = surroundings.answer("layers", image)
        runs = found[name] = Runs(sum(layer["files"] for layer in layers))
        wanted = 0 if surroundings.dive is None else min(rounds, DIVE_ROUNDS.get(name, rounds))
        if name in earlier:
            wanted = 0
            runs.dive.append(earlier[name])
            runs.note = "dive's figures are from an earlier run, given by hand"
        elif wanted < rounds:
            runs.note = f"dive ran only {wanted}x"
        for number in range(rounds):
            turn = [*COMMANDS, "dive"] if number % 2 else ["dive", *COMMANDS[::-1]]
            for what in turn:
                if what != "dive":
                    runs.ours[what].append(surroundings.run(layerview(what, image, "--json")))
                    say(f"{name} {what}: {_told(runs.ours[what][-1])}")
                elif number < wanted:
                    say(f"{name} dive ...")
                    runs.dive.append(surroundings.run_dive(image))
                    say(f"{name} dive: {_told(runs.dive[-1])}")
    return found


def _told(usage: Usage) -> str:
    return f"{usage.cpu:.2f} s CPU, {usage.wall:.2f} s, {usage.peak:.0f} MiB"


def cpu_rows(runs: Mapping[str, Runs]) -> list[Row]:
    """Compare CPU with dive's."""
    rows = []
    for name, found in runs.items():
        limit, aim = CPU_GOALS.get(name, (None, None))
        for what in COMMANDS:
            ours = [usage.cpu for usage in found.ours[what]]
            title = f"CPU, {what} --json against dive --json"
            rows.append(_against_dive(title, name, found, "cpu", ours, "s", limit, aim))
    return rows


def memory_rows(runs: Mapping[str, Runs]) -> list[Row]:
    """Compare peak memory with dive's."""
    rows = []
    for name, found in runs.items():
        limit = MEMORY_GOAL if name in ("M", "L") else None
        for what in COMMANDS:
            ours = [usage.peak for usage in found.ours[what]]
            title = f"peak memory, {what} --json against dive --json"
            rows.append(_against_dive(title, name, found, "peak", ours, "MiB", limit, None))
    return rows


def _against_dive(
    title: str,
    image: str,
    found: Runs,
    attribute: str,
    ours: list[float],
    unit: str,
    limit: float | None,
    aim: float | None,
) -> Row:
    theirs = [getattr(usage, attribute) for usage in found.dive]
    raw = {f"layerview, {unit}": ours, f"dive, {unit}": theirs}
    if not theirs or not all(theirs):
        return Row(f"{title} (no figure of dive's)", image, median(ours), unit, raw=raw)
    pairs = ratios(ours if len(theirs) == 1 else ours[: len(theirs)], theirs)
    raw["ratio of each pair"] = pairs
    return Row(title, image, median(pairs), "x", limit, aim, raw, found.note)


def growth_rows(runs: Mapping[str, Runs], surroundings: Surroundings, rounds: int) -> list[Row]:
    """Compare what M and L take, above the interpreter's floor, with their numbers of entries."""
    if "M" not in runs or "L" not in runs:
        return []
    floor = [surroundings.run(PYTHON) for _ in range(max(3, rounds))]
    medium, large = runs["M"], runs["L"]
    entries = large.entries / medium.entries
    rows = []
    for attribute, title, unit in (("cpu", "CPU", "s"), ("peak", "peak memory", "MiB")):
        nothing = [getattr(usage, attribute) for usage in floor]
        base = median(nothing)
        for what in COMMANDS:
            of_medium = [getattr(usage, attribute) for usage in medium.ours[what]]
            of_large = [getattr(usage, attribute) for usage in large.ours[what]]
            pairs = [
                (b - base) / (a - base) / entries for a, b in zip(of_medium, of_large, strict=True)
            ]
            rows.append(
                Row(
                    f"growth of {title}, {what} --json, by growth of entries",
                    "L/M",
                    median(pairs),
                    "x",
                    GROWTH_GOAL,
                    raw={
                        f"M, {unit}": of_medium,
                        f"L, {unit}": of_large,
                        f"python -c pass, {unit}": nothing,
                        "growth by growth": pairs,
                    },
                    note=f"{medium.entries:,} and {large.entries:,} entries: {entries:.2f}x",
                )
            )
    return rows


def start_rows(images: Mapping[str, str], surroundings: Surroundings, rounds: int) -> list[Row]:
    """Time the commands that read no layer."""
    rounds = max(9, rounds)

    def wall(command: list[str]) -> float:
        return 1000 * surroundings.run(command).wall

    cases = [("--help", "-", layerview("--help"))]
    cases += [
        ("inspect --json", name, layerview("inspect", image, "--json"))
        for name, image in images.items()
    ]
    rows = []
    for what, name, command in cases:
        surroundings.run(command)
        ours, floor = in_turn(partial(wall, command), partial(wall, PYTHON), rounds)
        rows.append(
            Row(
                f"wall time of {what}",
                name,
                median(ours),
                "ms",
                START_GOAL,
                raw={"layerview, ms": ours, "python -c pass, ms": floor},
            )
        )
    return rows
