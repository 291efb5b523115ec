"""Cursors: opaque text that says how far a reader came in all partitions of all its topics.

    version, flags, floor, active lane, topics ..., padding | offset of the active lane, CRC-32

in base64url, always under 4 KB. A topic is its name's hash, its epoch's hash and an offset for
each partition. The lane that moved last stands at the end with a fixed width, so that the
cursors of a block differ in their last 16 characters only, and one costs about a microsecond.

When that would grow past the limit (a wildcard over hundreds of partitions) the cursor becomes
**coarse**: lanes are swept in the order of their hashes; those before the place of the sweep
were read up to one append time, those behind it up to another, and only the place itself has an
offset. Resuming from it repeats events (at least once), and skips none.

The checksum tells a damaged or foreign text from a cursor; it keeps no secret, and a forged
cursor can say nothing that its bearer could not ask for by other start positions.
"""

from __future__ import annotations

import binascii
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate, chain
from typing import overload
from zlib import crc32

import msgspec

from gateway.errors import InvalidPosition
from gateway.event import Event

MAX_CURSOR = 4095
#: How far append times of one partition may be out of order, and clocks apart, in milliseconds.
TIME_MARGIN = 30_000

_VERSION = 1
_WILD, _COARSE = 1, 2
_NAME, _EPOCH = 6, 4
_TEXT = re.compile(r"[A-Za-z0-9_-]+\Z")
_TO_URL = bytes.maketrans(b"+/", b"-_")
_END = struct.Struct(">QI")
_MAX_BYTES = MAX_CURSOR // 4 * 3
_MAX_OFFSET = 2**63 - 1
#: Above this estimate a reader goes coarse for good, before its cursors would be too long.
_COARSE_FROM = 2_800

Lane = tuple[str, int]
"""(topic, partition)."""


@lru_cache(4096)
def topic_hash(topic: str) -> bytes:
    """Stands for the topic's name in a cursor, and orders the sweep of coarse cursors."""
    return blake2b(topic.encode(), digest_size=_NAME).digest()


@lru_cache(4096)
def epoch_hash(epoch: str) -> bytes:
    return blake2b(epoch.encode(), digest_size=_EPOCH).digest()


class TopicMark(msgspec.Struct, frozen=True):
    """How far a topic was read: the next offset of each partition known then."""

    epoch: bytes
    offsets: tuple[int, ...]


class Sweep(msgspec.Struct, frozen=True):
    """A coarse cursor: `before_ms` and `after_ms` are append times in milliseconds."""

    before_ms: int
    after_ms: int
    epoch: bytes
    offset: int


class Cursor(msgspec.Struct, frozen=True):
    """A decoded cursor. `wild`: it was made by a read with a wildcard over topics.

    `active` is the (topic hash, partition) that moved last. `floor_ms`: every event appended
    before it was delivered. With `sweep` set, `marks` is empty.
    """

    wild: bool
    active: tuple[bytes, int]
    floor_ms: int
    marks: dict[bytes, TopicMark]
    sweep: Sweep | None = None


def decode_cursor(text: str) -> Cursor:
    """Raises InvalidPosition unless the text is a cursor that this gateway could have made."""
    if len(text) > MAX_CURSOR or not _TEXT.match(text):
        raise InvalidPosition("not a cursor: cursors have the characters A-Z a-z 0-9 - _ and under 4 KB")
    try:
        raw = binascii.a2b_base64(text.encode().translate(bytes.maketrans(b"-_", b"+/")), strict_mode=True)
    except binascii.Error as error:
        raise InvalidPosition("not a cursor: it was cut or changed") from error
    if len(raw) < 2 + _END.size or crc32(raw[:-4]) != int.from_bytes(raw[-4:], "big"):
        raise InvalidPosition("not a cursor: its checksum is wrong")
    if raw[0] != _VERSION:
        raise InvalidPosition(f"a cursor of version {raw[0]}; this gateway reads version {_VERSION}")
    try:
        return _decode(raw)
    except (IndexError, ValueError) as error:
        raise InvalidPosition("not a cursor: its contents are wrong") from error


def _decode(raw: bytes) -> Cursor:
    flags, body = raw[1], _Bytes(raw[2 : -_END.size])
    (offset, _) = _END.unpack(raw[-_END.size :])
    if offset > _MAX_OFFSET:
        raise ValueError("offset")
    floor, wild = body.number(), bool(flags & _WILD)
    if flags & _COARSE:
        sweep = Sweep(floor, body.number(), body.take(_EPOCH), offset)
        return Cursor(wild, (body.take(_NAME), body.number()), floor, {}, sweep)
    active_topic, active = body.number(), body.number()
    names: list[bytes] = []
    marks: dict[bytes, TopicMark] = {}
    for at in range(body.number()):
        name, epoch = body.take(_NAME), body.take(_EPOCH)
        offsets = [body.number() for _ in range(body.number())]
        if at == active_topic:
            offsets[active] = offset
        names.append(name)
        marks[name] = TopicMark(epoch, tuple(offsets))
    moved = (names[active_topic], active) if names else (b"", 0)
    return Cursor(wild, moved, floor, marks)


class _Bytes:
    """Reads a cursor's body; IndexError or ValueError when it is not one."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def take(self, count: int) -> bytes:
        part = self._raw[self._at : self._at + count]
        if len(part) < count:
            raise ValueError("cut")
        self._at += count
        return part

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self._raw[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if value > _MAX_OFFSET:
            raise ValueError("number")
        return value


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Prefix(msgspec.Struct, frozen=True, gc=False):
    """What the cursors of a lane have in common while no other lane moves."""

    text: str
    checksum: int

    @staticmethod
    def of(raw: bytes) -> Prefix:
        """`raw` is whole groups of three bytes, so that the text can be cut behind it."""
        return Prefix(binascii.b2a_base64(raw, newline=False).translate(_TO_URL).decode(), crc32(raw))

    def at(self, offset: int) -> str:
        """The cursor with the lane at `offset`."""
        moved = offset.to_bytes(8, "big")
        end = moved + crc32(moved, self.checksum).to_bytes(4, "big")
        return self.text + binascii.b2a_base64(end, newline=False).translate(_TO_URL).decode()


class BlockCursors(Sequence[str]):
    """The cursors after each event of a block of one lane, made when they are asked for.

    That after the last event stands at `end`, beyond offsets that hold no wanted event.
    """

    __slots__ = ("_end", "_events", "_prefix")

    def __init__(self, prefix: Prefix, events: Sequence[Event], end: int) -> None:
        self._prefix, self._events, self._end = prefix, events, end

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        places = range(len(self._events))[index]
        return self._at(places) if isinstance(places, int) else [self._at(place) for place in places]

    def __iter__(self) -> Iterator[str]:
        return map(self._at, range(len(self._events)))

    def _at(self, place: int) -> str:
        last = place == len(self._events) - 1
        return self._prefix.at(self._end if last else self._events[place].offset + 1)


class JoinedCursors(Sequence[str]):
    """The cursors of several blocks, one after the other."""

    __slots__ = ("_ends", "_parts")

    def __init__(self, parts: Sequence[BlockCursors]) -> None:
        self._parts, self._ends = parts, list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        places = range(len(self))[index]
        return self._at(places) if isinstance(places, int) else [self._at(place) for place in places]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._parts)

    def _at(self, place: int) -> str:
        part = bisect_right(self._ends, place)
        return self._parts[part][place - self._ends[part] + len(self._parts[part])]


class _Topic:
    """The part of the vector that belongs to one topic."""

    __slots__ = ("encoded", "epoch", "floors", "name", "offsets")

    def __init__(self, topic: str, epoch: str) -> None:
        self.name, self.epoch = topic_hash(topic), epoch_hash(epoch)
        self.offsets: list[int] = []
        self.floors: list[int] = []
        self.encoded: bytes | None = None

    def encode(self) -> bytes:
        if self.encoded is None:
            self.encoded = self.encode_without(-1)
        return self.encoded

    def encode_without(self, active: int) -> bytes:
        """The active lane's offset stands at the cursor's end."""
        numbers = [b"\0" if at == active else _number(offset) for at, offset in enumerate(self.offsets)]
        return b"".join((self.name, self.epoch, _number(len(numbers)), *numbers))


class CursorWriter:
    """The vector of what was delivered, and its cursors. Pure; one for each reader.

    Lanes of a topic are added in the order of their numbers. Offsets only grow, except by
    `seek`. Floors are append times in milliseconds: all events of the lane before were
    delivered. They matter to coarse cursors alone.
    """

    def __init__(self, wild: bool = False) -> None:
        self._wild = wild
        self._topics: dict[str, _Topic] = {}
        self._active: Lane = ("", 0)
        self._settled = 0
        self._lanes = 0
        self._prefix: tuple[Lane, Prefix] | None = None
        #: Whether cursors are coarse. Once they are they stay so.
        self.coarse = False

    def add(self, topic: str, epoch: str, offset: int, floor_ms: int = 0) -> None:
        """Add the next partition of a topic."""
        there = self._topics.get(topic)
        if there is None:
            there = self._topics[topic] = _Topic(topic, epoch)
            self._active = self._active if self._active[0] else (topic, 0)
        there.offsets.append(offset)
        there.floors.append(floor_ms)
        there.encoded = self._prefix = None
        self._lanes += 1
        if len(self._topics) * (_NAME + _EPOCH + 2) + self._lanes * 6 > _COARSE_FROM:
            self.coarse = True

    def drop(self, topic: str) -> None:
        """The topic is gone, or is to be added anew."""
        gone = self._topics.pop(topic, None)
        if gone is not None:
            self._lanes -= len(gone.offsets)
            self._prefix = None
            if self._active[0] == topic:
                self._active = (next(iter(self._topics), ""), 0)

    def offset(self, topic: str, partition: int) -> int:
        """The next offset to deliver."""
        return self._topics[topic].offsets[partition]

    def move(self, topic: str, partition: int, offset: int, floor_ms: int = 0) -> None:
        """Everything of the lane below `offset` was delivered. Never moves back."""
        there = self._topics.get(topic)
        if there is not None and offset > there.offsets[partition]:
            self._set(there, (topic, partition), offset)
            there.floors[partition] = max(there.floors[partition], floor_ms)

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """As `move`, in either direction."""
        self._set(self._topics[topic], (topic, partition), offset)

    def reached(self, topic: str, partition: int, now_ms: int) -> None:
        """All events of the lane appended before `now_ms` (less the margin) were delivered."""
        floors = self._topics[topic].floors
        floors[partition] = max(floors[partition], now_ms - TIME_MARGIN)

    def settle(self, now_ms: int) -> None:
        """As `reached`, for all lanes."""
        self._settled = max(self._settled, now_ms - TIME_MARGIN)

    def cursor(self) -> str:
        """Where all lanes stand now."""
        topic, partition = self._active
        offset = self._topics[topic].offsets[partition] if topic else 0
        return self._prefix_of(self._active).at(offset)

    def block(self, topic: str, partition: int, events: Sequence[Event], end: int) -> BlockCursors:
        """Cursors with the lane behind each of `events`, and all others where they stand now."""
        return BlockCursors(self._prefix_of((topic, partition)), events, end)

    def _set(self, there: _Topic, lane: Lane, offset: int) -> None:
        there.offsets[lane[1]] = offset
        there.encoded = None
        self._active = lane
        # A prefix does not depend on its own lane's offset, only on those of the others.
        if self._prefix is not None and self._prefix[0] != lane:
            self._prefix = None

    def _prefix_of(self, lane: Lane) -> Prefix:
        if self._prefix is not None and self._prefix[0] == lane and not self.coarse:
            return self._prefix[1]
        raw = b"" if self.coarse else self._exact(lane)
        if not raw or len(raw) + _END.size > _MAX_BYTES:
            self.coarse = True
            raw = self._swept(lane)
        prefix = Prefix.of(raw)
        self._prefix = (lane, prefix)
        return prefix

    def _exact(self, lane: Lane) -> bytes:
        topic, partition = lane
        parts, active = [], 0
        for at, (name, there) in enumerate(self._topics.items()):
            if name == topic:
                active = at
                parts.append(there.encode_without(partition))
            else:
                parts.append(there.encode())
        floor = min((floor for there in self._topics.values() for floor in there.floors), default=0)
        head = (_number(max(floor, self._settled)), _number(active), _number(partition), _number(len(parts)))
        return self._head(0, b"".join((*head, *parts)))

    def _swept(self, lane: Lane) -> bytes:
        topic, partition = lane
        here = (topic_hash(topic), partition)
        before = after = _MAX_OFFSET
        for there in self._topics.values():
            for at, floor in enumerate(there.floors):
                if (there.name, at) < here:
                    before = min(before, floor)
                elif (there.name, at) > here:
                    after = min(after, floor)
        own = self._topics[topic].floors[partition]
        times = [max(own if ms == _MAX_OFFSET else ms, self._settled) for ms in (before, after)]
        body = b"".join((_number(times[0]), _number(times[1]), self._topics[topic].epoch, here[0], _number(partition)))
        return self._head(_COARSE, body)

    def _head(self, flags: int, body: bytes) -> bytes:
        head = bytes((_VERSION, flags | (_WILD if self._wild else 0))) + body
        return head + bytes(-len(head) % 3)
