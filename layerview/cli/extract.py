"""`layerview extract`: copy a file or folder out of the image."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from layerview.cli.cat import find_version
from layerview.cli.options import image_path, natural, opened, parser, report
from layerview.cli.output import path_fields, print_json
from layerview.sizes import format_size
from layerview.text import printable
from layerview.view.extract import Extracted, extract
from layerview.view.nodes import Node


def run(words: Sequence[str]) -> int:
    """Copy what shows at a path to the disk."""
    made = parser(
        "extract",
        "Copy a file, or a folder with all below it, out of an image, as `cp -a` would: into DEST\n"
        "when that is a folder, else under that name. Links are made as they are. Nothing outside\n"
        "the target is ever written. Owners, device nodes, setuid bits and capabilities are kept\n"
        "for root alone.",
        example="layerview extract app.tar /etc/nginx ./nginx",
    )
    made.add_argument("image", metavar="IMAGE")
    made.add_argument("path", metavar="PATH")
    made.add_argument("destination", metavar="DEST", nargs="?", default=".")
    made.add_argument(
        "--layer", type=natural, metavar="N", help="the versions that layer N holds, hidden or not"
    )
    made.add_argument(
        "-L",
        "--follow",
        action="store_true",
        help="where PATH is a symbolic link, copy what it leads to in the image",
    )
    made.add_argument(
        "--force",
        action="store_true",
        help="replace files that are there already, copy into folders that are",
    )
    arguments = made.parse_intermixed_args(words)
    with opened(arguments) as found:
        node = find_version(found, arguments.path, arguments.layer, follow=arguments.follow)
        try:
            done = extract(
                found.view,
                found.contents,
                node.path,
                arguments.destination,
                layer=arguments.layer,
                name=image_path(arguments.path).strip(b"/").rpartition(b"/")[2],
                force=arguments.force,
                progress=found.progress,
            )
        finally:
            found.progress.clear()
        if arguments.json:
            print_json(_document(node, arguments.layer, done))
        else:
            print(_summary(done, binary=arguments.binary))
        sys.stdout.flush()
        if not arguments.json:
            for line in done.skipped:
                print(f"layerview: left out: {printable(line)}", file=sys.stderr)
        for line in done.damage:
            print(f"layerview: damaged: {printable(line)}", file=sys.stderr)
        return report([found]) or int(bool(done.damage))


def _summary(done: Extracted, *, binary: bool) -> str:
    counts = (
        (done.files, "file", "files"),
        (done.folders, "folder", "folders"),
        (done.links, "link", "links"),
        (done.nodes, "pipe or device", "pipes and devices"),
    )
    words = [f"{count:,} {one if count == 1 else many}" for count, one, many in counts if count]
    words.append(format_size(done.bytes, binary=binary))
    return f"{done.target}: {', '.join(words)}"


def _document(node: Node, layer: int | None, done: Extracted) -> dict[str, object]:
    return {
        **path_fields(node.path),
        "layer": layer,
        "target": done.target,
        "files": done.files,
        "folders": done.folders,
        "links": done.links,
        "nodes": done.nodes,
        "bytes": done.bytes,
        "skipped": done.skipped,
        "damage": done.damage,
    }
