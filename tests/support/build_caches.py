"""BuildKit's databases in a data root, made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.support import bolts

Values = Mapping[str, object]


def write(
    root: Path,
    snapshots: Mapping[str, Mapping[str, str]],
    records: Mapping[str, Values] | None = None,
    *,
    metadata: str = "metadata_v2.db",
) -> Path:
    """Write what a build cache is made of; return its folder.

    Args:
        root: the data root.
        snapshots: by key, what `snapshots.db` says of each: `committed`, `chainid`, `parent`, …
        records: by ID, the values that the metadata has of each.
        metadata: the name of that database.
    """
    folder = root / "buildkit"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "snapshots.db").write_bytes(
        bolts.database(
            {
                name.encode(): {key.encode(): value.encode() for key, value in held.items()}
                for name, held in snapshots.items()
            }
        )
    )
    main = {
        id.encode(): {key.encode(): json.dumps({"value": values[key]}).encode() for key in values}
        for id, values in (records or {}).items()
    }
    (folder / metadata).write_bytes(bolts.database({b"_index": {b"x::y": b""}, b"_main": main}))
    return folder
