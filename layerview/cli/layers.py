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
            placed = any(item.source.cache_id is not None for item in found.layers)
            rows = [["LAYER", "SIZE", "STORED", "ENTRIES", "DIFF ID", "CHECKED", "CREATED BY"]]
            if placed:
                # In a data root a layer has more names, and is not stored as a blob.
                rows[0][2] = "CHAIN ID"
                rows[0].insert(5, "CACHE ID")
            for item in reversed(found.layers):
                source, index = item.source, item.index
                stored = source.compressed_size
                row = [
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
                if placed:
                    row[2] = source.chain_id.short if source.chain_id else source.role or "?"
                    row.insert(5, (source.cache_id or "?")[:12])
                rows.append(row)
            table(rows, right=(0, 1, 3) if placed else (0, 1, 2, 3), cut=len(rows[0]) - 1)
            if placed:
                for item in reversed(found.layers):
                    where = printable(item.source.directory or "?")
                    print(f"layer {item.source.number}: {where}")
            for item in found.layers:
                for warning in item.index.warnings if item.index is not None else ():
                    print(f"layer {item.source.number}: {printable(warning)}")
                repeated = item.index.columns.repeated_bytes if item.index is not None else 0
                if repeated:
                    size = format_size(repeated, binary=arguments.binary)
                    print(f"layer {item.source.number}: {size} of replaced entries do not count")
            total = format_size(found.view.total_bytes, binary=arguments.binary)
            shown = format_size(found.view.live_bytes, binary=arguments.binary)
            count = len(found.layers)
            layers = "1 layer" if count == 1 else f"{count} layers"
            print(f"{total} in {layers}, of which {shown} show")
        return report([found])
