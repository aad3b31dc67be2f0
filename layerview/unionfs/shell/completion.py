"""What a half typed line of the shell may go on with."""

from __future__ import annotations

from layerview.text import decode, encode
from layerview.unionfs.shell.commands import COMMANDS
from layerview.unionfs.shell.session import Session

_MOST = 500


def completions(session: Session, word: str, *, first: bool) -> list[str]:
    """Return the words that a beginning may become, sorted.

    Args:
        session: where one is.
        word: the beginning.
        first: whether it stands where a command does.
    """
    if first and "/" not in word:
        return [f"{name} " for name in sorted(COMMANDS) if name.startswith(word)]
    start, slash, name = word.rpartition("/")
    beginning = encode(name)
    found = []
    try:
        folder = session.find(encode(start + slash) or b".")
        if not folder.is_folder:
            return []
        for entry in session.tree.entries(folder):
            # What would have to be quoted, or could not be shown, is left to be typed.
            if not entry.name.startswith(beginning) or not _is_plain(entry.name):
                continue
            if entry.name.startswith(b".") and not beginning:
                continue
            place = session.tree.find(folder, entry.name, follow=False)
            found.append(start + slash + decode(entry.name) + ("/" if place.is_folder else " "))
            if len(found) >= _MOST:
                break
    except OSError:
        return []
    return found


def _is_plain(name: bytes) -> bool:
    text = decode(name)
    return text.isprintable() and not any(char in " *?[]'\"\\$`#;&|<>()!" for char in text)
