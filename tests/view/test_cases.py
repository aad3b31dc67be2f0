"""Cases from public bug reports, by the number that each has in the project's list of them.

D1 to D19 are what another explorer answers wrongly on small inputs; the numbers are reports to
it and to other tools. What is tested is the right behaviour, through the command line.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import archives, tars
from tests.support.commands import Command

K = b"k" * 1000
KK = b"x" * 2000
Make = Callable[..., Path]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes an image of layers, each given as its entries or as tar bytes."""

    def write(*layers: Sequence[tars.Part] | bytes, **fields: Any) -> Path:
        data = [part if isinstance(part, bytes) else tars.layer(*part) for part in layers]
        return archives.docker_archive(tmp_path / "image.tar", archives.image(*data, **fields))

    return write


def shown(run: Command, image: Path) -> dict[str, tuple[str, int, int | None]]:
    """Type, size and layer of every path that shows."""
    return {
        line["path"]: (line["type"], line["size"], line["layer"])
        for line in run.lines("files", image)
    }


def wasted(run: Command, image: Path) -> dict[str, int]:
    return {kind: n for kind, n in run.json("waste", image)["by_kind"].items() if n}


def states(run: Command, image: Path, path: str) -> list[str]:
    return [rung["state"] for rung in run("which", image, path, "--json").json["ladder"]]


A_AND_TWO = [tars.folder("a"), tars.file("a/f1", K), tars.file("a/f2", K)]


def test_an_opaque_marker_hides_lower_siblings_and_counts_them(make: Make, run: Command) -> None:
    """D1, 3."""
    image = make(A_AND_TWO, [tars.opaque("a"), tars.file("a/f3", K)])
    assert shown(run, image) == {"/a": ("dir", 0, 0), "/a/f3": ("file", 1000, 1)}
    assert wasted(run, image) == {"deleted": 2000}
    assert states(run, image, "/a/f1") == ["opaque", "hidden"]


def test_a_deleted_folder_wastes_all_that_is_in_it(make: Make, run: Command) -> None:
    """D2."""
    image = make(A_AND_TWO, [tars.whiteout("a")])
    assert shown(run, image) == {}
    assert wasted(run, image) == {"deleted": 2000}
    waste = run.json("waste", image)
    assert [(p["path"], p["bytes"]) for p in waste["paths"]] == [("/a/f1", 1000), ("/a/f2", 1000)]
    (line,) = run.lines("files", image, "--layer", 1)
    assert (line["path"], line["change"], line["hides"]) == ("/a", "deleted", 2000)


def test_a_file_deleted_and_written_in_one_layer_is_modified(make: Make, run: Command) -> None:
    """D3."""
    image = make([tars.file("f", K)], [tars.whiteout("f"), tars.file("f", KK)])
    assert shown(run, image) == {"/f": ("file", 2000, 1)}
    assert wasted(run, image) == {"overwritten": 1000}
    (line,) = run.lines("files", image, "--layer", 1)
    assert line["change"] == "modified"


def test_a_file_in_a_folders_place_has_no_children(make: Make, run: Command) -> None:
    """D4."""
    image = make([tars.folder("d"), tars.file("d/x", K)], [tars.file("d", K)])
    assert shown(run, image) == {"/d": ("file", 1000, 1)}
    assert wasted(run, image) == {"deleted": 1000}
    assert states(run, image, "/d/x") == ["opaque", "hidden"]


def test_a_whiteout_of_nothing_ends_nothing(make: Make, run: Command) -> None:
    """D5, 2."""
    image = make([tars.file("d", K)], [tars.whiteout("nope"), tars.file("d", K)])
    assert shown(run, image) == {"/d": ("file", 1000, 1)}
    assert wasted(run, image) == {"identical": 1000}
    assert run.json("layers", image)[1]["files"] == 2


def test_of_many_copies_all_but_one_are_waste(make: Make, run: Command) -> None:
    """D6, 1."""
    image = make(*([tars.file("f", bytes([n]) * 1000)] for n in range(3)))
    waste = run.json("waste", image)
    assert (waste["total_bytes"], waste["wasted_bytes"]) == (3000, 2000)
    (path,) = waste["paths"]
    assert [(v["layer"], v["hidden_by"]) for v in path["versions"]] == [(0, 1), (1, 2)]


def test_the_last_of_a_repeated_name_counts_in_every_number(make: Make, run: Command) -> None:
    """D8, 12, 13."""
    image = make([tars.file("f", K), tars.file("f", KK)])
    assert shown(run, image) == {"/f": ("file", 2000, 0)}
    layer = run.json("layers", image)[0]
    assert (layer["size"], layer["files"], layer["repeated_bytes"]) == (2000, 1, 1000)
    assert "1.0 kB of replaced entries do not count" in run("layers", image).out
    assert wasted(run, image) == {}
    warnings = run.json("inspect", image, "--verify")["warnings"]
    assert any("engines refuse" in warning for warning in warnings)


def test_a_folder_listed_twice_is_one_and_warned_of(make: Make, run: Command) -> None:
    """13."""
    image = make([tars.folder("usr/lib"), tars.file("usr/lib/a", K), tars.folder("usr/lib")])
    assert list(shown(run, image)) == ["/usr", "/usr/lib", "/usr/lib/a"]
    assert any("engines refuse" in w for w in run.json("inspect", image, "--verify")["warnings"])


def test_layers_of_an_oci_archive_stand_in_the_manifests_order(
    tmp_path: Path, run: Command
) -> None:
    """D10, D11, 34."""
    layers = [tars.layer(tars.file(f"f{n}", b"%d" % n)) for n in range(5)]
    spec = archives.image(*layers, history=[f"RUN step {n}" for n in range(5)])
    for image in (
        archives.oci_archive(tmp_path / "i.tar", spec),
        archives.oci_layout(tmp_path / "i", spec),
    ):
        found = run.json("layers", image)
        assert [layer["diff_id"] for layer in found] == spec.diff_ids
        assert [layer["digest"] for layer in found] == [part.said_digest for part in spec.layers]
        assert [layer["created_by"] for layer in found] == [f"RUN step {n}" for n in range(5)]
        assert [line["layer"] for line in run.lines("files", image)] == list(range(5))


def test_several_images_in_one_file_are_offered(tmp_path: Path, run: Command) -> None:
    """D12, 32."""
    one = archives.image(tars.layer(tars.file("one", K)), tags=["one:1"])
    two = archives.image(tars.layer(tars.file("two", K)), tags=["two:1"])
    for image in (
        archives.docker_archive(tmp_path / "d.tar", one, two),
        archives.oci_layout(tmp_path / "o", one, two),
        archives.oci_archive(tmp_path / "o.tar", one, two),
    ):
        answer = run("files", image, "--json")
        assert (answer.status, answer.out) == (2, "")
        assert "one:1" in answer.errors
        assert "two:1" in answer.errors
        assert answer.errors.count("\n") == 1
        assert run("files", f"{image}:two:1", "--json").paths == ["/two"]


@pytest.mark.parametrize("steps", [12, 13])
def test_history_longer_than_the_layers_is_marked(make: Make, run: Command, steps: int) -> None:
    """D13, 27."""
    layers = [[tars.file(f"f{n}", K)] for n in range(11)]
    image = make(*layers, history=[f"RUN step {n}" for n in range(steps)])
    rows = run.json("history", image)
    assert len(rows) == steps
    assert [row["layer"] for row in rows] == [None] * (steps - 11) + list(range(11))[::-1]
    assert [row["size"] for row in rows[: steps - 11]] == [None] * (steps - 11)
    assert any("more steps" in text for text in run.json("inspect", image)["warnings"])


def test_an_image_without_layers_is_an_empty_tree(make: Make, run: Command) -> None:
    """D14, 30."""
    image = make()
    assert run.json("layers", image) == []
    assert run.lines("files", image) == []
    waste = run.json("waste", image)
    assert (waste["total_bytes"], waste["wasted_bytes"], waste["paths"]) == (0, 0, [])
    assert run.json("inspect", image)["size"] == 0
    for command in ("layers", "history", "files", "waste", "inspect"):
        assert run(command, image).status == 0
    answer = run("which", image, "/etc", "--json")
    assert (answer.status, answer.json["ladder"]) == (1, [])


def test_a_global_header_is_skipped(make: Make, run: Command) -> None:
    """D15."""
    image = make([tars.global_header(), tars.file("f", K)])
    assert shown(run, image) == {"/f": ("file", 1000, 0)}


def test_an_image_of_one_layer_has_no_undefined_figures(make: Make, run: Command) -> None:
    """D16."""
    image = make([tars.file("f", K)])
    answer = run("waste", image, "--json")
    assert "NaN" not in answer.out
    assert answer.json["dive"]["userWastedPercent"] == 0
    assert "nan" not in run("waste", image).out.lower()


@pytest.mark.parametrize("form", ["docker", "docker25", "oci"])
def test_a_truncated_archive_is_one_line_and_shows_what_is_there(
    tmp_path: Path, run: Command, form: str
) -> None:
    """D18."""
    spec = archives.image(
        tars.layer(*(tars.file(f"f{n:02}", K) for n in range(40))),
        tars.layer(tars.file("late", K)),
    )
    writers = {
        "docker": archives.docker_archive,
        "docker25": archives.docker25_archive,
        "oci": archives.oci_archive,
    }
    whole = writers[form](tmp_path / "whole.tar", spec).read_bytes()
    cut = tmp_path / "cut.tar"
    seen = set()
    for length in range(0, len(whole), 4096 + 512):
        cut.write_bytes(whole[:length])
        answer = run("files", cut, "--json")
        assert answer.status == 1, length
        assert answer.errors.count("\n") == 1, answer.errors
        seen |= set(answer.paths)
    assert "/f00" in seen


def test_extract_writes_what_the_union_shows(make: Make, run: Command, tmp_path: Path) -> None:
    """D19."""
    image = make(
        [tars.folder("a"), tars.file("a/f", K), tars.file("a/gone", K), tars.file("a/f.more", K)],
        [tars.file("a/f", KK), tars.whiteout("a/gone")],
    )
    target = tmp_path / "out"
    assert run("extract", image, "/a", target).status == 0
    found = {path.name: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found == {"f": KK, "f.more": K}


def test_a_flattened_folder_loses_what_an_opaque_marker_hides(make: Make, run: Command) -> None:
    """4."""
    image = make(
        [tars.folder("a"), tars.folder("a/b"), tars.file("a/b/foo", K)],
        [tars.folder("a"), tars.opaque("a")],
    )
    assert list(shown(run, image)) == ["/a"]


def test_markers_are_never_shown(make: Make, run: Command) -> None:
    """5."""
    image = make([tars.folder("d"), tars.opaque("d"), tars.whiteout("d/x"), tars.opaque("")])
    assert list(shown(run, image)) == ["/d"]
    assert ".wh." not in run("files", image, "--layer", 0, "--json").out


def test_a_folder_removed_and_made_again_is_empty(make: Make, run: Command) -> None:
    """6."""
    image = make(
        [tars.folder("d"), tars.folder("d/e"), tars.file("d/e/foo", K)],
        [tars.folder("d"), tars.opaque("d")],
    )
    assert list(shown(run, image)) == ["/d"]


def test_a_whiteout_deletes_in_its_own_folder_only(make: Make, run: Command) -> None:
    """8."""
    image = make([tars.folder("root"), tars.file("root/test", K)], [tars.whiteout("test")])
    assert list(shown(run, image)) == ["/root", "/root/test"]


def test_a_marker_behind_new_siblings_keeps_the_folder_and_them(make: Make, run: Command) -> None:
    """10."""
    image = make(A_AND_TWO, [tars.file("a/new", K), tars.opaque("a")])
    assert list(shown(run, image)) == ["/a", "/a/new"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (tars.symlink("b", "x"), tars.symlink("b", "y")),
        (tars.file("b", K), tars.file("b", KK)),
        (tars.symlink("b", "x"), tars.file("b", KK)),
        (tars.file("b", K), tars.symlink("b", "y")),
        (tars.fifo("b"), tars.char("b", 1, 3)),
    ],
)
def test_what_is_no_folder_is_replaced(
    make: Make, run: Command, old: tars.Entry, new: tars.Entry
) -> None:
    """15."""
    image = make([old], [new])
    (line,) = run.lines("files", image)
    assert line["layer"] == 1
    assert line.get("target") == (new.target.decode() or None)
    assert states(run, image, "/b") in (["winner", "hidden"], ["absent", "absent"])
    assert run("which", image, "/b", "--no-follow", "--json").json["layer"] == 1


def test_a_folder_takes_the_place_of_a_link_to_a_folder(make: Make, run: Command) -> None:
    """17."""
    image = make(
        [tars.folder("usr/bin"), tars.file("usr/bin/sh", K), tars.symlink("bin", "usr/bin")],
        [tars.folder("bin"), tars.file("bin/x", K)],
    )
    assert shown(run, image)["/bin"] == ("dir", 0, 1)
    assert run("which", image, "/bin/sh", "--json").status == 1
    changes = {line["path"]: line["change"] for line in run.lines("files", image, "--layer", 1)}
    assert changes == {"/bin": "modified", "/bin/x": "added"}


def test_names_and_links_that_climb_out_stay_inside(
    make: Make, run: Command, tmp_path: Path
) -> None:
    """18."""
    outside = tmp_path / "outside"
    outside.mkdir()
    image = make(
        [
            tars.file("../../evil", K),
            tars.symlink("s", str(outside)),
            tars.file("s/evil", K),
            tars.hardlink("h", "../../../etc/passwd"),
        ]
    )
    assert "/evil" in shown(run, image)
    assert "/s/evil" not in shown(run, image)
    target = tmp_path / "deep" / "out"
    run("extract", image, "/", target)
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_hard_link_keeps_the_bytes_of_a_deleted_name(make: Make, run: Command) -> None:
    """19."""
    image = make([tars.file("a", K), tars.hardlink("b", "a")], [tars.whiteout("a")])
    assert shown(run, image) == {"/b": ("file", 1000, 0)}
    assert wasted(run, image) == {}
    assert run.json("waste", image)["live_bytes"] == 1000
    assert run("cat", image, "/b").out == K.decode()


def test_a_hard_link_into_a_lower_layer_has_its_bytes(make: Make, run: Command) -> None:
    """20."""
    image = make([tars.file("a", K)], [tars.hardlink("b", "a")])
    assert shown(run, image) == {"/a": ("file", 1000, 0), "/b": ("file", 1000, 1)}
    assert run.json("layers", image)[1]["size"] == 0
    assert run.json("waste", image)["live_bytes"] == 1000
    assert run("cat", image, "/b").out == K.decode()


def test_a_hard_link_to_nothing_is_said_and_has_no_size(make: Make, run: Command) -> None:
    """20."""
    image = make([tars.hardlink("b", "gone")])
    (line,) = run.lines("files", image)
    assert (line["type"], line["size"]) == ("file", None)
    answer = run("cat", image, "/b")
    assert (answer.status, answer.out) == (1, "")
    assert "hard link" in answer.errors


def test_a_hard_link_below_unlisted_folders_has_them(make: Make, run: Command) -> None:
    """21."""
    image = make([tars.file("bin/app", K), tars.hardlink("x/y/app", "bin/app")])
    assert shown(run, image) == {
        "/bin": ("dir", 0, None),
        "/bin/app": ("file", 1000, 0),
        "/x": ("dir", 0, None),
        "/x/y": ("dir", 0, None),
        "/x/y/app": ("file", 1000, 0),
    }
    lines = {line["path"]: line for line in run.lines("files", image)}
    assert lines["/x/y/app"]["hardlink"] == "/bin/app"
    assert (lines["/x"]["mode"], lines["/x"]["mtime"]) == ("0755", None)


def test_an_inode_counts_once_in_its_layer_and_a_copy_is_waste(make: Make, run: Command) -> None:
    """24."""
    image = make([tars.file("a", K), tars.hardlink("b", "a")])
    assert run.json("layers", image)[0]["size"] == 1000
    # A link made in a later step stores the whole file again, under both names.
    image = make([tars.file("a", K)], [tars.file("a", K), tars.hardlink("b", "a")])
    assert wasted(run, image) == {"identical": 1000}
    assert run.json("waste", image)["total_bytes"] == 2000


@pytest.mark.parametrize(
    "top",
    [
        [tars.file("a", KK), tars.hardlink("b", "a")],
        [tars.file("b", KK), tars.hardlink("a", "b")],
        [tars.file("a", KK), tars.file("b", KK)],
    ],
)
def test_either_form_of_a_written_hard_link_is_read(
    make: Make, run: Command, top: list[tars.Part]
) -> None:
    """25."""
    image = make([tars.file("a", K), tars.hardlink("b", "a")], top)
    assert shown(run, image) == {"/a": ("file", 2000, 1), "/b": ("file", 2000, 1)}
    assert wasted(run, image) == {"overwritten": 1000}


def test_the_flag_says_whether_a_step_has_a_layer_not_its_size(make: Make, run: Command) -> None:
    """28."""
    history = [
        archives.made_by("RUN mkdir d"),
        archives.made_by("ENV a=b", empty=True),
        archives.made_by("RUN touch e"),
    ]
    image = make([tars.folder("d")], [tars.file("e")], history=history)
    rows = run.json("history", image)
    assert [(row["layer"], row["size"], row["empty_layer"]) for row in rows] == [
        (1, 0, False),
        (None, 0, True),
        (0, 0, False),
    ]


@pytest.mark.parametrize("history", [["RUN one"], None])
def test_too_little_history_is_legal(make: Make, run: Command, history: list[str] | None) -> None:
    """29."""
    image = make([tars.file("a", K)], [tars.file("b", K)], history=history)
    assert [row["layer"] for row in run.json("history", image)] == [1, 0]
    made = [layer["created_by"] for layer in run.json("layers", image)]
    assert made == (["RUN one", None] if history else [None, None])
    assert "(no history)" in run("layers", image).out


@pytest.mark.parametrize("tags", [None, []])
def test_an_image_without_tags_has_its_id(make: Make, run: Command, tags: list[str] | None) -> None:
    """31."""
    image = make([tars.file("a", K)], tags=tags)
    document = run.json("inspect", image)
    assert document["references"] == []
    assert document["image_id"].startswith("sha256:")
    assert document["image_id"][7:19] in run("layers", image).out


@pytest.mark.parametrize("form", ["docker", "docker25", "oci", "oci-tar"])
def test_a_blob_left_out_is_named_and_the_rest_opens(
    tmp_path: Path, run: Command, form: str
) -> None:
    """33."""
    gone = archives.Layer(tar=tars.layer(tars.file("gone", K)), present=False)
    spec = archives.image(
        tars.layer(tars.file("a", K)), gone, tars.layer(tars.file("b", K), tars.whiteout("c"))
    )
    image = {
        "docker": archives.docker_archive,
        "docker25": archives.docker25_archive,
        "oci": archives.oci_layout,
        "oci-tar": archives.oci_archive,
    }[form](tmp_path / "image", spec)
    answer = run("files", image, "--json")
    assert answer.status == 0
    assert answer.errors.count("\n") == 1
    assert "layer 1 is not here" in answer.errors
    assert [(line["path"], line["certain"]) for line in answer.lines] == [
        ("/a", False),
        ("/b", True),
    ]
    layers = run("layers", image, "--json").json
    assert [layer["available"] for layer in layers] == [True, False, True]
    assert (layers[1]["size"], layers[1]["files"]) == (None, None)
    assert run("which", image, "/a", "--json").json["certain"] is False
    assert [r["state"] for r in run("which", image, "/c", "--json").json["ladder"]] == [
        "whiteout",
        "unknown",
        "absent",
    ]


@pytest.mark.parametrize("nested", [0, 1])
def test_attestations_are_no_images(tmp_path: Path, run: Command, nested: int) -> None:
    """35."""
    spec = archives.image(tars.layer(tars.file("a", K)), compression="gzip")
    several = archives.index(spec, attestation=True)
    image = archives.oci_layout(tmp_path / "image", several, nested=nested)
    assert run("files", image, "--json").paths == ["/a"]
    for write in (archives.docker25_archive, archives.oci_archive):
        image = write(tmp_path / "image.tar", spec, attestation=True)
        assert run("files", image, "--json").paths == ["/a"]


@pytest.mark.parametrize("said", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("stored", ["none", "gzip", "zstd", "bzip2", "xz"])
def test_compression_is_told_from_the_bytes(
    tmp_path: Path, run: Command, said: str, stored: str
) -> None:
    """36."""
    tar = tars.layer(tars.file("a", K))
    layer = archives.Layer(
        tar=tar,
        compression=said,
        stored=archives.compress(tar, stored),
        digest=archives.sha256(archives.compress(tar, stored)),
    )
    image = archives.oci_layout(tmp_path / "image", archives.image(layer))
    assert run("files", image, "--json").paths == ["/a"]
    assert run("cat", image, "/a").out == K.decode()


@pytest.mark.parametrize("outer", ["gzip", "zstd", "bzip2", "xz"])
def test_an_outer_compression_is_undone(tmp_path: Path, run: Command, outer: str) -> None:
    """38."""
    spec = archives.image(tars.layer(tars.file("a", K)))
    for write in (archives.docker_archive, archives.docker25_archive, archives.oci_archive):
        image = write(tmp_path / "image", spec, outer=outer)
        assert run.lines("files", image)[0]["path"] == "/a"


def test_a_foreign_layer_is_a_row_of_known_size(tmp_path: Path, run: Command) -> None:
    """39."""
    foreign = archives.Layer(
        tar=tars.layer(tars.file("windows", K)),
        present=False,
        media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        urls=("https://example.org/layer",),
        size=12345,
    )
    image = archives.oci_layout(
        tmp_path / "image", archives.image(foreign, tars.layer(tars.file("a", K)))
    )
    answer = run("layers", image, "--json")
    assert (answer.status, answer.errors.count("\n")) == (0, 1)
    layer = answer.json[0]
    assert (layer["available"], layer["compressed_size"], layer["size"]) == (False, 12345, None)
    assert run("files", image, "--json").paths == ["/a"]


def test_a_long_name_behind_many_records_is_whole(make: Make, run: Command) -> None:
    """41."""
    name = "d/" * 40 + "n" * 100
    entry = tars.file(name, K, records=[(f"comment{n}", "c" * 100) for n in range(30)])
    image = make([entry])
    assert f"/{name}" in shown(run, image)
    assert run("cat", image, "/" + name).out == K.decode()


def test_names_that_are_not_utf8_survive(make: Make, run: Command) -> None:
    """42."""
    image = make([tars.file(b"caf\xe9", K, xattrs={"user.raw": b"\xff\x00\xfe"})])
    (line,) = run.lines("files", image)
    assert line["path"] == "/caf\udce9"
    assert line["path_bytes"] == "L2NhZuk="
    assert line["xattrs"] == {"user.raw": "/wD+"}
    assert "\\xe9" in run("files", image).out
    assert run("cat", image, "/caf\udce9").out == K.decode()


@pytest.mark.parametrize("count", [127, 130])
def test_more_layers_than_engines_run_open_with_a_warning(
    make: Make, run: Command, count: int
) -> None:
    """43, 44."""
    image = make(*([tars.file(f"f{n:03}", b"x")] for n in range(count)))
    assert len(run.lines("files", image)) == count
    warnings = run.json("inspect", image)["warnings"]
    assert any("127" in text for text in warnings) == (count > 127)


def test_a_chown_of_many_files_is_quick_and_metadata_only(make: Make, run: Command) -> None:
    """45."""
    names = [f"d{n % 100:02}/f{n:05}" for n in range(20_000)]
    image = make(*([tars.file(name, name.encode(), uid=uid) for name in names] for uid in (0, 7)))
    start = time.process_time()
    waste = run.json("waste", image)
    # A second on the machine this was written on is far from what a square would take.
    assert time.process_time() - start < 10
    assert waste["by_kind"]["metadata_only"] == waste["wasted_bytes"] == 20_000 * 10


def test_200_000_empty_files_fit_in_little_memory(make: Make) -> None:
    """46."""
    header = tars.file("d/f000000").encode("ustar")
    assert len(header) == 512
    blocks = []
    for number in range(200_000):
        name = b"d/f%06d" % number
        block = bytearray(header)
        block[: len(name)] = name
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\x00 " % sum(block)
        blocks.append(bytes(block))
    image = make(b"".join(blocks) + bytes(1024))
    program = (
        "import sys\n"
        "from layerview.cli.main import main\n"
        "status = main(['layers', sys.argv[1], '--json', '--no-cache'])\n"
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print(*(line.split()[1] for line in lines if 'VmHWM' in line), file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(image)], capture_output=True, text=True, check=True
    )
    assert '"files": 200001' in done.stdout or '"files": 200000' in done.stdout
    assert int(done.stderr) < 200 << 10


def test_a_hidden_file_says_who_hides_it(make: Make, run: Command) -> None:
    """49."""
    image = make([tars.file("f", K)], [tars.whiteout("f")])
    answer = run("which", image, "/f")
    assert answer.status == 1
    assert "deleted by this layer" in answer.out
    (path,) = run.json("waste", image)["paths"]
    assert path["versions"] == [{"layer": 0, "bytes": 1000, "kind": "deleted", "hidden_by": 1}]
    assert run("cat", image, "/f", "--layer", 0).out == K.decode()


def test_a_capability_is_named_and_its_copy_counts(make: Make, run: Command) -> None:
    """63."""
    capable = tars.file("f", K, xattrs={"security.capability": b"\x01\0\0\x02"})
    image = make([tars.file("f", K)], [capable])
    assert wasted(run, image) == {"metadata_only": 1000}
    assert run.lines("files", image)[0]["xattrs"] == {"security.capability": "AQAAAg=="}


def test_the_whole_archive_may_be_gzipped_twice_over(tmp_path: Path, run: Command) -> None:
    """38: gzip members one behind the other are one stream."""
    spec = archives.image(tars.layer(tars.file("a", K)))
    whole = archives.docker_archive(tmp_path / "plain.tar", spec).read_bytes()
    image = tmp_path / "image.tar.gz"
    image.write_bytes(gzip.compress(whole[:3000]) + gzip.compress(whole[3000:]))
    assert run("files", image, "--json").paths == ["/a"]
