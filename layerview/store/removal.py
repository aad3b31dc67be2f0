"""Deleting images: what is only untagged, what goes, and what stands in the way.

The rules are Docker's (moby, daemon/images/image_delete.go and image_prune.go).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from layerview.errors import LayerviewError, NotFoundError
from layerview.oci.config import ImageConfig
from layerview.oci.digest import Digest, chain_ids
from layerview.oci.reference import Reference
from layerview.store.data_root import ContainerRecord
from layerview.store.finding import find
from layerview.store.intents import Intent
from layerview.store.repositories import Repositories
from layerview.store.writing import Writing


class InUse(LayerviewError):
    """Something uses the image that should be deleted."""


@dataclass(slots=True)
class Removed:
    """What was done."""

    untagged: list[str] = field(default_factory=list)
    deleted: list[Digest] = field(default_factory=list)
    """The images, each followed by the layers that only it used."""
    bytes: int = 0
    """Size of the layers that went, as Docker counts it."""
    kept: list[str] = field(default_factory=list)
    """Why images stayed that might have gone, a line each."""


class Removal:
    """Deletes images of an area while its lock is held."""

    def __init__(self, writing: Writing, *, force: bool = False, prune: bool = True) -> None:
        """Prepare.

        Args:
            writing: of the area.
            force: delete also where stopped containers or several names stand in the way.
            prune: delete parents without a name that nothing else is built on, too.
        """
        self._writing = writing
        self._force = force
        self._prune = prune
        self.removed = Removed()

    def remove(self, word: str, driver: str | None = None) -> None:
        """Take away what a word names: a reference, or an image by its ID.

        Raises:
            NotFoundError: when there is no such image.
            InUse: when something uses it; nothing was done.
        """
        with self._writing.lock.hold():
            try:
                found = find(self._writing.area.data, word, driver)
            except NotFoundError:
                if self._was_finished(word):
                    return
                raise
            record = found.record
            layout = self._writing.layout(record.driver)
            names = Repositories(layout).of(record.image_id)
            if found.reference is not None:
                self._remove_name(record.driver, record.image_id, found.reference, names)
                return
            if _is_one_name(names):
                self._check(record.driver, record.image_id, names, several=False)
            else:
                self._check(record.driver, record.image_id, names, several=True)
            self._delete(record.driver, record.image_id, names)

    def _was_finished(self, word: str) -> bool:
        """Whether a process that died had begun to delete this, and it was finished now."""
        try:
            wanted = Reference.parse(word).familiar
        except LayerviewError:
            wanted = ""
        for intent in self._writing.finished:
            image_id = intent.image
            assert image_id is not None
            by_id = len(word) >= 4 and image_id.hex.startswith(word.removeprefix("sha256:"))
            if wanted in intent.references or by_id:
                self.removed.untagged += intent.references
                self.removed.deleted.append(image_id)
                return True
        return False

    def _remove_name(self, driver: str, image_id: Digest, name: str, names: list[str]) -> None:
        going = [name]
        rest = [other for other in names if other != name]
        # Digests of the same repository are no names that anyone gave: they go with the last tag.
        repository = _repository(name)
        if (
            "@" not in name
            and rest
            and all("@" in other and _repository(other) == repository for other in rest)
        ):
            going, rest = [*going, *rest], []
        if rest:
            self._writing.untag(driver, name)
            self.removed.untagged.append(name)
            return
        users = self._users(driver, image_id)
        if users and not self._force:
            raise InUse(
                f"{name} is not removed: {_who(users[0])} uses its image {image_id.short};"
                " --force removes the name all the same"
            )
        uses = self._writing.uses(driver)
        running = [user for user in users if user.running]
        if running or users or uses.children(image_id):
            # As in Docker, the image then stays, without a name.
            for each in going:
                self._writing.untag(driver, each)
            self.removed.untagged += going
            if running or not users or not self._force:
                return
            if uses.children(image_id):
                return
            self._delete(driver, image_id, [])
            return
        self._delete(driver, image_id, going)

    def _users(self, driver: str, image_id: Digest) -> list[ContainerRecord]:
        return [
            container
            for container in self._writing.area.data.containers()
            if container.image_id == image_id and container.driver in (driver, "")
        ]

    def _check(self, driver: str, image_id: Digest, names: list[str], *, several: bool) -> None:
        """Raise InUse when something stands in the way of deleting an image by its ID."""
        short = image_id.short
        children = self._writing.uses(driver).children(image_id)
        if children:
            raise InUse(
                f"image {short} is not deleted: image {children[0].short} was built on it here"
            )
        users = self._users(driver, image_id)
        for user in users:
            if user.running:
                raise InUse(f"image {short} is not deleted: {_who(user)} uses it, and is running")
        if self._force:
            return
        if several:
            raise InUse(
                f"image {short} is not deleted: it has several names ({', '.join(names[:5])});"
                " --force deletes it with all of them"
            )
        if users:
            raise InUse(
                f"image {short} is not deleted: {_who(users[0])} uses it; --force deletes it"
                " all the same"
            )

    def _delete(self, driver: str, image_id: Digest, names: Sequence[str]) -> None:
        writing = self._writing
        layout = writing.layout(driver)
        uses = writing.uses(driver)
        config = uses.images[image_id]
        chains = list(dict.fromkeys(chain_ids(config.diff_ids)))
        parent = self._parent(driver, image_id)
        sizes = {chain: self._size(driver, chain) for chain in chains}
        intent = Intent("remove", driver, chains=chains, image=image_id, references=list(names))
        with writing.noted(intent):
            repositories = Repositories(layout)
            if [name for name in names if repositories.remove(name)]:
                repositories.write(writing.area.scratch)
            gone = writing.delete_image(driver, image_id, chains)
        self.removed.untagged += names
        self.removed.deleted += [image_id, *gone]
        self.removed.bytes += sum(sizes[chain] for chain in gone)
        if self._prune and parent is not None:
            self._delete_parent(driver, parent)

    def _delete_parent(self, driver: str, image_id: Digest) -> None:
        uses = self._writing.uses(driver)
        if image_id not in uses.images:
            return
        named = Repositories(self._writing.layout(driver)).of(image_id)
        if named or uses.children(image_id) or self._users(driver, image_id):
            return
        self._delete(driver, image_id, [])

    def _parent(self, driver: str, image_id: Digest) -> Digest | None:
        return self._writing.area.data.image(str(image_id), driver).parent

    def _size(self, driver: str, chain: Digest) -> int:
        """Return a layer's bytes; a damaged record stops what is not forced, before it begins."""
        try:
            return self._writing.area.data.layer(driver, chain).size
        except LayerviewError:
            if not self._force:
                raise
            return 0

    def prune(
        self,
        driver: str,
        *,
        all_images: bool = False,
        wanted: Callable[[ImageConfig], bool] = lambda config: True,
    ) -> None:
        """Delete images that nothing uses.

        Args:
            driver: whose images.
            all_images: those that have names, too; else only dangling ones.
            wanted: keeps an image out when it says False.
        """
        with self._writing.lock.hold():
            uses = self._writing.uses(driver)
            repositories = Repositories(self._writing.layout(driver))
            for image_id, config in uses.images.items():
                names = repositories.of(image_id)
                tags = [name for name in names if "@" not in name]
                if (tags and not all_images) or not wanted(config):
                    continue
                if not os.path.exists(self._writing.layout(driver).image(image_id)):
                    continue  # went with a child of it
                children = self._writing.uses(driver).children(image_id)
                if children and not names:
                    continue  # a step of the images that were built on it
                users = self._users(driver, image_id)
                if users or children:
                    if tags or users:
                        by = _who(users[0]) if users else f"image {children[0].short}"
                        self.removed.kept.append(f"image {image_id.short} is used by {by}")
                    continue
                self._delete(driver, image_id, names)


def _is_one_name(names: Sequence[str]) -> bool:
    """Whether all names are of one repository, and at most one of them is a tag."""
    tags = [name for name in names if "@" not in name]
    return len(tags) <= 1 and len({_repository(name) for name in names}) <= 1


def _repository(name: str) -> str:
    return Reference.parse(name).familiar_name


def _who(container: ContainerRecord) -> str:
    called = f" ({container.name})" if container.name else ""
    return f"container {container.id[:12]}{called}"
