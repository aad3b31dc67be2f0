"""What made a layer, as the Dockerfile said it, out of a history entry's `created_by`."""

from __future__ import annotations

import re
from functools import cache

from layerview.oci.config import History
from layerview.text import printable


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    return (
        re.compile(r"^/bin/sh -c #\(nop\)\s+"),
        # Build arguments stand in front of the shell as |COUNT NAME=VALUE….
        re.compile(r"^(?:RUN\s+)?(?:\|\d+\s+.*?\s)?(?:/bin/(?:ba|a|da)?sh)\s+-c\s+", re.DOTALL),
        re.compile(r"\s*# buildkit\s*$"),
    )


def instruction(history: History | None) -> str:
    """Return a history entry without the shell's prefix, in one line that is safe to print."""
    if history is None:
        return "(no history)"
    text = (history.created_by or "").strip()
    if not text:
        return printable(history.comment.strip()) if history.comment else "(not recorded)"
    nop, shell, buildkit = _patterns()
    text = buildkit.sub("", text)
    if nop.match(text):
        text = nop.sub("", text)
    elif shell.match(text):
        text = "RUN " + shell.sub("", text)
    return printable(" ".join(text.split()))
