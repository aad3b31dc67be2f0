"""Where an owner could not be kept: the attribute that remembers it."""

from __future__ import annotations

OVERRIDE = b"user.containers.override_stat"
"""Extended attribute with the owner and mode of an entry whose owner could not be kept, as
"uid:gid:0mode": fuse-overlayfs and containers/storage write and obey it."""
