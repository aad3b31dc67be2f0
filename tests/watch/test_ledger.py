"""The running totals, added up from records."""

from __future__ import annotations

from layerview.watch.events import Copying, CowEvent, Notice
from layerview.watch.ledger import Held, Ledger

Fields = int | bytes | str | bool | None


def event(kind: str, path: bytes, **fields: Fields) -> CowEvent:
    return CowEvent(1, kind, path)._replace(**fields)  # type: ignore[arg-type]


def added(*events: CowEvent) -> Ledger:
    ledger = Ledger()
    ledger.add_all(events)
    return ledger


def test_a_copy_up_and_what_follows_is_counted() -> None:
    ledger = added(
        event("copy_up", b"f", layer=2, bytes=100, size=101, command="sh"),
        event("write", b"f", size=101, command="sh"),
        event("write", b"f", size=150),
    )
    assert ledger.holds == {b"f": Held("copy_up", 2, 150)}
    assert (ledger.copy_ups, ledger.bytes_copied, ledger.bytes_written) == (1, 100, None)
    assert ledger.container_layer_size == 150
    assert ledger.by_layer[2].bytes_copied == 100
    assert ledger.by_process["sh"].events == 2
    assert ledger.by_path[b"f"].events == 3


def test_written_bytes_are_summed_only_where_all_are_known() -> None:
    ledger = added(event("create", b"f"), event("write", b"f", written=3))
    assert ledger.bytes_written == 3
    ledger.add(event("write", b"f"))
    assert ledger.bytes_written is None


def test_a_moved_copy_remembers_where_it_came_from_until_it_is_back() -> None:
    ledger = added(
        event("copy_up", b"d/f", layer=0, size=1),
        event("rename", b"g", from_path=b"d/f"),
        event("whiteout", b"d/f", layer=0),
    )
    assert ledger.holds == {b"g": Held("copy_up", 0, 1, b"d/f"), b"d/f": Held("whiteout", 0)}
    ledger.add(event("rename", b"d/f", from_path=b"g"))
    assert ledger.holds == {b"d/f": Held("copy_up", 0, 1)}


def test_a_folder_takes_along_what_is_in_it() -> None:
    ledger = added(
        event("create", b"a"),
        event("create", b"a/f", size=5),
        event("rename", b"b", from_path=b"a"),
    )
    assert set(ledger.holds) == {b"b", b"b/f"}
    ledger.add(event("whiteout", b"b", layer=1))
    assert ledger.holds == {b"b": Held("whiteout", 1)}
    assert ledger.container_layer_size == 0


def test_a_file_with_several_names_counts_once() -> None:
    ledger = added(
        event("create", b"f", size=10),
        event("create", b"g", from_path=b"f", size=10),
        event("write", b"f", size=30),
    )
    assert ledger.holds[b"g"].size == 30
    assert ledger.container_layer_size == 30
    ledger.add(event("delete", b"f"))
    assert ledger.container_layer_size == 30
    ledger.add(event("delete", b"g"))
    assert (ledger.container_layer_size, ledger.holds) == (0, {})


def test_two_that_change_places_are_both_kept() -> None:
    ledger = added(
        event("create", b"a", size=1),
        event("create", b"b", size=2),
        event("rename", b"b", from_path=b"a"),
        event("rename", b"a", from_path=b"b"),
    )
    assert ledger.holds == {b"a": Held("create", None, 2), b"b": Held("create", None, 1)}
    assert ledger.container_layer_size == 3


def test_a_full_tree_holds_what_differs() -> None:
    ledger = added(
        event("write", b"f", layer=3, size=9),
        event("delete", b"g", layer=3),
        event("create", b"h", size=1),
        event("delete", b"h"),
    )
    assert ledger.holds == {b"f": Held("write", 3, 9), b"g": Held("delete", 3)}


def test_a_volume_changes_nothing_of_the_layer() -> None:
    ledger = added(
        event("create", b"data/f", size=10, volume=True),
        event("write", b"data/f", size=25, volume=True),
    )
    assert (ledger.holds, ledger.created, ledger.volume_bytes) == ({}, 0, 25)


def test_what_is_no_event_counts_nothing() -> None:
    ledger = Ledger()
    ledger.add_all([Copying(1, b"f", 0, 1, 2), Notice(1, "hm")])
    assert (ledger.events, ledger.holds) == (0, {})


def test_a_summary_has_what_the_command_prints() -> None:
    summary = added(event("copy_up", b"etc/f", layer=1, bytes=5, size=5)).summary()
    for key in ("bytes_written", "bytes_changed", "created", "deleted", "renamed"):
        assert key in summary
    assert summary["copy_ups"] == 1
    assert summary["by_path"] == [
        {"path": "/etc/f", "events": 1, "copy_ups": 1, "bytes_copied": 5, "bytes_written": None}
    ]
