"""The formats of images: digests, references, manifests, configs and their history. No I/O."""

from layerview.oci import media_types
from layerview.oci._fields import MAX_DOCUMENT_BYTES, Fields, load_json
from layerview.oci.config import History, HistoryRow, ImageConfig, pair_history
from layerview.oci.descriptor import (
    ANNOTATION_IMAGE_NAME,
    ANNOTATION_REFERENCE,
    Descriptor,
)
from layerview.oci.digest import Digest, chain_ids
from layerview.oci.instruction import instruction
from layerview.oci.manifest import Index, Manifest, parse_manifest
from layerview.oci.platform import Platform
from layerview.oci.reference import Reference

__all__ = [
    "ANNOTATION_IMAGE_NAME",
    "ANNOTATION_REFERENCE",
    "MAX_DOCUMENT_BYTES",
    "Descriptor",
    "Digest",
    "Fields",
    "History",
    "HistoryRow",
    "ImageConfig",
    "Index",
    "Manifest",
    "Platform",
    "Reference",
    "chain_ids",
    "instruction",
    "load_json",
    "media_types",
    "pair_history",
    "parse_manifest",
]
