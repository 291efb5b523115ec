"""Frames: how one record batch stands in a segment file. Pure.

A frame is a header of 36 bytes and a Kafka record batch (format v2). The batch's own CRC-32C
leaves its base offset, length, leader epoch and magic unguarded, since a broker sets them; the
header repeats what matters of them and has a checksum of its own:

    magic (4)  checksum (4)  size of the batch (4)  partition (4)
    base offset (8)  span of offsets (4)  newest timestamp, ms (8)            all big-endian

The checksum (CRC-32) starts from the salt of its segment, a random number that never leaves the
data folder. So neither a payload that holds the bytes of a frame nor a block of another file
that ended up here passes for a frame when a reader searches for the next good one.
Preallocated space is zeros; the magic has none, so zeros are never a frame.
"""

from __future__ import annotations

import struct
import zlib

import msgspec

from gateway.bus.records import HEADER_SIZE, crc_matches

MAGIC = b"\xc5LSF"
_HEADER = struct.Struct(">4sIIIqIq")
_FIELDS = struct.Struct(">IIqIq")
_BATCH_PREFIX = struct.Struct(">qiib")
FRAME_HEADER = _HEADER.size
#: A batch larger than this is no batch; it bounds what a reader allocates.
MAX_BATCH = 256 * 1024 * 1024
#: What the encoder writes as leader epoch; nothing else is accepted there.
_LEADER_EPOCHS = (0, -1)


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A frame header that holds. `position` is its place in the file, `size` the batch's bytes."""

    position: int
    size: int
    partition: int
    base_offset: int
    next_offset: int
    timestamp_ms: int

    @property
    def batch_at(self) -> int:
        return self.position + FRAME_HEADER

    @property
    def end(self) -> int:
        return self.position + FRAME_HEADER + self.size


def pack_header(salt: int, size: int, partition: int, base_offset: int, next_offset: int, timestamp_ms: int) -> bytes:
    """The header of a frame whose batch has `size` bytes."""
    fields = _FIELDS.pack(size, partition, base_offset, next_offset - base_offset, timestamp_ms)
    return MAGIC + zlib.crc32(fields, salt).to_bytes(4, "big") + fields


def read_header(head: bytes, salt: int, position: int) -> Frame | None:
    """The frame header in the 36 bytes of `head`, or None when it does not hold."""
    if head[:4] != MAGIC or len(head) < FRAME_HEADER:
        return None
    fields = head[8:FRAME_HEADER]
    if zlib.crc32(fields, salt) != int.from_bytes(head[4:8], "big"):
        return None
    size, partition, base, span, timestamp = _FIELDS.unpack(fields)
    if not HEADER_SIZE <= size <= MAX_BATCH:
        return None
    return Frame(position, size, partition, base, base + span, timestamp)


def batch_holds(frame: Frame, batch: bytes) -> bool:
    """Whether these bytes are the frame's batch: the unguarded fields agree and the CRC holds."""
    if len(batch) != frame.size:
        return False
    base, length, epoch, magic = _BATCH_PREFIX.unpack_from(batch)
    if base != frame.base_offset or length + 12 != frame.size or magic != 2 or epoch not in _LEADER_EPOCHS:
        return False
    return crc_matches(batch)
