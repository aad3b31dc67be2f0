"""What an engine knows of volumes besides their folders: their labels.

moby, volume/service/db.go: `volumes/metadata.db` has a bucket `volumes`, and in it for each name
that an engine made or used an object with Name, Driver, Labels and Options.
"""

from __future__ import annotations

from layerview.errors import FormatError, LayerviewError
from layerview.oci.fields import Fields, load_json
from layerview.store.bolt import read_database
from layerview.text import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.store.data_root import DataRoot

_DATABASE = "volumes/metadata.db"


def read_volume_labels(root: DataRoot) -> dict[str, dict[str, str]] | None:
    """Return the labels of volumes, by name; None where the database can't be read."""
    found: dict[str, dict[str, str]] = {}
    try:
        database = read_database(root, _DATABASE)
        bucket = database.root.bucket(b"volumes") if database is not None else None
        for key, data in bucket.values().items() if bucket is not None else ():
            try:
                found[decode(key)] = Fields(load_json(data, _DATABASE), _DATABASE).text_map(
                    "Labels"
                )
            except FormatError:
                continue  # a damaged note: the volume is there all the same
    except LayerviewError:
        return None
    return found
