"""What a start position means on a bus: an offset for each partition of each topic.

`last:N` looks backwards, in steps that double, from the ends of all partitions at once, until
the N latest matching events by append time are known or LAST_BYTES of log were looked at.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import msgspec

from gateway.bus.contract import Batch, Bounds, Bus
from gateway.delivery.cursor import TIME_MARGIN, Cursor, epoch_hash, topic_hash
from gateway.delivery.handover import Gap
from gateway.delivery.position import Start
from gateway.delivery.select import Selection
from gateway.delivery.window import SharedLog
from gateway.errors import CorruptData, Expired, InvalidPosition, OffsetOutOfRange

T = TypeVar("T")
#: How much log `last:N` looks at, over all partitions together, in bytes.
LAST_BYTES = 64 * 2**20
#: Questions to the bus at once for one request.
AT_ONCE = 16
_FIRST_STEP = 16


class Target(msgspec.Struct, frozen=True, eq=False):
    """A topic to start. `literal`: the request names it, not a wildcard."""

    topic: str
    epoch: str
    bounds: list[Bounds]
    selection: Selection
    literal: bool


class Origin(msgspec.Struct, eq=False):
    """Where a target starts. `floors`: per partition, the append time (ms) up to which there
    is nothing left to deliver."""

    target: Target
    offsets: list[int]
    floors: list[int]


class Resolver:
    """Asks the bus. `clock` gives seconds since 1970."""

    def __init__(self, bus: Bus, log: SharedLog, clock: Callable[[], float] = time.time) -> None:
        self._bus, self._log, self._clock = bus, log, clock

    async def resolve(self, start: Start, targets: Sequence[Target]) -> tuple[list[Origin], list[Gap]]:
        """Raises InvalidPosition, Expired, and what the bus raises."""
        now = int(self._clock() * 1000)
        if start.kind == "earliest":
            return [Origin(t, [b.first for b in t.bounds], [0] * len(t.bounds)) for t in targets], []
        if start.kind == "latest":
            return [_at_end(target, now) for target in targets], []
        if start.kind == "last":
            return await _Backwards(self._log, targets, start.value).find(now), []
        if start.kind == "cursor":
            assert start.cursor is not None
            return await self._resume(start.cursor, targets)
        since = start.value if start.kind == "time" else max(0, now - start.value)
        work = [self._at_time(target, [since] * len(target.bounds)) for target in targets]
        return await gathered(work), []

    async def _at_time(self, target: Target, times: Sequence[int]) -> Origin:
        asked = [
            self._bus.offset_for_time(target.topic, partition, since) if since > 0 else _just(bound.first)
            for partition, (since, bound) in enumerate(zip(times, target.bounds, strict=True))
        ]
        found = await gathered(asked)
        offsets = [max(offset, bound.first) for offset, bound in zip(found, target.bounds, strict=True)]
        return Origin(target, offsets, list(times))

    async def _resume(self, cursor: Cursor, targets: Sequence[Target]) -> tuple[list[Origin], list[Gap]]:
        gaps: list[Gap] = []
        if cursor.sweep is None:
            return [_resume_exactly(cursor, target, gaps) for target in targets], gaps
        return await gathered([self._resume_sweep(cursor, target, gaps) for target in targets]), gaps

    async def _resume_sweep(self, cursor: Cursor, target: Target, gaps: list[Gap]) -> Origin:
        sweep, here, name = cursor.sweep, cursor.active, topic_hash(target.topic)
        assert sweep is not None
        times = [
            sweep.before_ms if (name, partition) < here else sweep.after_ms for partition in range(len(target.bounds))
        ]
        origin = await self._at_time(target, times)
        await self._tell_removed(origin, times, gaps)
        if name == here[0] and here[1] < len(target.bounds):
            gaps[:] = [gap for gap in gaps if (gap.topic, gap.partition) != (target.topic, here[1])]
            if sweep.epoch == epoch_hash(target.epoch):
                origin.offsets[here[1]] = _within(target, here[1], sweep.offset, gaps)
            else:
                _recreated(target, [sweep.offset], here[1], gaps)
                return Origin(target, [bound.first for bound in target.bounds], [0] * len(target.bounds))
        return origin

    async def _tell_removed(self, origin: Origin, times: Sequence[int], gaps: list[Gap]) -> None:
        """Where a time leads to the first offset, retention may have removed events behind it.
        How many is not known, which an empty gap says. (From time 0 all is as for `earliest`.)"""
        target = origin.target
        places = [
            (partition, bound.first)
            for partition, bound in enumerate(target.bounds)
            if times[partition] > 0 and 0 < bound.first == origin.offsets[partition]
        ]
        if not places:
            return
        info = await self._bus.describe_topic(target.topic)
        kept_since = int(self._clock() * 1000) - info.retention_ms
        for partition, first in places:
            if info.retention_bytes >= 0 or (info.retention_ms >= 0 and times[partition] < kept_since + TIME_MARGIN):
                gaps.append(Gap(target.topic, partition, first, first, "retention"))


def _at_end(target: Target, now: int) -> Origin:
    return Origin(target, [b.next for b in target.bounds], [max(0, now - TIME_MARGIN)] * len(target.bounds))


def _resume_exactly(cursor: Cursor, target: Target, gaps: list[Gap]) -> Origin:
    mark = cursor.marks.get(topic_hash(target.topic))
    known: tuple[int, ...] = ()
    if mark is None and not cursor.wild:
        raise InvalidPosition(f"the cursor was made by reading other topics: it does not cover {target.topic!r}")
    if mark is not None and mark.epoch != epoch_hash(target.epoch):
        _recreated(target, mark.offsets, 0, gaps)
    elif mark is not None:
        known = mark.offsets
    # Topics and partitions that the cursor does not know appeared later: they start at 0.
    wanted = [known[p] if p < len(known) else 0 for p in range(len(target.bounds))]
    offsets = [_within(target, partition, offset, gaps) for partition, offset in enumerate(wanted)]
    return Origin(target, offsets, [cursor.floor_ms if p < len(known) else 0 for p in range(len(wanted))])


def _recreated(target: Target, offsets: Sequence[int], first: int, gaps: list[Gap]) -> None:
    """Under a wildcard a notice, for a topic that was named an error: it is not that topic."""
    if target.literal:
        raise Expired(
            f"topic {target.topic!r} was deleted and made anew after this cursor was made: start at 'earliest'",
            topic=target.topic,
        )
    for partition, offset in enumerate(offsets, first):
        gaps.append(Gap(target.topic, partition, offset, 0, "recreated"))


def _within(target: Target, partition: int, offset: int, gaps: list[Gap]) -> int:
    bound = target.bounds[partition]
    if offset < bound.first:
        gaps.append(Gap(target.topic, partition, offset, bound.first, "retention"))
        return bound.first
    if offset > bound.next:
        gaps.append(Gap(target.topic, partition, offset, bound.next, "lost"))
        return bound.next
    return offset


class _Ahead:
    """One partition, looked at from its end backwards."""

    def __init__(self, target: Target, partition: int, wanted: int) -> None:
        self.target, self.partition = target, partition
        self.first, self.next = target.bounds[partition].first, target.bounds[partition].next
        self.low = self.next
        self.step = max(wanted, _FIRST_STEP)
        #: (append time, offset) of the matching events from `low` on, in log order.
        self.matches: list[tuple[int, int]] = []
        #: The append time of the oldest event looked at.
        self.oldest = 2**63

    def done(self, wanted: int, horizon: int) -> bool:
        """Whether nothing older here can belong to the latest `wanted`."""
        return self.low <= self.first or len(self.matches) >= wanted or self.oldest < horizon


class _Backwards:
    """Finds the last `wanted` matching events of some topics."""

    def __init__(self, log: SharedLog, targets: Sequence[Target], wanted: int) -> None:
        self._log, self._targets, self._wanted = log, targets, wanted
        self._lanes = [_Ahead(target, p, wanted) for target in targets for p in range(len(target.bounds))]
        self._budget = LAST_BYTES

    async def find(self, now: int) -> list[Origin]:
        while self._budget > 0:
            horizon = self._horizon()
            work = [self._look_back(lane) for lane in self._lanes if not lane.done(self._wanted, horizon)]
            if not work:
                break
            await gathered(work)
        origins = {target.topic: _at_end(target, now) for target in self._targets}
        for lane in self._chosen():
            origins[lane.target.topic].offsets[lane.partition] = lane.matches[0][1]
            origins[lane.target.topic].floors[lane.partition] = lane.matches[0][0]
        return list(origins.values())

    def _horizon(self) -> int:
        """The append time that an event needs to be among the latest; -1 while any may be."""
        latest = heapq.nlargest(self._wanted, (when for lane in self._lanes for when, _ in lane.matches))
        return latest[-1] if len(latest) == self._wanted else -1

    def _chosen(self) -> list[_Ahead]:
        """The lanes that have some of the latest events, cut to those. Taken from the ends of
        the lanes, so that reading on from the first of a lane brings exactly these."""
        ends = [(-lane.matches[-1][0], at, len(lane.matches)) for at, lane in enumerate(self._lanes) if lane.matches]
        heapq.heapify(ends)
        taken: dict[int, int] = {}
        for _ in range(self._wanted):
            if not ends:
                break
            _, at, left = heapq.heappop(ends)
            taken[at] = taken.get(at, 0) + 1
            if left > 1:
                heapq.heappush(ends, (-self._lanes[at].matches[left - 2][0], at, left - 1))
        for at, count in taken.items():
            self._lanes[at].matches = self._lanes[at].matches[-count:]
        return [self._lanes[at] for at in taken]

    async def _look_back(self, lane: _Ahead) -> None:
        high, lane.low = lane.low, max(lane.first, lane.low - lane.step)
        lane.step *= 2
        found: list[tuple[int, int]] = []
        offset, oldest = lane.low, lane.oldest
        while offset < high:
            if self._budget <= 0:
                # A step that was not finished says nothing: events between would be forgotten.
                lane.low = high
                return
            batches, after = await self._read(lane, offset)
            for batch in batches:
                self._budget -= batch.size
                inside = [event for event in batch.events if event.offset < high]
                found += [(event.timestamp_ms, event.offset) for event in lane.target.selection.select(inside)]
                oldest = min(oldest, min((event.timestamp_ms for event in inside), default=oldest))
            if after <= offset:
                break
            offset = after
        lane.oldest = oldest
        lane.matches = (found + lane.matches)[-self._wanted :]

    async def _read(self, lane: _Ahead, offset: int) -> tuple[Sequence[Batch], int]:
        """Batches from `offset` on, and where to go on. Gaps are told when reading passes them."""
        try:
            batches = await self._log.read(lane.target.topic, lane.partition, offset)
        except OffsetOutOfRange as error:
            lane.first = max(lane.first, error.first)
            return (), error.first
        except CorruptData as error:
            return (), int(error.detail["next_offset"])
        return batches, batches[-1].next_offset if batches else offset


async def _just(value: T) -> T:
    return value


async def gathered(work: Sequence[Coroutine[Any, Any, T]], at_once: int = AT_ONCE) -> list[T]:
    """The results in order, some at once. The first error ends the others and is raised."""
    if len(work) == 1:
        return [await work[0]]
    results: dict[int, T] = {}
    waiting = iter(enumerate(work))

    async def worker() -> None:
        for at, one in waiting:
            results[at] = await one

    workers = [asyncio.create_task(worker(), name="questions") for _ in range(min(at_once, len(work)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for _, left in waiting:
            left.close()
    return [results[at] for at in range(len(work))]
