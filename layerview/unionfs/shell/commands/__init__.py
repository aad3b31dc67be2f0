"""The shell's commands, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from layerview.unionfs.shell.commands import (
    copying,
    finding,
    listing,
    making,
    moving,
    printing,
    reading,
    removing,
    rights,
    states,
    walking,
    writing,
)
from layerview.unionfs.shell.session import Session


class Known(NamedTuple):
    """A command."""

    run: Callable[[Session, list[bytes]], int]
    usage: str
    about: str


def _help(session: Session, words: list[bytes]) -> int:
    """List the commands."""
    session.write("Built-in shell: no program runs, the union is real. What there is:\n")
    for known in COMMANDS.values():
        if known.about:
            session.write(f"  {known.usage:<44} {known.about}\n")
    session.write(
        "and words in quotes, $?, * ? [..], ; && || |, > >> < 2>, # and /dev/null, /dev/zero\n"
    )
    return 0


def _exit(session: Session, words: list[bytes]) -> int:
    """Leave the shell."""
    session.ended = True
    if not words:
        return session.status
    if not words[0].isdigit() or len(words[0]) > 9:
        session.complain("sh", b"exit: Illegal number: " + words[0])
        return 2
    return int(words[0]) & 255


COMMANDS = {
    "ls": Known(listing.ls, "ls [-laRidh1] [PATH...]", "list folders"),
    "cd": Known(walking.cd, "cd [FOLDER]", "go to a folder"),
    "pwd": Known(walking.pwd, "pwd", "where one is"),
    "cat": Known(reading.cat, "cat [FILE...]", "print files"),
    "head": Known(reading.head, "head [-n N | -c N] [FILE...]", "print how files begin"),
    "tail": Known(reading.tail, "tail [-n N | -c N] [FILE...]", "print how files end"),
    "wc": Known(reading.wc, "wc [-lwc] [FILE...]", "count lines, words, bytes"),
    "echo": Known(printing.echo, "echo [-neE] [WORD...]", "print words"),
    "printf": Known(printing.printf, "printf FORMAT [WORD...]", "print words in a form"),
    "cp": Known(copying.cp, "cp [-rpaf] FROM... TO", "copy"),
    "mv": Known(moving.mv, "mv [-fn] FROM... TO", "move, rename"),
    "rm": Known(removing.rm, "rm [-rf] PATH...", "remove"),
    "rmdir": Known(removing.rmdir, "rmdir [-p] FOLDER...", "remove empty folders"),
    "mkdir": Known(making.mkdir, "mkdir [-p] [-m MODE] FOLDER...", "make folders"),
    "touch": Known(making.touch, "touch [-cam] [-d TIME] FILE...", "make files, set times"),
    "ln": Known(making.ln, "ln [-sf] TARGET... NAME", "make links"),
    "chmod": Known(rights.chmod, "chmod [-R] MODE PATH...", "change modes"),
    "chown": Known(rights.chown, "chown [-Rh] USER[:GROUP] PATH...", "change owners"),
    "find": Known(finding.find, "find [PATH...] [-name P] [-type T] [-size N]", "look for names"),
    "du": Known(states.du, "du [-sha] [PATH...]", "bytes on the disk"),
    "stat": Known(states.stat_, "stat [-Lt] [-c FORMAT] PATH...", "all about a file"),
    "dd": Known(
        writing.dd, "dd if=F of=F bs=N count=N seek=N skip=N conv=notrunc", "copy some bytes"
    ),
    "truncate": Known(writing.truncate, "truncate [-c] -s SIZE FILE...", "change files' sizes"),
    "help": Known(_help, "help", "this list"),
    "exit": Known(_exit, "exit [STATUS]", "leave; the container stays"),
    "true": Known(lambda session, words: 0, "true", ""),
    "false": Known(lambda session, words: 1, "false", ""),
    ":": Known(lambda session, words: 0, ":", ""),
}
