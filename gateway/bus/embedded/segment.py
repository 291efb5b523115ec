"""A segment as readers see it: an immutable header, an index, a file that is opened when needed.

All fields are changed on the loop's thread only. Worker threads read through a segment that
was acquired for them: its file stays open meanwhile, even if retention unlinks it or
compaction puts another in its place.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from operator import ge
from pathlib import Path

import structlog

from gateway.bus.embedded.folder import write_file
from gateway.bus.embedded.header import SegmentHeader
from gateway.bus.embedded.index import SegmentIndex, decode_index
from gateway.bus.embedded.scan import Piece, Read, walk

log = structlog.get_logger("linkspan.log")

LOG_SUFFIX = ".log"
INDEX_SUFFIX = ".idx"
#: Files of closed segments that are kept open, with their indexes in memory.
KEPT_OPEN = 128


def segment_name(sequence: int) -> str:
    """Twenty digits: names sort as the segments follow one another."""
    return f"{sequence:020d}{LOG_SUFFIX}"


class Segment:
    """`until` holds each partition's first offset in the next segment; None while it is active.

    `index` is always there in the active segment, and loaded on demand in closed ones.
    `newest_ms` is the newest timestamp in it, `bytes` what it takes on disk, roughly.
    """

    def __init__(self, path: Path, header: SegmentHeader, index: SegmentIndex | None = None) -> None:
        self.path = path
        self.header = header
        self.index = index
        self.until: Sequence[int] | None = None
        self.newest_ms = -1
        self.bytes = header.data_start
        self.fd = -1
        self.users = 0
        self.retired = False

    @property
    def data_bytes(self) -> int:
        """What it takes beside its header."""
        return self.bytes - self.header.data_start

    def pread(self, position: int, size: int) -> bytes:
        """The bytes there; fewer only at the end of the file."""
        return os.pread(self.fd, size, position)

    def until_of(self, partition: int) -> int | None:
        """Frames of the partition from this offset on belong to the next segment."""
        if self.until is None:
            return None
        return self.until[partition] if partition < len(self.until) else 0

    def loaded(self) -> SegmentIndex:
        """The index: from memory, from its file, or made anew by reading the segment.

        May read the whole segment: for worker threads.
        """
        if self.index is None:
            stored = self._stored_index()
            self.index = stored if stored is not None and self._complete(stored) else self._rebuilt_index(stored)
        return self.index

    def _complete(self, index: SegmentIndex) -> bool:
        """Whether an index file covers the segment, and is not from an earlier end of the log."""
        return self.header.compacted or all(map(ge, index.next, self.until or ()))

    def loaded_empty(self) -> None:
        """It is new: nothing to index yet."""
        self.index = SegmentIndex(self.header.data_start, self.header.base)

    def _stored_index(self) -> SegmentIndex | None:
        try:
            data = self.path.with_suffix(INDEX_SUFFIX).read_bytes()
        except FileNotFoundError:
            return None
        index = decode_index(data, self.header.salt)
        if index is None:
            log.warning("index does not hold, making it anew", file=str(self.path.with_suffix(INDEX_SUFFIX)))
        return index

    def _rebuilt_index(self, known: SegmentIndex | None) -> SegmentIndex:
        size = os.fstat(self.fd).st_size
        index, damage, _ = build_index(self.pread, self.header, size, self.until, known)
        for piece in damage:
            log.error("damaged batch", file=str(self.path), position=piece.position, end=piece.end)
        if not self.retired:
            store_index(self.path, self.header, index)
        return index


def store_index(path: Path, header: SegmentHeader, index: SegmentIndex) -> None:
    """Write the index file beside a segment. A failure is logged: it can always be made anew."""
    try:
        write_file(path.with_suffix(INDEX_SUFFIX), index.encode(header.salt))
    except OSError as error:
        log.warning("index not written", file=str(path), reason=str(error))


def build_index(
    read: Read,
    header: SegmentHeader,
    size: int,
    until: Sequence[int] | None = None,
    index: SegmentIndex | None = None,
) -> tuple[SegmentIndex, list[Piece], list[Piece]]:
    """Index a segment by reading it, continuing after what `index` already covers.

    Returns the index, the damage that good frames follow, and the unreadable rest.
    """
    index = index or SegmentIndex(header.data_start, header.base)
    damage: list[Piece] = []
    rest: list[Piece] = []
    for piece in walk(read, index.end, size, header.salt):
        frame = piece.frame
        if frame is None or piece.damaged:
            rest.append(piece)
            continue
        if until is not None and (frame.partition >= len(until) or frame.base_offset >= until[frame.partition]):
            break  # left behind by a failed write, or merged but not yet in force
        damage += rest
        rest = []
        index.add_frame(frame)
    return index, damage, rest


class OpenFiles:
    """Opens segments for readers, and keeps a bounded number of idle ones open."""

    def __init__(self, kept: int = KEPT_OPEN) -> None:
        self._kept = kept
        self._idle: OrderedDict[int, Segment] = OrderedDict()

    def acquire(self, segment: Segment) -> Segment:
        """Open it if need be, until `release`. Raises OSError."""
        if segment.fd < 0:
            segment.fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        segment.users += 1
        self._idle.pop(id(segment), None)
        return segment

    def release(self, segment: Segment) -> None:
        segment.users -= 1
        if segment.users:
            return
        if segment.retired:
            self._close(segment)
            return
        self._idle[id(segment)] = segment
        while len(self._idle) > self._kept:
            self._close(self._idle.popitem(last=False)[1])

    def retire(self, segment: Segment) -> None:
        """It is no longer part of its topic: close it once nobody reads it."""
        segment.retired = True
        self._idle.pop(id(segment), None)
        if not segment.users:
            self._close(segment)

    @staticmethod
    def _close(segment: Segment) -> None:
        if segment.fd >= 0:
            os.close(segment.fd)
            segment.fd = -1
        if segment.until is not None:
            segment.index = None
