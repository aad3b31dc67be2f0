"""What `ps` tells of containers: each with its state as it is, sizes where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from layerview.errors import LayerviewError, NotFoundError, UsageError
from layerview.oci.digest import Digest
from layerview.store.data_root import ContainerRecord, DataRoot
from layerview.store.finding import find
from layerview.store.inventory import container_size, is_active
from layerview.text import printable
from layerview.times import ago, seconds_of

FILTERS = (
    *("id", "name", "label", "exited", "status", "ancestor", "before", "since", "volume"),
    "driver",
)
"""What `ps --filter` knows."""
_STATES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")


@dataclass(slots=True)
class Container:
    """A container as `ps` shows it."""

    record: ContainerRecord
    pid: int | None = None
    """Its first process; None when it does not run."""
    size_rw: int | None = None
    """Bytes that it changed; None where that was not asked for, or can't be told."""
    size_root: int | None = None
    """Bytes of its image's layers and of what it changed."""
    start_ns: int | None = None
    """Nanoseconds that its last start took."""
    allocated: int | None = None
    """Bytes that its layers took on the disk when it was made."""
    mounts: Sequence[Mapping[str, object]] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def status(self, now: float) -> str:
        """Return Docker's words for its state (moby, container.State.String)."""
        record = self.record
        if record.status in ("running", "paused", "restarting"):
            up = ago(record.started, now).removesuffix(" ago")
            return f"Up {up} (Paused)" if record.status == "paused" else f"Up {up}"
        if record.status == "exited":
            return f"Exited ({record.exit_code or 0}) {ago(record.finished, now)}"
        words = {"removing": "Removal In Progress", "dead": "Dead"}
        return words.get(record.status, "Created")


def listed(
    data: DataRoot,
    *,
    every: bool = False,
    size: bool = False,
    filters: Sequence[str] = (),
    problems: list[str] | None = None,
) -> list[Container]:
    """List containers, the newest first.

    Args:
        data: where they lie.
        every: those that do not run, too; so does a filter by status, as in Docker.
        size: find out what each changed.
        filters: `KEY=VALUE`; see FILTERS.
        problems: takes a line for each container that can't be read.

    Raises:
        UsageError: when a filter is none.
    """
    known = [record for record in data.containers(problems) if record.name]
    known.sort(key=_age)
    wanted = _Wanted(data, known, filters)
    found = []
    for record in known:
        if not (every or wanted.any_state or is_active(record)):
            continue
        container = described(data, record)
        if wanted.has(container):
            if size:
                measure(data, container)
            found.append(container)
    return found


def _age(record: ContainerRecord) -> tuple[float, str]:
    return -(seconds_of(record.created) or 0.0), record.name


def described(data: DataRoot, record: ContainerRecord) -> Container:
    """Return a container with what its other records say."""
    from layerview.containers.mounting import mounts_of

    document = record.document or data.container_document(record.id)
    config = document.optional_inner("Config")
    note = data.container_notes(record.id)
    return Container(
        record,
        pid=record.pid or None,
        start_ns=_whole(note.get("start_ns")),
        allocated=_whole(note.get("allocated")),
        mounts=mounts_of(document),
        labels=config.text_map("Labels") if config is not None else {},
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def measure(data: DataRoot, container: Container) -> None:
    """Find out what a container changed, and how large it is with its image."""
    record = container.record
    container.size_rw = container_size(data, record)
    container.size_root = None
    if container.size_rw is None:
        return
    total, chain = container.size_rw, record.parent
    try:
        while chain is not None:
            layer = data.layer(record.driver, chain)
            total += layer.size
            chain = layer.parent
    except LayerviewError:
        return
    container.size_root = total


class _Wanted:
    """What filters ask for: of one key any, of all keys every one."""

    def __init__(
        self, data: DataRoot, known: Sequence[ContainerRecord], filters: Sequence[str]
    ) -> None:
        self._data = data
        self._known = known
        self._tests: dict[str, list[Callable[[Container], bool]]] = {}
        self.any_state = False
        for text in filters:
            key, sign, value = text.partition("=")
            if not sign or key not in FILTERS:
                raise UsageError(
                    f"{printable(text[:80])!r} is no filter: KEY=VALUE is, with"
                    f" {', '.join(FILTERS)} as KEY"
                )
            self.any_state |= key == "status"
            self._tests.setdefault(key, []).append(self._test(key, value))

    def has(self, container: Container) -> bool:
        """Whether a container is one that is asked for."""
        return all(any(test(container) for test in tests) for tests in self._tests.values())

    def _test(self, key: str, value: str) -> Callable[[Container], bool]:
        if key == "status":
            if value not in _STATES:
                raise UsageError(f"{printable(value)!r} is no state: {', '.join(_STATES)} are")
            return lambda found: found.record.status == value
        if key == "exited":
            if not value.isdecimal():
                raise UsageError(f"exited={printable(value)}: a number is needed")
            code = int(value)
            return lambda found: found.record.status == "exited" and found.record.exit_code == code
        if key == "id":
            return lambda found: found.record.id.startswith(value)
        if key == "name":
            return lambda found: value.removeprefix("/") in found.record.name
        if key == "driver":
            return lambda found: found.record.driver == value
        if key == "label":
            name, sign, text = value.partition("=")
            return lambda found: name in found.labels and (not sign or found.labels[name] == text)
        if key == "volume":
            return lambda found: any(
                value in (mount["name"], mount["destination"]) for mount in found.mounts
            )
        if key == "ancestor":
            return self._descends(value)
        other = self._position(value)
        if key == "before":
            return lambda found: self._known.index(found.record) > other
        return lambda found: self._known.index(found.record) < other

    def _position(self, word: str) -> int:
        wanted = self._data.container(word)
        for number, record in enumerate(self._known):
            if record.id == wanted.id:
                return number
        raise NotFoundError(f"there is no container {printable(word)}")

    def _descends(self, word: str) -> Callable[[Container], bool]:
        """Made from an image, or from one that was built on it."""
        image = find(self._data, word).record
        top: Digest | None = image.chain_ids[-1] if image.chain_ids else None

        def test(container: Container) -> bool:
            record = container.record
            if record.image_id == image.image_id:
                return True
            if top is None or record.driver != image.driver or record.image_id is None:
                return False
            try:
                return top in self._data.image(str(record.image_id), record.driver).chain_ids
            except LayerviewError:
                return False

        return test


def json_fields(container: Container) -> dict[str, object]:
    """Return what `ps --json` prints of a container."""
    record = container.record
    return {
        "id": record.id,
        "name": record.name,
        "image": record.image_name or (str(record.image_id) if record.image_id else None),
        "image_id": str(record.image_id) if record.image_id else None,
        "command": list(record.command),
        "created": record.created,
        "status": record.status or None,
        "exit_code": record.exit_code if record.status in ("exited", "dead") else None,
        "pid": container.pid,
        "driver": record.driver,
        "size_rw": container.size_rw,
        "size_root": container.size_root,
        "start_ns": container.start_ns,
        "allocated": container.allocated,
        "started": record.started if not _never(record.started) else None,
        "finished": record.finished if not _never(record.finished) else None,
        "mounts": list(container.mounts),
        "ports": [],
        "labels": dict(container.labels),
    }


def _never(text: str | None) -> bool:
    return text is None or text.startswith("0001-")
