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
from typing import BinaryIO

import msgspec
import structlog

from gateway.bus.contract import Batch, Compression
from gateway.bus.embedded.folder import UNFINISHED, sync_folder
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
    dirty = sum(segment.data_bytes for segment in closed if not segment.header.compacted)
    clean = sum(segment.data_bytes for segment in closed if segment.header.compacted)
    return dirty > 0 and dirty >= clean


def compact(
    closed: Sequence[Segment],
    compression: Compression,
    drop_tombstones_before_ms: int,
    segment_bytes: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Replaced]:
    """Rewrite closed, acquired segments in order; those of which little stays become one.

    `segment_bytes` is how large segments of the topic are. A segment with damage is left
    as it is. Raises OSError; what was yielded until then holds.
    """
    latest: Latest = {}
    sound = [_collect(segment, latest) for segment in closed]
    at = 0
    while at < len(closed) and not stopped():
        end = at
        while end < len(closed) and sound[end]:
            end += 1
        if end > at:
            replaced = _rewrite(closed[at:end], latest, compression, drop_tombstones_before_ms, segment_bytes // 2)
            at += len(replaced.old)
            yield replaced
        else:
            at += 1


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


def _rewrite(
    run: Sequence[Segment], latest: Latest, compression: Compression, tombstones_before: int, ample: int
) -> Replaced:
    """Write what stays of the first segments of a run into one file until it has `ample` bytes.

    It takes the place of the first, the others that went into it are removed, all durably.
    """
    first = run[0]
    header = msgspec.structs.replace(first.header, salt=int.from_bytes(os.urandom(4), "big"), compacted=True)
    fresh = first.path.with_name(first.path.name + UNFINISHED)
    index, taken = SegmentIndex(header.data_start, header.base), 0
    try:
        with open(fresh, "wb") as file:
            file.write(encode_header(header))
            while taken < len(run) and (taken == 0 or index.end < ample):
                _write(file, run[taken], index, header.salt, latest, compression, tombstones_before)
                taken += 1
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    os.rename(fresh, first.path)
    sync_folder(first.path.parent)
    store_index(first.path, header, index)
    for other in run[1:taken]:
        remove_segment(other.path)
    return Replaced(list(run[:taken]), first.path, header, index)


def _write(
    file: BinaryIO,
    segment: Segment,
    index: SegmentIndex,
    salt: int,
    latest: Latest,
    compression: Compression,
    tombstones_before: int,
) -> None:
    for frame, batch in _batches(segment):
        keys = latest.get(frame.partition, {})
        kept = [event for event in batch.events if _stays(event, keys, tombstones_before)]
        if kept:
            base, next_, newest = kept[0].offset, kept[-1].offset + 1, kept[-1].timestamp_ms
            body = encode_kept(kept, compression)
            file.write(pack_header(salt, len(body), frame.partition, base, next_, newest))
            file.write(body)
            end = index.end + FRAME_HEADER + len(body)
            index.add(index.end, end, frame.partition, base, next_, newest)


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
