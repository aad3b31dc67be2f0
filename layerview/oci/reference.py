"""References: the names of images, normalised as Docker does (distribution/reference)."""

from __future__ import annotations

import re
from functools import cache

from layerview.errors import FormatError
from layerview.oci.digest import Digest
from layerview.records import Record
from layerview.text import printable

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"

_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_LOCALHOST = "localhost"
_LONGEST_PATH = 255


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
        if re.fullmatch(r"[a-f0-9]{64}", text):
            raise _refused(text, "64 hexadecimal digits are an ID, not a name")
        domain, remainder = _split_domain(text)
        name = remainder.partition(":")[0]
        if name.lower() != name:
            raise _refused(text, "the repository name must be lowercase")
        match = _pattern().fullmatch(f"{domain}/{remainder}")
        if match is None:
            raise _refused(text, "it is not of the form [host/]name[:tag][@digest]")
        if len(match["path"]) > _LONGEST_PATH:
            raise _refused(text, f"the name is longer than {_LONGEST_PATH} characters")
        digest = None
        if match["digest"] is not None:
            try:
                digest = Digest.parse(match["digest"])
            except FormatError as error:
                raise _refused(text, str(error)) from None
            if not digest.verifiable:
                raise _refused(text, f"digests of algorithm {digest.algorithm} are not known")
        tag = match["tag"]
        if tag is None and digest is None:
            tag = DEFAULT_TAG
        return cls(match["domain"] or "", match["path"], tag, digest)

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


@cache
def _pattern() -> re.Pattern[str]:
    label = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
    host = rf"(?:{label}(?:\.{label})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
    part = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
    algorithm = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*"
    return re.compile(
        rf"(?:(?P<domain>{host})/)?(?P<path>{part}(?:/{part})*)"
        rf"(?::(?P<tag>\w[\w.-]{{0,127}}))?"
        rf"(?:@(?P<digest>{algorithm}:[0-9a-fA-F]{{32,}}))?",
        re.ASCII,
    )


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
