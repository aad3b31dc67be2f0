"""`layerview volume`: folders that containers share and that outlive them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from layerview.cli.area import area, in_own_area, say, settle_root
from layerview.cli.flags import Flags, Values
from layerview.errors import LayerviewError, NotFoundError, UsageError
from layerview.text import printable

if TYPE_CHECKING:
    from layerview.store.data_root import DataRoot
    from layerview.store.volumes import Volume

_FILTERS = ("dangling", "name", "driver", "label")


def run(words: Sequence[str]) -> int:
    """Do what the next word says."""
    known: dict[str, Callable[[Sequence[str]], int]] = {
        "create": _run_create,
        "ls": _run_ls,
        "list": _run_ls,
        "inspect": _run_inspect,
        "rm": _run_rm,
        "remove": _run_rm,
        "prune": _run_prune,
    }
    word = words[0] if words else ""
    if word in known:
        return known[word](words[1:])
    flags = Flags(
        "volume",
        "create|ls|inspect|rm|prune",
        "Folders that containers share and that outlive them: `-v NAME:/data` mounts one.\n\n"
        "  create    make one\n"
        "  ls        list them\n"
        "  inspect   all that is known of one, its size and its users as well\n"
        "  rm        remove some\n"
        "  prune     remove those that no container has",
        example="layerview volume ls",
    )
    flags.parse(words)
    raise UsageError("create, ls, inspect, rm or prune; see layerview volume --help")


# Making --------------------------------------------------------------------------------------


def _run_create(words: Sequence[str]) -> int:
    flags = Flags(
        "volume create",
        "[NAME]",
        "Make a volume, and print its name; one that is there stays as it is.",
        example="layerview volume create data",
    )
    flags.json()
    flags.area()
    arguments = flags.parse(words, most=1)
    return in_own_area(arguments, lambda: _create(arguments))


def _create(arguments: Values) -> int:
    from layerview.store.volumes import Volumes, folder, new_name

    name = arguments.rest[0] if arguments.rest else new_name()
    place = area(arguments, create=True)
    with place.writing(say) as writing:
        made = Volumes(writing).create(name)
    if arguments.json:
        from layerview.cli.output import print_json

        print_json({"name": name, "mountpoint": folder(place.root, name), "existed": not made})
    else:
        print(name)
    return 0


# Looking -------------------------------------------------------------------------------------


def _run_ls(words: Sequence[str]) -> int:
    flags = Flags(
        "volume ls",
        "",
        "List volumes.",
        example="layerview volume ls --filter dangling=true",
    )
    flags.values(
        *("-f", "--filter"), metavar="WHAT=VALUE", about="dangling=true|false, name, driver, label"
    )
    flags.switch("-q", "--quiet", about="print names alone")
    flags.switch("-s", "--size", about="their sizes, and who uses them")
    flags.switch("--binary", about="sizes in KiB and MiB")
    flags.json()
    flags.value(
        "--root", metavar="PATH", about="a Docker data root; else the storage area (LAYERVIEW_ROOT)"
    )
    arguments = flags.parse(words, most=0)
    tests = [_test(text) for text in arguments.filter]
    return _looking(
        arguments,
        lambda data: _list(data, tests, arguments),
        sizes=arguments.size or arguments.json,
    )


def _looking(arguments: Values, look: Callable[[DataRoot | None], int], *, sizes: bool) -> int:
    """Look at a data root's volumes; where nothing is made yet there are none."""
    from layerview.store.data_root import DataRoot

    own = not arguments.root
    settle_root(arguments)
    if own and not os.path.lexists(os.path.join(arguments.root, "image")):
        return look(None)
    if own and sizes:
        # What containers wrote may be hidden from an ordinary user outside of a namespace.
        return in_own_area(arguments, lambda: look(DataRoot(arguments.root)))
    return look(DataRoot(arguments.root))


def _test(text: str) -> Callable[[Volume], bool]:
    what, sign, value = text.partition("=")
    if not sign or what not in _FILTERS:
        raise UsageError(
            f"--filter {printable(text[:80])}: it takes {', '.join(f'{one}=…' for one in _FILTERS)}"
        )
    if what == "name":
        return lambda volume: value in volume.name
    if what == "driver":
        return lambda volume: value == "local"
    if what == "label":
        key, sign, wanted = value.partition("=")
        return lambda volume: (
            key in (volume.labels or {}) and (not sign or (volume.labels or {})[key] == wanted)
        )
    if value.lower() not in ("true", "1", "false", "0"):
        raise UsageError(f"--filter dangling={printable(value[:40])}: it is true or false")
    dangling = value.lower() in ("true", "1")
    return lambda volume: (not volume.users) is dangling


def _list(data: DataRoot | None, tests: list[Callable[[Volume], bool]], arguments: Values) -> int:
    from layerview.cli.output import print_json, table
    from layerview.store.volumes import listed

    known = listed(data) if data is not None else []
    found = [volume for volume in known if all(test(volume) for test in tests)]
    if arguments.json:
        print_json([fields(volume) for volume in found])
        return 0
    if arguments.quiet:
        for volume in found:
            print(volume.name)
        return 0
    rows = [["DRIVER", "VOLUME NAME", *(("SIZE", "CONTAINERS") if arguments.size else ())]]
    for volume in found:
        row = ["local", volume.name]
        if arguments.size:
            row += [
                _size(volume.size(), binary=arguments.binary),
                printable(", ".join(record.name for record in volume.users)),
            ]
        rows.append(row)
    table(rows, least=7)
    return 0


def _size(size: int | None, *, binary: bool) -> str:
    from layerview.sizes import format_size

    return "?" if size is None else format_size(size, binary=binary)


def fields(volume: Volume) -> dict[str, object]:
    """Return a volume's fields, as `volume ls --json` prints them."""
    from layerview.times import rfc3339

    seconds, rest = divmod(int(volume.created * 10**9), 10**9)
    return {
        "name": volume.name,
        "driver": "local",
        "mountpoint": volume.folder,
        "created": rfc3339(seconds, rest << 4 | 9),
        "size": volume.size(),
        "containers": [{"id": record.id, "name": record.name} for record in volume.users],
        "anonymous": volume.is_anonymous,
        "options": dict(volume.options),
        "labels": dict(volume.labels) if volume.labels is not None else None,
    }


def _run_inspect(words: Sequence[str]) -> int:
    flags = Flags(
        "volume inspect",
        "VOLUME [VOLUME...]",
        "Print all that is known of volumes, as JSON.",
        example="layerview volume inspect data",
    )
    flags.json()
    flags.value(
        "--root", metavar="PATH", about="a Docker data root; else the storage area (LAYERVIEW_ROOT)"
    )
    arguments = flags.parse(words, least=1)
    return _looking(arguments, lambda data: _inspect(data, arguments), sizes=True)


def _inspect(data: DataRoot | None, arguments: Values) -> int:
    from layerview.cli.output import print_json
    from layerview.store.volumes import inspect

    found, status = [], 0
    for name in arguments.rest:
        try:
            if data is None:
                raise NotFoundError(f"the area has no volume {printable(name[:80])}")
            found.append(fields(inspect(data, name)))
        except LayerviewError as error:
            say(str(error))
            status = 1
    print_json(found)
    return status


# Removing ------------------------------------------------------------------------------------


def _run_rm(words: Sequence[str]) -> int:
    flags = Flags(
        "volume rm",
        "VOLUME [VOLUME...]",
        "Remove volumes with all that is in them; those that containers have are refused.",
        example="layerview volume rm data",
    )
    flags.switch("-f", "--force", about="do not mind those that are not there")
    flags.json()
    flags.area()
    arguments = flags.parse(words, least=1)
    return in_own_area(arguments, lambda: _remove(arguments))


def _remove(arguments: Values) -> int:
    from layerview.store.volumes import Volumes

    status = 0
    gone: list[str] = []
    with area(arguments).writing(say) as writing:
        for name in arguments.rest:
            try:
                Volumes(writing).remove(name)
            except LayerviewError as error:
                if arguments.force and isinstance(error, NotFoundError):
                    continue
                say(str(error))
                status = 1
                continue
            gone.append(name)
            if not arguments.json:
                print(printable(name))
                sys.stdout.flush()
    if arguments.json:
        from layerview.cli.output import print_json

        print_json({"deleted": gone})
    return status


def _run_prune(words: Sequence[str]) -> int:
    flags = Flags(
        "volume prune",
        "",
        "Remove volumes that no container has: those without a name, or with --all any.",
        example="layerview volume prune -f",
    )
    flags.switch("-a", "--all", about="those that somebody gave a name, too")
    flags.switch("-f", "--force", about="do not ask")
    flags.switch("--binary", about="sizes in KiB and MiB")
    flags.json()
    flags.area()
    arguments = flags.parse(words, most=0)
    from layerview.cli.pruning import agreed

    which = "" if arguments.all else " without a name"
    if not arguments.force and not agreed(f"all volumes{which} that no container has"):
        return 1
    return in_own_area(arguments, lambda: _prune(arguments))


def _prune(arguments: Values) -> int:
    from layerview.store.volumes import Volumes

    with area(arguments).writing(say) as writing:
        gone = Volumes(writing).prune(named_too=arguments.all)
    size = sum(held for _, held in gone)
    if arguments.json:
        from layerview.cli.output import print_json

        print_json({"deleted": [name for name, _ in gone], "bytes": size})
        return 0
    for name, _ in gone:
        print(f"Deleted: {name}")
    print(f"{_size(size, binary=arguments.binary)} freed")
    return 0
