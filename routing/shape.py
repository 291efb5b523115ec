"""Decoding some fields of JSON payloads: one generated msgspec Struct for all paths that are needed.

A plan is made once for a set of paths. A payload that does not fit the generated types (an
object where a number was meant, a number out of range) is taken apart level by level instead,
so that a bad field spoils no other. What is not needed is skipped, not checked. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeAlias

import msgspec

Path: TypeAlias = tuple[str | int, ...]
"""Where something is in a payload: keys of objects and places in arrays, from 0."""

#: Fields of one object, and levels, past which it is decoded as a whole: each key of a payload is
#: compared with all the fields.
MOST_FIELDS = 64
MOST_LEVELS = 8
# Names that msgspec takes for a field.
_UNNAMEABLE = frozenset('\\"').union(map(chr, range(32)))
#: What reading a hostile payload raises: not JSON, not UTF-8 or out of range, too deep.
FAULTS: Final = (msgspec.DecodeError, ValueError, RecursionError)


class Missing:
    """The type of MISSING: there is nothing at that path."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


def walk(value: object, path: Path) -> Any:
    """What is at a path of a decoded payload, or MISSING."""
    for step in path:
        if type(value) is dict:
            value = value.get(step, MISSING)
        elif type(value) is list and type(step) is int and 0 <= step < len(value):
            value = value[step]
        else:
            return MISSING
    return value


class _Level:
    """What is needed of one object: its keys, and what is needed of their values (None: all)."""

    __slots__ = ("fields", "nothing", "raw", "struct")

    #: An object without any of the fields.
    nothing: Any
    struct: Any

    def __init__(self, fields: dict[str, _Level | None]) -> None:
        self.fields = fields
        types, raws = [], []
        for number, level in enumerate(fields.values()):
            name = f"f{number}"
            if level is None:
                types.append((name, Any, MISSING))
            else:
                types.append((name, level.struct | list[Any] | str | int | float | bool | None, level.nothing))
            raws.append((name, msgspec.Raw, MISSING))
        names = {f"f{number}": key for number, key in enumerate(fields)}
        options: dict[str, Any] = {"rename": names, "frozen": True, "gc": False}
        self.struct = msgspec.defstruct("Fields", types, **options)
        self.nothing = self.struct()
        self.raw: Callable[[bytes], Any] = msgspec.json.Decoder(msgspec.defstruct("Parts", raws, **options)).decode

    def rescue(self, data: bytes | msgspec.Raw) -> Any:
        """The object of a payload that does not fit, each field by itself."""
        parts = self.raw(data)
        values = []
        for number, level in enumerate(self.fields.values()):
            part = getattr(parts, f"f{number}")
            if part is not MISSING:
                try:
                    part = _decode_any(part) if level is None else level.rescue(part)
                except FAULTS:
                    part = MISSING if level is None else level.nothing
            elif level is not None:
                part = level.nothing
            values.append(part)
        return self.struct(*values)


_decode_any = msgspec.json.Decoder().decode


class Plan:
    """How to decode what a set of paths needs.

    `whole`: everything is needed, or so much that picking would cost more. `steps`: for each path
    where it is in a record, and the rest of the path from there.
    """

    __slots__ = ("_decode", "_nothing", "_root", "steps", "whole")

    def __init__(self, paths: Iterable[Path]) -> None:
        self.steps: dict[Path, tuple[Callable[[Any], Any] | None, Path]] = {}
        self._root = _level(sorted(paths, key=repr), 0)
        self.whole = self._root is None
        for path in paths:
            self.steps[path] = _step(self._root, path)
        if self._root is not None:
            self._nothing = self._root.nothing
            self._decode: Callable[[Any], Any] = msgspec.json.Decoder(self._root.struct).decode

    def decode(self, datas: Sequence[bytes | None]) -> tuple[list[Any], int]:
        """A record for each payload, and how many could not be decoded. Not for a `whole` plan."""
        records: list[Any] = []
        rest, decode, bad = iter(datas), self._decode, 0
        while True:
            try:
                # What was decoded before an error stays in the list, and the rest goes on behind it.
                records.extend(map(decode, rest))
                return records, bad
            except TypeError:
                if datas[len(records)] is not None:
                    raise
                # No data is as an object without fields, from here on.
                datas = [b"{}" if data is None else data for data in datas]
                rest = iter(datas[len(records) :])
            except FAULTS:
                record, fits = self._rescue(datas[len(records)])
                records.append(record)
                bad += not fits

    def _rescue(self, data: Any) -> tuple[Any, bool]:
        assert self._root is not None
        try:
            return self._root.rescue(data), True
        except msgspec.ValidationError:
            return self._nothing, True  # JSON, but no object
        except FAULTS:
            return self._nothing, False

    def column(self, path: Path, records: Sequence[Any]) -> list[Any]:
        """What is at one of the paths in each record; records of other formats are decoded payloads."""
        getter, rest = self.steps[path]
        if getter is None:
            return [walk(record, path) for record in records]
        try:
            column = list(map(getter, records))
        except AttributeError:  # a payload of another format, or a scalar where an object was meant
            struct = self._root and self._root.struct
            column = []
            for record in records:
                if type(record) is struct:
                    column.append(_or_missing(getter, record, rest))
                else:
                    column.append(walk(record, path))
            return column
        return [walk(value, rest) for value in column] if rest else column


def _or_missing(getter: Callable[[Any], Any], record: Any, rest: Path) -> Any:
    try:
        return walk(getter(record), rest)
    except AttributeError:
        return MISSING


def _level(paths: Sequence[Path], depth: int) -> _Level | None:
    """What the paths need of an object that they have led to by `depth` steps."""
    inner: dict[str, list[Path]] = {}
    for path in paths:
        if len(path) == depth or depth == MOST_LEVELS:
            return None
        key = path[depth]
        if type(key) is not str or not _UNNAMEABLE.isdisjoint(key):
            return None
        inner.setdefault(key, []).append(path)
    if len(inner) > MOST_FIELDS or not inner:
        return None
    return _Level({key: _level(below, depth + 1) for key, below in inner.items()})


def _step(root: _Level | None, path: Path) -> tuple[Callable[[Any], Any] | None, Path]:
    names = []
    level, at = root, 0
    while level is not None:
        names.append(f"f{list(level.fields).index(path[at])}")  # type: ignore[arg-type]  # levels have keys only
        level, at = level.fields[path[at]], at + 1  # type: ignore[index]
    return (attrgetter(".".join(names)) if names else None), path[at:]


@lru_cache(64)
def plan_of(paths: frozenset[Path]) -> Plan:
    """The plan of a set of paths; the last ones are kept, since sets come back."""
    return Plan(paths)
