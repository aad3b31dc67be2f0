"""How bars are cut into cells; pure numbers and signs, no colours."""

from __future__ import annotations

from collections.abc import Mapping

from layerview.tui.glyphs import Glyphs


def share_of(part: int, whole: int) -> float:
    """Return part / whole, between 0 and 1; an empty whole gives 0."""
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0


def cut_bar(
    width: int, share: float, by_layer: Mapping[int, int], glyphs: Glyphs
) -> list[tuple[str, int | None]]:
    """Cut a bar into runs of (signs, layer), base first; the run of None is the empty track.

    The bar ends on a half cell, at least one; inside, layers change on whole cells, because a
    cell that is filled in its lower half can have only one colour.
    """
    if width <= 0:
        return []
    halves = max(1, round(share * width * 2)) if share > 0 else 0
    cells = (halves + 1) // 2
    runs: list[tuple[str, int | None]] = []
    if cells:
        parts = _apportion(cells, by_layer)
        for position, (layer, count) in enumerate(parts):
            signs = glyphs.bar * count
            if position == len(parts) - 1 and halves % 2:
                signs = signs[:-1] + glyphs.bar_half
            runs.append((signs, layer))
    if cells < width:
        runs.append((glyphs.track * (width - cells), None))
    return runs


def _apportion(cells: int, by_layer: Mapping[int, int]) -> list[tuple[int, int]]:
    """Share cells among layers by their bytes (largest remainder), base first."""
    total = sum(by_layer.values())
    if not by_layer or total <= 0:
        return [(min(by_layer, default=-1), cells)]
    exact = {layer: cells * size / total for layer, size in by_layer.items()}
    counts = {layer: int(value) for layer, value in exact.items()}
    left = cells - sum(counts.values())
    for layer in sorted(exact, key=lambda key: (counts[key] - exact[key], key))[:left]:
        counts[layer] += 1
    return [(layer, counts[layer]) for layer in sorted(counts) if counts[layer]]


def solid_bar(width: int, share: float, glyphs: Glyphs) -> tuple[str, str]:
    """Return the filled and the empty part of a full-height bar, in eighths of a cell."""
    eighths = round(share * width * 8)
    if share > 0:
        eighths = max(1, eighths)
    full, rest = divmod(min(eighths, width * 8), 8)
    filled = glyphs.eighths[8] * full + (glyphs.eighths[rest] if rest else "")
    return filled, " " * (width - len(filled))
