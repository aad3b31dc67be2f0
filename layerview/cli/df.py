"""`layerview df`: what a data root's images, containers, volumes and build cache take."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from layerview.cli.images import image_fields, name_rows
from layerview.cli.options import parser
from layerview.cli.output import print_json, table
from layerview.cli.ps import command_cell
from layerview.cli.roots import add_root_options, inventory, say_problems
from layerview.sizes import format_size
from layerview.store.build_cache import BuildCache
from layerview.store.cache_use import CacheUse, cache_uses
from layerview.store.data_root import ContainerRecord
from layerview.store.inventory import Inventory, VolumeUse, is_active, volumes
from layerview.text import printable
from layerview.times import ago, utc

Part = dict[str, object]

_PARTS = {
    "images": "Images",
    "containers": "Containers",
    "volumes": "Local Volumes",
    "build_cache": "Build Cache",
}


def run(words: Sequence[str]) -> int:
    """Print what the parts of a data root take, as `docker system df` does."""
    made = parser(
        "df",
        "Print what images, containers, volumes and the build cache take, as docker system df\n"
        "does; a layer that several images share counts once. With -v each of them, and what it\n"
        "shares.",
        example="layerview df -v --root /var/lib/docker",
        reads=False,
    )
    made.add_argument(
        "-v", "--verbose", action="store_true", help="each image, container, volume, record"
    )
    add_root_options(made)
    arguments = made.parse_args(words)
    found = inventory(arguments)
    document = _document(found, arguments)
    if arguments.json:
        print_json(document)
    elif arguments.verbose:
        _print_items(found, document, arguments)
    else:
        _print(document, binary=arguments.binary)
    return say_problems(found)


def _document(found: Inventory | None, arguments: argparse.Namespace) -> dict[str, Part]:
    if found is None:
        empty = {"count": 0, "active": 0, "size": 0, "reclaimable": 0}
        return {part: dict(empty) for part in _PARTS}
    images = found.listed
    whole = all(image.is_whole for image in images)
    sizes = {record.id: found.container_size(record) for record in _real(found)}
    disks = volumes(found)
    unused = [sizes[record.id] for record in _real(found) if not is_active(record)]
    document: dict[str, Part] = {
        "images": {
            "count": len(images),
            "active": sum(bool(image.containers) for image in images),
            "size": found.layers_size if whole else None,
            "reclaimable": found.reclaimable if whole else None,
        },
        "containers": {
            "count": len(sizes),
            "active": sum(map(is_active, _real(found))),
            "size": _sum(sizes.values()),
            "reclaimable": _sum(unused),
        },
        "volumes": {
            "count": len(disks),
            "active": sum(volume.links > 0 for volume in disks),
            "size": _sum(volume.size for volume in disks),
            "reclaimable": _sum(volume.size for volume in disks if not volume.links),
        },
        "build_cache": _cache_document(found, verbose=arguments.verbose),
    }
    if arguments.verbose:
        document["images"]["shared_size"] = (
            found.layers_size - sum(image.unique_size for image in images) if whole else None
        )
        document["images"]["items"] = [
            image_fields(image, str(arguments.place)) for image in images
        ]
        document["containers"]["items"] = [
            _container(found, record, sizes[record.id]) for record in _real(found)
        ]
        document["volumes"]["items"] = [_volume(volume) for volume in disks]
    return document


def _cache_document(found: Inventory, *, verbose: bool) -> Part:
    """Say what the build cache takes; what images have as well is no part of its size."""
    cache = BuildCache.read(found.root)
    if not cache.readable:
        found.problems.append(cache.problem)
        return dict.fromkeys(("count", "active", "size", "reclaimable"))
    uses = cache_uses(found, cache)
    size = _sum(use.size for use in uses if not use.shared)
    # Only a build that is going on uses a record, and an engine keeps that to itself.
    held: Part = {"count": len(uses), "active": 0, "size": size, "reclaimable": size}
    if verbose:
        held["items"] = [_cache_item(use) for use in uses]
    return held


def _cache_item(use: CacheUse) -> Part:
    record = use.record
    return {
        "id": record.id,
        "type": record.kind,
        "description": record.description,
        "parents": list(record.parents),
        "created": record.created,
        "last_used": record.last_used,
        "usage_count": record.usage_count,
        "size": use.size,
        "shared": use.shared,
    }


def _real(found: Inventory) -> list[ContainerRecord]:
    """Leave out layers whose container is gone: Docker does not list them either."""
    return [record for record in found.containers if record.name]


def _sum(sizes: object) -> int | None:
    """Add sizes up; one that is unknown makes the sum unknown."""
    found = list(sizes)  # type: ignore[call-overload]
    return None if None in found else sum(found)


def _container(found: Inventory, record: ContainerRecord, size: int | None) -> Part:
    image = found.image_of(record)
    root = image.size + size if image is not None and image.is_whole and size is not None else None
    return {
        "id": record.id,
        "name": record.name,
        "image": record.image_name or None,
        "image_id": str(record.image_id) if record.image_id is not None else None,
        "command": list(record.command),
        "created": utc(record.created),
        "status": record.status or None,
        "started": utc(record.started),
        "finished": utc(record.finished),
        "exit_code": record.exit_code,
        "driver": record.driver,
        "size_rw": size,
        "size_root": root,
        "volumes": list(record.volumes),
    }


def _volume(volume: VolumeUse) -> Part:
    return {
        "name": volume.name,
        "mountpoint": volume.folder,
        "size": volume.size,
        "links": volume.links,
    }


def _size(size: object, *, binary: bool) -> str:
    return format_size(size, binary=binary) if isinstance(size, int) else "?"


def _print(document: dict[str, Part], *, binary: bool) -> None:
    rows = [["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]]
    for part, label in _PARTS.items():
        held = document[part]
        size, free = held["size"], held["reclaimable"]
        share = ""
        if isinstance(size, int) and isinstance(free, int) and size > 0:
            share = f" ({100 * free // size}%)"
        count, active = (
            "?" if held[key] is None else str(held[key]) for key in ("count", "active")
        )
        rows.append(
            [label, count, active, _size(size, binary=binary), _size(free, binary=binary) + share]
        )
    table(rows, right=(1, 2, 3))


def _print_items(
    found: Inventory | None, document: dict[str, Part], arguments: argparse.Namespace
) -> None:
    binary, now = arguments.binary, time.time()
    print("Images space usage:\n")
    rows = [["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED", "UNIQUE", "CONTAINERS"]]
    for image in found.listed if found is not None else ():
        for repository, tag, _ in name_rows(image):
            sizes = (image.size, image.shared_size, image.unique_size)
            rows.append(
                [
                    repository,
                    tag,
                    image.record.image_id.short,
                    ago(image.record.config.created, now),
                    *(_size(size if image.is_whole else None, binary=binary) for size in sizes),
                    str(len(image.containers)),
                ]
            )
    table(rows, right=(4, 5, 6, 7))
    shared, size = document["images"].get("shared_size", 0), document["images"]["size"]
    print(
        f"\n{_size(size, binary=binary)} in all: what each has alone, and"
        f" {_size(shared, binary=binary)} that several share, once"
    )
    print("\nContainers space usage:\n")
    rows = [["CONTAINER ID", "IMAGE", "COMMAND", "VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"]]
    items = document["containers"].get("items", [])
    assert isinstance(items, list)
    for item in items:
        rows.append(
            [
                item["id"][:12],
                printable(item["image"] or "?"),
                command_cell(item["command"]),
                str(len(item["volumes"])),
                _size(item["size_rw"], binary=binary),
                ago(item["created"], now),
                _status(item, now),
                printable(item["name"]),
            ]
        )
    table(rows, right=(3, 4))
    print("\nLocal Volumes space usage:\n")
    rows = [["VOLUME NAME", "LINKS", "SIZE"]]
    items = document["volumes"].get("items", [])
    assert isinstance(items, list)
    for item in items:
        size = _size(item["size"], binary=binary)
        rows.append([printable(item["name"]), str(item["links"]), size])
    table(rows, right=(1, 2))
    cache = document["build_cache"]
    print(f"\nBuild cache usage: {_size(cache['size'], binary=binary)}")
    items = cache.get("items", [])
    assert isinstance(items, list)
    if not items:
        return
    rows = [["CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"]]
    for item in items:
        used = item["last_used"]
        rows.append(
            [
                printable(item["id"][:12]),
                printable(item["type"]),
                _size(item["size"], binary=binary),
                ago(item["created"], now),
                ago(used, now) if used is not None else "",
                str(item["usage_count"]),
                str(item["shared"]).lower(),
            ]
        )
    print()
    table(rows, right=(2, 5))


def _status(item: Part, now: float) -> str:
    """Say a container's state as docker ps does (moby, container/state.go, String)."""
    status = item["status"]
    started, finished = item["started"], item["finished"]
    if status in ("running", "paused", "restarting"):
        words = ago(str(started), now).removesuffix(" ago")
        return f"Up {words}" + {"paused": " (Paused)", "restarting": " (Restarting)"}.get(
            str(status), ""
        )
    if status == "exited":
        return f"Exited ({item['exit_code']}) {ago(str(finished), now)}"
    return str(status or "?").capitalize()
