"""What a start position means on a bus: an offset for each partition of each topic.

`last:N` looks backwards, in steps that double, from the ends of all partitions at once, until
the N latest matching events by append time are known or LAST_BYTES of log were looked at. What
is kept of it are times and offsets, and a few reads at once.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import msgspec

from gateway.bus.contract import Batch, Bounds, Bus
from gateway.delivery.cursor import FIRST, TIME_MARGIN, Cursor, Order, epoch_hash, lane_tag, topic_hash
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
#: Offsets of the first steps back, in one partition and over all of them: few, since events may be
#: large, and a step that the bound cuts off has found nothing.
_FIRST_STEP, _FIRST_STEPS = 16, 64


class Target(msgspec.Struct, frozen=True, eq=False):
    """A topic to start. `literal`: the request names it, not a wildcard."""

    topic: str
    epoch: str
    bounds: list[Bounds]
    selection: Selection
    literal: bool


class Origin(msgspec.Struct, eq=False):
    """Where a target starts. `newest`: per partition, an append time (ms) that no event before
    the offset is newer than; -1 where the beginning's times lead to the offset."""

    target: Target
    offsets: list[int]
    newest: list[int]


class Beginning(msgspec.Struct, eq=False):
    """Where a reader starts, and the times and the place of its sweep if it needs one (see
    `gateway.delivery.sweep`)."""

    origins: list[Origin]
    gaps: list[Gap]
    after_ms: int
    before_ms: int
    place: Order = FIRST


class Resolver:
    """Asks the bus. `clock` gives seconds since 1970."""

    def __init__(self, bus: Bus, log: SharedLog, clock: Callable[[], float] = time.time) -> None:
        self._bus, self._log, self._clock = bus, log, clock

    async def resolve(self, start: Start, targets: Sequence[Target], now: int) -> Beginning:
        """`now`: the time in ms before the targets' bounds were asked. Raises InvalidPosition,
        Expired, and what the bus raises."""
        horizon = max(0, now - TIME_MARGIN)
        if start.kind == "earliest":
            origins = [_origin(t, [b.first for b in t.bounds], -1) for t in targets]
            return Beginning(origins, [], 0, horizon)
        if start.kind == "latest":
            return Beginning([_at_end(target, now) for target in targets], [], horizon, horizon)
        if start.kind == "last":
            origins, oldest = await _Backwards(self._log, targets, start.value).find(now)
            since = min(oldest, horizon)
            return Beginning(origins, [], since, since)
        if start.kind == "cursor":
            assert start.cursor is not None
            return await self._resume(start.cursor, targets, now)
        since = start.value if start.kind == "time" else max(0, now - start.value)
        work = [self._at_time(target, dict.fromkeys(_partitions(target), since)) for target in targets]
        origins = await gathered(work)
        if since > horizon:  # so late a time may lead elsewhere soon
            for origin in origins:
                origin.newest = [now] * len(origin.newest)
        return Beginning(origins, [], min(since, horizon), horizon)

    async def _at_time(self, target: Target, times: dict[int, int]) -> Origin:
        """Where append times lead to, for some of the partitions; for others the first offset."""
        bounds = target.bounds
        asked = [
            self._bus.offset_for_time(target.topic, partition, since) if since > 0 else _just(bounds[partition].first)
            for partition, since in times.items()
        ]
        origin = _origin(target, [bound.first for bound in bounds], -1)
        for partition, offset in zip(times, await gathered(asked), strict=True):
            origin.offsets[partition] = max(offset, bounds[partition].first)
        return origin

    async def _resume(self, cursor: Cursor, targets: Sequence[Target], now: int) -> Beginning:
        gaps: list[Gap] = []
        sweep = cursor.sweep
        if sweep is None:
            origins = [_resume_exactly(cursor, target, gaps, now) for target in targets]
            return Beginning(origins, gaps, cursor.floor_ms, max(cursor.floor_ms, now - TIME_MARGIN))
        origins = await gathered([self._resume_sweep(cursor, target, gaps) for target in targets])
        return Beginning(origins, gaps, cursor.floor_ms, sweep.before_ms, cursor.active)

    async def _resume_sweep(self, cursor: Cursor, target: Target, gaps: list[Gap]) -> Origin:
        sweep, here, name = cursor.sweep, cursor.active, topic_hash(target.topic)
        assert sweep is not None
        known: dict[int, tuple[int, int]] = {}
        for partition in _partitions(target):
            listed = sweep.listed.get(lane_tag(target.topic, target.epoch, partition))
            if listed is not None:
                known[partition] = listed
        if name == here[0] and here[1] < len(target.bounds):
            if sweep.epoch != epoch_hash(target.epoch):
                _recreated(target, [sweep.offset], here[1], gaps)
                return _origin(target, [bound.first for bound in target.bounds], -1)
            known[here[1]] = (sweep.offset, sweep.newest_ms)
        times = {
            partition: sweep.before_ms if (name, partition) < here else sweep.after_ms
            for partition in _partitions(target)
            if partition not in known
        }
        origin = await self._at_time(target, times)
        await self._tell_removed(origin, times, gaps)
        for partition, (offset, newest) in known.items():
            origin.offsets[partition] = _within(target, partition, offset, gaps)
            origin.newest[partition] = newest
        return origin

    async def _tell_removed(self, origin: Origin, times: dict[int, int], gaps: list[Gap]) -> None:
        """Where a time leads to the first offset, retention may have removed events behind it.
        How many is not known, which an empty gap says. (From time 0 all is as for `earliest`.)"""
        target = origin.target
        places = [
            (partition, target.bounds[partition].first)
            for partition, since in times.items()
            if since > 0 and 0 < target.bounds[partition].first == origin.offsets[partition]
        ]
        if not places:
            return
        info = await self._bus.describe_topic(target.topic)
        kept_since = int(self._clock() * 1000) - info.retention_ms
        for partition, first in places:
            if info.retention_bytes >= 0 or (info.retention_ms >= 0 and times[partition] < kept_since + TIME_MARGIN):
                gaps.append(Gap(target.topic, partition, first, first, "retention"))


def _partitions(target: Target) -> range:
    return range(len(target.bounds))


def _origin(target: Target, offsets: list[int], newest: int) -> Origin:
    return Origin(target, offsets, [newest] * len(offsets))


def _at_end(target: Target, now: int) -> Origin:
    return _origin(target, [bound.next for bound in target.bounds], now)


def _resume_exactly(cursor: Cursor, target: Target, gaps: list[Gap], now: int) -> Origin:
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
    return Origin(target, offsets, [now if p < len(known) else -1 for p in range(len(wanted))])


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

    def __init__(self, target: Target, partition: int, step: int) -> None:
        self.target, self.partition = target, partition
        self.first, self.next = target.bounds[partition].first, target.bounds[partition].next
        self.low = self.next
        self.step = step
        #: (append time, offset) of the matching events from `low` on, in log order.
        self.matches: list[tuple[int, int]] = []
        #: The append time of the oldest event looked at.
        self.oldest = 2**63

    def done(self, wanted: int, horizon: int) -> bool:
        """Whether nothing older here can belong to the latest `wanted`."""
        return self.low <= self.first or len(self.matches) >= wanted or self.oldest < horizon

    def forget(self, horizon: int) -> None:
        """Drop matches that are older: others are the latest."""
        drop = 0
        while drop < len(self.matches) and self.matches[drop][0] < horizon:
            drop += 1
        del self.matches[:drop]


class _Backwards:
    """Finds the last `wanted` matching events of some topics."""

    def __init__(self, log: SharedLog, targets: Sequence[Target], wanted: int) -> None:
        self._log, self._targets, self._wanted = log, targets, wanted
        count = sum(len(target.bounds) for target in targets)
        step = max(1, min(_FIRST_STEP, _FIRST_STEPS // max(1, count)))
        self._lanes = [_Ahead(target, p, step) for target in targets for p in _partitions(target)]
        self._budget = LAST_BYTES

    async def find(self, now: int) -> tuple[list[Origin], int]:
        """Where to start, and the append time of the oldest event found."""
        while self._budget > 0:
            horizon = self._horizon()
            for lane in self._lanes:
                lane.forget(horizon)
            work = [self._look_back(lane) for lane in self._lanes if not lane.done(self._wanted, horizon)]
            if not work:
                break
            await gathered(work)
        origins = {target.topic: _at_end(target, now) for target in self._targets}
        oldest = now
        for lane in self._chosen():
            origins[lane.target.topic].offsets[lane.partition] = lane.matches[0][1]
            oldest = min(oldest, lane.matches[0][0])
        return list(origins.values()), oldest

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
                found += [(event.timestamp_ms, event.offset) for event in lane.target.selection.matching(inside)]
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
