"""A Docker data root, read in place: images, layers and containers as they are recorded there.

Nothing is written and no lock is taken, so a daemon may change what is read meanwhile. All that
the files say is hostile: they are opened beneath the root through real folders only, their
lengths are bounded, and names are checked before they become part of a path.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress

from layerview.errors import (
    DamageError,
    FormatError,
    LayerviewError,
    LimitError,
    NotFoundError,
    UsageError,
)
from layerview.layer.beneath import open_beneath
from layerview.layer.whiteouts import Whiteouts
from layerview.oci.config import ImageConfig
from layerview.oci.digest import Digest, chain_ids
from layerview.oci.fields import MAX_DOCUMENT_BYTES, Fields, load_json
from layerview.oci.reference import Reference
from layerview.records import Record
from layerview.store.container_files import CONFIG, HOST_CONFIG, NOTES
from layerview.store.layout import (
    Layout,
    driver_id,
    is_container_id,
    sha256_digest,
    whiteouts_of,
)
from layerview.store.liveness import LOCK, Holder, is_lost, last_heard, look, true_state
from layerview.text import HEX_DIGITS, consists_of, is_hex, printable

_MAX_TEXT = 4096
"""Bytes of the one-line files; real ones have at most 71."""
_MAX_RECORDS = 100_000
"""Images, layers or containers of one data root."""
_FIRST = ("overlay2", "fuse-overlayfs", "btrfs", "zfs", "aufs", "overlay", "devicemapper", "vfs")
"""Where several drivers have images, the order in which they are asked: Docker's own."""
_SIZE_DIGITS = 18
_REMAPPED = r"\d{1,10}\.\d{1,10}"


class ImageRecord(Record):
    """An image that a data root holds."""

    driver: str
    image_id: Digest
    config: ImageConfig
    references: tuple[str, ...] = ()
    """Its names as Docker prints them: `name:tag`."""
    digests: tuple[str, ...] = ()
    """Its names with a registry's digest: `name@sha256:…`."""
    parent: Digest | None = None
    """The image that it was built on here (classic builder, docker commit)."""
    chain_ids: tuple[Digest, ...] = ()
    """Its layers, base first."""


class LayerRecord(Record):
    """A layer that a data root holds."""

    driver: str
    chain_id: Digest
    diff_id: Digest
    parent: Digest | None
    """The ChainID of the layer below."""
    cache_id: str
    """The driver's own name for it, random and unlike all others."""
    size: int
    """Bytes as Docker counts them."""
    folder: str
    """Where the driver keeps its files; "" where it keeps no folders."""
    tar_split: str | None
    """What is needed to make its tar again; None where there is none."""


class ContainerRecord(Record):
    """A container that a data root holds."""

    id: str
    name: str
    """Without the slash; "" where only a layer is left of it."""
    image_id: Digest | None
    driver: str
    mount_id: str
    """The driver's name for its layer."""
    init_id: str
    """The driver's name for the layer below it, which has /etc/hosts and the like; "" if none."""
    parent: Digest | None
    """The ChainID of its image's top layer."""
    running: bool | None = None
    created: str | None = None
    folder: str = ""
    """Where the driver keeps what the container changed; "" where it keeps no folders."""
    init_folder: str = ""
    image_name: str = ""
    """What its image was called when it was made."""
    command: tuple[str, ...] = ()
    status: str = ""
    """"created", "running", "paused", "restarting", "removing", "exited" or "dead"."""
    exit_code: int | None = None
    finished: str | None = None
    started: str | None = None
    volumes: tuple[str, ...] = ()
    """Names of the volumes that are mounted in it."""
    pid: int = 0
    """Of its first process, while it runs."""
    tty: bool = False
    error: str = ""
    """Why its last start failed."""
    document: Fields | None = None
    """All that config.v2.json says, its State put right; None where there is none."""


class DataRoot:
    """What a Docker data root holds."""

    def __init__(self, path: str) -> None:
        """Look whether the folder is a data root.

        Raises:
            NotFoundError: when it can't be read.
            FormatError: when it is none.
        """
        self.path = os.path.abspath(path)
        shown = printable(path)
        try:
            state = os.stat(self.path)
            found = os.path.isdir(os.path.join(self.path, "image"))
            if not found:
                names = os.listdir(self.path) if stat.S_ISDIR(state.st_mode) else []
        except OSError as error:
            helps = "; use sudo" if isinstance(error, PermissionError) else ""
            raise NotFoundError(f"{shown}: {_why(error)}{helps}") from None
        if not found:
            remapped = sorted(
                name
                for name in names
                if re.fullmatch(_REMAPPED, name)
                and os.path.isdir(os.path.join(self.path, name, "image"))
            )
            hint = f"; look into {printable(os.path.join(path, remapped[0]))}" if remapped else ""
            raise FormatError(f"{shown} is no Docker data root: it has no folder image{hint}")
        if not os.access(os.path.join(self.path, "image"), os.R_OK | os.X_OK):
            raise NotFoundError(
                f"{shown}: its folder image may only be read by its owner; use sudo"
            )
        self.rootless = state.st_uid != 0 or _in_user_namespace()
        """Whether it belongs to an ordinary user, and so was written in a user namespace."""

    def layout(self, driver: str) -> Layout:
        """Return the paths of a driver's records."""
        return Layout(self.path, driver)

    def whiteouts(self, driver: str) -> Whiteouts:
        """Return the form in which a driver's layer folders say what is deleted."""
        return whiteouts_of(driver, rootless=self.rootless)

    def drivers(self) -> list[str]:
        """List the drivers that have images here, in the order in which they are asked."""
        found = []
        for name in self._names("image"):
            try:
                base = self.layout(name).base
            except FormatError:
                continue
            if any(os.path.isdir(os.path.join(base, part)) for part in ("layerdb", "imagedb")):
                found.append(name)
        return sorted(found, key=lambda name: (_rank(name), name))

    # -- images -------------------------------------------------------------------------------

    def images(self, driver: str, problems: list[str] | None = None) -> list[ImageRecord]:
        """List a driver's images, those without a name included, by image ID.

        Args:
            driver: whose.
            problems: takes a line for every image that can't be read; without it, the first
                such image raises.

        Raises:
            LayerviewError: when a record is damaged; the message names the file.
        """
        names = self._references(driver, problems)
        layout = self.layout(driver)
        found = []
        for hex_ in self._digests(layout.images):
            try:
                found.append(self._image(layout, Digest("sha256", hex_), names))
            except NotFoundError as error:
                # Deleted since it was listed?
                if os.path.lexists(f"{layout.images}/{hex_}"):
                    _note(problems, error)
            except LayerviewError as error:
                _note(problems, error)
        return found

    def image(self, wanted: str, driver: str | None = None) -> ImageRecord:
        """Find an image by reference, ID, or the first digits of its ID, as Docker does.

        Raises:
            NotFoundError: when there is none.
            UsageError: when several IDs begin so.
            DamageError: when its config is not what its ID says.
        """
        for attempt in (1, 2):
            try:
                return self._find(wanted, driver)
            except NotFoundError:
                # A daemon that writes the image anew may have been in the midst of it.
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def _find(self, wanted: str, driver: str | None) -> ImageRecord:
        drivers = [driver] if driver is not None else self.drivers()
        for name in drivers:
            layout = self.layout(name)
            names = self._references(name, [])
            image_id = self._named(wanted, names)
            if image_id is None:
                image_id = self._by_id(wanted, layout)
            if image_id is not None:
                return self._image(layout, image_id, names)
        where = f" under {driver}" if driver is not None else ""
        raise NotFoundError(f"{printable(self.path)} has no image {printable(wanted)}{where}")

    def _named(self, wanted: str, names: dict[str, Digest]) -> Digest | None:
        try:
            reference = Reference.parse(wanted)
        except FormatError:
            return None
        if reference.digest is not None:
            # Docker passes over the tag where there is a digest.
            return names.get(f"{reference.familiar_name}@{reference.digest}")
        return names.get(reference.familiar)

    def _by_id(self, wanted: str, layout: Layout) -> Digest | None:
        start = wanted.removeprefix("sha256:")
        if not 0 < len(start) <= 64 or not consists_of(start, HEX_DIGITS):
            return None
        if len(start) == 64:
            image_id = Digest("sha256", start)
            return image_id if os.path.lexists(layout.image(image_id)) else None
        found = [hex_ for hex_ in self._digests(layout.images) if hex_.startswith(start)]
        if len(found) > 1:
            raise UsageError(
                f"{printable(wanted)} may be several images: "
                + ", ".join(hex_[:12] for hex_ in found[:10])
            )
        return Digest("sha256", found[0]) if found else None

    def _image(self, layout: Layout, image_id: Digest, names: dict[str, Digest]) -> ImageRecord:
        path = layout.image(image_id)
        data = self._read(path, MAX_DOCUMENT_BYTES)
        if Digest.of(data) != image_id:
            raise DamageError(f"{printable(path)}: its sha256 is {Digest.of(data).short}…")
        config = ImageConfig.from_json(data, printable(path))
        metadata = layout.image_metadata(image_id)
        parent = self._optional_text(f"{metadata}/parent")
        own = sorted(name for name, named in names.items() if named == image_id)
        return ImageRecord(
            layout.driver,
            image_id,
            config,
            references=tuple(name for name in own if "@" not in name),
            digests=tuple(name for name in own if "@" in name),
            parent=sha256_digest(parent, f"{metadata}/parent") if parent else None,
            chain_ids=tuple(chain_ids(config.diff_ids)),
        )

    def tags(self, driver: str) -> dict[str, Digest]:
        """Return all references of a driver's images, `name:tag` and `name@sha256:…`.

        Raises:
            FormatError: when repositories.json is not as Docker writes it.
        """
        return self._references(driver, None)

    def _references(self, driver: str, problems: list[str] | None) -> dict[str, Digest]:
        path = self.layout(driver).repositories
        shown = printable(path)
        try:
            data = self._read(path, MAX_DOCUMENT_BYTES)
        except NotFoundError:
            if os.path.lexists(path):
                raise
            return {}
        named: dict[str, Digest] = {}
        if not data.strip():
            return named
        repositories = Fields(load_json(data, shown), shown).mapping("Repositories")
        for tags in repositories.values():
            for name, text in _texts(tags, shown):
                try:
                    # Keys are as Docker prints them; what Docker could not say is no name.
                    named[Reference.parse(name).familiar] = sha256_digest(text, path)
                except FormatError as error:
                    _note(problems, FormatError(f"{shown}: {error}"))
        return named

    # -- layers -------------------------------------------------------------------------------

    def layers(self, driver: str, problems: list[str] | None = None) -> list[LayerRecord]:
        """List a driver's layers by ChainID; see `images`."""
        layout = self.layout(driver)
        found = []
        for hex_ in self._digests(layout.layers):
            chain_id = Digest("sha256", hex_)
            try:
                found.append(self.layer(driver, chain_id))
            except LayerviewError as error:
                if os.path.lexists(layout.layer(chain_id)):
                    _note(problems, error)
        return found

    def layer(self, driver: str, chain_id: Digest) -> LayerRecord:
        """Return a layer.

        Raises:
            NotFoundError: when its record, or a file of that, is missing; the message names it.
            FormatError: when such a file does not say what it should.
            DamageError: when the record does not belong to the ChainID that names it.
        """
        layout = self.layout(driver)
        folder = layout.layer(chain_id)
        diff_id = sha256_digest(self._text(f"{folder}/diff"), f"{folder}/diff")
        parent_text = self._optional_text(f"{folder}/parent")
        parent = sha256_digest(parent_text, f"{folder}/parent") if parent_text else None
        expected = Digest.of(f"{parent} {diff_id}".encode()) if parent is not None else diff_id
        if expected != chain_id:
            raise DamageError(
                f"{printable(folder)}: its diff and parent make the ChainID {expected.short}…"
            )
        cache_id = driver_id(self._text(f"{folder}/cache-id"), f"{folder}/cache-id")
        tar_split = f"{folder}/tar-split.json.gz"
        return LayerRecord(
            driver,
            chain_id,
            diff_id,
            parent,
            cache_id,
            self._size(f"{folder}/size"),
            layout.layer_folder(cache_id),
            tar_split if os.path.lexists(tar_split) else None,
        )

    def _size(self, path: str) -> int:
        text = self._text(path)
        if not (text.isascii() and text.isdecimal() and len(text) <= _SIZE_DIGITS):
            raise FormatError(f'{printable(path)} holds no size: "{printable(text[:80])}"')
        return int(text)

    def open_tar_split(self, record: LayerRecord) -> int:
        """Open a layer's tar-split.json.gz; return the descriptor, which is the caller's.

        Raises:
            NotFoundError: when there is none, or it can't be read.
        """
        path = f"{self.layout(record.driver).layer(record.chain_id)}/tar-split.json.gz"
        return self._open(path)

    def folder_problem(self, folder: str) -> str | None:
        """Say in a line why a layer's folder can't be looked into; None when it can."""
        if not folder:
            return "its driver keeps no folders that could be looked into"
        try:
            fd = self._open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except LayerviewError as error:
            return str(error)
        os.close(fd)
        return None

    # -- containers ---------------------------------------------------------------------------

    def containers(self, problems: list[str] | None = None) -> list[ContainerRecord]:
        """List the containers of all drivers by ID; see `images`."""
        drivers = self.drivers()
        mounted = self._mounted(drivers, problems)
        known = {*self._container_ids("containers", problems), *mounted}
        found = []
        for container_id in sorted(known):
            try:
                record = self._container(container_id, mounted.get(container_id), drivers)
            except LayerviewError as error:
                if os.path.lexists(os.path.join(self.path, "containers", container_id)):
                    _note(problems, error)
                continue
            if record is not None:
                found.append(record)
        return found

    def _container_ids(self, folder: str, problems: list[str] | None) -> list[str]:
        try:
            return list(filter(is_container_id, self._names(folder)))
        except LayerviewError as error:
            _note(problems, error)
            return []

    def _mounted(self, drivers: list[str], problems: list[str] | None) -> dict[str, str]:
        """Return under which driver each container has its layer."""
        mounted: dict[str, str] = {}
        for driver in drivers:
            folder = os.path.relpath(self.layout(driver).mounts, self.path)
            for name in self._container_ids(folder, problems):
                mounted.setdefault(name, driver)
        return mounted

    def container(self, wanted: str) -> ContainerRecord:
        """Find a container by name, ID, or the first digits of its ID.

        Raises:
            NotFoundError: when there is none.
            UsageError: when several IDs begin so.
        """
        found = self._sought(wanted)
        if found:
            return found
        problems: list[str] = []
        self.containers(problems)
        hint = f" ({problems[0]})" if problems else ""
        raise NotFoundError(f"{printable(self.path)} has no container {printable(wanted)}{hint}")

    def _sought(self, wanted: str) -> ContainerRecord | None:
        drivers = self.drivers()
        if is_container_id(wanted):
            for driver in drivers:
                # Most calls know it: then no other container need be looked at.
                if os.path.isdir(self.layout(driver).mount(wanted)):
                    with suppress(LayerviewError):
                        return self._container(wanted, driver, drivers)
        mounted = self._mounted(drivers, [])
        known = sorted({*self._container_ids("containers", []), *mounted})

        def record(container_id: str) -> ContainerRecord | None:
            try:
                return self._container(container_id, mounted.get(container_id), drivers)
            except LayerviewError:
                return None

        if wanted in known:
            return record(wanted)
        name = wanted.removeprefix("/")
        if name:
            text = json.dumps(f"/{name}").encode()
            for container_id in known:
                # Most are seen not to have the name without being understood.
                try:
                    data = self._optional(self._config(container_id), MAX_DOCUMENT_BYTES)
                except LayerviewError:
                    continue
                if data is None or text not in data:
                    continue
                found = record(container_id)
                if found is not None and found.name == name:
                    return found
        matching = [one for one in known if wanted and one.startswith(wanted)]
        records = [one for one in map(record, matching) if one is not None]
        if len(records) > 1:
            raise UsageError(
                f"{printable(wanted)} may be several containers: "
                + ", ".join(f"{one.id[:12]} ({one.name})" for one in records[:10])
            )
        return records[0] if records else None

    def remains(self, wanted: str) -> ContainerRecord:
        """Return what can be told of a container by its ID, or the first digits of that, alone.

        That is enough to remove one whose records are damaged.

        Raises:
            NotFoundError: when there is none.
            UsageError: when several IDs begin so.
        """
        drivers = self.drivers()
        mounted = self._mounted(drivers, [])
        known = sorted({*self._container_ids("containers", []), *mounted})
        found = [id for id in known if wanted and id.startswith(wanted)]
        if len(found) > 1:
            raise UsageError(
                f"{printable(wanted)} may be several containers: "
                + ", ".join(id[:12] for id in found[:10])
            )
        if not found:
            raise NotFoundError(f"{printable(self.path)} has no container {printable(wanted)}")
        held, _, _ = self._look(self._config(found[0], LOCK))
        driver = mounted.get(found[0], "")
        return ContainerRecord(found[0], "", None, driver, "", "", None, running=held)

    def container_document(self, container_id: str) -> Fields:
        """Return what config.v2.json says of a container, its State put right by its lock.

        Raises:
            NotFoundError: when it is not there.
            FormatError: when it is not as Docker writes it.
        """
        found = self._document(container_id)
        if found is None:
            raise NotFoundError(f"{printable(self.path)} has no container {container_id[:12]}")
        return found

    def container_notes(self, container_id: str) -> Fields:
        """Return what layerview alone keeps of a container; nothing of others' containers."""
        document = self._object(container_id, CONFIG)
        notes = document.optional_inner(NOTES) if document is not None else None
        return notes or Fields({}, NOTES)

    def host_config(self, container_id: str) -> Fields:
        """Return what hostconfig.json says of a container; an engine does without the file, too.

        Raises:
            LayerviewError: as above.
        """
        return self._object(container_id, HOST_CONFIG) or Fields({}, HOST_CONFIG)

    def _config(self, container_id: str, name: str = CONFIG) -> str:
        if not is_container_id(container_id):
            raise FormatError(f'"{printable(container_id[:80])}" is no container ID')
        return os.path.join(self.path, "containers", container_id, name)

    def _object(self, container_id: str, name: str) -> Fields | None:
        path = self._config(container_id, name)
        data = self._optional(path, MAX_DOCUMENT_BYTES)
        return None if data is None else Fields(load_json(data, printable(path)), printable(path))

    def _document(self, container_id: str) -> Fields | None:
        # The lock first: between the two a container may end, which is written down before.
        path = self._config(container_id, LOCK)
        held, holder, written = self._look(path)
        found = self._object(container_id, CONFIG)
        if found is None or found.optional_inner("State") is None:
            return found
        state = found.mapping("State")
        if holder is None and state.get("Running") is not True:
            return found
        heard = last_heard(os.path.dirname(path), container_id, written)
        true = true_state(
            state,
            held=held,
            holder=holder,
            written=heard,
            lost=lambda pid: is_lost(self.path, container_id, pid),
        )
        document = {**found.values(), "State": true}
        return Fields(document, printable(self._config(container_id)))

    def _look(self, path: str) -> tuple[bool, Holder | None, float]:
        try:
            fd = self._open(path)
        except LayerviewError:
            return False, None, 0.0
        try:
            return look(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else (False, None, 0.0)
        finally:
            os.close(fd)

    def _container(
        self, container_id: str, driver: str | None, drivers: list[str]
    ) -> ContainerRecord | None:
        config = self._config(container_id)
        document = self._document(container_id)
        fields = document if document is not None else Fields({}, printable(config))
        image = fields.optional_text("Image")
        state = fields.optional_inner("State")
        said = fields.optional_text("Driver")
        driver = said if said in drivers else driver
        if driver is None:
            return None
        layout = self.layout(driver)
        mount = layout.mount(container_id)
        mount_id = self._optional_text(f"{mount}/mount-id")
        if mount_id is None:
            return None
        driver_id(mount_id, f"{mount}/mount-id")
        init_id = self._optional_text(f"{mount}/init-id") or ""
        if init_id:
            driver_id(init_id, f"{mount}/init-id")
        parent = self._optional_text(f"{mount}/parent")
        settings = fields.optional_inner("Config")
        mounts = _objects(fields, "MountPoints")
        return ContainerRecord(
            container_id,
            (fields.optional_text("Name") or "").removeprefix("/"),
            sha256_digest(image, config) if image else None,
            driver,
            mount_id,
            init_id,
            sha256_digest(parent, f"{mount}/parent") if parent else None,
            state.flag("Running") if state is not None else None,
            fields.optional_text("Created"),
            layout.container_folder(mount_id),
            layout.container_folder(init_id) if init_id else "",
            image_name=(settings.optional_text("Image") or "") if settings is not None else "",
            command=(*filter(None, [fields.optional_text("Path")]), *fields.texts("Args")),
            status=_status(state),
            exit_code=state.integer("ExitCode") if state and "ExitCode" in state else None,
            finished=state.optional_text("FinishedAt") if state is not None else None,
            started=state.optional_text("StartedAt") if state is not None else None,
            volumes=tuple(
                name
                for mount_point in mounts
                if (name := mount_point.optional_text("Name")) is not None and name
            ),
            pid=state.integer("Pid") if state and "Pid" in state else 0,
            tty=settings.flag("Tty") if settings is not None else False,
            error=(state.optional_text("Error") or "") if state is not None else "",
            document=document,
        )

    # -- files --------------------------------------------------------------------------------

    def open_file(self, path: str) -> int:
        """Open a file of the root to be read; return the descriptor, which is the caller's.

        Raises:
            NotFoundError: when it is not there, or can't be read.
            FormatError: when a symbolic link stands there or above it.
        """
        return self._open(path)

    def _open(self, path: str, flags: int = os.O_RDONLY) -> int:
        """Open what lies in the root, through real folders only."""
        above = f"{self.path}/"
        below = os.fsencode(
            path.removeprefix(above) if path.startswith(above) else os.path.relpath(path, self.path)
        )
        try:
            root = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return open_beneath(root, below, flags | os.O_NONBLOCK)
            finally:
                os.close(root)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EXDEV):
                raise FormatError(
                    f"{printable(path)}: a symbolic link stands there or above it"
                ) from None
            raise NotFoundError(f"{printable(path)}: {_why(error)}") from None

    def _read(self, path: str, most: int) -> bytes:
        fd = self._open(path)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise FormatError(f"{printable(path)} is no file")
            pieces, left = [], most + 1
            while left and (data := os.read(fd, min(left, 1 << 20))):
                pieces.append(data)
                left -= len(data)
        except OSError as error:
            raise DamageError(f"{printable(path)}: {_why(error)}") from None
        finally:
            os.close(fd)
        if not left:
            raise LimitError(f"{printable(path)} is longer than {most:,} bytes")
        return b"".join(pieces)

    def _optional(self, path: str, most: int) -> bytes | None:
        try:
            return self._read(path, most)
        except NotFoundError:
            if os.path.lexists(path):
                raise
            return None

    def _text(self, path: str) -> str:
        return self._read(path, _MAX_TEXT).decode("utf-8", "surrogateescape").strip()

    def _optional_text(self, path: str) -> str | None:
        data = self._optional(path, _MAX_TEXT)
        return None if data is None else data.decode("utf-8", "surrogateescape").strip()

    def _names(self, below: str) -> list[str]:
        """List a folder of the root; empty when it is not there."""
        path = os.path.join(self.path, below)
        if not os.path.lexists(path):
            return []
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            found = os.listdir(fd)
        except OSError as error:
            raise NotFoundError(f"{printable(path)}: {_why(error)}") from None
        finally:
            os.close(fd)
        if len(found) > _MAX_RECORDS:
            raise LimitError(f"{printable(path)} has more than {_MAX_RECORDS:,} entries")
        return sorted(found)

    def _digests(self, folder: str) -> Iterator[str]:
        """Yield the names in a folder that are digests."""
        names = self._names(os.path.relpath(folder, self.path))
        return (name for name in names if is_hex(name, 64))


def _texts(value: object, document: str) -> list[tuple[str, str]]:
    """Read an object of strings."""
    return list(Fields({"tags": value}, document).text_map("tags").items())


def _objects(fields: Fields, key: str) -> list[Fields]:
    """Read an object of objects."""
    held = fields.optional_inner(key)
    return [] if held is None else [held.inner(name) for name in fields.mapping(key)]


def _status(state: Fields | None) -> str:
    """Say a container's state in Docker's word for it (moby, container/state.go, StateString)."""
    if state is None:
        return ""
    if state.flag("Running"):
        paused, again = state.flag("Paused"), state.flag("Restarting")
        return "paused" if paused else "restarting" if again else "running"
    if state.flag("RemovalInProgress"):
        return "removing"
    if state.flag("Dead"):
        return "dead"
    started = state.optional_text("StartedAt") or ""
    return "created" if not started or started.startswith("0001-") else "exited"


def _in_user_namespace() -> bool:
    """Whether root here is some other user outside (user_namespaces(7))."""
    try:
        with open("/proc/self/uid_map", "rb") as file:
            return file.read(100).split()[:2] != [b"0", b"0"]
    except OSError:
        return False


def _rank(driver: str) -> int:
    return _FIRST.index(driver) if driver in _FIRST else len(_FIRST)


def _note(problems: list[str] | None, error: LayerviewError) -> None:
    if problems is None:
        raise error
    problems.append(str(error))


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
