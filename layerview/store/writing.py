"""Changing an area: layers and images put in place, one whole thing at a time.

What a process is about to make or delete is noted first (see `intents`); each change is one
rename; the lock is held for changes and not for the work that comes before them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress

from layerview.errors import DamageError, FormatError, LayerviewError, NotFoundError
from layerview.oci.config import ImageConfig
from layerview.oci.digest import Digest, chain_ids
from layerview.oci.reference import Reference
from layerview.progress import QUIET, Progress
from layerview.store.durable import (
    make_folders,
    named,
    read_small,
    refused,
    sync_all,
    sync_folder,
    write_file,
    write_new,
)
from layerview.store.intents import Intent, Intents
from layerview.store.layout import Layout, driver_id
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.drivers.base import Driver
    from layerview.layer.windows import Readable
    from layerview.store.area import Area
    from layerview.store.containers import Making, NewContainer
    from layerview.store.locks import AreaLock
    from layerview.store.uses import Uses

MAX_LAYERS = 125
"""Layers of an image: Docker's layer store refuses more ("max depth exceeded")."""
TRIAL = ".layerview-probe-"
"""How the folders begin in which drivers are tried; see drivers.probe."""
_TRIAL_AGE = 60
"""Seconds after which nobody is at it any more."""
_TAR_SPLIT = "tar-split.json.gz"
_MAX_DIGESTS = 50
"""Registry digests that are kept by layer, as in Docker's distribution/metadata."""


class Writing:
    """A time of changing an area; see Area.writing."""

    def __init__(self, area: Area, lock: AreaLock) -> None:
        """Use `Area.writing`."""
        self.area = area
        self.lock = lock
        self.notes: list[str] = []
        """What could not be kept of the layers, and what was cleared up; a line each."""
        self.recovered: list[str] = []
        """What dead writers had left open and was undone or finished, a line each."""
        self.unfinished: list[str] = []
        """What of that can't be done yet, a line each."""
        self.finished: list[Intent] = []
        """Removals that an earlier process began, and that were carried out now."""
        self.intents = Intents(area.own, area.scratch)
        self._held: list[Intent] = []
        self._ids: dict[tuple[str, Digest], str] = {}
        """The driver's IDs for layers that are to be made."""
        self._unsynced: list[str] = []
        """Files and folders that must be on the disk before an image counts on them."""
        self._drivers: dict[str, Driver] = {}

    def layout(self, driver: str) -> Layout:
        """Return the paths of a driver's records."""
        return Layout(self.area.root, driver)

    def driver(self, name: str) -> Driver:
        """Return a driver over this area.

        Raises:
            LayerviewError: when it does not work here.
        """
        if name not in self._drivers:
            from layerview.drivers.by_name import make_driver

            self._drivers[name] = make_driver(name, self.area.root)
        return self._drivers[name]

    # -- layers -------------------------------------------------------------------------------

    def has_layer(self, driver: str, chain_id: Digest) -> bool:
        """Whether a layer is there."""
        return os.path.isdir(self.layout(driver).layer(chain_id))

    def hold(self, driver: str, chains: Sequence[Digest]) -> list[bool]:
        """Count on layers, and on making those that are missing, until this writing ends.

        Layers that were made and that no image uses at the end are deleted again.

        Returns:
            Which of them are there.
        """
        with self.lock.hold():
            there = [self.has_layer(driver, chain) for chain in chains]
            missing = [chain for chain, found in zip(chains, there, strict=True) if not found]
            ids = [os.urandom(32).hex() for _ in missing]
            uses = list(dict.fromkeys(chains))
            intent = self.intents.note(Intent("load", driver, ids, missing, uses))
            self._held.append(intent)
            self._ids.update(((driver, chain), id) for chain, id in zip(missing, ids, strict=True))
            return there

    def add_layer(
        self,
        driver: str,
        parent: Digest | None,
        tar: Readable,
        diff_id: Digest | None = None,
        *,
        progress: Progress = QUIET,
        what: str = "layer",
    ) -> tuple[Digest, Digest]:
        """Unpack a layer and put it in place; an image must follow, or it is deleted again.

        Args:
            driver: under which it shall lie.
            parent: ChainID of the layer below.
            tar: its plain tar.
            diff_id: the sha256 that the tar must have.
            progress: told about unpacking, and asked whether to go on.
            what: names the layer in messages.

        Returns:
            Its ChainID and its DiffID.

        Raises:
            DamageError: when the tar is damaged or has another sha256; nothing of it stays.
            LayerviewError: when it can't be written; nothing of it stays.
        """
        layout, engine = self.layout(driver), self.driver(driver)
        with self.lock.hold():
            below = self._cache_id(layout, parent) if parent is not None else None
            id = self._id_for(driver, _chain(parent, diff_id) if diff_id is not None else None)
        record = os.path.join(layout.layers_tmp, f"layer-{id}")
        try:
            applied, size = self._unpack(engine, id, below, tar, record, progress, what)
            if diff_id is not None and applied != diff_id:
                raise DamageError(
                    f"{printable(what)} is damaged: its bytes hash to {applied.short},"
                    f" not to {diff_id.short}"
                )
            chain = _chain(parent, applied)
            texts = {"diff": str(applied), "size": str(size), "cache-id": id}
            if parent is not None:
                texts["parent"] = str(parent)
            for name, text in texts.items():
                write_new(os.path.join(record, name), text.encode())
            with self.lock.hold():
                if diff_id is None:
                    self.hold(driver, [chain])
                if self.has_layer(driver, chain):
                    # Another process was faster; as in Docker, the first one stays.
                    self._discard(layout, id)
                else:
                    self._put_in_place(layout, record, chain, [*texts, _TAR_SPLIT])
            return chain, applied
        except BaseException as error:
            with self.lock.hold():
                self._discard(layout, id)
            if isinstance(error, OSError):
                raise refused(error, f"{layout.home}: {what}") from None
            raise

    def _id_for(self, driver: str, chain: Digest | None) -> str:
        """Return the driver's ID for a layer that is to be made; an intent names it."""
        if chain is not None:
            if (driver, chain) not in self._ids:
                self.hold(driver, [chain])
            known = self._ids.pop((driver, chain), None)
            if known is not None:
                return known
        id = os.urandom(32).hex()
        self._held.append(self.intents.note(Intent("load", driver, [id])))
        return id

    def _put_in_place(
        self, layout: Layout, record: str, chain: Digest, names: Sequence[str]
    ) -> None:
        make_folders(layout.layers, 0o755)
        place = layout.layer(chain)
        with named(place):
            os.rename(record, place)
        # Flushed before an image uses it: until then the intent tells what may be half there.
        self._unsynced += [os.path.join(place, name) for name in names]
        self._unsynced += [place, layout.layers]

    def _unpack(
        self,
        driver: Driver,
        id: str,
        below: str | None,
        tar: Readable,
        record: str,
        progress: Progress,
        what: str,
    ) -> tuple[Digest, int]:
        from layerview.layer.tar_split import TarSplitWriter

        make_folders(os.path.dirname(record), 0o755)
        path = os.path.join(record, _TAR_SPLIT)
        with named(record):
            os.mkdir(record, 0o700)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(fd, "w+b") as out:
            os.fchmod(fd, 0o644)
            driver.create(id, below)
            tar_split = TarSplitWriter(out)
            applied = driver.apply(id, below, tar, tar_split=tar_split, progress=progress)
        self.notes.extend(f"{what}: {note}" for note in applied.notes)
        return Digest.parse(applied.diff_id), applied.size

    def _cache_id(self, layout: Layout, chain: Digest) -> str:
        path = os.path.join(layout.layer(chain), "cache-id")
        return driver_id(read_small(path, 4096).decode("utf-8", "replace"), path)

    def _cache_ids(self, layout: Layout) -> set[str]:
        from layerview.store.uses import names

        chains = names(layout.layers)
        return {self._cache_id(layout, Digest("sha256", chain)) for chain in chains}

    def _discard(self, layout: Layout, id: str) -> None:
        """Take away what was made under a driver's ID that became no layer."""
        self.driver(layout.driver).remove(id)
        _remove_folder(os.path.join(layout.layers_tmp, f"layer-{id}"))

    # -- images -------------------------------------------------------------------------------

    def add_image(self, driver: str, data: bytes) -> Digest:
        """Put an image's config in place, whose layers are all there; return its ID.

        Raises:
            FormatError: when it is no config that Docker would take.
            NotFoundError: when a layer of it is not there.
        """
        config = ImageConfig.from_json(data)
        layout = self.layout(driver)
        with self.lock.hold():
            for number, chain in enumerate(chain_ids(config.diff_ids)):
                if not self.has_layer(driver, chain):
                    raise NotFoundError(f"layer {number} ({chain.short}) is not in the area")
            path = layout.image(config.image_id)
            sync_all(self._unsynced)
            self._unsynced.clear()
            if not self._is_image(layout, config.image_id):
                for folder in (layout.images, layout.images_metadata):
                    make_folders(folder)
                write_file(path, data, scratch=self.area.scratch)
            return config.image_id

    def _is_image(self, layout: Layout, image_id: Digest) -> bool:
        try:
            return Digest.of(read_small(layout.image(image_id))) == image_id
        except LayerviewError:
            return False

    def tag(self, driver: str, reference: Reference, image_id: Digest) -> str | None:
        """Let a reference name an image; return the image ID that it named before, if another."""
        from layerview.store.repositories import Repositories

        layout = self.layout(driver)
        with self.lock.hold():
            if not os.path.exists(layout.image(image_id)):
                raise NotFoundError(f"there is no image {image_id.short} in the area")
            repositories = Repositories(layout)
            before = repositories.set(reference, image_id)
            if before == str(image_id):
                return None
            repositories.write(self.area.scratch)
            return before

    def note_parent(self, driver: str, image_id: Digest, parent: Digest) -> bool:
        """Note which image one was built on; whether that can be (as moby's image/tarexport asks).

        Raises:
            LayerviewError: when one of them is not in the area, or can't be read.
        """
        layout = self.layout(driver)
        with self.lock.hold():
            data = self.area.data
            child, base = (data.image(str(each), driver).config for each in (image_id, parent))
            steps, layers = len(base.history), len(base.diff_ids)
            if (
                len(child.history) != steps + 1
                or child.history[:steps] != base.history
                or child.diff_ids[:layers] != base.diff_ids
            ):
                return False
            folder = layout.image_metadata(image_id)
            make_folders(folder)
            path = os.path.join(folder, "parent")
            write_file(path, str(parent).encode(), scratch=self.area.scratch, mode=0o644)
            return True

    def note_tagged(self, driver: str, image_id: Digest) -> None:
        """Note when an image got a name by hand (Docker's LastTagTime)."""
        folder = self.layout(driver).image_metadata(image_id)
        from datetime import UTC, datetime

        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        with self.lock.hold():
            make_folders(folder)
            path = os.path.join(folder, "lastUpdated")
            write_file(path, now.encode(), scratch=self.area.scratch, mode=0o644)

    def untag(self, driver: str, familiar: str) -> bool:
        """Take a reference away, as Docker prints it; whether it was there."""
        from layerview.store.repositories import Repositories

        with self.lock.hold():
            repositories = Repositories(self.layout(driver))
            found = repositories.remove(familiar)
            if found:
                repositories.write(self.area.scratch)
            return found

    def note_digest(
        self, driver: str, diff_id: Digest, digest: Digest, repository: str | None = None
    ) -> None:
        """Note the digest by which a blob that holds a layer is known, so that a pull can skip it.

        Args:
            driver: under which the layer lies.
            diff_id: the layer's.
            digest: the blob's, which was checked.
            repository: where it came from ("docker.io/library/busybox"); None: from a file.
        """
        layout = self.layout(driver)
        with self.lock.hold():
            path = layout.diff_id_by_digest(digest)
            make_folders(os.path.dirname(path))
            if not os.path.exists(path):
                data = str(diff_id).encode()
                write_file(path, data, scratch=self.area.scratch, mode=0o644, sync=False)
                self._unsynced += [path, os.path.dirname(path)]
            if repository is None:
                return
            path = layout.digests_by_diff_id(diff_id)
            make_folders(os.path.dirname(path))
            entry = {"Digest": str(digest), "SourceRepository": repository, "HMAC": ""}
            known = _registry_digests(path)
            kept = [item for item in known if item != entry][1 - _MAX_DIGESTS :]
            data = json.dumps([*kept, entry], separators=(",", ":")).encode()
            write_file(path, data, scratch=self.area.scratch, mode=0o644, sync=False)
            self._unsynced += [path, os.path.dirname(path)]

    # -- containers ---------------------------------------------------------------------------

    def new_container(self, new: NewContainer) -> AbstractContextManager[Making]:
        """Make a container; its layers are made in the context's body.

        Volumes that it mentions and that are not there are made before. When the body fails, or
        this process dies, nothing of all that stays.

        Args:
            new: what it is made with; notes may be added in the body.

        Raises:
            NameInUse: when another container has its name; nothing was done.
            NotFoundError: when its image's layers are not there.
        """
        from layerview.store.containers import new_container

        return new_container(self, new)

    def remove_container(self, id: str, *, volumes: bool = False) -> list[str]:
        """Remove a container that does not live; see `containers.remove_container`."""
        from layerview.store.containers import remove_container

        return remove_container(self, id, volumes=volumes)

    def rename_container(self, id: str, name: str) -> None:
        """Give a container another name; see `containers.rename_container`."""
        from layerview.store.containers import rename_container

        rename_container(self, id, name)

    # -- removal ------------------------------------------------------------------------------

    def uses(self, driver: str, *, ours: bool = True) -> Uses:
        """Find out what uses which layer; the lock must be held.

        Args:
            driver: whose layers.
            ours: count what this writing itself holds.

        Raises:
            LayerviewError: when an image can't be read, so that its layers are not known.
        """
        from layerview.store.uses import Uses

        held: set[Digest] = set()
        for intent, live in self.intents.listed():
            own = any(intent.path == mine.path for mine in self._held)
            if live and intent.driver == driver and intent.why != "remove" and (ours or not own):
                held.update(intent.uses, intent.chains)
        return Uses(self.layout(driver), held)

    def collect(self, driver: str, chains: Sequence[Digest], uses: Uses) -> list[Digest]:
        """Delete those of some layers that nothing uses; return their ChainIDs, top first.

        Of a layer whose cache ID is none only the record goes: nobody knows what else is its.
        """
        gone: list[Digest] = []
        for chain in uses.unused(chains):
            self._delete_layer(self.layout(driver), chain)
            gone.append(chain)
        return gone

    def _delete_layer(self, layout: Layout, chain: Digest) -> None:
        # Docker's own way: the renamed folder says what is to be finished after a crash.
        folder = layout.layer(chain)
        try:
            cache_id = self._cache_id(layout, chain)
        except LayerviewError as error:
            self.notes.append(f"{error}; the layer's folder, if there is one, stays")
            _remove_folder(folder)
            return
        going = f"{folder}-{os.urandom(32).hex()}-removing"
        with named(folder):
            os.rename(folder, going)
            sync_folder(layout.layers)
        self.driver(layout.driver).remove(cache_id)
        _remove_folder(going)

    @contextmanager
    def noted(self, intent: Intent) -> Iterator[None]:
        """Note what is about to be deleted, until it is."""
        self.intents.note(intent)
        yield
        # Not after an error: then the next writer goes on with it.
        self.intents.drop(intent)

    def delete_image(self, driver: str, image_id: Digest, chains: Sequence[Digest]) -> list[Digest]:
        """Delete an image without a name, and those of its layers that nothing else uses.

        An intent must name it (see `noted`). What stands in the way is not asked: see `removal`.

        Returns:
            ChainIDs of the layers that went, top first.
        """
        layout = self.layout(driver)
        with named(layout.image(image_id)), suppress(FileNotFoundError):
            os.unlink(layout.image(image_id))
            sync_folder(layout.images)
        _remove_folder(layout.image_metadata(image_id))
        return self.collect(driver, chains, self.uses(driver))

    # -- after a crash ------------------------------------------------------------------------

    def recover(self) -> None:
        """Undo what dead writers left open, or finish it; the lock must be held."""
        done = self.recovered
        for name in os.listdir(self.area.scratch):
            with named(self.area.scratch):
                os.unlink(os.path.join(self.area.scratch, name))
        self._clear_trials()
        opened = [intent for intent, live in self.intents.listed() if not live]
        for why in ("create", "remove", "load"):
            for intent in opened:
                if intent.why == why:
                    with self._or_later():
                        done.append(self._finish(intent))
        if _listed(os.path.join(self.area.own, "making")):
            from layerview.store.containers import clear_making

            with self._or_later():
                clear_making(self)
        for name in _listed(os.path.join(self.area.own, "removing")):
            from layerview.store.containers import finish_removal

            with self._or_later():
                done.extend(filter(None, [finish_removal(self, name)]))
        for driver in self.known_drivers():
            with self._or_later():
                done.extend(self._finish_removals(self.layout(driver)))

    @contextmanager
    def _or_later(self) -> Iterator[None]:
        """Leave what can't be finished for a later writer: other work can be done all the same."""
        try:
            yield
        except LayerviewError as error:
            self.unfinished.append(f"what was interrupted is not cleared up yet: {error}")

    def _clear_trials(self) -> None:
        """Take away what a process left that died while it tried which drivers work here."""
        for name in os.listdir(self.area.root):
            path = os.path.join(self.area.root, name)
            if not name.startswith(TRIAL) or time.time() - os.lstat(path).st_mtime < _TRIAL_AGE:
                continue
            from layerview.drivers.mounts import detach

            with suppress(OSError):
                detach(os.path.join(path, "m"))
            with suppress(LayerviewError):  # another one's, perhaps: it does no harm
                _remove_folder(path)

    def _finish(self, intent: Intent) -> str:
        layout = self.layout(intent.driver)
        if intent.why == "load":
            self._undo(intent)
            return f"cleared up after a load under {intent.driver} that was interrupted"
        if intent.why == "create":
            from layerview.store.containers import undo

            if undo(self, intent):
                return f"cleared up after the making of container {intent.container[:12]}"
            return f"container {intent.container[:12]} was made, but for a note about it"
        from layerview.store.repositories import Repositories

        assert intent.image is not None
        if Repositories(layout).of(intent.image):
            self.intents.drop(intent)
            return f"forgot the deletion of image {intent.image.short}, which had not begun"
        self.delete_image(intent.driver, intent.image, intent.chains)
        self.intents.drop(intent)
        self.finished.append(intent)
        return f"finished the deletion of image {intent.image.short}"

    def _undo(self, intent: Intent, *, ours: bool = True) -> None:
        """Take away what a load made, as far as no image uses it."""
        layout = self.layout(intent.driver)
        # After a loss of power a record may be there whose files are not.
        torn = [chain for chain in intent.chains if self._is_torn(layout, chain)]
        if torn:
            from layerview.store.uses import image_layers

            used = image_layers(layout)
            for chain in torn:
                if chain not in used:
                    _remove_folder(layout.layer(chain))
        if intent.chains:
            self.collect(intent.driver, intent.chains, self.uses(intent.driver, ours=ours))
        kept = self._cache_ids(layout)
        for id in intent.ids:
            if id not in kept:
                self._discard(layout, id)
        self.intents.drop(intent)

    def _is_torn(self, layout: Layout, chain: Digest) -> bool:
        if not self.has_layer(layout.driver, chain):
            return False
        try:
            self.area.data.layer(layout.driver, chain)
        except LayerviewError:
            return True
        return False

    def _finish_removals(self, layout: Layout) -> Iterator[str]:
        for name in _listed(layout.layers):
            if not name.endswith("-removing"):
                continue
            folder = os.path.join(layout.layers, name)
            path = os.path.join(folder, "cache-id")
            try:
                cache_id = driver_id(read_small(path, 4096).decode("utf-8", "replace"), path)
            except NotFoundError:
                cache_id = ""  # the driver's part was done
            if cache_id and cache_id not in self._cache_ids(layout):
                self.driver(layout.driver).remove(cache_id)
            _remove_folder(folder)
            yield f"finished the deletion of layer {name[:12]}"

    def known_drivers(self) -> list[str]:
        """Return the drivers that have layers here."""
        found = []
        for name in _listed(os.path.join(self.area.root, "image")):
            with suppress(FormatError):
                if os.path.isdir(self.layout(name).layers):
                    found.append(name)
        return found

    def settle(self) -> None:
        """End this writing: layers that were made and that no image uses are deleted again."""
        for intent in self._held:
            try:
                self._undo(intent, ours=False)
            except LayerviewError as error:
                # It stays open for the next writer; what ends this one is said elsewhere.
                self.notes.append(str(error))
                self.intents.leave(intent)
        self._held.clear()
        self._ids.clear()


def _chain(parent: Digest | None, diff_id: Digest) -> Digest:
    return Digest.of(f"{parent} {diff_id}".encode()) if parent is not None else diff_id


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _remove_folder(path: str) -> None:
    with named(path), suppress(FileNotFoundError):
        import shutil

        shutil.rmtree(path)


def _registry_digests(path: str) -> list[object]:
    try:
        found = json.loads(read_small(path))
    except (NotFoundError, ValueError):
        return []
    return found if isinstance(found, list) else []
