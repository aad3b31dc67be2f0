"""Calling a reader that may refuse its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from layerview.errors import FormatError

Input = TypeVar("Input")
Output = TypeVar("Output")


def attempt(read: Callable[[Input], Output], value: Input) -> Output | FormatError:
    """Return what a reader makes of a value, or its refusal; any other exception is raised."""
    try:
        return read(value)
    except FormatError as refusal:
        message = str(refusal)
        if not message.isprintable() or not message:
            raise AssertionError(f"not one printable line: {message!r}") from refusal
        return refusal
