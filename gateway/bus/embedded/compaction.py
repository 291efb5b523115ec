"""Compaction: closed segments are rewritten with the latest value of each key. In a worker thread.

Offsets stay; what is left out leaves holes. Tombstones (events without data) stay for a while,
so that readers see them. Events without a key stay for good. Segments are replaced in their
order and each replacement is durable before the next: a crash half way leaves a tombstone in
place until every older value of its key is gone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from gateway.bus.contract import Batch, Compression
from gateway.bus.embedded.folder import sync_folder
from gateway.bus.embedded.frame import FRAME_HEADER, Frame, pack_header
from gateway.bus.embedded.header import SegmentHeader, encode_header
from gateway.bus.embedded.index import SegmentIndex
from gateway.bus.embedded.scan import walk
from gateway.bus.embedded.segment import INDEX_SUFFIX, Segment, store_index
from gateway.bus.records import decode_records, encode_kept
from gateway.errors import CorruptData
from gateway.event import Event

log = structlog.get_logger("linkspan.log")

Latest = dict[int, dict[bytes, int]]
"""Partition -> key -> offset of its latest event."""


class Replaced(msgspec.Struct):
    """`old` segments are now one file with this header and index, in the place of the first."""

    old: list[Segment]
    path: Path
    header: SegmentHeader
    index: SegmentIndex


def is_due(closed: Sequence[Segment]) -> bool:
    """Whether as much was written since the last compaction as it left."""
    dirty = sum(segment.bytes for segment in closed if not segment.header.compacted)
    clean = sum(segment.bytes for segment in closed if segment.header.compacted)
    return dirty > 0 and dirty >= clean


def compact(
    closed: Sequence[Segment],
    compression: Compression,
    drop_tombstones_before_ms: int,
    segment_bytes: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Replaced]:
    """Rewrite closed, acquired segments in order; small neighbours become one.

    A segment with damage is left as it is. Raises OSError; what was yielded until then holds.
    """
    latest: Latest = {}
    sound = [_collect(segment, latest) for segment in closed]
    group: list[Segment] = []
    for segment, readable in zip(closed, sound, strict=True):
        if group and (not readable or sum(member.bytes for member in group) + segment.bytes > segment_bytes):
            yield _rewrite(group, latest, compression, drop_tombstones_before_ms)
            group = []
        if stopped():
            return
        if readable:
            group.append(segment)
    if group:
        yield _rewrite(group, latest, compression, drop_tombstones_before_ms)


def _collect(segment: Segment, latest: Latest) -> bool:
    """Note the latest offset of each key; False when something cannot be read."""
    try:
        for frame, batch in _batches(segment):
            keys = latest.setdefault(frame.partition, {})
            for event in batch.events:
                if event.key is not None:
                    keys[event.key] = event.offset
    except CorruptData as error:
        log.error("damaged segment is not compacted", file=str(segment.path), reason=error.message)
        return False
    return True


def _batches(segment: Segment) -> Iterator[tuple[Frame, Batch]]:
    header = segment.header
    for piece in walk(segment.pread, header.data_start, segment.loaded().end, header.salt):
        frame = piece.frame
        if frame is None or piece.batch is None:
            raise CorruptData(f"damaged at byte {piece.position}", file=str(segment.path), position=piece.position)
        until = segment.until_of(frame.partition)
        if until is not None and frame.base_offset >= until:
            return
        yield frame, decode_records(piece.batch, header.topic, frame.partition, check=False)


def _rewrite(group: list[Segment], latest: Latest, compression: Compression, tombstones_before: int) -> Replaced:
    """Write the group's file, put it in the place of the first and remove the others, durably."""
    first = group[0]
    header = msgspec.structs.replace(first.header, salt=int.from_bytes(os.urandom(4), "big"), compacted=True)
    fresh = first.path.with_name(first.path.name + ".new")
    try:
        index = _write(fresh, header, group, latest, compression, tombstones_before)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    os.rename(fresh, first.path)
    sync_folder(first.path.parent)
    store_index(first.path, header, index)
    for other in group[1:]:
        remove_segment(other.path)
    return Replaced(group, first.path, header, index)


def _write(
    path: Path, header: SegmentHeader, group: list[Segment], latest: Latest, compression: Compression, tombstones: int
) -> SegmentIndex:
    index = SegmentIndex(header.data_start, header.base)
    with open(path, "wb") as file:
        file.write(encode_header(header))
        for segment in group:
            for frame, batch in _batches(segment):
                keys = latest.get(frame.partition, {})
                kept = [event for event in batch.events if _stays(event, keys, tombstones)]
                if not kept:
                    continue
                base, next_ = kept[0].offset, kept[-1].offset + 1
                body = encode_kept(kept, compression)
                position, newest = index.end, kept[-1].timestamp_ms
                file.write(pack_header(header.salt, len(body), frame.partition, base, next_, newest))
                file.write(body)
                index.add(position, position + FRAME_HEADER + len(body), frame.partition, base, next_, newest)
        file.flush()
        os.fsync(file.fileno())
    return index


def _stays(event: Event, keys: dict[bytes, int], tombstones_before: int) -> bool:
    if event.key is None:
        return True
    latest = keys.get(event.key) == event.offset
    return latest and (event.value is not None or event.timestamp_ms >= tombstones_before)


def remove_segment(path: Path) -> None:
    """Unlink a segment and its index; durable, so that a younger one never goes before it."""
    path.unlink()
    sync_folder(path.parent)
    path.with_suffix(INDEX_SUFFIX).unlink(missing_ok=True)
