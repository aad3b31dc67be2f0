"""Deleting what belongs to nobody in a storage area: proved again, under its lock."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from layerview.drivers.base import is_id
from layerview.drivers.removal import remove_tree
from layerview.errors import FormatError, LayerviewError, NotFoundError
from layerview.store.account import Part
from layerview.store.area import is_own
from layerview.store.containers import remove_container
from layerview.store.driver_homes import HOMES, id_of
from layerview.store.driver_references import Idle
from layerview.store.durable import named
from layerview.store.layout import is_container_id
from layerview.store.orphans import Proof
from layerview.store.references import Records
from layerview.store.writing import Writing
from layerview.text import printable


@dataclass(slots=True)
class Gone:
    """What was done."""

    deleted: list[Part] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Why others stayed, a line each."""

    @property
    def bytes(self) -> int:
        """Allocated bytes of what was deleted, as it was measured before."""
        return sum(part.bytes for part in self.deleted)


def check_own(root: str) -> None:
    """Make sure that a data root is an area of layerview's, whose orphans may be deleted.

    Raises:
        FormatError: when an engine's; it is only read, and the message says what helps.
    """
    own = os.path.join(root, "layerview")
    if os.path.isdir(os.path.join(root, "image")) and not is_own(own):
        shown = printable(root)
        raise FormatError(
            f"{shown} is a data root that layerview did not make, and is only read:"
            f" `layerview usage {shown}` says for each orphan how it can be deleted safely"
        )


def remove_orphans(writing: Writing, orphans: Sequence[Part]) -> Gone:
    """Delete orphans of an area, each as an account named it.

    Args:
        writing: of the area; no engine holds it, and what others left open is settled.
        orphans: parts of the kind "orphan".

    Returns:
        What went. What somebody needs by now, or what can't be told any more, stays.
    """
    gone = Gone()
    layers: dict[str, dict[Part, Idle]] = {}
    """By driver: those that have a record."""
    with writing.lock.hold():
        drivers = {part.driver for part in orphans}
        # Nobody writes meanwhile, so that one reading is as good as two.
        records = Records(writing.area.data, drivers)
        proof = Proof(records, records, None)
        for part in orphans:
            idle = records.drivers[part.driver].idle.get(part.id)
            try:
                verdict = proof.judge(part.driver, part.id, part.path)
                if verdict.kind != "orphan":
                    gone.kept.append(f"{part.path}: it is no orphan any more: {verdict.note}")
                elif idle is not None and idle.why == "unneeded":
                    layers.setdefault(part.driver, {})[part] = idle
                else:
                    with named(part.path):
                        _remove(writing, part, idle)
                    gone.deleted.append(part)
            except LayerviewError as error:
                gone.kept.append(f"{part.path}: {error}")
        # When what is left of containers is gone, which lies on them.
        for driver, found in layers.items():
            _remove_layers(writing, driver, found, gone)
    return gone


def _remove_layers(writing: Writing, driver: str, layers: Mapping[Part, Idle], gone: Gone) -> None:
    why = "something uses its layer"
    try:
        chains = [idle.chain_id for idle in layers.values() if idle.chain_id is not None]
        with named(writing.layout(driver).home):
            writing.collect(driver, chains, writing.uses(driver))
    except LayerviewError as error:
        why = str(error)
    for part, idle in layers.items():
        if os.path.lexists(idle.record) or os.path.lexists(part.path):
            gone.kept.append(f"{part.path}: {why}")
        else:
            gone.deleted.append(part)


def _remove(writing: Writing, part: Part, idle: Idle | None) -> None:
    if idle is not None and idle.why == "gone" and is_container_id(os.path.basename(idle.record)):
        # With both of its layers, and those of its image that nothing else needs.
        with suppress(NotFoundError):
            remove_container(writing, os.path.basename(idle.record))
        return
    if idle is not None:
        # First, so that whatever ends this leaves but a folder that no record names.
        _remove_folder(idle.record)
    if is_id(part.id):
        writing.driver(part.driver).remove(part.id)
    elif id_of(part.id):
        # Half removed under another name, which no driver takes for an ID.
        for place in HOMES[part.driver].places:
            _remove_folder(os.path.join(writing.area.root, part.driver, place, part.id))


def _remove_folder(path: str) -> None:
    with named(path):
        remove_tree(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
