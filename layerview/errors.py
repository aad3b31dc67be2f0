"""The errors that layerview raises, each with one line for people.

LayerviewError          anything that went wrong and can be said in a line
├── UsageError          the call's words are off (exit status 2)
├── NotFoundError       no such image, path or layer
├── FormatError         the bytes are not what they should be: not an image, broken JSON
├── DamageError         the bytes are there but wrong: truncated, corrupt, another digest
├── LimitError          an input is larger than layerview is willing to hold
└── Cancelled           the person asked for the work to stop
"""

from __future__ import annotations


class LayerviewError(Exception):
    """Base of every error that layerview raises; `str(error)` is one line for people."""


class UsageError(LayerviewError):
    """The words of a call are off."""


class NotFoundError(LayerviewError):
    """No such image, path or layer."""


class FormatError(LayerviewError):
    """The bytes do not have the form they should have."""


class DamageError(LayerviewError):
    """The bytes are truncated, corrupt, or do not have the digest they claim."""


class LimitError(LayerviewError):
    """An input is larger than layerview is willing to hold."""


class NamespaceError(LayerviewError):
    """An ordinary user can't be root of a user namespace here."""


class Cancelled(LayerviewError):
    """The person asked for the work to stop."""
