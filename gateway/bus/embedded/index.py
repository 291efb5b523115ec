"""The offset and time index of one segment: sparse, in memory, and in a file beside it.

The file can always be made again from the segment. It also marks how far the segment was
complete when the log was closed in good order: what is unreadable below that place is damage,
not a torn write.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from bisect import bisect_left, bisect_right

from gateway.bus.embedded.frame import Frame

#: An entry is made for a partition when its last one is at least this many bytes back.
SPACING = 16 * 1024

# Arrays are stored as the machine has them; an index from another kind of machine is made anew.
_MAGIC = b"LSPIDX1" + sys.byteorder[:1].encode()
_HEAD = struct.Struct(">8sIqqqII")
_SECTION = struct.Struct(">Iqq")


class _Entries:
    """Of one partition: frame offsets, their places, and the newest timestamp before each."""

    __slots__ = ("newest", "offsets", "places", "times")

    def __init__(self) -> None:
        self.offsets = array("q")
        self.places = array("q")
        self.times = array("q")
        self.newest = -1


class SegmentIndex:
    """Grows with the segment. `end` is where its last frame ends, `next` the offsets there."""

    def __init__(self, start: int, base: list[int]) -> None:
        self.start = start
        self.end = start
        self.next = list(base)
        self.newest_ms = -1
        self._entries: dict[int, _Entries] = {}

    def add(self, position: int, end: int, partition: int, base_offset: int, next_offset: int, timestamp: int) -> None:
        """Note a frame; frames come in file order."""
        entries = self._entries.get(partition)
        if entries is None:
            entries = self._entries[partition] = _Entries()
        if not entries.places or position - entries.places[-1] >= SPACING:
            entries.offsets.append(base_offset)
            entries.places.append(position)
            entries.times.append(entries.newest)
        entries.newest = max(entries.newest, timestamp)
        self.newest_ms = max(self.newest_ms, timestamp)
        self.end = end
        if partition >= len(self.next):
            self.next.extend([0] * (partition + 1 - len(self.next)))
        self.next[partition] = next_offset

    def add_frame(self, frame: Frame) -> None:
        self.add(frame.position, frame.end, frame.partition, frame.base_offset, frame.next_offset, frame.timestamp_ms)

    def find(self, partition: int, offset: int) -> tuple[int, int | None]:
        """Where to begin to look for `offset`, and the offset of the frame there (None: the start)."""
        entries = self._entries.get(partition)
        at = bisect_right(entries.offsets, offset) - 1 if entries else -1
        if entries is None or at < 0:
            return self.start, None
        return entries.places[at], entries.offsets[at]

    def find_time(self, partition: int, timestamp_ms: int) -> int:
        """Where to begin to look for the first frame of the partition that is not older."""
        entries = self._entries.get(partition)
        at = bisect_left(entries.times, timestamp_ms) - 1 if entries else -1
        return self.start if entries is None or at < 0 else entries.places[at]

    def newest_of(self, partition: int) -> int:
        """The partition's newest timestamp in this segment, -1 if it has no frame here."""
        entries = self._entries.get(partition)
        return entries.newest if entries else -1

    def encode(self, salt: int) -> bytes:
        """The index file; it belongs to the segment with this salt and no other."""
        parts = [array("q", self.next).tobytes()]
        for partition, entries in self._entries.items():
            parts.append(_SECTION.pack(partition, len(entries.places), entries.newest))
            parts.extend((entries.offsets.tobytes(), entries.places.tobytes(), entries.times.tobytes()))
        body = b"".join(parts)
        head = (_MAGIC, salt, self.start, self.end, self.newest_ms, len(self.next), len(self._entries))
        packed = _HEAD.pack(*head) + body
        return packed + zlib.crc32(packed).to_bytes(4, "big")


def decode_index(data: bytes, salt: int) -> SegmentIndex | None:
    """The index of the segment with this salt, or None when the file is damaged or another's."""
    if len(data) < _HEAD.size + 4 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        return None
    magic, of, start, end, newest, partitions, sections = _HEAD.unpack_from(data)
    if magic != _MAGIC or of != salt:
        return None
    at = _HEAD.size
    index = SegmentIndex(start, list(array("q", data[at : at + 8 * partitions])))
    index.end, index.newest_ms = end, newest
    at += 8 * partitions
    for _ in range(sections):
        entries = _Entries()
        partition, count, entries.newest = _SECTION.unpack_from(data, at)
        at += _SECTION.size
        for numbers in (entries.offsets, entries.places, entries.times):
            numbers.frombytes(data[at : at + 8 * count])
            at += 8 * count
        index._entries[partition] = entries
    return index
