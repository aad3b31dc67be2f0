"""Names in a Docker data root: which file lies where (Docker Engine 1.10 and later).

Nothing here touches the disk. Every text that becomes part of a path is checked first.
"""

from __future__ import annotations

import os

from layerview.drivers.base import is_id
from layerview.errors import FormatError
from layerview.layer.whiteouts import Whiteouts
from layerview.oci.digest import Digest
from layerview.text import LOWER_CASE, consists_of, is_hex, printable

_LONGEST_DRIVER = 128

_FOLDERS = {
    "overlay2": ("overlay2", "diff"),
    "fuse-overlayfs": ("fuse-overlayfs", "diff"),
    "overlay": ("overlay", "root"),
    "aufs": ("aufs/diff", ""),
    "vfs": ("vfs/dir", ""),
    "btrfs": ("btrfs/subvolumes", ""),
}
"""Where a driver keeps a layer's own files: the folder of the layers, the folder in a layer's."""
_WHITEOUTS = {
    "overlay2": Whiteouts.TRUSTED,
    "fuse-overlayfs": Whiteouts.TRUSTED,
    "aufs": Whiteouts.AUFS,
}


def driver_id(text: str, where: str) -> str:
    """Check a driver's name for a layer: cache IDs, mount IDs, init IDs.

    Docker makes 64 hexadecimal digits; BuildKit, whose layers Docker takes over, 25 of base 36.

    Args:
        text: what a file of the data root says.
        where: that file, for the error.

    Raises:
        FormatError: the text is no such name, and so must not become part of a path.
    """
    if not is_id(text):
        raise FormatError(f'{printable(where)} holds no cache ID: "{printable(text[:80])}"')
    return text


def is_driver_id(text: str) -> bool:
    """Whether a text has the form of a driver's name for a layer."""
    return is_id(text)


def is_container_id(text: str) -> bool:
    """Whether a text has the form of a container's ID."""
    return is_hex(text, 64)


def sha256_digest(text: str, where: str) -> Digest:
    """Check a "sha256:…" that a file of the data root holds.

    Raises:
        FormatError: the text is none; the message begins with `where`.
    """
    try:
        digest = Digest.parse(text)
    except FormatError as error:
        raise FormatError(f"{printable(where)}: {error}") from None
    if digest.algorithm != "sha256":
        raise FormatError(f"{printable(where)}: {digest.algorithm} is not used in data roots")
    return digest


def whiteouts_of(driver: str, *, rootless: bool = False) -> Whiteouts:
    """Return the form in which the folders of a driver's layers say what is deleted."""
    form = _WHITEOUTS.get(driver, Whiteouts.NONE)
    return Whiteouts.USER if rootless and form is Whiteouts.TRUSTED else form


class Layout:
    """The paths of one driver's images and layers in a data root.

    ROOT/image/DRIVER has what is known of images and layers, ROOT/DRIVER the layers' files.
    """

    def __init__(self, root: str, driver: str) -> None:
        """Name the paths of a driver.

        Raises:
            FormatError: when the driver's name can't be a folder's.
        """
        if (
            not 0 < len(driver) <= _LONGEST_DRIVER
            or driver[0] in "_.-"
            or not consists_of(driver.lower(), f"{LOWER_CASE}0123456789_.-")
            or not driver.isascii()
        ):
            raise FormatError(f'"{printable(driver[:80])}" is no storage driver')
        self.root = root
        self.driver = driver
        self.base = os.path.join(root, "image", driver)
        self.home = os.path.join(root, driver)
        """The driver's own folder."""

    @property
    def repositories(self) -> str:
        """The file that says which reference names which image."""
        return f"{self.base}/repositories.json"

    @property
    def images(self) -> str:
        """The folder of the images' configs, each named by its sha256."""
        return f"{self.base}/imagedb/content/sha256"

    def image(self, image_id: Digest) -> str:
        """Return the file of an image's config."""
        return f"{self.images}/{_hex(image_id)}"

    @property
    def images_metadata(self) -> str:
        """The folder of what is noted about images."""
        return f"{self.base}/imagedb/metadata/sha256"

    def image_metadata(self, image_id: Digest) -> str:
        """Return the folder of what is noted about an image: `parent`, `lastUpdated`."""
        return f"{self.images_metadata}/{_hex(image_id)}"

    @property
    def layers(self) -> str:
        """The folder of the layers' records, each named by its ChainID."""
        return f"{self.base}/layerdb/sha256"

    @property
    def layers_tmp(self) -> str:
        """Where a layer's record is made before it is renamed into `layers`."""
        return f"{self.base}/layerdb/tmp"

    def layer(self, chain_id: Digest) -> str:
        """Return a layer's record: `cache-id`, `diff`, `parent`, `size`, `tar-split.json.gz`."""
        return f"{self.layers}/{_hex(chain_id)}"

    @property
    def mounts(self) -> str:
        """The folder of the containers' layers: `mount-id`, `init-id`, `parent`."""
        return f"{self.base}/layerdb/mounts"

    def mount(self, container_id: str) -> str:
        """Return the record of a container's layer."""
        if not is_container_id(container_id):
            raise FormatError(f'"{printable(container_id[:80])}" is no container ID')
        return f"{self.mounts}/{container_id}"

    def diff_id_by_digest(self, digest: Digest) -> str:
        """Return the file that says the DiffID of a blob known from a registry."""
        return f"{self.base}/distribution/diffid-by-digest/sha256/{_hex(digest)}"

    def digests_by_diff_id(self, diff_id: Digest) -> str:
        """Return the file that lists the blobs in which registries have a layer."""
        return f"{self.base}/distribution/v2metadata-by-diffid/sha256/{_hex(diff_id)}"

    @property
    def containers(self) -> str:
        """The folder of the containers; all drivers share it."""
        return os.path.join(self.root, "containers")

    @property
    def own(self) -> str:
        """Our own corner, which Docker passes over."""
        return os.path.join(self.root, "layerview")

    @property
    def has_folders(self) -> bool:
        """Whether this driver keeps each layer in a folder that can be looked into."""
        return self.driver in _FOLDERS

    @property
    def layers_home(self) -> str:
        """The folder of the driver's layers, each named by its cache ID; "" if there is none."""
        folders = _FOLDERS.get(self.driver)
        return os.path.join(self.root, folders[0]) if folders is not None else ""

    def layer_folder(self, cache_id: str) -> str:
        """Return where a layer's own files lie; "" where the driver keeps no folders."""
        driver_id(cache_id, f"{self.driver} layer")
        folders = _FOLDERS.get(self.driver)
        if folders is None:
            return ""
        return os.path.join(self.root, folders[0], cache_id, folders[1]).rstrip("/")

    def container_folder(self, mount_id: str) -> str:
        """Return where a container's own files lie; differs from a layer's for `overlay` alone."""
        folder = self.layer_folder(mount_id)
        if self.driver == "overlay":
            return os.path.join(os.path.dirname(folder), "upper")
        return folder


def _hex(digest: Digest) -> str:
    if digest.algorithm != "sha256":
        raise FormatError(f"{digest.algorithm} is not used in data roots")
    return digest.hex
