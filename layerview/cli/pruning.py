"""What `prune` and `container prune` share: which are meant, and whether a person agrees."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from layerview.cli.moments import moment
from layerview.errors import LayerviewError, UsageError
from layerview.oci.config import ImageConfig
from layerview.text import printable
from layerview.times import utc

if TYPE_CHECKING:
    from layerview.containers.life import Containers
    from layerview.store.data_root import ContainerRecord

_Test = Callable[[str | None, Mapping[str, object]], bool]
_STILL = ("created", "exited", "dead")


class Filter:
    """What --filter asks for: all of it must hold."""

    def __init__(self, words: Sequence[str]) -> None:
        """Read `until=TIME`, `label=KEY[=VALUE]` and `label!=KEY[=VALUE]`.

        Raises:
            UsageError: when a word is none of these.
        """
        self._tests: list[_Test] = []
        for word in words:
            key, found, value = word.partition("=")
            if not found or not value:
                raise UsageError(f"--filter {word}: until=TIME, label=KEY or label!=KEY is meant")
            if key == "until":
                self._tests.append(_older(moment(value, "--filter until")))
            elif key in ("label", "label!"):
                self._tests.append(_labelled(value, key == "label"))
            else:
                raise UsageError(f"--filter {word}: only until and label are known")

    def of_image(self, config: ImageConfig) -> bool:
        """Whether an image is meant."""
        return self._holds(config.created, config.config.get("Labels"))

    def of_container(self, record: ContainerRecord) -> bool:
        """Whether a container is meant."""
        settings = record.document.optional_inner("Config") if record.document else None
        return self._holds(record.created, settings.get("Labels") if settings else None)

    def _holds(self, created: str | None, labels: object) -> bool:
        known = labels if isinstance(labels, dict) else {}
        return all(test(created, known) for test in self._tests)


def _older(until: datetime) -> _Test:
    def test(created: str | None, labels: Mapping[str, object]) -> bool:
        recorded = utc(created)
        if recorded is None:
            return False
        try:
            return datetime.fromisoformat(recorded[:19] + "+00:00") <= until
        except ValueError:
            return False

    return test


def _labelled(text: str, positive: bool) -> _Test:
    key, with_value, value = text.partition("=")

    def test(created: str | None, labels: Mapping[str, object]) -> bool:
        has = key in labels and (not with_value or labels[key] == value)
        return has is positive

    return test


def agreed(what: str) -> bool:
    """Ask whether something shall be deleted.

    Raises:
        UsageError: when nobody is there to ask.
    """
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to ask: --force deletes without asking")
    sys.stderr.write(f"This deletes {what}. Go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def prune_containers(
    place: Containers,
    wanted: Callable[[ContainerRecord], bool],
    driver: str | None = None,
) -> tuple[list[str], int, int]:
    """Remove containers that do not run.

    Returns:
        The IDs of those that are gone, how many bytes they had changed, and the exit status.
    """
    from layerview.cli.area import say
    from layerview.store.inventory import container_size

    gone: list[str] = []
    size, status = 0, 0
    problems: list[str] = []
    for record in place.area.data.containers(problems):
        if not record.name or record.status not in _STILL:
            continue
        if driver not in (None, record.driver) or not wanted(record):
            continue
        own = container_size(place.area.data, record) or 0
        try:
            place.remove(record.id)
        except LayerviewError as error:
            say(f"container {printable(record.name)}: {error}")
            status = 1
            continue
        gone.append(record.id)
        size += own
    for line in problems:
        say(line)
    return gone, size, status or int(bool(problems))
