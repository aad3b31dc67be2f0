"""Writing a layer's record again, where what it must say can be told from elsewhere.

An image's config has the DiffIDs of its layers in order, which say what `diff` and `parent` hold;
the ChainID proves it. The driver's folder of a layer is the one whose files make its tar.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from layerview.errors import LayerviewError
from layerview.layer.tar_split import read_headers
from layerview.layer.whiteouts import Whiteouts
from layerview.oci.config import ImageConfig
from layerview.oci.digest import Digest, chain_ids
from layerview.store.data_root import DataRoot, LayerRecord
from layerview.store.durable import named, read_small, sync_folder, write_file
from layerview.store.layout import Layout, driver_id
from layerview.store.uses import names
from layerview.store.writing import Writing

_SIZE = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Mended:
    """A record as it must be."""

    record: LayerRecord
    texts: Mapping[str, str | None]
    """What must be written, by the file's name; None: the file must go."""

    def write(self, writing: Writing) -> None:
        """Put it on the disk; the lock must be held."""
        folder = writing.layout(self.record.driver).layer(self.record.chain_id)
        for name, text in self.texts.items():
            path = os.path.join(folder, name)
            if text is None:
                with named(path), suppress(FileNotFoundError):
                    os.unlink(path)
                    sync_folder(folder)
            else:
                write_file(path, text.encode(), scratch=writing.area.scratch, mode=0o644)


class Mending:
    """Finds out what the damaged records of one driver must say."""

    def __init__(
        self,
        data: DataRoot,
        layout: Layout,
        free: Iterable[str],
        fits: Callable[[LayerRecord], bool],
    ) -> None:
        """Prepare.

        Args:
            data: where they lie.
            layout: of the driver.
            free: the driver's IDs that are nobody's.
            fits: whether a record's files make its layer.
        """
        self._data = data
        self._layout = layout
        self._free = sorted(free)
        self._fits = fits

    @cached_property
    def _known(self) -> dict[Digest, tuple[Digest, Digest | None]]:
        """DiffID and parent of the layers that intact images have."""
        known: dict[Digest, tuple[Digest, Digest | None]] = {}
        for name in names(self._layout.images):
            image_id = Digest("sha256", name)
            with suppress(LayerviewError):
                raw = read_small(self._layout.image(image_id))
                if Digest.of(raw) != image_id:
                    continue
                below: Digest | None = None
                diff_ids = ImageConfig.from_json(raw).diff_ids
                for diff_id, chain in zip(diff_ids, chain_ids(diff_ids), strict=True):
                    known[chain] = diff_id, below
                    below = chain
        return known

    def mend(self, chain: Digest) -> Mended | None:
        """Say what a layer's record must hold; None when that can't be told."""
        if chain not in self._known:
            return None
        diff_id, parent = self._known[chain]
        folder = self._layout.layer(chain)
        found: dict[str, str] = {}
        for name in ("diff", "parent", "cache-id", "size"):
            path = os.path.join(folder, name)
            with suppress(FileNotFoundError):
                if not stat.S_ISREG(os.lstat(path).st_mode):
                    return None
            with suppress(LayerviewError):
                found[name] = read_small(path, 4096).decode("utf-8", "replace")
        tar_split = os.path.join(folder, "tar-split.json.gz")

        def record(cache_id: str) -> LayerRecord:
            place = self._layout.layer_folder(cache_id)
            size = found.get("size", "")
            if not _SIZE.fullmatch(size):
                size = str(self._size(tar_split, place))
            there = tar_split if os.path.lexists(tar_split) else None
            return LayerRecord(
                self._layout.driver, chain, diff_id, parent, cache_id, int(size), place, there
            )

        try:
            made = record(driver_id(found.get("cache-id", ""), folder))
        except LayerviewError:
            matching = None
            for each in self._free:
                with suppress(LayerviewError):
                    matching = record(each)
                    if self._fits(matching):
                        break
                matching = None
            if matching is None:
                return None
            made = matching
            self._free.remove(made.cache_id)
        wanted = {
            "diff": str(diff_id),
            "parent": str(parent) if parent is not None else None,
            "cache-id": made.cache_id,
            "size": str(made.size),
        }
        texts = {name: text for name, text in wanted.items() if found.get(name) != text}
        if parent is None and os.path.lexists(os.path.join(folder, "parent")):
            texts["parent"] = None
        return Mended(made, texts)

    def _size(self, tar_split: str, folder: str) -> int:
        """Add up a layer's bytes, as Docker does."""
        from layerview.drivers.base import folder_size

        try:
            if self._data.whiteouts(self._layout.driver) is not Whiteouts.NONE:
                return folder_size(folder)
            with named(tar_split), open(tar_split, "rb") as file:
                return read_headers(file).size
        except OSError as error:
            raise LayerviewError(f"{folder}: {(error.strerror or '').lower()}") from None
