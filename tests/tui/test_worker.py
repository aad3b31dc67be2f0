"""The worker beside the screen: what it is asked, what it answers, how it ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.errors import LayerviewError
from layerview.tui.worker import WorkerGone, WorkerProcess
from tests.drivers.people import PYTHON, as_user, readable_site, user


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    """Give a worker over an area of its own."""
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "area"))
    made = WorkerProcess()
    yield made
    made.close()
    end = time.monotonic() + 20
    while made._child is not None and made._child.poll() is None:
        assert time.monotonic() < end, "the worker does not end"
        time.sleep(0.01)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a volume of root's is made")


@needs_root
def test_commands_are_carried_out_and_their_documents_come_back(worker: WorkerProcess) -> None:
    assert worker.ask(["volume", "create", "--json", "data"]).said[0]["name"] == "data"  # type: ignore[index]
    [volumes] = worker.ask(["volume", "ls", "--json"]).said
    assert [volume["name"] for volume in volumes] == ["data"]  # type: ignore[attr-defined]
    assert worker.ask(["ps", "--json", "-a"]).said == ([],)


def test_what_a_command_complains_about_is_an_error(worker: WorkerProcess) -> None:
    with pytest.raises(LayerviewError, match="no storage area"):
        worker.ask(["rm", "--json", "none"])
    with pytest.raises(LayerviewError, match="--nonsense"):
        worker.ask(["ps", "--nonsense"])


@needs_root
def test_several_ask_at_once_and_each_gets_its_answer(worker: WorkerProcess) -> None:
    names = [f"volume{number}" for number in range(12)]
    answers: dict[str, object] = {}

    def make(name: str) -> None:
        answers[name] = worker.ask(["volume", "create", "--json", name]).said[0]

    threads = [threading.Thread(target=make, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {name: answers[name]["name"] for name in names} == {name: name for name in names}  # type: ignore[index]


def test_a_worker_that_is_killed_is_told_of_and_the_next_question_starts_another(
    worker: WorkerProcess,
) -> None:
    worker.ask(["ps", "--json"])
    child = worker._child
    assert child is not None
    os.kill(child.pid, signal.SIGSTOP)
    caught: list[Exception] = []

    def ask() -> None:
        try:
            worker.ask(["ps", "--json"])
        except WorkerGone as error:
            caught.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.1)
    os.kill(child.pid, signal.SIGKILL)
    asking.join(20)
    assert len(caught) == 1
    assert "has ended" in str(caught[0])
    assert worker.ask(["ps", "--json"]).said == ([],)


def test_why_a_worker_can_not_work_is_said(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys; sys.exit('layerview: no user namespace can be made here')"
    monkeypatch.setattr("layerview.tui.worker.COMMAND", (sys.executable, "-c", code))
    with pytest.raises(WorkerGone, match=r"^no user namespace can be made here$"):
        worker.ask(["ps"])


def test_after_leaving_nothing_more_is_asked(worker: WorkerProcess) -> None:
    worker.close()
    with pytest.raises(WorkerGone, match="being left"):
        worker.ask(["ps", "--json"])


def test_what_was_asked_for_is_carried_out_although_one_leaves(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    done: list[object] = []
    asking = threading.Thread(target=lambda: done.append(worker.ask(["ps", "--json"])))
    asking.start()
    end = time.monotonic() + 10
    while worker._child is None and time.monotonic() < end:
        time.sleep(0.001)
    worker.close()
    asking.join(20)
    assert len(done) == 1


@pytest.mark.conformance
@pytest.mark.parametrize("name", ["lvuser", "lvplain"])
def test_it_works_for_an_ordinary_user_and_so_do_shells(name: str, tmp_path: Path) -> None:
    user(name)
    if not Path("/bin/busybox").exists():
        pytest.skip("/bin/busybox is not installed")
    with readable_site() as site:
        done = as_user(name, site, "-m", "tests.tui.ordinary", timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "all is well", done.stdout
    assert PYTHON in done.args
