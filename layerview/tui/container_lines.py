"""Containers as the screens show them: what `ps --json` says, and what is made of it in words."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from layerview.sizes import format_size
from layerview.text import printable
from layerview.times import ago, seconds_of
from layerview.tui.glyphs import Glyphs
from layerview.tui.words import count_of

RUNNING = ("running", "paused", "restarting")
"""States in which a container's processes live."""


@dataclass(frozen=True, slots=True)
class MountLine:
    """A volume or folder that a container has mounted."""

    kind: str
    name: str
    """A volume's; "" for a folder."""
    source: str
    target: str
    read_only: bool

    @property
    def is_volume(self) -> bool:
        """Whether it is a volume, which outlives the container."""
        return self.kind == "volume" and bool(self.name)

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody gave the volume a name."""
        return len(self.name) == 64 and all(sign in "0123456789abcdef" for sign in self.name)

    @property
    def shown(self) -> str:
        """What stands for it on the screen."""
        if self.is_volume:
            return self.name[:12] if self.is_anonymous else self.name
        return printable(self.source) or self.kind


@dataclass(frozen=True, slots=True)
class ContainerLine:
    """One container."""

    id: str
    name: str
    image: str
    command: str
    status: str
    """As Docker's: "created", "running", "paused", "restarting", "removing", "exited", "dead"."""
    driver: str
    created: str | None = None
    started: str | None = None
    finished: str | None = None
    exit_code: int | None = None
    pid: int | None = None
    size: int | None = None
    """Bytes of the container layer; None while unknown."""
    start_ns: int | None = None
    """How long its last start took."""
    allocated: int | None = None
    """Bytes that its layers took on the disk when it was made."""
    image_id: str = ""
    mounts: tuple[MountLine, ...] = field(default=())

    @property
    def runs(self) -> bool:
        """Whether its processes live."""
        return self.status in RUNNING

    @property
    def failed(self) -> bool:
        """Whether it ended in a way that somebody should look at."""
        return self.status == "dead" or (self.status == "exited" and bool(self.exit_code))

    def state(self, now: float, glyphs: Glyphs) -> tuple[str, str]:
        """Return the sign and the words for its state.

        Args:
            now: seconds since 1970.
            glyphs: the signs.
        """
        if self.status == "running":
            return glyphs.winner, f"up {short_time(self.started, now)}".strip()
        if self.status == "exited":
            return glyphs.hidden, f"exited {self.exit_code or 0}"
        signs = {"created": glyphs.absent, "dead": glyphs.whiteout, "removing": glyphs.whiteout}
        return signs.get(self.status, glyphs.hidden), self.status or "unknown"

    def age(self, now: float) -> str:
        """Say how long ago it was made."""
        return short_time(self.created, now)

    def start_words(self) -> str:
        """Say how long its last start took."""
        return "" if self.start_ns is None else nanoseconds_words(self.start_ns)

    @property
    def short_id(self) -> str:
        """The digits of its ID that are shown."""
        return self.id[:12]


def short_time(recorded: str | None, now: float) -> str:
    """Say how long ago a time was, in a few letters: `4 s`, `12 min`, `3 h`, `5 days`."""
    moment = seconds_of(recorded)
    if moment is None or moment < 0:
        return ""
    seconds = max(0, int(now - moment))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h"
    return count_of(seconds // 86400, "day")


def nanoseconds_words(nanoseconds: int) -> str:
    """Return a duration in three digits: `6.2 ms`, `840 ms`, `1.3 s`."""
    milliseconds = nanoseconds / 1e6
    if milliseconds < 100:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f} s"


def read_lines(said: Iterable[object]) -> list[ContainerLine]:
    """Read what `ps --json` printed, whatever it is."""
    lines = []
    for document in said:
        for item in document if isinstance(document, list) else ():
            if isinstance(item, dict) and isinstance(item.get("id"), str):
                lines.append(_read(item))
    return lines


def _read(item: Mapping[str, object]) -> ContainerLine:
    command = item.get("command")
    words = [printable(str(word)) for word in command] if isinstance(command, list) else []
    mounts = item.get("mounts")
    image = str(item.get("image") or "")
    return ContainerLine(
        id=printable(str(item["id"])),
        name=_text(item, "name"),
        image=image[7:19] if image.startswith("sha256:") else printable(image),
        command=" ".join(shlex.quote(word) if " " in word else word for word in words),
        status=_text(item, "status"),
        driver=_text(item, "driver"),
        created=_time(item, "created"),
        started=_time(item, "started"),
        finished=_time(item, "finished"),
        exit_code=_whole(item, "exit_code"),
        pid=_whole(item, "pid"),
        size=_whole(item, "size_rw"),
        start_ns=_whole(item, "start_ns"),
        allocated=_whole(item, "allocated"),
        image_id=_text(item, "image_id"),
        mounts=tuple(
            _mount(mount)
            for mount in (mounts if isinstance(mounts, list) else ())
            if isinstance(mount, dict)
        ),
    )


def _mount(item: Mapping[str, object]) -> MountLine:
    return MountLine(
        kind=_text(item, "type"),
        name=_text(item, "name"),
        source=_text(item, "source"),
        target=_text(item, "destination"),
        read_only=item.get("read_only") is True,
    )


def _text(item: Mapping[str, object], key: str) -> str:
    value = item.get(key)
    return printable(value) if isinstance(value, str) else ""


def _time(item: Mapping[str, object], key: str) -> str | None:
    value = item.get(key)
    return value if isinstance(value, str) else None


def _whole(item: Mapping[str, object], key: str) -> int | None:
    value = item.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def with_sizes(
    lines: Sequence[ContainerLine],
    measured: Iterable[ContainerLine],
    before: Sequence[ContainerLine],
) -> list[ContainerLine]:
    """Put sizes to containers: those just measured, else those of before where nothing ran since.

    Args:
        lines: without sizes.
        measured: some of them, with sizes.
        before: what was known.
    """
    now = {line.id: line.size for line in measured if line.size is not None}
    known = {(line.id, line.finished): line.size for line in before}
    last = {line.id: line.size for line in before}
    sized = []
    for line in lines:
        size = now.get(line.id, line.size)
        if size is None:
            # One that runs shows its last size until the next one is known.
            size = last.get(line.id) if line.runs else known.get((line.id, line.finished))
        sized.append(line if size == line.size else replace(line, size=size))
    return sized


def without_size(lines: Iterable[ContainerLine]) -> list[ContainerLine]:
    """Return the containers at rest whose sizes are not known."""
    return [line for line in lines if line.size is None and not line.runs]


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """A path that a container changed."""

    kind: str
    """"A" added, "C" changed, "D" deleted."""
    path: str


def read_changes(said: Iterable[object]) -> list[ChangeLine]:
    """Read what `changes --json` printed."""
    return [
        ChangeLine(str(item.get("kind", "")), printable(str(item.get("path", ""))))
        for document in said
        for item in (document if isinstance(document, list) else ())
        if isinstance(item, dict)
    ]


def changes_words(changes: Sequence[ChangeLine]) -> str:
    """Sum changes up: `3 new, 1 changed, 2 deleted`."""
    words = []
    for kind, word in (("A", "new"), ("C", "changed"), ("D", "deleted")):
        number = sum(change.kind == kind for change in changes)
        if number:
            words.append(f"{number:,} {word}")
    return ", ".join(words) or "nothing changed"


def loss_words(
    lines: Sequence[ContainerLine], changes: Sequence[ChangeLine] | None, binary: bool
) -> str:
    """Say what removing containers loses and what stays.

    Args:
        lines: the containers.
        changes: what all of them changed; None where that is not known.
        binary: sizes in KiB and MiB.
    """
    sizes = [line.size for line in lines]
    whose = "its own layer" if len(lines) == 1 else "their own layers"
    if None in sizes:
        lost = f"All that was changed in {whose} is lost"
    else:
        total = sum(size or 0 for size in sizes)
        lost = f"{format_size(total, binary=binary)} in {whose} are lost"
    if changes is not None:
        lost += f": {changes_words(changes)}" if changes else "; nothing was changed"
    sentences = [lost + "."]
    running = sum(line.runs for line in lines)
    if running:
        sentences.insert(
            0,
            "It runs, and is killed first."
            if len(lines) == 1
            else f"{running} of them run, and are killed first.",
        )
    volumes = list(dict.fromkeys(m.shown for line in lines for m in line.mounts if m.is_volume))
    image = "the image" if len({line.image for line in lines}) < 2 else "the images"
    if volumes:
        shown = ", ".join(volumes[:6]) + (f" and {len(volumes) - 6} more" * (len(volumes) > 6))
        what = "volume" if len(volumes) == 1 else "volumes"
        sentences.append(f"What stays: the {what} {shown}, and {image}.")
    else:
        sentences.append(
            f"{image.capitalize()} stays." if image == "the image" else "The images stay."
        )
    return " ".join(sentences)


def since_words(line: ContainerLine, now: float) -> str:
    """Say when it started or ended."""
    if line.runs:
        return f"started {ago(line.started, now)}"
    if line.status == "exited":
        return f"ended {ago(line.finished, now)}"
    return "never started" if line.status == "created" else ""
