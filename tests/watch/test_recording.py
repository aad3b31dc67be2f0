"""Recordings: what is written is read again, and what a file says is not believed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.errors import FormatError, LayerviewError, LimitError, NotFoundError
from layerview.layer.whiteouts import Whiteouts
from layerview.text import printable
from layerview.watch import recording as module
from layerview.watch.events import INIT, KINDS, Copying, CowEvent, Ended, Notice, Record
from layerview.watch.recording import Recorder, Recording, header_line, record_lines, recorded
from layerview.watch.target import Target, WatchedLayer, WatchedVolume

NOW = 1_790_000_000_123_456_789

TARGET = Target(
    engine="layerview",
    id="75bab0d54f3c" + "0" * 52,
    name="hopeful_turing",
    image="shop/web:7.2",
    driver="overlay2",
    whiteouts=Whiteouts.TRUSTED,
    upper="/var/lib/x/diff",
    layers=(
        WatchedLayer(INIT, "/var/lib/x-init/diff"),
        WatchedLayer(0, "/var/lib/y\udcff/diff", "sha256:" + "a" * 64, "ADD file:1 in /", 41),
    ),
    volumes=(WatchedVolume("data", "/var/lib/v", b"data\xff", read_only=True),),
    pid=4121,
    work="/var/lib/x/work",
)

_names = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
_paths = st.lists(_names, max_size=4).map(b"/".join)
_disks = _paths.map(lambda path: "/" + os.fsdecode(path))
_counts = st.integers(0, (1 << 63) - 1)
_times = st.integers(-(10**18), 10**19)
_layers = st.integers(INIT, 500)
_words = st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]), max_size=20)
_maybe = st.none()

_events = st.builds(
    CowEvent,
    _times,
    st.sampled_from(KINDS),
    _paths,
    _maybe | _paths,
    _maybe | _layers,
    st.lists(_layers, max_size=5).map(tuple),
    _maybe | _counts,
    _maybe | _counts,
    _maybe | _counts,
    _maybe | _counts,
    _maybe | _words,
    _maybe | st.sampled_from(["open", "truncate", "metadata", "rename", "link"]),
    st.just("") | _disks,
    st.booleans(),
    st.booleans(),
    _maybe | _counts,
)
_copyings = st.builds(Copying, _times, _paths, _maybe | _layers, _counts, _maybe | _counts)
_records = st.lists(
    _events | _copyings | st.builds(Notice, _times, _words) | st.builds(Ended, _times, _words),
    max_size=8,
)


def read(path: str | Path) -> tuple[Target, list[Record]]:
    with Recording(str(path)) as recording:
        return recording.target, list(recording.records())


def write(path: Path, *lines: object, header: bytes | None = None) -> str:
    first = header_line(TARGET, NOW) if header is None else header
    rest = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    path.write_bytes(first + b"".join(line + b"\n" for line in rest))
    return str(path)


@given(_records)
@settings(max_examples=60, deadline=None)
def test_what_was_recorded_is_read_again(records: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "r")
        with Recorder(path, TARGET) as recorder:
            for record in records:
                recorder.write([record])
        assert read(path) == (TARGET, records)


@given(_records)
@settings(max_examples=20, deadline=None)
def test_a_recording_is_lines_of_ascii(records: list[Record]) -> None:
    data = header_line(TARGET, NOW) + record_lines(records)
    assert data.isascii()
    assert data.count(b"\n") == len(records) + 1
    assert not set(data) & set(range(32)) - {10}


def test_every_field_of_an_event_is_recorded() -> None:
    names = {"from_path": "from"}
    recorded = json.loads(record_lines([CowEvent(NOW, "create", b"a")]))
    assert {names.get(name, name) for name in CowEvent._fields} | {"record"} == set(recorded)


def test_the_header_says_when_and_by_what_it_was_recorded(tmp_path: Path) -> None:
    with Recording(write(tmp_path / "r")) as recording:
        assert recording.recorded == NOW
        assert recording.layerview


def test_each_batch_is_in_the_file_at_once(tmp_path: Path) -> None:
    with Recorder(str(tmp_path / "r"), TARGET) as recorder:
        recorder.write([Notice(NOW, "one")])
        assert read(tmp_path / "r")[1] == [Notice(NOW, "one")]
        recorder.write([Notice(NOW, "two"), Ended(NOW, "three")])
        assert len(read(tmp_path / "r")[1]) == 3


async def test_batches_pass_through_while_they_are_recorded(tmp_path: Path) -> None:
    first: list[Record] = [CowEvent(NOW, "create", b"a")]
    second: list[Record] = [Ended(NOW, "over")]

    async def batches() -> AsyncIterator[list[Record]]:
        yield first
        assert read(tmp_path / "r")[1] == first
        yield second

    passed = [batch async for batch in recorded(batches(), str(tmp_path / "r"), TARGET)]
    assert passed == [first, second]
    assert read(tmp_path / "r") == (TARGET, [*first, *second])


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("dear")
    with pytest.raises(LayerviewError, match="is there already"):
        Recorder(str(tmp_path / "r"), TARGET)
    assert (tmp_path / "r").read_text() == "dear"


def test_a_recording_that_finds_no_room_says_so() -> None:
    with pytest.raises(LayerviewError, match="/dev/full can't be written: no space left"):
        Recorder("/dev/full", TARGET)


def test_a_last_line_that_is_cut_off_is_no_error(tmp_path: Path) -> None:
    whole = header_line(TARGET, NOW) + record_lines([Notice(NOW, "one"), Notice(NOW, "two")])
    start = len(header_line(TARGET, NOW))
    second = whole.index(b"\n", start) + 1
    for end in range(second, len(whole)):
        (tmp_path / "r").write_bytes(whole[:end])
        with Recording(str(tmp_path / "r")) as recording:
            records = list(recording.records())
            # Without its newline it is whole all the same.
            assert len(records) == (2 if end == len(whole) - 1 else 1)
            assert recording.cut_off == (second < end < len(whole) - 1)


def test_a_line_cut_off_in_the_middle_is_damage(tmp_path: Path) -> None:
    cut = record_lines([Notice(NOW, "one")])[:-5]
    path = write(tmp_path / "r", cut, record_lines([Notice(NOW, "two")])[:-1])
    with pytest.raises(FormatError, match=r"line 2 of .* is damaged"):
        read(path)


def test_a_recording_of_a_later_version_is_refused(tmp_path: Path) -> None:
    fields = json.loads(header_line(TARGET, NOW)) | {"version": 2}
    path = write(tmp_path / "r", header=json.dumps(fields).encode() + b"\n")
    with pytest.raises(FormatError, match="later layerview, as version 2; this one reads version"):
        read(path)


def test_more_fields_are_left_out(tmp_path: Path) -> None:
    line = json.loads(record_lines([Notice(NOW, "one")])) | {"mood": {"good": True}}
    assert read(write(tmp_path / "r", line))[1] == [Notice(NOW, "one")]


EVENT = json.loads(record_lines([CowEvent(NOW, "create", b"a", disk_path="/x/a")]))


@pytest.mark.parametrize(
    "changed",
    [
        {"record": "confession"},
        {"record": ["event"]},
        {"kind": "explosion"},
        {"time": "yesterday"},
        {"time": "2026-13-01T00:00:00Z"},
        {"time": 5},
        {"path": "a"},
        {"path": "/a/"},
        {"path": "/a//b"},
        {"path": "/a/../b"},
        {"path": "/a\0"},
        {"path": "/\udcff"},
        {"path": None},
        {"path": "/" + "a" * 70_000},
        {"path_bytes": "!"},
        {"path_bytes": "YQ=="},
        {"disk_path": "x"},
        {"disk_path": "/a\0b"},
        {"layer": "3"},
        {"layer": -2},
        {"layer": 1 << 70},
        {"searched": list(range(1000))},
        {"searched": [True]},
        {"bytes": -1},
        {"bytes": 1.5},
        {"bytes": 1 << 63},
        {"command": 7},
        {"cause": "\x1b[31m"},
        {"volume": 1},
    ],
    ids=lambda changed: ascii(changed)[:40],
)
def test_a_line_that_is_not_what_it_should_be_is_damage(
    changed: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=r"line 2 of .* is damaged") as caught:
        read(write(tmp_path / "r", EVENT | changed))
    assert printable(str(caught.value)) == str(caught.value)


@pytest.mark.parametrize(
    "line",
    [b"", b"null", b"[]", b"[" * 100_000, b'{"a":' * 100_000, b"{", b"\xff", b"9" * 5000],
    ids=lambda line: ascii(line)[:12],
)
def test_what_is_no_record_at_all_is_damage(line: bytes, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"line 2 of .* is damaged"):
        read(write(tmp_path / "r", line))


@pytest.mark.parametrize(
    "header",
    [b"", b"\n", b"{}\n", b"[1]\n", b'{"format": "asciicast"}\n', b"\x7fELF", b"[" * 100_000],
    ids=lambda header: ascii(header)[:20],
)
def test_another_file_is_no_recording(header: bytes, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is no recording"):
        read(write(tmp_path / "r", header=header))


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "../x"},
        {"id": "a\n"},
        {"engine": "\x1b"},
        {"driver": ""},
        {"upper": "relative"},
        {"layers": [{"layer": 0}]},
        {"whiteouts": "paint"},
        {"pid": "1"},
    ],
    ids=ascii,
)
def test_a_container_that_is_none_is_damage(changed: dict[str, object], tmp_path: Path) -> None:
    fields = json.loads(header_line(TARGET, NOW))
    fields["container"] |= changed
    with pytest.raises(FormatError, match=r"line 1 of .* is damaged"):
        read(write(tmp_path / "r", header=json.dumps(fields).encode() + b"\n"))


def test_words_for_people_have_no_control_characters(tmp_path: Path) -> None:
    fields = json.loads(header_line(TARGET, NOW))
    fields["container"]["name"] = "\x1b]0;x\x07"
    fields["container"]["layers"][0]["instruction"] = "RUN \x1b[2J\n"
    lines = [
        EVENT | {"command": "\x1b[1m"},
        {"record": "notice", "time": EVENT["time"], "text": "a\nb\u202ec"},
        {"record": "ended", "time": EVENT["time"], "reason": "\x9b"},
    ]
    path = write(tmp_path / "r", *lines, header=json.dumps(fields).encode() + b"\n")
    target, records = read(path)
    event, notice, ended = records
    assert isinstance(event, CowEvent)
    assert isinstance(notice, Notice)
    assert isinstance(ended, Ended)
    words = [target.name, target.layers[0].instruction, notice.text, ended.reason]
    assert all(text.isprintable() for text in [*words, event.command or ""])


def test_a_line_without_an_end_is_not_held(tmp_path: Path) -> None:
    path = write(tmp_path / "r", b"a" * (module.LONGEST_LINE + 1))
    with pytest.raises(LimitError, match=r"line 2 of .* is longer than 1 MiB"):
        read(path)
    with pytest.raises(FormatError, match="is no recording"):
        Recording("/dev/zero")


def test_more_records_than_can_be_held_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "r", EVENT, EVENT, EVENT)
    monkeypatch.setattr(module, "MOST_RECORDS", 3)
    assert len(read(path)[1]) == 3
    monkeypatch.setattr(module, "MOST_RECORDS", 2)
    with pytest.raises(LimitError, match="more than 2 records"):
        read(path)


def test_a_recording_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no-such is not there"):
        Recording(str(tmp_path / "no-such"))
    with pytest.raises(FormatError, match="is a folder"):
        Recording(str(tmp_path))
