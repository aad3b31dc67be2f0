"""Which layers of a stack are shown where not all have room; pure."""

from __future__ import annotations


def visible_layers(count: int, space: int, tall: int, selected: int) -> list[int]:
    """Return the layers to show, top first; a negative number stands for that many left out.

    The top and the base stay; a window of the layers between follows the selection.

    Args:
        count: how many layers there are.
        space: rows.
        tall: rows of a layer.
        selected: a layer that is to be seen; -1 for none.
    """
    numbers = list(range(count - 1, -1, -1))
    if count * tall <= space or count <= 3 or space < 5:
        return numbers if count * tall <= space else numbers[: max(1, space // tall)]
    inner = space - 2
    at = count - 1 - (selected if 0 <= selected < count else count - 1)
    start = max(1, min(at - (inner - 2) // 2, count - 1 - (inner - 2)))
    end = start + inner - 2
    above, below = start - 1, count - 1 - end
    if above == 0:
        end += 1
        below -= 1
    elif below == 0:
        start -= 1
        above -= 1
    shown = [numbers[0]]
    if above == 1:
        shown.append(numbers[1])
    elif above:
        shown.append(-above)
    shown += numbers[start:end]
    if below == 1:
        shown.append(numbers[end])
    elif below > 0:
        shown.append(-below)
    shown.append(numbers[-1])
    return shown
