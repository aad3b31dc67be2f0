"""The demo image built: recipe and programs become layer tars in an OCI layout.

The same recipe and the same programs give the same bytes: owners and times come from the recipe,
the order of entries is that of their paths.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from layerview.errors import DamageError, FormatError
from layerview.oci.media_types import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from layerview.progress import Progress
from layerview.sources.demo.recipe import Entry, Recipe, Step
from layerview.sources.demo.tools import Toolbox

_MODES = {"file": 0o644, "folder": 0o755, "link": 0o777, "hardlink": 0o644, "fifo": 0o644}
_TYPES = {
    "file": tarfile.REGTYPE,
    "folder": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class _Node:
    """What stands at a path: content of its own, or (source) a file of this machine."""

    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    data: bytes = b""
    source: str = ""
    target: str = ""
    xattrs: Mapping[str, str] = field(default_factory=dict)


_FOLDER = _Node("folder", 0o755)
_MARKER = _Node("file", 0)


def build_image(place: Path, recipe: Recipe, box: Toolbox, progress: Progress) -> None:
    """Write the images of a recipe as an OCI layout into the new folder `place`.

    Raises:
        OSError: when a file cannot be read or written.
        DamageError: when a program changed while it was read.
        FormatError: when the recipe contradicts itself.
        Cancelled: when the person asked to stop.
    """
    blobs = place / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    tree: dict[str, _Node] = {}
    layers: list[dict[str, Any] | None] = []
    history: list[dict[str, Any]] = []
    for step in recipe.steps:
        done = sum(layer["size"] for layer in layers if layer is not None)
        progress.step("building the demo image", done, None)
        layer = None
        if not step.empty:
            holds = _apply(tree, step, box)
            layer = _blob(blobs, OCI_LAYER, _layer_writer(holds, step, progress))
        layers.append(layer)
        history.append(_history(step, layer, box))
    manifests: list[dict[str, Any]] = []
    for reference, count in recipe.images:
        own = [layer for layer in layers[:count] if layer is not None]
        config = _put(blobs, OCI_CONFIG, _config(own, history[:count], box))
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config,
            "layers": own,
        }
        manifests.append(
            {
                **_put(blobs, OCI_MANIFEST, manifest),
                "annotations": {"org.opencontainers.image.ref.name": reference},
                "platform": _platform(box),
            }
        )
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    write_file(place / "index.json", _json(index))
    write_file(place / "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
    for folder in (blobs, blobs.parent, place):
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- what a step's layer holds -------------------------------------------------------------------


def _apply(tree: dict[str, _Node], step: Step, box: Toolbox) -> dict[str, _Node]:
    """Do a step on the tree below it; return what its layer holds, by path."""
    holds: dict[str, _Node] = {}
    if step.programs:
        nodes = {at: _Node("link", 0o777, target=to) for at, to in box.folders.items()}
        nodes |= {at: _Node("link", 0o777, target=to) for at, to in box.links.items()}
        for at, source in box.files.items():
            # What a program may do with more rights than its caller's stays on the machine.
            nodes[at] = _Node("file", os.stat(source).st_mode & 0o755, source=source)
        holds |= nodes
        tree |= nodes
    for entry in step.entries:
        if entry.kind == "delete":
            holds[_sibling(entry.path, f".wh.{entry.path.rpartition('/')[2]}")] = _MARKER
            _drop(tree, entry.path)
        else:
            if entry.kind == "opaque":
                _drop(tree, entry.path)
                holds[f"{entry.path}/.wh..wh..opq"] = _MARKER
            holds[entry.path] = tree[entry.path] = _node(entry, tree)
    for path in list(holds):
        for parent in _parents(path):
            holds.setdefault(parent, tree.setdefault(parent, _FOLDER))
    return holds


def _node(entry: Entry, tree: Mapping[str, _Node]) -> _Node:
    kind = {"edit": "file", "again": "file", "opaque": "folder"}.get(entry.kind, entry.kind)
    if entry.kind in ("edit", "again"):
        lower = tree.get(entry.path)
        if lower is None or lower.kind != "file":
            raise FormatError(f"the demo image's recipe changes {entry.path}, which is no file")
        node = lower if entry.mode is None else replace(lower, mode=entry.mode)
        if entry.kind == "edit":
            pattern, replacement = entry.edit
            text = re.sub(pattern, replacement, node.data.decode(), flags=re.MULTILINE)
            node = replace(node, data=text.encode())
        return node
    return _Node(
        kind,
        _MODES[kind] if entry.mode is None else entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        data=entry.data,
        target=entry.target,
        xattrs=entry.xattrs,
    )


def _drop(tree: dict[str, _Node], path: str) -> None:
    for gone in [known for known in tree if known == path or known.startswith(f"{path}/")]:
        del tree[gone]


def _sibling(path: str, name: str) -> str:
    return path.rpartition("/")[0] + "/" + name if "/" in path else name


def _parents(path: str) -> Iterable[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _layer_writer(
    holds: Mapping[str, _Node], step: Step, progress: Progress
) -> Callable[[BinaryIO], None]:
    mtime = int(datetime.fromisoformat(step.created).timestamp())

    def write(out: BinaryIO) -> None:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(holds, key=lambda path: path.split("/")):
                progress.check()
                node = holds[path]
                data = _read(node.source) if node.source else node.data
                info = tarfile.TarInfo(path)
                info.type, info.mode, info.mtime = _TYPES[node.kind], node.mode, mtime
                info.uid, info.gid, info.linkname = node.uid, node.gid, node.target
                info.size = len(data)
                info.pax_headers = {
                    f"SCHILY.xattr.{key}": text for key, text in node.xattrs.items()
                }
                tar.addfile(info, io.BytesIO(data))

    return write


def _read(source: str) -> bytes:
    with open(source, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size)
        if len(data) != size:
            raise DamageError(f"{source} changed while it was read; try again")
        return data


# ---- documents and blobs -------------------------------------------------------------------------


def _history(step: Step, layer: Mapping[str, Any] | None, box: Toolbox) -> dict[str, Any]:
    shell = "/bin/bash" if "bash" in box.programs else "/bin/sh"
    command = step.command.replace("{shell}", shell)
    if layer is None:
        return {"created": step.created, "created_by": command, "empty_layer": True}
    digest = layer["digest"].partition(":")[2]
    return {"created": step.created, "created_by": command.replace("{digest}", digest)}


def _config(
    layers: Iterable[Mapping[str, Any]], history: list[dict[str, Any]], box: Toolbox
) -> dict[str, Any]:
    return {
        **_platform(box),
        "created": history[-1]["created"],
        "config": {
            "Env": [f"PATH={_PATH}"],
            "Cmd": ["/bin/bash" if "bash" in box.programs else "/bin/sh"],
        },
        # The layers are not compressed: a blob's digest is its DiffID.
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        "history": history,
    }


def _platform(box: Toolbox) -> dict[str, str]:
    return {"architecture": box.architecture or "amd64", "os": "linux"}


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _put(blobs: Path, media_type: str, document: Any) -> dict[str, Any]:
    data = _json(document)
    return _blob(blobs, media_type, lambda file: file.write(data))


def _blob(blobs: Path, media_type: str, fill: Callable[[BinaryIO], object]) -> dict[str, Any]:
    """Write a file below blobs/sha256, name it by its digest; return its descriptor."""
    part = blobs / "part"
    with open(part, "w+b") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    part.rename(blobs / digest)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def write_file(path: Path, data: bytes) -> None:
    """Write a new file and make it last through a crash."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
