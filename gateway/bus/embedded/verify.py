"""Walks every byte of a data folder and says what is damaged, with its place. Reads only.

It may run beside a gateway: what is being appended meanwhile looks like a torn end, which is
reported as such and is no damage (the next start cuts it, nothing of it was acknowledged).
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Literal

import msgspec

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
        yield from _settings(topic / FILE)
        segments = sorted(topic.glob(SEGMENTS))
        for segment in segments:
            yield from _segment(segment, newest=segment is segments[-1])


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
    yield Checked(str(path), len(data), 0)


def _segment(path: Path, *, newest: bool) -> Iterator[Finding | Checked]:
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
        whole = _whole(path, header) if newest else size
        batches = yield from _batches(path, read, header, size, whole=whole)
        yield Checked(str(path), size, batches)
    finally:
        os.close(fd)
    yield from _index(path, header, size)


def _whole(segment: Path, header: SegmentHeader) -> int:
    """Up to where the segment was complete when the log was closed in good order; 0 when nothing says so."""
    path = segment.with_suffix(INDEX_SUFFIX)
    index = decode_index(path.read_bytes(), header.salt) if path.exists() else None
    return 0 if index is None else index.end


def _batches(path: Path, read: Read, header: SegmentHeader, size: int, *, whole: int) -> Generator[Finding, None, int]:
    good = 0
    rest: list[Finding] = []
    for piece in walk(read, header.data_start, size, header.salt):
        if piece.frame is not None and not piece.damaged:
            yield from rest
            rest = []
            good += 1
        elif piece.frame is None and piece.end == size and zeros(read, piece.position, size):
            continue  # preallocated, not written yet
        else:
            rest.append(_damage(path, piece.position, piece.end, piece.frame))
    for finding in rest:
        if finding.position >= whole:
            # Only what good batches follow, or an index covers, is known to have been whole once.
            finding = msgspec.structs.replace(
                finding,
                kind="torn",
                message="the end is torn: a write that was never acknowledged, or damage of the last",
            )
        yield finding
    return good


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
    if index is None:
        yield Finding(str(path), 0, "index", "the index is damaged; it is made anew from the segment when it is needed")
    elif index.end > size:
        yield Finding(str(segment), size, "short", f"the segment ends here but once had {index.end} bytes")
    yield Checked(str(path), len(data), 0)
