"""`layerview history`: what made an image, step by step."""

from __future__ import annotations

from collections.abc import Sequence

from layerview.cli.options import Opened, opened, parser, report
from layerview.cli.output import print_json, table
from layerview.oci.instruction import instruction
from layerview.sizes import format_size
from layerview.text import printable
from layerview.times import utc


def run(words: Sequence[str]) -> int:
    """Print the steps of an image's history, newest first."""
    made = parser(
        "history",
        "Print what made the image, newest first, with the size of each step's layer.",
        example="layerview history app.tar",
    )
    made.add_argument("image", metavar="IMAGE")
    arguments = made.parse_args(words)
    with opened(arguments) as found:
        steps = _steps(found)
        if arguments.json:
            print_json(steps)
        else:
            rows = [["IMAGE", "CREATED", "LAYER", "SIZE", "CREATED BY", "COMMENT"]]
            for step, row in zip(steps, reversed(found.image.history), strict=True):
                image_id, size, layer = step["image_id"], step["size"], step["layer"]
                rows.append(
                    [
                        str(image_id)[7:19] if image_id else "<missing>",
                        str(step["created"] or "?")[:19],
                        "" if layer is None else str(layer),
                        _size(size, binary=arguments.binary),
                        instruction(row.history),
                        printable(str(step["comment"] or "")),
                    ]
                )
            table(rows, right=(2, 3), cut=4)
        return report([found])


def _size(size: object, *, binary: bool) -> str:
    return format_size(size, binary=binary) if isinstance(size, int) else "?"


def _steps(found: Opened) -> list[dict[str, object]]:
    steps: list[dict[str, object]] = []
    rows = found.image.history
    for at in range(len(rows) - 1, -1, -1):
        row = rows[at]
        history = row.history
        empty = history is not None and history.empty_layer
        index = found.layers[row.layer].index if row.layer is not None else None
        newest = at == len(rows) - 1
        steps.append(
            {
                "image_id": str(found.image.image_id) if newest and found.image.image_id else None,
                "created": utc(history.created) if history is not None else None,
                "created_by": history.created_by if history is not None else None,
                "size": index.size if index is not None else 0 if empty else None,
                "comment": history.comment if history is not None else None,
                "empty_layer": empty,
                "layer": row.layer,
            }
        )
    return steps
