"""Storage areas for tests: what lies in them, and what should never be left."""

from __future__ import annotations

import json
from pathlib import Path

from layerview.store.area import Area
from layerview.store.check import AreaCheck, Check, repair
from tests.support import tars

BASE = tars.layer(
    tars.folder("d", mode=0o750),
    tars.file("d/f", b"k" * 1000),
    tars.symlink("l", "d/f"),
    tars.hardlink("h", "d/f"),
    tars.file("e", b""),
)
TOP = tars.layer(tars.folder("d", mode=0o750), tars.whiteout("d/f"), tars.file("new", b"n"))


def names(root: Path, driver: str = "vfs") -> dict[str, str]:
    """Return the references of an area, and the image each names."""
    path = root / "image" / driver / "repositories.json"
    if not path.exists():
        return {}
    found = json.loads(path.read_text())["Repositories"]
    return {name: image for tags in found.values() for name, image in tags.items()}


def images(root: Path, driver: str = "vfs") -> set[str]:
    """Return the IDs of an area's images."""
    folder = root / "image" / driver / "imagedb" / "content" / "sha256"
    return {f"sha256:{path.name}" for path in folder.glob("*")}


def layers(root: Path, driver: str = "vfs") -> set[str]:
    """Return the ChainIDs of an area's layers."""
    folder = root / "image" / driver / "layerdb" / "sha256"
    return {f"sha256:{path.name}" for path in folder.glob("*")}


def folders(root: Path, driver: str = "vfs") -> set[str]:
    """Return the names of the driver's folders."""
    home = root / {"vfs": "vfs/dir", "aufs": "aufs/diff"}.get(driver, driver)
    return {path.name for path in home.glob("*")} - {"l"}


def is_bare(root: Path) -> bool:
    """Whether nothing is left of any image, and of no attempt at one."""
    left = [*root.glob("layerview/tmp/*"), *root.glob("layerview/intents/*")]
    left += [*root.glob("image/*/layerdb/tmp/*"), *root.glob("image/*/layerdb/sha256/*")]
    left += [*root.glob("image/*/imagedb/*/sha256/*"), *root.glob("vfs/dir/*")]
    left += [path for path in root.glob("overlay2/*") if path.name != "l"]
    left += [*root.glob("overlay2/l/*"), *root.glob("aufs/*/*"), *root.glob(".layerview-*")]
    return not left


def wrong(root: Path) -> list[Check]:
    """Return what a check of the area finds wrong."""
    return [check for check in AreaCheck(Area.open(str(root))).run() if not check.ok]


def repaired(root: Path) -> list[Check]:
    """Repair an area as `doctor --repair` does; return what is wrong with it afterwards."""
    area = Area.open(str(root))
    checks = AreaCheck(area).run()
    repair(area, checks, lambda line: None)
    return wrong(root)
