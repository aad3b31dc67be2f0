"""Reading a container's log: whole, from its end, while it grows, and damaged."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from layerview.containers import log
from layerview.containers.json_log import Log


def entry(text: str, stream: str = "stdout", at: str = "2026-03-04T05:06:07.5Z") -> bytes:
    return json.dumps({"log": text, "stream": stream, "time": at}).encode() + b"\n"


def texts(path: Path, **more: object) -> list[str]:
    return [line.data.decode() for line in log.read(str(path), **more)]  # type: ignore[arg-type]


def test_what_the_shim_writes_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written = Log(str(path))
    written.add("stdout", b"one\ntwo <&>\n\x00\x1b\x7f\xff\nthr")
    written.add("stderr", "é\u2028\U0001f600\n".encode())
    written.add("stdout", b"ee")
    written.finish()
    found = list(log.read(str(path)))
    assert [(line.stream, line.data) for line in found] == [
        ("stdout", b"one\n"),
        ("stdout", b"two <&>\n"),
        ("stdout", "\x00\x1b\x7f\ufffd\n".encode()),
        ("stderr", "é\u2028\U0001f600\n".encode()),
        ("stdout", b"three"),
    ]
    assert all(line.time.startswith("20") and line.time.endswith("Z") for line in found)


def test_a_log_that_is_missing_is_empty(tmp_path: Path) -> None:
    assert texts(tmp_path / "none") == []
    assert texts(tmp_path / "none", tail=3) == []


@pytest.mark.parametrize("count", [0, 1, 3, 999, 1000, 1001, 5000])
def test_the_last_lines_alone(tmp_path: Path, count: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(entry(f"{n}\n") for n in range(1000)))
    expected = [f"{n}\n" for n in range(1000)][max(0, 1000 - count) :]
    assert texts(path, tail=count) == expected


def test_the_last_lines_of_a_large_log_are_found_without_reading_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # a hole: reading it would take hours
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"".join(entry(f"{n}\n") for n in range(5000)))
    began = time.monotonic()
    assert texts(path, tail=3) == ["4997\n", "4998\n", "4999\n"]
    assert len(texts(path, tail=4500)) == 4500
    assert time.monotonic() - began < 5


def test_only_what_was_written_since_a_time(tmp_path: Path) -> None:
    path = tmp_path / "log"
    times = ["05:06:07Z", "05:06:07.25Z", "05:06:07.5Z", "05:06:08Z", "05:06:09.1Z"]
    path.write_bytes(b"".join(entry(f"{t}\n", at=f"2026-03-04T{t}") for t in times))
    seven = 1772600767.0
    assert time.gmtime(seven)[:6] == (2026, 3, 4, 5, 6, 7)
    assert len(texts(path, since=seven)) == 5
    assert len(texts(path, since=seven + 0.25)) == 4
    assert len(texts(path, since=seven + 0.3)) == 3
    assert len(texts(path, since=seven + 1)) == 2
    assert texts(path, since=seven + 100) == []
    assert texts(path, since=1e300) == []
    assert len(texts(path, since=-1e300)) == 5
    assert len(texts(path, until=seven + 0.3)) == 2
    assert texts(path, since=seven + 0.3, tail=4, until=seven + 1) == [
        "05:06:07.5Z\n",
        "05:06:08Z\n",
    ]


@pytest.mark.parametrize(
    "damage",
    [
        b'{"log":"cut',
        b"\0" * 4096,
        b"not json\n",
        b"[]\n",
        b'{"log":5,"stream":"stdout"}\n',
        b"[" * 100000 + b"\n",
        b"\xff\xfe\n",
        b"\n\n",
        b'{"log":"' + b"x" * (3 << 20) + b'"}\n',
    ],
    ids=range(9),
)
def test_damaged_lines_are_left_out(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(entry("a\n") + damage)
    assert texts(path) == ["a\n"]
    path.write_bytes(entry("a\n") + damage.rstrip(b"\n") + b"\n" + entry("b\n"))
    assert texts(path) == ["a\n", "b\n"]
    assert texts(path, tail=1) == ["b\n"]


def test_zeros_that_a_crash_left_before_a_line_do_not_hide_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(entry("a\n") + b"\0" * 1000 + entry("b\n"))
    assert texts(path) == ["a\n", "b\n"]


def test_entries_of_others_without_some_fields_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"stream":"stderr","time":"x"}\n{"log":"a"}\n{"log":"\\ud800"}')
    assert list(log.read(str(path))) == [
        log.Line("stderr", b"", "x"),
        log.Line("stdout", b"a", ""),
        log.Line("stdout", b"?", ""),
    ]


def test_it_is_followed_until_the_container_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    alive = threading.Event()
    alive.set()

    def write() -> None:
        time.sleep(0.1)
        with open(path, "ab", 0) as file:
            file.write(entry("one\n") + entry("two\n")[:20])
            time.sleep(0.15)
            file.write(entry("two\n")[20:])
            time.sleep(0.1)
            file.write(entry("three\n"))
        alive.clear()

    writer = threading.Thread(target=write)
    writer.start()
    assert texts(path, lives=alive.is_set) == ["one\n", "two\n", "three\n"]
    writer.join()


def test_following_goes_on_in_a_log_that_was_cut_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(entry("one\n") + entry("two\n"))
    steps = iter(["cut", "replace", "end"])

    def lives() -> bool:
        match next(steps):
            case "cut":
                return True
            case "replace":
                os.truncate(path, 0)
                with open(path, "ab") as file:
                    file.write(entry("3\n"))
                return True
            case _:
                new = tmp_path / "new"
                new.write_bytes(entry("4\n"))
                new.rename(path)
                return False

    assert texts(path, lives=lives) == ["one\n", "two\n", "3\n", "4\n"]


def test_a_link_in_the_logs_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(entry("a\n"))
    (tmp_path / "log").symlink_to("secret")
    with pytest.raises(OSError, match="symbolic links"):
        texts(tmp_path / "log")


def test_a_pipe_in_the_logs_place_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    with pytest.raises(OSError, match="seek"):
        texts(tmp_path / "log")
