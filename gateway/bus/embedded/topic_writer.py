"""Writing one topic's active segment, on the writer's thread.

After a failure nothing of the file beyond its durable end is trusted (a failed fdatasync may
have dropped the pages and will not say so again): it is truncated there, and where that cannot
be made certain the next append begins a new segment, whose header voids what may be left. Until
one of the two has worked, appends are refused.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from gateway.bus.embedded.folder import NO_ROOM, storage_error, sync_folder
from gateway.bus.embedded.frame import FRAME_HEADER, pack_header
from gateway.bus.embedded.header import FORMAT, SegmentHeader, encode_header
from gateway.bus.embedded.messages import Append, Committed, Failed, Outcome, Rolled
from gateway.bus.embedded.segment import segment_name
from gateway.errors import BusUnavailable, LinkspanError, OutcomeUnknown

log = structlog.get_logger("linkspan.log")

#: Preallocation grows with the segment, from the first of these to the second, in bytes.
ALLOCATE_FIRST = 1024 * 1024
ALLOCATE_MOST = 16 * 1024 * 1024
_BUFFERS = 1000  # below IOV_MAX


class TopicWriter:
    """The writer thread's view of a topic: the active file, and where the next byte goes.

    `position` is the durable end. `owner` is the loop's side, carried along untouched.
    """

    def __init__(
        self, folder: Path, header: SegmentHeader, fd: int, position: int, next_offsets: list[int], newest_ms: int
    ) -> None:
        self.owner: Any = None
        self.folder = folder
        self.header = header
        self.segment_bytes = 64 * 1024 * 1024
        self.failed_generation = -1
        self._fd = fd
        self._position = position
        self._allocated = position
        self._next = next_offsets
        self._newest_ms = newest_ms
        #: Why the active file cannot be appended to any more; the next append begins a new one.
        self._suspect: str | None = None
        #: A new segment could be neither finished nor removed; it must be finished first.
        self._half_made = False
        self._error: LinkspanError | None = None

    def grow(self, partitions: int) -> None:
        self._next.extend([0] * (partitions - len(self._next)))

    def commit(self, appends: list[Append], sync: bool) -> list[Outcome]:
        """Write and sync appends of one topic."""
        outcomes: list[Outcome] = []
        stale = [append for append in appends if append.generation <= self.failed_generation]
        if stale:
            outcomes.append(Failed(self, stale, self._error or BusUnavailable("an earlier append failed")))
            appends = [append for append in appends if append.generation > self.failed_generation]
        if not appends:
            return outcomes
        size = sum(append.size for append in appends)
        try:
            if self._must_roll(size):
                outcomes.append(self.roll())
            self._write(appends, size, sync)
            outcomes.append(Committed(self, appends))
        except OSError as error:
            self._error = storage_error(error, f"append to {self.header.topic!r}")
            self.failed_generation = appends[-1].generation
            outcomes.append(Failed(self, appends, self._secured(self._error)))
        return outcomes

    def _must_roll(self, size: int) -> bool:
        return bool(self._suspect) or self._half_made or (self.used and self._position + size > self.segment_bytes)

    def probe(self, size: int, outcomes: list[Outcome]) -> None:
        """Make ready for an append of this size. Raises OSError when it would fail."""
        if self._must_roll(size):
            outcomes.append(self.roll())
        self._reserve(self._position + size)
        self._settle()

    @property
    def used(self) -> bool:
        """Whether the active segment has any frame."""
        return self._position > self.header.data_start

    def distrust(self, reason: str) -> None:
        """The next append begins a new segment."""
        self._suspect = reason

    def _write(self, appends: list[Append], size: int, sync: bool) -> None:
        self._reserve(self._position + size)
        salt, position = self.header.salt, self._position
        buffers: list[bytes | bytearray] = []
        for append in appends:
            for out in append.batches:
                out.position = position
                body = out.body
                buffers.append(
                    pack_header(salt, len(body), out.partition, out.base_offset, out.next_offset, out.timestamp_ms)
                )
                buffers.append(body)
                position += FRAME_HEADER + len(body)
        try:
            _write_all(self._fd, buffers, self._position)
            if sync:
                os.fdatasync(self._fd)
        except OSError as error:
            self._suspect = error.strerror or "write failed"
            raise
        self._position = position
        for append in appends:
            for out in append.batches:
                self._next[out.partition] = out.next_offset
        self._newest_ms = max(self._newest_ms, appends[-1].batches[-1].timestamp_ms)

    def _reserve(self, end: int) -> None:
        """Preallocate up to `end` and some more, so that a commit changes no metadata."""
        if end <= self._allocated:
            return
        step = min(max(self._allocated, ALLOCATE_FIRST), ALLOCATE_MOST)
        ample = max(end, min(self._allocated + step, self.segment_bytes))
        for upto in (ample, end):
            try:
                os.posix_fallocate(self._fd, self._allocated, upto - self._allocated)
            except OSError as error:
                os.ftruncate(self._fd, self._allocated)  # gives back what was allocated in part
                if error.errno not in NO_ROOM or upto == end:
                    raise
            else:
                self._allocated = upto
                return

    def _secured(self, error: BusUnavailable) -> LinkspanError:
        """After a failure: make certain that what may have landed is gone, or say that it is unknown."""
        if self._suspect is None:
            return error
        try:
            os.ftruncate(self._fd, self._position)
            self._allocated = self._position
            os.fsync(self._fd)
        except OSError as second:
            self._suspect = second.strerror or "truncate failed"
            log.error("file is not trusted any more", file=self._path, reason=self._suspect)
            return OutcomeUnknown(f"{error.message}; it may still be found after a restart")
        if type(error) is not BusUnavailable:
            self._suspect = None  # no room is no doubt about the file
        return error

    @property
    def _path(self) -> str:
        return str(self.folder / segment_name(self.header.sequence))

    def roll(self) -> Rolled:
        """Begin a new segment. Raises OSError with the old one still in force, or `_suspect`."""
        sequence = self.header.sequence + 1
        header = SegmentHeader(
            FORMAT, self.header.topic, self.header.epoch, sequence, secrets.randbits(32), list(self._next),
            int(time.time() * 1000), self._newest_ms,
        )  # fmt: skip
        if self._suspect is None:
            self._settle()
        path = self.folder / segment_name(sequence)
        header, fd = self._begin(path, header)
        try:
            os.ftruncate(self._fd, self._position)
        except OSError as error:
            log.warning("closed segment keeps its spare room", file=self._path, reason=str(error))
        os.close(self._fd)
        self._fd, self.header = fd, header
        self._position = self._allocated = header.data_start
        self._newest_ms = -1
        self._suspect, self._half_made = None, False
        return Rolled(self, path, header)

    def _settle(self) -> None:
        """Sync what stands in the active segment, where appends are not synced one by one."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._suspect = error.strerror or "sync failed"
            raise

    def _begin(self, path: Path, header: SegmentHeader) -> tuple[SegmentHeader, int]:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            block = encode_header(header)
            _write_all(fd, [block], 0)
            os.fsync(fd)
            sync_folder(self.folder)
        except OSError:
            os.close(fd)
            # Were its header found after a crash, it would void what the old segment gets from
            # now on: until it is surely gone, nothing is appended there.
            self._half_made = True
            os.unlink(path)
            sync_folder(self.folder)
            self._half_made = False
            raise
        slot = len(block) // 2
        return msgspec.structs.replace(header, slot=slot), fd

    def close(self) -> None:
        """Let go of the file; spare room is given back. Raises OSError when even this fails."""
        if self._fd < 0:
            return
        try:
            if self._suspect is None:
                os.ftruncate(self._fd, self._position)
                os.fsync(self._fd)
        finally:
            os.close(self._fd)
            self._fd = -1


def _write_all(fd: int, buffers: Sequence[bytes | bytearray], position: int) -> None:
    """pwritev in as few calls as the system allows, however short a write comes out."""
    for first in range(0, len(buffers), _BUFFERS):
        group = buffers[first : first + _BUFFERS]
        size = sum(map(len, group))
        written = os.pwritev(fd, group, position)
        if written < size:
            rest = memoryview(b"".join(group))
            while written < size:
                written += os.pwrite(fd, rest[written:], position + written)
        position += size
