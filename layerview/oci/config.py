"""Image configs, and the pairing of their history with layers (OCI image-spec, config.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from layerview.oci.digest import Digest
from layerview.oci.fields import Fields, load_json
from layerview.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.oci.platform import Platform


class History(Record):
    """One step of an image's history; `created` is the recorded text (RFC 3339)."""

    created: str | None = None
    created_by: str | None = None
    comment: str | None = None
    author: str | None = None
    empty_layer: bool = False

    @classmethod
    def from_json(cls, value: object, document: str = "history") -> History:
        """Read one entry of `history` from a parsed JSON object.

        Raises:
            FormatError: a field has a wrong type.
        """
        return cls.from_fields(Fields(value, document))

    @classmethod
    def from_fields(cls, fields: Fields) -> History:
        """Read a history entry inside a larger document."""
        return cls(
            created=fields.optional_text("created"),
            created_by=fields.optional_text("created_by"),
            comment=fields.optional_text("comment"),
            author=fields.optional_text("author"),
            empty_layer=fields.flag("empty_layer"),
        )


class ImageConfig(Record):
    """The config of one image; `config` is what its containers run with, as it stands.

    `architecture` and `os` may be empty: the specification needs them, but Docker leaves them
    out when it does not know them, and opens such images.
    """

    architecture: str = ""
    os: str = ""
    variant: str | None = None
    os_version: str | None = None
    created: str | None = None
    author: str | None = None
    config: Mapping[str, object] = MappingProxyType({})
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    raw: bytes = b""

    @classmethod
    def from_json(cls, data: bytes, document: str = "image config") -> ImageConfig:
        """Read an image config, whose bytes are kept.

        Raises:
            FormatError: the bytes are no image config: not JSON, without `rootfs`, or with a
                field of a wrong type, those of `config` that Docker knows included.
        """
        fields = Fields(load_json(data, document), document)
        rootfs = fields.inner("rootfs")
        if (rootfs.optional_text("type") or "layers") != "layers":
            rootfs.fail("type", 'must be "layers"')
        container = fields.optional_inner("config")
        if container is not None:
            _check_container_config(container)
        return cls(
            architecture=fields.optional_text("architecture") or "",
            os=fields.optional_text("os") or "",
            variant=fields.optional_text("variant") or None,
            os_version=fields.optional_text("os.version") or None,
            created=fields.optional_text("created"),
            author=fields.optional_text("author"),
            config=fields.mapping("config"),
            diff_ids=rootfs.digests("diff_ids"),
            history=tuple(map(History.from_fields, fields.objects("history"))),
            raw=data,
        )

    @property
    def image_id(self) -> Digest:
        """The sha256 of the config's bytes, as they were read."""
        return Digest.of(self.raw)

    @property
    def platform(self) -> Platform:
        """The platform that the image says it runs on."""
        from layerview.oci.platform import Platform

        return Platform(self.os, self.architecture, self.variant, self.os_version)


class HistoryRow(Record):
    """A history entry beside its layer's number; either may be missing."""

    history: History | None
    layer: int | None

    @property
    def mismatch(self) -> bool:
        """Whether the entry claims a layer that the image does not have."""
        return self.layer is None and self.history is not None and not self.history.empty_layer


def pair_history(
    history: ImageConfig | Sequence[History], layer_count: int | None = None
) -> list[HistoryRow]:
    """Pair history entries with layers, oldest first (config.md, "history").

    Entries without `empty_layer` take the layers in order; nothing else decides, a layer's size
    least of all. Entries beyond the last layer keep None as layer, and layers beyond the last
    entry follow as rows without history.

    Args:
        history: The entries, or the config that has them.
        layer_count: How many layers there are; a config's DiffIDs when left out.
    """
    if isinstance(history, ImageConfig):
        if layer_count is None:
            layer_count = len(history.diff_ids)
        history = history.history
    layers = iter(range(layer_count or 0))
    rows = [
        HistoryRow(entry, None if entry.empty_layer else next(layers, None)) for entry in history
    ]
    rows.extend(HistoryRow(None, layer) for layer in layers)
    return rows


def _check_container_config(container: Fields) -> None:
    """Refuse types that Docker refuses, so that faces may rely on them."""
    for key in ("User", "WorkingDir", "StopSignal"):
        container.optional_text(key)
    for key in ("Env", "OnBuild", "Shell"):
        container.texts(key)
    for key in ("Entrypoint", "Cmd"):
        container.text_or_texts(key)
    container.text_map("Labels")
    for key in ("ExposedPorts", "Volumes"):
        container.mapping(key)
