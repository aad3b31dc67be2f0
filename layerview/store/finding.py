"""From the word by which a person calls an image to the image and what of it was meant."""

from __future__ import annotations

from layerview.errors import FormatError
from layerview.oci.reference import Reference
from layerview.records import Record
from layerview.store.data_root import DataRoot, ImageRecord


class Found(Record):
    """An image, and whether it was called by a name or by its ID."""

    record: ImageRecord
    reference: str | None
    """The name as Docker prints it; None: by its ID, or the first digits of that."""


def find(data: DataRoot, word: str, driver: str | None = None) -> Found:
    """Find the image that a word means, as Docker does: a name, an ID, the start of an ID.

    Raises:
        NotFoundError: when there is none.
        UsageError: when several IDs begin so.
    """
    record = data.image(word, driver)
    try:
        reference = Reference.parse(word)
    except FormatError:
        return Found(record, None)
    key = reference_key(reference)
    return Found(record, key if key in (*record.references, *record.digests) else None)


def reference_key(reference: Reference) -> str:
    """Return a reference as repositories.json has it: a digest makes the tag count no more."""
    if reference.digest is not None:
        return f"{reference.familiar_name}@{reference.digest}"
    return reference.familiar


def names_repository(word: str) -> str | None:
    """Return the repository that a word without tag and digest names; None for all others."""
    try:
        reference = Reference.parse(word)
    except FormatError:
        return None
    if reference.digest is not None or ":" in word.rpartition("/")[2]:
        return None
    return reference.familiar_name
