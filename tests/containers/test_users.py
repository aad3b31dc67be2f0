"""Whom a container runs as, by the files that it has."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from layerview.containers.plan import StartError
from layerview.containers.users import User, find, with_home
from layerview.drivers.namespace import mapped_owners
from tests.containers.starting import Lab

PASSWD = """\
# a comment

root:x:0:0:root:/root:/bin/sh
joe:x:1000:1001:Joe:/home/joe:/bin/sh
short:x:7
bad:x:zero:0::/:
bad2:x:5::/:
homeless:x:8:9
nobody:*:65534:65533:::
twice:x:1:1::/one:
twice:x:2:2::/two:
huge:x:4294967296:0::/:
wide:x:10:99999999999::/:
ünï:x:77:78::/home/ü:
"""
GROUP = """\
root:x:0:
staff:x:50:joe,other
joe:x:1001:
more:x:51:other,joe
bad:x:x:joe
huge:x:99999999999:joe
empty:x:52
"""


def look(root: Path, user: str) -> User:
    """Look a user up with another root."""
    heard, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chroot(root)
            os.chdir("/")
            found = find(user)
            said = {"user": [found.uid, found.gid, found.groups, found.home]}
        except StartError as error:
            said = {"error": [str(error), error.code]}
        except BaseException as error:
            said = {"error": [repr(error), 0]}
        os.write(tell, json.dumps(said).encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(heard) as words:
        answer = json.load(words)
    os.waitpid(child, 0)
    if "error" in answer:
        raise StartError(*answer["error"])
    uid, gid, groups, home = answer["user"]
    return User(uid, gid, tuple(groups), home)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    if os.geteuid() != 0:
        pytest.skip("chroot needs root, if only of a user namespace")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, (0,), "/root"),
        ("0", 0, 0, (0,), "/root"),
        ("root", 0, 0, (0,), "/root"),
        ("joe", 1000, 1001, (1001, 50, 51), "/home/joe"),
        ("1000", 1000, 1001, (1001, 50, 51), "/home/joe"),
        ("joe:staff", 1000, 50, (50,), "/home/joe"),
        ("joe:50", 1000, 50, (50,), "/home/joe"),
        ("joe:7777", 1000, 7777, (7777,), "/home/joe"),
        ("joe:", 1000, 1001, (1001, 50, 51), "/home/joe"),
        (":staff", 0, 50, (50,), "/root"),
        ("4242", 4242, 0, (0,), "/"),
        ("4242:4243", 4242, 4243, (4243,), "/"),
        ("nobody", 65534, 65533, (65533,), "/"),
        ("homeless", 8, 9, (9,), "/"),
        ("twice", 1, 1, (1,), "/one"),
        ("2", 2, 2, (2,), "/two"),
        ("joe:empty", 1000, 52, (52,), "/home/joe"),
        ("ünï", 77, 78, (78,), "/home/ü"),
        ("2147483647", 2147483647, 0, (0,), "/"),
    ],
)
def test_users_and_groups(
    asked: str, uid: int, gid: int, groups: tuple[int, ...], home: str, root: Path
) -> None:
    found = look(root, asked)
    assert (found.uid, found.gid, found.groups, found.home) == (uid, gid, groups, home)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("nosuch", "unable to find user nosuch: no matching entries in passwd file"),
        # An entry without an ID gives nobody root's.
        ("bad", "unable to find user bad: no matching entries in passwd file"),
        ("bad2", "unable to find user bad2: no matching entries in passwd file"),
        ("short", "unable to find user short: no matching entries in passwd file"),
        ("-1", "unable to find user -1: no matching entries in passwd file"),
        ("joe:nosuch", "unable to find group nosuch: no matching entries in group file"),
        ("joe:bad", "unable to find group bad: no matching entries in group file"),
        ("joe:huge", "unable to find group huge: no matching entries in group file"),
        ("huge", "user huge: uids and gids must be in range 0-2147483647"),
        ("wide", "user wide: uids and gids must be in range 0-2147483647"),
        ("2147483648", "user 2147483648: uids and gids must be in range 0-2147483647"),
        ("0:2147483648", "group 2147483648: uids and gids must be in range 0-2147483647"),
        ("\x1b[2J", "unable to find user \\x1b[2J: no matching entries in passwd file"),
    ],
)
def test_who_is_not_there_is_named(asked: str, message: str, root: Path) -> None:
    with pytest.raises(StartError) as caught:
        look(root, asked)
    assert (str(caught.value), caught.value.code) == (message, 125)


def test_without_files_numbers_do(root: Path) -> None:
    (root / "etc/passwd").unlink()
    (root / "etc/group").unlink()
    found = look(root, "5:6")
    assert (found.uid, found.gid, found.groups, found.home) == (5, 6, (6,), "/")
    assert look(root, "").uid == 0
    with pytest.raises(StartError, match="no matching entries"):
        look(root, "joe")


def test_home_comes_from_the_user_where_it_is_missing() -> None:
    user = User(0, 0, (), "/root")
    assert with_home(["A=1", "A=2", "B"], user) == {"A": "2", "B": "", "HOME": "/root"}
    assert with_home(["HOME="], user) == {"HOME": ""}


def test_a_container_runs_as_its_user(area: Lab) -> None:
    owners = mapped_owners()
    plan = area.plan("sh", "-c", "id; echo $HOME; touch /tmp/f; echo x > /etc/f", user="joe")
    if owners is not None and owners.ids(1000, 1001) is None:
        # An ordinary user without ranges.
        with pytest.raises(
            StartError, match=r"have no IDs here: give .* or run it with -u 0"
        ) as no:
            area.start(plan)
        assert no.value.code == 125
        return
    ended = area.wait(plan, area.start(plan))
    assert ended.out.splitlines() == [
        "uid=1000(joe) gid=1001(joe) groups=2(bin),50(staff),1001(joe)",
        "/home/joe",
    ]
    assert "can't create /etc/f: Permission denied" in ended.err


def test_its_output_can_be_opened_anew_by_its_user(own: Lab) -> None:
    owners = mapped_owners()
    if owners is not None and owners.ids(1000, 1001) is None:
        pytest.skip("user 1000 has no ID here")
    script = "echo out > /dev/stdout; echo err > /dev/stderr; cat < /dev/stdin"
    ended = own.sh(script, user="joe")
    assert (ended.status, ended.out, ended.err) == (0, "out\n", "err\n")
    plan = own.plan(
        "sh", "-c", script + "; tty; stat -c %U /dev/pts/0", user="joe", tty=True, open_stdin=True
    )
    with own.attached(plan) as line:
        line.send("in\n\x04")
        assert line.read() == 0
    assert line.out.replace("\r", "").splitlines()[-2:] == ["/dev/pts/0", "joe"]
