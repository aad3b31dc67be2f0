"""What differs between two images, apart from their files: layers and config, in words."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerview.text import printable

if TYPE_CHECKING:
    from layerview.sources.image import Image


@dataclass(frozen=True, slots=True)
class LayerMatch:
    """The layers of two images, by number."""

    shared: Sequence[tuple[int, int]]
    only_a: Sequence[int]
    only_b: Sequence[int]


def layer_key(image: Image, number: int) -> Hashable:
    """Return what two layers with the same bytes have in common."""
    source = image.layers[number]
    return source.diff_id or source.digest or (id(image), number)


def match_layers(a: Image, b: Image) -> LayerMatch:
    """Pair layers that have the same bytes."""
    places: dict[Hashable, list[int]] = {}
    for number in range(len(b.layers)):
        places.setdefault(layer_key(b, number), []).append(number)
    shared, only_a = [], []
    for number in range(len(a.layers)):
        others = places.get(layer_key(a, number))
        if others:
            shared.append((number, others.pop(0)))
        else:
            only_a.append(number)
    taken = {other for _, other in shared}
    return LayerMatch(shared, only_a, [n for n in range(len(b.layers)) if n not in taken])


def config_differences(a: Image, b: Image) -> list[tuple[str, str, str]]:
    """Return field, first and second value of each field of the configs that differs."""
    ours, theirs = _fields(a), _fields(b)
    return [
        (name, _words(ours.get(name)), _words(theirs.get(name)))
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]


def _fields(image: Image) -> Mapping[str, object]:
    config = image.config
    return {
        "platform": image.platform,
        "created": config.created,
        "author": config.author,
        **{name: value for name, value in config.config.items() if value},
    }


def _words(value: object) -> str:
    if value is None or value == "":
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(text)
