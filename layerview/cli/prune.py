"""`layerview prune`: delete what nothing uses, as `docker system prune` does."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from layerview.cli.area import add_area_options, area, containers, in_own_area, say
from layerview.cli.options import parser
from layerview.cli.output import print_json
from layerview.cli.pruning import Filter, agreed, prune_containers
from layerview.errors import UsageError
from layerview.sizes import format_size
from layerview.store.removal import Removal
from layerview.text import printable


def run(words: Sequence[str]) -> int:
    """Delete containers that do not run, and images that nothing uses."""
    made = parser(
        "prune",
        "Delete containers that do not run, and images without a name that nothing uses; with\n"
        "--all, named images as well, with --volumes, volumes without a name. With --orphans\n"
        "nothing of all that, but folders of the storage drivers that belong to nobody.",
        example="layerview prune --all --filter until=240h",
        reads=False,
    )
    made.add_argument("-a", "--all", action="store_true", help="also images that have names")
    made.add_argument(
        "--volumes", action="store_true", help="also volumes without a name that nothing uses"
    )
    made.add_argument(
        "--orphans", action="store_true", help="what no image, container or build cache has, alone"
    )
    made.add_argument("-f", "--force", action="store_true", help="do not ask")
    made.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="F",
        help="until=TIME or AGE (24h), label=KEY[=VALUE], label!=KEY[=VALUE]",
    )
    add_area_options(made)
    arguments = made.parse_args(words)
    if arguments.orphans:
        if arguments.all or arguments.volumes or arguments.filter:
            raise UsageError("--orphans stands alone: it deletes what belongs to nobody")
        from layerview.cli.prune_orphans import prune_orphans

        return prune_orphans(arguments)
    wanted = Filter(arguments.filter)
    if not arguments.force and not agreed(_what(arguments)):
        return 1
    return in_own_area(arguments, lambda: _prune(arguments, wanted))


def _what(arguments: argparse.Namespace) -> str:
    images = "that no container uses" if arguments.all else "without a name"
    volumes = " and all unused volumes without a name" if arguments.volumes else ""
    return f"all containers that do not run, all images {images}{volumes}"


def _prune(arguments: argparse.Namespace, wanted: Filter) -> int:
    place = area(arguments)
    gone, size, status = prune_containers(
        containers(arguments), wanted.of_container, arguments.driver
    )
    volumes: list[str] = []
    with place.writing(say) as writing:
        if arguments.volumes:
            from layerview.store.volumes import Volumes

            for name, held in Volumes(writing).prune():
                volumes.append(name)
                size += held
        removal = Removal(writing)
        drivers = [arguments.driver] if arguments.driver else place.data.drivers()
        for driver in drivers:
            removal.prune(driver, all_images=arguments.all, wanted=wanted.of_image)
    done = removal.removed
    size += done.bytes
    if arguments.json:
        print_json(
            {
                "deleted": [str(digest) for digest in done.deleted],
                "untagged": done.untagged,
                "containers": gone,
                "volumes": volumes,
                "bytes": size,
            }
        )
        return status
    for id in gone:
        print(f"Deleted: container {id}")
    for name in volumes:
        print(f"Deleted: volume {name}")
    for name in done.untagged:
        print(f"Untagged: {printable(name)}")
    for digest in done.deleted:
        print(f"Deleted: {digest}")
    for line in done.kept:
        say(line)
    print(f"{format_size(size, binary=arguments.binary)} freed")
    return status
