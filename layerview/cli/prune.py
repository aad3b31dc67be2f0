"""`layerview prune`: delete the images of the storage area that nothing uses."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from layerview.cli.area import add_area_options, area, in_area, say
from layerview.cli.options import parser
from layerview.cli.output import print_json
from layerview.errors import UsageError
from layerview.oci.config import ImageConfig
from layerview.sizes import format_size
from layerview.store.removal import Removal
from layerview.text import printable
from layerview.times import utc

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def run(words: Sequence[str]) -> int:
    """Delete images that nothing uses."""
    made = parser(
        "prune",
        "Delete images without a name that nothing uses; with --all, named ones as well.",
        example="layerview prune --all --filter until=240h",
        reads=False,
    )
    made.add_argument("-a", "--all", action="store_true", help="also images that have names")
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
    wanted = _filter(arguments.filter)
    if not arguments.force and not _agreed(arguments.all):
        return 1
    return in_area(arguments, lambda: _prune(arguments, wanted))


def _agreed(all_images: bool) -> bool:
    what = "that no container uses" if all_images else "without a name"
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to ask: --force deletes without asking")
    sys.stderr.write(f"This deletes all images {what}. Go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _prune(arguments: argparse.Namespace, wanted: Callable[[ImageConfig], bool]) -> int:
    place = area(arguments)
    with place.writing(say) as writing:
        removal = Removal(writing)
        drivers = [arguments.driver] if arguments.driver else place.data.drivers()
        for driver in drivers:
            removal.prune(driver, all_images=arguments.all, wanted=wanted)
    done = removal.removed
    if arguments.json:
        print_json(
            {
                "deleted": [str(digest) for digest in done.deleted],
                "untagged": done.untagged,
                "bytes": done.bytes,
            }
        )
        return 0
    for name in done.untagged:
        print(f"Untagged: {printable(name)}")
    for digest in done.deleted:
        print(f"Deleted: {digest}")
    for line in done.kept:
        say(line)
    print(f"{format_size(done.bytes, binary=arguments.binary)} freed")
    return 0


def _filter(words: Sequence[str]) -> Callable[[ImageConfig], bool]:
    tests: list[Callable[[ImageConfig], bool]] = []
    for word in words:
        key, found, value = word.partition("=")
        if not found or not value:
            raise UsageError(f"--filter {word}: until=TIME, label=KEY or label!=KEY is meant")
        if key == "until":
            tests.append(_older(_time(value)))
        elif key in ("label", "label!"):
            tests.append(_labelled(value, key == "label"))
        else:
            raise UsageError(f"--filter {word}: only until and label are known")
    return lambda config: all(test(config) for test in tests)


def _older(until: datetime) -> Callable[[ImageConfig], bool]:
    def test(config: ImageConfig) -> bool:
        created = utc(config.created)
        if created is None:
            return False
        try:
            return datetime.fromisoformat(created[:19] + "+00:00") <= until
        except ValueError:
            return False

    return test


def _time(text: str) -> datetime:
    ages = re.fullmatch(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", text)
    try:
        if ages is not None and text:
            parts = zip("dhms", ages.groups(), strict=True)
            seconds = sum(int(count or 0) * _UNITS[unit] for unit, count in parts)
            return datetime.now(UTC) - timedelta(seconds=seconds)
        if re.fullmatch(r"\d{1,12}", text):
            return datetime.fromtimestamp(int(text), UTC)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(f"--filter until={text}: no time and no age such as 24h") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _labelled(text: str, positive: bool) -> Callable[[ImageConfig], bool]:
    key, with_value, value = text.partition("=")

    def test(config: ImageConfig) -> bool:
        labels = config.config.get("Labels")
        found = labels if isinstance(labels, dict) else {}
        has = key in found and (not with_value or found[key] == value)
        return has is positive

    return test
