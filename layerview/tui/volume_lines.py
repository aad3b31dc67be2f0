"""Volumes as the screen shows them: what `volume ls --json` says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from layerview.text import printable


@dataclass(frozen=True, slots=True)
class VolumeLine:
    """One volume."""

    name: str
    place: str
    """The folder that containers see."""
    created: str | None
    size: int | None
    """Bytes of its files; None where they can't be read."""
    users: tuple[tuple[str, str], ...] = ()
    """ID and name of the containers that mention it."""
    anonymous: bool = False
    options: tuple[tuple[str, str], ...] = ()
    """What an engine was told about it."""

    @property
    def shown(self) -> str:
        """Its name, short where nobody gave it one."""
        return self.name[:12] if self.anonymous else self.name

    @property
    def used_by(self) -> str:
        """The names of the containers that mention it."""
        return ", ".join(name or id[:12] for id, name in self.users)


def read_volumes(said: Iterable[object]) -> list[VolumeLine]:
    """Read what `volume ls --json` printed, whatever it is."""
    return [
        _read(item)
        for document in said
        for item in (document if isinstance(document, list) else ())
        if isinstance(item, dict) and isinstance(item.get("name"), str)
    ]


def _read(item: Mapping[str, object]) -> VolumeLine:
    size, created = item.get("size"), item.get("created")
    users, options = item.get("containers"), item.get("options")
    return VolumeLine(
        name=printable(str(item["name"])),
        place=printable(str(item.get("mountpoint") or "")),
        created=created if isinstance(created, str) else None,
        size=size if isinstance(size, int) and not isinstance(size, bool) else None,
        users=tuple(
            (printable(str(user.get("id", ""))), printable(str(user.get("name", ""))))
            for user in (users if isinstance(users, list) else ())
            if isinstance(user, dict)
        ),
        anonymous=item.get("anonymous") is True,
        options=tuple(
            (printable(str(key)), printable(str(value)))
            for key, value in (options.items() if isinstance(options, dict) else ())
        ),
    )
