"""What stands in the rows of the Disk screen, apart from the screen."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.store.account import KINDS, Part
from layerview.tui.disk_model import SHARED, SORTS, Disk, in_order
from layerview.tui.disk_rows import Folder, Found, Row
from layerview.tui.disk_told import (
    read_containers,
    read_found,
    read_images,
    read_pair,
    read_parts,
    read_sizes,
)
from layerview.tui.disk_words import safe_way
from tests.tui.disk_specimens import CONTAINERS, FREES, IMAGES, PARTS, ROOT, WAYS, told, volume


def disk(parts: list[Part] = PARTS) -> Disk:
    """Return the made-up root, read."""
    made = Disk()
    made.images, made.containers = read_images(IMAGES), read_containers(CONTAINERS)
    made.settle(parts)
    made.frees, made.ways = dict(FREES), dict(WAYS)
    return made


def row(rows: list[Row], name: str) -> Row:
    """Return the one row of a name."""
    [found] = [one for one in rows if one.name == name]
    return found


IDS = ["rootfs", "python", "app", "jobs", "turing", "curie-init", "none", ""]
OWNERS = ["shop/web:7.2", "shop/worker:7.2", "hopeful_turing", "nobody", "new:1"]
any_part = st.builds(
    Part,
    kind=st.sampled_from(KINDS),
    name=st.sampled_from(["a", "b"]),
    path=st.integers(0, 30).map(lambda number: f"{ROOT}/{number}"),
    bytes=st.integers(0, 10**12),
    owners=st.lists(st.sampled_from(OWNERS), max_size=3, unique=True).map(tuple),
    id=st.sampled_from([*IDS, str(CONTAINERS[0]["id"])]),
    driver=st.sampled_from(["overlay2", "vfs", ""]),
)


@settings(max_examples=60)
@given(st.lists(any_part, max_size=20, unique_by=lambda part: part.path))
def test_every_byte_stands_in_exactly_one_row_whatever_the_parts_are(parts: list[Part]) -> None:
    made = disk(parts)
    rows = made.top()
    assert sum(one.bytes or 0 for one in rows) == made.total == sum(p.bytes for p in parts)
    assert sorted(p.path for one in rows for p in one.parts) == sorted(p.path for p in parts)
    assert len({one.key for one in rows}) == len(rows)


@settings(max_examples=60)
@given(st.lists(any_part, max_size=20, unique_by=lambda part: part.path))
def test_what_is_inside_an_owner_adds_up_to_it(parts: list[Part]) -> None:
    made = disk(parts)
    for one in made.top():
        if one.key.startswith("volume:"):
            continue
        inside = made.inside(one)
        assert sum(inner.bytes or 0 for inner in inside if not inner.apart) == one.bytes
        assert len({inner.key for inner in inside}) == len(inside)


def test_an_image_has_what_no_other_has_and_the_rest_stands_together() -> None:
    made = disk()
    rows = made.top()
    assert row(rows, "shop/web:7.2").bytes == 24_576 + 109_604_864
    assert row(rows, "shop/worker:7.2").bytes == 18_702_336
    assert row(rows, "<none> c8be1ac8145a").bytes == 0
    shared = row(rows, "shared layers")
    assert (shared.key, shared.bytes) == (SHARED, 78_102_528 + 143_601_664)
    names = [inner.name for inner in made.inside(shared)]
    assert names == ["ADD rootfs.tar.gz /", "RUN apt-get update && apt-get install -y python3"]


def test_inside_an_image_its_shared_layers_are_seen_and_counted_elsewhere() -> None:
    made = disk()
    layers = made.inside(row(made.top(), "shop/worker:7.2"))
    assert [(one.layer[0], one.apart) for one in layers if one.layer] == [
        (0, True),
        (1, True),
        (2, False),
    ]
    assert layers[0].note == "also in shop/web:7.2, <none> c8be1ac8145a"
    assert layers[2].note == "only here"


def test_a_container_has_its_layers_its_log_and_its_records() -> None:
    records = Part("metadata", "records", f"{ROOT}/containers/x", 900, id=CONTAINERS[0]["id"])  # type: ignore[arg-type]
    made = disk([*PARTS, records])
    own = row(made.top(), "hopeful_turing")
    assert own.bytes == 24_903_680 + 53_248 + 32_104_448 + 900
    kinds = [inner.type for inner in made.inside(own)]
    assert kinds == ["layer", "init layer", "log", "metadata"]


def test_a_layer_that_a_container_alone_keeps_stands_with_the_container() -> None:
    kept = replace(PARTS[4], id="gone", owners=("witty_curie",), note="its image is gone")
    made = disk([kept])
    [own] = [one for one in made.top() if one.bytes]
    assert (own.name, own.type) == ("witty_curie", "container")


def test_only_what_running_containers_write_is_looked_at_again() -> None:
    paths = disk().growing()
    assert [path.rpartition("/")[2][:12] for path in paths] == ["75bab0d54f3c", "turing", "data"]


def test_what_grew_counts_and_is_marked_from_the_first_account_on() -> None:
    first = disk()
    first.grown[PARTS[11].path] = 4096
    data = row(first.top(), "data")
    assert (data.bytes, data.grown, data.frees) == (7_405_568, 4096, 7_405_568)
    second = disk([replace(PARTS[11], bytes=7_401_472 + 8192)])
    second.compare_with(first)
    second.grown[PARTS[11].path] = 1
    third = disk([replace(PARTS[11], bytes=7_401_472 - 1)])
    third.compare_with(second)
    assert row(second.top(), "data").grown == 8193
    assert row(third.top(), "data").grown == -1


def test_an_image_and_a_container_lie_on_a_stack() -> None:
    made = disk()
    rows = made.top()
    stack = made.stack(row(rows, "shop/worker:7.2"))
    assert [(layer.bytes, layer.images) for layer in stack] == [
        (78_102_528, 3),
        (143_601_664, 2),
        (18_702_336, 1),
    ]
    assert made.stack(row(rows, "witty_curie"))[:-1] == stack
    assert made.stack(row(rows, "witty_curie"))[-1].bytes == 315_301_888
    assert not made.stack(row(rows, "metadata"))


def test_a_way_leads_as_far_as_it_is_still_there() -> None:
    made = disk()
    volume = row(made.top(), "old-backup")
    made.folders[volume.path] = Folder([Found("_data", "folder", 10, 2, 0)], done=True)
    data = f"file:{volume.path}/_data"
    assert [one.name for one in made.follow([volume.key, data])] == ["old-backup", "_data"]
    assert made.follow([volume.key, "file:gone"])[-1].name == "old-backup"
    assert made.follow(["image:gone", data]) == []


def test_rows_are_sorted_and_problems_come_last() -> None:
    made = disk()
    made.problems = ("overlay2/secret may only be read by its owner",)
    for sort in SORTS:
        rows = in_order(made.top(), sort)
        assert rows[-1].problem
        assert len(rows) == len(made.top())
    assert in_order(made.top(), "size")[0].name == "old-backup"
    assert in_order(made.top(), "name")[0].name == "<none> c8be1ac8145a"
    types = [one.type for one in in_order(made.top(), "type")[:-1]]
    assert types == sorted(types)


def test_problems_are_a_bounded_number_of_rows() -> None:
    made = disk()
    made.problems = tuple(f"problem {number}" for number in range(1000))
    rows = [one for one in made.top() if one.problem]
    assert len(rows) == 51
    assert rows[-1].name == "and 950 more like these"


def test_the_safe_way_is_said_of_everything_that_a_person_can_free() -> None:
    made = disk()
    rows = made.top()
    assert "docker volume rm" in safe_way(made, row(rows, "old-backup"), own=False)
    assert "containers first" in safe_way(made, row(rows, "shop/web:7.2"), own=False)
    assert "containers first" in safe_way(made, row(rows, "data"), own=True)
    assert "docker rmi" in safe_way(made, row(rows, "<none> c8be1ac8145a"), own=False)
    assert "Images (1)" in safe_way(made, row(rows, "<none> c8be1ac8145a"), own=True)
    for one in made.containers:
        command = "`docker rm -f`" if one.status == "running" else "`docker rm`"
        assert command in safe_way(made, row(rows, one.name), own=False)
    assert {one.status for one in made.containers} >= {"running", "exited"}
    orphans = row(rows, "orphans")
    assert "Del" in safe_way(made, orphans, own=True)
    assert "stop the engine" in safe_way(made, made.inside(orphans)[0], own=False)
    assert not safe_way(made, row(rows, "metadata"), own=False)


def test_what_is_told_is_read_whatever_it_is() -> None:
    odd = [{"kind": "image_layer", "bytes": True, "owners": "x", "name": "a\x1b"}, {}, 7, None]
    assert read_parts(odd) == [Part("image_layer", "a\\x1b", "", 0)]
    assert not any([read_parts(7), read_images("x"), read_containers({}), read_found(None)])
    assert read_parts([{"kind": "strange"}]) == []
    assert read_sizes({"a": 1, "b": True, "c": "x"}) == {"a": 1}
    assert read_sizes([1]) == {}
    assert read_pair([1, 2]) == (1, 2)
    assert read_pair([1, True]) is read_pair([1]) is read_pair(None) is None
    assert read_parts([told(part) for part in PARTS]) == PARTS


def test_a_volume_is_unused_only_where_that_is_known() -> None:
    unknown = replace(volume("old", 8192), note="")
    made = Disk()
    made.settle([volume("free", 4096), unknown])
    notes = {row.name: row.note for row in made.top()}
    assert notes == {"free": "no container mounts it", "old": ""}
    assert safe_way(made, row(made.top(), "old"), own=True) == ""
