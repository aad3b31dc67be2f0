"""What `layerview meter` does for the terminal UI: an account, a folder's entries, sizes again."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from layerview.errors import FormatError
from layerview.oci.config import pair_history
from layerview.oci.instruction import instruction
from layerview.progress import Progress
from layerview.store.data_root import DataRoot
from layerview.store.freeing import Freeing
from layerview.store.inventory import Inventory
from layerview.store.safe_ways import SafeWays
from layerview.store.tree_size import Child, Meter
from layerview.text import decode, encode

if TYPE_CHECKING:
    from layerview.store.account import Account

Document = dict[str, object]
Answer = Callable[[Document], None]

_EVERY = 0.15
"""Seconds between two answers while something is being read."""
_MOST_CACHED = 500
"""Records of the build cache of which it is told what goes with each, the largest."""
_JSON_LOG = "-json.log"
MOST_ENTRIES = 5_000
"""Of one folder that are told one by one, the largest."""


def carry_out(request: Mapping[str, object], answer: Answer) -> None:
    """Do what is asked for, and answer as it goes; the last answer has `done`.

    Raises:
        LayerviewError: when it can't be done.
    """
    do, root = request.get("do"), _text(request, "root")
    if do == "account":
        _account(root, answer)
    elif do == "folder":
        _folder(root, _text(request, "path"), answer)
    elif do == "sizes":
        paths = request.get("paths")
        _sizes(root, [str(path) for path in paths] if isinstance(paths, list) else [], answer)
    else:
        raise FormatError("the terminal UI asked for something unknown")


class _Batches:
    """Collects what is to be told, so that a million things are not a million lines."""

    def __init__(self, answer: Answer, name: str) -> None:
        self._answer = answer
        self._name = name
        self._waiting: list[Document] = []
        self.beside: Document = {}
        """What the next answer says more."""
        self._told = time.monotonic()

    def add(self, item: Document) -> None:
        """Tell of one more thing, soon."""
        self._waiting.append(item)
        self.tell_if_due()

    def tell_if_due(self) -> bool:
        """Tell when it is time to; never ask the work to stop, which is killed for that."""
        if time.monotonic() - self._told >= _EVERY:
            self.tell()
        return False

    def tell(self) -> None:
        """Tell what waits."""
        if self._waiting or self.beside:
            self._answer({self._name: self._waiting, **self.beside})
        self._waiting, self.beside = [], {}
        self._told = time.monotonic()


def _account(path: str, answer: Answer) -> None:
    from layerview.store.usage import account

    root = DataRoot(path)
    safe = SafeWays(root)
    inventory = Inventory(root)
    answer({**_stock(inventory), "own": safe.own})
    parts = _Batches(answer, "parts")
    found = account(
        root,
        each=lambda part: parts.add(asdict(part)),
        stop=parts.tell_if_due,
        progress=_Steps(parts),
    )
    ways = {part.path: safe.way(part) for part in found.parts}
    answer(
        {
            "done": True,
            "parts": [asdict(part) for part in found.parts],
            "frees": _frees(root, found, inventory),
            "ways": {path: way for path, way in ways.items() if way},
            "problems": list(found.problems),
            "driver": found.driver,
            "engine": found.engine,
        }
    )


class _Steps(Progress):
    """Tells how many of the drivers' folders are measured, beside the parts."""

    def __init__(self, parts: _Batches) -> None:
        super().__init__()
        self._parts = parts

    def step(self, what: str, done: int, total: int | None) -> None:
        """Take note, for the next answer."""
        self._parts.beside = {"step": [done, total or 0]}


def _stock(inventory: Inventory) -> Document:
    """Return the images and containers that the root holds."""
    images = []
    for use in inventory.listed:
        record = use.record
        rows = pair_history(record.config.history, len(record.chain_ids))
        made = {row.layer: row.history for row in rows if row.layer is not None}
        cache_ids = {layer.chain_id: layer.cache_id for layer in use.layers}
        layers = [
            {
                "chain_id": str(chain_id),
                "cache_id": cache_ids.get(chain_id, ""),
                "instruction": instruction(made.get(number)),
            }
            for number, chain_id in enumerate(record.chain_ids)
        ]
        names = [*record.references, *record.digests]
        images.append(
            {"id": record.image_id.hex, "names": names, "driver": record.driver, "layers": layers}
        )
    containers = [
        {
            "id": record.id,
            "name": record.name or record.id[:12],
            "status": record.status,
            "image": record.image_name,
            "image_id": record.image_id.hex if record.image_id else "",
            "driver": record.driver,
            "ids": [record.mount_id, record.init_id],
        }
        for record in inventory.containers
    ]
    return {"images": images, "containers": containers}


def _frees(root: DataRoot, found: Account, inventory: Inventory) -> dict[str, int]:
    """Return what deleting each thing would free, by the key of its row on the screen."""
    freeing = Freeing(root, found)
    frees = {f"volume:{part.id}": part.bytes for part in found.of("volume")}
    orphans = found.of("orphan")
    frees.update((f"part:orphan:{part.path}", part.bytes) for part in orphans)
    frees["group:orphan"] = sum(part.bytes for part in orphans)
    if not freeing.exact:
        # Who needs a layer or a record of the cache is not wholly known.
        return frees
    for use in inventory.listed:
        key = f"image:{use.record.driver}:{use.record.image_id.hex}"
        frees[key] = freeing.image(use.record)
    for container in inventory.containers:
        frees[f"container:{container.id}"] = freeing.container(container)
    frees["group:build_cache"] = freeing.whole_cache()
    cached = found.of("build_cache")
    for part in cached[:_MOST_CACHED]:
        record = freeing.cache.driver_ids.get(part.id)
        if record is not None:
            frees[f"part:build_cache:{part.path}"] = freeing.cache_record(record)
    return frees


def _folder(root: str, path: str, answer: Answer) -> None:
    batches = _Batches(answer, "found")
    meter = Meter(root, batches.tell_if_due)
    rest: list[tuple[int, int, Document]] = []
    told = left = left_bytes = 0
    for number, child in enumerate(meter.children(path)):
        item = _found(child)
        if item["kind"] == "folder" and told < MOST_ENTRIES // 2:
            told += 1
            batches.add(item)
            continue
        entry = (child.size.bytes, -number, item)
        if len(rest) < MOST_ENTRIES // 2:
            heapq.heappush(rest, entry)
        else:
            smallest = heapq.heappushpop(rest, entry)
            left, left_bytes = left + 1, left_bytes + smallest[0]
        batches.tell_if_due()
    for _, _, item in sorted(rest, key=lambda entry: (-entry[0], -entry[1])):
        batches.add(item)
    batches.tell()
    answer({"done": True, "rest": [left, left_bytes], "problems": list(meter.problems)})


def _found(child: Child) -> Document:
    return {
        "name": decode(child.name),
        "kind": child.kind,
        "bytes": child.size.bytes,
        "entries": child.size.entries,
        "unread": child.size.unread,
    }


def _sizes(root: str, paths: list[str], answer: Answer) -> None:
    sizes = dict(_measured(root, paths))
    answer({"done": True, "sizes": sizes})


def _measured(root: str, paths: list[str]) -> Iterator[tuple[str, int]]:
    """Measure each by itself; what is gone meanwhile has no bytes."""
    for path in paths:
        folder, name = os.path.split(path)
        before, log, _ = name.partition(_JSON_LOG)
        meter = Meter(root)
        if not os.path.lexists(path):
            yield path, 0
        elif log:
            # The log's older files are one thing with it, as in the account.
            start = encode(before + log)
            found = (child for child in meter.children(folder) if child.name.startswith(start))
            yield path, sum(child.size.bytes for child in found)
        else:
            yield path, meter.tree(path).bytes


def _text(request: Mapping[str, object], key: str) -> str:
    value = request.get(key)
    return value if isinstance(value, str) else ""
