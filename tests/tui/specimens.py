"""The images that the screens are tested on, made by hand; the same bytes every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support import archives
from tests.support.archives import Layer, image, made_by
from tests.support.tars import file, folder, layer, opaque, symlink, whiteout

CSS = b"""@font-face { font-family: "Inter"; src: url(../fonts/inter.woff2) format("woff2"); }

:root {
  --ink: #1c2430;
  --paper: #fcfbf8;
  --accent: #0f62fe;
  --radius: 6px;
}

body {
  margin: 0;
  color: var(--ink);
  background: var(--paper);
}
"""
APP = "srv/app"
PASSWD = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv/app:/bin/sh\n"
GROUP = b"root:x:0:\napp:x:1000:\n"
CREATED = "2026-11-19T08:14:22.123456789Z"


def _blob(size: int, seed: int = 0) -> bytes:
    """Bytes that are no text, and not all the same."""
    return bytes((seed + place * 7) % 251 for place in range(256)) * (size // 256 + 1)


def blob(size: int, seed: int = 0) -> bytes:
    """Exactly `size` bytes."""
    return _blob(size, seed)[:size]


def css(size: int) -> bytes:
    """A style sheet of exactly `size` bytes."""
    return (CSS * (size // len(CSS) + 1))[:size]


STATIC = (
    ("css/site.css", css(4120)),
    ("css/print.css", css(613)),
    ("css/admin.css", css(267)),
    ("catalog/atlas.webp", blob(62_000, 1)),
    ("catalog/hero-4k.webp", blob(58_000, 2)),
    ("catalog/small.webp", blob(290_000, 3)),
    ("fonts/Inter.var.woff2", blob(46_000, 4)),
    ("js/main.js", blob(21_000, 5)),
)
OWNED = {"uid": 1000, "gid": 1000}


def _static(mode: int) -> list:  # type: ignore[type-arg]
    return [file(f"{APP}/static/{name}", data, mode=mode, **OWNED) for name, data in STATIC]


def shop_web() -> archives.Image:
    """A web shop in six layers; the top one copies all of static/ to change its mode."""
    base = layer(
        folder("bin"),
        file("etc/passwd", PASSWD),
        file("etc/group", GROUP),
        file("etc/hostname", b"shop\n"),
        file("etc/os-release", b'NAME="Debian"\n' * 20),
        file("usr/bin/busybox", blob(200_000, 6), mode=0o755),
        symlink("usr/bin/sh", "busybox"),
        symlink("usr/bin/loop", "loop"),
        file("usr/lib/libc.so", blob(300_000, 7)),
        file("usr/sbin/init", blob(26_000, 8), mode=0o755),
        file("usr/share/doc.txt", blob(160_000, 9)),
        file("var/lib/dpkg/status", b"Package: base\n" * 4000),
        file("var/cache/old.bin", blob(40_000, 10)),
    )
    apt = layer(
        file("usr/lib/libpython.so", blob(812_000, 11)),
        file("usr/bin/python3", blob(190_000, 12), mode=0o755),
        file("usr/share/zoneinfo", blob(80_000, 13)),
        file("var/lib/dpkg/status", b"Package: base\n" * 4000 + b"Package: python3\n" * 3000),
        whiteout("var/cache/old.bin"),
        file("etc/hostname", b"web\n"),
    )
    requirements = layer(file(f"{APP}/requirements.txt", b"gunicorn==23\n" * 2, **OWNED))
    pip = layer(
        file("usr/local/lib/site.py", b"import os\n" * 900),
        file("usr/local/lib/gunicorn.bin", blob(740_000, 14)),
    )
    copy = layer(
        *_static(0o644),
        file(f"{APP}/src/main.py", b"print('shop')\n" * 700, **OWNED),
        file(f"{APP}/data/seed.json", b'{"id": 1}\n' * 340, **OWNED),
    )
    chmod = layer(*_static(0o664))
    made = [
        made_by("ADD rootfs.tar.gz / # buildkit", created=CREATED),
        made_by("ENV PATH=/usr/local/bin:/usr/bin", empty=True, created=CREATED),
        made_by(
            "RUN /bin/sh -c apt-get update && apt-get install -y python3 nginx # buildkit",
            created=CREATED,
        ),
        made_by("COPY requirements.txt /srv/app/requirements.txt # buildkit", created=CREATED),
        made_by(
            "RUN /bin/sh -c pip install --no-cache-dir -r /srv/app/requirements.txt # buildkit",
            created=CREATED,
        ),
        made_by("COPY app/ /srv/app/ # buildkit", created=CREATED),
        made_by("RUN /bin/sh -c chmod -R g+rX /srv/app/static # buildkit", created=CREATED),
        made_by("EXPOSE 8080", empty=True, created=CREATED),
        made_by("USER app", empty=True, created=CREATED),
        made_by('CMD ["gunicorn"]', empty=True, created=CREATED),
    ]
    return image(
        base,
        apt,
        requirements,
        pip,
        copy,
        chmod,
        tags=["shop/web:7.2"],
        history=made,
        config={"User": "app", "Cmd": ["gunicorn"]},
        extra={"created": CREATED},
    )


def shop_worker() -> archives.Image:
    """Another image on the shop's first two layers."""
    shop = shop_web()
    own = layer(
        file(f"{APP}/worker.py", b"print('work')\n" * 300, **OWNED),
        file("etc/hostname", b"worker\n"),
        opaque("usr/share"),
        file("usr/share/new.txt", b"new\n"),
    )
    return image(
        shop.layers[0],
        shop.layers[1],
        own,
        tags=["shop/worker:7.2"],
        history=[*shop.history[:3], made_by("COPY worker/ /srv/app/", created=CREATED)],  # type: ignore[index]
        config={"User": "app", "Cmd": ["worker"]},
        extra={"created": CREATED},
    )


def many_layers(count: int = 40) -> archives.Image:
    """An image of more layers than there are hues or rows."""
    layers = [
        layer(file(f"data/part{number:02}", blob(1000 + 37 * number, number)))
        for number in range(count)
    ]
    return image(*layers, tags=["shop/many:1"])


def write_shop(path: Path) -> Path:
    """Write the shop's image as `docker save` does."""
    return archives.docker_archive(path, shop_web())


def write_worker(path: Path) -> Path:
    """Write the worker's image as an OCI layout with gzip layers."""
    worker = shop_worker()
    layers = tuple(replace(part, compression="gzip") for part in worker.layers)
    return archives.oci_layout(path, replace(worker, layers=layers))


def write_missing(path: Path) -> Path:
    """Write the shop's image without the blob of layer 3."""
    shop = shop_web()
    layers = list(shop.layers)
    layers[3] = replace(layers[3], present=False)
    return archives.oci_layout(path, replace(shop, layers=tuple(layers)))


def write_damaged(path: Path) -> Path:
    """Write the shop's image with layer 3 cut off in the middle and layer 1 lying about itself."""
    shop = shop_web()
    layers = list(shop.layers)
    layers[3] = replace(layers[3], stored=layers[3].tar[: len(layers[3].tar) // 2])
    return archives.oci_layout(path, replace(shop, layers=tuple(layers)))


def write_odd_names(path: Path) -> Path:
    """Write an image of names that a terminal must not see as they are."""
    odd = layer(
        file("tmp/\x1b[31mred\x1b[0m", b"escape \x1b[31m in content\n"),
        file("tmp/line\nbreak", b"two\n"),
        file(b"tmp/latin-\xff", b"one byte that is no UTF-8\n"),
        file("tmp/right-\u202eto-left", b"bidi\n"),
        file("tmp/[bold]markup[bold]", b"[red]not markup[/red]\n"),
        file("tmp/wide-\u6f22\u5b57-\U0001f600", b"wide\n"),
        file("tmp/binary", bytes(range(256)) * 4),
        file("tmp/empty", b""),
    )
    return archives.docker_archive(path, image(Layer(tar=odd), tags=["odd/names:1"]))
