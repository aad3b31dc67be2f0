"""BuildKit's cache: which folders and layers it counts on, and what it takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerview.oci.digest import Digest
from layerview.store.build_cache import BuildCache, CacheRecord
from layerview.store.cache_use import listed_records, shared_records
from layerview.store.data_root import DataRoot
from tests.support import archives, areas, bolts, build_caches, tars
from tests.support.commands import Command

A, B, C, D, E = (letter * 25 for letter in "abcde")
CHAIN = Digest("sha256", "1" * 64)
OTHER = Digest("sha256", "2" * 64)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "image").mkdir()
    return tmp_path


def read(root: Path) -> BuildCache:
    return BuildCache.read(DataRoot(str(root)))


def test_without_builds_nothing_is_counted_on(root: Path) -> None:
    found = read(root)
    assert found == BuildCache()
    assert found.readable


def test_a_snapshot_that_can_be_written_has_the_folder_of_its_name(root: Path) -> None:
    build_caches.write(root, {A: {"parent": ""}}, {A: {"cache.description": "local source"}})
    found = read(root)
    assert {id: one.description for id, one in found.driver_ids.items()} == {A: "local source"}
    assert not found.chain_ids


def test_a_committed_snapshot_has_the_folder_that_it_was_written_in(root: Path) -> None:
    snapshots = {A: {"committed": B}, B: {"iscommitted": "", "parent": str(CHAIN)}}
    build_caches.write(root, snapshots, {A: {"cache.description": "RUN x"}})
    found = read(root)
    assert {id: one.id for id, one in found.driver_ids.items()} == {B: A}
    assert found.driver_ids[B].description == "RUN x"


@pytest.mark.parametrize("names", [(A, B), (B, A)])
def test_before_docker_20_10_no_snapshot_said_that_it_was_committed(
    root: Path, names: tuple[str, str]
) -> None:
    name, written = names
    build_caches.write(
        root, {name: {"committed": written}, written: {"parent": ""}}, {name: {"cache.parent": C}}
    )
    assert {id: one.id for id, one in read(root).driver_ids.items()} == {written: name}


def test_the_layer_that_a_snapshot_became_is_counted_on(root: Path) -> None:
    snapshots = {A: {"committed": B, "chainid": str(CHAIN)}, B: {"iscommitted": ""}, str(OTHER): {}}
    build_caches.write(root, snapshots, {C: {"cache.snapshot": str(OTHER)}})
    found = read(root)
    assert {chain: one.id for chain, one in found.chain_ids.items()} == {CHAIN: A, OTHER: C}
    assert set(found.driver_ids) == {B}


def test_a_snapshot_of_which_nothing_else_is_known_counts(root: Path) -> None:
    build_caches.write(root, {A: {"committed": B}, C: {"parent": ""}})
    assert set(read(root).driver_ids) == {B, C}


def test_another_name_of_a_layer_is_no_need_for_it(root: Path) -> None:
    """Such a name stays behind when the cache is pruned."""
    build_caches.write(root, {A: {"chainid": str(CHAIN)}})
    assert read(root) == BuildCache()
    build_caches.write(root, {A: {"chainid": str(CHAIN)}}, {A: {"cache.snapshot": str(CHAIN)}})
    assert set(read(root).chain_ids) == {CHAIN}


def test_a_record_whose_snapshot_is_gone_still_counts(root: Path) -> None:
    """Which of the two databases is written first is BuildKit's business."""
    build_caches.write(root, {}, {A: {"cache.description": "x"}})
    assert set(read(root).driver_ids) == {A}


def test_a_record_that_is_being_deleted_is_none(root: Path) -> None:
    build_caches.write(root, {A: {"parent": ""}}, {A: {"cache.deleted": True}})
    found = read(root)
    assert found.records == ()
    assert set(found.driver_ids) == {A}


def test_before_docker_20_10_the_records_were_in_another_file(root: Path) -> None:
    build_caches.write(root, {}, {A: {"cache.description": "old"}}, metadata="metadata.db")
    assert [one.description for one in read(root).records] == ["old"]


def test_all_that_is_known_of_a_record_is_read(root: Path) -> None:
    moment = 1_795_731_879_442_256_678
    values = {
        "cache.description": "mount / from exec",
        "cache.createdAt": moment,
        "cache.lastUsedAt": moment + 1,
        "cache.usageCount": 3,
        "cache.recordType": "exec.cachemount",
        "cache.parent": B,
        "cache.mergeParents": [C, D],
        "snapshot.size": 12,
        "cache.blob": str(CHAIN),
        "cache.blobonly": True,
        "cache.equalMutable": E,
    }
    build_caches.write(root, {}, {A: values})
    assert read(root).records == (
        CacheRecord(
            A,
            "mount / from exec",
            "2026-11-26T22:24:39.442256678Z",
            "2026-11-26T22:24:39.442256679Z",
            3,
            "exec.cachemount",
            12,
            (B, C, D),
            driver_id=E,
            blob=CHAIN,
            blob_only=True,
            twin=E,
        ),
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.sampled_from(
            (
                *("cache.description", "cache.createdAt", "cache.lastUsedAt", "cache.usageCount"),
                *("cache.recordType", "cache.parent", "cache.mergeParents", "snapshot.size"),
                *("cache.blob", "cache.blobonly", "cache.equalMutable", "cache.snapshot"),
            )
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=4,
        ),
    )
)
def test_values_of_other_forms_are_passed_over(root: Path, values: dict[str, object]) -> None:
    build_caches.write(root, {A: {"parent": ""}}, {A: values})
    found = read(root)
    assert found.readable
    assert A in found.driver_ids
    for id in found.driver_ids:
        assert len(id) in (25, 64) or id.endswith("-init")


@pytest.mark.parametrize(
    "data",
    [
        *(b'{"value":"\\ud800"}', b'{"value":' + b"[" * 60_000, b'{"value":' + b"9" * 9999 + b"}"),
        *(b"\xff", b'"x"', b'{"value":NaN}', b'{"value":1e999}', b"{" + b" " * 70_000 + b"}"),
    ],
)
def test_values_that_are_hostile_are_passed_over(root: Path, data: bytes) -> None:
    held = dict.fromkeys((b"cache.description", b"cache.createdAt", b"snapshot.size"), data)
    (root / "buildkit").mkdir()
    database = bolts.database({b"_main": {A.encode(): held}})
    (root / "buildkit/metadata_v2.db").write_bytes(database)
    [record] = read(root).records
    assert record in (CacheRecord(A, driver_id=A), CacheRecord(A, "?", driver_id=A))


@pytest.mark.parametrize("name", ["../../etc", "a/b", "", "x" * 5000, "é"])
def test_a_hostile_name_becomes_no_folder(root: Path, name: str) -> None:
    build_caches.write(
        root, {A: {"committed": name or "."}, **({name: {}} if name else {})}, {B: {}}
    )
    assert set(read(root).driver_ids) <= {A, B}


@pytest.mark.parametrize("name", ["snapshots.db", "metadata_v2.db"])
def test_a_damaged_database_is_said(root: Path, name: str) -> None:
    folder = build_caches.write(root, {A: {"parent": ""}}, {A: {}})
    (folder / name).write_bytes(b"x" * 9000)
    found = read(root)
    assert not found.readable
    assert found.problem.startswith("what the build cache counts on is not known: ")
    assert str(folder / name) in found.problem
    assert "\n" not in found.problem


def test_a_link_is_not_followed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    build_caches.write(elsewhere, {A: {"parent": ""}})
    (root / "buildkit").symlink_to(elsewhere / "buildkit")
    found = read(root)
    assert not found.readable
    assert not found.driver_ids


def test_a_fifo_is_not_waited_on(root: Path) -> None:
    (root / "buildkit").mkdir()
    os.mkfifo(root / "buildkit/snapshots.db")
    assert not read(root).readable


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_what_may_not_be_read_is_not_taken_as_missing(root: Path) -> None:
    folder = build_caches.write(root, {A: {"parent": ""}})
    for at in (folder, *folder.iterdir()):
        os.chmod(at, 0o700)
    # The folders of pytest are for their owner alone.
    for at in [root, *root.parents][:-2]:
        os.chmod(at, os.stat(at).st_mode | 0o055) if str(at).startswith("/tmp/") else None
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            os._exit(0 if not read(root).readable else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# What it takes -------------------------------------------------------------------------------


def _records(*records: CacheRecord) -> BuildCache:
    return BuildCache(records)


def test_of_two_records_that_share_a_snapshot_one_is_listed() -> None:
    cache = _records(CacheRecord(A, twin=B), CacheRecord(B))
    assert [one.id for one in listed_records(cache)] == [B]
    cache = _records(CacheRecord(A, twin=B), CacheRecord(B), CacheRecord(C, parents=(A,)))
    assert [one.id for one in listed_records(cache)] == [A, C]


def test_what_lies_below_a_shared_layer_is_shared_too() -> None:
    cache = _records(
        CacheRecord(A),
        CacheRecord(B, parents=(A,), chain_id=CHAIN),
        CacheRecord(C, parents=(B,), chain_id=OTHER),
        CacheRecord(D),
    )
    assert shared_records(cache, [CHAIN]) == {A, B}
    assert shared_records(cache, []) == set()


def test_records_that_lie_on_each_other_end() -> None:
    cache = _records(CacheRecord(A, parents=(B,), chain_id=CHAIN), CacheRecord(B, parents=(A,)))
    assert shared_records(cache, [CHAIN]) == {A, B}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def area(run: Command, tmp_path: Path) -> Path:
    image = archives.image(
        tars.layer(tars.file("a", b"1" * 10)), tars.layer(tars.file("b", b"22")), tags=["a:1"]
    )
    file = archives.docker_archive(tmp_path / "a.tar", image)
    root = tmp_path / "area"
    assert run("load", "-i", file, "--root", root, "--driver", "vfs").status == 0
    return root


def test_df_lists_the_cache(run: Command, area: Path) -> None:
    base, top = sorted(
        areas.layers(area),
        key=lambda chain: os.path.exists(area / f"image/vfs/layerdb/sha256/{chain[7:]}/parent"),
    )
    folder = area / "vfs/dir" / A
    folder.mkdir()
    (folder / "f").write_bytes(b"x" * 1000)
    build_caches.write(
        area,
        {A: {"parent": ""}, B: {"committed": C, "chainid": top}},
        {
            A: {"cache.description": "local source", "cache.recordType": "source.local"},
            B: {"cache.description": "RUN x", "cache.parent": D, "cache.lastUsedAt": 10**18},
            D: {"cache.snapshot": base, "cache.blobonly": True},
        },
    )
    found = run.json("df", "-v", "--root", area)["build_cache"]
    items = {one.pop("id"): one for one in found.pop("items")}
    assert found == {"count": 3, "active": 0, "size": 1000, "reclaimable": 1000}
    assert {id: (one["size"], one["shared"], one["type"]) for id, one in items.items()} == {
        A: (1000, False, "source.local"),
        B: (2, True, "regular"),
        D: (0, True, "regular"),
    }
    lines = run("df", "-v", "--root", area).out.splitlines()
    assert lines[lines.index("Build cache usage: 1.0 kB") + 2].split()[:2] == ["CACHE", "ID"]
    assert lines[-1].split()[:3] == ["b" * 12, "regular", "2"]
    [line] = [x for x in run("df", "--root", area).out.splitlines() if x.startswith("Build")]
    assert line.split()[2:6] == ["3", "0", "1.0", "kB"]


def test_df_says_that_the_cache_is_damaged(run: Command, area: Path) -> None:
    folder = build_caches.write(area, {})
    (folder / "snapshots.db").write_bytes(b"?" * 5000)
    answer = run("df", "--root", area)
    assert answer.status == 1
    assert "what the build cache counts on is not known" in answer.errors
    assert answer.out.splitlines()[-1].split() == ["Build", "Cache", "?", "?", "?", "?"]


def test_doctor_knows_the_folders_of_the_cache(run: Command, area: Path) -> None:
    (area / "vfs/dir" / B).mkdir()
    build_caches.write(area, {A: {"committed": B}})
    assert run("doctor", "--root", area).status == 0
    folder = build_caches.write(area, {})
    answer = run("doctor", "--root", area)
    assert answer.status == 1
    assert f"{B} belongs to no layer and no container" in answer.out
    (folder / "snapshots.db").write_bytes(b"?" * 5000)
    answer = run("doctor", "--root", area)
    assert answer.status == 1
    assert "snapshots.db is damaged" in answer.out
    assert "belongs to no layer" not in answer.out


def test_nothing_is_deleted_while_the_cache_is_damaged(run: Command, area: Path) -> None:
    folder = build_caches.write(area, {})
    (folder / "snapshots.db").write_bytes(b"?" * 5000)
    answer = run("rmi", "a:1", "--root", area)
    assert answer.status == 1
    assert answer.errors.endswith("; nothing is deleted\n")
    assert len(areas.folders(area)) == 2
