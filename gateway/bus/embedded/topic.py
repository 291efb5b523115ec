"""A topic on the loop's side: its offsets, its segments, what is queued and what is durable."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path

from gateway.bus.contract import Batch, Bounds, Position
from gateway.bus.embedded.frame import FRAME_HEADER
from gateway.bus.embedded.messages import Append, Outgoing, Rolled
from gateway.bus.embedded.reading import Extent
from gateway.bus.embedded.recent import RecentBatches
from gateway.bus.embedded.recovery import Opened
from gateway.bus.embedded.retention import segment_bytes
from gateway.bus.embedded.segment import Segment
from gateway.bus.embedded.settings import TopicFile
from gateway.bus.partitioner import Partitioner, check_keys
from gateway.bus.records import EVENT_OVERHEAD, decode_records, encode_records, encoded_size, set_base_offset
from gateway.columns import take
from gateway.errors import Fault, TooLarge, UnknownTopic
from gateway.event import Event

#: Events in one stored batch; longer calls are stored as several, in one commit.
BATCH_EVENTS = 2000
#: Segments that one read looks into.
_EXTENTS = 4


class Partition:
    """`next` is durable; `assigned` runs ahead of it by what is queued."""

    __slots__ = ("assigned", "next", "recent")

    def __init__(self, topic: str, number: int, next_: int) -> None:
        self.next = self.assigned = next_
        self.recent = RecentBatches(topic, number)


class TopicLog:
    """All on the loop's thread."""

    def __init__(self, folder: Path, opened: Opened, most_segment_bytes: int, max_event_bytes: int) -> None:
        self.folder = folder
        self.settings: TopicFile = opened.topic
        self.segments: list[Segment] = opened.segments
        self.writer = opened.writer
        self.writer.owner = self
        self.partitions = [Partition(self.name, number, next_) for number, next_ in enumerate(opened.next)]
        self.generation = 0
        #: Held by what changes the topic as a whole: settings, retention, compaction, deletion.
        self.lock = asyncio.Lock()
        self.deleted = False
        self._most_segment_bytes = most_segment_bytes
        self._max_event_bytes = max_event_bytes
        self.size_segments()

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def active(self) -> Segment:
        return self.segments[-1]

    @property
    def bytes(self) -> int:
        return sum(segment.bytes for segment in self.segments)

    def size_segments(self) -> None:
        """Settle how large segments grow, after the settings or the segments changed."""
        self.writer.segment_bytes = segment_bytes(self.settings, self._most_segment_bytes, self.segments[:-1])

    def partition(self, number: int) -> Partition:
        """Raises UnknownTopic for a partition that is not there."""
        if not 0 <= number < len(self.partitions):
            raise UnknownTopic(self.name, partition=number)
        return self.partitions[number]

    def first(self, number: int) -> int:
        """The first readable offset of a partition."""
        return self.segments[0].header.base_of(number)

    def bounds(self) -> list[Bounds]:
        return [Bounds(self.first(number), partition.next) for number, partition in enumerate(self.partitions)]

    def encode(self, events: Sequence[Event], partitioner: Partitioner, *, keep: bool = True) -> Append:
        """Encode one append call and assign its offsets. Raises TooLarge and InvalidEvent with
        nothing assigned.

        `keep` the events for a tail; else they are decoded again should one come meanwhile.
        """
        if self.settings.cleanup == "compact":
            check_keys(events, self.name)
        now = time.time_ns() // 1_000_000
        outgoing: list[Outgoing] = []
        for number, places in partitioner.split(events, len(self.partitions)).items():
            for at in range(0, len(places), BATCH_EVENTS):
                some = places[at : at + BATCH_EVENTS]
                part = take(events, some)
                body = encode_records(part, now, self.settings.compression)
                if len(body) > self._max_event_bytes or self.settings.compression != "none":
                    self._check_sizes(part, events)
                outgoing.append(Outgoing(number, 0, 0, now, body, part if keep else None, some))
        size = 0
        for out in outgoing:
            partition = self.partitions[out.partition]
            base = out.base_offset = partition.assigned
            partition.assigned = out.next_offset = base + len(out.places)
            set_base_offset(out.body, base)
            size += FRAME_HEADER + len(out.body)
        return Append(self.writer, self.generation, outgoing, size, None)

    def _check_sizes(self, part: Sequence[Event], events: Sequence[Event]) -> None:
        for event in part:
            size = encoded_size(event)
            if size > self._max_event_bytes:
                index = next(place for place, other in enumerate(events) if other is event)
                message = f"takes {size} bytes once encoded; {self.name} takes {self._max_event_bytes}"
                raise TooLarge(f"event {index} {message}", faults=(Fault(f"events[{index}]", message, index),))

    def committed(self, append: Append) -> Sequence[Position]:
        """Its batches are durable: they become visible. Returns where the events stand, in call order."""
        index = self.active.loaded()
        for out in append.batches:
            end = out.position + FRAME_HEADER + len(out.body)
            index.add(out.position, end, out.partition, out.base_offset, out.next_offset, out.timestamp_ms)
            self.partitions[out.partition].next = out.next_offset
        self.active.bytes, self.active.newest_ms = index.end, index.newest_ms
        if len(self.partitions) == 1:
            return list(zip(repeat(0), range(append.batches[0].base_offset, append.batches[-1].next_offset)))
        positions: list[Position] = [(0, 0)] * sum(len(out.places) for out in append.batches)
        for out in append.batches:
            for place, offset in zip(out.places, range(out.base_offset, out.next_offset), strict=True):
                positions[place] = (out.partition, offset)
        return positions

    def batch_of(self, out: Outgoing) -> Batch:
        """What a tail gets of a durable batch: the very events, which now know where they stand."""
        name, number, now = self.name, out.partition, out.timestamp_ms
        if out.events is None:
            return decode_records(out.body, name, number, check=False)
        for offset, event in enumerate(out.events, out.base_offset):
            event.topic, event.partition, event.offset, event.timestamp_ms = name, number, offset, now
        size = len(out.body) + EVENT_OVERHEAD * len(out.events)
        return Batch(name, number, out.base_offset, out.next_offset, list(out.events), size, now)

    def rolled(self, rolled: Rolled) -> Segment:
        """The active segment is closed, an empty one takes its place. Returns the closed one."""
        closed = self.active
        closed.until = rolled.header.base
        segment = Segment(rolled.path, rolled.header)
        segment.loaded_empty()
        self.segments.append(segment)
        self.size_segments()
        return closed

    def failed(self, generation: int) -> None:
        """Appends of this generation are lost: offsets go on after what is durable."""
        if generation == self.generation:
            self.generation += 1
            for partition in self.partitions:
                partition.assigned = partition.next

    def grow(self, settings: TopicFile) -> None:
        """Take new settings; new partitions begin at 0."""
        self.settings = settings
        numbers = range(len(self.partitions), settings.partitions)
        self.partitions.extend(Partition(self.name, number, 0) for number in numbers)
        self.size_segments()

    def extents(self, number: int, offset: int) -> list[Extent]:
        """The next few segments that can hold events of the partition from `offset` on."""
        at = bisect_right(self.segments, offset, key=lambda segment: segment.header.base_of(number)) - 1
        found: list[Extent] = []
        for segment in self.segments[max(0, at) :]:
            until = segment.until_of(number)
            if until is None:
                index = segment.loaded()
                found.append(Extent(segment, index.end, index.find(number, offset)))
            elif until > offset and until > segment.header.base_of(number):
                found.append(Extent(segment))
            if len(found) == _EXTENTS:
                break
        return found

    def extents_for_time(self, number: int, timestamp_ms: int) -> list[Extent]:
        """The segments to look into for a time, the first of them being the first that can have it."""
        for place, segment in enumerate(self.segments):
            if segment.newest_ms >= timestamp_ms:
                return [self._timed(later, number, timestamp_ms) for later in self.segments[place:]]
        return []

    @staticmethod
    def _timed(segment: Segment, number: int, timestamp_ms: int) -> Extent:
        if segment.until is not None:
            return Extent(segment)
        index = segment.loaded()
        return Extent(segment, index.end, (index.find_time(number, timestamp_ms), None))
