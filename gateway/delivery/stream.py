"""One reader's stream: pulled by its consumer, fed by the tail, bounded in bytes.

While LIVE, blocks of the tail wait in a queue; beyond its bound the queue is dropped and the
stream goes on from the log, at its consumer's pace, until it is at the live edge again
(`gateway.delivery.handover`). While catching up nothing is kept between two calls of `next`.
There is no task per stream, and no future but the one of a consumer that waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from gateway.bus.contract import Batch, BusHealth
from gateway.delivery.cursor import TIME_MARGIN, BlockCursors, CursorWriter, JoinedCursors
from gateway.delivery.follow import Block, TopicTail
from gateway.delivery.handover import Gap, GapReason, Handover, Lane, Read, State
from gateway.delivery.outcome import Delivery, EndOfStream, EndReason, ReadStats
from gateway.delivery.select import Selection
from gateway.delivery.tail import RETRY, TailHub
from gateway.errors import CorruptData, Expired, OffsetOutOfRange, Unavailable, UnknownTopic
from gateway.event import Event

#: The most events of one delivery at the live edge.
MAX_EVENTS = 2_000


class _Part(msgspec.Struct, eq=False, gc=False):
    """Wanted events of one lane. `end` and `floor_ms`: where the lane stands after them, and
    the append time before which nothing is left then."""

    topic: str
    partition: int
    events: list[Event]
    end: int
    floor_ms: int
    block: Block | None = None


class _Gone(msgspec.Struct, eq=False):
    topic: str
    lanes: list[Lane]
    reason: GapReason


class _Came(msgspec.Struct, eq=False):
    topic: str
    epoch: str
    partitions: int


class Stream:
    """See the module. Made by `Reader.open`; one consumer at a time.

    `select` gives the selection for a topic that appears, None when it is not wanted. Unless
    `patient`, what the bus refuses is raised instead of waited for. `ended` is called once.
    """

    def __init__(
        self,
        hub: TailHub,
        stats: ReadStats,
        select: Callable[[str], Selection | None],
        ended: Callable[[Stream], None],
        *,
        wild: bool,
        buffer_bytes: int,
        limit: int | None = None,
        patient: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hub, self._stats, self._select, self._ended = hub, stats, select, ended
        self._wild, self._buffer, self._limit = wild, buffer_bytes, limit
        self._patient, self._clock = patient, clock
        self._handover = Handover(stats.handover)
        self._writer = CursorWriter(wild)
        self._selections: dict[str, Selection] = {}
        self._epochs: dict[str, str] = {}
        self._queue: deque[_Part | _Gone | _Came] = deque()
        self._queued = 0
        # Where lanes stand after events that nobody wants, while others are still queued.
        self._passed: dict[tuple[str, int], int] = {}
        self._gaps: list[Gap] = []
        self._begun = False
        # Topics that appeared while the stream was opened.
        self._late: set[str] = set()
        self._waiter: asyncio.Future[None] | None = None
        self._end: EndOfStream | None = None
        self._pause = 0.0

    # What its consumer calls

    async def next(self, timeout: float | None = None) -> Delivery | None:
        """The next events, or None when `timeout` seconds passed without any.

        The position moves when it returns, not before: a call that is cancelled takes nothing.
        While the bus is away it waits. Raises EndOfStream, and CorruptData where the log cannot
        say at which offset reading could go on.
        """
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        while True:
            delivery = await self.known(deadline)
            if delivery is not None:
                return delivery
            if not await self.wait(deadline):
                return None

    async def known(self, deadline: float | None) -> Delivery | None:
        """The next of the events known to exist; None at the live edge, or past `deadline`
        (the loop's time). Raises as `next`, never waits for new events.
        """
        loop = asyncio.get_running_loop()
        while True:
            delivery = self._take()
            if delivery is not None:
                return delivery
            if self._end is not None:
                raise self._end
            if self._handover.state is State.LIVE or (deadline is not None and loop.time() >= deadline):
                return None
            await self._catch_up(deadline)

    async def wait(self, deadline: float | None) -> bool:
        """Wait until there may be something new; False once `deadline` has passed."""
        loop = asyncio.get_running_loop()
        if deadline is not None and loop.time() >= deadline:
            return False
        self._waiter = waiter = loop.create_future()
        timer = None if deadline is None else loop.call_at(deadline, _set, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        return True

    @property
    def cursor(self) -> str:
        """Resumes after all that was delivered, and all that was looked at and not wanted."""
        return self._writer.cursor()

    @property
    def live(self) -> bool:
        """False while it catches up."""
        return self._handover.state is State.LIVE

    @property
    def lag(self) -> int:
        """Offsets between what was taken up and the live edge."""
        return self._handover.lag

    @property
    def health(self) -> BusHealth:
        """The bus's. While it is away the stream stays open."""
        return self._hub.health

    async def close(self) -> None:
        """Idempotent. A waiting `next` raises EndOfStream."""
        self.end("closed")

    def end(self, reason: EndReason) -> None:
        """Drop what is queued; from now on `next` raises EndOfStream."""
        self._begun = False
        self._hub.unregister(self)
        self._empty()
        self._end = self._end or EndOfStream(reason)
        self._ended(self)
        self._wake()

    # How its reader sets it up

    def begin(
        self, topic: str, epoch: str, selection: Selection, offsets: Sequence[int], floors: Sequence[int]
    ) -> None:
        """Start a topic: an offset and an append time (see CursorWriter) for each partition."""
        self._selections[topic], self._epochs[topic] = selection, epoch
        for partition, (offset, floor) in enumerate(zip(offsets, floors, strict=True)):
            self._writer.add(topic, epoch, offset, floor)
            self._handover.add(topic, partition, offset, offset)

    def extend(self, topic: str, tails: Sequence[int]) -> None:
        """Events up to `tails` exist."""
        for partition, tail in enumerate(tails):
            self._handover.extend(topic, partition, tail)

    def begun(self, gaps: Sequence[Gap] = (), after: tuple[bytes, int] | None = None) -> None:
        """All topics have their start. `after`: the lane that was read last, in cursor order."""
        self._begun = True
        self._gaps.extend(gaps)
        for gap in filter(_within_log, gaps):
            # The cursor stands before a gap until the gap was told.
            self._writer.seek(gap.topic, gap.partition, gap.from_offset)
        now = int(self._clock() * 1000)
        for lane in self._handover.lanes():
            if not lane.behind:
                self._writer.reached(lane.topic, lane.partition, now)
        self._handover.sweep = self._writer.coarse
        if after is not None:
            # A sweep goes on in its place; lanes that take turns begin with the next one.
            self._handover.start_at(after if self._handover.sweep else (after[0], after[1] + 1))
        for topic in self._late - self._selections.keys():
            self._hub.look_again(topic)
        self._late.clear()

    # What the tail calls: see gateway.delivery.follow.Follower

    @property
    def oldest(self) -> int:
        for entry in self._queue:
            if isinstance(entry, _Part) and entry.block is not None:
                return entry.block.number
        return -1

    def on_block(self, block: Block) -> None:
        batch, handover = block.batch, self._handover
        was_live = handover.state is State.LIVE
        part = handover.offer(batch)
        if part is None:
            if was_live and handover.state is not State.LIVE:
                self._wake()
            return
        events = block.events
        if part is not batch:
            events = [event for event in events if event.offset >= part.base_offset]
        if not self._enqueue(batch, events, block):
            return
        self._queued += block.size
        self._hub.hold(block)
        if self._queued > self._buffer and len(self._queue) > 1:
            self.let_go()
        self._wake()

    def wants(self, topic: str) -> Selection | None:
        if self._end is not None or topic in self._selections:
            return None
        if not self._begun:
            self._late.add(topic)
            return None
        return self._select(topic)

    def on_appeared(self, tail: TopicTail) -> None:
        topic, handover = tail.name, self._handover
        selection = self._selections.get(topic) or self.wants(topic)
        if selection is None or not self._begun:
            return
        self._selections[topic], self._epochs[topic] = selection, tail.epoch
        known = 0
        while handover.lane(topic, known) is not None:
            known += 1
        for partition in range(known, len(tail.next)):
            handover.add(topic, partition, 0, tail.next[partition])
        self._change(_Came(topic, tail.epoch, len(tail.next) - known))

    def on_gone(self, topic: str, reason: GapReason) -> None:
        if not self._begun or self._selections.pop(topic, None) is None:
            return
        if not self._selections and not self._wild:
            self._end = EndOfStream("recreated" if reason == "recreated" else "deleted")
        self._change(_Gone(topic, self._handover.drop(topic), reason))

    def on_edge(self, tail: TopicTail) -> None:
        self.extend(tail.name, tail.next)
        self._wake()

    def on_health(self, health: BusHealth) -> None:
        self._wake()

    def let_go(self) -> bool:
        if self.oldest < 0:
            return False
        self._stats.overflows += 1
        self._empty()
        passed = {(gap.topic, gap.partition): gap.to_offset for gap in filter(_within_log, self._gaps)}
        for lane in self._handover.lanes():
            delivered = self._writer.offset(lane.topic, lane.partition)
            self._handover.seek(lane.topic, lane.partition, passed.get((lane.topic, lane.partition), delivered))
        return True

    # The queue

    def _enqueue(self, batch: Batch, events: list[Event], block: Block | None = None, floor_ms: int = 0) -> bool:
        """Queue wanted events; without any the lane just moves on, once those before did."""
        floor_ms = max(floor_ms, batch.timestamp_ms)
        if events:
            self._queue.append(_Part(batch.topic, batch.partition, events, batch.next_offset, floor_ms, block))
            return True
        if self._queue:
            self._passed[batch.topic, batch.partition] = batch.next_offset
        else:
            self._writer.move(batch.topic, batch.partition, batch.next_offset, floor_ms)
        return False

    def _change(self, change: _Gone | _Came) -> None:
        # Events that were taken up before a topic went are delivered before it goes.
        if self._queue:
            self._queue.append(change)
        else:
            self._apply(change)
        self._wake()

    def _apply(self, change: _Gone | _Came) -> None:
        topic = change.topic
        if isinstance(change, _Came):
            for _ in range(change.partitions):
                self._writer.add(topic, change.epoch, 0)
            self._handover.sweep = self._writer.coarse
            return
        for lane in change.lanes:
            delivered = self._writer.offset(topic, lane.partition)
            self._passed.pop((topic, lane.partition), None)
            if change.reason == "recreated":
                self._gaps.append(Gap(topic, lane.partition, delivered, 0, "recreated"))
            elif delivered < lane.tail:
                self._gaps.append(Gap(topic, lane.partition, delivered, lane.tail, change.reason))
        self._writer.drop(topic)

    def _empty(self) -> None:
        """Drop the events that are queued, not the changes between them."""
        entries, self._queue = self._queue, deque()
        self._queued = 0
        self._passed.clear()
        for entry in entries:
            if not isinstance(entry, _Part):
                self._apply(entry)
            elif entry.block is not None:
                self._hub.release(entry.block)

    def _take(self) -> Delivery | None:
        """What waits in the queue, as one delivery; all of what a read brought."""
        parts: list[_Part] = []
        count = size = 0
        while self._queue and count < MAX_EVENTS and size < self._buffer:
            entry = self._queue[0]
            if not isinstance(entry, _Part):
                if parts:
                    break
                self._apply(entry)
            else:
                parts.append(entry)
                if entry.block is not None:
                    count += len(entry.events)
                    size += entry.block.size
                    self._hub.release(entry.block)
            self._queue.popleft()
        self._queued -= size
        return self._deliver(parts) if parts or self._gaps else None

    def _deliver(self, parts: list[_Part]) -> Delivery:
        if self._limit is not None:
            parts = self._within_limit(parts)
        for gap in filter(_within_log, self._gaps):
            self._writer.seek(gap.topic, gap.partition, gap.to_offset)
        cursors = [self._pass(part) for part in parts]
        self._settle()
        gaps, self._gaps = self._gaps, []
        events = parts[0].events if len(parts) == 1 else [event for part in parts for event in part.events]
        self._stats.events += len(events)
        self._stats.deliveries += 1
        self._stats.gaps += len(gaps)
        return Delivery(events, cursors[0] if len(cursors) == 1 else JoinedCursors(cursors), self.cursor, gaps)

    def _pass(self, part: _Part) -> BlockCursors:
        cursors = self._writer.block(part.topic, part.partition, part.events, part.end)
        self._writer.move(part.topic, part.partition, part.end, part.floor_ms)
        return cursors

    def _within_limit(self, parts: list[_Part]) -> list[_Part]:
        """Cut to what is left of the limit; with nothing left the stream ends."""
        kept: list[_Part] = []
        for part in parts:
            room = self._limit or 0
            self._limit = max(0, room - len(part.events))
            if len(part.events) > room:
                last = part.events[room - 1]
                part = _Part(part.topic, part.partition, part.events[:room], last.offset + 1, last.timestamp_ms)
            kept.append(part)
            if not self._limit:
                self.end("limit")
                break
        return kept

    def _settle(self) -> None:
        """Note for coarse cursors up to which append time all was delivered."""
        if not self._queue:
            for (topic, partition), offset in self._passed.items():
                self._writer.move(topic, partition, offset)
            self._passed.clear()
        if self._handover.state is State.LIVE and self._end is None:
            first = self._queue[0] if self._queue else None
            now = int(self._clock() * 1000)
            self._writer.settle(min(now, first.floor_ms) if isinstance(first, _Part) else now)

    # Catching up

    async def _catch_up(self, deadline: float | None) -> None:
        """Do one read; what it brings goes to the queue, which was empty."""
        read = self._handover.next_read()
        if read is None:
            return
        topic, partition = read.lane.topic, read.lane.partition
        try:
            async with asyncio.timeout_at(deadline):
                batches = await self._hub.log.read(topic, partition, read.offset)
        except TimeoutError:
            return  # the read goes on, and serves the next call
        except OffsetOutOfRange as error:
            await self._out_of_range(read, error, deadline)
        except CorruptData as error:
            behind = error.detail.get("next_offset")
            if not isinstance(behind, int) or behind <= read.offset:
                raise
            self._skip(read, behind, "corrupt")
        except (Unavailable, UnknownTopic):
            # A topic that is gone is told by the tail; until then it is like one out of reach.
            if not self._patient:
                raise
            await self._back_off(deadline)
        else:
            await self._accept(read, batches, deadline)

    async def _accept(self, read: Read, batches: Sequence[Batch], deadline: float | None) -> None:
        lane = read.lane
        accepted = self._handover.accept(read, batches)
        selection = self._selections.get(lane.topic)
        if accepted and selection is not None:
            self._pause = 0.0
            # At the tail nothing older can be left, but for what clocks differ by.
            now = 0 if lane.behind else int(self._clock() * 1000) - TIME_MARGIN
            for batch in accepted:
                self._enqueue(batch, selection.select(batch.events), floor_ms=now if batch is accepted[-1] else 0)
        elif not batches and self._patient:
            # Known to exist, but not to be had yet: an open transaction, for one.
            await self._back_off(deadline)
        elif not batches:
            self._handover.settle_for(read)

    async def _out_of_range(self, read: Read, error: OffsetOutOfRange, deadline: float | None) -> None:
        topic = read.lane.topic
        if read.offset < error.first:
            self._skip(read, error.first, "retention")
        elif await self._hub.epoch(topic) == self._epochs.get(topic):
            self._skip(read, error.next, "lost")
        elif self._patient:
            self._hub.look_again(topic)
            await self._back_off(deadline)
        else:
            raise Expired(f"topic {topic!r} was deleted and made anew while it was read", topic=topic)

    def _skip(self, read: Read, to_offset: int, reason: GapReason) -> None:
        gap = self._handover.skip(read, to_offset, reason)
        if gap is not None:
            self._gaps.append(gap)

    async def _back_off(self, deadline: float | None) -> None:
        self._pause = min(RETRY, self._pause * 2 or 0.01)
        end = asyncio.get_running_loop().time() + self._pause
        await self.wait(end if deadline is None else min(end, deadline))

    def _wake(self) -> None:
        if self._waiter is not None:
            _set(self._waiter)


def _within_log(gap: Gap) -> bool:
    """Whether the lane goes on behind the gap; else it is another lane from then on."""
    return gap.reason in ("retention", "corrupt", "lost")


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
