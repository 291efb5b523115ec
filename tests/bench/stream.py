"""The bytes of a measured subscriber and publisher, without I/O.

A measured event carries in its data a mark, its sequence number and the time at which it was
due, 16 hexadecimal digits each, and filler up to its size. Nothing else in a subscriber's
texts holds the mark, so that events can be counted without parsing them.
"""

from __future__ import annotations

import re
from typing import Protocol

import msgspec

MARK = b"~"
STAMP = re.compile(rb'"~(0[0-9a-f]{15})([0-9a-f]{16})')
QUOTE, ZERO = 0x22, 0x30
RUN = 64


class Broken(Exception):
    """The server sent what it must not."""


# Events out


def event_text(number: int, due: int, subject: str, size: int, price: float | None = None) -> bytes:
    """A structured CloudEvent whose data has `size` bytes, at least 41; `due` in nanoseconds. A
    price is one more member of the data, beside the other."""
    filler = "x" * (size - len('{"e":""}') - 33)
    more = "" if price is None else f'"price":{price},'
    filler = filler[len(more) :]
    return (
        f'{{"specversion":"1.0","id":"{number:016x}","source":"//bench/publisher","type":"bench.signal",'
        f'"subject":"{subject}","datacontenttype":"application/json",'
        f'"data":{{{more}"e":"~{number:016x}{due:016x}{filler}"}}}}'
    ).encode()


def http_request(path: str, texts: list[bytes]) -> bytes:
    """A POST of events: a structured one, or a batch."""
    kind, body = "cloudevents+json", texts[0]
    if len(texts) > 1:
        kind, body = "cloudevents-batch+json", b"[" + b",".join(texts) + b"]"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/{kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def http_answer(data: bytes) -> int:
    """The length of the answer at the start of `data`; 0 while it is not whole."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = data[:end].lower()
    length = re.search(rb"\r\ncontent-length: *(\d+)", head)
    if length is None or head[9:12] != b"200":
        raise Broken(f"not published: {data[:500]!r}")
    whole = end + 4 + int(length[1])
    return whole if len(data) >= whole else 0


def websocket_request(topic: str, texts: list[bytes]) -> bytes:
    """The same as a message of `linkspan.v1`."""
    return client_frame(b'{"id":7,"publish":{"topic":"%b","events":[%b]}}' % (topic.encode(), b",".join(texts)))


def websocket_answer(data: bytes) -> int:
    """The length of the answer at the start of `data`; 0 while it is not whole."""
    frame = _frame(data, 0)
    if frame is None:
        return 0
    _, start, end = frame
    if not data.startswith(b'{"id":7,"ok":', start):
        raise Broken(f"not published: {data[:500]!r}")
    return end


def client_frame(text: bytes) -> bytes:
    """A text frame with a mask of zeros, so that the text stays as it is (RFC 6455, 5.2)."""
    head = server_frame(text)[: -len(text)]
    return bytes((0x81, 0x80 | head[1])) + head[2:] + b"\0\0\0\0" + text


def server_frame(text: bytes) -> bytes:
    """A text frame as servers send it."""
    size = len(text)
    if size < 126:
        return bytes((0x81, size)) + text
    if size < 2**16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + text
    return b"\x81\x7f" + size.to_bytes(8, "big") + text


# Counting


class Counter:
    """Counts marks, two of which are never nearer than `floor` bytes.

    Events of one block stand equally far apart, so a stride through the buffer looks at one byte
    of each: thirty times faster than to look at all of them. A stride shorter than two floors
    cannot pass over a mark.
    """

    __slots__ = ("_floor", "_stride")

    def __init__(self, floor: int) -> None:
        self._floor = self._stride = floor

    def count(self, buffer: bytearray, size: int) -> int:
        """The marks in the first `size` bytes."""
        floor, stride = self._floor, self._stride
        found = length = last = 0
        at = buffer.find(MARK, 0, size)
        while at >= 0:
            # The mark is also 126, which stands in the head of a frame; there without a quote and a zero around it.
            if (at and buffer[at - 1] != QUOTE) or (at + 1 < size and buffer[at + 1] != ZERO):
                at = buffer.find(MARK, at + 1, size)
                continue
            if length == 1 and at - last < 2 * floor:
                stride = at - last
            run = buffer[at : min(size, at + RUN * stride) : stride]
            length = len(run) - len(run.lstrip(MARK))
            found += length
            last = at + (length - 1) * stride
            at = buffer.find(MARK, last + floor, size)
        self._stride = stride
        return found


def last_stamp(buffer: bytearray, size: int) -> int | None:
    """When the last event that is whole in the buffer was due."""
    at = buffer.rfind(b'"~0', 0, max(0, size - 31))
    return None if at < 0 else int(buffer[at + 18 : at + 34], 16)


def stamps(buffer: bytearray, size: int) -> list[int]:
    """When the events that are whole in the buffer were due."""
    return [int(due, 16) for _, due in STAMP.findall(buffer, 0, size)]


# Exact reading


class Data(msgspec.Struct):
    e: str


class Received(msgspec.Struct):
    id: str
    source: str
    specversion: str
    subject: str
    data: Data

    def number(self) -> int:
        stamp = STAMP.match(b'"' + self.data.e.encode())
        if stamp is None or int(stamp[1], 16) != int(self.id, 16):
            raise Broken(f"an event that was not published: {self}")
        return int(stamp[1], 16)


class Message(msgspec.Struct):
    sid: int
    cursor: str | None = None
    events: list[Received] = []
    gap: object = None


class Exact(Protocol):
    """Feed it what was received; the sequence numbers of the events that it completes."""

    def feed(self, data: bytes) -> list[int]: ...


class WebSocketReader:
    """Unmasked, unfragmented text frames of the subprotocol `linkspan.v1`, for one subscription."""

    def __init__(self, sid: int = 1) -> None:
        self._buffer, self._sid = b"", sid
        self._decode = msgspec.json.Decoder(Message).decode

    def feed(self, data: bytes) -> list[int]:
        numbers: list[int] = []
        buffer, at = self._buffer + data, 0
        while (frame := _frame(buffer, at)) is not None:
            opcode, start, at = frame
            if opcode == 1:
                numbers += self._message(buffer[start:at])
            elif opcode != 9:
                raise Broken(f"a frame with opcode {opcode}: {buffer[start : start + 125]!r}")
        self._buffer = buffer[at:]
        return numbers

    def _message(self, text: bytes) -> list[int]:
        try:
            message = self._decode(text)
        except msgspec.MsgspecError as fault:
            raise Broken(f"not a message of events, {fault}: {text[:200]!r}") from fault
        if message.sid != self._sid or message.gap is not None or not message.events or not message.cursor:
            raise Broken(f"not a message of events: {text[:200]!r}")
        return [event.number() for event in message.events]


def _frame(buffer: bytes, at: int) -> tuple[int, int, int] | None:
    """Opcode, start and end of the payload of the frame at `at`; None while it is not whole."""
    if len(buffer) < at + 2:
        return None
    first, size = buffer[at], buffer[at + 1]
    if not first & 0x80 or first & 0x70 or size & 0x80:
        raise Broken(f"not a whole plain frame of a server: {buffer[at : at + 2].hex()}")
    start, extra = at + 2, {126: 2, 127: 8}.get(size, 0)
    if extra:
        if len(buffer) < start + extra:
            return None
        size, start = int.from_bytes(buffer[start : start + extra], "big"), start + extra
    return (first & 15, start, start + size) if len(buffer) >= start + size else None


class SseReader:
    """Server-sent events in an HTTP/1.1 body of chunks: a structured CloudEvent in each `data:`."""

    def __init__(self) -> None:
        self._chunked, self._text = b"", b""
        self._decode = msgspec.json.Decoder(Received).decode

    def feed(self, data: bytes) -> list[int]:
        buffer, at = self._chunked + data, 0
        while (chunk := _chunk(buffer, at)) is not None:
            start, end = chunk
            self._text += buffer[start:end]
            at = end + 2
        self._chunked = buffer[at:]
        *events, self._text = self._text.split(b"\n\n")
        return [number for event in events for number in self._event(event)]

    def _event(self, text: bytes) -> list[int]:
        fields = [line.split(b": ", 1) for line in text.split(b"\n") if line and not line.startswith(b":")]
        found = dict(field for field in fields if len(field) == 2)
        if b"data" not in found:
            return []
        if b"event" in found or not found.get(b"id"):
            raise Broken(f"not an event with its cursor: {text[:200]!r}")
        return [self._decode(found[b"data"]).number()]


def _chunk(buffer: bytes, at: int) -> tuple[int, int] | None:
    """Start and end of the data of the chunk at `at` (RFC 9112, 7.1); None while it is not whole."""
    line = buffer.find(b"\r\n", at)
    if line < 0:
        return None
    size = int(buffer[at:line], 16)
    if size == 0:
        raise Broken("the stream ended")
    end = line + 2 + size
    return (line + 2, end) if len(buffer) >= end + 2 else None


class Tracker:
    """Whether a subscriber got every `step`th number from `first` on, once and in order."""

    __slots__ = ("_missing", "_step", "duplicated", "expected", "late", "received")

    def __init__(self, first: int, step: int) -> None:
        self.expected, self._step = first, step
        self._missing: set[int] = set()
        self.received = self.duplicated = self.late = 0

    def add(self, number: int) -> None:
        self.received += 1
        if number == self.expected:
            self.expected += self._step
        elif number > self.expected:
            self._missing.update(range(self.expected, number, self._step))
            self.expected = number + self._step
        elif number in self._missing:
            self._missing.remove(number)
            self.late += 1
        else:
            self.duplicated += 1

    def lost(self, published: int) -> int:
        """How many of the numbers below `published` never came."""
        return len(self._missing) + len(range(self.expected, published, self._step))
