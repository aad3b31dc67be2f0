"""What is mounted in a container: volumes made and filled, folders of the machine, tmpfs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from layerview.containers.plan import Bind, MountWish
from layerview.drivers.base import Driver
from layerview.errors import FormatError, LayerviewError, NotFoundError
from layerview.oci.fields import Fields
from layerview.store import volumes
from layerview.store.area import Area
from layerview.text import printable

_FROM_FILES = ("hosts", "hostname", "resolv.conf")
"""What containers/ID holds to be shown in /etc."""


class Mounts:
    """The mounts of a container that is being made."""

    def __init__(self, area: Area, wishes: Sequence[MountWish]) -> None:
        """Take what is asked for; nothing is made yet.

        Raises:
            NotFoundError: when a folder that should be mounted is not there.
        """
        self._root = area.root
        self._asked: dict[str, str] = {}
        """Names of volumes, and what was asked for: "" where the name was made up."""
        self._wishes = [self._settled(wish) for wish in wishes]
        self.binds = [_words(wish) for wish in self._wishes if wish.kind != "tmpfs"]
        """As HostConfig has them."""
        self.points = {wish.target: self._point(wish) for wish in self._wishes}
        """Docker's `MountPoints`, by target."""

    def _settled(self, wish: MountWish) -> MountWish:
        target = os.path.normpath(wish.target)
        target = "/" + target.lstrip("/")
        source = wish.source
        if wish.kind == "volume":
            source = volumes.check_name(source) if source else volumes.new_name()
            self._asked[source] = wish.source
        elif wish.kind == "bind" and not wish.make_source and not os.path.lexists(source):
            raise NotFoundError(f"{printable(source)}, which should be mounted, is not there")
        return MountWish(wish.kind, source, target, wish.read_only, wish.copy, wish.make_source)

    def _point(self, wish: MountWish) -> dict[str, object]:
        volume = wish.kind == "volume"
        # Docker knows by an empty one that nobody gave the volume a name.
        spec: dict[str, object] = {}
        if asked := self._asked[wish.source] if volume else wish.source:
            spec = {"Type": wish.kind, "Source": asked, "Target": wish.target}
            if wish.read_only:
                spec["ReadOnly"] = True
        point: dict[str, object] = {
            "Source": volumes.folder(self._root, wish.source) if volume else wish.source,
            "Destination": wish.target,
            "RW": not wish.read_only,
            "Name": wish.source if volume else "",
            "Driver": "local" if volume else "",
            "Type": wish.kind,
            "Propagation": "rprivate" if wish.kind == "bind" else "",
            "Spec": spec,
            "SkipMountpointCreation": not wish.make_source,
        }
        return point

    def make(self) -> None:
        """Make missing folders of the machine that -v names, as Docker does.

        Raises:
            LayerviewError: when one can't be made.
        """
        for wish in self._wishes:
            if wish.kind == "bind" and wish.make_source and not os.path.lexists(wish.source):
                try:
                    os.makedirs(wish.source, 0o755)
                except OSError as error:
                    why = (error.strerror or "").lower()
                    raise LayerviewError(f"{printable(wish.source)}: {why}") from None

    def fill(self, driver: Driver, mount_id: str) -> None:
        """Copy into empty volumes what the image has where they are mounted.

        Raises:
            LayerviewError: when it can't be copied.
        """
        waiting = [
            wish
            for wish in self._wishes
            if wish.kind == "volume" and wish.copy and self._is_empty(wish.source)
        ]
        if not waiting:
            return
        from layerview.containers.content import content
        from layerview.drivers.copying import TreeCopy
        from layerview.layer.beneath import OPEN_FOLDER

        with content(driver, mount_id) as find:
            for wish in waiting:
                source = find(os.fsencode(wish.target))
                if source is None:
                    continue  # the image has no such folder: the volume stays empty
                target = os.open(volumes.folder(self._root, wish.source), OPEN_FOLDER)
                try:
                    TreeCopy(source, target).run()
                except OSError as error:
                    why = (error.strerror or "").lower()
                    name = printable(str(error.filename))
                    raise LayerviewError(
                        f"volume {printable(wish.source)} was not filled: {name}: {why}"
                    ) from None
                finally:
                    os.close(target)

    def _is_empty(self, name: str) -> bool:
        with os.scandir(volumes.folder(self._root, name)) as found:
            return next(found, None) is None


def _words(wish: MountWish) -> str:
    modes = [word for word, told in (("ro", wish.read_only), ("nocopy", not wish.copy)) if told]
    return ":".join([wish.source, wish.target, *([",".join(modes)] if modes else [])])


def planned_binds(folder: str, document: Fields) -> tuple[Bind, ...]:
    """Return what a start mounts: the files of /etc, then the mounts, those above others first.

    Args:
        folder: ROOT/containers/ID.
        document: its config.v2.json.

    Raises:
        FormatError: when a mount is not as Docker writes it.
        NotFoundError: when what should be mounted is not there any more.
    """
    found = [
        Bind(os.path.join(folder, name), f"/etc/{name}")
        for name in _FROM_FILES
        if os.path.isfile(os.path.join(folder, name))
    ]
    points = document.optional_inner("MountPoints")
    mounts: list[Bind] = []
    for target in document.mapping("MountPoints") if points is not None else ():
        assert points is not None
        point = points.inner(target)
        kind = point.optional_text("Type") or "bind"
        source = point.optional_text("Source") or ""
        if not target.startswith("/"):
            raise FormatError(f"the mount {printable(target[:80])} is no absolute path")
        if kind == "tmpfs":
            mounts.append(Bind("", target, kind="tmpfs"))
            continue
        if kind == "volume" and point.optional_text("Name"):
            # By its name: where the area lies may have changed.
            root = os.path.dirname(os.path.dirname(folder))
            source = volumes.folder(root, point.text("Name"))
        _check_there(source, target)
        mounts.append(Bind(source, target, read_only=not point.flag("RW")))
    targets = {bind.target for bind in mounts}
    wanted = [*mounts, *(bind for bind in found if bind.target not in targets)]
    # As in Docker, by depth: nothing hides what is mounted below it.
    return tuple(sorted(wanted, key=lambda bind: bind.target.rstrip("/").count("/")))


def _check_there(source: str, target: str) -> None:
    try:
        os.stat(source)
    except OSError as error:
        raise NotFoundError(
            f"{printable(source)}, which is mounted on {printable(target)}:"
            f" {(error.strerror or '').lower()}"
        ) from None


def mounts_of(document: Fields) -> list[Mapping[str, object]]:
    """Return what `ps` and `inspect` say about a container's mounts."""
    points = document.optional_inner("MountPoints")
    if points is None:
        return []
    found: list[Mapping[str, object]] = []
    for target in sorted(document.mapping("MountPoints")):
        point = points.inner(target)
        found.append(
            {
                "type": point.optional_text("Type") or "bind",
                "name": point.optional_text("Name") or None,
                "source": point.optional_text("Source") or None,
                "destination": target,
                "read_only": not point.flag("RW"),
            }
        )
    return found
