"""An opened image, wherever it lies: its config and its layers, not yet read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType

from layerview.layer.blob import Blob
from layerview.layer.whiteouts import Whiteouts
from layerview.oci.config import History, HistoryRow, ImageConfig, pair_history
from layerview.oci.digest import Digest, chain_ids


@dataclass(slots=True, eq=False)
class LayerSource:
    """One layer of an image, that can be read when it is here."""

    number: int
    """From 0, the base."""
    diff_id: Digest | None = None
    """What the config says the plain bytes hash to."""
    chain_id: Digest | None = None
    digest: Digest | None = None
    """What the manifest says the blob's bytes hash to."""
    media_type: str = ""
    compressed_size: int | None = None
    """Bytes of the blob as it is stored."""
    history: History | None = None
    blob: Blob | None = None
    """The bytes, unless the layer is a folder or not here."""
    folder: str | None = None
    """The folder whose content is this layer."""
    missing_reason: str = ""
    """Why the layer is not here, for people."""
    whiteouts: Whiteouts = Whiteouts.NONE
    """How the folder says what the layer deletes."""
    lower: str | None = None
    """Where the folder is a full tree: the tree of the layers below, None for a base."""
    tar_split: str | None = None
    """In a data root: the file that has the headers of the layer's tar."""
    cache_id: str | None = None
    """In a data root: the storage driver's own name for the layer."""
    directory: str | None = None
    """In a data root: where the storage driver keeps the layer, be it readable or not."""
    size: int | None = None
    """In a data root: bytes of the layer's files as Docker counted them."""
    role: str = ""
    """"init" or "container": no layer of the image, but one that a container has above it."""

    @property
    def available(self) -> bool:
        """Whether the layer's content can be read."""
        return self.blob is not None or self.folder is not None

    @property
    def compression(self) -> str | None:
        """How the blob is compressed, judged from its bytes; None when it is not here."""
        return self.blob.compression if self.blob is not None else None


class Image:
    """An opened image; close it, or use it as a context manager."""

    def __init__(
        self,
        config: ImageConfig | None,
        layers: Sequence[LayerSource],
        *,
        name: str,
        place: str,
        location: str,
        references: tuple[str, ...] = (),
        digest: Digest | None = None,
        image_id: Digest | None = None,
        warnings: Sequence[str] = (),
        damage: Sequence[str] = (),
        parents: tuple[Digest, ...] = (),
        close: Callable[[], None] | None = None,
    ) -> None:
        """Put an image together.

        Args:
            config: None when it is not here, or the source has none.
            layers: base first.
            name: how people call it: its first reference, or its file's name.
            place: the transport, as "docker-archive".
            location: the file or folder, as the person wrote it.
            references: all names it has there, in Docker's familiar form.
            digest: of its manifest.
            image_id: of its config; None when there is none.
            warnings: what is odd about it, a line each.
            damage: what is wrong with its bytes, a line each.
            parents: the images that it was built on in that place, the nearest first.
            close: called once when the image is closed.
        """
        self.config = config if config is not None else ImageConfig()
        self.has_config = config is not None
        self.layers = list(layers)
        self.name = name
        self.place = place
        self.location = location
        self.references = references
        self.digest = digest
        self.image_id = image_id
        self.warnings = list(warnings)
        self.damage = list(damage)
        self.parents = parents
        self._close = close
        self._pair()

    def _pair(self) -> None:
        own = [layer for layer in self.layers if not layer.role]
        rows = pair_history(self.config.history, len(own))
        self.history: list[HistoryRow] = rows
        if self.config.history:
            for row in rows:
                if row.layer is not None:
                    self.layers[row.layer].history = row.history
            surplus = sum(row.mismatch for row in rows)
            if surplus:
                self.warnings.append(
                    f"the history has {surplus} more steps with a layer than there are layers"
                )
            bare = sum(row.history is None for row in rows)
            if bare:
                self.warnings.append(f"{bare} layers have no history")
        diff_ids = self.config.diff_ids
        if self.has_config and len(diff_ids) != len(own):
            self.warnings.append(
                f"the config names {len(diff_ids)} layers, the manifest {len(own)}"
            )
        pairs = zip(own, diff_ids, chain_ids(diff_ids), strict=False)
        for layer, diff_id, chain_id in pairs:
            layer.diff_id, layer.chain_id = diff_id, chain_id
        if len(self.layers) > 127:
            self.warnings.append(f"{len(self.layers)} layers: engines run images of at most 127")

    @cached_property
    def platform(self) -> str:
        """The platform as "linux/amd64"; "" when it is unknown."""
        config = self.config
        return str(config.platform) if config.os or config.architecture else ""

    def close(self) -> None:
        """Close what the image holds open."""
        close, self._close = self._close, None
        if close is not None:
            close()

    def __enter__(self) -> Image:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """One of several images in a file: what to call it, and what to open it by."""

    name: str
    """What `open_image` takes."""
    references: tuple[str, ...] = ()
    image_id: Digest | None = None
    platform: str | None = None

    def __str__(self) -> str:
        return self.name
