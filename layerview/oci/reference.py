"""References: the names of images, normalised as Docker does (distribution/reference)."""

from __future__ import annotations

from layerview.errors import FormatError
from layerview.oci.digest import Digest
from layerview.records import Record
from layerview.text import LOWER_CASE, consists_of, is_hex, printable

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"

_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_LOCALHOST = "localhost"
_LONGEST_PATH = 255
_LONGEST_TAG = 128

_DIGITS = "0123456789"
_WORD = f"{LOWER_CASE}{_DIGITS}"
_ANY_CASE = f"{_WORD}{LOWER_CASE.upper()}"
_SLASHES = str.maketrans(dict.fromkeys(_WORD, "/"))


class Reference(Record):
    """The full name of an image: `domain/path:tag@digest`, tag or digest or both.

    `domain` is empty in one case, which is Docker's too: a first part with a dot that cannot be
    a host (`under_score.io/name`) is a part of the path.
    """

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse a name as people type it: `ubuntu` is `docker.io/library/ubuntu:latest`.

        Raises:
            FormatError: Docker would refuse the name.
        """
        if is_hex(text, 64):
            raise _refused(text, "64 hexadecimal digits are an ID, not a name")
        domain, remainder = _split_domain(text)
        name = remainder.partition(":")[0]
        if name.lower() != name:
            raise _refused(text, "the repository name must be lowercase")
        remainder, at, digest_text = remainder.partition("@")
        above, slash, last = remainder.rpartition("/")
        last, colon, tag = last.partition(":")
        path = above + slash + last
        if not _is_host(domain):
            domain, path = "", f"{domain}/{path}"
        if not all(map(_is_part, path.split("/"))) or (colon and not _is_tag(tag)):
            raise _refused(text, "it is not of the form [host/]name[:tag][@digest]")
        if len(path) > _LONGEST_PATH:
            raise _refused(text, f"the name is longer than {_LONGEST_PATH} characters")
        digest = _digest(text, digest_text) if at else None
        return cls(domain, path, tag if colon else None if digest else DEFAULT_TAG, digest)

    @property
    def name(self) -> str:
        """The repository: domain and path."""
        return f"{self.domain}/{self.path}" if self.domain else self.path

    @property
    def familiar_name(self) -> str:
        """The repository as Docker prints it: `ubuntu`, `someone/tool`, `host:5000/tool`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        official = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in official else official

    @property
    def familiar(self) -> str:
        """The reference as Docker prints it: `ubuntu:latest`."""
        return self.familiar_name + self._suffix

    @property
    def _suffix(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return tag if self.digest is None else f"{tag}@{self.digest}"

    def __str__(self) -> str:
        return self.name + self._suffix


# By hand, for a pattern of all this takes as long to compile as a container's tree to be mounted.


def _is_host(text: str) -> bool:
    """Whether a text is a host, whose port may follow: names of labels, or an IPv6 address."""
    if text.startswith("["):
        address, bracket, port = text[1:].partition("]")
        fits = bool(address and bracket) and consists_of(address, "0123456789abcdefABCDEF:")
    else:
        name, colon, port = text.partition(":")
        port = colon + port
        fits = all(
            label and label[0] != "-" != label[-1] and consists_of(label, f"{_ANY_CASE}-")
            for label in name.split(".")
        )
    number = port.removeprefix(":")
    return fits and (not port or (number != port and bool(number) and consists_of(number, _DIGITS)))


def _is_part(text: str) -> bool:
    """Whether a text is a part of a path: words, with `.`, `_`, `__` or many `-` in between."""
    if not text or text[0] not in _WORD or text[-1] not in _WORD:
        return False
    between = text.translate(_SLASHES).split("/")
    return all(marks in (".", "_", "__") or not marks.strip("-") for marks in between)


def _is_tag(text: str) -> bool:
    return (
        0 < len(text) <= _LONGEST_TAG
        and text[0] not in ".-"
        and consists_of(text, f"{_ANY_CASE}_.-")
    )


def _digest(text: str, words: str) -> Digest:
    """Read the digest in a reference, of an algorithm that is known."""
    try:
        digest = Digest.parse(words)
    except FormatError as error:
        raise _refused(text, str(error)) from None
    if not digest.verifiable:
        raise _refused(text, f"digests of algorithm {digest.algorithm} are not known")
    return digest


def _split_domain(text: str) -> tuple[str, str]:
    """Split off the host: a first part with a dot, a colon or a capital, or `localhost`."""
    first, slash, rest = text.partition("/")
    if not slash:
        return DEFAULT_DOMAIN, _OFFICIAL + text
    if first == _LEGACY_DOMAIN:
        first = DEFAULT_DOMAIN
    elif first != _LOCALHOST and not set(first) & set(".:") and first.lower() == first:
        return DEFAULT_DOMAIN, text
    if first == DEFAULT_DOMAIN and "/" not in rest:
        rest = _OFFICIAL + rest
    return first, rest


def _refused(text: str, why: str) -> FormatError:
    return FormatError(f'"{printable(text[:120])}" is not an image reference: {why}')
