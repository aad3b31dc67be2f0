"""The containers of Docker Engines, found by their API, looked at in their data root."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress

from layerview.errors import FormatError, LayerviewError, NotFoundError
from layerview.layer.whiteouts import Whiteouts
from layerview.oci.digest import Digest, chain_ids
from layerview.oci.fields import Fields
from layerview.sources.docker_context import Endpoint, candidates, current_endpoint
from layerview.sources.engine import EngineInfo, look_at
from layerview.sources.engine_client import EngineClient, NotInEngine
from layerview.text import printable
from layerview.watch import ours
from layerview.watch.data_roots import recorded_target
from layerview.watch.events import INIT
from layerview.watch.running import OverlayMount, absolute, first_process, root_mount
from layerview.watch.target import Target, WatchedLayer, WatchedVolume

DEFAULT_ROOT = "/var/lib/docker"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_ID = re.compile(r"[0-9a-f]{64}")
_MOST = 200
"""Containers of one engine that are listed."""


def find(word: str) -> Target:
    """Find a container by its name, its ID, or the ID's first digits.

    Raises:
        NotFoundError: when no engine has it; the message says who was asked.
        LayerviewError: when it can't be watched.
    """
    tried = []
    for endpoint in _endpoints():
        try:
            return _ask(EngineClient(endpoint), word)
        except NotFoundError as error:
            tried.append(str(error))
        except _Unanswered as error:
            tried.append(str(error))
    # An engine that is stopped leaves what its containers hold.
    with suppress(LayerviewError, OSError):
        return ours.find(word, DEFAULT_ROOT)
    raise NotFoundError("; ".join(tried))


def running() -> list[Target]:
    """List what runs in the engines that answer; what can't be watched is left out."""
    found: dict[str, Target] = {}
    for endpoint in _endpoints():
        client = EngineClient(endpoint)
        with suppress(LayerviewError):
            answer = client.json("/containers/json")
            for item in (answer if isinstance(answer, list) else [])[:_MOST]:
                with suppress(LayerviewError):
                    target = _ask(client, Fields(item, client.what).text("Id"))
                    found.setdefault(target.id, target)
    return list(found.values())


class _Unanswered(LayerviewError):
    """An engine that can't be asked."""


def _endpoints() -> Iterator[Endpoint]:
    """Yield the engines that may be here, the current one first; Podman has a way of its own."""
    current = None
    with suppress(LayerviewError):
        current = current_endpoint()
        yield current
    for endpoint in candidates():
        with suppress(LayerviewError):
            socket = endpoint.socket
            if endpoint.name == "podman" or socket is None or not os.path.exists(socket):
                continue
            if current is None or current.address != endpoint.address:
                yield endpoint


def _ask(client: EngineClient, word: str) -> Target:
    if not _NAME.fullmatch(word):
        raise NotFoundError(f"{printable(word[:120])} is no container's name in Docker")
    try:
        fields = client.fields(f"/containers/{word}/json")
    except NotInEngine:
        raise NotFoundError(f"{client.what} has no container {word}") from None
    except LayerviewError as error:
        raise _Unanswered(str(error)) from None
    id = fields.text("Id")
    if not _ID.fullmatch(id):
        fields.fail("Id", "is no container's ID")
    if client.endpoint.socket is None:
        raise LayerviewError(
            f"container {word} runs on another machine ({client.endpoint}): its layers can be"
            " watched there"
        )
    info = look_at(client.endpoint)
    if info.error:
        raise _Unanswered(info.error)
    state = fields.inner("State")
    said = state.integer("Pid") if state.flag("Running") else None
    pid = first_process(id, said) if said else None
    if info.containerd_store:
        return _by_mount(client, fields, id, pid, bool(said))
    graph = _podmans(fields)
    if graph:
        from layerview.watch import podman

        return podman.find_in(graph, id)
    return _in_data_root(info, id, pid)


def _in_data_root(info: EngineInfo, id: str, pid: int | None) -> Target:
    root = info.data_root
    try:
        data = ours.open_root(root)
        record = data.container(id)
    except LayerviewError as error:
        said = str(error)
        if not _may_read(root):
            said = f"{printable(root)}: only root may read it; use sudo"
        raise LayerviewError(f"container {id[:12]} of Docker can't be watched: {said}") from None
    return recorded_target(data, record, engine="docker", pid=pid)


def _may_read(root: str) -> bool:
    return os.access(os.path.join(root, "image"), os.R_OK | os.X_OK)


def _podmans(fields: Fields) -> str | None:
    """Return the folder of Podman's store, where the engine that answered is Podman."""
    driver = fields.optional_inner("GraphDriver")
    if driver is None or driver.optional_text("Name") not in ("overlay", "vfs"):
        return None
    upper = driver.optional_inner("Data")
    place = (upper.optional_text("UpperDir") or "") if upper is not None else ""
    graph = place
    for _ in range(3):
        graph = os.path.dirname(graph)
    there = place and os.path.isdir(os.path.join(graph, "overlay-containers"))
    return graph if there else None


# --- containerd's store ---


def _by_mount(client: EngineClient, fields: Fields, id: str, pid: int | None, runs: bool) -> Target:
    """Find the layers by what the first process has mounted: containerd names them nowhere."""
    name = (fields.optional_text("Name") or "").removeprefix("/") or id[:12]
    start = f"container {printable(name)} of Docker can't be watched"
    if pid is None:
        why = (
            "its first process is not seen from here"
            if runs
            else "containerd keeps its layers, which can be found only while it runs"
        )
        raise LayerviewError(f"{start}: {why}")
    try:
        mount = root_mount(pid)
    except PermissionError:
        raise LayerviewError(f"{start}: /proc/{pid}/mountinfo may not be read; use sudo") from None
    except OSError:
        mount = None
    mount = absolute(mount) if mount is not None else None
    if mount is None:
        raise LayerviewError(f"{start}: its root is no overlayfs whose layers are on this machine")
    image = fields.optional_text("Image") or ""
    diff_ids, made_by = _image(client, image)
    config = fields.optional_inner("Config")
    called = config.optional_text("Image") if config is not None else None
    return Target(
        engine="docker",
        id=id,
        name=name,
        image=called or image,
        driver="overlay2",
        whiteouts=Whiteouts.USER if mount.user else Whiteouts.TRUSTED,
        upper=mount.upper,
        layers=_numbered(mount, diff_ids, made_by),
        volumes=_volumes(fields),
        pid=pid,
        work=mount.work or None,
        copied_at_start=0,
    )


def _image(client: EngineClient, image: str) -> tuple[tuple[Digest, ...], list[str]]:
    """Return an image's DiffIDs and what made each layer, "" where that can't be told."""
    diff_ids: tuple[Digest, ...] = ()
    made_by: list[str] = []
    with suppress(LayerviewError):
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", image):
            raise FormatError("no image ID")
        rootfs = client.fields(f"/images/{image}/json").optional_inner("RootFS")
        diff_ids = rootfs.digests("Layers") if rootfs is not None else ()
        answer = client.json(f"/images/{image}/history")
        rows = [Fields(row, client.what) for row in (answer if isinstance(answer, list) else [])]
        # Which entries have a layer is not said: only where all that can have one do is it known.
        for held in (rows, [row for row in rows if row.get("Size")]):
            if len(held) == len(diff_ids):
                made_by = [row.optional_text("CreatedBy") or "" for row in reversed(held)]
                break
    return diff_ids, made_by or [""] * len(diff_ids)


def _numbered(
    mount: OverlayMount, diff_ids: tuple[Digest, ...], made_by: list[str]
) -> tuple[WatchedLayer, ...]:
    count = len(mount.lowers)
    chain = chain_ids(diff_ids) if len(diff_ids) in (count, count - 1) else []
    init = bool(chain) and len(chain) == count - 1
    found = []
    for number, folder in zip(reversed(range(count)), mount.lowers, strict=True):
        if init and number == count - 1:
            found.append(WatchedLayer(INIT, folder))
        elif chain:
            found.append(WatchedLayer(number, folder, str(chain[number]), made_by[number]))
        else:
            found.append(WatchedLayer(number, folder))
    return tuple(found)


def _volumes(fields: Fields) -> tuple[WatchedVolume, ...]:
    found = []
    for mount in fields.objects("Mounts"):
        source = mount.optional_text("Source") or ""
        if mount.optional_text("Type") == "tmpfs" or not source:
            continue
        target = os.fsencode(mount.text("Destination")).strip(b"/")
        name = mount.optional_text("Name") or ""
        found.append(WatchedVolume(name, source, target, not mount.flag("RW")))
    return tuple(found)
