"""Cursors: opaque text that says how far a reader came in all partitions of all its topics.

    version, flags, floor, active lane, topics ..., padding | offset of the active lane, CRC-32

in base64url, always under 4 KB. A topic is its name's hash, its epoch's hash and an offset for
each partition. The lane that moved last stands at the end with a fixed width, so that the
cursors of a block differ in their last 16 characters only, and one costs about a microsecond.

When that would grow past the limit (a wildcard over hundreds of partitions) the cursor becomes
**coarse** (`gateway.delivery.sweep`): lanes are read in the order of their hashes; those before
the place of the sweep stand where one append time leads to, those behind it where another does,
but for the place itself and for the lanes that are listed with their offsets.

    version, flags, time before, time behind, base of ages, place (epoch, name, partition, age),
    listed lanes (tag, offset, age) ..., padding | offset of the place, CRC-32

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

VERSION = 1
WILD, COARSE = 1, 2
NAME, EPOCH = 6, 4
_TAG = 4
_TEXT = re.compile(r"[A-Za-z0-9_-]+\Z")
_TO_URL = bytes.maketrans(b"+/", b"-_")
_END = struct.Struct(">QI")
#: What may stand before the last offset and the checksum, in bytes.
MAX_HEAD = MAX_CURSOR // 4 * 3 - _END.size
_MAX_OFFSET = 2**63 - 1

Order = tuple[bytes, int]
"""(hash of the topic's name, partition): the order in which coarse cursors sweep."""
#: Before all lanes.
FIRST: Order = (bytes(NAME), 0)


@lru_cache(4096)
def topic_hash(topic: str) -> bytes:
    """Stands for the topic's name in a cursor, and orders the sweep of coarse cursors."""
    return blake2b(topic.encode(), digest_size=NAME).digest()


@lru_cache(4096)
def epoch_hash(epoch: str) -> bytes:
    return blake2b(epoch.encode(), digest_size=EPOCH).digest()


@lru_cache(16384)
def _seed(topic: str, epoch: str) -> int:
    return int.from_bytes(blake2b(f"{topic}\0{epoch}".encode(), digest_size=_TAG).digest(), "big")


def lane_tag(topic: str, epoch: str, partition: int) -> int:
    """Stands for one partition in a coarse cursor; those of one topic differ."""
    return (_seed(topic, epoch) + partition * 0x9E3779B1) & 0xFFFFFFFF


class TopicMark(msgspec.Struct, frozen=True):
    """How far a topic was read: the next offset of each partition known then."""

    epoch: bytes
    offsets: tuple[int, ...]


class Sweep(msgspec.Struct, frozen=True):
    """A coarse cursor: `before_ms` and `after_ms` are append times in milliseconds.

    `epoch, offset, newest_ms` are those of the place: nothing that was delivered of it is newer.
    `listed`: lane tag -> (offset, newest_ms).
    """

    before_ms: int
    after_ms: int
    epoch: bytes
    offset: int
    newest_ms: int
    listed: dict[int, tuple[int, int]]


class Cursor(msgspec.Struct, frozen=True):
    """A decoded cursor. `wild`: it was made by a read with a wildcard over topics.

    `active` is the lane that moved last. `floor_ms`: no lane stands before the place that this
    append time leads to. With `sweep` set, `marks` is empty.
    """

    wild: bool
    active: Order
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
    if raw[0] != VERSION:
        raise InvalidPosition(f"a cursor of version {raw[0]}; this gateway reads version {VERSION}")
    try:
        return _decode(raw)
    except (IndexError, ValueError) as error:
        raise InvalidPosition("not a cursor: its contents are wrong") from error


def _decode(raw: bytes) -> Cursor:
    flags, body = raw[1], _Bytes(raw[2 : -_END.size])
    (offset, _) = _END.unpack(raw[-_END.size :])
    if offset > _MAX_OFFSET:
        raise ValueError("offset")
    wild = bool(flags & WILD)
    if flags & COARSE:
        return _decode_sweep(body, offset, wild)
    floor = body.number()
    active_topic, active = body.number(), body.number()
    names: list[bytes] = []
    marks: dict[bytes, TopicMark] = {}
    for at in range(body.number()):
        name, epoch = body.take(NAME), body.take(EPOCH)
        offsets = [body.number() for _ in range(body.number())]
        if at == active_topic:
            offsets[active] = offset
        names.append(name)
        marks[name] = TopicMark(epoch, tuple(offsets))
    moved = (names[active_topic], active) if names else (b"", 0)
    return Cursor(wild, moved, floor, marks)


def _decode_sweep(body: _Bytes, offset: int, wild: bool) -> Cursor:
    before, after, base = body.number(), body.number(), body.number()
    epoch, place, newest = body.take(EPOCH), (body.take(NAME), body.number()), newest_of(body.number(), base)
    listed: dict[int, tuple[int, int]] = {}
    for _ in range(body.number()):
        tag = int.from_bytes(body.take(_TAG), "big")
        listed[tag] = (body.number(), newest_of(body.number(), base))
    return Cursor(wild, place, min(before, after), {}, Sweep(before, after, epoch, offset, newest, listed))


def listed_entry(tag: int, offset: int, newest_ms: int, base: int) -> bytes:
    """A lane that a coarse cursor lists."""
    return tag.to_bytes(_TAG, "big") + number(offset) + number(age_of(newest_ms, base))


def age_of(newest_ms: int, base: int) -> int:
    """A time in whole seconds above `base`, rounded up. Rounded once it stays the same, however
    often it is written again."""
    return max(0, newest_ms // 1000 + 1 - base)


def newest_of(age: int, base: int) -> int:
    """The time in milliseconds that is in an age."""
    return (base + age) * 1000 - 1


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


def number(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def enclose(flags: int, wild: bool, body: bytes) -> bytes:
    """All of a cursor but its end, in whole groups of three bytes."""
    head = bytes((VERSION, flags | (WILD if wild else 0))) + body
    return head + bytes(-len(head) % 3)


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

    def of(self, events: Sequence[Event]) -> BlockCursors:
        """The cursors after some of the events."""
        return BlockCursors(self._prefix, events, self._end)

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
