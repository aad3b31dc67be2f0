"""The shell: takes a line, and has the union do what it says."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from layerview.text import decode, encode
from layerview.unionfs.shell.commands import COMMANDS
from layerview.unionfs.shell.globbing import Pattern
from layerview.unionfs.shell.places import Place, Tree
from layerview.unionfs.shell.session import Session, UsageError, close, text_of
from layerview.unionfs.shell.streams import Interrupted, Nothing, Pipe, Shown, Sink
from layerview.unionfs.shell.words import Command, LineError, Redirection, Word, parse

LABEL = "built-in shell: no program runs, the union is real"
_MISUSED, _NOT_EXECUTABLE, _NOT_FOUND, _INTERRUPTED = 2, 126, 127, 130
_MAX_WORDS = 100_000
"""Words that a pattern may become."""


class _Failed(Exception):
    """A redirection can't be done; the message is the shell's."""


class Shell:
    """A shell over a tree."""

    def __init__(
        self,
        tree: Tree,
        out: Callable[[bytes], None],
        errors: Callable[[bytes], None] | None = None,
        *,
        stopped: Callable[[], bool] = lambda: False,
        columns: int = 0,
        home: bytes = b"/root",
    ) -> None:
        """Begin at the tree's root.

        Args:
            tree: to work on.
            out: gets what commands print.
            errors: gets what they complain of; `out` when left out.
            stopped: whether the person wants the command to end.
            columns: of the terminal that `out` shows on; 0 where it is none.
            home: where `cd` leads.
        """
        self.session = Session(tree, stopped=stopped, columns=columns, home=home)
        self._out = out
        self._errors = errors if errors is not None else out

    @property
    def ended(self) -> bool:
        """Whether `exit` was said."""
        return self.session.ended

    def run(self, line: bytes | str) -> int:
        """Do what a line says; return its exit status."""
        session = self.session
        data = encode(line) if isinstance(line, str) else line
        # What a line may print is bounded, however many commands it has.
        output, errors = Shown(self._out), Shown(self._errors)
        try:
            steps = parse(data)
        except LineError as error:
            session.errors = errors
            session.complain("sh", str(error))
            session.status = _MISUSED
            return session.status
        try:
            for step in steps:
                if (step.when == b"&&" and session.status) or (
                    step.when == b"||" and not session.status
                ):
                    continue
                status = self._pipeline(step.commands, output, errors)
                session.status = int(not status) if step.negated else status
                if session.ended:
                    break
        except Interrupted:
            session.status = _INTERRUPTED
        finally:
            # Writes are told together; who watches shall not wait for the next line.
            session.tree.root.union.tell_writes()
        return session.status

    def _pipeline(self, commands: Sequence[Command], output: Sink, errors: Sink) -> int:
        session = self.session
        status = 0
        with ExitStack() as held:
            before: Pipe | None = None
            place = session.at, session.shown_at, session.before
            for number, command in enumerate(commands):
                session.input = before if before is not None else Nothing()
                session.output, session.errors = output, errors
                session.on_screen = session.columns > 0
                after: Pipe | None = None
                if number + 1 < len(commands):
                    after = Pipe()
                    held.callback(after.close)
                    session.output, session.on_screen = after, False
                status = self._command(command)
                if after is not None:
                    after.turn()
                before = after
            if len(commands) > 1:
                # Each would be a process of its own: what they do to themselves goes with them.
                if session.at is not place[0]:
                    session.go(*place[:2])
                session.before = place[2]
                session.ended = False
        return status

    def _command(self, command: Command) -> int:
        session = self.session
        with ExitStack() as held:
            try:
                words = [word for each in command.words for word in self._expand(each)]
                for redirection in command.redirections:
                    self._redirect(redirection, held)
            except _Failed as failed:
                return session.complain("sh", str(failed))
            except OSError as error:
                return session.complain("sh", text_of(error))
            if not words:
                return 0
            return self._call(words)

    def _call(self, words: list[bytes]) -> int:
        session = self.session
        name = decode(words[0])
        known = COMMANDS.get(name)
        if known is None:
            return self._unknown(words[0])
        try:
            return known.run(session, words[1:])
        except UsageError as error:
            if str(error):
                session.complain(name, str(error))
            if known.usage:
                session.errors.write(encode(f"usage: {known.usage}\n"))
            return 1
        except BrokenPipeError:
            return session.complain(name, "write error: too much for a pipe of the built-in shell")
        except OSError as error:
            if error.errno == errno.EFBIG:
                return session.complain(name, "the rest is not shown")
            return session.complain(name, text_of(error))

    def _unknown(self, name: bytes) -> int:
        session = self.session
        shown = decode(name)
        if b"/" not in name:
            if self._is_program(name):
                session.complain("sh", f"{shown}: no program runs in the built-in shell; see help")
                return _NOT_EXECUTABLE
            session.complain("sh", f"{shown}: not found")
            return _NOT_FOUND
        try:
            place = session.find(name)
        except OSError:
            session.complain("sh", f"{shown}: not found")
            return _NOT_FOUND
        if place.is_folder or not place.attributes().mode & 0o111:
            session.complain("sh", f"{shown}: Permission denied")
        else:
            session.complain("sh", f"{shown}: no program runs in the built-in shell; see help")
        return _NOT_EXECUTABLE

    def _is_program(self, name: bytes) -> bool:
        for folder in (b"bin", b"usr/bin", b"usr/local/bin", b"sbin", b"usr/sbin"):
            try:
                place = self.session.tree.find(self.session.tree.root, b"/" + folder + b"/" + name)
            except OSError:
                continue
            if not place.is_folder:
                return True
        return False

    # -- words --------------------------------------------------------------------------------

    def _variable(self, name: bytes) -> bytes:
        session = self.session
        known = {
            b"?": b"%d" % session.status,
            b"#": b"0",
            b"0": b"sh",
            b"PWD": session.shown_at,
            b"OLDPWD": session.before,
            b"HOME": session.home,
        }
        return known.get(name, b"")

    def _parts(self, word: Word) -> list[tuple[bytes, bool]]:
        """Return a word's parts with variables and the tilde put in, and whether each is quoted."""
        found: list[tuple[bytes, bool]] = []
        for number, piece in enumerate(word):
            text, quoted = piece.text, piece.kind != "plain"
            if piece.kind == "variable":
                text = self._variable(text)
                if not text and not piece.quoted:
                    continue
            elif (
                number == 0
                and not quoted
                and text.split(b"/", 1)[0] == b"~"
                and (len(word) == 1 or b"/" in text)
            ):
                found.append((self.session.home, True))
                text = text[1:]
            found.append((text, quoted))
        return found

    def _expand(self, word: Word) -> list[bytes]:
        parts = self._parts(word)
        if not parts:
            # A variable without a value and without quotes is no word at all.
            return []
        whole = b"".join(text for text, _ in parts)
        if not any(char in text for text, quoted in parts if not quoted for char in b"*?["):
            return [whole]
        return self._matching(parts) or [whole]

    def _matching(self, parts: list[tuple[bytes, bool]]) -> list[bytes]:
        """Return the paths that fit a pattern, sorted."""
        session = self.session
        names: list[list[tuple[bytes, bool]]] = [[]]
        for text, quoted in parts:
            first, *others = text.split(b"/")
            names[-1].append((first, quoted))
            names += [[(other, quoted)] for other in others]
        found: list[tuple[bytes, Place]] = [(b"", session.at)]
        for number, part in enumerate(names):
            pattern = Pattern(part)
            literal = b"".join(text for text, _ in part)
            last = number + 1 == len(names)
            more: list[tuple[bytes, Place]] = []
            for path, place in found:
                session.tick()
                if number == 0 and not literal and not last:
                    more.append((b"", session.tree.root))
                    continue
                for name in self._fitting(place, pattern, literal):
                    try:
                        child = session.tree.find(place, name or b".", follow=not last)
                    except OSError:
                        continue
                    if child.is_folder or last:
                        more.append((path + name + (b"" if last else b"/"), child))
            found = more
            if number == 0 and not literal and not last:
                found = [(b"/", session.tree.root)]
            if len(found) > _MAX_WORDS:
                raise _Failed("too many names fit")
        return sorted(path for path, _ in found)

    def _fitting(self, place: Place, pattern: Pattern, literal: bytes) -> list[bytes]:
        if not pattern.special:
            return [literal]
        if not place.is_folder:
            return []
        names = [entry.name for entry in self.session.tree.entries(place)]
        return [name for name in (b".", b"..", *names) if pattern.matches(name)]

    # -- redirections -------------------------------------------------------------------------

    def _redirect(self, redirection: Redirection, held: ExitStack) -> None:
        session = self.session
        path = b"".join(text for text, _ in self._parts(redirection.word))
        shown = decode(path)
        if redirection.how == b"<":
            if redirection.fd != 0:
                raise _Failed("only the input is read from a file in the built-in shell")
            try:
                source = session.open_to_read(path)
            except FileNotFoundError:
                raise _Failed(f"can't open {shown}: no such file") from None
            except OSError as error:
                raise _Failed(f"can't open {shown}: {text_of(error)}") from None
            held.callback(close, source)
            session.input = source
            return
        if redirection.how == b">&" and path in (b"1", b"2"):
            sink = session.output if path == b"1" else session.errors
        else:
            flags = os.O_APPEND if redirection.how == b">>" else os.O_TRUNC
            try:
                sink = session.open_to_write(path, flags)
            except FileNotFoundError:
                raise _Failed(f"can't create {shown}: nonexistent directory") from None
            except OSError as error:
                raise _Failed(f"can't create {shown}: {text_of(error)}") from None
            held.callback(close, sink)
        if redirection.fd == 2:
            session.errors = sink
        elif redirection.fd == 1:
            session.output = sink
            session.on_screen = redirection.how == b">&" and path == b"2" and session.columns > 0
        else:
            raise _Failed("the input is not written")
