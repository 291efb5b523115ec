"""The live edge of this process: one listener on the bus's tail for all readers.

A topic is followed while somebody wants it. Followers with equal selections share one result
for each batch: it is selected once, and handed to each of them synchronously. Nothing is kept
but the window of recent batches (see `gateway.delivery.window`) and what followers queue,
which all together has a bound here: beyond it those with the oldest blocks must let go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

import structlog

from gateway.bus.contract import Batch, Bounds, Bus, BusHealth, Tail, TopicChange
from gateway.delivery.handover import GapReason
from gateway.delivery.select import Selection
from gateway.delivery.window import EVENT_WEIGHT, SharedLog
from gateway.errors import LinkspanError, Unavailable, UnknownTopic
from gateway.event import Event

T = TypeVar("T")
#: Seconds between attempts while the bus is away.
RETRY = 0.5

logger = structlog.get_logger("linkspan.delivery")


class Block:
    """A tail batch and those of its events that one selection wants, shared by its followers.

    `size` is the events' share of the batch's bytes; `number` grows with time. `holders`
    counts the queues that the block stands in.
    """

    __slots__ = ("batch", "events", "holders", "number", "size")

    def __init__(self, batch: Batch, events: list[Event], number: int) -> None:
        self.batch, self.events, self.number = batch, events, number
        self.size = batch.size * len(events) // max(1, len(batch.events))
        self.holders = 0


class Follower(Protocol):
    """Who follows topics through the hub. All calls are synchronous and must not raise."""

    def on_block(self, block: Block) -> None:
        """A batch of a topic that was joined, in order per partition, maybe with gaps between."""

    def wants(self, topic: str) -> bool:
        """Whether a topic that appeared is to be joined."""

    def on_appeared(self, tail: TopicTail) -> None:
        """A topic that it wants appeared, or grew: new partitions begin at offset 0."""

    def on_gone(self, topic: str, reason: GapReason) -> None:
        """The topic was `deleted`, or `recreated`: then `on_appeared` follows."""

    def on_edge(self, topic: str) -> None:
        """The tail may have left something out: see `TopicTail.next`."""

    def on_health(self, health: BusHealth) -> None:
        """The bus is ready again, or away."""

    def let_go(self) -> bool:
        """Drop what is queued, it is read again from the log; False if there is nothing."""

    @property
    def oldest(self) -> int:
        """The number of the oldest block in the queue; -1 without any."""


class TopicTail:
    """A followed topic: its epoch and, per partition, the offset up to which events exist."""

    __slots__ = ("epoch", "groups", "members", "name", "next", "opening")

    def __init__(self, name: str) -> None:
        self.name, self.epoch = name, ""
        self.next: list[int] = []
        self.members: dict[Follower, Selection] = {}
        self.groups: dict[Selection, dict[Follower, None]] = {}
        self.opening: asyncio.Task[None] | None = None

    def enter(self, follower: Follower, selection: Selection) -> None:
        self.members[follower] = selection
        self.groups.setdefault(selection, {})[follower] = None

    def leave(self, follower: Follower) -> None:
        selection = self.members.pop(follower, None)
        if selection is not None:
            del self.groups[selection][follower]
            if not self.groups[selection]:
                del self.groups[selection]

    def raise_to(self, bounds: list[Bounds]) -> None:
        self.next.extend([0] * (len(bounds) - len(self.next)))
        for partition, bound in enumerate(bounds):
            self.next[partition] = max(self.next[partition], bound.next)


class TailHub:
    """The one TailSink of the readers of a process. `queue_bytes` bounds all queues together."""

    def __init__(self, bus: Bus, log: SharedLog, queue_bytes: int) -> None:
        self._bus, self._log, self._queue_bytes = bus, log, queue_bytes
        self._tail: Tail | None = None
        self._topics: dict[str, TopicTail] = {}
        self._followers: dict[Follower, None] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._edges: dict[str, asyncio.Task[list[Bounds]]] = {}
        self._number = 0
        #: Bytes in the queues of all followers, a shared block counted once.
        self.queued = 0
        self.health = BusHealth(True)

    def open(self) -> None:
        """Begin to listen; nothing is followed yet. Idempotent."""
        if self._tail is None:
            self._tail = self._bus.tail(self)
            self.health = self._bus.health()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tail is not None:
            await self._tail.close()
            self._tail = None
        self._topics.clear()
        self._followers.clear()

    @property
    def followed(self) -> list[str]:
        return sorted(self._topics)

    # Followers

    def register(self, follower: Follower) -> None:
        """From now on it learns of topics that appear, and of the bus's health."""
        self._followers[follower] = None

    def unregister(self, follower: Follower) -> None:
        self._followers.pop(follower, None)
        for topic in [tail.name for tail in self._topics.values() if follower in tail.members]:
            self.leave(topic, follower)

    async def join(self, topic: str, follower: Follower, selection: Selection) -> TopicTail:
        """Follow a topic. Blocks may come before this returns.

        On return every batch appended later reaches the follower, or raises `TopicTail.next`.
        Raises UnknownTopic, BusUnavailable.
        """
        tail = self._topics.get(topic)
        if tail is None:
            tail = self._topics[topic] = TopicTail(topic)
            tail.opening = self._spawn(self._begin(tail), f"follow {topic}")
        tail.enter(follower, selection)
        if tail.opening is not None:
            await asyncio.shield(tail.opening)
        return tail

    def leave(self, topic: str, follower: Follower) -> None:
        """The last one to leave ends the following."""
        tail = self._topics.get(topic)
        if tail is None:
            return
        tail.leave(follower)
        if not tail.members:
            self._end(tail)

    async def edge(self, topic: str) -> list[Bounds]:
        """The bounds as they are now or later. Those who ask meanwhile share the next answer."""
        waiting = self._edges.get(topic)
        if waiting is None:
            waiting = self._edges[topic] = self._spawn(self._ask(topic), f"bounds of {topic}")
        return await asyncio.shield(waiting)

    # What followers queue

    def hold(self, block: Block) -> None:
        """A follower queues the block."""
        if not block.holders:
            self.queued += block.size + EVENT_WEIGHT * len(block.events)
        block.holders += 1

    def release(self, block: Block) -> None:
        block.holders -= 1
        if not block.holders:
            self.queued -= block.size + EVENT_WEIGHT * len(block.events)

    # The bus's tail: see gateway.bus.contract.TailSink

    def on_batch(self, batch: Batch) -> None:
        tail = self._topics.get(batch.topic)
        if tail is None:
            return
        partition = batch.partition
        if partition >= len(tail.next):
            tail.next.extend([0] * (partition + 1 - len(tail.next)))
        tail.next[partition] = max(tail.next[partition], batch.next_offset)
        self._log.put(batch)
        for selection, members in tail.groups.items():
            self._number += 1
            block = Block(batch, selection.select(batch.events), self._number)
            for follower in members:
                follower.on_block(block)
        if self.queued > self._queue_bytes:
            self._relieve()

    def on_topic(self, topic: str, change: TopicChange) -> None:
        if change is TopicChange.DELETED:
            self._lost(topic, "deleted")
        elif change is TopicChange.PARTITIONS:
            if topic in self._topics:
                self._spawn(self._until_done(lambda: self._grow(topic)), f"grow {topic}")
        else:
            self._spawn(self._until_done(lambda: self._appear(topic)), f"appear {topic}")

    def on_health(self, health: BusHealth) -> None:
        self.health = health
        for follower in list(self._followers):
            follower.on_health(health)
        if health.ready:
            for topic in self._topics:
                self._spawn(self._until_done(lambda topic=topic: self._catch(topic)), f"edge of {topic}")  # type: ignore[misc]

    # Inside

    async def _begin(self, tail: TopicTail) -> None:
        try:
            if self._tail is None:
                raise Unavailable("the reader is closed")
            await self._tail.follow(tail.name)
            tail.epoch = (await self._bus.describe_topic(tail.name)).epoch
            tail.raise_to(await self._bus.bounds(tail.name))
            tail.opening = None
        except BaseException:
            if self._topics.get(tail.name) is tail:
                self._end(tail)
            raise

    def _end(self, tail: TopicTail) -> None:
        del self._topics[tail.name]
        if self._tail is not None:
            self._tail.unfollow(tail.name)

    async def _ask(self, topic: str) -> list[Bounds]:
        # Whoever comes after the question was put must not get its answer.
        await asyncio.sleep(0)
        del self._edges[topic]
        bounds = await self._bus.bounds(topic)
        tail = self._topics.get(topic)
        if tail is not None:
            tail.raise_to(bounds)
        return bounds

    def _lost(self, topic: str, reason: GapReason) -> None:
        self._log.forget(topic)
        tail = self._topics.get(topic)
        if tail is None:
            return
        self._end(tail)
        for follower in list(tail.members):
            follower.on_gone(topic, reason)

    async def _appear(self, topic: str) -> None:
        tail = self._topics.get(topic)
        if tail is not None:
            # Also told of a topic that was made anew unnoticed. Its log is another one.
            if tail.opening is not None or (await self._bus.describe_topic(topic)).epoch == tail.epoch:
                return
            if self._topics.get(topic) is tail:
                self._lost(topic, "recreated")
        self._log.forget(topic)
        for follower in list(self._followers):
            if follower.wants(topic):
                await self._admit(topic, follower)

    async def _admit(self, topic: str, follower: Follower) -> None:
        tail = await self.join(topic, follower, Selection(topic, ()))
        if follower not in self._followers or self._topics.get(topic) is not tail:
            self.leave(topic, follower)
            return
        follower.on_appeared(tail)

    async def _grow(self, topic: str) -> None:
        bounds = await self._bus.bounds(topic)
        tail = self._topics.get(topic)
        if tail is not None:
            tail.raise_to(bounds)
            for follower in list(tail.members):
                follower.on_appeared(tail)

    async def _catch(self, topic: str) -> None:
        bounds = await self._bus.bounds(topic)
        tail = self._topics.get(topic)
        if tail is not None:
            tail.raise_to(bounds)
            for follower in list(tail.members):
                follower.on_edge(topic)

    def _relieve(self) -> None:
        holders = sorted((f for f in self._followers if f.oldest >= 0), key=lambda f: f.oldest)
        for follower in holders:
            if self.queued <= self._queue_bytes * 3 // 4:
                break
            follower.let_go()

    async def _until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        """Repeat while the bus is away. A topic that went meanwhile needs nothing more."""
        while True:
            try:
                await work()
                return
            except UnknownTopic:
                return
            except Unavailable as error:
                logger.info("waiting for the bus", error=error.message)
                await asyncio.sleep(RETRY)
            except LinkspanError as error:
                logger.warning("could not follow a topic", error=error.message)
                return

    def _spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it raises it; nobody else may need to
