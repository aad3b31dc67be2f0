"""Containers for tests of the store: made as a caller makes them, without being started."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from layerview.store.area import Area
from layerview.store.containers import Making, NewContainer
from layerview.store.writing import Writing


def new(area: Area, image: str, name: str, *, id: str = "", **more: object) -> NewContainer:
    """Return what makes a container of an image of the area."""
    record = area.data.image(image)
    id = id or secrets.token_hex(32)
    config = {
        "Hostname": id[:12],
        "Domainname": "",
        "User": "",
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": ["PATH=/bin"],
        "Cmd": ["true"],
        "Image": image,
        "Volumes": None,
        "WorkingDir": "",
        "Entrypoint": None,
        "OnBuild": None,
        "Labels": {},
    }
    given: dict[str, object] = {"config": config, "path": "true", **more}
    return NewContainer(
        id=id,
        name=name,
        driver=record.driver,
        image_id=record.image_id,
        parent=record.chain_ids[-1] if record.chain_ids else None,
        mount_id=secrets.token_hex(32),
        **given,  # type: ignore[arg-type]
    )


def make(
    writing: Writing, wanted: NewContainer, also: Callable[[Making], None] = lambda making: None
) -> NewContainer:
    """Make a container with its two layers."""
    with writing.new_container(wanted) as making:
        layers(writing, wanted, making)
        also(making)
    return wanted


def layers(writing: Writing, wanted: NewContainer, making: Making) -> None:
    """Make a container's two layers."""
    driver = writing.driver(wanted.driver)
    below = (
        writing.area.data.layer(wanted.driver, wanted.parent).cache_id
        if wanted.parent is not None
        else None
    )
    driver.create_writable(making.init_id, below)
    driver.create_writable(making.mount_id, making.init_id)


def created(root: Path, image: str, name: str, *, id: str = "", **more: object) -> NewContainer:
    """Make a container in a writing of its own."""
    area = Area.open(str(root))
    with area.writing() as writing:
        return make(writing, new(area, image, name, id=id, **more))


def of(root: Path) -> set[str]:
    """Return the IDs of which anything of a container is there."""
    found = {path.name for path in root.glob("containers/*")}
    found |= {path.name for path in root.glob("image/*/layerdb/mounts/*")}
    found |= {path.name for path in root.glob("layerview/making/*")}
    return found | {path.name for path in root.glob("layerview/removing/*")}
