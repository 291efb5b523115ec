"""One reader's stream: pulled by its consumer, fed by the tail, bounded in bytes.

While LIVE, blocks of the tail wait in a queue (`gateway.delivery.outbox`); beyond its bound the
queue is dropped and the stream goes on from the log, at its consumer's pace, until it is at the
live edge again (`gateway.delivery.handover`). While catching up nothing is kept between two
calls of `next`. There is no task per stream, and no future but the one of a consumer that waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from gateway.bus.contract import Batch, Bounds, BusHealth
from gateway.delivery.cursor import Cursor, Order
from gateway.delivery.follow import Block, TopicTail
from gateway.delivery.handover import Gap, GapReason, Handover, Read, State
from gateway.delivery.outbox import Came, Gone, Outbox, within_log
from gateway.delivery.outcome import Delivery, EndOfStream, EndReason, ReadStats
from gateway.delivery.resolve import Beginning, Origin
from gateway.delivery.select import Selection
from gateway.delivery.tail import RETRY, TailHub
from gateway.delivery.window import CHUNK
from gateway.delivery.writer import CursorWriter
from gateway.errors import CorruptData, Expired, OffsetOutOfRange, Unavailable, UnknownTopic


class Stream:
    """See the module. Made by `Reader.open`; one consumer at a time.

    `select` gives the selection for a topic that appears, None when it is not wanted. `ended` is
    called once. With `room` it is a page's, of at most so many bytes of events: it raises what the
    bus refuses instead of waiting, keeps no cursors of single events, and brings what a coarse
    cursor could not tell exactly only when it is old enough (see `gateway.delivery.sweep`). `woken`
    is called whenever there may be something new, for a consumer that does not wait.
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
        room: int | None = None,
        clock: Callable[[], float] = time.time,
        woken: Callable[[], None] | None = None,
    ) -> None:
        self._woken, self._buffer = woken, buffer_bytes
        self._hub, self._stats, self._select, self._ended = hub, stats, select, ended
        self._wild, self._paged, self._clock = wild, room is not None, clock
        self._handover = Handover(stats.handover)
        self._writer = CursorWriter(wild)
        self._outbox = Outbox(hub, stats, self._writer, buffer_bytes=buffer_bytes, limit=limit, room=room)
        self._selections: dict[str, Selection] = {}
        self._epochs: dict[str, str] = {}
        self._begun = False
        # The time at which the ends of all lanes were known.
        self._known_ms = 0
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

    async def known(self, deadline: float | None, chunk: int = CHUNK) -> Delivery | None:
        """The next of the events known to exist; None at the live edge, or past `deadline`
        (the loop's time). Raises as `next`, never waits for new events. It reads about `chunk`
        bytes of the log at once.
        """
        loop = asyncio.get_running_loop()
        while True:
            delivery = self.take(chunk)
            if delivery is not None:
                return delivery
            if self._handover.state is State.LIVE and self._handover.holds() and self._writer.late(self._known_ms):
                # Kept back in a round that an earlier page began: this one may bring more of it.
                self._handover.release()
            if self._handover.state is State.LIVE or (deadline is not None and loop.time() >= deadline):
                return None
            await self._catch_up(deadline, chunk)

    def take(self, most: int | None = None) -> Delivery | None:
        """What is there already, without reading the log: about `most` bytes. Raises EndOfStream."""
        delivery = self._outbox.take(self._now(), most or self._buffer)
        self._follow_writer()
        if delivery is None:
            if self._end is not None:
                raise self._end
            return None
        if self._outbox.full:
            self.end("limit")
        else:
            self._settle()
        if not self._paged:
            delivery.cursor = self.cursor
        return delivery

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
    def waiting(self) -> int:
        """The weight of what `take` would bring, or raise, in bytes; 0 when there is nothing."""
        return self._outbox.waiting or int(self._end is not None)

    @property
    def topics(self) -> list[str]:
        """The topics that it follows now."""
        return list(self._selections)

    def selection(self, topic: str) -> Selection | None:
        """What it wants of a topic that it follows."""
        return self._selections.get(topic)

    def place(self) -> Cursor:
        """Where it stands, exactly, however many lanes it has: for readers in this process."""
        return self._writer.place_of_all()

    def beside(self, other: Stream) -> bool:
        """Whether both have delivered the same offsets of the same topics."""
        return self._writer.beside(other._writer)

    def covers(self, topic: str, ends: Sequence[Bounds]) -> bool:
        """Whether everything below these ends was delivered."""
        return self._writer.covers(topic, [bound.next for bound in ends])

    def gaps_since(self, place: Cursor) -> list[Gap]:
        """What stands between an earlier place and where it stands now, as overflow."""
        return self._writer.gaps_since(place)

    @property
    def full(self) -> bool:
        """The limit was reached, or a page's room was taken."""
        return self._outbox.full

    @property
    def lag(self) -> int:
        """Offsets between what was taken up and the live edge."""
        return self._handover.lag

    @property
    def health(self) -> BusHealth:
        """The bus's. While it is away the stream stays open."""
        return self._hub.health

    @property
    def holds(self) -> bool:
        """Whether a page keeps back events for their age."""
        return self._handover.holds()

    def look_again(self) -> None:
        """Read on what was kept back and is old enough by now. For a page that follows the tail."""
        self._known_ms = self._now()
        self._handover.release()

    async def close(self) -> None:
        """Idempotent. A waiting `next` raises EndOfStream."""
        self.end("closed")

    def end(self, reason: EndReason) -> None:
        """Drop what is queued; from now on `next` raises EndOfStream."""
        self._begun = False
        self._hub.unregister(self)
        self._outbox.empty()
        self._end = self._end or EndOfStream(reason)
        self._ended(self)
        self._wake()

    # How its reader sets it up

    def begin(self, beginning: Beginning, known_ms: int) -> None:
        """Before the topics. `known_ms`: their ends were asked for after that time."""
        self._known_ms = known_ms
        self._writer.begin(beginning.after_ms, beginning.before_ms, beginning.place)

    def start(self, origin: Origin, tails: Sequence[int]) -> None:
        """Start a topic. Events up to `tails` exist."""
        topic, epoch = origin.target.topic, origin.target.epoch
        self._selections[topic], self._epochs[topic] = origin.target.selection, epoch
        for partition, (offset, newest) in enumerate(zip(origin.offsets, origin.newest, strict=True)):
            self._writer.add(topic, epoch, offset, newest)
            self._handover.add(topic, partition, offset, offset)
        self.extend(topic, tails)

    def extend(self, topic: str, tails: Sequence[int]) -> None:
        """Events up to `tails` exist."""
        for partition, tail in enumerate(tails):
            self._handover.extend(topic, partition, tail)

    def begun(self, gaps: Sequence[Gap] = (), after: Order | None = None) -> None:
        """All topics have their start. `after`: the lane that was read last."""
        self._begun = True
        for gap in gaps:
            self._outbox.announce(gap)
            if within_log(gap):
                # The cursor stands before a gap until the gap was told.
                self._writer.seek(gap.topic, gap.partition, gap.from_offset, self._known_ms)
        self._follow_writer()
        if not self._handover.sweep and after is not None:
            # Lanes that take turns begin with the next one.
            self._handover.start_at((after[0], after[1] + 1))
        for topic in self._late - self._selections.keys():
            self._hub.look_again(topic)
        self._late.clear()

    # What the tail calls: see gateway.delivery.follow.Follower

    @property
    def oldest(self) -> int:
        return self._outbox.oldest

    def on_block(self, block: Block) -> None:
        batch, handover = block.batch, self._handover
        was_live = handover.state is State.LIVE
        if self._paged and handover.sweep:
            # What is delivered is decided lane by lane, by what a cursor can tell.
            handover.extend(batch.topic, batch.partition, batch.next_offset)
            if handover.state is not State.LIVE:
                self._wake()
            return
        part = handover.offer(batch)
        if part is None:
            if was_live and handover.state is not State.LIVE:
                self._wake()
            return
        events = block.events
        if part is not batch:
            events = [event for event in events if event.offset >= part.base_offset]
        if self._outbox.put(batch, events, block):
            if self._outbox.over:
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
        self._change(Came(topic, tail.epoch, len(tail.next) - known))

    def on_gone(self, topic: str, reason: GapReason) -> None:
        if not self._begun or self._selections.pop(topic, None) is None:
            return
        if not self._selections and not self._wild:
            self._end = EndOfStream("recreated" if reason == "recreated" else "deleted")
        self._change(Gone(topic, self._handover.drop(topic), reason))

    def on_edge(self, tail: TopicTail) -> None:
        self.extend(tail.name, tail.next)
        self._wake()

    def on_health(self, health: BusHealth) -> None:
        self._wake()

    def let_go(self) -> bool:
        if self._outbox.oldest < 0:
            return False
        self._stats.overflows += 1
        self._outbox.empty()
        self._follow_writer()
        passed = {(gap.topic, gap.partition): gap.to_offset for gap in filter(within_log, self._outbox.gaps)}
        for lane in self._handover.lanes():
            delivered = self._writer.offset(lane.topic, lane.partition)
            self._handover.seek(lane.topic, lane.partition, passed.get((lane.topic, lane.partition), delivered))
        return True

    # What waits

    def _change(self, change: Gone | Came) -> None:
        self._outbox.change(change)
        self._follow_writer()
        self._wake()

    def _settle(self) -> None:
        """Note for coarse cursors up to which append time all was delivered."""
        if self._handover.state is State.LIVE and self._end is None and not self._handover.holds():
            waiting = self._outbox.settled_ms
            now = self._known_ms if self._paged else self._now()
            self._writer.settle(now if waiting is None else min(now, waiting))

    def _follow_writer(self) -> None:
        """Once cursors are coarse lanes are read in their order."""
        if self._writer.coarse and not self._handover.sweep:
            self._handover.sweep = True
            self._handover.start_at(self._writer.place)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    # Catching up

    async def _catch_up(self, deadline: float | None, chunk: int) -> None:
        """Do one read; what it brings goes to the outbox, which was empty."""
        read = self._handover.next_read()
        if read is None:
            return
        now = self._known_ms if self._paged else self._now()
        self._writer.turn(read.lane.topic, read.lane.partition, now, wrapped=read.wrapped)
        while read is not None:
            read = await self._read(read, deadline, chunk)

    async def _read(self, read: Read, deadline: float | None, chunk: int) -> Read | None:
        """Behind a gap, what to read next: if that is missing as well, it is the same gap."""
        topic, partition = read.lane.topic, read.lane.partition
        try:
            async with asyncio.timeout_at(deadline):
                batches = await self._hub.log.read(topic, partition, read.offset, chunk)
        except TimeoutError:
            return None  # the read goes on, and serves the next call
        except OffsetOutOfRange as error:
            return await self._out_of_range(read, error, deadline)
        except CorruptData as error:
            behind = error.detail.get("next_offset")
            if not isinstance(behind, int) or behind <= read.offset:
                raise
            return self._skip(read, behind, "corrupt")
        except (Unavailable, UnknownTopic):
            # A topic that is gone is told by the tail; until then it is like one out of reach.
            if self._paged:
                raise
            await self._back_off(deadline)
        else:
            await self._accept(read, batches, deadline)
        return None

    async def _accept(self, read: Read, batches: Sequence[Batch], deadline: float | None) -> None:
        lane = read.lane
        limit = self._writer.limit_of(lane.topic, lane.partition) if self._paged else None
        older = batches if limit is None else _older(batches, limit)
        accepted = self._handover.accept(read, older)
        selection = self._selections.get(lane.topic)
        if accepted and selection is not None:
            self._pause = 0.0
            for batch in accepted:
                self._outbox.put(batch, selection.select(batch.events))
        if batches and (not older or older[-1].next_offset < batches[-1].next_offset):
            self._handover.hold(lane)
        elif not batches and self._paged:
            self._handover.settle_for(read)
        elif not batches:
            # Known to exist, but not to be had yet: an open transaction, for one.
            await self._back_off(deadline)

    async def _out_of_range(self, read: Read, error: OffsetOutOfRange, deadline: float | None) -> Read | None:
        topic = read.lane.topic
        if read.offset < error.first:
            return self._skip(read, error.first, "retention")
        if await self._hub.epoch(topic) == self._epochs.get(topic):
            return self._skip(read, error.next, "lost")
        if self._paged:
            raise Expired(f"topic {topic!r} was deleted and made anew while it was read", topic=topic)
        self._hub.look_again(topic)
        await self._back_off(deadline)
        return None

    def _skip(self, read: Read, to_offset: int, reason: GapReason) -> Read | None:
        gap = self._handover.skip(read, to_offset, reason)
        if gap is None:
            return None
        self._outbox.announce(gap)
        return Read(read.lane, to_offset) if read.lane.behind else None

    async def _back_off(self, deadline: float | None) -> None:
        self._pause = min(RETRY, self._pause * 2 or 0.01)
        end = asyncio.get_running_loop().time() + self._pause
        await self.wait(end if deadline is None else min(end, deadline))

    def _wake(self) -> None:
        if self._waiter is not None:
            _set(self._waiter)
        if self._woken is not None:
            self._woken()


def _older(batches: Sequence[Batch], limit_ms: int) -> list[Batch]:
    """What comes before the first event that was appended at or after the limit."""
    kept: list[Batch] = []
    for batch in batches:
        young = next((at for at, event in enumerate(batch.events) if event.timestamp_ms >= limit_ms), None)
        if young is None:
            kept.append(batch)
            continue
        if young:
            end, events = batch.events[young].offset, batch.events[:young]
            size = batch.size * young // len(batch.events)
            kept.append(Batch(batch.topic, batch.partition, batch.base_offset, end, events, size, limit_ms - 1))
        break
    return kept


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
