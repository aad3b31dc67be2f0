"""Times are ages, seconds since 1970, or dates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from layerview.cli.moments import moment
from layerview.errors import UsageError


@pytest.mark.parametrize(
    ("text", "age"),
    [("24h", 86400), ("1h30m", 5400), ("90s", 90), ("1.5h", 5400), ("2d", 172800), ("500ms", 0.5)],
)
def test_ages(text: str, age: float) -> None:
    said = moment(text, "--since")
    found = datetime.now(UTC) - said
    assert timedelta(seconds=age) <= found < timedelta(seconds=age + 5)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1700000000", 1.7e9),
        ("1700000000.25", 1700000000.25),
        ("2026-01-02", 1767312000.0),
        ("2026-01-02T03:04:05", 1767323045.0),
        ("2026-01-02T03:04:05Z", 1767323045.0),
        ("2026-01-02T03:04:05.123456789Z", 1767323045.123456),
        ("2026-01-02T03:04:05+02:00", 1767315845.0),
    ],
)
def test_points_in_time(text: str, seconds: float) -> None:
    assert moment(text, "--since").timestamp() == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize("text", ["", "soon", "h", "1x", "-1h", "99999999999999", "2026-13-01"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="no time and no age"):
        moment(text, "--since")
