"""PathMap against a plain dict."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from layerview.watch.paths import PathMap

PATHS = st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=4).map(b"/".join)
ACTS = st.lists(
    st.tuples(st.sampled_from(["put", "take", "below", "move"]), PATHS, PATHS), max_size=30
)


def beneath(path: bytes, folder: bytes) -> bool:
    return path.startswith(folder + b"/")


@given(ACTS)
def test_a_path_map_is_a_dict_that_knows_what_lies_below(
    acts: list[tuple[str, bytes, bytes]],
) -> None:
    tried: PathMap[int] = PathMap()
    plain: dict[bytes, int] = {}
    for count, (act, one, other) in enumerate(acts):
        if act == "put":
            tried.put(one, count)
            plain[one] = count
        elif act == "take":
            assert tried.take(one) == plain.pop(one, None)
        elif act == "below":
            taken = dict(tried.take_below(one))
            assert taken == {path: plain.pop(path) for path in list(plain) if beneath(path, one)}
        elif one != other and not beneath(other, one) and not beneath(one, other):
            tried.move(one, other)
            moved = {
                path: plain.pop(path) for path in list(plain) if path == one or beneath(path, one)
            }
            for path in [path for path in plain if path == other or beneath(path, other)]:
                del plain[path]
            plain.update({other + path[len(one) :]: value for path, value in moved.items()})
        assert tried == plain
        for folder in {b"", one, other}:
            start = folder + b"/" if folder else b""
            below = [path for path in plain if path.startswith(start) and path != folder]
            assert sorted(tried.below(folder)) == sorted(below)
            assert tried.below(folder) == sorted(below, key=lambda path: path.split(b"/"))
