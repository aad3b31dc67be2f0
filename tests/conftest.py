"""Snapshots live in the top-level snapshots/ folder, one SVG per case."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest_textual_snapshot as plugin

ROOT = Path(__file__).resolve().parent.parent


class TopLevelSvg(plugin.SVGImageExtension):
    """SVG snapshots at snapshots/<path of the test module>/<test name>.svg."""

    file_extension = _file_extension = "svg"  # syrupy 5+ / syrupy 4

    def serialize(self, *args: Any, **kwargs: Any) -> Any:
        """Strip the content-hash id, so a small change is a small diff."""
        return re.sub(r"\bterminal-\d+-", "terminal-", super().serialize(*args, **kwargs))

    @classmethod
    def dirname(cls, *, test_location: Any) -> str:
        module = Path(test_location.filepath).resolve().relative_to(ROOT / "tests")
        return str(ROOT / "snapshots" / module.with_suffix(""))


plugin.SVGImageExtension = TopLevelSvg  # snap_compare looks the name up when it runs
