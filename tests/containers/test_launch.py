"""Starting containers, as root: what runs, what is left, and what is said when it does not run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.containers.plan import StartError
from tests.containers.starters import KINDS, need_runtime
from tests.containers.starting import Lab, lab, stand_in

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture(params=KINDS, ids="-".join)
def area(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    monkeypatch.setattr("layerview.containers.shim.keep", stand_in)
    driver, runtime = request.param
    with lab(driver, tmp_path / "root", need_runtime(runtime)) as made:
        yield made


def test_a_program_runs_in_the_image(area: Lab) -> None:
    ended = area.sh("echo out; echo err >&2; ls /bin/busybox; exit 7")
    assert (ended.status, ended.out, ended.err) == (7, "out\n/bin/busybox\n", "err\n")


def test_what_it_writes_lies_in_its_own_layer(area: Lab) -> None:
    plan = area.plan("sh", "-c", "echo hello > /tmp/f && rm /etc/group")
    assert area.wait(plan, area.start(plan)).status == 0
    assert (area.upper(plan) / "tmp/f").read_text() == "hello\n"
    image = Path(area.driver.layer_folder(area.image))
    assert (image / "etc/group").exists()
    assert not (image / "tmp/f").exists()


def test_it_sees_its_own_processes_host_name_and_network_alone(area: Lab) -> None:
    ended = area.sh("ps -o pid; hostname; ls /sys/class/net", hostname="box")
    words = ended.out.split()
    assert [words[0], *words[2:]] == ["PID", words[2], "box", "lo"]
    assert words[1] == "1"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("nosuch",), 127, 'exec: "nosuch": executable file not found in $PATH'),
        (("/nosuch",), 127, 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        (("/etc",), 126, 'exec: "/etc": is a directory'),
        (("/etc/passwd",), 126, 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_what_cannot_be_run_leaves_nothing(
    args: tuple[str, ...], code: int, message: str, area: Lab
) -> None:
    plan = area.plan(*args)
    with pytest.raises(StartError) as caught:
        area.start(plan)
    assert (caught.value.code, str(caught.value)) == (code, message)
    assert not os.path.exists(plan.run)
    assert (Path(plan.folder) / "layerview.lock").read_bytes() == b""
