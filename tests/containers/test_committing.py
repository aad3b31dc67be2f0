"""Dockerfile instructions that `commit --change` carries out."""

from __future__ import annotations

from typing import Any

import pytest

from layerview.containers.committing import _change
from layerview.errors import UsageError


def changed(*lines: str, **config: object) -> dict[str, Any]:
    found: dict[str, object] = dict(config)
    for line in lines:
        _change(found, line)
    return found


def test_a_program_is_a_list_or_a_line_for_the_shell() -> None:
    assert changed('CMD ["a", "b c"]')["Cmd"] == ["a", "b c"]
    assert changed("cmd a b")["Cmd"] == ["/bin/sh", "-c", "a b"]
    assert changed('ENTRYPOINT ["e"]', Cmd=["old"]) == {"Entrypoint": ["e"], "Cmd": None}


def test_variables_and_labels_are_set_or_replaced() -> None:
    assert changed('ENV A=1 B="2 3"', Env=["B=0", "C=4"])["Env"] == ["C=4", "A=1", "B=2 3"]
    assert changed("ENV KEY all the rest")["Env"] == ["KEY=all the rest"]
    assert changed("LABEL a=1 b=2", Labels={"a": "0"})["Labels"] == {"a": "1", "b": "2"}


def test_the_other_instructions_do_what_a_dockerfile_s_do() -> None:
    found = changed(
        "EXPOSE 80 53/udp",
        'VOLUME ["/v", "/w x"]',
        "USER demo:44",
        "WORKDIR /a",
        "WORKDIR b",
        "ONBUILD RUN x",
        "STOPSIGNAL SIGUSR1",
    )
    assert found == {
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/v": {}, "/w x": {}},
        "User": "demo:44",
        "WorkingDir": "/a/b",
        "OnBuild": ["RUN x"],
        "StopSignal": "SIGUSR1",
    }


@pytest.mark.parametrize("line", ["", "RUN x", "COPY a b", "CMD", "ENV", 'ENV "A=1', "LABEL a=1 b"])
def test_what_is_no_change_is_said(line: str) -> None:
    with pytest.raises(UsageError):
        changed(line)
