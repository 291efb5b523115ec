"""Opening a topic's folder after any kind of end: an orderly close, `kill -9`, a power cut.

What was acknowledged is there, since it was synced; what is found beyond it may be a write that
was under way. The last segment is read from where it was last known to be complete; an
unreadable rest that no good frame follows is a torn write and is cut. Everything before the
last segment was complete when its successor was made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import structlog

from gateway.bus.embedded.folder import UNFINISHED, sync_folder
from gateway.bus.embedded.frame import Frame
from gateway.bus.embedded.header import FORMAT, SegmentHeader, decode_header, encode_header
from gateway.bus.embedded.index import SegmentIndex, decode_index
from gateway.bus.embedded.scan import Read, zeros
from gateway.bus.embedded.segment import INDEX_SUFFIX, LOG_SUFFIX, Segment, build_index, segment_name
from gateway.bus.embedded.settings import FILE, TopicFile, load_topic, store_topic
from gateway.bus.embedded.topic_writer import TopicWriter
from gateway.errors import CorruptData

log = structlog.get_logger("linkspan.log")


class Opened(msgspec.Struct):
    """A topic as found: closed segments, the active one last, and its writer."""

    topic: TopicFile
    segments: list[Segment]
    writer: TopicWriter
    next: list[int]


def create_topic_files(folder: Path, topic: TopicFile) -> None:
    """Fill a new topic's folder: its settings and an empty first segment, durable."""
    folder.mkdir()
    store_topic(folder, topic)
    salt = int.from_bytes(os.urandom(4), "big")
    created = time.time_ns() // 1_000_000
    header = SegmentHeader(FORMAT, topic.name, topic.epoch, 1, salt, [0] * topic.partitions, created)
    fd = os.open(folder / segment_name(1), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        os.write(fd, encode_header(header))
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_folder(folder)


def open_topic(folder: Path) -> Opened:
    """Open and mend a topic. Raises CorruptData when its settings or a segment's header are lost, OSError."""
    topic, damaged = load_topic(folder)
    if damaged is not None:
        log.error("damaged settings, the second copy is used", file=str(folder / FILE), position=damaged)
        _mended(str(folder / FILE), lambda: store_topic(folder, topic))
    _remove_leftovers(folder)
    segments = _headers(folder)
    if not segments:
        raise CorruptData(f"topic {folder.name!r} has no segment left in {folder}", file=str(folder), position=0)
    for segment, successor in pairwise(segments):
        segment.until = successor.header.base
        segment.newest_ms = successor.header.previous_newest_ms
        segment.bytes = segment.path.stat().st_size
    return _open_active(folder, topic, segments)


def _remove_leftovers(folder: Path) -> None:
    """Files of a write, a compaction or a removal that did not come to its end."""
    names = {entry.name for entry in folder.iterdir()}
    for name in sorted(names):
        orphan = name.endswith(INDEX_SUFFIX) and name[: -len(INDEX_SUFFIX)] + LOG_SUFFIX not in names
        if orphan or name.endswith(UNFINISHED):
            (folder / name).unlink()


def _headers(folder: Path) -> list[Segment]:
    paths = sorted(path for path in folder.iterdir() if path.suffix == LOG_SUFFIX)
    segments: list[Segment] = []
    for path in paths:
        # The header is synced before anything else is written: a last segment without one that is
        # no longer than a header was never used.
        unused = segments[-1].header.data_start if segments and path is paths[-1] else 0
        header = _header(path, unused)
        if header is not None:
            segments.append(Segment(path, header))
    return segments


def _header(path: Path, unused: int) -> SegmentHeader | None:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        read = reader(fd)
        header, damaged = decode_header(read)
        if header is None:
            size = os.fstat(fd).st_size
            if unused and (size <= unused or zeros(read, 0, size)):
                log.warning("new segment was never finished, removed", file=str(path))
                path.unlink()
                sync_folder(path.parent)
                return None
            raise CorruptData(f"both copies of the header of {path} are damaged", file=str(path), position=0)
        if damaged is not None:
            log.error("damaged segment header, the second copy is used", file=str(path), position=damaged)
            block = encode_header(header)

            def mend() -> None:
                os.pwrite(fd, block, 0)
                os.fsync(fd)

            _mended(str(path), mend)
        return header
    finally:
        os.close(fd)


def _mended(file: str, mend: Callable[[], object]) -> None:
    """Write a damaged copy anew. That it cannot be (a full disk) keeps nobody from reading the other."""
    try:
        mend()
    except OSError as error:
        log.warning("damage could not be mended", file=file, reason=str(error))


def _open_active(folder: Path, topic: TopicFile, segments: list[Segment]) -> Opened:
    active = segments[-1]
    fd = os.open(active.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        index = _recover(fd, active)
        os.ftruncate(fd, index.end)
        # What a killed process left in the page cache is served from now on: so it must be durable.
        os.fsync(fd)
    except BaseException:
        os.close(fd)
        raise
    partitions = max(topic.partitions, len(index.next))
    index.next.extend([0] * (partitions - len(index.next)))
    if partitions != topic.partitions:
        topic = msgspec.structs.replace(topic, partitions=partitions)
    active.index, active.newest_ms, active.bytes = index, index.newest_ms, index.end
    writer = TopicWriter(folder, active.header, fd, index.end, list(index.next), index.newest_ms)
    return Opened(topic, segments, writer, list(index.next))


def _recover(fd: int, active: Segment) -> SegmentIndex:
    """The active segment's index, up to its last good frame or to where it was known to be complete."""
    read, size = reader(fd), os.fstat(fd).st_size
    index, damage, rest = build_index(read, active.header, size, index=stored_checkpoint(active))
    for piece in damage:
        log.error("damaged batch", file=str(active.path), position=piece.position, **where(piece.frame))
    if size < index.end:
        log.error("segment is cut short", file=str(active.path), position=size, end=index.end)
    if rest and not zeros(read, index.end, size):
        log.warning("torn write cut from the end", file=str(active.path), position=index.end, bytes=size - index.end)
    return index


def stored_checkpoint(segment: Segment) -> SegmentIndex | None:
    """The index file of a segment, if it holds: below its `end` the segment was complete."""
    path = segment.path.with_suffix(INDEX_SUFFIX)
    try:
        return decode_index(path.read_bytes(), segment.header.salt)
    except FileNotFoundError:
        return None


def where(frame: Frame | None) -> dict[str, int]:
    """What a frame's header says of damage, for logs and findings."""
    if frame is None:
        return {}
    return {"partition": frame.partition, "offset": frame.base_offset, "next_offset": frame.next_offset}


def reader(fd: int) -> Read:
    """Reading from an open file by place."""

    def read(position: int, size: int) -> bytes:
        return os.pread(fd, size, position)

    return read
