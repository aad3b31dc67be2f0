"""A layer and a step of the history as JSON and tables show them, shared by several commands."""

from __future__ import annotations

from layerview.layer.index import LayerIndex
from layerview.sources.image import Image, LayerSource
from layerview.times import utc


def layer_fields(
    source: LayerSource,
    index: LayerIndex | None,
    verified: bool | None,
    sizes: tuple[int, int] | None = None,
) -> dict[str, object]:
    """Return a layer's fields, as `layers --json` prints them.

    Args:
        source: the layer.
        index: None when it was not read, or is not here.
        verified: whether its digests hold.
        sizes: bytes and entries, where they are known without an index.
    """
    history = source.history
    if index is not None:
        sizes = (index.size, index.entry_count)
    size, entries = sizes if sizes is not None else (None, None)
    return {
        "layer": source.number,
        "diff_id": _text(source.diff_id),
        "chain_id": _text(source.chain_id),
        "digest": _text(source.digest),
        "media_type": source.media_type or None,
        "size": size,
        "compressed_size": source.compressed_size,
        "files": entries,
        "created": utc(history.created) if history is not None else None,
        "created_by": history.created_by if history is not None else None,
        "comment": history.comment if history is not None else None,
        "available": source.available,
        "verified": verified,
        "cache_id": source.cache_id,
        "directory": source.directory or source.folder,
        "repeated_bytes": index.columns.repeated_bytes if index is not None else None,
        "warnings": list(index.warnings) if index is not None else None,
    }


def title(image: Image) -> str:
    """Return a line that names an image."""
    parts = [", ".join(image.references) or image.name]
    if image.image_id is not None:
        parts.append(image.image_id.short)
    if image.platform:
        parts.append(image.platform)
    return "   ".join(parts)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
