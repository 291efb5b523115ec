"""Walking a segment file frame by frame, over damage too. Pure: bytes come from a function.

A place that is no frame is damage up to the next place that is one. Whether damage at the very
end is a torn write or lost data is the caller's to know: only it knows how far the file was
once complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from gateway.bus.embedded.frame import FRAME_HEADER, MAGIC, Frame, batch_holds, read_header

Read = Callable[[int, int], bytes]
"""(position, size) -> the bytes there, fewer at the end of the file."""

CHUNK = 256 * 1024
_SEARCH_CHUNK = 1024 * 1024


class Piece(msgspec.Struct, frozen=True, gc=False):
    """What stands from `position` to `end`.

    `frame` is None where no header holds. `batch` is None where it was not asked for or
    is damaged.
    """

    position: int
    end: int
    frame: Frame | None
    batch: bytes | None
    damaged: bool


class _Window:
    """The part of the file that was read last."""

    def __init__(self, read: Read, end: int, chunk: int) -> None:
        self._read, self._end, self._chunk = read, end, chunk
        self._buffer = b""
        self._base = 0

    def take(self, position: int, size: int) -> bytes:
        at = position - self._base
        if at < 0 or at + size > len(self._buffer):
            self._buffer = self._read(position, min(max(size, self._chunk), self._end - position))
            self._base, at = position, 0
        return self._buffer[at : at + size]


def walk(
    read: Read,
    start: int,
    end: int,
    salt: int,
    wanted: Callable[[Frame], bool] | None = None,
    chunk: int = CHUNK,
) -> Iterator[Piece]:
    """The pieces from `start` to `end`, in order and without a gap.

    Only batches of frames that are `wanted` (default: all) are read and checked.
    """
    window = _Window(read, end, chunk)
    position = start
    while position < end:
        frame = read_header(window.take(position, min(FRAME_HEADER, end - position)), salt, position)
        if frame is None or frame.end > end:
            after = find_frame(read, position + 1, end, salt)
            yield Piece(position, after, None, None, True)
            position = after
            continue
        if wanted is None or wanted(frame):
            batch = window.take(frame.batch_at, frame.size)
            holds = batch_holds(frame, batch)
            yield Piece(position, frame.end, frame, batch if holds else None, not holds)
        else:
            yield Piece(position, frame.end, frame, None, False)
        position = frame.end


def find_frame(read: Read, start: int, end: int, salt: int) -> int:
    """Where the next frame header that holds begins, searching byte by byte; `end` if nowhere."""
    position = start
    while end - position >= FRAME_HEADER:
        block = read(position, min(_SEARCH_CHUNK, end - position))
        if len(block) < FRAME_HEADER:
            return end
        at = block.find(MAGIC)
        while 0 <= at <= len(block) - FRAME_HEADER:
            frame = read_header(block[at : at + FRAME_HEADER], salt, position + at)
            if frame is not None and frame.end <= end:
                return position + at
            at = block.find(MAGIC, at + 1)
        position += len(block) - FRAME_HEADER + 1
    return end


def zeros(read: Read, start: int, end: int) -> bool:
    """Whether there is nothing but zeros from `start` to `end`: space that was only preallocated."""
    while start < end:
        block = read(start, min(_SEARCH_CHUNK, end - start))
        if not block:
            return True
        if block.count(0) != len(block):
            return False
        start += len(block)
    return True
