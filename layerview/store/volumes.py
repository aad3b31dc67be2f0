"""Data volumes of the area: folders that containers share and that outlive them.

volumes/NAME/_data is what containers see, as in Docker's driver `local` (moby, volume/local).
What an engine knows besides (labels) is in volumes/metadata.db, which is its own and only read.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from layerview.errors import FormatError, LayerviewError, NotFoundError, UsageError
from layerview.oci.fields import load_json
from layerview.records import Record
from layerview.store.durable import make_folders, named, read_small, sync_folder
from layerview.store.locks import flock
from layerview.text import is_hex, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.store.area import Area
    from layerview.store.data_root import ContainerRecord, DataRoot
    from layerview.store.writing import Writing

GOING = "volume-"
"""How the folders in layerview/removing begin that were volumes."""
_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}"
"""moby, daemon/names; a folder's name has at most 255 bytes."""
_DATA = "_data"


class VolumeInUse(LayerviewError):
    """A container has the volume mounted."""


class Volume(Record):
    """A volume, and the containers that mention it."""

    name: str
    folder: str
    """What containers see, absolute."""
    created: float
    """Seconds since 1970."""
    options: Mapping[str, str]
    """What an engine was told about it ("type", "device", "o"); it mounts that there itself."""
    users: tuple[ContainerRecord, ...] = ()
    labels: Mapping[str, str] | None = None
    """What an engine was told to call it; None where that can't be read."""

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody gave it a name."""
        return is_anonymous(self.name)

    def size(self) -> int | None:
        """Sum up its files, each inode once, in bytes; None where something may not be read."""
        from layerview.store.inventory import folder_size

        return folder_size(self.folder)


def check_name(name: str) -> str:
    """Return a name that a volume may have.

    Raises:
        UsageError: when it is none.
    """
    if not is_name(name):
        raise UsageError(
            f"{printable(name[:80])!r} is no volume's name: two or more letters, digits and _.-"
            " make one, a letter or digit first; for a folder of the machine write its whole path"
        )
    return name


def is_name(name: str) -> bool:
    """Whether a volume may have a name; folders among the volumes may have others."""
    return re.fullmatch(_NAME, name) is not None


def is_anonymous(name: str) -> bool:
    """Whether a name was made up by Docker or by us: 64 hexadecimal digits."""
    return is_hex(name, 64)


def new_name() -> str:
    """Make up the name of a volume that nobody gave one."""
    return os.urandom(32).hex()


def home(root: str, name: str) -> str:
    """Return the folder that is a volume's own."""
    return os.path.join(root, "volumes", check_name(name))


def folder(root: str, name: str) -> str:
    """Return the folder of a volume that containers see."""
    return os.path.join(home(root, name), _DATA)


def is_there(root: str, name: str) -> bool:
    """Whether there is such a volume."""
    with suppress(OSError):
        return stat.S_ISDIR(os.lstat(folder(root, name)).st_mode)
    return False


def make(area: Area, name: str, *, sync: bool = True) -> bool:
    """Make a volume; False when it was there. The lock must be held.

    Raises:
        LayerviewError: when it can't be made, or is one that only an engine can use.
    """
    root = area.root
    if is_there(root, name):
        _check_plain(root, name)
        return False
    place = home(root, name)
    base = os.path.dirname(place)
    if not os.path.isdir(base):
        make_folders(base, 0o701)
        with named(base):
            os.chmod(base, 0o701)
    making = os.path.join(area.own, "making", GOING + os.urandom(16).hex())
    with named(place):
        # A folder of its name may be there from an engine that was killed as it made it.
        half = os.path.isdir(place)
        folder = place if half else making
        if not half:
            os.mkdir(folder)
        os.chmod(folder, 0o701)
        data = os.path.join(folder, _DATA)
        os.mkdir(data)
        os.chmod(data, 0o755)
        if sync:
            sync_folder(folder)
        if not half:
            os.rename(making, place)
        if sync:
            sync_folder(base)
    return True


def options_of(root: str, name: str) -> dict[str, str]:
    """Return what an engine keeps in opts.json of a volume that it mounts from elsewhere."""
    path = os.path.join(home(root, name), "opts.json")
    try:
        said = load_json(read_small(path, 1 << 20), path)
    except NotFoundError:
        return {}
    if not isinstance(said, dict):
        raise FormatError(f"{printable(path)} is no JSON object")
    keys = {"MountType": "type", "MountOpts": "o", "MountDevice": "device"}
    return {keys[key]: str(said[key]) for key in keys if said.get(key)}


def _check_plain(root: str, name: str) -> None:
    options = options_of(root, name)
    if options:
        said = ", ".join(f"{key}={printable(value)}" for key, value in options.items())
        raise LayerviewError(
            f"volume {name} is mounted from elsewhere by an engine ({said}), which layerview does"
            " not do: choose another volume, or bind the folder"
        )


def named_in(mount_points: object) -> list[str]:
    """Return the names of the volumes that a container's MountPoints mention."""
    return [name for name, _ in _volumes_in(mount_points)]


def anonymous_in(mount_points: object) -> list[str]:
    """Return those of them that nobody gave a name, so that they go with the container."""
    return [name for name, asked in _volumes_in(mount_points) if not asked]


def _volumes_in(mount_points: object) -> Iterator[tuple[str, bool]]:
    """Yield each volume's name, and whether somebody asked for it by that."""
    points = mount_points.values() if isinstance(mount_points, Mapping) else ()
    for point in points:
        if not isinstance(point, Mapping):
            continue
        name, kind, driver = (point.get(key) for key in ("Name", "Type", "Driver"))
        if kind == "volume" and driver == "local" and isinstance(name, str) and name:
            spec = point.get("Spec")
            source = spec.get("Source") if isinstance(spec, Mapping) else None
            yield name, bool(source) or not is_anonymous(name)


def user(writing: Writing, name: str, *, but: str = "") -> str:
    """Name a container that mentions a volume, or that is being made with it; "" if none does.

    Args:
        writing: of the area; the lock must be held.
        name: the volume's.
        but: ID of a container that does not count.
    """
    for intent, live in writing.intents.listed():
        if live and intent.container != but and name in intent.volumes:
            return f"{intent.container[:12]} ({intent.name})"
    base = os.path.join(writing.area.root, "containers")
    wanted = f'"{name}"'.encode()
    for id in _listed(base):
        if id == but:
            continue
        path = os.path.join(base, id, "config.v2.json")
        try:
            data = read_small(path)
            if wanted not in data:
                continue
            said = load_json(data, path)
        except NotFoundError:
            continue
        if isinstance(said, dict) and name in named_in(said.get("MountPoints")):
            return f"{id[:12]} ({printable(str(said.get('Name')).removeprefix('/'))})"
    return ""


class Going(Record):
    """A volume that is out of its place and is to be deleted."""

    folder: str
    fd: int
    """Keeps it locked: who finds it unlocked deletes it."""

    def delete(self) -> None:
        """Delete it; the area's lock need not be held.

        Raises:
            LayerviewError: when something of it can't be; the next writing goes on with it.
        """
        try:
            delete_tree(self.folder)
        finally:
            os.close(self.fd)


def take_away(area: Area, name: str) -> Going | None:
    """Take a volume out of its place, whoever uses it; the lock must be held.

    Raises:
        VolumeInUse: when it is being filled.
        LayerviewError: when something is mounted in it.
    """
    from layerview.drivers.mounts import mount_points

    place = home(area.root, name)
    mounted = mount_points(os.path.realpath(place))
    if mounted:
        raise LayerviewError(f"{printable(mounted[0])} is mounted: unmount it first")
    going = os.path.join(area.own, "removing", GOING + os.urandom(16).hex())
    with named(place):
        try:
            fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            if not flock(fd, fcntl.LOCK_EX):
                raise VolumeInUse(f"volume {name} is not removed: it is being filled")
            os.rename(place, going)
            sync_folder(os.path.dirname(place))
        except BaseException:
            os.close(fd)
            raise
    return Going(going, fd)


def delete_tree(path: str) -> None:
    """Delete a folder and all that is in it, as deep as it may be; nothing else.

    Raises:
        LayerviewError: when something can't be deleted, or is mounted in it.
    """
    from layerview.drivers.removal import remove_tree

    with named(path):
        remove_tree(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _listed(path: str) -> list[str]:
    try:
        with named(path):
            return sorted(os.listdir(path))
    except NotFoundError:
        return []


def listed(data: DataRoot, containers: list[ContainerRecord] | None = None) -> list[Volume]:
    """List the volumes of a data root, by name.

    Args:
        data: the data root.
        containers: its containers, where they are known already.
    """
    from layerview.store.volume_labels import read_volume_labels

    records = data.containers([]) if containers is None else containers
    root = data.path
    names = [name for name in _listed(os.path.join(root, "volumes")) if is_volume(root, name)]
    labels = read_volume_labels(data) if names else None
    return [_volume(root, name, records, labels) for name in names]


def is_volume(root: str, name: str) -> bool:
    """Whether a name in the folder volumes is a volume's."""
    return re.fullmatch(_NAME, name) is not None and is_there(root, name)


def _volume(
    root: str,
    name: str,
    containers: list[ContainerRecord],
    labels: Mapping[str, Mapping[str, str]] | None,
) -> Volume:
    try:
        options = options_of(root, name)
    except LayerviewError:
        options = {}
    place = home(root, name)
    with named(place):
        created = os.lstat(place).st_mtime
    users = tuple(record for record in containers if name in record.volumes)
    own = labels.get(name, {}) if labels is not None else None
    return Volume(name, os.path.join(place, _DATA), created, options, users, own)


def inspect(data: DataRoot, name: str) -> Volume:
    """Return a volume.

    Raises:
        NotFoundError: when there is none of that name.
    """
    if not is_volume(data.path, name):
        raise NotFoundError(f"{printable(data.path)} has no volume {printable(name[:80])}")
    from layerview.store.volume_labels import read_volume_labels

    return _volume(data.path, name, data.containers([]), read_volume_labels(data))


class Volumes:
    """The volumes of an area, for who changes them."""

    def __init__(self, writing: Writing) -> None:
        """Change them while this writing lasts."""
        self._writing = writing
        self._area = writing.area

    def folder(self, name: str) -> str:
        """Return the folder of a volume that containers see."""
        return folder(self._area.root, name)

    def create(self, name: str) -> bool:
        """Make a volume; False when it was there.

        Raises:
            UsageError: when the name is none.
            LayerviewError: when it can't be made, or is one that only an engine can use.
        """
        with self._writing.lock.hold():
            return make(self._area, name)

    @contextmanager
    def filling(self, name: str) -> Iterator[None]:
        """Keep others from filling the volume at the same time."""
        place = home(self._area.root, name)
        with named(place):
            fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def user(self, name: str) -> str:
        """Name a container that mentions a volume; "" if none does."""
        with self._writing.lock.hold():
            return user(self._writing, name)

    def remove(self, name: str) -> None:
        """Delete a volume and all that is in it.

        Raises:
            NotFoundError: when there is none of that name.
            VolumeInUse: when a container mentions it.
        """
        with self._writing.lock.hold():
            if not is_volume(self._area.root, name):
                raise NotFoundError(f"the area has no volume {printable(name[:80])}")
            by = user(self._writing, name)
            if by:
                raise VolumeInUse(
                    f"volume {name} is not removed: container {by} uses it; remove that first"
                )
            going = take_away(self._area, name)
        if going is not None:
            going.delete()

    def prune(self, *, named_too: bool = False) -> list[tuple[str, int]]:
        """Delete volumes that no container mentions.

        Args:
            named_too: those that somebody gave a name, as well.

        Returns:
            Their names, and how many bytes each had.
        """
        from layerview.store.inventory import folder_size

        gone = []
        for volume in listed(self._area.data):
            if not (named_too or volume.is_anonymous) or volume.users:
                continue
            with self._writing.lock.hold():
                if user(self._writing, volume.name):
                    continue
                going = take_away(self._area, volume.name)
            if going is not None:
                size = folder_size(os.path.join(going.folder, _DATA)) or 0
                going.delete()
                gone.append((volume.name, size))
        return gone
