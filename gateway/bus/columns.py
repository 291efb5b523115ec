"""Encoding the records of a batch column by column. Pure.

Building one record after the other costs 2 us an event in Python, most of it for attributes that
are the same in the whole batch. Here each attribute is a column: one that is constant becomes
part of a constant piece, one with few values is encoded once per value, and only the others
are encoded one by one, all in loops that run in C. The bytes are those that any Kafka client
writes (format v2: lengths, deltas and counts as zigzag varints).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from operator import attrgetter, itemgetter

from gateway.columns import Columns
from gateway.event import Event
from routing.attributes import Value, canonical

_MISSING_LENGTH = b"\x01"  # -1: null
_KEPT = 16384
_SAMPLE = 32


class _Varints(dict[int, bytes]):
    """Zigzag varints of numbers from 0 on; the small ones are kept."""

    def __missing__(self, number: int) -> bytes:
        value = number << 1
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)
        encoded = bytes(out)
        if number < _KEPT:
            self[number] = encoded
        return encoded


_varint = _Varints().__getitem__
_raw, _value, _key = attrgetter("raw"), attrgetter("value"), attrgetter("key")

Piece = bytes | list[bytes]
"""A constant piece of each record, or one piece for each."""


def encode_columns(events: Sequence[Event], header_of: Callable[[str], bytes], first: int = 0) -> bytes | None:
    """The records of the events with offset deltas from `first` on and no time deltas.

    Events without a key get the default one (`partitionkey`, else `subject`). None when
    the events do not all have the same attributes, as a dict: then the caller has to go
    record by record. `header_of` names the header of an attribute.
    """
    count = len(events)
    if isinstance(events, Columns) and events.intact:
        names = tuple(events.values)
        encoded = [c.encode() if isinstance(c, str) else _encoded(c) for c in events.values.values()]
        datas: Sequence[bytes | None] = [None] * count if events.datas is None else events.datas
        return _records(first, count, _default_keys(names, encoded), datas, names, encoded, header_of)
    raws = list(map(_raw, events))
    if set(map(type, raws)) != {dict} or set(map(len, raws)) != {len(raws[0])}:
        return None
    names = tuple(raws[0])
    if len(names) < 2:
        return None
    try:
        values: list[tuple[Value, ...]] = list(zip(*map(itemgetter(*names), raws), strict=True))
    except KeyError:
        return None
    encoded = [_encoded(column) for column in values]
    return _records(first, count, _keys(events, names, encoded), list(map(_value, events)), names, encoded, header_of)


def _records(
    first: int,
    count: int,
    keys: Sequence[bytes | None] | Piece,
    datas: Sequence[bytes | None],
    names: Sequence[str],
    encoded: Sequence[Piece],
    header_of: Callable[[str], bytes],
) -> bytes:
    pieces: list[Piece] = [list(map(_OFFSETS.__getitem__, range(first, first + count)))]
    pieces += _counted(keys, count)
    pieces += _nullable(datas)
    pieces.append(_varint(len(names)))
    for name, column in zip(names, encoded, strict=True):
        header = header_of(name)
        pieces.append(_varint(len(header)) + header)
        pieces += _counted(column, count)
    bodies = list(map(b"".join, zip(*map(_each, _joined(pieces)), strict=False)))
    return b"".join(chain.from_iterable(zip(map(_varint, map(len, bodies)), bodies, strict=True)))


def _default_keys(names: Sequence[str], encoded: Sequence[Piece]) -> Sequence[bytes | None] | Piece:
    """The keys of events that have none yet."""
    for source in ("partitionkey", "subject"):
        if source in names:
            return encoded[names.index(source)]
    return [None]


class _Offsets(dict[int, bytes]):
    """How a record begins: no attributes, no time delta, its offset delta."""

    def __missing__(self, delta: int) -> bytes:
        encoded = b"\0\0" + _varint(delta)
        if delta < _KEPT:
            self[delta] = encoded
        return encoded


_OFFSETS = _Offsets()


def _encoded(column: Sequence[Value]) -> Piece:
    """The canonical bytes of an attribute's values."""
    first = column[0]
    # Only a string equals a string; 1 and True are equal, and two different values.
    if type(first) is str and first == column[-1] and column.count(first) == len(column):
        return first.encode()
    try:
        return list(map(str.encode, column))  # type: ignore[arg-type]
    except TypeError:
        return [canonical(value).encode() for value in column]


def _keys(events: Sequence[Event], names: tuple[str, ...], columns: list[Piece]) -> list[bytes | None] | Piece:
    """The keys, which stay with their events; events that have none get the attribute's."""
    keys = list(map(_key, events))
    source = "partitionkey" if "partitionkey" in names else "subject"
    if source not in names or None not in keys:
        return keys
    column = columns[names.index(source)]
    if keys.count(None) < len(keys):
        keys = [default if key is None else key for key, default in zip(keys, _each(column), strict=False)]
        column = keys
    for event, key in zip(events, _each(column), strict=False):
        event.key = key
    return column


def _counted(column: Piece | Sequence[bytes | None], count: int) -> list[Piece]:
    """A length before each value."""
    if isinstance(column, bytes):
        return [_varint(len(column)) + column]
    if None in column:
        return _nullable(column)
    few = len(set(column[:_SAMPLE])) * 4 <= min(count, _SAMPLE)
    if few and len(distinct := set(column)) * 4 <= count:
        table = {value: _varint(len(value)) + value for value in distinct}  # type: ignore[arg-type,operator]
        return [list(map(table.__getitem__, column))]
    return [list(map(_varint, map(len, column))), column]  # type: ignore[arg-type,list-item]


def _nullable(column: Sequence[bytes | None]) -> list[Piece]:
    if None not in column:
        return [list(map(_varint, map(len, column))), column]  # type: ignore[arg-type,list-item]
    if column.count(None) == len(column):
        return [_MISSING_LENGTH]
    return [
        [_MISSING_LENGTH if value is None else _varint(len(value)) for value in column],
        [value or b"" for value in column],
    ]


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Constant neighbours become one piece."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and isinstance(piece, bytes) and isinstance(joined[-1], bytes):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def _each(column: Piece) -> Iterable[bytes]:
    return repeat(column) if isinstance(column, bytes) else column
