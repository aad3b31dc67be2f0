"""Times as layerview prints them: RFC 3339, UTC, with the digits that were recorded."""

from __future__ import annotations

import time
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
    from datetime import UTC, datetime, timedelta, timezone

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


def ago(recorded: str | None, now: float) -> str:
    """Say how long ago a recorded time was, in Docker's words ("2 weeks ago").

    Args:
        recorded: RFC 3339; None or anything else is "N/A".
        now: seconds since 1970.
    """
    moment = seconds_of(recorded)
    return "N/A" if moment is None else f"{_duration(int(now - moment))} ago"


def seconds_of(recorded: str | None) -> float | None:
    """Turn a recorded RFC 3339 time into seconds since 1970; None when it is no such time."""
    text = utc(recorded)
    if text is None:
        return None
    from calendar import timegm

    try:
        whole = timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
        return whole + float("0" + text[19:-1]) if text[19:-1] else float(whole)
    except ValueError:
        return None


def _duration(seconds: int) -> str:
    """Say a duration as Docker does (docker/go-units, HumanDuration)."""
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    minutes = seconds // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = (seconds + 1800) // 3600
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{seconds // 3600 // 24 // 365} years"
