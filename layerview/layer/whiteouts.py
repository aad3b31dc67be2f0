"""The forms in which a layer's folder on disk says what it deletes."""

from __future__ import annotations

from enum import Enum


class Whiteouts(Enum):
    """How a folder that holds one layer marks deletions.

    In tars they always are `.wh.NAME` and `.wh..wh..opq` (OCI image-spec, layer.md, Whiteouts).
    """

    TRUSTED = "overlay"
    """Character devices 0/0, opaque folders by `trusted.overlay.opaque=y` (kernel overlayfs)."""
    USER = "overlay-user"
    """The same with `user.overlay.opaque`, as overlayfs mounted with `userxattr` has it."""
    AUFS = "aufs"
    """Files as in tars; other `.wh..wh.*` names are aufs's own."""
    NONE = "none"
    """No marks: the folder is a full tree, and deletions were carried out in it."""
