"""The kernel's FUSE protocol in structures, and answers made of them, without a kernel."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerview.unionfs.fuse import protocol
from layerview.unionfs.fuse.known import Table
from layerview.unionfs.fuse.names import Handler, Names, without_privileges
from layerview.unionfs.union import Union

SIZES = {
    "IN": 40,
    "OUT": 16,
    "ENTRY_OUT": 128,
    "ATTR_OUT": 104,
    "SETATTR_IN": 88,
    "READ_IN": 40,
    "WRITE_IN": 40,
    "DIRENT": 24,
    "INIT_OUT": 64,
    "OPEN_OUT": 16,
    "CREATE_IN": 16,
    "MKNOD_IN": 16,
    "RENAME2_IN": 16,
    "RELEASE_IN": 24,
    "STATFS_OUT": 80,
    "FALLOCATE_IN": 32,
    "LSEEK_IN": 24,
    "COPY_FILE_RANGE_IN": 56,
    "FORGET_ONE": 16,
    "BACKING_MAP": 16,
    "INVAL_INODE_OUT": 24,
}


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_structures_are_as_long_as_the_kernels(name: str, size: int) -> None:
    assert getattr(protocol, name).size == size


@given(st.integers(0, (1 << 12) - 1), st.integers(0, (1 << 20) - 1))
def test_device_numbers_survive_the_protocol(major: int, minor: int) -> None:
    device = os.makedev(major, minor)
    number = protocol.encode_device(device)
    assert 0 <= number < 1 << 32
    assert protocol.decode_device(number) == device


@given(st.integers(0, 0o7777))
def test_a_write_takes_setuid_away_and_setgid_from_what_the_group_executes(mode: int) -> None:
    left = without_privileges(stat.S_IFREG | mode)
    expected = mode & ~stat.S_ISUID
    if mode & stat.S_IXGRP:
        expected &= ~stat.S_ISGID
    assert left == (None if expected == mode else expected)
    assert without_privileges(stat.S_IFDIR | mode) is None


class Face:
    """Asks the handlers as the kernel does."""

    def __init__(self, top: Path) -> None:
        self._fd = os.open(top, os.O_PATH | os.O_DIRECTORY)
        self._union = Union([self._fd])
        self._table = Table(self._union)
        self._buffer = bytearray(1 << 16)
        self._handlers: dict[int, Handler] = Names(
            self._table, self._buffer, volatile=False
        ).handlers()

    def ask(self, opcode: int, node: int, body: bytes) -> bytes | None:
        size = protocol.IN_SIZE + len(body)
        head = (size, opcode, 7, node, os.geteuid(), os.getegid(), 1, 0, 0)
        protocol.IN.pack_into(self._buffer, 0, *head)
        self._buffer[protocol.IN_SIZE : size] = body
        reply = self._handlers[opcode](self._table.by_id[node], size, head)
        if reply is not None:
            length, error, unique = protocol.OUT.unpack_from(reply)
            assert (length, error, unique) == (len(reply), 0, 7)
        return reply

    def known(self) -> int:
        return len(self._table.by_id)

    def close(self) -> None:
        self._union.close()
        os.close(self._fd)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for number in range(300):
        (tmp_path / f"{number}{'n' * (number % 80)}").touch()
    return tmp_path


@pytest.fixture
def face(top: Path) -> Iterator[Face]:
    made = Face(top)
    yield made
    made.close()


@pytest.mark.parametrize("room", [300, 1000, 4096, 60_000])
@pytest.mark.parametrize("plus", [False, True], ids=["names", "attributes"])
def test_a_folder_is_read_piece_by_piece_and_fits(
    face: Face, top: Path, room: int, plus: bool
) -> None:
    opened = face.ask(protocol.OPENDIR, 1, bytes(8))
    assert opened is not None
    handle = protocol.OPEN_OUT.unpack_from(opened, protocol.OUT_SIZE)[0]
    before = protocol.ENTRY_OUT.size if plus else 0
    seen: list[bytes] = []
    entered: dict[int, int] = {}
    place = 0
    while True:
        body = protocol.READ_IN.pack(handle, place, room, 0, 0, 0, 0)
        reply = face.ask(protocol.READDIRPLUS if plus else protocol.READDIR, 1, body)
        assert reply is not None
        assert len(reply) - protocol.OUT_SIZE <= room
        at = protocol.OUT_SIZE
        if at == len(reply):
            break
        while at < len(reply):
            start = at + before
            _, place, length, kind = protocol.DIRENT.unpack_from(reply, start)
            name = reply[start + protocol.DIRENT.size :][:length]
            if plus:
                node = protocol.ENTRY_OUT.unpack_from(reply, at)[0]
                assert bool(node) == (name not in (b".", b".."))
                if node:
                    entered[node] = entered.get(node, 0) + 1
            assert kind == (4 if name in (b".", b"..") else 8)
            seen.append(name)
            at = start + protocol.DIRENT.size + length + -length % 8
    assert sorted(seen) == sorted([b".", b"..", *map(os.fsencode, os.listdir(top))])
    known = face.known()
    for node, count in entered.items():
        face.ask(protocol.FORGET, node, protocol.FORGET_IN.pack(count))
    assert face.known() == known - len(entered)


def test_nodes_are_known_until_they_are_forgotten_as_often_as_they_were_told(face: Face) -> None:
    name = b"0\0"
    replies = [face.ask(protocol.LOOKUP, 1, name) for _ in range(3)]
    nodes = {protocol.ENTRY_OUT.unpack_from(reply or b"", 16)[0] for reply in replies}
    assert len(nodes) == 1
    node = nodes.pop()
    known = face.known()
    face.ask(protocol.FORGET, node, protocol.FORGET_IN.pack(2))
    assert face.known() == known
    body = protocol.BATCH_FORGET_IN.pack(2, 0)
    body += protocol.FORGET_ONE.pack(node, 1) + protocol.FORGET_ONE.pack(999, 5)
    face.ask(protocol.BATCH_FORGET, 0, body)
    assert face.known() == known - 1
    again = protocol.ENTRY_OUT.unpack_from(face.ask(protocol.LOOKUP, 1, name) or b"", 16)[0]
    assert again != node


def test_a_name_that_is_not_there_is_answered_with_no_node_and_one_too_long_with_an_error(
    face: Face,
) -> None:
    reply = face.ask(protocol.LOOKUP, 1, b"none\0")
    assert reply is not None
    node, _, valid, *_ = protocol.ENTRY_OUT.unpack_from(reply, 16)
    assert (node, valid > 0) == (0, True)
    for length in (252, 255, 256, 1000):
        with pytest.raises(OSError, match="name too long") as caught:
            face.ask(protocol.LOOKUP, 1, b"n" * length + b"\0")
        assert caught.value.errno == errno.ENAMETOOLONG
