"""What an ELF file needs to be run: its loader and its shared libraries.

Read from the program headers and the dynamic section alone (System V ABI, chapters 4 and 5); the
file is never run, as `ldd` would do.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from layerview.errors import FormatError

_MAX_HEADERS = 128
_MAX_DYNAMIC = 64 * 1024
_MAX_TEXT = 4096

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 1, 5, 15, 29


@dataclass(frozen=True, slots=True)
class Elf:
    """The dynamic needs of one program or library."""

    bits: int
    machine: int
    """e_machine: 62 is x86-64, 183 is AArch64."""
    interpreter: str | None
    needed: tuple[str, ...]
    search: tuple[str, ...]
    """DT_RUNPATH, or else DT_RPATH, with `$ORIGIN` still in it."""


def read_elf(path: str) -> Elf | None:
    """Read the needs of a file; None when it is not ELF.

    Raises:
        FormatError: when the file starts as ELF and is broken.
        OSError: when it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _parse(descriptor)
    except (struct.error, UnicodeDecodeError, OverflowError) as error:
        raise FormatError(f"{path} is a broken ELF file: {error}") from None
    finally:
        os.close(descriptor)


def _parse(descriptor: int) -> Elf | None:
    head = os.pread(descriptor, 64, 0)
    if head[:4] != b"\x7fELF":
        return None
    wide, order = head[4:5] == b"\x02", "<" if head[5:6] == b"\x01" else ">"
    (machine,) = struct.unpack_from(order + "H", head, 18)
    if wide:
        (table,) = struct.unpack_from(order + "Q", head, 32)
        step, count = struct.unpack_from(order + "HH", head, 54)
    else:
        (table,) = struct.unpack_from(order + "I", head, 28)
        step, count = struct.unpack_from(order + "HH", head, 42)
    if count > _MAX_HEADERS:
        raise struct.error(f"{count} program headers")
    rows = os.pread(descriptor, step * count, table)
    loads: list[tuple[int, int, int]] = []
    interpreter: str | None = None
    dynamic = b""
    for number in range(count):
        if wide:
            kind, _, offset, address, _, size = struct.unpack_from(
                order + "IIQQQQ", rows, number * step
            )
        else:
            kind, offset, address, _, size = struct.unpack_from(
                order + "IIIII", rows, number * step
            )
        if kind == _PT_LOAD:
            loads.append((address, offset, size))
        elif kind == _PT_INTERP:
            interpreter = os.pread(descriptor, min(size, _MAX_TEXT), offset).rstrip(b"\0").decode()
        elif kind == _PT_DYNAMIC:
            dynamic = os.pread(descriptor, min(size, _MAX_DYNAMIC), offset)
    tags = _tags(dynamic, order + ("QQ" if wide else "II"))
    strings = _file_offset(loads, next((v for t, v in tags if t == _DT_STRTAB), 0))

    def text(index: int) -> str:
        return os.pread(descriptor, _MAX_TEXT, strings + index).partition(b"\0")[0].decode()

    search = next((v for t, v in tags if t == _DT_RUNPATH), None)
    if search is None:
        search = next((v for t, v in tags if t == _DT_RPATH), None)
    return Elf(
        bits=64 if wide else 32,
        machine=machine,
        interpreter=interpreter,
        needed=tuple(text(value) for tag, value in tags if tag == _DT_NEEDED),
        search=() if search is None else tuple(p for p in text(search).split(":") if p),
    )


def _tags(dynamic: bytes, layout: str) -> list[tuple[int, int]]:
    tags: list[tuple[int, int]] = []
    step = struct.calcsize(layout)
    for offset in range(0, len(dynamic) - step + 1, step):
        tag, value = struct.unpack_from(layout, dynamic, offset)
        if tag == 0:
            break
        tags.append((tag, value))
    return tags


def _file_offset(loads: list[tuple[int, int, int]], address: int) -> int:
    for start, offset, size in loads:
        if start <= address < start + size:
            return address - start + offset
    return address
