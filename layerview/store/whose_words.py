"""From the word by which a person calls something in a data root to whose it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from layerview.errors import NotFoundError, UsageError
from layerview.oci.digest import Digest
from layerview.store.answers import Answer, joined
from layerview.store.data_root import LayerRecord
from layerview.store.finding import find
from layerview.store.inventory import ImageUse
from layerview.store.layout import is_driver_id
from layerview.store.root_paths import driver_names, look_up
from layerview.store.whose import Whose
from layerview.text import is_hex, printable

TYPES = ("container", "image", "layer", "volume", "path")
"""What a word may be told to be."""
_LEAST = 2
"""Digits of an ID that are enough to name it, if they name one thing alone."""


class Words:
    """Finds what words name in one data root."""

    def __init__(self, whose: Whose) -> None:
        """Name the root by who answers for it."""
        self._whose = whose
        self._root = whose.root

    def find(self, word: str, wanted: str | None = None) -> Answer:
        """Say whose what a word names is, or where it lies: an ID, a name, the start of an ID.

        Args:
            word: what a person typed.
            wanted: one of TYPES; None: any, in the order container, layer, volume, image.

        Raises:
            NotFoundError: when nothing has such a name.
            UsageError: when the start of an ID may be several things.
        """
        looks: list[tuple[str, Callable[[str], Answer | None]]] = [
            ("container", self._named_container),
            ("layer", self._named_layer),
            ("volume", self._named_volume),
            ("image", self._named_image),
        ]
        found = [
            (kind, answer)
            for kind, look in looks
            if wanted in (None, kind) and (answer := look(word)) is not None
        ]
        if found:
            also = " and ".join(dict.fromkeys(f"{_a(kind)}" for kind, _ in found[1:]))
            note = f"{also} is called so, too: --type chooses" if also else ""
            return replace(found[0][1], note=joined(found[0][1].note, note))
        started = list(self._starting(word, wanted))
        if len(started) > 1:
            names = ", ".join(name for name, _ in started[:10])
            raise UsageError(f"{printable(word)} may be several things: {names}")
        if started:
            return started[0][1]()
        what = wanted or "container, image, layer or volume"
        raise NotFoundError(f"{printable(self._root.path)} has no {what} {printable(word[:120])}")

    def _named_container(self, word: str) -> Answer | None:
        for record in self._whose.inventory.containers:
            if word == record.id or (record.name and word.removeprefix("/") == record.name):
                return self._whose.of_container(record)
        return None

    def _named_layer(self, word: str) -> Answer | None:
        """Find a layer by the driver's ID, a ChainID, a DiffID or overlay2's short name."""
        if is_driver_id(word):
            known = {*self._whose.layers, *self._whose.containers}
            for driver in driver_names(self._root):
                there = any(map(os.path.lexists, self._whose.folders(driver, word)))
                if (driver, word) in known or (there and self._root.layout(driver).has_folders):
                    return self._whose.of_folder(driver, word)
        hex_ = word.removeprefix("sha256:")
        if is_hex(hex_, 64):
            digest = Digest("sha256", hex_)
            layers = self._whose.inventory.layers.values()
            found = [layer for layer in layers if layer.chain_id == digest]
            return self._of_layers(found or [one for one in layers if one.diff_id == digest])
        if len(word) == 26 and word.isalnum() and word.isupper():
            for driver in ("overlay2", "fuse-overlayfs"):
                path = os.path.join(self._root.path, driver, "l", word)
                spot = look_up(self._root, path)
                if spot.kind == "folder":
                    return self._whose.of_spot(spot)
        return None

    def _of_layers(self, layers: Sequence[LayerRecord]) -> Answer | None:
        if not layers:
            return None
        first = self._whose.of_layer(layers[0])
        if len(layers) == 1:
            return first
        places = [place for layer in layers for place in self._whose.of_layer(layer).places]
        images = [one for layer in layers for one in self._whose.having(layer)]
        containers = [one for layer in layers for one in self._whose.on(layer)]
        note = f"{len(layers)} layers have this content, on other layers or under other drivers"
        return replace(
            first,
            images=tuple(_once(images)),
            containers=tuple(dict.fromkeys(containers)),
            places=tuple(places),
            note=joined(first.note, note),
        )

    def _named_volume(self, word: str) -> Answer | None:
        path = os.path.join(self._root.path, "volumes", word)
        if "/" in word or word in ("", ".", "..") or os.path.islink(path):
            return None
        return self._whose.of_volume(word, path) if os.path.isdir(path) else None

    def _named_image(self, word: str) -> Answer | None:
        with suppress(NotFoundError, UsageError):
            found = find(self._root, word)
            if found.reference is not None or is_hex(word.removeprefix("sha256:"), 64):
                image_id = found.record.image_id
                return self._of_images(
                    [one for one in self._whose.inventory.images if one.record.image_id == image_id]
                )
        return None

    def _of_images(self, images: Sequence[ImageUse]) -> Answer | None:
        """Put an image together that several drivers may have."""
        answers = [self._whose.of_image(image) for image in images]
        if len(answers) < 2:
            return answers[0] if answers else None
        return replace(
            answers[0],
            driver="",
            images=tuple(one for answer in answers for one in answer.images),
            containers=tuple(one for answer in answers for one in answer.containers),
            places=tuple(place for answer in answers for place in answer.places),
            note=joined(*dict.fromkeys(answer.note for answer in answers)),
        )

    def _starting(
        self, word: str, wanted: str | None
    ) -> Iterator[tuple[str, Callable[[], Answer]]]:
        """Yield what IDs begin with a word: what each is called, and the way to its answer."""
        start = word.removeprefix("sha256:")
        if len(start) < _LEAST or not start.isalnum():
            return
        if wanted in (None, "container"):
            for record in self._whose.inventory.containers:
                if record.id.startswith(start):
                    name = f"container {record.id[:12]} ({printable(record.name)})"
                    yield name, partial(self._whose.of_container, record)
        if wanted in (None, "image"):
            for image in self._whose.inventory.images:
                if image.record.image_id.hex.startswith(start):
                    name = f"image {image.record.image_id.short}"
                    yield name, partial(self._whose.of_image, image)
        if wanted in (None, "layer"):
            yield from self._layers_starting(start)

    def _layers_starting(self, start: str) -> Iterator[tuple[str, Callable[[], Answer]]]:
        seen: set[tuple[str, str]] = set()
        for layer in self._whose.inventory.layers.values():
            ids = layer.cache_id, layer.chain_id.hex, layer.diff_id.hex
            if any(each.startswith(start) for each in ids):
                seen.add((layer.driver, layer.cache_id))
                name = f"layer {layer.chain_id.short} ({layer.driver}/{layer.cache_id[:12]})"
                yield name, partial(self._whose.of_layer, layer)
        for driver in driver_names(self._root):
            for id in self._ids(driver):
                if id.startswith(start) and (driver, id) not in seen and not id.endswith("-init"):
                    name = f"{driver}/{id[:12]}"
                    yield name, partial(self._whose.of_folder, driver, id)

    def _ids(self, driver: str) -> Iterable[str]:
        home = self._root.layout(driver).layers_home
        known = {id for one, id in self._whose.containers if one == driver}
        with suppress(OSError):
            known.update(filter(is_driver_id, os.listdir(home) if home else ()))
        return sorted(known)


def _once(items: Iterable[tuple[ImageUse, int | None]]) -> list[tuple[ImageUse, int | None]]:
    known: dict[tuple[int, int | None], tuple[ImageUse, int | None]] = {}
    for image, number in items:
        known.setdefault((id(image), number), (image, number))
    return list(known.values())


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "image" else f"a {kind}"
