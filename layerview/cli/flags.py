"""The words of the container commands, read as Docker reads them (spf13/pflag).

Other commands' words are argparse's. These have what it does not know: what stands behind the
image is the container's, `--rm=false`, `-dit`; and they start in a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from layerview.errors import UsageError
from layerview.records import Record
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_TRUTHS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_WIDTH = 28
"""Where the help's right column begins."""


class _Flag(Record):
    names: tuple[str, ...]
    about: str
    metavar: str
    """"" for one that is there or not."""
    many: bool
    default: object
    read: Callable[[str], object] | None

    @property
    def key(self) -> str:
        return next(name for name in self.names if name.startswith("--"))[2:].replace("-", "_")


class Values:
    """What a call's words came to, by the flags' long names; `rest` is what is no flag."""

    root: Any
    driver: Any

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)
        self.rest: list[str] = []

    def __getattr__(self, name: str) -> Any:
        """Say that there is no such flag; those that are there do not come here."""
        raise AttributeError(name)


class Flags:
    """A command's flags."""

    def __init__(
        self, command: str, operands: str, about: str, *, example: str = "", short: bool = True
    ) -> None:
        """Begin with what every command has: the help.

        Args:
            command: its words, as "volume ls".
            operands: what is no flag, as "IMAGE [COMMAND] [ARG...]".
            about: what it does.
            example: one call.
            short: whether -h asks for the help; it may be needed for something else.
        """
        self._command = command
        self._operands = operands
        self._about = about
        self._example = example
        self._flags: dict[str, _Flag] = {}
        self._listed: list[_Flag] = []
        self.switch(*(("-h",) if short else ()), "--help", about="show this help")

    def switch(self, *names: str, about: str, default: bool = False) -> None:
        """Add one that is there or not; Docker also takes `--name=false`."""
        self._add(_Flag(names, about, "", False, default, None))

    def value(
        self,
        *names: str,
        about: str,
        metavar: str,
        default: object = None,
        read: Callable[[str], object] | None = None,
    ) -> None:
        """Add one that has a value, the last one where it is named twice.

        Args:
            names: `-n`, `--name`.
            about: what it is for.
            metavar: stands for the value in the help.
            default: where it is not named.
            read: makes something of the text, or raises UsageError.
        """
        self._add(_Flag(names, about, metavar, False, default, read))

    def values(
        self,
        *names: str,
        about: str,
        metavar: str,
        read: Callable[[str], object] | None = None,
    ) -> None:
        """Add one that may be named several times; its value is a list."""
        self._add(_Flag(names, about, metavar, True, (), read))

    def json(self) -> None:
        """Add --json."""
        self.switch("--json", about="print JSON")

    def area(self, *, driver: bool = False) -> None:
        """Add --root, and --driver where it is asked for."""
        self.value("--root", metavar="DIR", about="the storage area (or set LAYERVIEW_ROOT)")
        if driver:
            self.value(
                "--driver", metavar="D", about="the storage driver (or set LAYERVIEW_DRIVER)"
            )

    def _add(self, flag: _Flag) -> None:
        self._listed.append(flag)
        for name in flag.names:
            self._flags[name] = flag

    def parse(
        self, words: Sequence[str], *, least: int = 0, most: int | None = None, stop: bool = False
    ) -> Values:
        """Read a call's words; with --help, print the help and leave.

        Args:
            words: behind the command's own.
            least: operands that it needs.
            most: operands that it takes; None for any number.
            stop: whether flags end with the first operand: what follows is another program's.

        Raises:
            UsageError: when they make no sense.
        """
        found = Values(**{flag.key: [] if flag.many else flag.default for flag in self._listed})
        waiting = list(words)
        while waiting:
            word = waiting.pop(0)
            if word == "--":
                found.rest += waiting
                break
            if word.startswith("--"):
                self._long(found, word, waiting)
            elif word.startswith("-") and word != "-":
                self._short(found, word, waiting)
            else:
                found.rest.append(word)
                if stop:
                    found.rest += waiting
                    break
        if found.help:
            self._print_help()
            raise SystemExit(0)
        count = len(found.rest)
        if count < least or (most is not None and count > most):
            self._off(f"it takes {self._operands or 'no further words'}")
        return found

    def _long(self, found: Values, word: str, waiting: list[str]) -> None:
        name, sign, value = word.partition("=")
        flag = self._flags.get(name)
        if flag is None:
            self._off(f"there is no option {printable(name)}")
        if not flag.metavar:
            self._set(found, flag, name, value if sign else "true")
        elif sign:
            self._set(found, flag, name, value)
        else:
            self._take(found, flag, name, waiting)

    def _short(self, found: Values, word: str, waiting: list[str]) -> None:
        letters = word[1:]
        while letters:
            name, letters = f"-{letters[0]}", letters[1:]
            flag = self._flags.get(name)
            if flag is None:
                self._off(f"there is no option {printable(name)}")
            if letters.startswith("="):
                self._set(found, flag, name, letters[1:])
                return
            if not flag.metavar:
                self._set(found, flag, name, "true")
            elif letters:
                self._set(found, flag, name, letters)
                return
            else:
                self._take(found, flag, name, waiting)

    def _take(self, found: Values, flag: _Flag, name: str, waiting: list[str]) -> None:
        if not waiting:
            self._off(f"{name} needs {flag.metavar}")
        self._set(found, flag, name, waiting.pop(0))

    def _set(self, found: Values, flag: _Flag, name: str, text: str) -> None:
        value: object = text
        if not flag.metavar:
            if text not in _TRUTHS:
                self._off(f"{name} is true or false, not {printable(text[:40])!r}")
            value = _TRUTHS[text]
        elif flag.read is not None:
            value = flag.read(text)
        if flag.many:
            getattr(found, flag.key).append(value)
        else:
            setattr(found, flag.key, value)

    def _off(self, why: str) -> NoReturn:
        raise UsageError(f"{why}; see layerview {self._command} --help")

    def _print_help(self) -> None:
        operands = f" {self._operands}" if self._operands else ""
        print(f"usage: layerview {self._command} [OPTIONS]{operands}\n\n{self._about}\n\noptions:")
        for flag in self._listed:
            words = ", ".join(flag.names) + (f" {flag.metavar}" if flag.metavar else "")
            if len(words) > _WIDTH - 4:
                print(f"  {words}\n{'':{_WIDTH}}{flag.about}")
            else:
                print(f"  {words:<{_WIDTH - 2}}{flag.about}")
        if self._example:
            print(f"\nexample: {self._example}")


def natural(text: str) -> int:
    """Read a number of 0 or more."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise UsageError(f"{printable(text[:40])!r} is not a number of 0 or more")
    return int(text)
