"""What a stream took up and its consumer has not had yet, and the cursors of what it has had.

Entries are delivered in the order in which they came: blocks of the tail or what one read of the
log brought, with topics that come and go between them. Gaps come before the events of their
delivery. A page ends at a number of events, or of bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from gateway.bus.contract import Batch
from gateway.delivery.cursor import BlockCursors, JoinedCursors
from gateway.delivery.follow import Block
from gateway.delivery.handover import Gap, GapReason, Lane
from gateway.delivery.outcome import Delivery, ReadStats, Slice, joined
from gateway.delivery.tail import TailHub
from gateway.delivery.writer import CursorWriter
from gateway.event import Event

#: The most events of one delivery at the live edge, but for those of its last batch.
MAX_EVENTS = 8_000


class Part(msgspec.Struct, eq=False, gc=False):
    """Wanted events of one lane. `end` and `newest_ms`: where the lane stands after them, and
    an append time that nothing before is newer than. `shared`: the list is not its own."""

    topic: str
    partition: int
    events: list[Event]
    end: int
    newest_ms: int
    block: Block | None = None
    shared: bool = True


class Gone(msgspec.Struct, eq=False):
    topic: str
    lanes: list[Lane]
    reason: GapReason


class Came(msgspec.Struct, eq=False):
    topic: str
    epoch: str
    partitions: int


class Outbox:
    """See the module. `limit` events and `room` bytes of them are delivered at most, but one
    event in any case; `room` makes it a page's, whose deliveries have no cursors.
    """

    def __init__(
        self,
        hub: TailHub,
        stats: ReadStats,
        writer: CursorWriter,
        *,
        buffer_bytes: int,
        limit: int | None = None,
        room: int | None = None,
    ) -> None:
        self._hub, self._stats, self.writer, self._buffer = hub, stats, writer, buffer_bytes
        self._limit, self._room, self._paged = limit, room, room is not None
        self._entries: deque[Part | Gone | Came] = deque()
        self._queued = 0
        # Where lanes stand after events that nobody wants, while others are still queued.
        self._passed: dict[tuple[str, int], tuple[int, int]] = {}
        self.gaps: list[Gap] = []
        self._some = False
        #: Nothing more is to be delivered: the limit was reached, or the room is taken.
        self.full = False

    @property
    def oldest(self) -> int:
        """The number of the oldest block of the tail that waits; -1 without any."""
        for entry in self._entries:
            if isinstance(entry, Part) and entry.block is not None:
                return entry.block.number
        return -1

    @property
    def waiting(self) -> int:
        """The weight of what waits, in bytes; 0 for nothing at all."""
        return (self._queued + 1) if self._entries or self.gaps else 0

    @property
    def over(self) -> bool:
        """Whether more waits than it should. A block that is larger waits alone."""
        return self._queued > self._buffer and len(self._entries) > 1

    @property
    def settled_ms(self) -> int | None:
        """The append time of the oldest part that waits; None when none does."""
        first = self._entries[0] if self._entries else None
        return first.newest_ms if isinstance(first, Part) else None

    def put(self, batch: Batch, events: list[Event], block: Block | None = None) -> bool:
        """Queue wanted events; without any the lane just moves on, once those before did."""
        topic, partition = batch.topic, batch.partition
        if events:
            self._entries.append(Part(topic, partition, events, batch.next_offset, batch.timestamp_ms, block))
            if block is not None:
                self._queued += block.size
                self._hub.hold(block)
            return True
        if self._entries:
            _, newest = self._passed.get((topic, partition), (0, 0))
            self._passed[topic, partition] = batch.next_offset, max(newest, batch.timestamp_ms)
        else:
            self.writer.move(topic, partition, batch.next_offset, batch.timestamp_ms)
        return False

    def change(self, change: Gone | Came) -> None:
        """Events that were taken up before a topic went are delivered before it goes."""
        if self._entries:
            self._entries.append(change)
        else:
            self._apply(change)

    def announce(self, gap: Gap) -> None:
        """A gap, before what is queued next. One that goes on where the last one ended is the same."""
        self.gaps = joined([*self.gaps, gap])

    def empty(self) -> None:
        """Drop the events that are queued, not the changes between them."""
        entries, self._entries = self._entries, deque()
        self._queued = 0
        self._passed.clear()
        for entry in entries:
            if not isinstance(entry, Part):
                self._apply(entry)
            elif entry.block is not None:
                self._hub.release(entry.block)

    def take(self, now_ms: int, most: int) -> Delivery | None:
        """What waits, as one delivery: about `most` bytes, and all of what a read brought. None
        when there is nothing."""
        parts: list[Part] = []
        count = size = 0
        while self._entries and count < MAX_EVENTS and size < most:
            entry = self._entries[0]
            if not isinstance(entry, Part):
                if parts:
                    break
                self._apply(entry)
            else:
                parts.append(entry)
                if entry.block is not None:
                    count += len(entry.events)
                    size += entry.block.size
                    self._hub.release(entry.block)
            self._entries.popleft()
        self._queued -= size
        return self._deliver(parts, now_ms) if parts or self.gaps else None

    # Inside

    def _deliver(self, parts: list[Part], now_ms: int) -> Delivery:
        if self._limit is not None or self._room is not None:
            parts = self._within(parts)
        parts = _merged(parts)
        for gap in filter(within_log, self.gaps):
            self.writer.seek(gap.topic, gap.partition, gap.to_offset, now_ms)
        cursors = [self._pass(part) for part in parts]
        if not self._entries:
            for (topic, partition), (offset, newest) in self._passed.items():
                self.writer.move(topic, partition, offset, newest)
            self._passed.clear()
        gaps, self.gaps = self.gaps, []
        events = parts[0].events if len(parts) == 1 else [event for part in parts for event in part.events]
        self._stats.events += len(events)
        self._stats.deliveries += 1
        self._stats.gaps += len(gaps)
        slices = [Slice(part.topic, part.events, own, part.newest_ms) for part, own in zip(parts, cursors, strict=True)]
        return Delivery(events, _one(cursors), "", gaps, slices)

    def _pass(self, part: Part) -> Sequence[str]:
        topic, partition, end, newest = part.topic, part.partition, part.end, part.newest_ms
        cursors = () if self._paged else self.writer.block(topic, partition, part.events, end, newest)
        self.writer.move(topic, partition, end, newest)
        return cursors

    def _within(self, parts: list[Part]) -> list[Part]:
        """Cut to what is left of the limit and of the room; with nothing left it is full."""
        kept: list[Part] = []
        for part in parts:
            count = self._fitting(part.events)
            if count == len(part.events):
                kept.append(part)
            elif count:
                events = part.events[:count]
                kept.append(Part(part.topic, part.partition, events, events[-1].offset + 1, part.newest_ms))
            if self._limit is not None:
                self._limit -= count
            self.full = count < len(part.events) or self._limit == 0
            if self.full:
                break
        return kept

    def _fitting(self, events: list[Event]) -> int:
        """How many of the events there is room for."""
        count = len(events) if self._limit is None else min(len(events), self._limit)
        if self._room is None:
            return count
        for at in range(count):
            size = size_of(events[at])
            if size > self._room and self._some:
                return at
            self._room -= size
            self._some = True
        return count

    def _apply(self, change: Gone | Came) -> None:
        topic = change.topic
        if isinstance(change, Came):
            for _ in range(change.partitions):
                self.writer.add(topic, change.epoch, 0)
            return
        for lane in change.lanes:
            delivered = self.writer.offset(topic, lane.partition)
            self._passed.pop((topic, lane.partition), None)
            if change.reason == "recreated":
                self.gaps.append(Gap(topic, lane.partition, delivered, 0, "recreated"))
            elif delivered < lane.tail:
                self.gaps.append(Gap(topic, lane.partition, delivered, lane.tail, change.reason))
        self.writer.drop(topic)


def _merged(parts: list[Part]) -> list[Part]:
    """Parts of one lane that follow each other as one: many small batches cost no more than a large one."""
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else None
        if last is None or last.topic != part.topic or last.partition != part.partition:
            merged.append(part)
        elif not last.shared:
            last.events += part.events
            last.end, last.newest_ms = part.end, max(last.newest_ms, part.newest_ms)
        else:
            newest = max(last.newest_ms, part.newest_ms)
            merged[-1] = Part(part.topic, part.partition, last.events + part.events, part.end, newest, shared=False)
    return merged


def within_log(gap: Gap) -> bool:
    """Whether the lane goes on behind the gap; else it is another lane from then on."""
    return gap.reason in ("retention", "corrupt", "lost")


def _one(cursors: list[Sequence[str]]) -> Sequence[str]:
    if len(cursors) == 1:
        return cursors[0]
    return JoinedCursors([part for part in cursors if isinstance(part, BlockCursors)])


def size_of(event: Event) -> int:
    """The bytes of an event's data and attributes."""
    raw = event.raw
    values = (value for _, value in raw) if isinstance(raw, list) else map(str, raw.values())
    return len(event.value or b"") + sum(len(value or b"") for value in values)
