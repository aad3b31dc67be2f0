"""Commands in a running container: what they are inside, and what they cannot reach."""

from __future__ import annotations

import os
import pwd
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from layerview.containers import talk
from layerview.containers.plan import ExecPlan, Plan, Started, StartError
from layerview.containers.terminal import run_exec
from layerview.drivers.namespace import is_initial, mapped_owners
from tests.containers.starters import KINDS, need_runtime
from tests.containers.starting import Lab, busybox, lab, wait_for_end
from tests.drivers.people import as_each, readable_site, user
from tests.support import tars

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


class Running:
    """A container that runs, and commands in it."""

    def __init__(self, lab: Lab, plan: Plan, started: Started) -> None:
        self.lab, self.plan, self.started = lab, plan, started

    def exec(
        self, *args: str, data: bytes = b"", env: tuple[str, ...] = ("PATH=/bin",), **more: object
    ) -> tuple[int, str, str]:
        """Run a command to its end: exit status, output, errors."""
        plan = ExecPlan(args, env, **more)  # type: ignore[arg-type]
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(data)
            given.seek(0)
            code = run_exec(
                lambda stdio: talk.connect(self.plan.run).exec(plan, stdio),
                tty=plan.tty,
                stdin=None if plan.tty else given.fileno(),
                stdout=out.fileno(),
                stderr=err.fileno(),
            )
            out.seek(0)
            err.seek(0)
            return code, out.read().decode(), err.read().decode()

    def sh(self, script: str, **more: object) -> str:
        """Run a script that must succeed; return its output."""
        code, out, err = self.exec("sh", "-c", script, **more)  # type: ignore[arg-type]
        assert (code, err) == (0, ""), (out, err)
        return out


@pytest.fixture(params=KINDS, ids="-".join)
def area(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    driver, runtime = request.param
    with lab(driver, tmp_path / "root", need_runtime(runtime)) as made:
        yield made


@pytest.fixture
def running(area: Lab) -> Running:
    plan = area.plan("sleep", "60", hostname="box", env=("PATH=/bin", "OF=container"))
    return Running(area, plan, area.start(plan))


def test_a_command_runs_inside_with_its_own_exit_status(running: Running) -> None:
    code, out, err = running.exec("sh", "-c", "hostname; ls /bin/busybox; echo e >&2; exit 42")
    assert (code, out, err) == (42, "box\n/bin/busybox\n", "e\n")
    assert running.exec("sh", "-c", "kill -9 $$")[0] == 137


def test_it_is_in_all_of_the_container_s_namespaces(running: Running) -> None:
    names = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]
    first = [os.readlink(f"/proc/{running.started.pid}/ns/{name}") for name in names]
    script = "; ".join(f"readlink /proc/self/ns/{name}" for name in names)
    assert running.sh(script).split() == first
    assert "sleep 60" in running.sh("ps")


def test_environment_folder_and_user_are_those_asked_for(running: Running) -> None:
    asked = ("PATH=/bin", "A=b=c", "A=d", "B=")
    found = set(running.sh("env", env=asked).split()) - {"PWD=/", "SHLVL=1"}
    assert found == {"A=d", "B=", "HOME=/root", "PATH=/bin"}
    assert "HOME=/x" in running.sh("env", env=("PATH=/bin", "HOME=/x")).split()
    assert running.sh("pwd", cwd="/tmp") == "/tmp\n"
    assert running.sh("pwd", cwd="/made/for/it") == "/made/for/it\n"
    if mapped_owners() is None:
        assert running.sh("id; echo $HOME", user="joe") == (
            "uid=1000(joe) gid=1001(joe) groups=2(bin),50(staff),1001(joe)\n/home/joe\n"
        )
        assert running.sh("id -u; id -g", user="7:2") == "7\n2\n"
    assert running.sh("id -u", user="root") == "0\n"


def test_it_may_no_more_than_the_first_process(running: Running) -> None:
    wanted = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp:")
    script = "cat /proc/{}/status"

    def of(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith(wanted)]

    assert of(running.sh(script.format("self"))) == of(running.sh(script.format(1)))
    if running.plan.runtime == "layerview":
        assert "CapEff:\t00000000a80425fb" in running.sh(script.format("self"))
    assert running.exec("mount", "-t", "tmpfs", "x", "/tmp")[0] != 0


def test_no_descriptor_of_ours_is_open_in_it(running: Running) -> None:
    script = "cd /proc/$$/fd; ls -l; true"
    for tty in (False, True):
        code, out, _ = running.exec("sh", "-c", script, tty=tty)
        opened = dict(re.findall(r" (\d+) -> (.*?)\r?\n", out))
        assert code == 0
        # busybox's shell on a terminal has a descriptor of that of its own.
        assert set(opened) - {"10"} == {"0", "1", "2"}
        assert {re.sub(r"\d+", "N", to) for to in opened.values()} <= {"pipe:[N]", "/dev/pts/N"}


def test_its_signals_and_mask_are_at_rest(running: Running) -> None:
    code, out, _ = running.exec("grep", "-E", "Sig(Blk|Ign|Cgt)", "/proc/self/status")
    assert code == 0
    assert out.split()[1::2] == ["0000000000000000"] * 3


def test_input_and_output_pass_whole(running: Running) -> None:
    data = b"".join(b"%d\n" % n for n in range(200_000))
    assert running.exec("cat", data=data)[1] == data.decode()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("nosuch",), 127, r'exec: "nosuch": executable file not found in \$PATH'),
        (("/no/such",), 127, r'exec: "/no/such": stat /no/such: no such file or directory'),
        (("",), 127, r"executable file not found"),
        (("/etc",), 126, r'exec: "/etc": is a directory'),
        (("/etc/passwd",), 126, r'exec: "/etc/passwd": permission denied'),
        (("/tmp/broken",), 126, r"exec /tmp/broken: exec format error"),
    ],
)
def test_what_cannot_be_executed_is_said_as_docker_does(
    running: Running, args: tuple[str, ...], code: int, message: str
) -> None:
    running.sh("printf '\\001\\002' > /tmp/broken; chmod 755 /tmp/broken")
    with pytest.raises(StartError, match=message) as error:
        running.exec(*args)
    assert error.value.code == code
    assert running.sh("echo still") == "still\n"


def test_wrong_users_and_folders_are_refused(running: Running) -> None:
    with pytest.raises(StartError, match="unable to find user nobody") as error:
        running.exec("true", user="nobody")
    assert error.value.code == 125
    with pytest.raises(StartError, match="chdir to /etc/passwd: not a directory") as error:
        running.exec("true", cwd="/etc/passwd")
    assert error.value.code == 126


@pytest.mark.parametrize("number", range(12))
def test_no_open_folder_of_ours_leads_out(running: Running, number: int) -> None:
    """CVE-2024-21626: a working folder that is a descriptor of whoever starts the program."""
    with pytest.raises(StartError, match="chdir to /proc/self/fd"):
        running.exec("pwd", cwd=f"/proc/self/fd/{number}")


def test_a_folder_is_no_input(running: Running) -> None:
    folder, null = os.open("/", os.O_RDONLY), os.open("/dev/null", os.O_RDWR)
    try:
        with pytest.raises(StartError, match="a folder can't be"):
            talk.connect(running.plan.run).exec(ExecPlan(("true",)), (folder, null, null))
    finally:
        os.close(folder)
        os.close(null)


def test_its_terminal_is_the_container_s_own(running: Running) -> None:
    code, out, _ = running.exec(
        "sh", "-c", "tty; stty size; ls -l $(tty)", tty=True, rows=7, columns=70
    )
    assert code == 0
    place, size, listed = out.split("\r\n")[:3]
    assert re.fullmatch(r"/dev/pts/\d+", place)
    assert size == "7 70"
    assert listed.split()[2] == "root"


def test_it_is_the_foreground_of_its_terminal(running: Running) -> None:
    plan = ExecPlan(
        ("sh", "-c", "trap 'echo got; exit 3' INT; echo on; while :; do sleep 0.05; done"),
        ("PATH=/bin",),
        tty=True,
    )
    command = talk.connect(running.plan.run).exec(plan)
    assert command.master is not None
    seen = b""
    while b"on" not in seen:
        seen += os.read(command.master, 100)
    os.write(command.master, b"\x03")
    assert command.wait() == 3
    command.close()


def test_closing_its_terminal_hangs_it_up(running: Running) -> None:
    command = talk.connect(running.plan.run).exec(
        ExecPlan(("sleep", "50"), ("PATH=/bin",), tty=True)
    )
    pid = command.pid
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0050\0"
    command.close()
    wait_for_end(pid)


def test_many_commands_at_once(running: Running) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    commands = []
    for number in range(40):
        plan = ExecPlan(("sh", "-c", f"exit {number}"), ("PATH=/bin",))
        commands.append(talk.connect(running.plan.run).exec(plan, (null, null, null)))
    os.close(null)
    assert [command.wait() for command in commands] == list(range(40))
    for command in commands:
        command.close()


def test_it_ends_with_the_first_process(running: Running) -> None:
    plan = ExecPlan(
        ("sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done"), ("PATH=/bin",), tty=True
    )
    command = talk.connect(running.plan.run).exec(plan)
    with talk.connect(running.plan.run) as shim:
        shim.signal(9)
    assert command.wait() == 137
    wait_for_end(command.pid)
    wait_for_end(running.started.shim)
    command.close()


def test_a_client_that_goes_leaves_its_command_alone(running: Running) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    plan = ExecPlan(("sh", "-c", "sleep 0.3; echo done > /tmp/left"), ("PATH=/bin",))
    command = talk.connect(running.plan.run).exec(plan, (null, null, null))
    os.close(null)
    command.close()
    wait_for_end(command.pid)
    assert running.sh("cat /tmp/left") == "done\n"


def test_our_interpreter_cannot_be_written_from_inside(running: Running) -> None:
    """CVE-2019-5736: a program that leads to /proc/self/exe has ours run inside."""
    running.sh("ln -s /proc/self/exe /bin/evil")
    running.sh("printf '#!/proc/self/exe\\n' > /bin/evil2; chmod 755 /bin/evil2")
    for name in ("evil", "evil2"):
        # It runs where the image has the libraries; what it is executed from stays as it is.
        with pytest.raises(StartError):
            running.exec(name, "-c", "")
    exe = f"/proc/{running.started.shim}/exe"
    assert os.path.realpath(exe) == os.path.realpath(sys.executable)
    assert os.statvfs(exe).f_flag & os.ST_RDONLY
    assert not os.statvfs(sys.executable).f_flag & os.ST_RDONLY, "that shows nothing"


def test_hostile_files_in_the_image_do_not_matter(area: Lab) -> None:
    layer = busybox(
        tars.symlink("dev", "/tmp"),
        tars.file("codecs.py", b"raise SystemExit(66)"),
        tars.file("encodings/__init__.py", b"raise SystemExit(66)"),
        tars.symlink("etc/passwd", "/proc/self/environ"),
        without=["etc/passwd", "dev"],
    )
    plan = area.plan("sleep", "60", image=area.layer(layer))
    running = Running(area, plan, area.start(plan))
    assert running.sh("echo in") == "in\n"
    with pytest.raises(StartError, match="unable to find user \\\\u202e"):
        running.exec("true", user="\u202e")
    if running.plan.runtime == "layerview":
        assert running.exec("sh", "-c", "tty", tty=True)[1].startswith("/dev/")


# As ordinary users.

AGAIN = """
import sys
import pytest
from layerview.drivers.namespace import run_in_user_namespace
words = ["-q", "-p", "no:cacheprovider", "-rs", "--basetemp", sys.argv[1], sys.argv[2]]
sys.exit(run_in_user_namespace(lambda: int(pytest.main(words))))
"""


@pytest.mark.conformance
def test_all_of_it_holds_for_ordinary_users() -> None:
    if not is_initial():
        pytest.skip("it is the ordinary user who is here")
    names = [user("lvuser"), user("lvplain")]
    with ExitStack() as held:
        # On a disk: overlayfs in a user namespace does not write to every kind of memory's files.
        folder = tempfile.TemporaryDirectory
        made = {
            name: held.enter_context(folder(prefix="layerview-joining-", dir="/var/tmp"))
            for name in names
        }
        for name, own in made.items():
            entry = pwd.getpwnam(name)
            os.chown(own, entry.pw_uid, entry.pw_gid)
        site = held.enter_context(readable_site())
        place = "tests/containers/test_joining.py"
        everyone = as_each(names, site, lambda name: ["-c", AGAIN, f"{made[name]}/tmp", place])
    for done in everyone:
        print(done.stdout)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        passed = re.search(r"(\d+) passed", done.stdout)
        assert passed is not None
        assert int(passed[1]) >= 60
