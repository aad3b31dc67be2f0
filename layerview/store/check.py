"""Looking an area through: every file of it, every digest, and what is left of dead writers.

What is safe is repaired: open intents, names of images that are not there, notes about such
images, short links that lead nowhere. Nothing that is not understood is ever deleted.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from layerview.errors import Cancelled, LayerviewError
from layerview.layer.folder import read_folder
from layerview.layer.index import UNRESOLVED, LayerIndex
from layerview.layer.kinds import Kind
from layerview.layer.tar_split import read_headers
from layerview.layer.whiteouts import Whiteouts
from layerview.oci.config import ImageConfig
from layerview.oci.digest import Digest, chain_ids
from layerview.progress import QUIET, Progress
from layerview.store.area import Area
from layerview.store.build_cache import BuildCache
from layerview.store.check_aufs import LISTS, check_lists, is_half_removed
from layerview.store.check_containers import ContainerCheck, Repair, mount_ids
from layerview.store.containers import open_removals, removed_container
from layerview.store.data_root import DataRoot, LayerRecord
from layerview.store.durable import named, read_small
from layerview.store.intents import Intent, Intents
from layerview.store.layout import Layout, is_driver_id, sha256_digest
from layerview.store.locks import live_engine
from layerview.store.mending import Mending
from layerview.store.rebuilding import rebuilt
from layerview.store.repositories import Repositories
from layerview.store.uses import names
from layerview.store.writing import TRIAL, Writing
from layerview.text import printable

_PIECE = 1 << 20
_TRIAL_AGE = 60
"""Seconds after which nobody tries drivers any more; it takes a part of one."""
_LINK = re.compile(r"[A-Z0-9]{26}")
_KINDS = ("file", "folder", "symbolic link", "FIFO", "character device", "block device")
_OVERLAYS = (Whiteouts.TRUSTED, Whiteouts.USER)
_WORK = {"remove": "the deletion of an image", "load": "a load", "create": "making a container"}
_LOOK = "look at it, and remove it by hand if you know it"
_AGAIN = "load the image again"
"""Nothing is deleted while nobody knows which layers it has."""
_LOAD = "remove its images with `layerview rmi --force` and load them again"


@dataclass(slots=True)
class Check:
    """What was looked at, and what was found."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    repair: Callable[[Writing], None] | None = field(default=None, repr=False)
    """Puts it right, where that is safe."""


class AreaCheck:
    """Looks one area through."""

    def __init__(self, area: Area, progress: Progress = QUIET) -> None:
        """Prepare.

        Args:
            area: which.
            progress: told about the layers, and asked whether to go on.
        """
        self._area = area
        self._progress = progress
        self._checks: list[Check] = []
        self._problems = 0
        self._open: list[Intent] = []

    def run(self) -> list[Check]:
        """Look everything through; problems come first, by what they are about."""
        self._checks = []
        if not os.path.isdir(os.path.join(self._area.root, "image")):
            return [Check("area", True, f"{self._area.root} is empty")]
        data = self._area.data
        self._state()
        self._intents()
        self._containers()
        for driver in data.drivers():
            layout = data.layout(driver)
            self._images(data, layout)
            self._references(data, layout)
            self._layers(data, layout)
            self._leftovers(layout)
            self._distribution(layout)
        return self._checks

    def _problem(
        self,
        name: str,
        found: str,
        remedy: str = _LOOK,
        repair: Callable[[Writing], None] | None = None,
    ) -> None:
        self._problems += 1
        self._checks.append(Check(name, False, found, remedy, repair))

    def _note(self, name: str, found: str, remedy: str, repair: Repair | None) -> None:
        """Add what is no harm."""
        self._checks.append(Check(name, True, found, remedy, repair))

    def _done(self, name: str, before: int, found: str) -> None:
        """Add the line that all is well, when no problem came up since."""
        if self._problems == before:
            self._checks.append(Check(name, True, found))

    # -- the area itself ----------------------------------------------------------------------

    def _state(self) -> None:
        engine = live_engine(self._area.root)
        if engine is not None:
            said = f"{engine.partition(';')[0]}: what it is changing may show as a problem"
            self._checks.append(Check("area", True, said))
        else:
            self._checks.append(Check("area", True, f"{self._area.root}, version 1"))

    def _intents(self) -> None:
        """What was interrupted is no harm: it says what it is about, and is passed over below."""
        self._open = []
        before, live = self._problems, 0
        title = "unfinished work"
        said: list[str] = []
        try:
            for intent, lives in Intents(self._area.own, self._area.scratch).listed():
                self._open.append(intent)
                live += lives
                if not lives:
                    said.append(f"{_WORK[intent.why]} under {intent.driver} was interrupted")
        except LayerviewError as error:
            self._problem(title, str(error))
            return
        for name in open_removals(self._area):
            id = removed_container(name)
            what = f"container {id[:12]}" if id else "a volume"
            said.append(f"the removal of {what} is under way, or was interrupted")
        left = 0 if live else len(_listed(self._area.scratch))
        if left:
            said.append(f"{left} temporary files were left behind")
        trials = left_trials(self._area.root)
        if said:
            remedy = "the next command that changes the area clears it up, or doctor --repair"
            self._checks += [Check(title, True, each, remedy) for each in said]
        for path in trials:
            found = f"{path} was left behind by a trial of the drivers that was killed"
            remedy = "`layerview doctor --repair` deletes it"
            self._checks.append(Check(title, True, found, remedy, _removing_trial(path)))
        if not said and not trials:
            self._done(title, before, f"{live} under way" if live else "none")

    # -- images -------------------------------------------------------------------------------

    def _images(self, data: DataRoot, layout: Layout) -> None:
        before, count = self._problems, 0
        title = f"{layout.driver}: images"
        known = set(names(layout.images))
        for name in _listed(layout.images):
            path = os.path.join(layout.images, name)
            if name not in known:
                self._problem(title, f"{path} is no image")
                continue
            count += 1
            image_id = Digest("sha256", name)
            try:
                raw = read_small(path)
                if Digest.of(raw) != image_id:
                    found = Digest.of(raw).short
                    self._problem(title, f"{path} is damaged: it hashes to {found}", _AGAIN)
                    continue
                config = ImageConfig.from_json(raw, path)
            except LayerviewError as error:
                self._problem(title, str(error), _AGAIN)
                continue
            for number, chain in enumerate(chain_ids(config.diff_ids)):
                if not os.path.isdir(layout.layer(chain)):
                    self._problem(
                        title,
                        f"image {image_id.short} has no layer {number}:"
                        f" {layout.layer(chain)} is not there",
                        _LOAD,
                    )
        for name in _listed(layout.images_metadata):
            self._image_metadata(title, layout, name, known)
        self._done(title, before, f"{count}, each what its ID says")

    def _image_metadata(self, title: str, layout: Layout, name: str, known: set[str]) -> None:
        path = os.path.join(layout.images_metadata, name)
        notes = _listed(path)
        if name not in known:
            if any(each.image is not None and each.image.hex == name for each in self._open):
                return
            if set(notes) <= {"parent", "lastUpdated"}:
                self._problem(
                    title,
                    f"{path} is about an image that is not there",
                    "`layerview doctor --repair` deletes it",
                    lambda writing: _remove(path),
                )
            else:
                self._problem(title, f"{path} is about an image that is not there")
            return
        if "parent" not in notes:
            return
        parent = os.path.join(path, "parent")
        try:
            found = sha256_digest(read_small(parent, 4096).decode("utf-8", "replace"), parent)
            if found.hex in known:
                return
            said = f"{parent} names image {found.short}, which is not there"
        except LayerviewError as error:
            said = str(error)
        self._problem(
            title, said, "`layerview doctor --repair` deletes it", lambda writing: _remove(parent)
        )

    def _references(self, data: DataRoot, layout: Layout) -> None:
        before = self._problems
        title = f"{layout.driver}: names"
        try:
            repositories = Repositories(layout)
        except LayerviewError as error:
            self._problem(title, str(error), "restore the file, or give the images names anew")
            return
        known = set(names(layout.images))
        references = repositories.all()
        for reference, text in references.items():
            if text.removeprefix("sha256:") in known:
                continue
            self._problem(
                title,
                f"{layout.repositories}: {reference} names image {printable(text[:19])}, which"
                " is not there",
                "`layerview doctor --repair` takes the name away",
                _untagging(layout.driver, reference),
            )
        self._done(title, before, f"{len(references)}")

    # -- layers -------------------------------------------------------------------------------

    def _layers(self, data: DataRoot, layout: Layout) -> None:
        before = self._problems
        title = f"{layout.driver}: layers"
        owners: dict[str, str] = {}
        """Whose each of the driver's folders is."""
        records: list[LayerRecord] = []
        damaged: dict[Digest, str] = {}
        for hex_ in names(layout.layers):
            chain = Digest("sha256", hex_)
            try:
                records.append(data.layer(layout.driver, chain))
            except LayerviewError as error:
                if os.path.lexists(layout.layer(chain)):
                    damaged[chain] = str(error)
        records += self._mended(data, layout, records, damaged)
        for record in records:
            chain = record.chain_id
            if record.cache_id in owners:
                self._problem(
                    title,
                    f"layers {chain.short} and {owners[record.cache_id]} have the same cache ID"
                    f" {record.cache_id[:12]}",
                )
            owners[record.cache_id] = chain.short
        chains = {record.chain_id for record in records}
        for at, record in enumerate(records):
            self._progress.step("checking layers", at, len(records))
            if record.parent is not None and record.parent not in chains:
                self._problem(
                    title,
                    f"layer {record.chain_id.short} lies on {record.parent.short}, which is"
                    " not there",
                    _LOAD,
                )
            for found in self._layer(data, record):
                # It may have been deleted meanwhile.
                if os.path.lexists(layout.layer(record.chain_id)):
                    self._problem(
                        title,
                        f"layer {record.chain_id.short} ({record.folder}): {found}",
                        _LOAD,
                    )
        self._done(title, before, f"{len(records)}, each tar as its DiffID says")
        if layout.has_folders:
            self._folders(data, layout, owners)
        if layout.driver == "overlay2":
            self._links(layout, records)
        if layout.driver == "aufs":
            before = self._problems
            count = check_lists(layout, records, self._held(layout), self._problem)
            self._done(LISTS, before, f"{count}")

    def _mended(
        self,
        data: DataRoot,
        layout: Layout,
        records: Sequence[LayerRecord],
        damaged: Mapping[Digest, str],
    ) -> Iterator[LayerRecord]:
        """Say which records are damaged; yield those that can be written again, as they will be."""
        if not damaged:
            return
        title = f"{layout.driver}: layers"
        taken = {record.cache_id for record in records} | self._held(layout)
        taken |= mount_ids(layout)[0].keys()
        free = [name for name in _driver_ids(layout) if name not in taken]

        def fits(record: LayerRecord) -> bool:
            return next(iter(self._layer(data, record)), None) is None

        mending = Mending(data, layout, free, fits)
        for chain, said in damaged.items():
            mended = mending.mend(chain)
            if mended is None:
                self._problem(title, said, _LOAD)
                continue
            remedy = "`layerview doctor --repair` writes it again, as the image's config has it"
            if "cache-id" in mended.texts:
                remedy = "`layerview doctor --repair` writes it again: the layer's folder was found"
            self._problem(title, said, remedy, mended.write)
            yield mended.record

    def _layer(self, data: DataRoot, record: LayerRecord) -> Iterator[str]:
        """Yield what is wrong with the files of a layer."""
        problem = data.folder_problem(record.folder)
        if problem is not None:
            yield problem
            return
        if record.tar_split is None:
            yield "tar-split.json.gz is not there"
            return
        hasher = hashlib.sha256()
        try:
            for piece in rebuilt(record.tar_split, record.folder):
                hasher.update(piece)
                self._progress.check()
        except Cancelled:
            raise
        except LayerviewError as error:
            yield str(error)
            return
        if hasher.hexdigest() != record.diff_id.hex:
            yield (
                f"tar-split.json.gz is damaged: the tar hashes to {hasher.hexdigest()[:12]},"
                f" not to {record.diff_id.short}"
            )
            return
        try:
            fd = data.open_tar_split(record)
            with os.fdopen(fd, "rb") as file:
                headers = read_headers(file)
            form = data.whiteouts(record.driver)
            folder = read_folder(record.folder, self._progress, whiteouts=form)
        except Cancelled:
            raise
        except LayerviewError as error:
            yield str(error)
            return
        yield from _differences(headers, folder, form, rootless=data.rootless)
        yield from _size_problem(record, headers, form)
        if form is Whiteouts.NONE and record.parent is not None:
            try:
                below = data.layer(record.driver, record.parent).folder
                under = read_folder(below, self._progress)
            except LayerviewError:
                return  # said of that layer
            yield from self._copied(headers, under, below, folder, record.folder)

    def _copied(
        self, headers: LayerIndex, under: LayerIndex, below: str, over: LayerIndex, folder: str
    ) -> Iterator[str]:
        """Yield what a full tree should have taken over from the tree below it and has not."""
        for path, row in under.walk_rows():
            if _is_touched(headers, path):
                continue
            there = over.find(path)
            shown = "/" + printable(path)
            if there is None or over.kinds[there] != under.kinds[row]:
                yield f"{shown} is not as in the layer below"
            elif under.kinds[row] == Kind.FILE:
                self._progress.check()
                places = (os.path.join(os.fsencode(each), path) for each in (below, folder))
                if under.sizes[row] != over.sizes[there] or not _same_bytes(*places):
                    yield f"{shown}: its bytes are not those of the layer below"
            elif under.targets.get(row) != over.targets.get(there):
                yield f"{shown} leads elsewhere"
        for path, _ in over.walk_rows():
            if under.find(path) is None and headers.find(path) is None:
                yield f"/{printable(path)} is in no layer"

    def _folders(self, data: DataRoot, layout: Layout, owners: dict[str, str]) -> None:
        before = self._problems
        title = f"{layout.driver}: folders"
        mounted, whole = mount_ids(layout)
        for id, container in mounted.items():
            owners.setdefault(id, f"container {container[:12]}")
        home = os.path.dirname(layout.layer_folder("0" * 64))
        if os.path.basename(home) == "0" * 64:
            home = os.path.dirname(home)
        held, cache = self._held(layout), BuildCache.read(data)
        if not cache.readable:
            self._problem(title, cache.problem)
        count = 0
        for name in _listed(home):
            path = os.path.join(home, name)
            if name == "l" or not os.path.isdir(path):
                if name not in ("l", "backingFsBlockDev") and layout.driver == "overlay2":
                    self._problem(title, f"{path} is nothing that the driver makes")
                continue
            count += 1
            if is_half_removed(name) and layout.driver == "aufs":
                continue  # said with the lists of layers
            if name in owners or name in held or name in cache.driver_ids:
                continue
            if whole and (name.endswith("-init") or os.path.isdir(f"{path}-init")):
                # Only containers have two layers, and each has a record, if it is still there.
                self._problem(
                    title,
                    f"{path} is of a container that is gone",
                    "`layerview doctor --repair` deletes it",
                    _discarding(layout.driver, name),
                )
                continue
            if cache.readable:
                self._problem(title, f"{path} belongs to no layer and no container")
        self._done(title, before, f"{count}, each a layer's, a container's or a build's")

    def _held(self, layout: Layout) -> set[str]:
        """Return the driver's IDs that open intents and interrupted deletions are about."""
        held = {id for each in self._open if each.driver == layout.driver for id in each.ids}
        for name in _listed(layout.layers):
            if name.endswith("-removing"):
                path = os.path.join(layout.layers, name, "cache-id")
                with suppress(LayerviewError):
                    held.add(read_small(path, 4096).decode("utf-8", "replace"))
        return held

    def _links(self, layout: Layout, records: list[LayerRecord]) -> None:
        """Check overlay2's short links and its lists of lower layers."""
        before = self._problems
        title = "overlay2: links"
        links: dict[Digest, str] = {}
        by_chain = {record.chain_id: record for record in records}
        leading: dict[str, str] = {}
        for name in _listed(os.path.join(layout.home, "l")):
            with suppress(OSError):
                leading[os.readlink(os.path.join(layout.home, "l", name))] = name
        for record in records:
            path = os.path.join(layout.home, record.cache_id, "link")
            try:
                link = read_small(path, 4096).decode("utf-8", "replace")
            except LayerviewError as error:
                self._problem(title, str(error), _LOAD)
                continue
            target = f"../{record.cache_id}/diff"
            short = os.path.join(layout.home, "l", link)
            if not _LINK.fullmatch(link):
                self._problem(title, f"{path} holds no short link", _LOAD)
                continue
            if leading.get(target, link) != link and not os.path.lexists(short):
                self._problem(title, f"{path} says {link}; l/{leading[target]} leads there", _LOAD)
                continue
            links[record.chain_id] = link
            try:
                if os.readlink(short) != target:
                    self._problem(title, f"{short} leads elsewhere than {target}", _LOAD)
            except FileNotFoundError:
                self._problem(
                    title,
                    f"{short} is not there",
                    "`layerview doctor --repair` makes it again",
                    _linking(target, short),
                )
            except OSError:
                self._problem(title, f"{short} is no symbolic link", _LOAD)
        for record in records:
            wanted = []
            at, depth = record.parent, 0
            while at is not None and at in by_chain and depth <= len(records):
                wanted.append(f"l/{links.get(at, '?')}")
                at, depth = by_chain[at].parent, depth + 1
            path = os.path.join(layout.home, record.cache_id, "lower")
            try:
                found = read_small(path, 65_536).decode("utf-8", "replace")
            except LayerviewError as error:
                if wanted:
                    self._problem(title, str(error), _LOAD)
                continue
            if found != ":".join(wanted):
                self._problem(title, f"{path} does not list the layers below", _LOAD)
        folder = os.path.join(layout.home, "l")
        held = self._held(layout)
        for name in _listed(folder):
            path = os.path.join(folder, name)
            if os.path.islink(path) and not os.path.exists(path):
                id = os.readlink(path).removeprefix("../").removesuffix("/diff")
                if id in held or os.path.lexists(os.path.join(layout.home, os.path.basename(id))):
                    continue
                self._problem(
                    title,
                    f"{path} leads nowhere",
                    "`layerview doctor --repair` deletes it",
                    _unlinking(path) if _LINK.fullmatch(name) else None,
                )
        self._done(title, before, f"{len(links)}")

    # -- the rest -----------------------------------------------------------------------------

    def _containers(self) -> None:
        before, at = self._problems, len(self._checks)
        containers, volumes = ContainerCheck(
            self._area, self._open, self._problem, self._note
        ).run()
        if self._problems == before:
            for name, count in (("containers", containers), ("volumes", volumes)):
                if count:
                    self._checks.insert(at, Check(name, True, f"{count}"))

    def _leftovers(self, layout: Layout) -> None:
        before = self._problems
        title = f"{layout.driver}: leftovers"
        held = self._held(layout)
        for name in _listed(layout.layers_tmp):
            if name.removeprefix("layer-") not in held:
                path = os.path.join(layout.layers_tmp, name)
                self._problem(title, f"{path} was left behind, by an engine perhaps")
        known = set(names(layout.layers))
        for name in _listed(layout.layers):
            path = os.path.join(layout.layers, name)
            if name in known:
                continue
            if name.endswith("-removing"):
                said = f"the deletion of layer {name[:12]} was interrupted"
                remedy = "the next command that changes the area finishes it, or doctor --repair"
                self._checks.append(Check("unfinished work", True, said, remedy))
            else:
                self._problem(title, f"{path} is no layer")
        self._done(title, before, "none")

    def _distribution(self, layout: Layout) -> None:
        before, count = self._problems, 0
        title = f"{layout.driver}: known blobs"
        folder = os.path.join(layout.base, "distribution", "diffid-by-digest", "sha256")
        for name in _listed(folder):
            count += 1
            path = os.path.join(folder, name)
            try:
                sha256_digest(read_small(path, 4096).decode("utf-8", "replace"), path)
            except LayerviewError as error:
                self._problem(
                    title,
                    str(error),
                    "`layerview doctor --repair` deletes it: it only saves a download",
                    _unlinking(path),
                )
        if count:
            self._done(title, before, f"{count}")


def repair(area: Area, checks: list[Check], say: Callable[[str], None]) -> list[str]:
    """Put right what can be put right safely; return what was done, a line each.

    Raises:
        LayerviewError: when the area can't be written.
    """
    done: list[str] = []
    with area.writing(say) as writing:
        done += [*writing.recovered, *writing.unfinished]
        with writing.lock.hold():
            for check in checks:
                if check.repair is None:
                    continue
                try:
                    check.repair(writing)
                except LayerviewError as error:
                    say(f"not repaired: {check.found}: {error}")
                else:
                    done.append(check.found)
    return done


def left_trials(root: str) -> list[str]:
    """Find the folders in which a process tried the drivers that died meanwhile.

    They are in the area or, from before there was one, in the folder above.
    """
    found = []
    for folder in (os.path.realpath(root), os.path.dirname(os.path.realpath(root))):
        for name in _listed(folder):
            path = os.path.join(folder, name)
            if not name.startswith(TRIAL):
                continue
            with suppress(OSError):
                state = os.lstat(path)
                old = time.time() - state.st_mtime > _TRIAL_AGE
                if old and stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid():
                    found.append(path)
    return found


def _removing_trial(path: str) -> Callable[[Writing], None]:
    def remove(writing: Writing) -> None:
        from layerview.drivers.mounts import detach
        from layerview.drivers.removal import remove_tree

        with named(path):
            while detach(os.path.join(path, "m")):
                pass
            remove_tree(os.path.dirname(path), os.path.basename(path))

    return remove


def _discarding(driver: str, id: str) -> Callable[[Writing], None]:
    return lambda writing: writing.driver(driver).remove(id)


def _untagging(driver: str, reference: str) -> Callable[[Writing], None]:
    def untag(writing: Writing) -> None:
        writing.untag(driver, reference)

    return untag


def _linking(target: str, path: str) -> Callable[[Writing], None]:
    def link(writing: Writing) -> None:
        with named(path):
            os.symlink(target, path)

    return link


def _unlinking(path: str) -> Callable[[Writing], None]:
    return lambda writing: _remove(path)


def _remove(path: str) -> None:
    with named(path):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _driver_ids(layout: Layout) -> list[str]:
    """List the driver's folders that could be a layer's."""
    home = layout.layers_home
    return list(filter(is_driver_id, _listed(home))) if home else []


def _listed(folder: str) -> list[str]:
    try:
        with named(folder):
            return sorted(os.listdir(folder))
    except LayerviewError:
        return []


def _differences(
    headers: LayerIndex, folder: LayerIndex, form: Whiteouts, *, rootless: bool
) -> Iterator[str]:
    """Yield how a layer's folder differs from its tar, but for the bytes of the files."""
    for path, row in headers.walk_rows():
        shown = "/" + printable(path)
        there = folder.find(path)
        kind = headers.kinds[row]
        if kind == Kind.WHITEOUT:
            if form in _OVERLAYS and (there is None or folder.kinds[there] != Kind.WHITEOUT):
                yield f"{shown}: its whiteout is not there"
            continue
        if there is None:
            if not (rootless and kind in (Kind.CHAR, Kind.BLOCK)):
                yield f"{shown} is not there"
            continue
        found = folder.kinds[there]
        if kind == Kind.IMPLIED_DIR:
            if found != Kind.DIR:
                yield f"{shown} is no folder any more"
            continue
        if found != kind:
            yield f"{shown} is a {_kind(found)}, not a {_kind(kind)}"
            continue
        if headers.links.get(row) == UNRESOLVED:
            continue
        if kind == Kind.SYMLINK:
            if headers.targets[row] != folder.targets[there]:
                yield f"{shown} leads elsewhere"
            continue
        if headers.modes[row] != folder.modes[there]:
            yield f"{shown} has mode {folder.modes[there]:04o}, not {headers.modes[row]:04o}"
        owner = (folder.uids[there], folder.gids[there])
        if owner != (headers.uids[row], headers.gids[row]) and not rootless:
            uid, gid = headers.uids[row], headers.gids[row]
            yield f"{shown} belongs to {owner[0]}:{owner[1]}, not to {uid}:{gid}"
    if form in _OVERLAYS:
        for path, row in folder.walk_rows():
            if headers.find(path) is None and folder.kinds[row] != Kind.IMPLIED_DIR:
                yield f"/{printable(path)} is not in the layer"


def _is_touched(headers: LayerIndex, path: bytes) -> bool:
    """Whether a layer says anything of a path, or hides it."""
    if headers.find(path) is not None:
        return True
    at = path
    while at:
        at = at.rpartition(b"/")[0]
        number = headers.find_dir(at)
        if number is not None and number in headers.opaque:
            return True
        if at and number is None and headers.find(at) is not None:
            return True
    return False


def _same_bytes(one: bytes, other: bytes) -> bool:
    try:
        fds = [os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) for path in (one, other)]
    except OSError:
        return False
    with os.fdopen(fds[0], "rb") as left, os.fdopen(fds[1], "rb") as right:
        while True:
            piece = left.read(_PIECE)
            if piece != right.read(_PIECE):
                return False
            if not piece:
                return True


def _kind(kind: int) -> str:
    return _KINDS[kind] if kind < len(_KINDS) else "whiteout"


def _size_problem(record: LayerRecord, headers: LayerIndex, form: Whiteouts) -> Iterator[str]:
    from layerview.drivers.base import folder_size

    # Docker notes the size of all that is no folder, or, where it unpacked the tar into a full
    # tree, that of the files in the tar, replaced ones included.
    tar = headers.size
    known = {tar, tar + headers.columns.repeated_bytes}
    known.add(tar + sum(len(target) for target in headers.targets.values()))
    if form in _OVERLAYS:
        known.add(folder_size(record.folder))
    if record.size not in known:
        yield f"its record says that it has {record.size:,} bytes, not {tar:,}"
