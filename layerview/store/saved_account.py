"""An account as JSON has it: written, read back, and what changed between two of them."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace

from layerview.errors import FormatError, LimitError, NotFoundError
from layerview.oci.fields import Fields, load_json
from layerview.store.account import KINDS, Account, Part
from layerview.text import decode, encode, printable
from layerview.times import utc

_LONGEST = 64 << 20
"""Bytes of a saved account; one of ten thousand layers has four million."""
_MAX_BYTES = (1 << 63) - 1
"""What a file system can hold."""
_MAX_TEXT = 1 << 16
"""Characters of a path, a name, a note."""

WORDS = ("grew", "shrank", "came", "went", "became")
"""What a part can have done since."""


def account_fields(account: Account, time: str) -> dict[str, object]:
    """Return an account's fields, as `usage --json` prints them.

    Args:
        account: which.
        time: when it was made, RFC 3339.
    """
    return {
        **path_fields(account.root, "root"),
        "driver": account.driver or None,
        "time": time,
        "engine": account.engine or None,
        "total_bytes": account.total_bytes,
        "problems": list(account.problems),
        "parts": [part_fields(part) for part in account.parts],
    }


def part_fields(part: Part) -> dict[str, object]:
    """Return a part's fields, as `usage --json` prints them."""
    return {
        "kind": part.kind,
        "name": part.name,
        **path_fields(part.path),
        "bytes": part.bytes,
        "owners": list(part.owners),
        "id": part.id or None,
        "driver": part.driver or None,
        "note": part.note or None,
        "entries": part.entries,
        "complete": part.complete,
    }


def path_fields(path: str, key: str = "path") -> dict[str, object]:
    """Return the fields of a path: the bytes stand beside it when it is not UTF-8."""
    fields: dict[str, object] = {key: path}
    try:
        path.encode()
    except UnicodeEncodeError:
        fields[f"{key}_bytes"] = b64encode(encode(path)).decode("ascii")
    return fields


@dataclass(frozen=True, slots=True)
class SavedAccount:
    """An account that was printed earlier."""

    account: Account
    time: str
    """When it was made, RFC 3339; "" when it does not say."""


def read_saved(path: str) -> SavedAccount:
    """Read what `usage --json` printed.

    Raises:
        NotFoundError: when the file can't be read.
        LimitError: when it is longer than any account.
        FormatError: when it is none.
    """
    shown = printable(path)
    try:
        with open(path, "rb") as file:
            data = file.read(_LONGEST + 1)
    except OSError as error:
        raise NotFoundError(f"{shown}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise NotFoundError(f"{shown}: no file has such a name") from None
    if len(data) > _LONGEST:
        raise LimitError(f"{shown} is longer than {_LONGEST:,} bytes: it is no saved account")
    return from_json(data, shown)


def from_json(data: bytes, document: str) -> SavedAccount:
    """Understand what `usage --json` printed.

    Raises:
        FormatError: when it is no account; the message begins with `document`.
    """
    fields = Fields(load_json(data, document, most=_LONGEST), document)
    if "parts" not in fields or "root" not in fields:
        raise FormatError(f"{document} is no account: `layerview usage --json` prints one")
    account = Account(
        _path(fields, "root"),
        fields.optional_text("driver") or "",
        tuple(map(_part, fields.objects("parts", needed=True))),
        _texts(fields, "problems"),
        fields.optional_text("engine") or "",
    )
    time = fields.optional_text("time")
    if time is not None and utc(time) is None:
        fields.fail("time", "is no time")
    if account.total_bytes != _bytes(fields, "total_bytes"):
        fields.fail("total_bytes", "is not the sum of the parts (is it of one --kind?)")
    return SavedAccount(account, time or "")


def _part(fields: Fields) -> Part:
    kind = fields.text("kind")
    if kind not in KINDS:
        fields.fail("kind", f'is not known: "{kind[:40]}"')
    entries = _bytes(fields, "entries") if "entries" in fields else 0
    return Part(
        kind,
        _text(fields, "name"),
        _path(fields, "path"),
        _bytes(fields, "bytes"),
        _texts(fields, "owners"),
        fields.optional_text("id") or "",
        fields.optional_text("driver") or "",
        fields.optional_text("note") or "",
        entries,
        fields.get("complete") is not False,
    )


def _text(fields: Fields, key: str) -> str:
    text = fields.text(key)
    if len(text) > _MAX_TEXT:
        fields.fail(key, "is too long")
    return text


def _texts(fields: Fields, key: str) -> tuple[str, ...]:
    return tuple(text[:_MAX_TEXT] for text in fields.texts(key))


def _bytes(fields: Fields, key: str) -> int:
    value = fields.integer(key)
    if not 0 <= value <= _MAX_BYTES:
        fields.fail(key, "is no number of bytes")
    return value


def _path(fields: Fields, key: str) -> str:
    path, raw = _text(fields, key), fields.optional_text(f"{key}_bytes")
    if raw is not None:
        try:
            path = decode(b64decode(raw[:_MAX_TEXT], validate=True))
        except ValueError:
            fields.fail(f"{key}_bytes", "is not base64")
    if not path.startswith("/") or "\0" in path:
        fields.fail(key, "is no absolute path")
    return path


# What changed --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Changed:
    """A part that is not what it was."""

    word: str
    """One of WORDS."""
    part: Part
    """As it is now; as it was, where it went."""
    before: int
    after: int
    was: str = ""
    """The kind that it had, where it became another one."""

    @property
    def bytes(self) -> int:
        """How many more it takes; below 0, fewer."""
        return self.after - self.before


def changes(before: Account, now: Account) -> list[Changed]:
    """Say what changed between two accounts of one root: what grew most first, shrank most last.

    A part is known by its path, so that a layer whose image went is still the same one.

    Raises:
        FormatError: when they are of different roots.
    """
    if before.root != now.root and os.path.realpath(before.root) != os.path.realpath(now.root):
        raise FormatError(
            f"the saved account is of {printable(before.root)}, not of {printable(now.root)}"
        )
    old, new = _by_place(before.parts), _by_place(now.parts)
    for at in old.keys() & new.keys():
        if old[at].bytes == new[at].bytes:
            del old[at], new[at]
    found = []
    for at in old.keys() & new.keys():
        found.append(_changed(old.pop(at), new.pop(at)))
    gone = {path: part for (path, _), part in old.items()}
    for (path, _), part in new.items():
        if path in gone:
            found.append(_changed(gone[path], part))
            del old[path, gone.pop(path).kind]
        else:
            found.append(Changed("came", part, 0, part.bytes))
    found += [Changed("went", part, part.bytes, 0) for part in old.values()]
    return sorted(found, key=lambda item: (-item.bytes, item.part.path, item.part.kind))


def _by_place(parts: Iterable[Part]) -> dict[tuple[str, str], Part]:
    found: dict[tuple[str, str], Part] = {}
    for part in parts:
        at = part.path, part.kind
        known = found.get(at)
        found[at] = part if known is None else replace(part, bytes=part.bytes + known.bytes)
    return found


def _changed(was: Part, part: Part) -> Changed:
    if was.kind != part.kind:
        return Changed("became", part, was.bytes, part.bytes, was.kind)
    word = "grew" if part.bytes > was.bytes else "shrank"
    return Changed(word, part, was.bytes, part.bytes)
