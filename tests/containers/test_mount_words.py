"""`-v` and `--mount`: what Docker takes is taken, and what it refuses is refused."""

from __future__ import annotations

import pytest

from layerview.containers.mount_words import mount, volume
from layerview.containers.plan import MountWish
from layerview.errors import UsageError

VOLUMES = {
    "/data": MountWish("volume", "", "/data"),
    "keep:/data": MountWish("volume", "keep", "/data"),
    "keep:/data:ro": MountWish("volume", "keep", "/data", read_only=True),
    "keep:/data:rw": MountWish("volume", "keep", "/data"),
    "keep:/data:": MountWish("volume", "keep", "/data"),
    "keep:/data:nocopy": MountWish("volume", "keep", "/data", copy=False),
    "keep:/data:ro,nocopy": MountWish("volume", "keep", "/data", read_only=True, copy=False),
    "keep:/data:z,ro": MountWish("volume", "keep", "/data", read_only=True),
    "keep:/data:consistent,ro": MountWish("volume", "keep", "/data", read_only=True),
    "keep:/../data": MountWish("volume", "keep", "/../data"),
    "/srv/a:/data": MountWish("bind", "/srv/a", "/data"),
    "/srv/../srv//a/:/data:ro": MountWish("bind", "/srv/a", "/data", read_only=True),
    "/srv/a:/data:rprivate": MountWish("bind", "/srv/a", "/data"),
    "/srv/ä b,c:/d e": MountWish("bind", "/srv/ä b,c", "/d e"),
}
NO_VOLUMES = {
    "": "is meant",
    ":": "is meant",
    ":/data": "is meant",
    "keep:": "is meant",
    "/data:ro": "is meant",
    "a:/b:ro:rw": "is meant",
    "keep": "keep is not an absolute path",
    "keep:data": "data is not an absolute path",
    "/srv/a:data": "data is not an absolute path",
    "keep:/": "on / itself",
    "/srv:/": "on / itself",
    "keep:/..:ro": "on / itself",
    "/": "on / itself",
    "//": "on / itself",
    "keep:/data:zz": "zz is no mode",
    "keep:/data:RO": "RO is no mode",
    "keep:/data:ro,rw": "ro,rw is no mode",
    "keep:/data:z,Z": "z,Z is no mode",
    "keep:/data:nocopy,nocopy": "is no mode",
    "keep:/data:ro,": "is no mode",
    "./a:/data": "named by its whole path",
    "../a:/data": "named by its whole path",
    "a/b:/data": "named by its whole path",
    "/srv/a:/data:nocopy": "nocopy is for volumes",
    "keep:/data:rshared": "is for folders of the machine",
    "/srv/a:/data:rshared": "mounts are private",
    "/srv/a\0:/data": "no zero byte",
}
MOUNTS = {
    "source=keep,target=/data": MountWish("volume", "keep", "/data"),
    "target=/data": MountWish("volume", "", "/data"),
    "type=volume,src=keep,dst=/data,ro": MountWish("volume", "keep", "/data", read_only=True),
    "type=VOLUME,SOURCE=keep,Destination=/data,ReadOnly": MountWish(
        "volume", "keep", "/data", read_only=True
    ),
    "source=keep,target=/data,readonly=1": MountWish("volume", "keep", "/data", read_only=True),
    "source=keep,target=/data,readonly=false": MountWish("volume", "keep", "/data"),
    "source=keep,target=/data,volume-nocopy": MountWish("volume", "keep", "/data", copy=False),
    "source=keep,target=/data,volume-nocopy=0": MountWish("volume", "keep", "/data"),
    "source=keep,target=/data,volume-driver=local": MountWish("volume", "keep", "/data"),
    "type=bind,source=/srv/a/,target=/data": MountWish(
        "bind", "/srv/a", "/data", make_source=False
    ),
    "type=bind,source=/srv,target=/data,consistency=cached,bind-propagation=rprivate": MountWish(
        "bind", "/srv", "/data", make_source=False
    ),
    'type=bind,"source=/srv/a,b",target=/data': MountWish(
        "bind", "/srv/a,b", "/data", make_source=False
    ),
    "type=tmpfs,target=/data": MountWish("tmpfs", "", "/data"),
    "type=tmpfs,target=/data,readonly": MountWish("tmpfs", "", "/data", read_only=True),
}
NO_MOUNTS = {
    "": "is meant",
    "source=keep": "target=PATH is missing",
    "source=keep,target=data": "data is not an absolute path",
    "source=keep,target=/": "on / itself",
    "source=keep,target=/data,": "is not KEY=VALUE",
    "source=keep,target=/data,colour": "is not KEY=VALUE",
    "source=keep,target=/data,colour=1": "there is no colour",
    " source=keep,target=/data": "there is no  source",
    "source=keep,target=/data,readonly=": "readonly is true or false",
    "source=keep,target=/data,readonly=maybe": "readonly is true or false",
    "type=npipe,source=keep,target=/data": "type is volume, bind or tmpfs",
    "type=,source=keep,target=/data": "type is volume, bind or tmpfs",
    "type=bind,target=/data": "source=PATH is missing",
    "type=bind,source=srv,target=/data": "source=PATH is not an absolute path",
    "type=bind,source=./srv,target=/data": "source=PATH is not an absolute path",
    "source=/srv,target=/data": "is type=bind",
    "type=tmpfs,source=a,target=/data": "a tmpfs has no source",
    "type=tmpfs,target=/data,volume-nocopy": "volume-nocopy is for type=volume",
    "type=bind,source=/srv,target=/data,volume-nocopy": "volume-nocopy is for type=volume",
    "target=/data,bind-propagation=rprivate": "bind-propagation is for type=bind",
    "target=/data,tmpfs-size=1m": "tmpfs-size is for type=tmpfs",
    "target=/data,volume-driver=nfs": "the driver local alone",
    "target=/data,volume-opt=o=bind": "volume-opt can't be had",
    "target=/data,volume-label=a=b": "volume-label can't be had",
    "type=tmpfs,target=/data,tmpfs-size=1m": "tmpfs-size can't be had",
    "type=bind,source=/srv,target=/data,bind-propagation=rshared": "mounts are private",
    'source=keep,"target=/data': "unexpected end of data",
}


@pytest.mark.parametrize("text", VOLUMES)
def test_v_says_a_mount(text: str) -> None:
    assert volume(text) == VOLUMES[text]


@pytest.mark.parametrize("text", NO_VOLUMES)
def test_v_says_what_is_off(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        volume(text)
    assert NO_VOLUMES[text] in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", MOUNTS)
def test_mount_says_a_mount(text: str) -> None:
    assert mount(text) == MOUNTS[text]


@pytest.mark.parametrize("text", NO_MOUNTS)
def test_mount_says_what_is_off(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        mount(text)
    assert NO_MOUNTS[text] in str(caught.value)
    assert str(caught.value).isprintable()
