"""What a writer is about to do, noted on disk, so that it can be undone when the writer dies.

An intent is a file in ROOT/layerview/intents. Its writer keeps it locked (flock) while it lives;
an intent that nobody has locked is open, and the next writer undoes what it names.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

from layerview.errors import FormatError, LayerviewError
from layerview.oci.digest import Digest
from layerview.oci.fields import Fields, load_json
from layerview.store.durable import named, read_small, sync_folder
from layerview.store.layout import driver_id, is_container_id, sha256_digest
from layerview.store.locks import flock
from layerview.text import printable


class Intent:
    """One thing that a writer is about to do.

    why: "load" makes layers under the driver's `ids`, which become `chains`, and counts on the
    layers `uses`; "remove" deletes the image `image`, and those of its layers `chains` that nothing
    else needs; it has begun when no reference names the image; "create" makes the container
    `container`, to be called `name`, with the driver's `ids` on the layers `uses`; it mentions
    `volumes`, of which `new_volumes` are made for it.
    """

    def __init__(
        self,
        why: str,
        driver: str,
        ids: Sequence[str] = (),
        chains: Sequence[Digest] = (),
        uses: Sequence[Digest] = (),
        image: Digest | None = None,
        references: Sequence[str] = (),
        container: str = "",
        name: str = "",
        volumes: Sequence[str] = (),
        new_volumes: Sequence[str] = (),
        path: str = "",
    ) -> None:
        self.why = why
        self.driver = driver
        self.ids = list(ids)
        self.chains = list(chains)
        self.uses = list(uses)
        self.image = image
        self.references = list(references)
        self.container = container
        self.name = name
        self.volumes = list(volumes)
        self.new_volumes = list(new_volumes)
        self.path = path
        """Its file."""
        self.fd = -1
        """The descriptor that keeps it locked, in the process that made it."""

    def to_json(self) -> bytes:
        """Write it as its file has it."""
        document: dict[str, object] = {"why": self.why, "driver": self.driver}
        if self.ids:
            document["ids"] = self.ids
        for key, digests in (("chains", self.chains), ("uses", self.uses)):
            if digests:
                document[key] = [str(digest) for digest in digests]
        if self.image is not None:
            document["image"] = str(self.image)
        for key, value in (
            ("references", self.references),
            ("container", self.container),
            ("name", self.name),
            ("volumes", self.volumes),
            ("new_volumes", self.new_volumes),
        ):
            if value:
                document[key] = value
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes, path: str) -> Intent:
        """Read an intent's file.

        Raises:
            FormatError: it is none that this version knows.
        """
        fields = Fields(load_json(data, path), path)
        why = fields.text("why")
        if why not in ("load", "remove", "create"):
            raise FormatError(f'{printable(path)}: "{printable(why[:40])}" is not known')
        image = fields.optional_text("image")
        if why == "remove" and not image:
            fields.fail("image", "is missing")
        container = fields.optional_text("container") or ""
        if (why == "create" or container) and not is_container_id(container):
            fields.fail("container", "is no container ID")
        return cls(
            why,
            fields.text("driver"),
            [driver_id(id, path) for id in fields.texts("ids")],
            [sha256_digest(text, path) for text in fields.texts("chains")],
            [sha256_digest(text, path) for text in fields.texts("uses")],
            sha256_digest(image, path) if image else None,
            list(fields.texts("references")),
            container,
            fields.optional_text("name") or "",
            list(fields.texts("volumes")),
            list(fields.texts("new_volumes")),
            path,
        )


class Intents:
    """The intents of an area; everything here is done while its lock is held."""

    def __init__(self, own: str, scratch: str) -> None:
        """Name the folders: layerview's own corner of the area, and the one for temporary files."""
        self.folder = os.path.join(own, "intents")
        self._scratch = scratch

    def note(self, intent: Intent, *, sync: bool = True) -> Intent:
        """Put an intent on disk, locked by this process.

        Args:
            intent: what is to be done.
            sync: False where it need not outlast the machine.
        """
        name = os.urandom(16).hex()
        temporary = os.path.join(self._scratch, f"intent-{name}")
        intent.path = os.path.join(self.folder, name)
        try:
            with named(intent.path):
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                intent.fd = os.open(temporary, flags, 0o600)
                fcntl.flock(intent.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                data = intent.to_json()
                if os.write(intent.fd, data) != len(data):
                    raise LayerviewError(f"{intent.path} could not be written whole")
                if sync:
                    os.fsync(intent.fd)
                os.rename(temporary, intent.path)
                if sync:
                    sync_folder(self.folder)
        except BaseException:
            for path in (temporary, intent.path):
                with suppress(OSError):
                    os.unlink(path)
            self.leave(intent)
            raise
        return intent

    def drop(self, intent: Intent) -> None:
        """Take an intent away: what it names is done, or undone."""
        with named(intent.path), suppress(FileNotFoundError):
            # Not fsynced: undoing what is done, or undone already, finds nothing to do.
            os.unlink(intent.path)
        self.leave(intent)

    @staticmethod
    def leave(intent: Intent) -> None:
        """Let go of an intent as it is: the next writer undoes it."""
        if intent.fd >= 0:
            os.close(intent.fd)
            intent.fd = -1

    def listed(self) -> Iterator[tuple[Intent, bool]]:
        """Yield each intent, and whether its writer still lives; ours live too.

        Raises:
            LayerviewError: when one can't be read.
        """
        for name in self.names():
            path = os.path.join(self.folder, name)
            with named(path):
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                live = not flock(fd, fcntl.LOCK_EX)
            finally:
                os.close(fd)
            yield Intent.from_json(read_small(path), path), live

    def names(self) -> list[str]:
        """Return the names of the intents' files."""
        try:
            return sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return []
