"""`layerview waste`: bytes that an image carries and nobody sees."""

from __future__ import annotations

from collections.abc import Sequence

from layerview.cli.options import natural, opened, parser, report
from layerview.cli.output import path_fields, print_json, table
from layerview.sizes import format_size
from layerview.text import printable
from layerview.view.waste import Waste, measure


def run(words: Sequence[str]) -> int:
    """Print hidden versions by kind, layer and path."""
    made = parser(
        "waste",
        "Print the bytes that later layers hide: overwritten, deleted later, copied for a change\n"
        "of mode or owner, or added again unchanged; by layer and by path, most first.",
        example="layerview waste app.tar --limit 10",
    )
    made.add_argument("image", metavar="IMAGE")
    made.add_argument("--limit", type=natural, metavar="N", help="at most N paths (table: 20)")
    arguments = made.parse_args(words)
    with opened(arguments) as found:
        waste = measure(found.view, found.contents, found.progress)
        found.progress.clear()
        if arguments.json:
            print_json(_document(waste, arguments.limit))
        else:
            limit = 20 if arguments.limit is None else arguments.limit
            _print(waste, limit, binary=arguments.binary)
        return report([found])


def _document(waste: Waste, limit: int | None) -> dict[str, object]:
    return {
        "total_bytes": waste.total_bytes,
        "live_bytes": waste.live_bytes,
        "wasted_bytes": waste.wasted_bytes,
        "by_kind": waste.by_kind,
        "by_layer": [
            {"layer": item.layer, "bytes": item.bytes, "by_kind": item.by_kind}
            for item in waste.by_layer
        ],
        "paths": [
            {
                **path_fields(item.path),
                "bytes": item.bytes,
                "versions": [
                    {
                        "layer": version.layer,
                        "bytes": version.bytes,
                        "kind": version.kind,
                        "hidden_by": version.hidden_by,
                    }
                    for version in item.versions
                ],
            }
            for item in waste.paths[:limit]
        ],
        "dive": {
            "efficiencyScore": waste.dive.efficiency_score,
            "inefficientBytes": waste.dive.inefficient_bytes,
            "wastedBytes": waste.dive.wasted_bytes,
            "userWastedPercent": waste.dive.user_wasted_percent,
        },
    }


def _print(waste: Waste, limit: int, *, binary: bool) -> None:
    def size(number: int) -> str:
        return format_size(number, binary=binary)

    print(
        f"{size(waste.total_bytes)} in layers, {size(waste.live_bytes)} show,"
        f" {size(waste.wasted_bytes)} wasted ({100 * (1 - waste.efficiency):.1f} %)"
    )
    words = ", ".join(
        f"{kind.replace('_', ' ')} {size(number)}" for kind, number in waste.by_kind.items()
    )
    print(words)
    layers = [item for item in waste.by_layer if item.bytes]
    if layers:
        rows = [["LAYER", "WASTED", "OVERWRITTEN", "DELETED", "METADATA ONLY", "IDENTICAL"]]
        rows += [
            [
                str(item.layer),
                size(item.bytes),
                *(size(item.by_kind[kind]) for kind in item.by_kind),
            ]
            for item in layers
        ]
        print()
        table(rows, right=range(6))
    if waste.paths[:limit]:
        rows = [["WASTED", "VERSIONS", "PATH"]]
        for item in waste.paths[:limit]:
            versions = ", ".join(
                f"{version.layer} {version.kind.replace('_', ' ')} by {version.hidden_by}"
                for version in item.versions
            )
            rows.append([size(item.bytes), versions, f"/{printable(item.path)}"])
        print()
        table(rows, right=(0,), cut=2)
        if len(waste.paths) > limit:
            print(f"and {len(waste.paths) - limit:,} paths more (--limit)")
    dive = waste.dive
    print()
    print(
        f"dive's figures: efficiency {dive.efficiency_score:.4f}, wasted"
        f" {size(dive.wasted_bytes)}, {100 * dive.user_wasted_percent:.1f} % of the user's layers"
    )
