"""Containers' records on disk: made, changed and removed, each as a whole or not at all.

A container is made beside its place and comes to be by one rename; an intent names what must go
where that does not happen. It goes by one rename too: what lies in ROOT/layerview/removing is to
be deleted, and so are the layers of the container that is named so.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType

from layerview.errors import FormatError, LayerviewError, NotFoundError
from layerview.oci.digest import Digest
from layerview.oci.fields import MAX_DOCUMENT_BYTES, Fields, load_json
from layerview.records import Record
from layerview.store import volumes as volumes_of
from layerview.store.container_files import (
    CONFIG,
    ETC_FILES,
    HOST_CONFIG,
    NOTES,
    config_document,
    etc_files,
    host_config,
    to_json,
)
from layerview.store.durable import (
    DiskFull,
    make_folders,
    named,
    read_small,
    refused,
    sync_all,
    sync_folder,
    write_new,
)
from layerview.store.intents import Intent
from layerview.store.layout import Layout, driver_id, is_container_id, sha256_digest
from layerview.store.liveness import (
    LOCK,
    Holder,
    is_lost,
    last_heard,
    moment,
    now,
    read,
    take,
    true_state,
)
from layerview.store.locks import flock
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.store.area import Area
    from layerview.store.writing import Writing

_PATIENCE = 0.5
"""Seconds that a lock may be held by a look, or by who starts or removes the container."""
_WITH_VOLUMES = "-volumes"
"""Behind the ID of a container in `removing` whose volumes without a name go as well."""
_LAST_STEPS = 5.0
"""Seconds that a keeper has for its own end once it has written down the container's."""


_NOTHING: Mapping[str, object] = MappingProxyType({})


class NameInUse(LayerviewError):
    """Another container has the name."""


class ContainerRuns(LayerviewError):
    """The container lives, and must not for this."""


class NewContainer(Record):
    """What a container is made with."""

    id: str
    name: str
    """Without a slash in front."""
    driver: str
    image_id: Digest
    parent: Digest | None
    """ChainID of the image's top layer."""
    mount_id: str
    """The driver's ID for its layer: 64 random hexadecimal digits."""
    path: str
    """The program."""
    args: Sequence[str] = ()
    config: Mapping[str, object] = _NOTHING
    """Docker's `Config` object."""
    mount_points: Mapping[str, object] = _NOTHING
    """Docker's `MountPoints`, by target."""
    binds: Sequence[str] = ()
    """What `-v` was told (HostConfig.Binds)."""
    host_config: Mapping[str, object] = _NOTHING
    """What hostconfig.json has besides."""
    network: str = "none"
    auto_remove: bool = False
    """It goes when it ends: nothing of it need reach the disk."""
    runtime: str = "layerview"
    notes: Mapping[str, object] = _NOTHING
    """What else layerview keeps of it."""
    created: str = ""
    """RFC 3339; now when left out."""


class Making:
    """A container that is being made: its layers are up to the caller."""

    def __init__(self, new: NewContainer, new_volumes: Sequence[str]) -> None:
        """Use `Writing.new_container`."""
        self._new = new
        self.new_volumes = tuple(new_volumes)
        """Names of the volumes that were made for it, and that go again if it is not made."""
        self.notes = dict(new.notes)
        """What layerview alone keeps of it."""

    @property
    def mount_id(self) -> str:
        """The driver's ID for the container's own layer."""
        return self._new.mount_id

    @property
    def init_id(self) -> str:
        """The driver's ID for the layer below it, which has /etc/hosts and the like."""
        return f"{self._new.mount_id}-init"

    def note(self, key: str, value: object) -> None:
        """Keep something of the container for layerview alone."""
        self.notes[key] = value


def folder_of(area: Area, id: str) -> str:
    """Return a container's folder.

    Raises:
        FormatError: when the ID is none.
    """
    if not is_container_id(id):
        raise FormatError(f'"{printable(id[:80])}" is no container ID')
    return os.path.join(area.root, "containers", id)


def run_folder(area: Area, id: str) -> str:
    """Return the folder of what a container needs while it runs."""
    return os.path.join(area.own, "run", id)


# --- living ---


def lives(area: Area, id: str) -> bool:
    """Whether a container's lock is held: it runs, or is about to be started or removed."""
    seen = read(os.path.join(folder_of(area, id), LOCK))
    return seen is not None and seen[0]


def read_lock(area: Area, id: str) -> Holder | None:
    """Return what a container's lock says of who holds it, or held it last."""
    seen = read(os.path.join(folder_of(area, id), LOCK))
    return None if seen is None else seen[1]


def container_lock(area: Area, id: str) -> int | None:
    """Take a container's lock, and put its State right where its keeper was killed.

    Returns:
        The descriptor, which is the caller's; the file behind it is empty. None: it lives.

    Raises:
        NotFoundError: when there is no such container.
    """
    path = os.path.join(folder_of(area, id), LOCK)
    patience, seen = _PATIENCE, read(path)
    if seen is not None and seen[0] and seen[1] is not None and seen[1].shim_lives:
        state = _document(area, id).get("State")
        if not _has_ended(state, seen[1]):
            return None
        patience = _LAST_STEPS
    with named(path):
        fd = take(path, patience)
    if fd is None:
        return None
    try:
        if not _is_at(path, fd):
            raise NotFoundError(f"container {id[:12]} is being removed")
        if not _settle_state(area, id, fd):
            os.close(fd)
            return None
        os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_at(path: str, fd: int) -> bool:
    """Whether an open file or folder is what a path leads to still."""
    try:
        there, own = os.lstat(path), os.fstat(fd)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)


def _has_ended(state: object, holder: Holder) -> bool:
    if not isinstance(state, dict) or state.get("Running") is True:
        return False
    return moment(state.get("FinishedAt")) >= moment(holder.started)


def _settle_state(area: Area, id: str, fd: int) -> bool:
    """Write down what is true of a container whose lock this process has.

    Returns:
        False: an engine has it, and it lives.
    """
    holder = Holder.from_bytes(os.pread(fd, 4096, 0))
    written = last_heard(folder_of(area, id), id, os.fstat(fd).st_mtime if holder else 0)
    runs = False

    def put_right(document: dict[str, object]) -> None:
        nonlocal runs
        state = document.get("State")
        if not isinstance(state, dict):
            return
        found = true_state(
            state,
            held=False,
            holder=holder,
            written=written,
            lost=lambda pid: is_lost(area.root, id, pid),
        )
        runs = found.get("Running") is True
        document["State"] = found

    # A config that can't be read keeps nobody from removing the container.
    with suppress(LayerviewError):
        document = _document(area, id)
        before = document.get("State")
        put_right(document)
        if document.get("State") != before:
            change_container(area, id, put_right)
    return not runs


# --- making ---


@contextmanager
def new_container(writing: Writing, new: NewContainer) -> Iterator[Making]:
    """Make a container; see `Writing.new_container`."""
    area, layout = writing.area, writing.layout(new.driver)
    sync = not new.auto_remove
    with writing.lock.hold():
        if new.parent is not None and not writing.has_layer(new.driver, new.parent):
            raise NotFoundError(f"layer {new.parent.short} is not in the area")
        check_free(writing, new.name)
        wanted = volumes_of.named_in(new.mount_points)
        missing = [name for name in wanted if not volumes_of.is_there(area.root, name)]
        intent = Intent(
            "create",
            new.driver,
            [new.mount_id, f"{new.mount_id}-init"],
            uses=[new.parent] if new.parent is not None else [],
            container=new.id,
            name=new.name,
            volumes=wanted,
            new_volumes=missing,
        )
        writing.intents.note(intent, sync=sync)
    try:
        if wanted:
            with writing.lock.hold():
                for name in wanted:
                    volumes_of.make(area, name, sync=sync)
        making = Making(new, missing)
        yield making
        place, unsynced = _write(area, layout, new, making)
        if sync:
            sync_all(unsynced)
        with writing.lock.hold():
            home = folder_of(area, new.id)
            with named(home):
                os.rename(place, home)
                if sync:
                    sync_folder(os.path.dirname(home))
            writing.intents.drop(intent)
    except BaseException as error:
        with writing.lock.hold():
            undo(writing, intent)
        if isinstance(error, OSError):
            raise refused(error, f"{layout.home}: container {new.name}") from None
        raise


def _write(area: Area, layout: Layout, new: NewContainer, making: Making) -> tuple[str, list[str]]:
    """Write a container's files beside their place; return that, and what is to be flushed."""
    make_folders(layout.containers, 0o710)
    make_folders(layout.mounts, 0o755)
    mount = layout.mount(new.id)
    texts = {"mount-id": making.mount_id, "init-id": making.init_id}
    if new.parent is not None:
        texts["parent"] = str(new.parent)
    place = os.path.join(area.own, "making", new.id)
    asked: dict[str, object] = {
        "Binds": list(new.binds) or None,
        "NetworkMode": new.network,
        "AutoRemove": new.auto_remove,
    }
    config = config_document(
        id=new.id,
        name=new.name,
        created=new.created or now(),
        driver=new.driver,
        image=str(new.image_id),
        path=new.path,
        args=new.args,
        config=new.config,
        mount_points=new.mount_points,
        network=new.network,
        notes={"runtime": new.runtime} | making.notes,
    )
    files = {
        CONFIG: (to_json(config), 0o600),
        HOST_CONFIG: (to_json(host_config(asked | dict(new.host_config))), 0o644),
        **{name: (data, 0o644) for name, data in etc_files(new.config, new.network).items()},
    }
    with named(mount):
        os.mkdir(mount, 0o755)
    for name, text in texts.items():
        write_new(os.path.join(mount, name), text.encode())
    with named(place):
        os.mkdir(place, 0o710)
    for name, (data, mode) in files.items():
        write_new(os.path.join(place, name), data, mode=mode)
    unsynced = [*(f"{mount}/{name}" for name in texts), mount, layout.mounts]
    # The files of /etc are made anew where they are lost, by an engine and by us.
    return place, [*unsynced, f"{place}/{CONFIG}", f"{place}/{HOST_CONFIG}", place]


def complete(area: Area, id: str, document: Fields, network: str) -> None:
    """Write the files of /etc that a container lacks: an engine makes them when it starts one.

    Args:
        area: the area.
        id: the container's ID.
        document: its config.v2.json.
        network: "none" or "host".
    """
    folder = folder_of(area, id)
    texts: dict[str, bytes] = {}
    for name in ETC_FILES:
        path = os.path.join(folder, name)
        with named(path):
            with suppress(FileNotFoundError):
                if os.lstat(path).st_size:
                    continue
            texts = texts or etc_files(document.mapping("Config"), network)
            with suppress(FileNotFoundError):
                os.unlink(path)  # lost with the machine's power
            write_new(path, texts[name])


def check_free(writing: Writing, name: str, own: str = "") -> None:
    """Make sure that a name is no container's; the lock must be held.

    Args:
        writing: of the area.
        name: without a slash in front.
        own: the container that may have it.

    Raises:
        NameInUse: when another one has it.
    """
    for intent, live in writing.intents.listed():
        if live and intent.why == "create" and intent.name == name and intent.container != own:
            raise NameInUse(_taken(name, intent.container))
    home = os.path.join(writing.area.root, "containers")
    wanted = json.dumps(f"/{name}").encode()
    try:
        found = os.listdir(home)
    except FileNotFoundError:
        return
    for id in found:
        if id == own or not is_container_id(id):
            continue
        try:
            # Most are seen not to have the name without being understood.
            data = _quickly_read(f"{home}/{id}/{CONFIG}")
            document = load_json(data, CONFIG) if wanted in data else None
        except (LayerviewError, OSError):
            continue
        if isinstance(document, dict) and document.get("Name") == f"/{name}":
            raise NameInUse(_taken(name, id))


def _quickly_read(path: str) -> bytes:
    """Read a file of at most MAX_DOCUMENT_BYTES: there may be hundreds, for every new container."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        data = os.read(fd, 1 << 16)
        while len(data) >= 1 << 16 and (more := os.read(fd, MAX_DOCUMENT_BYTES)):
            data += more
            if len(data) > MAX_DOCUMENT_BYTES:
                break
        return data
    finally:
        os.close(fd)


def _taken(name: str, id: str) -> str:
    return (
        f"the name {printable(name)} is taken by container {id[:12]}: choose another one, or"
        " remove or rename that"
    )


def undo(writing: Writing, intent: Intent) -> bool:
    """Take back what was made of a container; the lock must be held.

    Returns:
        False: it was there whole, and stays.
    """
    area, layout = writing.area, writing.layout(intent.driver)
    if _is_whole(area, layout, intent):
        writing.intents.drop(intent)
        return False
    try:
        driver = writing.driver(intent.driver)
        for id in intent.ids:
            driver.remove(id)
        for place in (
            folder_of(area, intent.container),
            os.path.join(area.own, "making", intent.container),
            layout.mount(intent.container),
            run_folder(area, intent.container),
        ):
            volumes_of.delete_tree(place)
        for name in intent.new_volumes:
            if not volumes_of.user(writing, name, but=intent.container):
                going = volumes_of.take_away(area, name)
                if going is not None:
                    going.delete()
    except OSError as error:
        writing.intents.leave(intent)
        raise refused(error, layout.home) from None
    except BaseException:
        writing.intents.leave(intent)
        raise
    writing.intents.drop(intent)
    return True


def _is_whole(area: Area, layout: Layout, intent: Intent) -> bool:
    """Whether a container came to be, and all its files reached the disk."""
    try:
        mount = layout.mount(intent.container)
        document = _document(area, intent.container)
        load_json(read_small(os.path.join(folder_of(area, intent.container), HOST_CONFIG)), "")
        texts = [read_small(f"{mount}/{name}", 4096) for name in ("mount-id", "init-id")]
    except LayerviewError:
        return False
    whole = [id.encode() for id in intent.ids] == texts
    return whole and document.get("ID") == intent.container


# --- changing ---


def change_container(
    area: Area, id: str, change: Callable[[dict[str, object]], None], *, sync: bool = True
) -> None:
    """Change a container's config.v2.json: nobody else does meanwhile, and nobody reads half of it.

    Args:
        area: the area.
        id: the container's ID.
        change: changes the document in place.
        sync: False where it need not outlast the machine.

    Raises:
        NotFoundError: when there is no such container.
        LayerviewError: when the file can't be read or written.
    """
    folder = folder_of(area, id)
    with named(folder):
        home = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(home, fcntl.LOCK_EX)
        if not _is_at(folder, home):
            raise NotFoundError(f"there is no container {id[:12]} any more")
        path = os.path.join(folder, CONFIG)
        document = _object(path)
        change(document)
        temporary = os.path.join(folder, f".tmp-{CONFIG}")
        with named(path):
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            write_new(temporary, to_json(document), mode=0o600)
            if sync:
                sync_all([temporary])
            os.rename(temporary, path)
            if sync:
                os.fsync(home)
    finally:
        os.close(home)


def _document(area: Area, id: str) -> dict[str, object]:
    return _object(os.path.join(folder_of(area, id), CONFIG))


def _object(path: str) -> dict[str, object]:
    document = load_json(read_small(path, MAX_DOCUMENT_BYTES), path)
    if not isinstance(document, dict):
        raise FormatError(f"{printable(path)} is no JSON object")
    return document


def rename_container(writing: Writing, id: str, name: str) -> None:
    """Give a container another name.

    Raises:
        NameInUse: when another container has it.
        NotFoundError: when there is no such container.
    """

    def change(document: dict[str, object]) -> None:
        document["Name"] = f"/{name}"

    with writing.lock.hold():
        check_free(writing, name, id)
        change_container(writing.area, id, change)


def mark_started(document: dict[str, object], folder: str, pid: int, started: str) -> None:
    """Say in a container's document that it was started; not where it has ended already.

    Args:
        document: config.v2.json.
        folder: the container's.
        pid: of its first process, as the machine counts.
        started: RFC 3339, as the lock has it.
    """
    id = os.path.basename(folder)
    document |= {
        "HasBeenStartedBefore": True,
        "HasBeenManuallyStopped": False,
        "LogPath": os.path.join(folder, f"{id}-json.log"),
        "HostnamePath": os.path.join(folder, "hostname"),
        "HostsPath": os.path.join(folder, "hosts"),
        "ResolvConfPath": os.path.join(folder, "resolv.conf"),
    }
    state = document.get("State")
    state = dict(state) if isinstance(state, dict) else {}
    state["StartedAt"] = started
    if moment(state.get("FinishedAt")) < moment(started):
        state |= {"Running": True, "Pid": pid, "ExitCode": 0, "Error": "", "OOMKilled": False}
    document["State"] = state


def note_start(area: Area, id: str, pid: int, nanoseconds: int, *, sync: bool = True) -> None:
    """Write down that a container was started.

    Args:
        area: the area.
        id: the container's ID; its lock says since when it runs.
        pid: of its first process, as the machine counts.
        nanoseconds: how long the start took; kept for layerview alone.
        sync: False where it need not outlast the machine.
    """
    holder = read_lock(area, id)
    started = holder.started if holder is not None else now()
    folder = folder_of(area, id)

    def change(document: dict[str, object]) -> None:
        mark_started(document, folder, pid, started)
        notes = document.get(NOTES)
        document[NOTES] = (notes if isinstance(notes, dict) else {}) | {"start_ns": nanoseconds}

    change_container(area, id, change, sync=sync)


def note_failure(area: Area, id: str, code: int, message: str) -> None:
    """Write down that a container could not be started, as Docker does."""

    def change(document: dict[str, object]) -> None:
        state = document.get("State")
        state = dict(state) if isinstance(state, dict) else {}
        document["State"] = state | {"Running": False, "ExitCode": code, "Error": message}

    change_container(area, id, change)


# --- removing ---


def remove_container(writing: Writing, id: str, *, volumes: bool = False) -> list[str]:
    """Remove a container that does not live, with its layers.

    Args:
        writing: of the area.
        id: the container's.
        volumes: its volumes without a name go as well, if nobody else uses them.

    Returns:
        The names of the volumes that went.

    Raises:
        NotFoundError: when there is no such container.
        ContainerRuns: when it lives.
        LayerviewError: when not all of it can be removed; the next writing goes on with it.
    """
    area = writing.area
    home = folder_of(area, id)
    with writing.lock.hold():
        mounts = _mounts(writing, id)
        for driver in mounts:
            writing.driver(driver)  # what can't be finished is not begun
        going = os.path.join(area.own, "removing", id + (_WITH_VOLUMES if volumes else ""))
        lock: int | None = -1
        sync = True
        if os.path.lexists(home):
            try:
                lock = container_lock(area, id)
            except DiskFull:
                # It was never started, and on a full disk nobody will start it now.
                lock = -2
            if lock is None:
                raise ContainerRuns(f"container {id[:12]} is running: stop it first")
            with suppress(LayerviewError):
                sync = not area.data.host_config(id).flag("AutoRemove")
        elif not mounts:
            raise NotFoundError(f"there is no container {id[:12]} in the area")
        elif any(map(os.path.lexists, (going, os.path.join(area.own, "removing", id)))):
            raise NotFoundError(f"container {id[:12]} is being removed already")
        held = -1
        try:
            with named(home):
                if lock == -1:
                    # Only its layers are left.
                    os.mkdir(going, 0o700)
                else:
                    os.rename(home, going)
                    if sync:
                        sync_folder(os.path.dirname(home))
                held = os.open(going, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            _close(lock, held)
            raise
    try:
        return _finish(writing, id, going)
    finally:
        _close(lock, held)


def _close(*fds: int | None) -> None:
    for fd in fds:
        if fd is not None and fd >= 0:
            os.close(fd)


def _mounts(writing: Writing, id: str) -> dict[str, list[str]]:
    """Return under which drivers a container has layers, and the driver's IDs for them."""
    found: dict[str, list[str]] = {}
    for driver in writing.known_drivers():
        mount = writing.layout(driver).mount(id)
        if not os.path.isdir(mount):
            continue
        found[driver] = []
        for name in ("mount-id", "init-id"):
            path = os.path.join(mount, name)
            with suppress(NotFoundError):
                text = read_small(path, 4096).decode("utf-8", "replace")
                found[driver].append(driver_id(text, path))
    return found


def _finish(writing: Writing, id: str, going: str) -> list[str]:
    """Delete a container's layers and what says that they are its own; return volumes that went."""
    area = writing.area
    gone = []
    try:
        for driver, ids in _mounts(writing, id).items():
            for each in ids:
                writing.driver(driver).remove(each)
            _forget_mount(writing, driver, id, going)
        for place in (run_folder(area, id), going):
            _unmount(os.path.realpath(place))
        volumes_of.delete_tree(run_folder(area, id))
        for name in _own_volumes(going) if going.endswith(_WITH_VOLUMES) else ():
            with writing.lock.hold():
                if volumes_of.user(writing, name):
                    continue
                volume = volumes_of.take_away(area, name)
            if volume is not None:
                volume.delete()
                gone.append(name)
        volumes_of.delete_tree(going)
    except OSError as error:
        raise refused(error, f"container {id[:12]}") from None
    return gone


def _forget_mount(writing: Writing, driver: str, id: str, going: str) -> None:
    """Delete what names a container's layers; those of an image that is gone go with the last."""
    mount = writing.layout(driver).mount(id)
    image = ""
    with suppress(LayerviewError):
        image = str(_object(os.path.join(going, CONFIG)).get("Image"))
    with suppress(LayerviewError):
        if os.path.lexists(writing.layout(driver).image(Digest.parse(image))):
            volumes_of.delete_tree(mount)
            return
    with writing.lock.hold():
        parent = _parent(mount)
        volumes_of.delete_tree(mount)
        if parent is not None:
            with suppress(LayerviewError):  # whoever can't tell what is needed deletes nothing
                uses = writing.uses(driver)
                writing.collect(driver, uses.with_below(parent), uses)


def _parent(mount: str) -> Digest | None:
    """Return the layer that a container's lie on; None where that is not known."""
    path = os.path.join(mount, "parent")
    with suppress(LayerviewError):
        return sha256_digest(read_small(path, 4096).decode("utf-8", "replace"), path)
    return None


def _own_volumes(folder: str) -> list[str]:
    """Return the names of the volumes that go with a container; none where they are not known."""
    with suppress(LayerviewError):
        points = _object(os.path.join(folder, CONFIG)).get("MountPoints")
        return volumes_of.anonymous_in(points)
    return []


def clear_making(writing: Writing) -> None:
    """Delete what was begun in `making` and is no intent's; the lock must be held."""
    base = os.path.join(writing.area.own, "making")
    try:
        found = os.listdir(base)
    except FileNotFoundError:
        return
    known = {intent.container for intent, _ in writing.intents.listed()} if found else set()
    for name in found:
        if name not in known:
            volumes_of.delete_tree(os.path.join(base, name))


def open_removals(area: Area) -> list[str]:
    """Return the names of the folders that are to be deleted, and of what they were."""
    try:
        return sorted(os.listdir(os.path.join(area.own, "removing")))
    except FileNotFoundError:
        return []


def removed_container(name: str) -> str:
    """Return the ID of the container that a folder in `removing` was; "" if it was none."""
    id = name.removesuffix(_WITH_VOLUMES)
    return id if is_container_id(id) else ""


def finish_removal(writing: Writing, name: str) -> str | None:
    """Go on with a removal whose process died; the lock must be held.

    Args:
        writing: of the area.
        name: of the folder in `removing`.

    Returns:
        What was done; None where somebody is at it.
    """
    going = os.path.join(writing.area.own, "removing", name)
    try:
        fd = os.open(going, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not flock(fd, fcntl.LOCK_EX):
            return None
        if id := removed_container(name):
            _finish(writing, id, going)
            return f"finished the removal of container {id[:12]}"
        if name.startswith(volumes_of.GOING):
            volumes_of.delete_tree(going)
            return "finished the removal of a volume"
        return None
    finally:
        os.close(fd)


def _unmount(folder: str) -> None:
    """Take away what an engine that was killed left mounted in a container's folder."""
    from layerview.drivers.mounts import detach, mount_points

    for place in reversed(mount_points(folder)):
        detach(place)
