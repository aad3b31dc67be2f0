"""What keeps the screens still: no animations, no blinking, folders of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from textual.app import App


@pytest.fixture(autouse=True)
def still_screens(tmp_path, monkeypatch):
    """Run in an empty folder, with no state of other runs, and nothing that moves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LAYERVIEW_NO_CACHE", "1")
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "area"))
    # This machine's engines are not what a picture is of.
    monkeypatch.setattr("layerview.sources.docker_context.candidates", list)
    monkeypatch.setattr("layerview.tui.places.usual_roots", list)
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/none.sock")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(App, "animation_level", "none", raising=False)
    monkeypatch.setattr("textual.constants.TEXTUAL_ANIMATIONS", "none", raising=False)


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Show times as they are in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
