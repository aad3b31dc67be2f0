"""Names as a tar records them, made into paths of the layer; whiteouts told from entries.

OCI image spec, layer.md, "Whiteouts" and "Opaque Whiteout"; the `.wh..wh.` names are aufs's own.
"""

from __future__ import annotations

WHITEOUT_PREFIX = b".wh."
OPAQUE_MARKER = b".wh..wh..opq"
_AUFS_PREFIX = b".wh..wh."


def normalise(name: bytes) -> tuple[bytes, bool]:
    """Make a recorded name a relative path; also say whether it tried to leave the root.

    `..` is clamped at the root, as a process in the container would see it.
    """
    parts: list[bytes] = []
    escaped = False
    for part in name.split(b"/"):
        if part == b"..":
            if parts:
                parts.pop()
            else:
                escaped = True
        elif part and part != b".":
            parts.append(part)
    return b"/".join(parts), escaped


def is_aufs_metadata(path: bytes) -> bool:
    """Whether a path is one of aufs's own files, or below one: no part of the layer."""
    return any(part.startswith(_AUFS_PREFIX) and part != OPAQUE_MARKER for part in path.split(b"/"))
