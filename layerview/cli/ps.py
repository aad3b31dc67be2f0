"""`layerview ps`: the containers of the storage area, or of a Docker data root."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from layerview.cli.area import in_own_area, settle_root
from layerview.cli.flags import Flags, Values, natural
from layerview.errors import LayerviewError
from layerview.oci.digest import Digest
from layerview.sizes import format_size
from layerview.store.data_root import ContainerRecord, DataRoot
from layerview.text import printable
from layerview.times import ago, utc

if TYPE_CHECKING:
    from layerview.containers.listing import Container

_WIDTH = 20
"""Characters of a command that Docker shows."""


def run(words: Sequence[str]) -> int:
    """Print containers, the newest first."""
    flags = Flags(
        "ps",
        "",
        "Print containers, the newest first: those that run, or all.",
        example="layerview ps -a --filter exited=0",
    )
    flags.switch("-a", "--all", about="those that do not run, too")
    flags.values(
        *("-f", "--filter"),
        metavar="WHAT=VALUE",
        about="id, name, label, status, exited, ancestor, before, since, volume, driver",
    )
    flags.value("-n", "--last", metavar="N", read=natural, about="the newest N of all")
    flags.switch("-l", "--latest", about="the newest of all")
    flags.switch("--no-trunc", about="do not shorten IDs and commands")
    flags.switch("-q", "--quiet", about="print IDs alone")
    flags.switch("-s", "--size", about="what each changed; with its image in brackets")
    flags.switch("--starts", about="how long each start took, and what it took on the disk")
    flags.switch("--binary", about="sizes in KiB and MiB")
    flags.json()
    flags.value(
        "--root", metavar="PATH", about="a Docker data root; else the storage area (LAYERVIEW_ROOT)"
    )
    arguments = flags.parse(words, most=0)
    own = not arguments.root
    settle_root(arguments)
    # An area is made by the first load.
    if own and not os.path.lexists(os.path.join(arguments.root, "image")):
        return _print(None, [], arguments)
    # Only what ordinary users' containers changed is hidden from them outside of a namespace.
    if own and arguments.size:
        return in_own_area(arguments, lambda: _ps(arguments))
    return _ps(arguments)


def _ps(arguments: Values) -> int:
    from layerview.containers.listing import listed

    data = DataRoot(arguments.root)
    last = 1 if arguments.latest else arguments.last
    problems: list[str] = []
    found = listed(
        data,
        every=arguments.all or bool(last),
        size=arguments.size,
        filters=arguments.filter,
        problems=problems,
    )
    _print(data, found[:last] if last else found, arguments)
    if not problems:
        return 0
    from layerview.cli.roots import say_lines

    return say_lines(problems)


def _print(data: DataRoot | None, found: Sequence[Container], arguments: Values) -> int:
    if arguments.json:
        from layerview.cli.output import print_json
        from layerview.containers.listing import json_fields

        print_json([json_fields(container) for container in found])
    elif arguments.quiet:
        for container in found:
            print(container.record.id[: None if arguments.no_trunc else 12])
    else:
        _print_table(data, found, arguments)
    return 0


def _print_table(data: DataRoot | None, found: Sequence[Container], arguments: Values) -> None:
    from layerview.cli.output import table

    heading = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    heading += ["SIZE"] if arguments.size else []
    heading += ["STARTED IN", "ALLOCATED", "DRIVER"] if arguments.starts else []
    rows = [heading]
    whole, now = arguments.no_trunc, time.time()
    names = _Names(data)
    for container in found:
        record = container.record
        row = [
            record.id if whole else record.id[:12],
            printable(names.of(record, whole=whole)),
            command_cell(record.command, whole=whole),
            # Docker leaves out the fraction here, but not in the next column.
            ago(f"{(utc(record.created) or '')[:19]}Z", now),
            container.status(now),
            "",
            printable(record.name),
        ]
        if arguments.size:
            row.append(_sizes(container, binary=arguments.binary))
        if arguments.starts:
            took, bytes_ = container.start_ns, container.allocated
            row += [
                "" if took is None else f"{took / 1e6:.1f} ms",
                "" if bytes_ is None else format_size(bytes_, binary=arguments.binary),
                record.driver,
            ]
        rows.append(row)
    table(rows, least=7)


def _sizes(container: Container, *, binary: bool) -> str:
    own, whole = (
        "?" if size is None else format_size(size, binary=binary)
        for size in (container.size_rw, container.size_root)
    )
    return f"{own} (virtual {whole})"


def command_cell(words: Sequence[str], *, whole: bool = False) -> str:
    """Return a command as Docker's tables have it: in quotes, and short."""
    text = " ".join(f"'{word}'" if " " in word else word for word in words)
    if not whole and len(text) > _WIDTH:
        text = text[: _WIDTH - 1] + "…"
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(quoted)}"'


class _Names:
    """What containers' images are called: as they were, if that still means the same image."""

    def __init__(self, data: DataRoot | None) -> None:
        self._data = data
        self._tags: dict[str, dict[str, Digest]] = {}

    def of(self, record: ContainerRecord, *, whole: bool) -> str:
        """Return what stands in the column IMAGE (docker/cli, formatter/container.go)."""
        name, image_id = record.image_name, record.image_id
        if image_id is None:
            return name or "<no image>"
        digits = name.removeprefix("sha256:")
        by_id = bool(digits) and image_id.hex.startswith(digits)
        if not by_id and self._named(record.driver, name) != image_id:
            return str(image_id) if whole else image_id.short
        if whole:
            return name
        return image_id.short if by_id and len(digits) >= len(image_id.short) else _familiar(name)

    def _named(self, driver: str, name: str) -> Digest | None:
        from layerview.oci.reference import Reference
        from layerview.store.finding import reference_key

        with suppress(LayerviewError):
            if driver not in self._tags:
                assert self._data is not None
                self._tags[driver] = {}
                self._tags[driver] = self._data.tags(driver)
            return self._tags[driver].get(reference_key(Reference.parse(name)))
        return None


def _familiar(name: str) -> str:
    """Return a name without what goes without saying, and without a digest."""
    from layerview.oci.reference import Reference

    try:
        reference = Reference.parse(name)
    except LayerviewError:
        return name
    tagged = ":" in name.rpartition("/")[2].partition("@")[0]
    return f"{reference.familiar_name}:{reference.tag}" if tagged else reference.familiar_name
