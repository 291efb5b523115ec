"""Walks every byte of a data folder and says what is damaged, with its place. Reads only.

It may run beside a gateway: what is being appended meanwhile looks like a torn end, which is
reported as such and is no damage (the next start cuts it, nothing of it was acknowledged).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Generator, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import msgspec

from gateway.bus.embedded.folder import TEMPORARY
from gateway.bus.embedded.frame import Frame
from gateway.bus.embedded.header import SegmentHeader, decode_header
from gateway.bus.embedded.index import decode_index
from gateway.bus.embedded.recovery import reader
from gateway.bus.embedded.scan import Read, walk, zeros
from gateway.bus.embedded.settings import FILE, decode_topic
from gateway.errors import LinkspanError

SEGMENTS = "*.log"
INDEX_SUFFIX = ".idx"


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something at `position` (bytes) of `file`. Everything but a torn end is damage."""

    file: str
    position: int
    kind: Literal["settings", "header", "batch", "unreadable", "short", "index", "torn"]
    message: str
    partition: int | None = None
    offset: int | None = None

    @property
    def damage(self) -> bool:
        return self.kind != "torn"


class Checked(msgspec.Struct, frozen=True):
    """A file was walked to its end: how many bytes, and batches that hold."""

    file: str
    bytes: int
    batches: int


def verify(folder: Path) -> Iterator[Finding | Checked]:
    """Everything found in a data folder, file by file; each file ends with a `Checked`."""
    root = folder / "topics"
    for topic in sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []:
        if topic.name.startswith(TEMPORARY):
            continue  # left by a creation or deletion that was cut off; the next start removes it
        try:
            yield from _topic(topic)
        except OSError as error:
            file = topic if error.filename is None else error.filename
            yield Finding(str(file), 0, "unreadable", f"cannot be read: {error.strerror or error}")


def _topic(topic: Path) -> Iterator[Finding | Checked]:
    yield from _settings(topic / FILE)
    segments = sorted(topic.glob(SEGMENTS))
    if not segments:
        yield Finding(str(topic), 0, "short", "the topic has no segment left")
    for segment, successor in zip_longest(segments, segments[1:]):
        yield from _segment(segment, successor)


def _settings(path: Path) -> Iterator[Finding | Checked]:
    data = path.read_bytes() if path.exists() else b""
    try:
        topic, damaged = decode_topic(data)
    except LinkspanError as error:
        yield Finding(str(path), 0, "settings", error.message)
    else:
        if topic is None:
            yield Finding(str(path), 0, "settings", "both copies of the topic's settings are damaged or missing")
        elif damaged is not None:
            yield Finding(
                str(path), damaged, "settings", "one copy of the topic's settings is damaged; the other holds"
            )
        elif topic.name != path.parent.name:
            yield Finding(
                str(path), 0, "settings", f"these are the settings of topic {topic.name!r}: a copy is no topic"
            )
    yield Checked(str(path), len(data), 0)


def _segment(path: Path, successor: Path | None) -> Iterator[Finding | Checked]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size, read = os.fstat(fd).st_size, reader(fd)
        header, damaged = decode_header(read)
        if header is None:
            yield Finding(str(path), 0, "header", "both copies of the segment's header are damaged: it cannot be read")
            yield Checked(str(path), size, 0)
            return
        if damaged is not None:
            yield Finding(str(path), damaged, "header", "one copy of the segment's header is damaged; the other holds")
        whole = _whole(path, header) if successor is None else size
        until = () if successor is None else _bases(successor)
        batches = yield from _batches(path, read, header, size, until, whole=whole)
        yield Checked(str(path), size, batches)
    finally:
        os.close(fd)
    yield from _index(path, header, size)


def _whole(segment: Path, header: SegmentHeader) -> int:
    """Up to where the segment was complete when the log was closed in good order; 0 when nothing says so."""
    path = segment.with_suffix(INDEX_SUFFIX)
    index = decode_index(path.read_bytes(), header.salt) if path.exists() else None
    return 0 if index is None else index.end


def _bases(successor: Path) -> Sequence[int]:
    """The offsets with which the segment after this one begins; none when its header cannot be read."""
    fd = os.open(successor, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header, _ = decode_header(reader(fd))
    finally:
        os.close(fd)
    return () if header is None else header.base


def _batches(
    path: Path, read: Read, header: SegmentHeader, size: int, until: Sequence[int], *, whole: int
) -> Generator[Finding, None, int]:
    good, damaged = 0, False
    rest: list[Finding] = []
    ends: dict[int, int] = {}
    for piece in walk(read, header.data_start, size, header.salt):
        if piece.frame is not None and not piece.damaged:
            yield from rest
            rest = []
            good += 1
            ends[piece.frame.partition] = piece.frame.next_offset
        elif piece.frame is None and piece.end == size and zeros(read, piece.position, size):
            continue  # preallocated, not written yet
        else:
            rest.append(_damage(path, piece.position, piece.end, piece.frame))
            damaged = True
    for finding in rest:
        if finding.position >= whole:
            # Only what good batches follow, or an index covers, is known to have been whole once.
            finding = msgspec.structs.replace(
                finding,
                kind="torn",
                message="the end is torn: a write that was never acknowledged, or damage of the last",
            )
        yield finding
    # Damage says so itself, and compaction may take the last events of a segment.
    if not damaged and not header.compacted:
        yield from _missing(path, header, size, ends, until)
    return good


def _missing(
    path: Path, header: SegmentHeader, size: int, ends: dict[int, int], until: Sequence[int]
) -> Iterator[Finding]:
    """Offsets that the successor says came before it, and that are not there: the end of this file, or a whole one."""
    for partition, next_ in enumerate(until):
        end = ends.get(partition, header.base_of(partition))
        if end < next_:
            message = f"offsets {end} to {next_ - 1} of partition {partition} are missing after this place"
            yield Finding(str(path), size, "short", message, partition, end)


def _damage(path: Path, position: int, end: int, frame: Frame | None) -> Finding:
    if frame is None:
        return Finding(str(path), position, "unreadable", f"{end - position} bytes hold no batch that can be read")
    message = f"the batch from offset {frame.base_offset} of partition {frame.partition} fails its checksum"
    return Finding(str(path), position, "batch", message, frame.partition, frame.base_offset)


def _index(segment: Path, header: SegmentHeader, size: int) -> Iterator[Finding | Checked]:
    path = segment.with_suffix(INDEX_SUFFIX)
    if not path.exists():
        return
    data = path.read_bytes()
    index = decode_index(data, header.salt)
    if index is None and _intact(data):
        pass  # of what compaction replaced, when the process was killed before the new one was written
    elif index is None:
        yield Finding(str(path), 0, "index", "the index is damaged; it is made anew from the segment when it is needed")
    elif index.end > size:
        yield Finding(str(segment), size, "short", f"the segment ends here but once had {index.end} bytes")
    yield Checked(str(path), len(data), 0)


def _intact(index: bytes) -> bool:
    return len(index) > 4 and zlib.crc32(index[:-4]) == int.from_bytes(index[-4:], "big")
