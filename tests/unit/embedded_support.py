"""Segments made by hand, for the tests of the embedded log's parts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from gateway.bus.contract import TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.bus.embedded.frame import pack_header
from gateway.bus.embedded.header import FORMAT, SegmentHeader, encode_header
from gateway.bus.embedded.scan import Piece, Read, walk
from gateway.bus.embedded.segment import Segment, segment_name
from gateway.bus.records import encode_records, set_base_offset
from gateway.event import Event
from tests.harness.events import events

SALT = 0x0BADCAFE


def frame(partition: int, base: int, count: int = 3, time: int = 1000, salt: int = SALT, **more: int) -> bytes:
    """A frame of `count` events, header and batch."""
    return frame_of(events(count, first=base, **more), partition, base, time, salt)


def frame_of(stored: list[Event], partition: int, base: int, time: int = 1000, salt: int = SALT) -> bytes:
    body = encode_records(stored, time)
    set_base_offset(body, base)
    return pack_header(salt, len(body), partition, base, base + len(stored), time) + bytes(body)


def reading(data: bytes) -> Read:
    """Reading from bytes as from a file."""
    return lambda position, size: data[position : position + size]


def pieces(data: bytes, start: int = 0, chunk: int = 4096) -> list[Piece]:
    return list(walk(reading(data), start, len(data), SALT, chunk=chunk))


def header(sequence: int = 1, base: Iterable[int] = (0,), salt: int = SALT, **more: object) -> SegmentHeader:
    made = SegmentHeader(FORMAT, "t", "e" * 16, sequence, salt, list(base), 1)
    return msgspec.structs.replace(made, **more)


def segment_file(folder: Path, head: SegmentHeader, frames: Iterable[bytes]) -> Segment:
    """Write a segment and return it closed for reading by tests, without an index."""
    path = folder / segment_name(head.sequence)
    path.write_bytes(encode_header(head) + b"".join(frames))
    segment = Segment(path, head)
    segment.bytes = path.stat().st_size
    return segment


def log_files(folder: Path, topic: str) -> list[Path]:
    return sorted((folder / "topics" / topic).glob("*.log"))


def flip(path: Path, position: int, bit: int = 0) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


async def opened(folder: Path, topic: str | None = "t", **settings: object) -> EmbeddedBus:
    """A started log without background work, with a topic if there is none."""
    arguments = {"segment_bytes": 64 * 1024, "maintenance_interval": 3600.0, **settings}
    bus = EmbeddedBus(folder, **arguments)  # type: ignore[arg-type]
    await bus.start()
    if topic is not None and topic not in await bus.topics(internal=True):
        await bus.create_topic(topic, TopicSettings())
    return bus
