"""Looking containers and volumes through: their records, their layers, and what a crash left.

See `check`. What runs, and what is being made or removed, is passed over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from layerview.errors import LayerviewError, NotFoundError
from layerview.store.check_aufs import check_servers, is_used
from layerview.store.container_files import CONFIG
from layerview.store.containers import (
    container_lock,
    folder_of,
    open_removals,
    remove_container,
    removed_container,
    run_folder,
)
from layerview.store.data_root import ContainerRecord
from layerview.store.durable import named, read_small
from layerview.store.intents import Intent
from layerview.store.layout import Layout, driver_id, is_container_id
from layerview.store.liveness import LOCK, Holder, boot_id, is_ending, kill, read, start_time
from layerview.store.locks import live_engine, process_name
from layerview.store.volumes import delete_tree, is_there, named_in
from layerview.text import printable

if TYPE_CHECKING:
    from layerview.store.area import Area
    from layerview.store.writing import Writing

Repair = Callable[["Writing"], None]
Say = Callable[[str, str, str, Repair | None], None]
"""Takes what a finding is about, what was found, what helps, and what puts it right."""

_CONTAINERS, _VOLUMES, _LEFT = "containers", "volumes", "leftovers of containers"
_MOMENT = 0.3
"""Seconds in which a process ends that nothing keeps from it."""
_LOOK = "look at it, and remove it by hand if you know it"


class ContainerCheck:
    """Looks through the containers and volumes of one area."""

    def __init__(self, area: Area, intents: Collection[Intent], problem: Say, note: Say) -> None:
        """Prepare.

        Args:
            area: which.
            intents: what is under way, or was interrupted.
            problem: told what is wrong.
            note: told what is no harm.
        """
        self._area = area
        self._data = area.data
        self._problem = problem
        self._note = note
        self._own = area.own
        self._busy = {each.container for each in intents if each.container}
        self._ids = {id for each in intents for id in each.ids}
        """The driver's IDs that those are about: what is there of them is no finding."""
        self._busy |= set(map(removed_container, open_removals(area)))

    def run(self) -> tuple[int, int]:
        """Look; return how many containers and how many volumes there are."""
        data = self._data
        layouts = [data.layout(driver) for driver in data.drivers()]
        layered: dict[str, Layout] = {}
        for layout in layouts:
            for id in filter(is_container_id, _listed(layout.mounts)):
                layered.setdefault(id, layout)
        home = os.path.join(self._area.root, "containers")
        known = _listed(home)
        for name in known:
            if not is_container_id(name):
                self._problem(_CONTAINERS, f"{home}/{name} is no container", _LOOK, None)
        ids = set(filter(is_container_id, known))
        living = set()
        for id in sorted((ids | set(layered)) - self._busy):
            if id not in ids:
                self._layers_alone(id)
                continue
            if self._lock(id):
                living.add(id)
            self._container(id, layered.get(id))
        self._mounted(layouts, living)
        self._servers(layouts)
        self._runs(living)
        self._half_made()
        return len(ids), self._volumes()

    # -- a container --------------------------------------------------------------------------

    def _container(self, id: str, layout: Layout | None) -> None:
        remedy = f"`layerview rm {id[:12]}` removes the container"
        try:
            document = self._data.container_document(id)
            self._data.host_config(id)
            if document.optional_text("ID") != id:
                where = os.path.join(folder_of(self._area, id), CONFIG)
                self._problem(_CONTAINERS, f"{where} is another container's", remedy, None)
                return
            record = self._data.container(id) if layout is not None else None
        except LayerviewError as error:
            if os.path.lexists(folder_of(self._area, id)):
                self._problem(_CONTAINERS, str(error), remedy, None)
            return
        name = (document.optional_text("Name") or "").removeprefix("/")
        called = f"container {id[:12]} ({printable(name)})"
        if record is None or layout is None:
            found = f"{called} has no layer: no image/DRIVER/layerdb/mounts names one"
            self._problem(_CONTAINERS, found, remedy, None)
            return
        self._layers(record, layout, called, remedy)
        for volume in named_in(document.mapping("MountPoints")):
            if not _has_volume(self._area.root, volume):
                self._problem(
                    _CONTAINERS,
                    f"{called} mounts volume {printable(volume)}, which is not there",
                    f"`layerview volume create {printable(volume)}` makes it anew, empty",
                    None,
                )
        self._state(record, called)

    def _layers(self, record: ContainerRecord, layout: Layout, called: str, remedy: str) -> None:
        if record.parent is not None and not os.path.isdir(layout.layer(record.parent)):
            self._problem(
                _CONTAINERS,
                f"{called} lies on layer {record.parent.short}, which is not there",
                remedy,
                None,
            )
        for id in filter(None, (record.mount_id, record.init_id)):
            folder = layout.container_folder(id) if layout.has_folders else ""
            if folder and not os.path.isdir(folder):
                self._problem(
                    _CONTAINERS, f"{called} has no folder: {folder} is not there", remedy, None
                )

    def _layers_alone(self, id: str) -> None:
        def remove(writing: Writing) -> None:
            with suppress(NotFoundError):
                remove_container(writing, id)

        self._problem(
            _CONTAINERS,
            f"container {id[:12]} is gone, and its layers are there still",
            "`layerview doctor --repair` removes them",
            remove,
        )

    def _state(self, record: ContainerRecord, called: str) -> None:
        """Compare what is written down with what is true."""
        if record.running:
            return
        raw = _raw_state(folder_of(self._area, record.id))
        if raw.get("Running") is True:
            self._note(
                _CONTAINERS,
                f"{called} was killed from outside, and is written down as running",
                "the next command about it puts that right, or doctor --repair",
                self._settling(record.id),
            )
        if record.status != "exited" or not self._goes(record.id):
            return

        def remove(writing: Writing) -> None:
            with suppress(NotFoundError):
                remove_container(writing, record.id, volumes=True)

        self._note(
            _CONTAINERS,
            f"{called} was to go when it ends (--rm), and is there still",
            f"`layerview rm -v {record.id[:12]}` removes it, or doctor --repair",
            remove,
        )

    def _goes(self, id: str) -> bool:
        with suppress(LayerviewError):
            return self._data.host_config(id).flag("AutoRemove")
        return False

    def _settling(self, id: str) -> Repair:
        def settle(writing: Writing) -> None:
            fd = container_lock(writing.area, id)
            if fd is not None:
                os.close(fd)

        return settle

    def _lock(self, id: str) -> bool:
        """Look at who holds a container's lock, and who should; return whether it is held."""
        path = os.path.join(folder_of(self._area, id), LOCK)
        seen = read(path)
        if seen is None:
            return False
        held, said, _ = seen
        if said is None:
            return held
        if held and not said.shim_lives:
            self._problem(
                _LEFT,
                f"{_who_holds(path)} holds the lock of container {id[:12]}, and is not its shim,"
                " which is gone",
                "end that process: as long as it lives the container counts as running",
                None,
            )
        if held and said.shim_lives and is_ending(said.shim):
            # It may be ending as it should: that takes no time.
            time.sleep(_MOMENT)
            if said.shim_lives and is_ending(said.shim):
                self._problem(
                    _LEFT,
                    f"the shim of container {id[:12]} was killed, and a program in the container"
                    " keeps it from ending",
                    f"`layerview kill {id[:12]}` ends both",
                    None,
                )
        if not held and said.boot == boot_id() and start_time(said.pid) == said.pid_start:
            self._problem(
                _LEFT,
                f"process {said.pid} of container {id[:12]} lives, and its shim is gone",
                "`layerview doctor --repair` kills it",
                _killing(said),
            )
        return held

    # -- what a crash left --------------------------------------------------------------------

    def _runs(self, living: Collection[str]) -> None:
        base = os.path.join(self._own, "run")
        for name in _listed(base):
            if not is_container_id(name) or name in living or name in self._busy:
                continue
            self._note(
                _LEFT,
                f"{base}/{name[:12]}… is left of a container that runs no more",
                "its next start or its removal deletes it, or doctor --repair",
                self._clearing(name),
            )

    def _clearing(self, id: str) -> Repair:
        def clear(writing: Writing) -> None:
            fd: int | None = -1
            with suppress(NotFoundError):
                fd = container_lock(writing.area, id)
            if fd is None:
                return  # started meanwhile
            try:
                delete_tree(run_folder(writing.area, id))
            finally:
                if fd >= 0:
                    os.close(fd)

        return clear

    def _mounted(self, layouts: Collection[Layout], living: Collection[str]) -> None:
        """Find what is mounted for containers and layers, though nobody uses it."""
        from layerview.drivers.mounts import mount_points

        root = os.path.realpath(self._area.root)
        found = mount_points(root)
        if not found or live_engine(root) is not None:
            return
        homes = {os.path.realpath(layout.layers_home) for layout in layouts if layout.layers_home}
        for place in sorted(found, key=len, reverse=True):
            layer = _layer_of(place, homes)
            if layer:
                if os.path.basename(layer) in self._ids or is_used(layer):
                    continue
            else:
                parts = os.path.relpath(place, root).split("/")
                if parts[0] == "layerview":
                    parts = parts[1:]
                if len(parts) < 2 or parts[0] not in ("containers", "run") or parts[1] in living:
                    continue
            self._problem(
                _LEFT,
                f"{printable(place)} is mounted, and nobody uses it",
                "`layerview doctor --repair` unmounts it",
                _unmounting(place),
            )

    def _servers(self, layouts: Collection[Layout]) -> None:
        """Look at the servers of driver aufs's trees."""
        for layout in layouts:
            if layout.driver == "aufs":
                owners, _ = mount_ids(layout)
                check_servers(self._area, owners, self._ids, self._problem, self._note)

    def _half_made(self) -> None:
        base = os.path.join(self._own, "making")
        for name in _listed(base):
            if name in self._busy:
                continue
            path = os.path.join(base, name)
            self._note(
                _LEFT,
                f"{path} is left of a container or volume that was not made",
                "the next command that changes the area deletes it, or doctor --repair",
                _deleting(path),
            )

    # -- volumes ------------------------------------------------------------------------------

    def _volumes(self) -> int:
        base = os.path.join(self._area.root, "volumes")
        count = 0
        for name in _listed(base):
            path = os.path.join(base, name)
            if not os.path.isdir(path) or os.path.islink(path):
                continue  # metadata.db and the like are an engine's
            if _has_volume(self._area.root, name):
                count += 1
                continue
            remedy = f"`layerview volume create {printable(name)}` completes it"
            if os.path.lexists(os.path.join(path, "_data")):
                remedy = _LOOK
            self._problem(_VOLUMES, f"{printable(path)} has no folder _data", remedy, None)
        return count


def mount_ids(layout: Layout) -> tuple[dict[str, str], bool]:
    """Return whose each of a driver's IDs is, of those that containers have.

    Returns:
        Container IDs by driver's ID; and whether all records could be read.
    """
    found: dict[str, str] = {}
    whole = True
    for id in filter(is_container_id, _listed(layout.mounts)):
        for name in ("mount-id", "init-id"):
            path = os.path.join(layout.mount(id), name)
            try:
                text = read_small(path, 4096).decode("utf-8", "replace")
                found[driver_id(text, path)] = id
            except NotFoundError:
                # A container of old has no layer of its own below.
                whole = whole and name == "init-id"
            except LayerviewError:
                whole = False
    return found, whole


def _has_volume(root: str, name: str) -> bool:
    with suppress(LayerviewError):
        return is_there(root, name)
    return False


def _raw_state(folder: str) -> Mapping[str, object]:
    from layerview.oci.fields import Fields, load_json

    path = os.path.join(folder, CONFIG)
    with suppress(LayerviewError):
        return Fields(load_json(read_small(path), path), path).mapping("State")
    return {}


def _layer_of(place: str, homes: Collection[str]) -> str:
    """Return the folder whose lock says that what is mounted on a place is in use; "": none."""
    folder, _, last = place.rpartition("/")
    if last == "merged" and os.path.dirname(folder) in homes:
        return folder
    home, _, kind = folder.rpartition("/")
    if kind == "mnt" and os.path.join(home, "diff") in homes:
        return os.path.join(home, "diff", last)
    return ""


def _who_holds(path: str) -> str:
    """Name the processes that have a file open: a lock may be inherited, which no list shows."""
    found = []
    with suppress(OSError):
        wanted = os.lstat(path)
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            if _has_open(pid, wanted):
                found.append(process_name(int(pid)))
    return " and ".join(found[:5]) or "another process"


def _has_open(pid: str, wanted: os.stat_result) -> bool:
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                state = os.stat(f"{folder}/{name}")
                if (state.st_dev, state.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return True
    return False


def _killing(said: Holder) -> Repair:
    return lambda writing: kill(said.pid, said.pid_start)


def _unmounting(place: str) -> Repair:
    def unmount(writing: Writing) -> None:
        from layerview.drivers.mounts import detach

        with named(place):
            detach(place)

    return unmount


def _deleting(path: str) -> Repair:
    return lambda writing: delete_tree(path)


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
