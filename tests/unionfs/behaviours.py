"""What programs do with files, done in a folder; each tells what it saw, to be compared.

The folder holds `text` (a file of several lines), `big` (3 MB), `setuid` (mode 4755), `sparse`,
`folder` with `one` and `two`, `pair` and `other`, which are hard links, and `link` to `text`.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import multiprocessing
import os
import sqlite3
import stat
import struct
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

Behaviour = Callable[[Path], object]
SEEN: list[Behaviour] = []


def make(place: Path) -> None:
    """Put the files into an empty folder."""
    place.chmod(0o755)
    (place / "text").write_text("".join(f"line {number}\n" for number in range(100)))
    (place / "big").write_bytes(bytes(range(256)) * (3_000_000 // 256))
    (place / "setuid").write_bytes(b"#!/bin/sh\nexit 3\n")
    (place / "setuid").chmod(0o4755)
    with open(place / "sparse", "wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    (place / "folder").mkdir()
    (place / "folder/one").write_text("1")
    (place / "folder/two").write_text("2")
    (place / "pair").write_text("both")
    os.link(place / "pair", place / "other")
    (place / "link").symlink_to("text")
    (place / "many").mkdir()
    for number in range(700):
        (place / "many" / f"{number:03}-{'n' * (number % 40)}").touch()


def behaviour(function: Behaviour) -> Behaviour:
    SEEN.append(function)
    return function


def as_another(place: Path, id: int, work: Callable[[], object]) -> bytes:
    """Do something as another user, in a folder; return what it returned, in words."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(place)
            os.setgroups([])
            os.setresgid(id, id, id)
            os.setresuid(id, id, id)
            os.write(write, repr(failing(work)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        return said.read()


def failing(call: Callable[[], object]) -> object:
    """Return a call's error by name, or what it returned."""
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


@behaviour
def an_unlinked_file_stays_usable(place: Path) -> object:
    with open(place / "text", "r+b", buffering=0) as file:
        os.unlink(place / "text")
        first = file.read(6)
        file.seek(0)
        file.write(b"CHANGED")
        file.seek(0)
        had = os.fstat(file.fileno())
        os.fchmod(file.fileno(), 0o600)
        mode = os.fstat(file.fileno()).st_mode
        os.ftruncate(file.fileno(), 3)
        return (
            first,
            file.read(9),
            had.st_nlink,
            had.st_size,
            mode,
            os.fstat(file.fileno()).st_size,
            sorted(os.listdir(place)),
        )


@behaviour
def a_folder_whose_open_file_is_unlinked_is_removed(place: Path) -> object:
    with open(place / "folder/one", "rb") as file:
        os.unlink(place / "folder/one")
        os.unlink(place / "folder/two")
        os.rmdir(place / "folder")
        return file.read(), (place / "folder").exists()


@behaviour
def hard_links_are_one_file(place: Path) -> object:
    os.link(place / "text", place / "folder/text")
    with open(place / "folder/text", "ab") as file:
        file.write(b"more")
    os.rename(place / "text", place / "renamed")
    one, two = (place / "renamed").stat(), (place / "folder/text").stat()
    with open(place / "pair", "r+b") as file:
        file.write(b"BOTH")
    return (
        one.st_ino == two.st_ino,
        one.st_nlink,
        (place / "renamed").read_bytes()[-4:],
        (place / "other").read_bytes(),
        (place / "other").stat().st_nlink,
        (place / "other").stat().st_ino == (place / "pair").stat().st_ino,
    )


@behaviour
def a_rename_over_an_open_file_leaves_it_open(place: Path) -> object:
    with open(place / "text", "rb") as old:
        (place / "new").write_text("new")
        os.rename(place / "new", place / "text")
        return old.read(6), (place / "text").read_text(), sorted(os.listdir(place))


@behaviour
def renames_go_by_their_flags(place: Path) -> object:
    def rename(old: str, new: str, flags: int) -> object:
        import ctypes

        names = [os.fsencode(place / name) for name in (old, new)]
        done = ctypes.CDLL(None, use_errno=True).renameat2(-100, names[0], -100, names[1], flags)
        return done if done == 0 else errno.errorcode[ctypes.get_errno()]

    said = [rename("text", "pair", 1), rename("text", "pair", 2), rename("pair", "fresh", 1)]
    (place / "made").mkdir()
    said += [rename("made", "text", 2), rename("folder/one", "missing/one", 0)]
    return said, (place / "fresh").read_bytes()[:6], sorted(os.listdir(place))


@behaviour
def a_mapping_is_shared(place: Path) -> object:
    with (
        open(place / "text", "r+b") as file,
        mmap.mmap(file.fileno(), 0) as one,
        mmap.mmap(file.fileno(), 0) as two,
    ):
        one[:4] = b"LINE"
        seen = bytes(two[:6])
        by_read = os.pread(file.fileno(), 6, 0)
        os.pwrite(file.fileno(), b"l", 0)
        mixed = bytes(one[:4])
        one.flush()
    return seen, by_read, mixed, (place / "text").read_bytes()[:10]


@behaviour
def a_private_mapping_is_private(place: Path) -> object:
    with (
        open(place / "text", "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as one,
    ):
        one[:4] = b"LINE"
        return bytes(one[:4]), (place / "text").read_bytes()[:4]


def _append(path: str, letter: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    for _ in range(100):
        os.write(fd, letter * 20 + b"\n")
    os.close(fd)


@behaviour
def writers_that_append_lose_nothing(place: Path) -> object:
    context = multiprocessing.get_context("fork")
    path = str(place / "text")
    writers = [context.Process(target=_append, args=(path, letter)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return sorted((place / "text").read_text().splitlines())


@behaviour
def locks_hold_between_processes(place: Path) -> object:
    def tried(kind: str) -> object:
        with open(place / "text", "r+b") as file:
            call = fcntl.flock if kind == "flock" else fcntl.lockf
            return failing(lambda: call(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB))

    said = []
    for kind in ("flock", "lockf"):
        with open(place / "text", "r+b") as file:
            (fcntl.flock if kind == "flock" else fcntl.lockf)(file.fileno(), fcntl.LOCK_EX)
            said.append(as_another(place, 0, lambda kind=kind: tried(kind)))
    return said


@behaviour
def sqlite_writes_ahead(place: Path) -> object:
    with closing(sqlite3.connect(place / "data.db")) as one:
        mode = one.execute("pragma journal_mode=wal").fetchall()
        one.execute("create table t(a)")
        one.executemany("insert into t values(?)", [(number,) for number in range(500)])
        one.commit()
        with closing(sqlite3.connect(place / "data.db")) as two:
            counted = two.execute("select count(*), sum(a) from t").fetchall()
            two.execute("delete from t where a > 10")
            two.commit()
        left = one.execute("select count(*) from t").fetchall()
        check = one.execute("pragma integrity_check").fetchall()
    return mode, counted, left, check, sorted(os.listdir(place))


@behaviour
def holes_are_kept_and_made(place: Path) -> object:
    import ctypes

    with open(place / "sparse", "r+b", buffering=0) as file:
        fd = file.fileno()
        data = os.lseek(fd, 0, os.SEEK_DATA) >= 1 << 20
        hole = os.lseek(fd, 0, os.SEEK_HOLE)
        os.posix_fallocate(fd, 0, 8192)
        blocks = os.fstat(fd).st_blocks
        os.pwrite(fd, b"x" * 8192, 0)
        punch = ctypes.CDLL(None, use_errno=True).fallocate(
            fd, 3, ctypes.c_int64(0), ctypes.c_int64(4096)
        )
        return (
            data,
            hole,
            blocks >= 16,
            punch,
            os.pread(fd, 4, 0),
            os.pread(fd, 1, 5000),
            os.fstat(fd).st_size,
            failing(lambda: os.lseek(fd, 5 << 20, os.SEEK_DATA)),
        )


@behaviour
def data_is_copied_between_files(place: Path) -> object:
    with open(place / "big", "rb") as source, open(place / "copy", "w+b") as target:
        done, wanted = 0, 2_500_000
        while done < wanted:
            done += os.copy_file_range(
                source.fileno(), target.fileno(), wanted - done, 7 + done, done
            )
        target.seek(0)
        copied = target.read()
    with open(place / "big", "rb") as source, open(place / "sent", "wb") as target:
        sent = os.sendfile(target.fileno(), source.fileno(), 100, 70_000)
    return done, copied == (place / "big").read_bytes()[7 : 7 + wanted], sent


@behaviour
def a_written_setuid_file_loses_its_right(place: Path) -> object:
    """An ordinary user's write takes it away, whoever opened the file; root's does not."""
    said = []
    os.chmod(place / "setuid", 0o6777)
    with open(place / "setuid", "ab", buffering=0) as file:
        file.write(b"# by root\n")
        said.append(stat.S_IMODE((place / "setuid").stat().st_mode))
        as_another(place, 1, lambda: file.write(b"# by another\n"))
        said.append(stat.S_IMODE((place / "setuid").stat().st_mode))
    os.chmod(place / "setuid", 0o4755)
    os.chown(place / "setuid", 1, 1)
    said.append(stat.S_IMODE((place / "setuid").stat().st_mode))
    os.chmod(place / "setuid", 0o4777)
    as_another(place, 2, lambda: os.truncate("setuid", 5))
    said.append(stat.S_IMODE((place / "setuid").stat().st_mode))
    return said


@behaviour
def permissions_are_held(place: Path) -> object:
    os.chmod(place, 0o755)
    os.chmod(place / "text", 0o640)
    (place / "folder").chmod(0o1777)
    return as_another(
        place,
        1,
        lambda: (
            failing(lambda: os.close(os.open("text", os.O_RDONLY))),
            failing(lambda: os.close(os.open("pair", os.O_RDONLY))),
            failing(lambda: os.close(os.open("pair", os.O_RDWR))),
            failing(lambda: os.mkdir("mine")),
            failing(lambda: os.mkdir("folder/mine")),
            failing(lambda: os.unlink("folder/one")),
            failing(lambda: os.chmod("pair", 0o777)),
            failing(lambda: os.utime("pair")),
            os.stat("folder/mine").st_uid,
            os.stat("folder/mine").st_gid,
        ),
    )


def access_list(*entries: tuple[int, int, int]) -> bytes:
    """Return what the kernel keeps of an access list: tag, permissions, id of each entry."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@behaviour
def access_lists_are_held(place: Path) -> object:
    """ACLs: of a file below, of one that was copied up, and what a folder's files get."""
    nobody = 0xFFFFFFFF
    given = access_list(
        (1, 6, nobody), (2, 6, 1), (2, 0, 2), (4, 4, nobody), (16, 6, nobody), (32, 0, nobody)
    )
    place.chmod(0o755)
    (place / "folder").chmod(0o777)
    said = [failing(lambda: os.setxattr(place / "text", "system.posix_acl_access", given))]
    said += [failing(lambda: os.setxattr(place / "folder", "system.posix_acl_default", given))]

    def work() -> object:
        return (
            failing(lambda: os.close(os.open("text", os.O_RDWR))),
            failing(lambda: os.close(os.open("folder/made", os.O_RDONLY))),
        )

    (place / "folder/made").write_text("x")
    (place / "folder/sub").mkdir()
    said += [as_another(place, user, work) for user in (1, 2, 3)]
    said += [oct(one.stat().st_mode) for one in ((place / "text"), (place / "folder/made"))]
    said += [
        sorted(os.listxattr(place / "folder/made")),
        sorted(os.listxattr(place / "folder/sub")),
    ]
    (place / "text").chmod(0o600)
    said += [as_another(place, 1, work), os.getxattr(place / "text", "system.posix_acl_access")]
    os.removexattr(place / "text", "system.posix_acl_access")
    (place / "text").chmod(0o666)
    return *said, as_another(place, 2, work)


@behaviour
def root_sets_and_keeps_rights_while_files_are_open(place: Path) -> object:
    said: list[object] = []
    with open(place / "text", "rb"):
        os.chown(place / "setuid", 1, 7)
        os.chmod(place / "setuid", 0o6775)
        said.append(stat.S_IMODE((place / "setuid").stat().st_mode))
    with open(place / "text", "rb"):
        os.truncate(place / "setuid", 3)
        said.append(stat.S_IMODE((place / "setuid").stat().st_mode))
    with open(place / "big", "r+b"):
        os.close(os.open(place / "setuid", os.O_WRONLY | os.O_TRUNC))
        said.append(stat.S_IMODE((place / "setuid").stat().st_mode))
        os.close(os.open(place / "made", os.O_CREAT | os.O_WRONLY, 0o6755))
        said.append(stat.S_IMODE((place / "made").stat().st_mode))
    with open(place / "pair", "rb"):
        os.chmod(place / "other", 0o2745)
        os.chown(place / "other", 1, 7)
        said.append(stat.S_IMODE((place / "pair").stat().st_mode))
    return said


@behaviour
def a_setgid_folder_gives_its_group(place: Path) -> object:
    os.chown(place / "folder", 0, 7)
    (place / "folder").chmod(0o2775)
    (place / "folder/file").touch()
    (place / "folder/sub").mkdir(mode=0o755)
    (place / "folder/pipe").symlink_to("x")
    os.mkfifo(place / "folder/fifo")
    return [
        (name, had.st_gid, had.st_mode)
        for name in ("file", "sub", "pipe", "fifo")
        for had in [os.lstat(place / "folder" / name)]
    ]


@behaviour
def the_mask_is_heeded(place: Path) -> object:
    before = os.umask(0o027)
    try:
        os.close(os.open(place / "masked", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(place / "masked-folder", 0o777)
        os.mkfifo(place / "masked-fifo", 0o666)
    finally:
        os.umask(before)
    return [os.lstat(place / f"masked{end}").st_mode for end in ("", "-folder", "-fifo")]


@behaviour
def times_are_what_was_set(place: Path) -> object:
    os.utime(place / "text", ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))
    first = (place / "text").stat()
    os.utime(place / "link", ns=(5, 6), follow_symlinks=False)
    os.utime(place / "folder", ns=(-5_000_000_000, -1))
    link, folder = os.lstat(place / "link"), (place / "folder").stat()
    os.utime(place / "text")
    now = (place / "text").stat().st_mtime_ns
    (place / "pair").write_bytes(b"")
    return (
        *(first.st_atime_ns, first.st_mtime_ns),
        *(link.st_mtime_ns, folder.st_mtime_ns),
        (place / "pair").stat().st_mtime_ns >= now,
    )


@behaviour
def a_folder_is_emptied_while_it_is_read(place: Path) -> object:
    seen = []
    with os.scandir(place / "many") as entries:
        for entry in entries:
            seen.append(entry.name)
            os.unlink(entry.path)
    os.rmdir(place / "many")
    return len(seen), len(set(seen)), sorted(os.listdir(place))


@behaviour
def a_folder_is_listed_as_it_is_now(place: Path) -> object:
    fd = os.open(place / "folder", os.O_RDONLY)
    first = sorted(os.listdir(fd))
    (place / "folder/three").touch()
    os.unlink(place / "folder/one")
    second = sorted(os.listdir(fd)), sorted(os.listdir(place / "folder"))
    os.close(fd)
    kinds = sorted(
        (entry.name, entry.is_dir(), entry.is_symlink(), entry.inode() == os.lstat(entry).st_ino)
        for entry in os.scandir(place)
    )
    return first, second, kinds


@behaviour
def attributes_are_kept_in_full(place: Path) -> object:
    path = place / "text"
    os.setxattr(path, "user.one", b"1" * 2000)
    os.setxattr(path, "user.none", b"")
    said = [
        os.getxattr(path, "user.one"),
        os.getxattr(path, "user.none"),
        sorted(os.listxattr(path)),
        failing(lambda: os.setxattr(path, "user.one", b"", os.XATTR_CREATE)),
        failing(lambda: os.setxattr(path, "user.two", b"", os.XATTR_REPLACE)),
        failing(lambda: os.getxattr(path, "user.two")),
    ]
    os.removexattr(path, "user.one")
    return *said, sorted(os.listxattr(path))


@behaviour
def a_file_is_opened_in_every_way(place: Path) -> object:
    said: list[object] = []
    path = place / "pair"
    for flags in (
        os.O_RDONLY,
        os.O_WRONLY,
        os.O_RDWR | os.O_TRUNC,
        os.O_RDONLY | os.O_TRUNC,
        os.O_RDWR | os.O_CREAT | os.O_EXCL,
        os.O_RDONLY | os.O_DIRECTORY,
        os.O_RDWR | os.O_APPEND | os.O_SYNC,
    ):

        def tried(flags: int = flags) -> object:
            fd = os.open(path, flags)
            try:
                return (
                    failing(lambda: os.write(fd, b"abc")),
                    failing(lambda: os.pread(fd, 9, 0)),
                    os.fstat(fd).st_size,
                )
            finally:
                os.close(fd)

        said.append(failing(tried))
    return said


@behaviour
def readers_see_what_writers_write(place: Path) -> object:
    """The reader is there first, but of a file that is on top already."""
    os.utime(place / "big")
    with open(place / "big", "r+b", buffering=0) as first:
        first.write(b"0")
    with open(place / "big", "rb", buffering=0) as reader:
        seen = [reader.read(4)]
        with open(place / "big", "r+b", buffering=0) as writer:
            writer.write(b"abcd")
            seen.append(os.pread(reader.fileno(), 4, 0))
            writer.truncate(2)
            seen.append(os.pread(reader.fileno(), 4, 0))
            writer.seek(0, os.SEEK_END)
            writer.write(b"!!")
            seen.append(os.pread(reader.fileno(), 9, 0))
        return seen, os.fstat(reader.fileno()).st_size


@behaviour
def a_program_is_written_and_run(place: Path) -> object:
    program = place / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    run = subprocess.run([program], check=False).returncode
    with open(program, "r+b"):
        busy = failing(lambda: subprocess.run([program], check=False).returncode)
    return run, busy, subprocess.run([place / "setuid"], check=False).returncode


@behaviour
def a_tree_is_packed_and_unpacked(place: Path) -> object:
    packed = place.parent / f"{place.name}.tar"
    subprocess.run(["tar", "cf", packed, "-C", place, "."], check=True)
    (place / "out").mkdir()
    subprocess.run(["tar", "xpf", packed, "-C", place / "out"], check=True)
    packed.unlink()
    compared = subprocess.run(
        ["diff", "-r", "--exclude=out", place, place / "out"],
        check=False,
        capture_output=True,
        text=True,
    )
    had = (place / "out/setuid").stat()
    subprocess.run(["rm", "-rf", place / "out"], check=True)
    return compared.stdout, had.st_mode, sorted(os.listdir(place))


@behaviour
def names_have_their_limits(place: Path) -> object:
    return (
        failing(lambda: os.stat(place / ("n" * 256))),
        failing(lambda: os.mkdir(place / ("n" * 256))),
        failing(lambda: (place / ("n" * 240)).touch()),
        failing(lambda: os.mkdir(os.fsencode(place) + b"/\xff\xfe")),
        failing(lambda: os.mkdir(place / "new\nline")),
        sorted(os.listdir(os.fsencode(place)))[-3:],
    )


@behaviour
def nodes_of_other_kinds_work(place: Path) -> object:
    import socket

    os.mkfifo(place / "fifo")
    reader = os.open(place / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(place / "fifo", os.O_WRONLY)
    os.write(writer, b"through")
    passed = os.read(reader, 9)
    os.close(reader)
    os.close(writer)
    folder = os.open(place, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        one.bind(f"/proc/self/fd/{folder}/socket")
        one.listen()
        two.connect(f"/proc/self/fd/{folder}/socket")
    os.close(folder)
    return passed, stat.S_IFMT((place / "socket").stat().st_mode), os.readlink(place / "link")
