"""`layerview which`: the search for a path, layer by layer from the top."""

from __future__ import annotations

import os
from collections.abc import Sequence

from layerview.cli.options import Opened, image_path, opened, parser, report
from layerview.cli.output import path_fields, print_json, shown_path, text_fields
from layerview.layer.kinds import Kind
from layerview.layer.names import WHITEOUT_PREFIX
from layerview.sizes import format_size
from layerview.text import printable
from layerview.view.resolve import Resolution, Rung, resolve

_MARKS = {
    "absent": ("·", "not in this layer"),
    "unknown": ("?", "this layer is not here"),
    "whiteout": ("x", "deleted by this layer"),
    "opaque": ("x", "hidden by this layer"),
    "hidden": ("o", "hidden"),
    "winner": ("*", "this one"),
}


def run(words: Sequence[str]) -> int:
    """Print every layer's answer for a path."""
    made = parser(
        "which",
        "Print the search for a path, layer by layer from the top, and the layer that it resolves\n"
        "from. Symbolic links are followed inside the image.",
        example="layerview which app.tar /bin/sh",
    )
    made.add_argument("image", metavar="IMAGE")
    made.add_argument("path", metavar="PATH")
    made.add_argument(
        "--no-follow", action="store_true", help="do not follow a symbolic link at the end"
    )
    arguments = made.parse_args(words)
    with opened(arguments) as found:
        path = image_path(arguments.path)
        resolution = resolve(found.view, path, follow=not arguments.no_follow)
        hashes = _hashes(found, resolution)
        if arguments.json:
            print_json(_document(resolution, hashes, found))
        else:
            _print(resolution, hashes, found, binary=arguments.binary)
        return report([found]) or int(not resolution.exists)


def _hashes(found: Opened, resolution: Resolution) -> dict[int, str | None]:
    """Hash the file versions on the ladder, by layer."""
    from layerview.layer.contents import is_full_of_holes

    hashes: dict[int, str | None] = {}
    for rung in resolution.ladder:
        node = rung.node
        if node is None or node.kind != Kind.FILE or node.index is None or node.written is None:
            continue
        if found.view.is_unresolved(rung.layer, node.row):
            continue
        if is_full_of_holes(node.index, node.inode):
            continue
        digests = found.contents.digests(node.written, [node.inode], found.progress)
        hashes[rung.layer] = digests[node.inode].hex()
    found.progress.clear()
    return hashes


def _document(
    resolution: Resolution, hashes: dict[int, str | None], found: Opened
) -> dict[str, object]:
    document = path_fields(resolution.path)
    document |= path_fields(resolution.resolved, "resolved")
    document |= {
        "links": [
            {
                **path_fields(link.path),
                **text_fields(link.target, "target"),
                "layer": link.layer,
            }
            for link in resolution.links
        ],
        "exists": resolution.exists,
        "layer": resolution.layer,
        "certain": resolution.certain,
        "ladder": [
            _rung(rung, hashes, _disk_path(found, rung, resolution.resolved))
            for rung in resolution.ladder
        ],
    }
    if resolution.loop:
        document["loop"] = True
    return document


def _disk_path(found: Opened, rung: Rung, path: bytes) -> bytes | None:
    """Say where a layer's version or deletion of a path lies, where layers are folders."""
    folder = found.layers[rung.layer].source.folder
    if folder is None or rung.state not in ("whiteout", "hidden", "winner"):
        return None
    base = os.fsencode(folder)
    parent, _, name = path.rpartition(b"/")
    marker = b"/".join(filter(None, (parent, WHITEOUT_PREFIX + name)))
    for below in (path, marker) if rung.state == "whiteout" else (path,):
        disk_path = base + b"/" + below if below else base
        # A folder above may be what was deleted; a full tree has no mark of it.
        if os.path.lexists(disk_path):
            return disk_path
    return None


def _rung(rung: Rung, hashes: dict[int, str | None], disk_path: bytes | None) -> dict[str, object]:
    fields: dict[str, object] = {"layer": rung.layer, "state": rung.state}
    fields |= text_fields(disk_path, "disk_path")
    node = rung.node
    if node is not None:
        fields |= {
            "type": node.type,
            "size": node.size,
            "mode": f"{node.mode:04o}",
            "uid": node.uid,
            "gid": node.gid,
            "mtime": node.mtime,
            "sha256": hashes.get(rung.layer),
        }
    return fields


def _print(
    resolution: Resolution, hashes: dict[int, str | None], found: Opened, *, binary: bool
) -> None:
    for link in resolution.links:
        path, target = printable(shown_path(link.path)), printable(link.target)
        print(f"{path} -> {target}   (layer {link.layer})")
    name = printable(shown_path(resolution.resolved))
    if resolution.loop:
        print(f"{name}: too many symbolic links")
    elif resolution.exists and resolution.layer is None:
        print(f"{name}: a folder that no layer lists; it only holds entries")
    elif resolution.exists:
        doubt = "" if resolution.certain else ", unless a layer that is not here says otherwise"
        print(f"{name}: from layer {resolution.layer}{doubt}")
    elif any(rung.state == "winner" for rung in resolution.ladder):
        print(f"{name}: it is there, but no folder")
    else:
        print(f"{name}: nothing shows")
    for rung in resolution.ladder:
        mark, words = _MARKS[rung.state]
        line = f"{rung.layer:>4}  {mark}  {words:<24}"
        node = rung.node
        if node is not None:
            size = "" if node.is_dir else format_size(node.size, binary=binary)
            line += f"{size:>10}  {node.mode:04o}  {node.uid}:{node.gid}  {node.type}"
            if hashes.get(rung.layer):
                line += f"  sha256:{str(hashes[rung.layer])[:12]}"
        print(line.rstrip())
        disk_path = _disk_path(found, rung, resolution.resolved)
        if disk_path is not None:
            print(f"         {printable(disk_path)}")
