"""Digests: the names of content, and the ChainIDs made of them (OCI image-spec, descriptor.md)."""

from __future__ import annotations

from collections.abc import Iterable

from layerview.errors import FormatError
from layerview.oci.sha256 import sha256
from layerview.records import Record
from layerview.text import HEX_DIGITS, consists_of, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import _Hash

_ALGORITHM = r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*"
_LEAST = 32
_HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
# A blob's file is named by its digest, and no file name is longer.
_LONGEST = 255


class _Parts(Record):
    algorithm: str
    hex: str


class Digest(_Parts):
    """The digest of some bytes, safe to use as a file name (image-spec, descriptor.md, "Digests").

    Narrower than the specification: the encoded part is lower-case hexadecimal, as every
    registered algorithm has it.

    Raises:
        FormatError: the two parts make no digest.
    """

    __slots__ = ()

    def __new__(cls, algorithm: str, hex: str) -> Digest:  # noqa: A002
        """Check the parts."""
        expected = _HEX_LENGTHS.get(algorithm)
        if (
            (expected is None and not _is_algorithm(algorithm))
            or len(hex) < _LEAST
            or not consists_of(hex, HEX_DIGITS)
            or (expected is not None and len(hex) != expected)
            or len(algorithm) + 1 + len(hex) > _LONGEST
        ):
            shown = printable(f"{algorithm[:64]}:{hex}"[:96])
            raise FormatError(f'"{shown}" is not a digest')
        return super().__new__(cls, algorithm, hex)

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Parse "sha256:<64 hexadecimal digits>" and its like.

        Raises:
            FormatError: the text is not a digest.
        """
        algorithm, colon, encoded = text.partition(":")
        if not colon:
            raise FormatError(f'"{printable(text[:96])}" is not a digest')
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Return the sha256 digest of some bytes."""
        return cls("sha256", sha256(data).hexdigest())

    @property
    def short(self) -> str:
        """The first 12 hexadecimal digits, as engines print IDs."""
        return self.hex[:12]

    @property
    def verifiable(self) -> bool:
        """Whether layerview can compute digests of this algorithm."""
        return self.algorithm in _HEX_LENGTHS

    def hasher(self) -> _Hash:
        """Return a fresh hash object of this digest's algorithm.

        Raises:
            FormatError: the algorithm is none of the registered ones.
        """
        if not self.verifiable:
            raise FormatError(f"digests of algorithm {self.algorithm} cannot be checked")
        import hashlib

        return hashlib.new(self.algorithm)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def _is_algorithm(text: str) -> bool:
    import re

    return re.fullmatch(_ALGORITHM, text) is not None


def chain_ids(diff_ids: Iterable[Digest]) -> list[Digest]:
    """Return the ChainID of each layer, base first (image-spec, config.md, "Layer ChainID").

    The base layer's ChainID is its DiffID; every other is the sha256 of the ChainID below, one
    space and its own DiffID.
    """
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain
