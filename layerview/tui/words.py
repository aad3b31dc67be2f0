"""What the screens say in words: instructions, changes, and why bytes are wasted."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layerview.oci.instruction import instruction
from layerview.sizes import format_size
from layerview.text import printable

if TYPE_CHECKING:
    from layerview.oci.config import History
    from layerview.sources.background import Opening
    from layerview.view.waste import Waste


def no_layer_words(history: Iterable[History]) -> list[str]:
    """Return short words for history entries that made no layer: `ENV PATH`, `USER app`."""
    words = []
    for entry in history:
        text = instruction(entry)
        verb, _, rest = text.partition(" ")
        if verb in ("ENV", "LABEL", "ARG"):
            rest = " ".join(part.partition("=")[0] for part in rest.split()[:1])
        words.append(f"{verb} {rest}".strip())
    return words


def count_of(count: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 file`, `1,204 files`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def opening_words(progress: Opening, binary: bool) -> str:
    """Say how far an opening is: `Reading nginx:latest from the engine, 45.0 MB (37 %)`."""
    what = printable(progress.what)
    words = what[:1].upper() + what[1:]
    if progress.done:
        words += f", {format_size(progress.done, binary=binary)}"
        if progress.total:
            words += f" ({100 * progress.done // progress.total} %)"
    return words


def time_words(time: str | None) -> str:
    """Return a recorded RFC 3339 time as the screens show it: `2026-11-19 08:14:22Z`."""
    if not time:
        return "not recorded"
    text = printable(time)
    day, _, clock = text.partition("T")
    clock = re.sub(r"\.\d+", "", clock)
    return f"{day} {clock}".strip()


def numbers(values: Iterable[int]) -> str:
    """Return layer numbers, newest first, as `5, 4 and 1`."""
    words = [str(value) for value in sorted(set(values), reverse=True)]
    if len(words) > 6:
        words = [*words[:5], f"{len(words) - 5} more"]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


@dataclass(slots=True)
class CausedWaste:
    """What one layer's coming wasted, in the layers below it."""

    total: int = 0
    """Bytes."""
    files: Counter[str] = field(default_factory=Counter)
    """For each kind of waste, how many versions below became useless."""
    sizes: Counter[str] = field(default_factory=Counter)
    sources: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    largest: list[tuple[int, bytes]] = field(default_factory=list)
    """The largest such versions: bytes and path."""


def waste_by_cause(waste: Waste) -> dict[int, CausedWaste]:
    """Group wasted versions by the layer that made them useless."""
    causes: dict[int, CausedWaste] = defaultdict(CausedWaste)
    for path in waste.paths:
        for version in path.versions:
            cause = causes[version.hidden_by]
            cause.total += version.bytes
            cause.files[version.kind] += 1
            cause.sizes[version.kind] += version.bytes
            cause.sources[version.kind].add(version.layer)
            cause.largest.append((version.bytes, path.path))
    for cause in causes.values():
        cause.largest.sort(key=lambda item: (-item[0], item[1]))
        del cause.largest[8:]
    return dict(causes)


KIND_WORDS: Mapping[str, str] = {
    "overwritten": "overwritten",
    "deleted": "deleted",
    "metadata_only": "metadata only",
    "identical": "identical",
}


def why_wasted(
    cause: CausedWaste, modes: tuple[int, int] | None = None, arrow: str = "→"
) -> list[str]:
    """Say in sentences why bytes below a layer are wasted, the largest reason first.

    Args:
        cause: the layer's waste.
        modes: the modes before and after, when all its metadata copies changed the same way.
        arrow: what stands between the two.
    """
    sentences = []
    for kind, _ in cause.sizes.most_common():
        count = cause.files[kind]
        source = numbers(cause.sources[kind])
        files = count_of(count, "file")
        each = "a" if count == 1 else "each a"
        if kind == "metadata_only":
            how = "only mode or owner differs"
            if modes is not None:
                how = f"only its mode differs, {modes[0]:04o} {arrow} {modes[1]:04o}"
            sentences.append(f"{files}, {each} full copy of the one in {source}; {how}")
        elif kind == "identical":
            sentences.append(f"{files}, {each} copy of the one in {source}, byte for byte")
        elif kind == "deleted":
            sentences.append(f"deletes {files} of {source}; the bytes still ship")
        else:
            sentences.append(f"rewrites {files} of {source}; the old bytes still ship")
    return sentences
