"""The list of what to try: a line is done when the records show that it was, and only then."""

from __future__ import annotations

import pytest

from layerview.tui.try_this import MOST_PATHS, Files, Tries
from layerview.watch.events import CowEvent
from tests.tui.live_specimens import copy_up, event, target

HOSTS = "etc/hosts.allow"


def done(tries: Tries) -> set[str]:
    """Return the keys of the lines that are done."""
    return {line.key for line in tries.lines if line.done}


def after(*events: CowEvent, driver: str = "overlay2") -> set[str]:
    """Return what is done after these, once all is quiet."""
    tries = Tries(target(driver=driver))
    for one in events:
        tries.add(one)
    tries.settle(2**62)
    return done(tries)


ALL = {
    "append": [copy_up(HOSTS, 0, 400, cause="open")],
    "mode": [copy_up("etc/apt/sources.list", 2, 1400, cause="metadata")],
    "move": [
        event("whiteout", "etc/nsswitch.conf", 1, layer=0),
        event("rename", "etc/nsswitch.conf.old", 1, from_path=b"etc/nsswitch.conf"),
    ],
    "remove": [event("whiteout", "etc/shells", layer=0)],
    "opaque": [event("opaque", "usr/share/doc")],
    "volume": [event("create", "data/note", volume=True)],
    "big": [copy_up("srv/data/places.db", 0, 38_700_000, cause="open")],
}


@pytest.mark.parametrize("key", ALL)
def test_what_was_done_ticks_its_line_and_no_other(key: str) -> None:
    assert after(*ALL[key]) == {key}


def test_what_was_there_before_ticks_nothing() -> None:
    for events in ALL.values():
        assert after(*(one._replace(held=True) for one in events)) == set()


def test_the_write_that_a_copy_up_was_for_is_not_another_one() -> None:
    first = [copy_up(HOSTS, 0, 400, 1.0), event("write", HOSTS, 1.001, written=6)]
    assert after(*first) == {"append"}
    assert after(*first, event("write", HOSTS, 3.0, written=6)) == {"append", "again"}


def test_a_write_to_what_was_copied_before_watching_is_one_without_a_copy() -> None:
    before = copy_up(HOSTS, 0, 400, held=True)
    assert after(before, event("write", HOSTS, 3.0)) == {"again"}


def test_a_mode_is_changed_of_what_is_on_top_as_well() -> None:
    assert after(event("metadata", HOSTS)) == {"mode"}


def test_where_no_cause_is_told_the_file_that_was_asked_for_decides() -> None:
    assert after(copy_up("etc/apt/sources.list", 2, 1400, cause=None)) == {"mode"}
    assert after(copy_up(HOSTS, 0, 400, cause=None)) == {"append"}


def test_a_rename_is_no_deletion_whichever_of_both_is_told_first() -> None:
    hidden = event("whiteout", "etc/a", 1, layer=0)
    moved = event("rename", "etc/b", 1, from_path=b"etc/a")
    copied = copy_up("etc/b", 0, 5, 1, cause="rename", from_path=b"etc/a")
    for events in ([hidden, moved], [moved, hidden], [copied, hidden], [hidden, copied]):
        assert after(*events) == {"move"}


def test_a_deletion_counts_once_no_rename_can_follow() -> None:
    tries = Tries(target())
    gone = event("whiteout", "etc/shells", 1, layer=0)
    tries.add(gone)
    assert tries.waits
    assert not tries.settle(gone.time + 1000)
    assert done(tries) == set()
    assert tries.settle(gone.time + 10**9)
    assert done(tries) == {"remove"}
    assert not tries.waits


def test_folders_that_are_copied_are_no_appended_files() -> None:
    assert after(copy_up("etc", 0, 0), copy_up("etc/link", 0, 0)) == set()


def test_emptying_a_file_is_not_appending_to_it() -> None:
    assert after(copy_up(HOSTS, 0, 0, cause="truncate")) == set()


def test_on_vfs_each_line_is_done_without_a_copy_up() -> None:
    events = [
        event("write", HOSTS, 1),
        event("write", HOSTS, 2),
        event("metadata", "etc/apt/sources.list", 3),
        event("rename", "etc/b", 4, from_path=b"etc/a"),
        event("delete", "usr/share/doc", 5),
        event("create", "usr/share/doc", 6),
        event("write", "data/note", 7, volume=True),
        event("write", "srv/data/places.db", 8),
    ]
    tries = Tries(target(driver="vfs"))
    for one in events:
        tries.add(one)
    tries.settle(2**62)
    assert all(line.done for line in tries.lines)
    assert tries.finished == len(tries.lines) == 8


def test_many_deletions_at_once_are_no_renames() -> None:
    tries = Tries(target())
    for number in range(MOST_PATHS + 1):
        tries.add(event("whiteout", f"a/{number}", layer=0))
    assert done(tries) == {"remove"}


def test_the_commands_name_the_container_s_own_files() -> None:
    tries = Tries(target(), Files(append=b"etc/mo\ntd"))
    commands = {line.key: line.command for line in tries.lines}
    assert commands["append"] == "echo hello >> /etc/mo\\ntd"
    assert commands["volume"] == "echo hello > /var/lib/shop/note"
    alone = Tries(target(volumes=()))
    assert {line.key: line.command for line in alone.lines}["volume"] == "no volume is mounted"
