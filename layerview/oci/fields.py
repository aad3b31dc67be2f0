"""Strict reading of JSON documents: every fault is one FormatError naming document and field."""

from __future__ import annotations

import json

from layerview.errors import FormatError
from layerview.oci.digest import Digest
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
"""The longest manifest or config that is read; real ones are some kilobytes."""

MAX_DEPTH = 100
"""The deepest nesting that is read, so that whoever walks a document later may recurse."""

_INFINITE = (float("inf"), float("-inf"))
_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}


def load_json(data: bytes, document: str, *, most: int = MAX_DOCUMENT_BYTES) -> object:
    """Parse a JSON document of at most `most` bytes and `MAX_DEPTH`.

    As in Docker, bytes that are not UTF-8 and lone surrogates become U+FFFD, and of a repeated
    key the last counts. Numbers that JSON or a float cannot hold (NaN, 1e999) are refused.

    Raises:
        FormatError: the bytes are no such document; the message begins with `document`.
    """
    if len(data) > most:
        raise _fault(document, f"is longer than {most // 1024 // 1024} MiB")
    text = data.decode("utf-8", "replace")
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise _fault(document, f"is not JSON: {error.msg} ({where})") from None
    except _UnusableNumber as error:
        raise _fault(document, f"is not JSON: {error}") from None
    except ValueError:
        # int() refuses numbers of more than sys.get_int_max_str_digits() digits.
        raise _fault(document, "has a number of too many digits") from None
    except RecursionError:
        raise _fault(document, "is nested too deeply") from None
    # Most have too few brackets to be nested so deeply.
    if text.count("{") + text.count("[") >= MAX_DEPTH and _is_deep(value):
        raise _fault(document, "is nested too deeply")
    return _without_surrogates(value) if "\\ud" in text.lower() else value


class Fields:
    """One JSON object whose fields are asked for by name and type.

    Unless said otherwise a field may be absent or null, as Go's encoders leave it. All methods
    raise FormatError when a field has another type, or is needed and not there.
    """

    __slots__ = ("_document", "_path", "_values")

    def __init__(self, value: object, document: str, path: str = "") -> None:
        if not isinstance(value, dict):
            what = f"must be an object, not {_kind(value)}"
            raise _fault(document, f"{path} {what}" if path else what)
        self._values: dict[str, object] = value
        self._document = document
        self._path = path

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str) -> object:
        """Return a field whatever its type, or None."""
        return self._values.get(key)

    def values(self) -> dict[str, object]:
        """Return the whole object as it stands."""
        return self._values

    def fail(self, key: str, what: str) -> NoReturn:
        """Raise the FormatError that says what is wrong with a field."""
        raise _fault(self._document, f"{self._name(key)} {what}")

    def fail_whole(self, what: str) -> NoReturn:
        """Raise the FormatError that says what is wrong with the object."""
        raise _fault(self._document, f"{self._path} {what}" if self._path else what)

    def text(self, key: str) -> str:
        """Return a string that must be there."""
        self._need(key)
        value = self._values[key]
        return value if isinstance(value, str) else self._mistyped(key, "a string", value)

    def optional_text(self, key: str) -> str | None:
        """Return a string, or None."""
        return None if self._values.get(key) is None else self.text(key)

    def integer(self, key: str) -> int:
        """Return a whole number of any length that must be there."""
        self._need(key)
        value = self._values[key]
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        return self._mistyped(key, "a whole number", value)

    def flag(self, key: str) -> bool:
        """Return a boolean; false when it is not there."""
        value = self._values.get(key)
        if value is None:
            return False
        return value if isinstance(value, bool) else self._mistyped(key, "a boolean", value)

    def digest(self, key: str) -> Digest:
        """Return a digest that must be there."""
        return self._as_digest(key, self.text(key))

    def inner(self, key: str) -> Fields:
        """Return an object that must be there."""
        self._need(key)
        return Fields(self._values[key], self._document, self._name(key))

    def optional_inner(self, key: str) -> Fields | None:
        """Return an object, or None."""
        return None if self._values.get(key) is None else self.inner(key)

    def mapping(self, key: str) -> dict[str, object]:
        """Return an object as it stands; empty when it is not there."""
        fields = self.optional_inner(key)
        return {} if fields is None else fields._values

    def texts(self, key: str) -> tuple[str, ...]:
        """Return an array of strings; empty when it is not there."""
        return tuple(
            value
            if isinstance(value, str)
            else self._mistyped(f"{key}[{number}]", "a string", value)
            for number, value in enumerate(self._array(key))
        )

    def digests(self, key: str) -> tuple[Digest, ...]:
        """Return an array of digests; empty when it is not there."""
        return tuple(
            self._as_digest(f"{key}[{number}]", text) for number, text in enumerate(self.texts(key))
        )

    def objects(self, key: str, *, needed: bool = False) -> list[Fields]:
        """Return an array of objects; empty when it is null, or is not there and not needed."""
        if needed:
            self._need(key)
        return [
            Fields(value, self._document, self._name(f"{key}[{number}]"))
            for number, value in enumerate(self._array(key))
        ]

    def text_map(self, key: str) -> dict[str, str]:
        """Return an object of strings; empty when it is not there, a null in it is ""."""
        strings: dict[str, str] = {}
        for name, value in self.mapping(key).items():
            if value is not None and not isinstance(value, str):
                self._mistyped(f"{key}.{name}", "a string", value)
            strings[name] = value or ""
        return strings

    def text_or_texts(self, key: str) -> tuple[str, ...]:
        """Return an array of strings that one string may stand for."""
        value = self._values.get(key)
        return (value,) if isinstance(value, str) else self.texts(key)

    def _array(self, key: str) -> list[object]:
        value = self._values.get(key)
        if value is None:
            return []
        return value if isinstance(value, list) else self._mistyped(key, "an array", value)

    def _as_digest(self, key: str, text: str) -> Digest:
        try:
            return Digest.parse(text)
        except FormatError:
            self.fail(key, f'is no digest: "{text[:96]}"')

    def _need(self, key: str) -> None:
        if key not in self._values:
            self.fail(key, "is missing")

    def _mistyped(self, key: str, expected: str, value: object) -> NoReturn:
        self.fail(key, f"must be {expected}, not {_kind(value)}")

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key


class _UnusableNumber(ValueError):
    """A number that no JSON document may hold."""


def _refuse_constant(name: str) -> NoReturn:
    raise _UnusableNumber(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if value in _INFINITE:
        raise _UnusableNumber(f"the number {text[:32]} is too large")
    return value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return False
        level = below
    return True


def _without_surrogates(value: object) -> object:
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def _kind(value: object) -> str:
    return "null" if value is None else _KINDS.get(type(value), "a number")


def _fault(document: str, what: str) -> FormatError:
    return FormatError(printable(f"{document}: {what}"[:300]))
