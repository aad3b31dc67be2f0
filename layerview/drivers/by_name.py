"""The bundled drivers by their names; which of them work here is for `probe` to find out."""

from __future__ import annotations

from layerview.errors import LayerviewError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.drivers.base import Driver


def make_driver(name: str, root: str) -> Driver:
    """Return a driver by its name, tried or not.

    Raises:
        UsageError: when there is none of that name.
        LayerviewError: when it is not bundled yet, with what would be needed.
    """
    if name == "overlay2":
        from layerview.drivers.overlay2 import Overlay2

        return Overlay2(root)
    if name == "aufs":
        from layerview.drivers.aufs import Aufs

        return Aufs(root)
    if name == "vfs":
        from layerview.drivers.vfs import Vfs

        return Vfs(root)
    from layerview.drivers.probe import nearest_place, planned

    for finding in planned(nearest_place(root)):
        if finding.name == name:
            raise LayerviewError(f"driver {name}: {finding.reason}; {finding.remedy}")
    raise UsageError(f"no storage driver is called {name[:40]!r}: overlay2, aufs and vfs are")
