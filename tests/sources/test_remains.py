"""A docker archive whose end is missing still shows the layers that are there, base first."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from layerview.sources.resolve import open_image
from tests.support import tars


def write_archive(path: Path, parents: dict[str, str]) -> None:
    """Write the layer folders of an archive without any manifest, in the order given."""
    with tarfile.open(path, "w") as tar:
        for name, parent in parents.items():
            members = {
                "json": json.dumps({"id": name, "parent": parent} if parent else {"id": name}),
                "layer.tar": tars.layer(tars.file(f"from-{name}", b"x")),
            }
            for member, content in members.items():
                data = content.encode() if isinstance(content, str) else content
                info = tarfile.TarInfo(f"{name}/{member}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def layer_names(path: Path) -> list[str]:
    with open_image(str(path)) as image:
        assert image.damage
        names = []
        for layer in image.layers:
            assert layer.blob is not None
            with layer.blob.opened() as fd, open(fd, "rb", closefd=False) as file:
                file.seek(layer.blob.start)
                names.append(file.read(100).rstrip(b"\0").decode())
        return names


def test_layers_are_ordered_by_their_parents_and_not_by_where_they_stand(tmp_path: Path) -> None:
    write_archive(tmp_path / "cut.tar", {"c": "b", "a": "", "d": "c", "b": "a"})
    assert layer_names(tmp_path / "cut.tar") == ["from-a", "from-b", "from-c", "from-d"]


def test_a_parent_that_was_cut_off_leaves_its_children_at_the_bottom(tmp_path: Path) -> None:
    write_archive(tmp_path / "cut.tar", {"c": "b", "b": "gone"})
    assert layer_names(tmp_path / "cut.tar") == ["from-b", "from-c"]


def test_a_ring_of_parents_and_a_chain_of_thousands_end(tmp_path: Path) -> None:
    write_archive(tmp_path / "ring.tar", {"a": "b", "b": "c", "c": "a"})
    assert sorted(layer_names(tmp_path / "ring.tar")) == ["from-a", "from-b", "from-c"]
    chain = {str(number): str(number + 1) for number in range(3000)}
    write_archive(tmp_path / "chain.tar", chain)
    assert layer_names(tmp_path / "chain.tar")[0] == "from-2999"
