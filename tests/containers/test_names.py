"""IDs and names of containers."""

from __future__ import annotations

import re

import pytest

from layerview.containers.names import check_name, new_id, random_name
from layerview.errors import UsageError


def test_an_id_is_64_random_digits() -> None:
    made = {new_id() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch("[0-9a-f]{64}", id) for id in made)


def test_a_made_up_name_is_an_adjective_and_a_surname() -> None:
    made = {random_name() for _ in range(300)}
    assert len(made) > 250
    assert all(re.fullmatch("[a-z]+_[a-z]+", name) for name in made)
    assert all(check_name(name) == name for name in made)
    assert random_name(7).endswith("7")


@pytest.mark.parametrize("name", ["", "a", "-a", ".a", "a b", "a/b", "ä1", "a\n", "a" * 3 + "\0"])
def test_what_docker_would_not_take_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="no container's name"):
        check_name(name)


def test_a_slash_in_front_is_taken_off() -> None:
    assert check_name("/web.1_x-y") == "web.1_x-y"
