"""What the Disk screen shows: the account of a data root by owner, and the way into the files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from layerview.store.account import Part
from layerview.text import is_hex
from layerview.tui.disk_rows import (
    Folder,
    Row,
    StackLayer,
    StockContainer,
    StockImage,
)
from layerview.tui.words import count_of

GROUPS = {
    "build_cache": "build cache",
    "orphan": "orphans",
    "temporary": "temporary",
    "metadata": "metadata",
    "other": "other",
}
"""Kinds of parts that stand together in one row of the first list, and what that is called."""

SHARED = "group:shared"
MOST_PROBLEMS = 50
"""Rows for what could not be read."""

SORTS = ("size", "name", "type")


class Disk:
    """A root as far as it has been read."""

    def __init__(self) -> None:
        self.images: list[StockImage] = []
        self.containers: list[StockContainer] = []
        self.parts: dict[tuple[str, str, str], Part] = {}
        self.folders: dict[str, Folder] = {}
        self.frees: dict[str, int] = {}
        """What deleting something would free, by the key of its row."""
        self.ways: dict[str, str] = {}
        """How a part's space is freed without harm, by its path."""
        self.grown: dict[str, int] = {}
        """Bytes by which parts grew since the account was made, by path."""
        self.before: dict[str, int] = {}
        """Bytes of the parts of an earlier account, by path; what it did not have did not grow."""
        self.problems: Sequence[str] = ()
        self.driver = ""
        self.engine = ""
        self.done = False

    def take(self, parts: Iterable[Part]) -> None:
        """Take in parts as they are measured; one that is measured again replaces itself."""
        self.parts.update(((part.kind, part.path, part.id), part) for part in parts)

    def settle(self, parts: Iterable[Part]) -> None:
        """Take in the whole account: what was told before and is not in it goes."""
        self.parts.clear()
        self.take(parts)
        self.done = True

    def compare_with(self, earlier: Disk) -> None:
        """Count as grown what has grown since an earlier account, too."""
        self.before = earlier.before or {part.path: part.bytes for part in earlier.parts.values()}

    def _size(self, part: Part) -> int:
        """Return a part's bytes now."""
        return part.bytes + self.grown.get(part.path, 0)

    def _growth(self, part: Part) -> int:
        """Return by how much a part grew since the first account."""
        return self._size(part) - self.before.get(part.path, part.bytes)

    @property
    def total(self) -> int:
        """Bytes of all that is known."""
        return sum(map(self._size, self.parts.values()))

    def of_kind(self, kind: str) -> list[Part]:
        """Return the parts of a kind."""
        return [part for part in self.parts.values() if part.kind == kind]

    def growing(self) -> list[str]:
        """Return the paths of what containers write while one looks."""
        running = {one.id for one in self.containers if one.runs}
        ids = {id for one in self.containers if one.id in running for id in one.ids}
        names = {one.name for one in self.containers if one.id in running}
        return sorted(
            part.path
            for part in self.parts.values()
            if (part.kind == "log" and (part.id in running or names.intersection(part.owners)))
            or (part.kind == "container_layer" and part.id in ids)
            or (part.kind == "volume" and names.intersection(part.owners))
        )

    # The first list --------------------------------------------------------------------------

    def top(self) -> list[Row]:
        """Return a row for each owner of bytes."""
        owned = self._by_owner()
        rows = [
            *self._images(owned),
            *self._containers(owned),
            *self._volumes(owned),
            *self._groups(owned),
        ]
        rows += [
            Row(f"problem:{number}", problem, "problem", None, problem=True)
            for number, problem in enumerate(self.problems[:MOST_PROBLEMS])
        ]
        if len(self.problems) > MOST_PROBLEMS:
            more = f"and {len(self.problems) - MOST_PROBLEMS:,} more like these"
            rows.append(Row("problem:more", more, "problem", None, problem=True))
        return rows

    def _users(self) -> dict[tuple[str, str], list[int]]:
        """Return the numbers of the images that have a layer, by its driver and cache ID."""
        users: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, image in enumerate(self.images):
            for layer in image.layers:
                users[image.driver, layer.cache_id].append(number)
        return users

    def _by_owner(self) -> dict[str, list[Part]]:
        """Put each part to the one row that it counts in, by that row's key."""
        users = self._users()
        by_id = {id: one.id for one in self.containers for id in (*one.ids, one.id) if id}
        by_name = {one.name: one.id for one in self.containers}
        owned: dict[str, list[Part]] = defaultdict(list)

        def whose(part: Part) -> str:
            if part.kind == "image_layer":
                having = users.get((part.driver, part.id), [])
                if len(having) == 1:
                    return _key(self.images[having[0]])
                if having or len(part.owners) != 1:
                    return SHARED
                [owner] = part.owners
                # Of an image that came since; or its image is gone, and a container keeps it.
                one = by_name.get(owner)
                return f"image:{owner}" if one is None else f"container:{one}"
            if part.kind in ("container_layer", "init_layer", "log"):
                owner = part.owners[0] if part.owners else part.name
                return f"container:{by_id.get(part.id) or by_name.get(owner) or owner}"
            if part.kind == "metadata" and part.id in by_id:
                # What is recorded of a container stands with it.
                return f"container:{by_id[part.id]}"
            if part.kind == "volume":
                return f"volume:{part.id}"
            return f"group:{part.kind}"

        for part in self.parts.values():
            owned[whose(part)].append(part)
        return owned

    def _images(self, owned: Mapping[str, list[Part]]) -> list[Row]:
        users = self._users()
        rows = []
        for image in self.images:
            in_common = sum(len(users[image.driver, one.cache_id]) > 1 for one in image.layers)
            note = count_of(len(image.layers), "layer")
            if in_common:
                every = in_common == len(image.layers)
                note += ", shared" if every else f", {in_common:,} shared"
            if len(image.names) > 1:
                note += f"; {count_of(len(image.names) - 1, 'more name')}"
            key = _key(image)
            rows.append(self._sum(key, image.name, "image", owned.get(key, ()), note))
        known = {row.key for row in rows}
        for key, parts in owned.items():
            if key == SHARED:
                note = f"{count_of(len(parts), 'layer')} of several images"
                rows.append(self._sum(key, "shared layers", "layers", parts, note))
            elif key.startswith("image:") and key not in known:
                note = count_of(len(parts), "layer")
                rows.append(self._sum(key, key.removeprefix("image:"), "image", parts, note))
        return rows

    def _containers(self, owned: Mapping[str, list[Part]]) -> list[Row]:
        known = {f"container:{one.id}": one for one in self.containers}
        rows = []
        for key, parts in owned.items():
            if key.startswith("container:"):
                one = known.get(key)
                name = one.name if one else key.removeprefix("container:")
                note = f"{one.status or 'unknown'}, of {one.image}" if one else ""
                rows.append(self._sum(key, name, "container", parts, note))
        return rows

    def _volumes(self, owned: Mapping[str, list[Part]]) -> list[Row]:
        rows = []
        for key, parts in owned.items():
            if key.startswith("volume:"):
                owners = dict.fromkeys(owner for part in parts for owner in part.owners)
                # Without owners it says whether that is known.
                note = f"mounted by {', '.join(owners)}" if owners else parts[0].note
                name = parts[0].name
                # Nobody gave it a name: as on the Volumes screen.
                shown = name[:12] if is_hex(name, 64) else name
                row = self._sum(key, shown, "volume", parts, note)
                row.path = parts[0].path
                rows.append(row)
        return rows

    def _groups(self, owned: Mapping[str, list[Part]]) -> list[Row]:
        rows = []
        for kind, name in GROUPS.items():
            key = f"group:{kind}"
            if parts := owned.get(key):
                row = self._sum(key, name, _TYPES[kind], parts, _group_note(kind, parts))
                row.warning = kind == "orphan"
                rows.append(row)
        return rows

    def _sum(self, key: str, name: str, what: str, parts: Sequence[Part], note: str) -> Row:
        frees, grown = self.frees.get(key), sum(self.grown.get(part.path, 0) for part in parts)
        return Row(
            key,
            name,
            what,
            sum(map(self._size, parts)),
            note,
            parts=tuple(parts),
            opens=True,
            entries=sum(part.entries for part in parts),
            frees=frees + grown if frees is not None else None,
            grown=sum(map(self._growth, parts)),
            whole=all(part.complete for part in parts),
        )

    # What is inside --------------------------------------------------------------------------

    def inside(self, row: Row) -> list[Row]:
        """Return the rows inside another: its layers, its parts, or its files."""
        if row.key.startswith("image:"):
            image = next((one for one in self.images if row.key == _key(one)), None)
            if image is not None:
                return self._layers(image)
        if row.is_folder:
            return self.files(row)
        numbers = {
            (image.driver, layer.cache_id): (number, layer)
            for image in self.images
            for number, layer in enumerate(image.layers)
        }
        rows = []
        for part in row.parts:
            numbered = numbers.get((part.driver, part.id)) if part.kind == "image_layer" else None
            inner = self._of_part(part)
            if row.type == "container":
                inner.name = _IN_CONTAINER.get(part.kind, inner.name)
                inner.note = part.note or part.path.rpartition("/")[2]
            if numbered is not None:
                inner.layer = numbered[0], numbered[1].chain_id
                inner.name = numbered[1].instruction or part.name
                inner.note = f"in {', '.join(part.owners)}" if part.owners else part.note
            rows.append(inner)
        return rows

    def stack(self, row: Row) -> list[StackLayer]:
        """Return the layers that an image or container lies on, base first; its own comes last."""
        image = next((one for one in self.images if row.key == _key(one)), None)
        container = next((one for one in self.containers if row.key == f"container:{one.id}"), None)
        if container is not None:
            wanted = (container.driver, container.image_id)
            image = next((one for one in self.images if (one.driver, one.id) == wanted), None)
        if image is None:
            return []
        users = self._users()
        known = {
            (part.driver, part.id): self._size(part)
            for kind in ("image_layer", "container_layer")
            for part in self.of_kind(kind)
        }
        stack = [
            StackLayer(
                layer.chain_id,
                known.get((image.driver, layer.cache_id), 0),
                layer.instruction,
                len(users[image.driver, layer.cache_id]),
            )
            for layer in image.layers
        ]
        if container is not None:
            own = [known.get((container.driver, id), 0) for id in container.ids[:1]]
            stack.append(StackLayer("", sum(own), "container layer", 1))
        return stack

    def _layers(self, image: StockImage) -> list[Row]:
        known = {(part.driver, part.id): part for part in self.of_kind("image_layer")}
        users = self._users()
        rows = []
        for number, layer in enumerate(image.layers):
            part = known.get((image.driver, layer.cache_id))
            others = [
                self.images[other].name
                for other in users[image.driver, layer.cache_id]
                if self.images[other].id != image.id
            ]
            note = f"also in {', '.join(others)}" if others else "only here"
            if part is None:
                key = f"part:{layer.cache_id}"
                row = Row(key, layer.instruction, "layer", None, note, opens=False)
            else:
                row = self._of_part(part, note)
                row.name = layer.instruction or row.name
            row.layer, row.apart = (number, layer.chain_id), bool(others)
            rows.append(row)
        return rows

    def _of_part(self, part: Part, note: str = "") -> Row:
        return Row(
            f"part:{part.kind}:{part.path}",
            part.name or part.path,
            _TYPES[part.kind],
            self._size(part),
            note or part.note or ", ".join(part.owners),
            part.path,
            (part,),
            writable=part.kind == "container_layer",
            # An empty folder is one entry, and a file is; of a log's files the first is named.
            opens=part.entries > 1 and not (part.kind == "log" and ".log" in part.path),
            entries=part.entries,
            frees=self.frees.get(f"part:{part.kind}:{part.path}"),
            grown=self._growth(part),
            whole=part.complete,
            warning=part.kind == "orphan",
        )

    def files(self, row: Row) -> list[Row]:
        """Return what is known to lie in a folder."""
        folder = self.folders.get(row.path)
        if folder is None:
            return []
        rows = []
        for found in folder.found:
            path = f"{row.path}/{found.name}"
            rows.append(
                Row(
                    f"file:{path}",
                    found.name,
                    found.kind,
                    found.bytes,
                    "mounted here, and left out" if found.kind == "mount" else "",
                    path,
                    layer=row.layer,
                    writable=row.writable,
                    opens=found.kind == "folder",
                    entries=found.entries,
                    whole=not found.unread,
                )
            )
        if folder.rest[0]:
            name = f"{folder.rest[0]:,} more, each smaller than these"
            rows.append(Row("rest", name, "files", folder.rest[1], entries=folder.rest[0]))
        if folder.problem:
            rows.append(Row("problem", folder.problem, "problem", None, problem=True))
        return rows

    def follow(self, way: Sequence[str]) -> list[Row]:
        """Return the rows that a way leads through, as far as they are still there.

        Args:
            way: the keys of the rows that were opened, one after the other.
        """
        rows: list[Row] = []
        for key in way:
            here = self.inside(rows[-1]) if rows else self.top()
            found = next((row for row in here if row.key == key), None)
            if found is None:
                break
            rows.append(found)
        return rows


_TYPES: Mapping[str, str] = {
    "image_layer": "layer",
    "container_layer": "layer",
    "init_layer": "init layer",
    "log": "log",
    "volume": "volume",
    "build_cache": "cache",
    "orphan": "orphan",
    "temporary": "temporary",
    "metadata": "metadata",
    "other": "other",
}


_IN_CONTAINER: Mapping[str, str] = {
    "container_layer": "container layer",
    "init_layer": "init layer",
    "log": "log",
    "metadata": "records",
}


def _key(image: StockImage) -> str:
    return f"image:{image.driver}:{image.id}"


def _group_note(kind: str, parts: Sequence[Part]) -> str:
    if kind == "orphan":
        return f"{count_of(len(parts), 'folder')} of nobody"
    if kind == "metadata":
        return "records, network"
    if kind == "build_cache":
        return count_of(len(parts), "folder")
    names = sorted(parts, key=lambda part: -part.bytes)
    more = f" and {len(parts) - 3:,} more" if len(parts) > 3 else ""
    return ", ".join(part.name for part in names[:3]) + more


def in_order(rows: Iterable[Row], sort: str) -> list[Row]:
    """Return rows sorted; what tells of a problem comes last.

    Args:
        rows: in any order.
        sort: one of SORTS.
    """

    def order(row: Row) -> tuple[object, ...]:
        size = -(row.bytes or 0)
        by = {
            "size": (size, row.layer[0] if row.layer else -1, row.name),
            "name": (row.name.casefold(), size),
            "type": (row.type, size, row.name),
        }
        return row.problem, row.key == "rest", *by[sort]

    return sorted(rows, key=order)
