"""Times as layerview prints them: RFC 3339, UTC, with the digits that were recorded."""

from __future__ import annotations

import time
from datetime import UTC
from functools import lru_cache

_FIRST, _LAST = -62_135_596_800, 253_402_300_799
"""The years 0001 to 9999, which RFC 3339 can say."""


@lru_cache(maxsize=4096)
def rfc3339(seconds: int, fraction: int = 0) -> str | None:
    """Format a time; None when RFC 3339 has no word for it.

    Args:
        seconds: whole seconds since 1970, rounded down.
        fraction: recorded decimals, as nanoseconds * 16 + their number.
    """
    if not _FIRST <= seconds <= _LAST:
        return None
    whole = time.gmtime(seconds)
    text = (
        f"{whole.tm_year:04}-{whole.tm_mon:02}-{whole.tm_mday:02}"
        f"T{whole.tm_hour:02}:{whole.tm_min:02}:{whole.tm_sec:02}"
    )
    digits = fraction & 15
    if digits:
        text += f".{fraction >> 4:09}"[: digits + 1]
    return text + "Z"


def utc(recorded: str | None) -> str | None:
    """Turn a recorded RFC 3339 time into UTC, its digits kept; None when it is no such time."""
    if recorded is None:
        return None
    if recorded.endswith("Z") and len(recorded) >= 20:
        return recorded
    from datetime import datetime, timedelta, timezone

    whole, sign, offset = recorded[:19], recorded[-6:-5], recorded[-5:]
    try:
        moment = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S")
        hours, minutes = int(offset[:2]), int(offset[3:])
        if sign not in "+-" or offset[2] != ":":
            return None
        shift = timedelta(hours=hours, minutes=minutes)
        moment = moment.replace(tzinfo=timezone(shift if sign == "+" else -shift))
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") + recorded[19:-6] + "Z"
    except (ValueError, OverflowError, IndexError):
        return None
