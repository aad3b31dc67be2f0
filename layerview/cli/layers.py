"""`layerview layers`: the stack of an image."""

from __future__ import annotations

from collections.abc import Sequence

from layerview.cli.describe import layer_fields, title
from layerview.cli.options import opened, parser, report
from layerview.cli.output import print_json, table
from layerview.oci.instruction import instruction
from layerview.sizes import format_size
from layerview.text import printable


def run(words: Sequence[str]) -> int:
    """Print an image's layers, top first; as JSON base first."""
    made = parser(
        "layers",
        "Print the layer stack, top first: size, entries, what made it, and its digests.",
        example="layerview layers app.tar --json",
    )
    made.add_argument("image", metavar="IMAGE")
    arguments = made.parse_args(words)
    with opened(arguments) as found:
        if arguments.json:
            print_json(
                [layer_fields(item.source, item.index, item.verified) for item in found.layers]
            )
        else:
            print(printable(title(found.image)))
            rows = [["LAYER", "SIZE", "STORED", "ENTRIES", "DIFF ID", "CHECKED", "CREATED BY"]]
            for item in reversed(found.layers):
                source, index = item.source, item.index
                stored = source.compressed_size
                rows.append(
                    [
                        str(source.number),
                        "not here"
                        if index is None
                        else format_size(index.size, binary=arguments.binary),
                        format_size(stored, binary=arguments.binary) if stored is not None else "?",
                        f"{index.entry_count:,}" if index is not None else "?",
                        source.diff_id.short if source.diff_id else "?",
                        {True: "yes", False: "WRONG", None: "not yet"}[item.verified],
                        instruction(source.history),
                    ]
                )
            table(rows, right=(0, 1, 2, 3), cut=6)
            for item in found.layers:
                for warning in item.index.warnings if item.index is not None else ():
                    print(f"layer {item.source.number}: {printable(warning)}")
                repeated = item.index.columns.repeated_bytes if item.index is not None else 0
                if repeated:
                    size = format_size(repeated, binary=arguments.binary)
                    print(f"layer {item.source.number}: {size} of replaced entries do not count")
            total = format_size(found.view.total_bytes, binary=arguments.binary)
            shown = format_size(found.view.live_bytes, binary=arguments.binary)
            print(f"{total} in {len(found.layers)} layers, of which {shown} show")
        return report([found])
