"""What the process that measures told, read whatever it is."""

from __future__ import annotations

from collections.abc import Iterable

from layerview.store.account import KINDS, Part
from layerview.text import printable
from layerview.tui.disk_reader import Document
from layerview.tui.disk_rows import Found, StockContainer, StockImage, StockLayer


def read_parts(told: object) -> list[Part]:
    """Read parts of an account as they were told, whatever they are."""
    return [
        Part(
            kind=str(item["kind"]),
            name=printable(_text(item, "name")),
            path=_text(item, "path"),
            bytes=_whole(item, "bytes"),
            owners=_texts(item.get("owners")),
            id=_text(item, "id"),
            driver=_text(item, "driver"),
            note=printable(_text(item, "note")),
            entries=_whole(item, "entries"),
            complete=item.get("complete") is not False,
        )
        for item in _objects(told)
        if item.get("kind") in KINDS
    ]


def read_images(told: object) -> list[StockImage]:
    """Read the images that a root holds."""
    return [
        StockImage(
            _text(item, "id"),
            _texts(item.get("names")),
            _text(item, "driver"),
            tuple(
                StockLayer(
                    _text(layer, "chain_id"),
                    _text(layer, "cache_id"),
                    printable(_text(layer, "instruction")),
                )
                for layer in _objects(item.get("layers"))
            ),
        )
        for item in _objects(told)
    ]


def read_containers(told: object) -> list[StockContainer]:
    """Read the containers that a root holds."""
    return [
        StockContainer(
            _text(item, "id"),
            printable(_text(item, "name")),
            _text(item, "status"),
            printable(_text(item, "image")),
            _text(item, "driver"),
            tuple(filter(None, _texts(item.get("ids")))),
            _text(item, "image_id"),
        )
        for item in _objects(told)
    ]


def read_found(told: object) -> list[Found]:
    """Read entries of a folder; their names stay as they are, so that they can be gone into."""
    return [
        Found(
            _text(item, "name"),
            _text(item, "kind"),
            _whole(item, "bytes"),
            _whole(item, "entries"),
            _whole(item, "unread"),
        )
        for item in _objects(told)
    ]


def read_sizes(told: object) -> dict[str, int]:
    """Read bytes by name."""
    items = told.items() if isinstance(told, dict) else ()
    return {
        key: size for key, size in items if isinstance(size, int) and not isinstance(size, bool)
    }


def read_texts(told: object) -> dict[str, str]:
    """Read words for people by name."""
    items = told.items() if isinstance(told, dict) else ()
    return {key: printable(text) for key, text in items if isinstance(text, str)}


def read_pair(told: object) -> tuple[int, int] | None:
    """Read two whole numbers."""
    if isinstance(told, list) and [type(one) for one in told] == [int, int]:
        return told[0], told[1]
    return None


def read_lines(told: object) -> tuple[str, ...]:
    """Read lines for people."""
    return _texts(told)


def _objects(told: object) -> Iterable[Document]:
    return [item for item in told if isinstance(item, dict)] if isinstance(told, list) else ()


def _text(item: Document, key: str) -> str:
    value = item.get(key)
    return value if isinstance(value, str) else ""


def _whole(item: Document, key: str) -> int:
    value = item.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _texts(told: object) -> tuple[str, ...]:
    if not isinstance(told, list):
        return ()
    return tuple(printable(text) for text in told if isinstance(text, str))
