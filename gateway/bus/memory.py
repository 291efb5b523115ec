"""A bus in memory that keeps the contract, with hooks to make everything go wrong.

It ships beside the real ones so that plug-ins and the reading side can be tested without files
or a broker. Nothing is durable: `append` resolves once the events are in memory. The hooks at
the end of `MemoryBus` (`hold`, `fail_next`, `away`, `truncate`, `compact`, `hole`, `corrupt`,
`lose_tail`, `pause_tail`, `expire`) do at once what time, other clients and broken machines do
to a real bus.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from gateway.address import check_topic
from gateway.bus.binding import key_of
from gateway.bus.contract import (
    Batch,
    Bounds,
    BusHealth,
    Position,
    TailSink,
    TopicChange,
    TopicHealth,
    TopicInfo,
    TopicSettings,
)
from gateway.bus.partitioner import Partitioner, check_keys
from gateway.bus.records import encoded_size
from gateway.bus.settings import SettingBounds, refuse, setting_faults
from gateway.errors import (
    BusUnavailable,
    CorruptData,
    Fault,
    LinkspanError,
    OffsetOutOfRange,
    TooLarge,
    TopicExists,
    UnknownTopic,
)
from gateway.event import Event

MAX_EVENT_BYTES = 1024 * 1024
_DEFAULTS = TopicSettings(
    partitions=1,
    replication=1,
    retention_ms=7 * 24 * 3600 * 1000,
    retention_bytes=-1,
    cleanup="delete",
    compression="none",
)
_BOUNDS = SettingBounds(10_000, 1, "one machine keeps one copy")


class MemoryPartition:
    """Batches in offset order; everything below `first` is gone."""

    def __init__(self) -> None:
        self.first = 0
        self.next = 0
        self.batches: list[Batch] = []
        self.bad: set[int] = set()

    def put(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.next = batch.next_offset

    def index(self, offset: int) -> int:
        """Where the first batch stands that reaches beyond `offset`."""
        return bisect_right(self.batches, offset, key=lambda batch: batch.next_offset)

    def truncate(self, first: int) -> None:
        self.first = max(self.first, min(first, self.next))
        del self.batches[: self.index(self.first)]

    @property
    def size(self) -> int:
        return sum(batch.size for batch in self.batches)


class MemoryTopic:
    """A topic's description and its partitions."""

    def __init__(self, info: TopicInfo) -> None:
        self.info = info
        self.partitions = [MemoryPartition() for _ in range(info.partitions)]


class MemoryTail:
    """See `gateway.bus.contract.Tail`. While paused, batches wait here in order."""

    def __init__(self, bus: MemoryBus, sink: TailSink) -> None:
        self._bus, self.sink = bus, sink
        self.topics: set[str] = set()
        self.waiting: deque[Batch] = deque()

    async def follow(self, topic: str) -> None:
        await self._bus.enter("follow")
        self._bus.topic(topic)
        self.topics.add(topic)

    def unfollow(self, topic: str) -> None:
        self.topics.discard(topic)
        self.waiting = deque(batch for batch in self.waiting if batch.topic != topic)

    async def close(self) -> None:
        self.topics.clear()
        self.waiting.clear()
        self._bus.forget(self)


class MemoryBus:
    """See `gateway.bus.contract.Bus`.

    `clock` gives seconds since 1970. `batch_events` bounds the events of one stored batch, so
    that a small number makes many batches.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, batch_events: int = 10_000) -> None:
        self._clock, self._batch_events = clock, batch_events
        self._topics: dict[str, MemoryTopic] = {}
        self._tails: list[MemoryTail] = []
        self._epochs = itertools.count(1)
        self._partitioner = Partitioner()
        self._reasons: tuple[str, ...] = ()
        self._failures: dict[str, deque[tuple[LinkspanError, frozenset[int] | None, bool]]] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._lost = 0
        self._paused = False
        #: How often each operation was called: tests that claim sharing count here.
        self.calls: dict[str, int] = {}

    # The contract

    async def start(self) -> None:
        await self.enter("start")

    async def close(self) -> None:
        for gate in self._gates.values():
            gate.set()
        for tail in list(self._tails):
            await tail.close()

    async def append(self, topic: str, events: Sequence[Event], deadline: float | None = None) -> Sequence[Position]:
        await self.enter("append")
        there = self.topic(topic)
        failure = self._failure("append")
        if failure is not None and failure[1] is None and not failure[2]:
            raise failure[0]
        groups = self._group(there, events)
        refused = failure[1] if failure is not None and failure[1] is not None and not failure[2] else frozenset()
        for partition, members in groups.items():
            if partition not in refused:
                self._store(there, partition, members)
            else:
                for event in members:
                    event.offset = -1
        positions = [None if event.offset < 0 else (event.partition, event.offset) for event in events]
        if failure is not None and (failure[2] or not refused.isdisjoint(groups)):
            failure[0].detail["positions"] = positions
            raise failure[0]
        return [position for position in positions if position is not None]

    async def read(self, topic: str, partition: int, offset: int, max_bytes: int) -> list[Batch]:
        await self.enter("read")
        self._raise("read")
        log = self._partition(topic, partition)
        if not log.first <= offset <= log.next:
            raise OffsetOutOfRange(topic, partition, offset, log.first, log.next)
        found: list[Batch] = []
        weight = 0
        for batch in log.batches[log.index(offset) :]:
            if batch.base_offset in log.bad:
                if found:
                    break
                raise CorruptData(
                    f"{topic}/{partition}: the batch at offset {batch.base_offset} fails its checksum",
                    topic=topic,
                    partition=partition,
                    offset=batch.base_offset,
                    next_offset=batch.next_offset,
                )
            if found and weight + batch.size > max_bytes:
                break
            found.append(batch.since(offset) if not found else batch)
            weight += batch.size
        return found

    async def offset_for_time(self, topic: str, partition: int, timestamp_ms: int) -> int:
        await self.enter("offset_for_time")
        self._raise("offset_for_time")
        log = self._partition(topic, partition)
        at = bisect_left(log.batches, timestamp_ms, key=lambda batch: batch.timestamp_ms)
        for batch in log.batches[at:]:
            for event in batch.events:
                if event.timestamp_ms >= timestamp_ms and event.offset >= log.first:
                    return event.offset
        return log.next

    async def bounds(self, topic: str) -> list[Bounds]:
        await self.enter("bounds")
        self._raise("bounds")
        return [Bounds(log.first, log.next) for log in self.topic(topic).partitions]

    def tail(self, sink: TailSink) -> MemoryTail:
        tail = MemoryTail(self, sink)
        self._tails.append(tail)
        return tail

    async def topics(self, *, internal: bool = False) -> list[str]:
        await self.enter("topics")
        return sorted(name for name in self._topics if internal or not name.startswith("_"))

    def setting_faults(self, settings: TopicSettings, now: TopicInfo | None = None) -> tuple[Fault, ...]:
        return setting_faults(settings, now, _BOUNDS)

    async def create_topic(self, name: str, settings: TopicSettings) -> TopicInfo:
        await self.enter("create_topic")
        self._raise("create_topic")
        check_topic(name, internal=True)
        if name in self._topics:
            raise TopicExists(f"topic {name!r} exists already")
        refuse(self.setting_faults(settings))
        info = self._settle(
            TopicInfo(name, f"memory-{next(self._epochs)}", 1, 1, 0, 0, "delete", "none", MAX_EVENT_BYTES),
            _merge(_DEFAULTS, settings),
        )
        self._topics[name] = MemoryTopic(info)
        self._tell(name, TopicChange.CREATED)
        return info

    async def describe_topic(self, name: str) -> TopicInfo:
        self.calls["describe_topic"] = self.calls.get("describe_topic", 0) + 1
        return self.topic(name).info

    async def alter_topic(self, name: str, settings: TopicSettings) -> TopicInfo:
        await self.enter("alter_topic")
        self._raise("alter_topic")
        there = self.topic(name)
        before = there.info.partitions
        there.info = self._settle(there.info, settings)
        there.partitions.extend(MemoryPartition() for _ in range(there.info.partitions - before))
        if there.info.partitions > before:
            self._tell(name, TopicChange.PARTITIONS)
        return there.info

    async def delete_topic(self, name: str) -> None:
        await self.enter("delete_topic")
        self._raise("delete_topic")
        self.topic(name)
        del self._topics[name]
        for tail in self._tails:
            tail.unfollow(name)
        self._tell(name, TopicChange.DELETED)

    async def topic_health(self, name: str) -> TopicHealth:
        await self.enter("topic_health")
        self.topic(name)
        return TopicHealth()

    def health(self) -> BusHealth:
        return BusHealth(not self._reasons, self._reasons, {"topics": len(self._topics)})

    # What goes wrong, on demand

    def fail_next(
        self, operation: str, error: LinkspanError, *, partitions: Sequence[int] | None = None, stored: bool = False
    ) -> None:
        """The next `operation` (a method's name) raises `error`; call again for the one after.

        For `append`: with `partitions` only those fail, and `stored` raises although the events
        landed; both set `error.detail["positions"]`.
        """
        only = None if partitions is None else frozenset(partitions)
        self._failures.setdefault(operation, deque()).append((error, only, stored))

    def hold(self, operation: str) -> Callable[[], None]:
        """Calls of `operation` wait, before they look at anything, until the result is called."""
        gate = self._gates[operation] = asyncio.Event()
        return gate.set

    def away(self, *reasons: str) -> None:
        """Out of reach: every call raises BusUnavailable until `back`; sinks are told."""
        self._reasons = reasons or ("the bus is away",)
        self._tell_health()

    def back(self) -> None:
        self._reasons = ()
        self._tell_health()

    def truncate(self, topic: str, partition: int, first: int) -> None:
        """Retention: offsets below `first` are gone."""
        self._partition(topic, partition).truncate(first)

    def expire(self, topic: str) -> None:
        """Apply the topic's own retention by time and bytes, batch by batch."""
        info = self.topic(topic).info
        oldest = self._clock() * 1000 - info.retention_ms
        for log in self.topic(topic).partitions:
            for batch in list(log.batches):
                too_old = info.retention_ms >= 0 and batch.timestamp_ms < oldest
                if not too_old and not 0 <= info.retention_bytes < log.size:
                    break
                log.truncate(batch.next_offset)

    def compact(self, topic: str) -> None:
        """Keep the last event of every key. Offsets stay, so holes appear."""
        for log in self.topic(topic).partitions:
            last = {event.key: event.offset for batch in log.batches for event in batch.events}
            for at, batch in enumerate(log.batches):
                kept = [e for e in batch.events if e.key is None or last[e.key] == e.offset]
                log.batches[at] = msgspec.structs.replace(batch, events=kept)

    def hole(self, topic: str, partition: int, count: int = 1) -> None:
        """Offsets that hold no event, such as transaction markers."""
        log = self._partition(topic, partition)
        self._put(log, Batch(topic, partition, log.next, log.next + count, [], 0, self._now()))

    def corrupt(self, topic: str, partition: int, offset: int) -> None:
        """Damage the batch that holds `offset`: reads of it raise CorruptData."""
        log = self._partition(topic, partition)
        log.bad.add(log.batches[log.index(offset)].base_offset)

    def lose_tail(self, count: int = 1) -> None:
        """The next `count` batches are stored but never reach a tail."""
        self._lost = count

    def pause_tail(self) -> None:
        """Batches are held back from tails until `resume_tail`."""
        self._paused = True

    def resume_tail(self, count: int | None = None) -> None:
        """Deliver what was held back, in order; with `count` only so many, and stay paused."""
        self._paused = count is not None
        for tail in list(self._tails):
            for _ in range(len(tail.waiting) if count is None else min(count, len(tail.waiting))):
                tail.sink.on_batch(tail.waiting.popleft())

    # Inside

    async def enter(self, operation: str) -> None:
        """Count, give way to others as a real bus would, and refuse while away."""
        self.calls[operation] = self.calls.get(operation, 0) + 1
        await asyncio.sleep(0)
        gate = self._gates.get(operation)
        if gate is not None:
            await gate.wait()
        if self._reasons:
            raise BusUnavailable(f"the bus is out of reach: {', '.join(self._reasons)}")

    def topic(self, name: str) -> MemoryTopic:
        there = self._topics.get(name)
        if there is None:
            raise UnknownTopic(name)
        return there

    def forget(self, tail: MemoryTail) -> None:
        if tail in self._tails:
            self._tails.remove(tail)

    def _partition(self, topic: str, partition: int) -> MemoryPartition:
        partitions = self.topic(topic).partitions
        if not 0 <= partition < len(partitions):
            raise UnknownTopic(topic, partition=partition)
        return partitions[partition]

    def _failure(self, operation: str) -> tuple[LinkspanError, frozenset[int] | None, bool] | None:
        waiting = self._failures.get(operation)
        return waiting.popleft() if waiting else None

    def _raise(self, operation: str) -> None:
        failure = self._failure(operation)
        if failure is not None:
            raise failure[0]

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _group(self, there: MemoryTopic, events: Sequence[Event]) -> dict[int, list[Event]]:
        if there.info.cleanup == "compact":
            check_keys(events, there.info.name)
        for event in events:
            key_of(event)
            if encoded_size(event) > there.info.max_event_bytes:
                raise TooLarge(f"an event of {encoded_size(event)} bytes; {there.info.name} takes {MAX_EVENT_BYTES}")
        split = self._partitioner.split(events, len(there.partitions))
        return {partition: [events[place] for place in places] for partition, places in split.items()}

    def _store(self, there: MemoryTopic, partition: int, events: list[Event]) -> None:
        log, now, name = there.partitions[partition], self._now(), there.info.name
        for at in range(0, len(events), self._batch_events):
            part = events[at : at + self._batch_events]
            base = log.next
            for offset, event in enumerate(part, base):
                event.topic, event.partition, event.offset, event.timestamp_ms = name, partition, offset, now
            self._put(log, Batch(name, partition, base, base + len(part), part, sum(map(encoded_size, part)), now))

    def _put(self, log: MemoryPartition, batch: Batch) -> None:
        log.put(batch)
        if self._lost:
            self._lost -= 1
            return
        for tail in list(self._tails):
            if batch.topic not in tail.topics:
                continue
            if self._paused or tail.waiting:
                tail.waiting.append(batch)
            else:
                tail.sink.on_batch(batch)

    def _settle(self, info: TopicInfo, settings: TopicSettings) -> TopicInfo:
        refuse(self.setting_faults(settings, info))
        partitions = info.partitions if settings.partitions is None else settings.partitions
        return TopicInfo(
            info.name,
            info.epoch,
            partitions,
            1,
            info.retention_ms if settings.retention_ms is None else settings.retention_ms,
            info.retention_bytes if settings.retention_bytes is None else settings.retention_bytes,
            settings.cleanup or info.cleanup,
            settings.compression or info.compression,
            info.max_event_bytes,
        )

    def _tell(self, topic: str, change: TopicChange) -> None:
        for tail in list(self._tails):
            tail.sink.on_topic(topic, change)

    def _tell_health(self) -> None:
        for tail in list(self._tails):
            tail.sink.on_health(self.health())


def _merge(base: TopicSettings, over: TopicSettings) -> TopicSettings:
    names = TopicSettings.__struct_fields__
    return TopicSettings(**{n: getattr(base if getattr(over, n) is None else over, n) for n in names})
