"""Records: what named tuples are, quickly made, for the modules that a container's start imports.

To import typing takes as long as all of a small container's files do to be mounted, and a class of
its NamedTuple a tenth of that, for which a constructor is compiled. A Record is written in the same
way and is the same in all that is used of it, so to a type checker it is one.
"""

from __future__ import annotations

from operator import itemgetter
from types import MappingProxyType

__all__ = ["Record"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as Record
else:

    class _Fields(type):
        """Makes fields of a class's annotations, in their order; their values are the defaults."""

        def __new__(cls, name, bases, space):
            if bases[0].__base__ is not tuple:
                # Record itself, or a class below one that has its fields.
                return super().__new__(cls, name, bases, space)
            names = tuple(space.get("__annotations__", ()))
            defaults = {field: space[field] for field in names if field in space}
            space.update((field, property(itemgetter(at))) for at, field in enumerate(names))
            space |= {"__slots__": (), "__match_args__": names}
            space |= {"_fields": names, "_field_defaults": defaults}
            return super().__new__(cls, name, bases, space)

    class Record(tuple, metaclass=_Fields):
        """A tuple whose values have names; see typing.NamedTuple."""

        __slots__ = ()
        _fields = ()
        _field_defaults = MappingProxyType({})

        def __new__(cls, *values, **named):
            """Take the values, by place or by name."""
            if named or len(values) != len(cls._fields):
                values = cls._completed(values, named)
            return tuple.__new__(cls, values)

        @classmethod
        def _completed(cls, values, named):
            """Return all values: those by place, by name, and the defaults."""
            if len(values) > len(cls._fields):
                raise TypeError(f"{cls.__name__} takes {len(cls._fields)} values")
            given = dict(zip(cls._fields, values, strict=False))
            twice_or_none = [name for name in named if name in given or name not in cls._fields]
            found = {**cls._field_defaults, **given, **named}
            missing = [name for name in cls._fields if name not in found]
            if twice_or_none or missing:
                what = ", ".join(twice_or_none or missing)
                why = "does not take, or has already" if twice_or_none else "lacks"
                raise TypeError(f"{cls.__name__} {why}: {what}")
            return [found[name] for name in cls._fields]

        @classmethod
        def _make(cls, values):
            return cls(*values)

        def _replace(self, **named):
            if unknown := set(named) - set(self._fields):
                raise ValueError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
            return self._make(map(named.pop, self._fields, self))

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            shown = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({shown})"
