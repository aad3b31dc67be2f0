"""Reading an image's layers: their indexes, whether their digests hold, and their contents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from layerview import settings
from layerview.errors import DamageError, LayerviewError
from layerview.layer.contents import LayerContents
from layerview.layer.index import LayerIndex
from layerview.progress import QUIET, Progress
from layerview.sources.image import Image, LayerSource


@dataclass(slots=True)
class LoadedLayer:
    """A layer after reading."""

    source: LayerSource
    index: LayerIndex | None
    """None when the layer is not here."""
    verified: bool | None = None
    """Whether its digest and its DiffID hold; None when not all its bytes were hashed."""
    damage: str | None = None
    """What is wrong with its bytes, one line; the index has what could be read."""


def load_layers(
    image: Image, *, verify: bool = False, cache: bool = True, progress: Progress = QUIET
) -> list[LoadedLayer]:
    """Read all layers of an image, in this process.

    Args:
        image: the opened image.
        verify: hash plain layers too; compressed ones always are while they are decompressed.
        cache: use the index cache on disk.
        progress: told about each layer.
    """
    return [
        load_layer(layer, verify=verify, cache=cache, progress=progress) for layer in image.layers
    ]


def load_layer(
    source: LayerSource, *, verify: bool = False, cache: bool = True, progress: Progress = QUIET
) -> LoadedLayer:
    """Read one layer.

    Raises:
        Cancelled: when the progress object says so.
    """
    what = f"layer {source.number}"
    if not source.available:
        return LoadedLayer(source, None)
    try:
        if source.folder is not None:
            return _load_placed(source, verify, cache, progress, what)
        return _load_blob(source, verify, cache, progress, what)
    except (DamageError, OSError) as error:
        return LoadedLayer(source, None, damage=f"{what}: {error}")


def _load_placed(
    source: LayerSource, verify: bool, cache: bool, progress: Progress, what: str
) -> LoadedLayer:
    from layerview.sources.placed import hash_placed, read_placed

    store = None
    if cache and source.tar_split is not None and settings.cache_wanted():
        from layerview.layer.cache import IndexCache

        store = IndexCache(settings.cache_dir())
    read = read_placed(source, store, progress)
    loaded = LoadedLayer(source, read.index)
    loaded.damage = f"{what}: {read.damage}" if read.damage is not None else None
    if not verify or source.tar_split is None:
        return loaded
    try:
        diff_id = hash_placed(source, progress, f"verifying {what}")
    except DamageError as error:
        loaded.damage, loaded.verified = f"{what}: {error}", False
        return loaded
    return check_claims(loaded, diff_id, None)


def _load_blob(
    source: LayerSource, verify: bool, cache: bool, progress: Progress, what: str
) -> LoadedLayer:
    from layerview.layer.reading import hash_blob, read_layer

    blob = source.blob
    assert blob is not None
    store = None
    if cache and settings.cache_wanted():
        from layerview.layer.cache import IndexCache

        store = IndexCache(settings.cache_dir())
        if not verify:
            known = store.find(blob)
            if known is not None and _claims_agree(source, known.diff_id, known.digest):
                return LoadedLayer(source, known.index)
    read = read_layer(blob, progress=progress, what=what)
    if verify and blob.compression == "none":
        read.digest = read.diff_id = hash_blob(blob, progress=progress, what=f"verifying {what}")
    if store is not None:
        store.keep(blob, read)
    loaded = LoadedLayer(source, read.index)
    loaded.damage = f"{what}: {read.damage}" if read.damage is not None else None
    return check_claims(loaded, read.diff_id, read.digest)


def _claims_agree(source: LayerSource, diff_id: str | None, digest: str | None) -> bool:
    """Whether what was once hashed is what this image claims; if not, the bytes decide again."""
    return (diff_id is None or source.diff_id is None or str(source.diff_id) == diff_id) and (
        digest is None or source.digest is None or str(source.digest) == digest
    )


def check_claims(loaded: LoadedLayer, diff_id: str | None, digest: str | None) -> LoadedLayer:
    """Compare what was hashed ("sha256:…") with what the image claims."""
    source = loaded.source
    claims = [
        ("DiffID", source.diff_id, diff_id),
        ("digest", source.digest, digest),
    ]
    for word, claimed, found in claims:
        if claimed is None or found is None or claimed.algorithm != "sha256":
            continue
        if str(claimed) == found:
            if loaded.verified is None:
                loaded.verified = True
        else:
            loaded.verified = False
            wrong = (
                f"layer {source.number}: its {word} is {found[7:19]},"
                f" not {claimed.short} as claimed"
            )
            loaded.damage = f"{loaded.damage}; {wrong}" if loaded.damage else wrong
    return loaded


class ImageContents:
    """The bytes of files in an image's layers; see view.contents.Contents."""

    def __init__(self, loaded: Iterable[LoadedLayer]) -> None:
        self._loaded = {layer.source.number: layer for layer in loaded}
        self._layers: dict[int, LayerContents] = {}

    def layer(self, number: int) -> LayerContents:
        """Return one layer's contents.

        Raises:
            LayerviewError: when the layer is not here.
        """
        contents = self._layers.get(number)
        if contents is None:
            loaded = self._loaded[number]
            source, index = loaded.source, loaded.index
            if index is None:
                raise LayerviewError(f"layer {number} is not here")
            if source.folder is not None:
                from layerview.layer.folder import FolderContents

                contents = FolderContents(source.folder, index)
            else:
                from layerview.layer.contents import TarContents

                assert source.blob is not None
                contents = TarContents(source.blob, index)
            self._layers[number] = contents
        return contents

    def pieces(
        self, layer: int, row: int, offset: int = 0, limit: int | None = None
    ) -> Iterator[bytes]:
        """See view.contents.Contents."""
        return self.layer(layer).pieces(row, offset, limit)

    def read(self, layer: int, row: int, offset: int = 0, limit: int | None = None) -> bytes:
        """Read a file's bytes at once; `limit` bounds them."""
        return b"".join(self.pieces(layer, row, offset, limit))

    def digests(
        self, layer: int, rows: Iterable[int], progress: Progress = QUIET
    ) -> dict[int, bytes]:
        """See view.contents.Contents."""
        return self.layer(layer).digests(rows, progress)

    def each(
        self, layer: int, rows: Iterable[int], progress: Progress = QUIET
    ) -> Iterator[tuple[int, Iterator[tuple[int, bytes]]]]:
        """See view.contents.Contents."""
        return self.layer(layer).each(rows, progress)

    def stored(self, layer: int, rows: Iterable[int]) -> int:
        """See view.contents.Contents."""
        return self.layer(layer).stored(rows)
