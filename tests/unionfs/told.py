"""What a union's steps say of its top branch."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from layerview.unionfs.steps import Step


class Told:
    """The top branch as its steps tell it: names that it has, whiteouts, opaque folders."""

    def __init__(self) -> None:
        self.names: set[bytes] = set()
        self.whiteouts: set[bytes] = set()
        self.opaque: set[bytes] = set()
        self.displaced: list[set[bytes]] = []

    def see(self, steps: list[Step]) -> None:
        last: Step | None = None
        for step in steps:
            path = os.fsencode(step.path)
            before = os.fsencode(step.from_path) if step.from_path is not None else b""
            if step.kind in ("copy_up", "create"):
                assert path not in self.names, step
                self.names.add(path)
                self.whiteouts.discard(path)
            elif step.kind in ("whiteout", "delete"):
                assert (step.kind == "whiteout") or path in self.names, step
                self._drop(path)
                if step.kind == "whiteout":
                    self.whiteouts.add(path)
            elif step.kind == "opaque":
                assert path in self.names, step
                self.opaque.add(path)
            elif step.kind == "rename":
                if last is not None and (last.time, last.path) == (step.time, step.from_path):
                    # The other half of an exchange.
                    for known, there in zip(self._all, self.displaced, strict=True):
                        known |= {path + name[len(before) :] for name in there}
                else:
                    assert before in self.names, step
                    self._move(before, path)
            else:
                assert step.kind in ("write", "metadata", "copying"), step
                assert step.kind == "copying" or not path or path in self.names, step
            last = step

    @property
    def _all(self) -> tuple[set[bytes], set[bytes], set[bytes]]:
        return self.names, self.whiteouts, self.opaque

    def _move(self, before: bytes, path: bytes) -> None:
        self.displaced = [_beneath(known, path) for known in self._all]
        self.displaced[1].discard(path)
        self._drop(path)
        for known in self._all:
            moved = _beneath(known, before)
            known -= moved
            known |= {path + name[len(before) :] for name in moved}

    def _drop(self, path: bytes) -> None:
        for known in self._all:
            known -= _beneath(known, path)

    def compare(self, top: Path) -> None:
        names: set[bytes] = set()
        whiteouts: set[bytes] = set()
        opaque: set[bytes] = set()
        for place, folders, files in os.walk(os.fsencode(top)):
            path = place[len(os.fsencode(top)) + 1 :]
            start = path + b"/" if path else b""
            for name in [*folders, *files]:
                if name == b".wh..wh..opq":
                    opaque.add(path)
                elif name.startswith(b".wh..wh."):
                    assert not path
                elif name.startswith(b".wh."):
                    whiteouts.add(start + name[4:])
                    assert stat.S_ISREG(os.lstat(place + b"/" + name).st_mode)
                else:
                    names.add(start + name)
        assert names == self.names
        assert whiteouts == self.whiteouts
        assert opaque == self.opaque


def _beneath(known: set[bytes], path: bytes) -> set[bytes]:
    return {name for name in known if name == path or name.startswith(path + b"/")}
