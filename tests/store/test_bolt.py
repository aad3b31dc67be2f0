"""bbolt databases: read whole, hostile ones refused, changing ones read of one moment."""

from __future__ import annotations

import os
import struct
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.errors import DamageError, FormatError, LayerviewError, LimitError
from layerview.store import bolt
from layerview.store.bolt import Bucket, Database
from tests.support import bolts
from tests.support.bolts import BRANCH, FIRST, LEAF, Tree


def _tree(bucket: Bucket) -> dict[bytes, object]:
    found: dict[bytes, object] = {}
    for key, value in bucket.items():
        found[key] = _tree(value) if isinstance(value, Bucket) else value
    return found


def _read(data: bytes) -> dict[bytes, object]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return _tree(Database(file.fileno(), "it.db").root)


_keys = st.binary(min_size=1, max_size=40)
_trees = st.recursive(
    st.dictionaries(_keys, st.binary(max_size=9000), max_size=8),
    lambda inner: st.dictionaries(_keys, st.one_of(st.binary(max_size=300), inner), max_size=6),
    max_leaves=30,
)


@settings(max_examples=150, deadline=None)
@given(_trees, st.sampled_from((1024, 4096, 65536)), st.booleans())
def test_all_that_was_written_is_read(tree: Tree, page_size: int, inline: bool) -> None:
    assert _read(bolts.database(tree, page_size, inline=inline)) == tree


def test_many_keys_lie_under_branch_pages_on_several_levels() -> None:
    tree = {b"%06d" % at: b"x" * (at % 50) for at in range(20_000)}
    assert _read(bolts.database({b"b": tree}, 1024)) == {b"b": tree}


def test_a_value_may_run_over_many_pages() -> None:
    tree = {b"a": os.urandom(100_000), b"b": b"", b"c": os.urandom(4096)}
    assert _read(bolts.database(tree)) == tree


def test_a_database_that_was_made_and_never_written_is_empty() -> None:
    assert _read(b"") == {}


def test_the_meta_page_of_the_last_transaction_counts() -> None:
    writer = bolts.Writer()
    writer.bucket({b"a": b"old"})
    writer.bucket({b"a": b"new"})
    data = writer.file(FIRST)
    pages = len(data) // 4096
    newer = bolts.meta(1, root=FIRST + 1, pages=pages, transaction=9)
    assert _read(data) == {b"a": b"old"}
    assert _read(data[:4096] + newer + data[8192:]) == {b"a": b"new"}


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
@pytest.mark.parametrize("lost", [0, 1])
def test_one_whole_meta_page_is_enough(page_size: int, lost: int) -> None:
    data = bytearray(bolts.database({b"a": b"1"}, page_size))
    data[lost * page_size : lost * page_size + 100] = os.urandom(100)
    assert _read(bytes(data)) == {b"a": b"1"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"magic": 1}, "is no meta page"),
        ({"version": 3}, "is of version 3"),
        ({"wrong": 1}, "has a wrong checksum"),
        ({"page_size": 4097}, "has pages of 4097 bytes"),
    ],
)
def test_without_a_whole_meta_page_nothing_is_read(changed: dict[str, int], said: str) -> None:
    words = {"root": FIRST, "pages": 4, "transaction": 1, **changed}
    first = bolts.meta(0, **words)[:4096].ljust(4096, b"\0")
    data = bolts.database({b"a": b"1"})
    with pytest.raises(DamageError, match=f"it.db is damaged: its first meta page {said}"):
        _read(first + first + data[8192:])


def test_a_short_file_is_damage() -> None:
    with pytest.raises(DamageError, match="too short"):
        _read(b"x" * 50)


def _raw(flags: int, count: int, body: bytes, *, over: int = 0, number: int = FIRST) -> bytes:
    page = (struct.pack("=QHHI", number, flags, count, over) + body).ljust(4096, b"\0")
    metas = [bolts.meta(at, root=FIRST, pages=FIRST + 1, transaction=2) for at in (0, 1)]
    return b"".join(metas) + bytes(4096) + page


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_raw(BRANCH, 1, bolts.branch([(b"a", FIRST)])), "page 3 is reached twice"),
        (_raw(BRANCH, 1, bolts.branch([(b"a", 99)])), "page 99 lies outside"),
        (_raw(BRANCH, 1, bolts.branch([(b"a", 1)])), "page 1 lies outside"),
        (_raw(BRANCH, 1, bolts.branch([(b"a", 2**63)])), "lies outside"),
        (_raw(BRANCH, 0, b""), "leads nowhere"),
        (_raw(BRANCH, 60_000, b""), "leads nowhere"),
        (_raw(BRANCH, 1, bolts.branch([(b"a", 0)])), "a bucket without a page"),
        (_raw(LEAF, 60_000, b""), "more elements than it has room for"),
        (_raw(LEAF, 0, b"", over=7), "page 3 is another one"),
        (_raw(LEAF, 0, b"", number=4), "page 3 is another one"),
        (_raw(16, 0, b""), "page 3 is no part of a tree"),
        (_raw(LEAF, 1, struct.pack("=IIII", 0, 16, 1, 5000)), "lies outside its page"),
        (_raw(LEAF, 1, struct.pack("=IIII", 0, 2**32 - 1, 1, 1)), "lies outside its page"),
        (_raw(LEAF, 1, struct.pack("=IIII", 0, 0, 1, 1)), "lies outside its page"),
        (_raw(LEAF, 2, bolts.leaf([(0, b"b", b""), (0, b"a", b"")])), "out of order"),
        (_raw(LEAF, 2, bolts.leaf([(0, b"a", b""), (0, b"a", b"")])), "out of order"),
        (_raw(LEAF, 1, bolts.leaf([(1, b"a", b"")])), "a bucket that is none"),
        (_raw(LEAF, 1, bolts.leaf([(1, b"a", bytes(16))])), "a bucket without a page"),
        (_raw(LEAF, 1, bolts.leaf([(1, b"a", struct.pack("=QQ", FIRST, 0))])), "share pages"),
    ],
)
def test_hostile_pages_are_damage_said_in_a_line(data: bytes, said: str) -> None:
    with pytest.raises(DamageError, match=rf"^it\.db is damaged: .*{said}") as caught:
        _read(data)
    assert "\n" not in str(caught.value)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 7 * 1024 - 1), st.integers(0, 255)), max_size=6),
    st.integers(0, 7 * 1024),
)
def test_damage_is_refused_or_harmless(changes: list[tuple[int, int]], cut: int) -> None:
    tree: Tree = {b"b": {b"%d" % at: b"v" * 60 for at in range(20)}, b"c": {b"x": b"y"}, b"d": b"e"}
    data = bytearray(bolts.database(tree, 1024))
    for at, byte in changes:
        data[at % len(data)] = byte
    with suppress(LayerviewError):
        _read(bytes(data[: len(data) - cut if cut < 1024 else len(data)]))


def test_a_bomb_of_shared_pages_ends() -> None:
    """Each of many branch pages leads to the next one as often as it can."""
    pages = []
    for at in range(30):
        number = FIRST + at
        below = bolts.branch([(b"%c" % key, number + 1) for key in range(1, 100)])
        head = struct.pack("=QHHI", number, BRANCH, 99, 0)
        pages.append((head + below).ljust(4096, b"\0"))
    metas = [bolts.meta(at, root=FIRST, pages=FIRST + 30, transaction=2) for at in (0, 1)]
    with pytest.raises(DamageError):
        _read(b"".join(metas) + bytes(4096) + b"".join(pages))


def test_a_bomb_of_shared_buckets_ends() -> None:
    """Every bucket of a page is that page itself."""
    here = struct.pack("=QQ", FIRST, 0)
    below = bolts.leaf([(1, b"%c" % key, here) for key in range(1, 90)])
    with pytest.raises(DamageError, match="buckets share pages"):
        _read(_raw(LEAF, 89, below))


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FormatError, match="is no file"):
        Database(fd, str(tmp_path))
    os.close(fd)


def test_a_huge_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bolt, "MAX_BYTES", 10_000)
    with pytest.raises(LimitError, match="longer than 10,000 bytes"):
        _read(bolts.database({b"a": bytes(20_000)}))


def test_a_file_that_changes_is_read_of_one_moment(tmp_path: Path) -> None:
    """Another thread commits as bbolt does: pages that are free first, the meta page last."""
    path = tmp_path / "it.db"
    size, trees = 4096, 3
    blank = bolts.Writer()
    first = [blank.bucket({b"k%02d" % at: b"%04d" % turn for at in range(80)}) for turn in range(3)]
    data = blank.file(struct.unpack_from("=Q", first[0])[0], transaction=2)
    path.write_bytes(data)
    stop = threading.Event()
    pages = len(data) // size

    def commit() -> None:
        turn = 3
        with open(path, "r+b", buffering=0) as file:
            while not stop.is_set():
                turn += 1
                number = FIRST + turn % trees
                elements = [(0, b"k%02d" % at, b"%04d" % (turn % 10_000)) for at in range(80)]
                head = struct.pack("=QHHI", number, LEAF, len(elements), 0)
                page = head + bolts.leaf(elements)
                # A page is not written in one piece.
                for at in range(0, len(page), 512):
                    os.pwrite(file.fileno(), page[at : at + 512], number * size + at)
                there = bolts.meta(turn % 2, root=number, pages=pages, transaction=turn)
                os.pwrite(file.fileno(), there[:100], turn % 2 * size)
                stop.wait(0.0002)

    writer = threading.Thread(target=commit)
    writer.start()
    try:
        seen: set[bytes] = set()
        reads, until = 0, time.monotonic() + 30
        with open(path, "rb") as file:
            while reads < 300 or (len(seen) <= 20 and time.monotonic() < until):
                reads += 1
                found = Database(file.fileno(), "it.db").root.values()
                assert len(found) == 80
                assert len(set(found.values())) == 1, found
                seen.update(found.values())
    finally:
        stop.set()
        writer.join()
    assert len(seen) > 20


def test_a_file_that_never_rests_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter(range(1_000_000))
    monkeypatch.setattr(bolt, "_PAUSE", 0)

    class Restless(Database):
        def _newest(self, fd: int) -> bolt._Meta:
            found = super()._newest(fd)
            found.transaction += next(turns)
            return found

    with tempfile.TemporaryFile() as file:
        file.write(bolts.database({b"a": b"1"}))
        file.flush()
        with pytest.raises(LayerviewError, match="changes all the time; try again"):
            Restless(file.fileno(), "it.db")
