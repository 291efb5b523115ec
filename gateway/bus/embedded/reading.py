"""Reading batches back, in a worker thread: find the place, check both checksums, decode.

What is damaged is never served. Offsets of a partition follow one another without a hole
unless a segment was compacted, so a hole tells what damage swallowed, even where no header is
left to read.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.bus.contract import Batch
from gateway.bus.embedded.frame import Frame
from gateway.bus.embedded.scan import Piece, walk
from gateway.bus.embedded.segment import Segment
from gateway.bus.records import decode_records
from gateway.errors import CorruptData


class Extent(msgspec.Struct):
    """A segment to read, acquired, and what the loop knew of it: for the active one its durable
    end and where to begin; for closed ones None, the index tells."""

    segment: Segment
    end: int | None = None
    start: tuple[int, int | None] | None = None


class _Reading:
    """One read of one partition: collects batches until enough, the end, or damage."""

    def __init__(self, partition: int, offset: int, until: int, max_bytes: int) -> None:
        self.partition, self.offset, self.until, self.room = partition, offset, until, max_bytes
        self.batches: list[Batch] = []
        self.finished = False

    def segment(self, extent: Extent) -> None:
        segment, partition = extent.segment, self.partition
        end = extent.end if extent.end is not None else segment.loaded().end
        start, at = extent.start or segment.loaded().find(partition, self.offset)
        expected = segment.header.base_of(partition) if at is None else at
        segment_until = segment.until_of(partition)
        until = self.until if segment_until is None else min(self.until, segment_until)
        hole: Piece | None = None
        chunk = max(4096, min(self.room + 4096, 1024 * 1024))
        for piece in walk(segment.pread, start, end, segment.header.salt, self._wanted, chunk):
            frame = piece.frame
            if frame is None:
                hole = piece
                continue
            if frame.partition != partition:
                continue
            if frame.base_offset >= until:
                break
            if frame.next_offset > self.offset:
                if self._lost(segment, expected, frame.base_offset, hole):
                    return self._stop(segment, hole or piece, expected, frame.base_offset)
                if piece.batch is None:
                    return self._stop(segment, piece, frame.base_offset, frame.next_offset)
                self._decode(segment, frame, piece.batch)
            expected, hole = frame.next_offset, None
            if self.room <= 0:
                self.finished = True
                return None
        if until > self.offset and self._lost(segment, expected, until, hole):
            self._stop(segment, hole, expected, until, end)
        elif until == self.until:
            self.finished = True
        return None

    def _wanted(self, frame: Frame) -> bool:
        return frame.partition == self.partition and self.offset < frame.next_offset and frame.base_offset < self.until

    def _lost(self, segment: Segment, expected: int, found: int, hole: Piece | None) -> bool:
        """Whether offsets that this read wants, from `expected` to `found`, are missing for no good reason."""
        return found > max(expected, self.offset) and (hole is not None or not segment.header.compacted)

    def _decode(self, segment: Segment, frame: Frame, data: bytes) -> None:
        try:
            batch = decode_records(data, segment.header.topic, self.partition, check=False)
        except CorruptData as error:
            raise corrupt(segment, frame.position, self.partition, frame.base_offset, frame.next_offset) from error
        batch = batch.since(self.offset)
        self.batches.append(batch)
        self.room -= frame.size

    def _stop(self, segment: Segment, piece: Piece | None, first: int, next_: int, end: int = 0) -> None:
        """Damage: what precedes it is served now, the damage is raised by the read that begins with it."""
        self.finished = True
        if not self.batches:
            position = end if piece is None else piece.position
            raise corrupt(segment, position, self.partition, max(first, self.offset), next_)


def corrupt(segment: Segment, position: int, partition: int, first: int, next_: int) -> CorruptData:
    """The error for a damaged place; `next_offset` is where to read on."""
    return CorruptData(
        f"{segment.path} is damaged at byte {position}: offsets {first} to {next_ - 1} of "
        f"{segment.header.topic}/{partition} are lost",
        file=str(segment.path),
        position=position,
        topic=segment.header.topic,
        partition=partition,
        offset=first,
        next_offset=next_,
    )


def read_batches(extents: Sequence[Extent], partition: int, offset: int, until: int, max_bytes: int) -> list[Batch]:
    """Batches of a partition from `offset` up to `until`, about `max_bytes` of them.

    Raises CorruptData when what stands at `offset` is damaged; OSError.
    """
    reading = _Reading(partition, offset, until, max_bytes)
    for extent in extents:
        try:
            reading.segment(extent)
        except CorruptData:
            if reading.batches:
                break
            raise
        if reading.finished:
            break
    if not reading.batches and until > offset:
        # All of it was compacted away: an empty batch moves the reader on.
        return [Batch(extents[0].segment.header.topic, partition, offset, until, [], 0)]
    return reading.batches


def find_time(extents: Sequence[Extent], partition: int, timestamp_ms: int, until: int) -> int:
    """The offset of the first frame of the partition that is not older; `until` if there is none.

    Looks at frame headers only, so a damaged batch still counts by its time.
    """
    for extent in extents:
        segment = extent.segment
        end = extent.end if extent.end is not None else segment.loaded().end
        start = extent.start[0] if extent.start else segment.loaded().find_time(partition, timestamp_ms)
        for piece in walk(segment.pread, start, end, segment.header.salt, _nothing, 64 * 1024):
            frame = piece.frame
            if frame is not None and frame.partition == partition and frame.timestamp_ms >= timestamp_ms:
                segment_until = segment.until_of(partition)
                if segment_until is None or frame.base_offset < segment_until:
                    return min(frame.base_offset, until)
    return until


def _nothing(_: Frame) -> bool:
    return False
