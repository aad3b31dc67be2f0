"""Podman's containers, root's and ordinary users', found without Podman and without its service."""

from __future__ import annotations

import os
import pwd
import tomllib
from collections.abc import Iterator
from contextlib import suppress

from layerview.drivers.base import folder_size
from layerview.errors import FormatError, LayerviewError, NotFoundError, UsageError
from layerview.layer.whiteouts import Whiteouts
from layerview.oci.config import pair_history
from layerview.oci.digest import Digest, chain_ids
from layerview.text import printable
from layerview.watch.containers_storage import (
    DRIVERS,
    Store,
    StoredContainer,
    below,
    containers,
    folder,
    image_config,
    layers,
    noted_pid,
    runtime_config,
)
from layerview.watch.running import first_process, root_mount
from layerview.watch.target import Target, WatchedLayer, WatchedVolume

_MACHINE = "/var/lib/containers/storage"
_MACHINE_RUN = "/run/containers/storage"
_SETTINGS = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
_ENGINES_OWN = ("/dev", "/proc", "/sys", "/run/.containerenv", "/run/secrets")
"""Where Podman mounts what is no volume."""
_ETC = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")


def find(word: str) -> Target:
    """Find a container by its name, its ID, or the ID's first digits.

    Raises:
        NotFoundError: when no store that can be read has it.
        UsageError: when several IDs begin so.
        LayerviewError: when it can't be watched.
    """
    tried = []
    for store in stores():
        try:
            found = _sought(store, word)
        except NotFoundError as error:
            tried.append(str(error))
            continue
        return _target(found)
    for monitor in _monitors():
        if word in (monitor.name, monitor.id) or (len(word) > 3 and monitor.id.startswith(word)):
            raise LayerviewError(
                f"container {printable(word)} is Podman's, of user {_user(monitor.uid)}, who alone"
                " may look into it: use sudo"
            )
    raise NotFoundError("; ".join(tried) or "Podman is not here")


def find_in(graph: str, id: str) -> Target:
    """Find a container in the store that an engine named."""
    for store in stores():
        if os.path.realpath(store.graph) == os.path.realpath(graph):
            return _target(_sought(store, id))
    store = Store(graph, _MACHINE_RUN, "overlay")
    return _target(_sought(store, id))


def running() -> list[Target]:
    """List what runs in the stores that can be read; what can't be watched is left out."""
    found = []
    for store in stores():
        with suppress(LayerviewError):
            for container in containers(store):
                pid = noted_pid(container)
                if pid is not None and first_process(container.id, pid) is not None:
                    with suppress(LayerviewError):
                        found.append(_target(container))
    return found


def _sought(store: Store, word: str) -> StoredContainer:
    known = containers(store)
    for container in known:
        if word == container.id or word in container.names:
            return container
    found = [container for container in known if word and container.id.startswith(word)]
    if len(found) > 1:
        raise UsageError(
            f"{printable(word)} may be several containers: "
            + ", ".join(f"{one.id[:12]} ({printable(one.name)})" for one in found[:10])
        )
    if not found:
        raise NotFoundError(
            f"Podman's store {printable(store.graph)} has no container {printable(word)}"
        )
    return found[0]


# --- stores ---


def stores() -> list[Store]:
    """List the stores that may be read: the configured one, and those of running containers."""
    found: dict[tuple[str, str], Store] = {}
    # First what runs: it says where its store's other half lies, whatever the settings say.
    for monitor in _monitors():
        if os.access(os.path.join(monitor.store.graph, f"{monitor.store.driver}-layers"), os.R_OK):
            found.setdefault((monitor.store.graph, monitor.store.driver), monitor.store)
    graph, run = _configured()
    for driver in DRIVERS:
        if os.path.isdir(os.path.join(graph, f"{driver}-containers")):
            found.setdefault((graph, driver), Store(graph, run, driver))
    own = [store for store in found.values() if store.graph == graph]
    return own + [store for store in found.values() if store.graph != graph]


def _configured() -> tuple[str, str]:
    """Return the graph root and the run root that Podman would use now (storage.conf(5))."""
    uid = os.geteuid()
    home = os.path.expanduser("~")
    config = os.environ.get("XDG_CONFIG_HOME", "") or os.path.join(home, ".config")
    named = os.environ.get("CONTAINERS_STORAGE_CONF", "")
    own = named or (os.path.join(config, "containers", "storage.conf") if uid else "")
    if uid == 0:
        graph, run = _MACHINE, _MACHINE_RUN
    else:
        data = os.environ.get("XDG_DATA_HOME", "") or os.path.join(home, ".local", "share")
        graph = os.path.join(data, "containers", "storage")
        runtime = os.environ.get("XDG_RUNTIME_DIR", "") or f"/run/user/{uid}"
        run = os.path.join(runtime, "containers")
    for path in (own, *_SETTINGS):
        said = _settings(path) if path else {}
        if not said:
            continue
        wide = uid == 0 or path == own
        rootless = said.get("rootless_storage_path") if uid else None
        chosen = rootless or (said.get("graphroot") if wide else None)
        graph = _expanded(chosen, uid, home) if chosen else graph
        run = _expanded(said["runroot"], uid, home) if wide and said.get("runroot") else run
        break
    return graph, run


def _settings(path: str) -> dict[str, str]:
    try:
        with open(path, "rb") as file:
            said = tomllib.loads(file.read(1 << 20).decode("utf-8", "replace")).get("storage")
    except (OSError, tomllib.TOMLDecodeError):
        return {}
    if not isinstance(said, dict):
        return {}
    return {key: value for key, value in said.items() if isinstance(value, str)}


def _expanded(text: str, uid: int, home: str) -> str:
    for word, value in (("$HOME", home), ("$UID", str(uid)), ("$USER", os.environ.get("USER", ""))):
        text = text.replace(word, value)
    return text


class _Monitor:
    """A running container's conmon, whose words say where its store is."""

    def __init__(self, uid: int, words: list[str]) -> None:
        """Read the words.

        Raises:
            ValueError: when they are not a conmon's of Podman.
        """
        self.uid = uid
        self.id = self._after(words, "-c")
        self.name = self._after(words, "-n")
        bundle, pid_file = self._after(words, "-b"), self._after(words, "-p")
        home = os.path.dirname(os.path.dirname(bundle))
        driver = os.path.basename(home).removesuffix("-containers")
        if os.path.basename(bundle) != "userdata" or driver not in DRIVERS:
            raise ValueError("not Podman's")
        run = pid_file
        for _ in range(4):
            run = os.path.dirname(run)
        self.store = Store(os.path.dirname(home), run, driver)

    @staticmethod
    def _after(words: list[str], flag: str) -> str:
        return words[words.index(flag) + 1]


def _monitors() -> Iterator[_Monitor]:
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        with suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{entry}/comm", "rb") as file:
                if file.read(64) != b"conmon\n":
                    continue
            uid = os.stat(f"/proc/{entry}").st_uid
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read(1 << 16).decode("utf-8", "surrogateescape").split("\0")
            monitor = _Monitor(uid, words)
            # Anybody may call a process so; a store is its owner's.
            if uid == 0 or os.stat(monitor.store.graph).st_uid == uid:
                yield monitor


def _user(uid: int) -> str:
    try:
        return printable(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return str(uid)


# --- one container ---


def _target(container: StoredContainer) -> Target:
    try:
        return _described(container)
    except LayerviewError as error:
        name = printable(container.name)
        raise LayerviewError(f"container {name} of Podman can't be watched: {error}") from None


def _described(container: StoredContainer) -> Target:
    store = container.store
    upper = folder(store, container.layer, "diff")
    known = layers(store)
    chain = below(known, container.layer)
    noted = noted_pid(container)
    pid = first_process(container.id, noted) if noted else None
    overlay = store.driver == "overlay"
    found = _layers(container, chain, [known[id].diff_id for id in chain])
    sized = tuple(
        layer._replace(size=known[id].size) for layer, id in zip(found, chain, strict=True)
    )
    return Target(
        engine="podman",
        id=container.id,
        name=container.name,
        image=container.image_name or container.image,
        driver=store.driver,
        whiteouts=_whiteouts(store, pid) if overlay else Whiteouts.NONE,
        upper=upper,
        layers=sized,
        volumes=_volumes(container),
        pid=pid,
        work=os.path.join(os.path.dirname(upper), "work") if overlay else None,
        copied_at_start=0 if overlay else _copied(sized),
    )


def _layers(
    container: StoredContainer, chain: list[str], diff_ids: list[str]
) -> list[WatchedLayer]:
    """Return the layers, top first, numbered from the base."""
    count = len(chain)
    chained: list[str] = [""] * count
    with suppress(FormatError):
        chained = [str(one) for one in chain_ids(map(Digest.parse, reversed(diff_ids)))]
    made_by = [""] * count
    config = image_config(container.store, container.image)
    if config is not None and len(config.diff_ids) == count:
        for row in pair_history(config, count):
            if row.layer is not None and row.history is not None:
                made_by[row.layer] = row.history.created_by or ""
    return [
        WatchedLayer(number, folder(container.store, id, "diff"), chained[number], made_by[number])
        for number, id in zip(reversed(range(count)), chain, strict=True)
    ]


def _whiteouts(store: Store, pid: int | None) -> Whiteouts:
    mount = None
    if pid is not None:
        with suppress(OSError):
            mount = root_mount(pid)
    if mount is not None:
        return Whiteouts.USER if mount.user else Whiteouts.TRUSTED
    owner = os.stat(os.path.join(store.graph, "overlay")).st_uid
    return Whiteouts.USER if owner else Whiteouts.TRUSTED


def _copied(found: tuple[WatchedLayer, ...]) -> int | None:
    try:
        return folder_size(found[0].folder) if found else 0
    except OSError:
        return None


def _volumes(container: StoredContainer) -> tuple[WatchedVolume, ...]:
    said = runtime_config(container)
    if said is None:
        return ()
    own = tuple(
        os.path.join(place, f"{container.store.driver}-containers", "")
        for place in (container.store.graph, container.store.run)
    )
    found = []
    with suppress(LayerviewError):
        for mount in said.objects("mounts"):
            source, target = (mount.optional_text(key) or "" for key in ("source", "destination"))
            if mount.optional_text("type") != "bind" or not os.path.isabs(source):
                continue
            if source.startswith(own) or target in _ETC:
                continue
            if any(target == place or target.startswith(f"{place}/") for place in _ENGINES_OWN):
                continue
            volume = os.path.basename(source) == "_data"
            name = os.path.basename(os.path.dirname(source)) if volume else ""
            options = mount.texts("options")
            wanted = os.fsencode(target).strip(b"/")
            found.append(WatchedVolume(name, source, wanted, "ro" in options))
    return tuple(found)
