"""What `layerview inspect CONTAINER` prints."""

from __future__ import annotations

import os
import time

from layerview.cli.output import print_json
from layerview.cli.ps import command_cell
from layerview.containers.listing import described, json_fields, measure
from layerview.errors import LayerviewError
from layerview.sizes import format_size
from layerview.store.data_root import ContainerRecord, DataRoot, LayerRecord
from layerview.text import printable
from layerview.times import ago


def inspect(data: DataRoot, record: ContainerRecord, *, json: bool, binary: bool) -> int:
    """Print all that is known of a container."""
    container = described(data, record)
    measure(data, container)
    layers, problem = _stack(data, record)
    config = record.document.optional_inner("Config") if record.document is not None else None
    log = os.path.join(data.path, "containers", record.id, f"{record.id}-json.log")
    document: dict[str, object] = {
        **json_fields(container),
        "tty": record.tty,
        "error": record.error or None,
        "config": config.values() if config is not None else None,
        "layers": layers,
        "upper": record.folder or None,
        # Its mount is in a namespace of its own; this is the way to it from here.
        "merged": f"/proc/{container.pid}/root" if container.pid else None,
        "log": log if os.path.exists(log) else None,
        "volumes": list(record.volumes),
        "warnings": [problem] if problem else [],
    }
    if json:
        print_json(document)
        return 0
    print(f"{'container':<12}{printable(record.name)}")
    print(f"{'id':<12}{record.id}")
    print(f"{'image':<12}{printable(str(document['image']))} {document['image_id']}")
    print(f"{'command':<12}{command_cell(record.command, whole=True)}")
    print(f"{'created':<12}{record.created} ({ago(record.created, time.time())})")
    print(f"{'status':<12}{container.status(time.time())}")
    if record.error:
        print(f"{'error':<12}{printable(record.error)}")
    if container.pid:
        print(f"{'pid':<12}{container.pid}")
        print(f"{'merged':<12}{document['merged']}")
    print(f"{'driver':<12}{record.driver}")
    own, whole = (
        "?" if size is None else format_size(size, binary=binary)
        for size in (container.size_rw, container.size_root)
    )
    print(f"{'size':<12}{own} changed, {whole} with its image")
    if container.start_ns is not None:
        print(f"{'started in':<12}{container.start_ns / 1e6:.1f} ms")
    if container.allocated is not None:
        print(
            f"{'allocated':<12}{format_size(container.allocated, binary=binary)} when it was made"
        )
    for mount in container.mounts:
        what = mount["name"] or mount["source"] or ""
        access = "read-only" if mount["read_only"] else "writable"
        print(
            f"{'mount':<12}{mount['type']} {printable(str(what))}"
            f" on {printable(str(mount['destination']))}, {access}"
        )
    if document["log"]:
        print(f"{'log':<12}{printable(log)}")
    for layer in reversed(layers):
        print(
            f"{layer['layer']:>5}  {layer['kind']:<10}{printable(str(layer['directory'] or '?'))}"
        )
    if problem:
        print(f"warning     {printable(problem)}")
    return 0


def _stack(data: DataRoot, record: ContainerRecord) -> tuple[list[dict[str, object]], str]:
    """Return the layers, base first and the container's own last, and what could not be read."""
    chain: list[LayerRecord] = []
    at, problem = record.parent, ""
    try:
        while at is not None:
            layer = data.layer(record.driver, at)
            chain.append(layer)
            at = layer.parent
    except LayerviewError as error:
        problem = str(error)
    found: list[dict[str, object]] = [
        {
            "kind": "image",
            "diff_id": str(layer.diff_id),
            "chain_id": str(layer.chain_id),
            "cache_id": layer.cache_id,
            "size": layer.size,
            "directory": layer.folder or None,
        }
        for layer in reversed(chain)
    ]
    for kind, id, folder in (
        ("init", record.init_id, record.init_folder),
        ("container", record.mount_id, record.folder),
    ):
        if id:
            nothing = dict.fromkeys(("diff_id", "chain_id"))
            found.append(
                {"kind": kind, **nothing, "cache_id": id, "size": None, "directory": folder or None}
            )
    return [{"layer": number, **layer} for number, layer in enumerate(found)], problem
