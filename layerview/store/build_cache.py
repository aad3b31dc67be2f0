"""BuildKit's cache in a data root: its records, and the folders and layers that it counts on.

As moby has it (daemon/internal/builder-next/adapters/snapshot): `buildkit/snapshots.db` has a
bucket for each snapshot. `committed` in it names the driver's folder, `chainid` the layer that it
became; without them its own name is the folder, or the layer. `buildkit/metadata_v2.db` has what
is known of each record (buildkit, cache/metadata.go); before Docker 20.10 it was `metadata.db`.
A snapshot's folder is made before its bucket, and removed after it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from layerview.errors import FormatError, LayerviewError
from layerview.oci.digest import Digest
from layerview.records import Record
from layerview.store.bolt import Bucket, read_database
from layerview.store.data_root import DataRoot
from layerview.store.layout import is_driver_id
from layerview.times import rfc3339

_SNAPSHOTS = "buildkit/snapshots.db"
_METADATA = ("buildkit/metadata_v2.db", "buildkit/metadata.db")
_MAX_VALUE = 1 << 16
"""Bytes of a value that is looked at; real ones are short."""
_PARENTS = ("cache.parent", "cache.lowerDiffParent", "cache.upperDiffParent")
_KNOWN = {
    name.encode(): name
    for name in (
        *_PARENTS,
        *("cache.mergeParents", "cache.description", "cache.createdAt", "cache.lastUsedAt"),
        *("cache.usageCount", "cache.recordType", "cache.snapshot", "cache.blob"),
        *("cache.blobonly", "cache.equalMutable", "cache.deleted", "snapshot.size"),
    )
}
_SECOND = 1_000_000_000
_NUMBER = re.compile(rb'\{"value":[0-9]{1,19}\}')
_DIGITS = re.compile(r"[0-9]{1,18}")


class CacheRecord(Record):
    """One record of the cache, as far as it is known."""

    id: str
    description: str = ""
    """What made it: a step of a Dockerfile, a local source."""
    created: str | None = None
    """RFC 3339."""
    last_used: str | None = None
    usage_count: int = 0
    kind: str = "regular"
    """"regular", "internal", "frontend", "source.local", "source.git.checkout", …"""
    size: int | None = None
    """Bytes as BuildKit counted them; None where it has not counted yet."""
    parents: tuple[str, ...] = ()
    """IDs of the records that it lies on."""
    driver_id: str = ""
    """The driver's folder; "" where it has none."""
    chain_id: Digest | None = None
    """The layer of the data root that it is, or that was made of it."""
    blob: Digest | None = None
    """Its bytes in BuildKit's own store of contents."""
    blob_only: bool = False
    """Whether BuildKit counts its blob alone: the layer is an image's."""
    twin: str = ""
    """A record that may still be written and shares the snapshot; "" for none."""


@dataclass(frozen=True, slots=True)
class BuildCache:
    """All records, and what in the data root they count on."""

    records: tuple[CacheRecord, ...] = ()
    """In the order in which Docker lists them: the one last used comes last."""
    driver_ids: Mapping[str, CacheRecord] = field(default_factory=dict)
    """Whose a driver's folder is; a layer's folder that was made by a build is among them."""
    chain_ids: Mapping[Digest, CacheRecord] = field(default_factory=dict)
    """Which layers of the data root are counted on."""
    problem: str = ""
    """Why a database can't be read, so that no folder may be called nobody's; "" when all can."""

    @property
    def readable(self) -> bool:
        """Whether all that the cache counts on is known."""
        return not self.problem

    @classmethod
    def read(cls, root: DataRoot) -> BuildCache:
        """Read the databases of a data root; what can't be read is said in `problem`."""
        problem = ""
        snapshots: dict[str, dict[bytes, bytes]] = {}
        records: dict[str, dict[str, object]] = {}
        try:
            snapshots = _snapshots(root)
            records = _metadata(root)
        except LayerviewError as error:
            problem = f"what the build cache counts on is not known: {error}"
        return _joined(snapshots, records, problem)


def _snapshots(root: DataRoot) -> dict[str, dict[bytes, bytes]]:
    database = read_database(root, _SNAPSHOTS)
    if database is None:
        return {}
    return {_text(name): bucket.values() for name, bucket in database.root.buckets()}


def _metadata(root: DataRoot) -> dict[str, dict[str, object]]:
    for below in _METADATA:
        database = read_database(root, below)
        if database is None:
            continue
        main = database.root.bucket(b"_main")
        return {_text(id): _values(held) for id, held in main.buckets()} if main else {}
    return {}


def _values(bucket: Bucket) -> dict[str, object]:
    """Read what is asked of a record; each is an object with the value in it."""
    found: dict[str, object] = {}
    for key, data in bucket.values().items():
        name = _KNOWN.get(key)
        if name is None or not data or len(data) > _MAX_VALUE:
            continue
        if _NUMBER.fullmatch(data):
            found[name] = int(data[9:-1])
            continue
        # Many and small: of a value that is none, or nested without end, nothing is known.
        with suppress(ValueError, RecursionError):
            document = json.loads(data)
            if isinstance(document, dict):
                found[name] = document.get("value")
    return found


def _joined(
    snapshots: Mapping[str, Mapping[bytes, bytes]],
    metadata: Mapping[str, Mapping[str, object]],
    problem: str,
) -> BuildCache:
    """Put together what the databases say."""
    records: dict[str, CacheRecord] = {}
    """By snapshot."""
    listed: list[CacheRecord] = []
    for id, values in metadata.items():
        if values.get("cache.deleted") is True:
            continue
        snapshot = _string(values, "cache.snapshot") or id
        record = _record(id, values, snapshot, snapshots.get(snapshot, {}))
        listed.append(record)
        records[snapshot] = record
    driver_ids: dict[str, CacheRecord] = {}
    chain_ids: dict[Digest, CacheRecord] = {}
    committed: list[str] = []
    """Snapshots as they were before they were called otherwise."""
    for name, held in snapshots.items():
        if name not in records and b"chainid" in held and b"committed" not in held:
            continue  # another name of a layer, which outlives the record that it was made for
        if name not in records and b"iscommitted" in held:
            committed.append(name)
            continue
        record = records.get(name) or _record(name, {}, name, held)
        if record.chain_id is not None:
            chain_ids.setdefault(record.chain_id, record)
        if record.driver_id and (record.driver_id != name or name not in driver_ids):
            driver_ids[record.driver_id] = record
    for name in committed:
        if name not in driver_ids and is_driver_id(name):
            driver_ids[name] = _record(name, {}, name, snapshots[name])
    for record in listed:
        # A record without its snapshot is dropped by the next engine; until then it counts.
        if record.chain_id is not None:
            chain_ids.setdefault(record.chain_id, record)
        if record.driver_id:
            driver_ids.setdefault(record.driver_id, record)
    listed.sort(key=lambda one: (one.last_used is not None, one.last_used or "", one.id))
    return BuildCache(tuple(listed), driver_ids, chain_ids, problem)


def _record(
    id: str, values: Mapping[str, object], snapshot: str, held: Mapping[bytes, bytes]
) -> CacheRecord:
    chain_id = _digest(_text(held.get(b"chainid", b""))) or _digest(snapshot)
    driver_id = _text(held.get(b"committed", b""))
    twin = _string(values, "cache.equalMutable")
    if not driver_id and chain_id is None:
        driver_id = snapshot if held or not twin else twin
    merged = values.get("cache.mergeParents")
    parents = [_string(values, key) for key in _PARENTS]
    if isinstance(merged, list):
        parents += [parent for parent in merged if isinstance(parent, str)]
    size = _count(values.get("snapshot.size"))
    counted = _text(held.get(b"size", b""))
    return CacheRecord(
        id,
        _string(values, "cache.description"),
        _moment(values.get("cache.createdAt")),
        _moment(values.get("cache.lastUsedAt")),
        _count(values.get("cache.usageCount")) or 0,
        _string(values, "cache.recordType") or "regular",
        size if size is not None else int(counted) if _DIGITS.fullmatch(counted) else None,
        tuple(filter(None, parents)),
        driver_id if is_driver_id(driver_id) else "",
        chain_id,
        _digest(_string(values, "cache.blob")),
        values.get("cache.blobonly") is True,
        twin,
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _string(values: Mapping[str, object], key: str) -> str:
    found = values.get(key)
    if not isinstance(found, str) or found.isascii():
        return found if isinstance(found, str) else ""
    return found.encode("utf-8", "replace").decode("utf-8")  # JSON can say half a character


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 63 else None


def _moment(nanoseconds: object) -> str | None:
    if type(nanoseconds) is not int or not 0 < nanoseconds < 1 << 63:
        return None
    seconds, rest = divmod(nanoseconds, _SECOND)
    return rfc3339(seconds, rest * 16 + 9)


def _digest(text: str) -> Digest | None:
    try:
        found = Digest.parse(text) if text.startswith("sha256:") else None
    except FormatError:
        return None
    return found
