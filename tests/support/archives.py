"""Writers of images in every form that layerview reads, from layer tars made by hand.

An image is described once and written in any form:

    demo = image(base, top, tags=["demo:latest"], compression="gzip")
    docker_archive(tmp_path / "demo.tar", demo)                    # docker save up to 24
    docker25_archive(tmp_path / "demo25.tar", demo)                # docker save from 25 on
    oci_layout(tmp_path / "demo", demo, attestation=True)
    oci_archive(tmp_path / "multi.tar", index(demo, demo_arm, tags=["latest"]))

Digests are right unless a layer is told to lie. Each writer has a `..._members` twin that returns
the members by name, to leave out, break or add some before `write_tar` or `write_folder`. The
same description gives the same bytes.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support import tars

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CREATED = "2024-01-01T00:00:00Z"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
REF_NAME = "org.opencontainers.image.ref.name"
_OCI_SUFFIX = {"none": "", "gzip": "+gzip", "zstd": "+zstd", "bzip2": "+bzip2", "xz": "+xz"}


def compress(data: bytes, how: str) -> bytes:
    """Compress deterministically: none, gzip, zstd, bzip2 or xz."""
    if how == "none":
        return data
    if how == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if how == "zstd":
        return zstd.compress(data)
    if how == "bzip2":
        return bz2.compress(data)
    if how == "xz":
        return lzma.compress(data)
    raise ValueError(f"no such compression: {how}")


def sha256(data: bytes) -> str:
    """Return the digest of data, `sha256:` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def dump(document: Any) -> bytes:
    """Write JSON as the engines do, without spaces."""
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer tar, how it is stored, and what is said about it that is not so."""

    tar: bytes
    compression: str = "none"
    present: bool = True
    """False: the blob is left out; sizes and digests still stand in the manifest."""
    diff_id: str = ""
    """The DiffID that the config claims, when it lies."""
    digest: str = ""
    """The digest that the manifest claims and the blob is filed under, when it lies."""
    size: int = -1
    """The size that the descriptor claims, when it lies."""
    media_type: str = ""
    urls: tuple[str, ...] = ()
    stored: bytes | None = None
    """The blob's bytes, when they are not the compressed tar (cut off, spoilt)."""

    @property
    def blob(self) -> bytes:
        """The bytes as stored."""
        return compress(self.tar, self.compression) if self.stored is None else self.stored

    @property
    def said_diff_id(self) -> str:
        """The DiffID as the config says it."""
        return self.diff_id or sha256(self.tar)

    @property
    def said_digest(self) -> str:
        """The blob's digest as the manifest says it."""
        return self.digest or sha256(self.blob)

    def descriptor(self) -> dict[str, Any]:
        """The layer as a manifest lists it."""
        found: dict[str, Any] = {
            "mediaType": self.media_type or OCI_LAYER + _OCI_SUFFIX[self.compression],
            "digest": self.said_digest,
            "size": len(self.blob) if self.size < 0 else self.size,
        }
        if self.urls:
            found["urls"] = list(self.urls)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image: layers base first, tags, and what its config says beside them."""

    layers: tuple[Layer, ...]
    tags: tuple[str, ...] | None = ()
    """References as they are written into the file; None is JSON null where a form has RepoTags."""
    history: tuple[Mapping[str, Any], ...] | None = ()
    """Taken as it is, whatever its length; None: the config has no history at all."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the config's `config`."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further top-level fields of the config document, which win over the usual ones."""
    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""
    raw_config: bytes | None = None
    """The config document's bytes, when they are not the usual ones."""

    @property
    def config_bytes(self) -> bytes:
        """The config document."""
        if self.raw_config is not None:
            return self.raw_config
        document: dict[str, Any] = {"architecture": self.architecture, "os": self.os}
        if self.variant:
            document["variant"] = self.variant
        document |= {
            "created": CREATED,
            "config": dict(self.config),
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
        }
        if self.history is not None:
            document["history"] = [dict(entry) for entry in self.history]
        return dump({**document, **self.extra})

    @property
    def image_id(self) -> str:
        """The digest of the config document."""
        return sha256(self.config_bytes)

    @property
    def diff_ids(self) -> list[str]:
        """The DiffIDs as the config says them."""
        return [layer.said_diff_id for layer in self.layers]

    @property
    def chain_ids(self) -> list[str]:
        """The ChainIDs (image-spec, config.md, "Layer ChainID")."""
        chain: list[str] = []
        for diff_id in self.diff_ids:
            chain.append(sha256(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
        return chain

    @property
    def platform(self) -> dict[str, str]:
        """The platform as a descriptor writes it."""
        found = {"architecture": self.architecture, "os": self.os}
        return found | ({"variant": self.variant} if self.variant else {})

    def manifest_bytes(self, docker: bool = False) -> bytes:
        """The manifest, OCI's or (docker) schema 2."""
        layers = [layer.descriptor() for layer in self.layers]
        if docker:
            for layer, descriptor in zip(self.layers, layers, strict=True):
                suffix = {"none": "", "gzip": ".gzip"}.get(layer.compression, ".gzip")
                descriptor["mediaType"] = layer.media_type or DOCKER_LAYER + suffix
        return dump(
            {
                "schemaVersion": 2,
                "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
                "config": {
                    "mediaType": DOCKER_CONFIG if docker else OCI_CONFIG,
                    "digest": self.image_id,
                    "size": len(self.config_bytes),
                },
                "layers": layers,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Several platforms under one name: an index within the layout's index."""

    images: tuple[Image, ...]
    tags: tuple[str, ...] = ()
    attestation: bool = False
    """Each image gets an attestation manifest beside it, as BuildKit writes them."""


Named = Image | Index


def as_layer(part: bytes | Layer, compression: str) -> Layer:
    """Take layer tar bytes as a Layer; a Layer stays as it is."""
    return part if isinstance(part, Layer) else Layer(tar=part, compression=compression)


def image(
    *layers: bytes | Layer,
    tags: Iterable[str] | None = ("demo:latest",),
    compression: str = "none",
    history: Sequence[Mapping[str, Any] | str] | None = (),
    **fields: Any,
) -> Image:
    """Describe an image.

    Args:
        layers: layer tars, base first; a Layer where one needs more than the compression.
        history: entries, or created_by texts; empty: `RUN step N` for each layer; None: none.
        fields: the other fields of Image.
    """
    found = tuple(as_layer(part, compression) for part in layers)
    entries: tuple[Mapping[str, Any], ...] | None = None
    if history is not None:
        texts = history or [f"RUN step {number}" for number in range(len(found))]
        entries = tuple(made_by(text) if isinstance(text, str) else text for text in texts)
    named = None if tags is None else tuple(tags)
    return Image(layers=found, tags=named, history=entries, **fields)


def made_by(command: str, *, empty: bool = False, **fields: Any) -> dict[str, Any]:
    """One history entry."""
    found = {"created": CREATED, "created_by": command, **fields}
    return {**found, "empty_layer": True} if empty else found


def index(*images: Image, tags: Iterable[str] = ("latest",), attestation: bool = False) -> Index:
    """Describe an index over images of several platforms."""
    return Index(images=images, tags=tuple(tags), attestation=attestation)


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link as a member of an archive."""

    target: str


Members = dict[str, bytes | Link]
"""Members of an archive by name, in the order of writing; a name with a final slash is a folder."""


# ---- docker save up to 24: a folder for each layer -------------------------------------------


def docker_members(*images: Image, symlink_repeats: bool = False, style: str = "docker") -> Members:
    """The members of a docker-archive in the form of Docker 1.10.

    Args:
        symlink_repeats: a layer that was written before becomes a link to it.
        style: docker, or skopeo (layers as DIFFID.tar, the v1 folders linking to them).
    """
    members: Members = {}
    manifest: list[dict[str, Any]] = []
    repositories: dict[str, dict[str, str]] = {}
    written: dict[str, str] = {}
    for spec in images:
        names: list[str] = []
        parent = ""
        for layer, chain_id in zip(spec.layers, spec.chain_ids, strict=True):
            v1 = _v1_document(layer, spec, chain_id, parent, last=layer is spec.layers[-1])
            identity = hashlib.sha256(v1).hexdigest()
            repeat = members.get(f"{identity}/layer.tar")
            home = f"{identity}/layer.tar"
            if style == "skopeo":
                home = layer.said_diff_id.partition(":")[2] + ".tar"
            if repeat is None and layer.present:
                members[f"{identity}/"] = b""
                members[f"{identity}/VERSION"] = b"1.0"
                members[f"{identity}/json"] = v1
                first = written.get(layer.said_diff_id)
                if style == "skopeo":
                    members.setdefault(home, layer.blob)
                    members[f"{identity}/layer.tar"] = Link(f"../{home}")
                elif symlink_repeats and first:
                    members[home] = Link(f"../{first}")
                else:
                    members[home] = layer.blob
                written.setdefault(layer.said_diff_id, home)
            names.append(home)
            parent = identity
        config_name = spec.image_id.partition(":")[2] + ".json"
        members[config_name] = spec.config_bytes
        tags = None if spec.tags is None else list(spec.tags)
        manifest.append({"Config": config_name, "RepoTags": tags, "Layers": names})
        for tag in spec.tags or ():
            name, _, version = tag.rpartition(":")
            repositories.setdefault(name, {})[version] = parent
    members = dict(sorted(members.items()))
    members["manifest.json"] = dump(manifest)
    if repositories:
        members["repositories"] = dump(repositories)
    return members


def _v1_document(layer: Layer, spec: Image, chain_id: str, parent: str, last: bool) -> bytes:
    document: dict[str, Any] = {"created": CREATED, "os": spec.os, "layer_id": chain_id}
    if last:
        document["config"] = dict(spec.config)
        document["architecture"] = spec.architecture
        document["image"] = spec.image_id
    if parent:
        document["parent"] = parent
    return dump(document)


def docker_archive(path: Path, *images: Image, outer: str = "none", **options: Any) -> Path:
    """Write a docker-archive of the 1.10 form; `outer` compresses the whole file."""
    return write_tar(path, docker_members(*images, **options), outer=outer)


# ---- OCI: blobs by digest ----------------------------------------------------------------------


def _put(members: Members, digest: str, data: bytes) -> None:
    algorithm, _, hexadecimal = digest.partition(":")
    members[f"blobs/{algorithm}/{hexadecimal}"] = data


def _put_image(members: Members, spec: Image, docker: bool = False) -> dict[str, Any]:
    for layer in spec.layers:
        if layer.present:
            _put(members, layer.said_digest, layer.blob)
    _put(members, spec.image_id, spec.config_bytes)
    manifest = spec.manifest_bytes(docker)
    _put(members, sha256(manifest), manifest)
    return {
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "digest": sha256(manifest),
        "size": len(manifest),
        "platform": spec.platform,
    }


def _put_attestation(members: Members, subject: Mapping[str, Any]) -> dict[str, Any]:
    """BuildKit's attestation manifest: platform unknown/unknown, in-toto statements as layers."""
    statement = dump({"_type": "https://in-toto.io/Statement/v0.1", "subject": []})
    config = dump(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [sha256(statement)]},
        }
    )
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": sha256(config), "size": len(config)},
            "layers": [
                {
                    "mediaType": IN_TOTO,
                    "digest": sha256(statement),
                    "size": len(statement),
                    "annotations": {
                        "in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"
                    },
                }
            ],
        }
    )
    for data in (statement, config, manifest):
        _put(members, sha256(data), data)
    return {
        "mediaType": OCI_MANIFEST,
        "digest": sha256(manifest),
        "size": len(manifest),
        "annotations": {
            "vnd.docker.reference.digest": subject["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        },
        "platform": {"architecture": "unknown", "os": "unknown"},
    }


def _named(descriptor: Mapping[str, Any], tags: Iterable[str] | None) -> list[dict[str, Any]]:
    names = list(tags or ())
    if not names:
        return [dict(descriptor)]
    return [{**descriptor, "annotations": {REF_NAME: tag}} for tag in names]


def oci_members(
    *images: Named,
    attestation: bool = False,
    docker_types: bool = False,
    nested: int = 0,
) -> Members:
    """The members of an OCI layout.

    Args:
        images: images, and indexes over platforms; each stands in index.json under its tags.
        attestation: every plain image gets an attestation manifest beside it in index.json.
        docker_types: manifests and configs of Docker's schema 2 in place of OCI's.
        nested: how many indexes lie between index.json and what it names.
    """
    members: Members = {}
    top: list[dict[str, Any]] = []
    index_type = DOCKER_INDEX if docker_types else OCI_INDEX
    for spec in images:
        if isinstance(spec, Index):
            inner: list[dict[str, Any]] = []
            notes: list[dict[str, Any]] = []
            for one in spec.images:
                inner.append(_put_image(members, one, docker_types))
                if spec.attestation:
                    notes.append(_put_attestation(members, inner[-1]))
            entries = [_put_index(members, inner + notes, index_type)]
        else:
            entries = [_put_image(members, spec, docker_types)]
            if attestation:
                entries.append(_put_attestation(members, entries[0]))
        for _ in range(nested):
            entries = [_put_index(members, entries, index_type)]
        top += [*_named(entries[0], spec.tags), *entries[1:]]
    found: Members = {"blobs/": b"", "blobs/sha256/": b"", **dict(sorted(members.items()))}
    found["index.json"] = dump({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": top})
    found["oci-layout"] = dump({"imageLayoutVersion": "1.0.0"})
    return found


def _put_index(
    members: Members, entries: Sequence[Mapping[str, Any]], media_type: str
) -> dict[str, Any]:
    document = dump({"schemaVersion": 2, "mediaType": media_type, "manifests": list(entries)})
    _put(members, sha256(document), document)
    return {"mediaType": media_type, "digest": sha256(document), "size": len(document)}


def oci_layout(path: Path, *images: Named, **options: Any) -> Path:
    """Write an OCI layout directory."""
    return write_folder(path, oci_members(*images, **options))


def oci_archive(path: Path, *images: Named, outer: str = "none", **options: Any) -> Path:
    """Write an OCI archive: the layout in a tar."""
    return write_tar(path, oci_members(*images, **options), outer=outer)


# ---- docker save from 25 on: an OCI layout with manifest.json beside it ------------------------


def docker25_members(*images: Image, attestation: bool = False) -> Members:
    """The members of what `docker save` writes from version 25 on."""
    members = oci_members(*(replace(spec, tags=()) for spec in images), attestation=attestation)
    layout = json.loads(_bytes(members["index.json"]))
    entries = [item for item in layout["manifests"] if "annotations" not in item]
    notes = [item for item in layout["manifests"] if "annotations" in item]
    top: list[dict[str, Any]] = []
    manifest: list[dict[str, Any]] = []
    repositories: dict[str, dict[str, str]] = {}
    for spec, entry in zip(images, entries, strict=True):
        for tag in spec.tags or ():
            name, _, version = tag.rpartition(":")
            full = name if "/" in name else f"library/{name}"
            notes_of = {"io.containerd.image.name": f"docker.io/{full}:{version}"}
            top.append({**entry, "annotations": {**notes_of, REF_NAME: version}})
            last = spec.layers[-1].said_digest.partition(":")[2] if spec.layers else ""
            repositories.setdefault(name, {})[version] = last
        if not spec.tags:
            top.append(entry)
        manifest.append(
            {
                "Config": _blob_name(spec.image_id),
                "RepoTags": None if spec.tags is None else list(spec.tags),
                "Layers": [_blob_name(layer.said_digest) for layer in spec.layers],
                "LayerSources": {layer.said_diff_id: layer.descriptor() for layer in spec.layers},
            }
        )
    del members["index.json"], members["oci-layout"]
    members["index.json"] = dump({**layout, "manifests": top + notes})
    members["manifest.json"] = dump(manifest)
    members["oci-layout"] = dump({"imageLayoutVersion": "1.0.0"})
    if repositories:
        members["repositories"] = dump(repositories)
    return members


def _blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def docker25_archive(path: Path, *images: Image, outer: str = "none", **options: Any) -> Path:
    """Write what `docker save` writes from version 25 on; `outer` compresses the whole file."""
    return write_tar(path, docker25_members(*images, **options), outer=outer)


# ---- members into files ------------------------------------------------------------------------


def _bytes(member: bytes | Link) -> bytes:
    if isinstance(member, Link):
        raise TypeError(f"a link to {member.target}, not bytes")
    return member


def tar_bytes(members: Members, form: str = "pax") -> bytes:
    """Write members as one tar."""
    parts: list[tars.Part] = []
    for name, member in members.items():
        if isinstance(member, Link):
            parts.append(tars.symlink(name, member.target))
        elif name.endswith("/"):
            parts.append(tars.folder(name))
        else:
            parts.append(tars.file(name, member))
    return tars.layer(*parts, form=form)


def write_tar(path: Path, members: Members, *, outer: str = "none", form: str = "pax") -> Path:
    """Write members as a tar file, compressed as a whole when told to."""
    path.write_bytes(compress(tar_bytes(members, form), outer))
    return path


def write_folder(path: Path, members: Members) -> Path:
    """Write members as a folder."""
    path.mkdir(parents=True, exist_ok=True)
    for name, member in members.items():
        place = path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(member, Link):
            os.symlink(member.target, place)
        elif name.endswith("/"):
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(member)
    return path
