"""Points in time as people and Docker write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from layerview.errors import UsageError
from layerview.text import printable

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
_AGE = re.compile(r"((\d{1,9}(?:\.\d{1,9})?)(ms|us|µs|[dhms]))+")
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|us|µs|[dhms])")


def moment(text: str, what: str) -> datetime:
    """Read a time: an age (24h, 1h30m), seconds since 1970, or a date with or without a time.

    Args:
        text: what was written.
        what: the option that it was written for.

    Raises:
        UsageError: when it is no time.
    """
    try:
        if _AGE.fullmatch(text):
            parts = _PART.findall(text)
            seconds = sum(float(count) * _UNITS[unit] for count, unit in parts)
            return datetime.now(UTC) - timedelta(seconds=seconds)
        if re.fullmatch(r"\d{1,12}(?:\.\d{1,9})?", text):
            return datetime.fromtimestamp(float(text), UTC)
        # What is finer than microseconds is left out.
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except (ValueError, OverflowError):
        raise UsageError(f"{what}={printable(text)}: no time and no age such as 24h") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
