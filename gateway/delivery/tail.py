"""The live edge of this process: the one listener on the bus's tail, for all who follow it.

A topic is followed while somebody wants it. A batch is selected once for all followers with
equal selections and handed to each of them synchronously. Nothing is kept but the window of
recent batches (`hub.log`) and what followers queue; both have a bound for all together. Over
it, those with the oldest blocks let go of their queues first, and read the log instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import structlog

from gateway.bus.contract import Batch, Bounds, Bus, BusHealth, Tail, TopicChange
from gateway.delivery.follow import Block, Follower, TopicTail, Waker
from gateway.delivery.handover import GapReason
from gateway.delivery.select import Selection
from gateway.delivery.window import EVENT_WEIGHT, SharedLog
from gateway.errors import LinkspanError, Unavailable, UnknownTopic

T = TypeVar("T")
MEMORY = 48 * 2**20
#: Seconds between attempts while the bus is away.
RETRY = 0.5

_log = structlog.get_logger("linkspan.delivery")


class TailHub:
    """See the module. `memory` bytes are shared by the window, re-read chunks and all queues."""

    def __init__(self, bus: Bus, memory: int = MEMORY) -> None:
        self._bus = bus
        self.log = SharedLog(bus)
        self.resize(memory)
        self._tail: Tail | None = None
        self._topics: dict[str, TopicTail] = {}
        self._followers: dict[Follower, dict[TopicTail, None]] = {}
        self._listeners: list[Callable[[str, TopicChange], None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._edges: dict[str, asyncio.Task[list[Bounds]]] = {}
        self._number = 0
        #: Bytes in the queues of all followers, a shared block counted once.
        self.queued = 0
        self.health = BusHealth(True)

    def resize(self, memory: int) -> None:
        """Set the bound of all memory together, in bytes."""
        self.log.resize(memory // 2)
        self._queue_bytes = memory - memory // 2

    def start(self) -> None:
        """Begin to listen, without following anything yet. Idempotent; after the bus's start."""
        if self._tail is None:
            self._tail = self._bus.tail(self)
            self.health = self._bus.health()

    async def close(self) -> None:
        """Stop following. Followers are not told: their owners close them first."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.log.close()
        if self._tail is not None:
            tail, self._tail = self._tail, None
            await tail.close()
        self._topics.clear()
        self._followers.clear()

    @property
    def followed(self) -> list[str]:
        return sorted(self._topics)

    def listen(self, callback: Callable[[str, TopicChange], None]) -> None:
        """Call for every topic that comes, goes or grows, before followers learn of it."""
        self._listeners.append(callback)

    async def wake_on(self, topic: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` whenever the topic may have changed; the result ends that.

        Raises UnknownTopic, BusUnavailable.
        """
        waker = Waker(topic, wake)
        self.register(waker)
        try:
            await self.join(topic, waker, Selection(topic, ()))
        except BaseException:
            self.unregister(waker)
            raise
        return partial(self.unregister, waker)

    # Followers

    def register(self, follower: Follower) -> None:
        """From now on it learns of topics that appear, and of the bus's health."""
        self._followers.setdefault(follower, {})

    def unregister(self, follower: Follower) -> None:
        """It leaves all topics. The last one to leave a topic ends the following."""
        for tail in self._followers.pop(follower, ()):
            tail.leave(follower)
            if not tail.members:
                self._end(tail)

    async def join(self, topic: str, follower: Follower, selection: Selection) -> TopicTail:
        """Let a registered follower follow a topic. Blocks may come before this returns.

        On return every batch stored later reaches the follower or raises `TopicTail.next`.
        Raises UnknownTopic, BusUnavailable.
        """
        tail = self._topics.get(topic)
        if tail is None:
            tail = self._topics[topic] = TopicTail(topic)
            tail.opening = self._spawn(self._begin(tail), f"follow {topic}")
        tail.enter(follower, selection)
        self._followers[follower][tail] = None
        if tail.opening is not None:
            await asyncio.shield(tail.opening)
        if not self.is_current(tail):
            raise UnknownTopic(topic)
        return tail

    def is_current(self, tail: TopicTail) -> bool:
        """False once the topic was deleted, or made anew."""
        return self._topics.get(tail.name) is tail

    async def edge(self, topic: str) -> list[Bounds]:
        """The bounds as they are now or later. Those who ask meanwhile share one answer."""
        waiting = self._edges.get(topic)
        if waiting is None:
            waiting = self._edges[topic] = self._spawn(self._ask(topic), f"bounds of {topic}")
        return await asyncio.shield(waiting)

    async def epoch(self, topic: str) -> str:
        """The topic's epoch as the bus knows it now."""
        return (await self._bus.describe_topic(topic)).epoch

    def look_again(self, topic: str) -> None:
        """The topic may have appeared, or may be another one by now: find out."""
        self._spawn(self._until_done(partial(self._appear, topic)), f"look at {topic}")

    # What followers queue

    def hold(self, block: Block) -> None:
        """A follower queues the block."""
        if not block.holders:
            self.queued += block.size + EVENT_WEIGHT * len(block.events)
        block.holders += 1

    def release(self, block: Block) -> None:
        """It does not any more."""
        block.holders -= 1
        if not block.holders:
            self.queued -= block.size + EVENT_WEIGHT * len(block.events)

    # The bus's tail: see gateway.bus.contract.TailSink

    def on_batch(self, batch: Batch) -> None:
        tail = self._topics.get(batch.topic)
        if tail is None:
            return
        tail.advance(batch.partition, batch.next_offset)
        self.log.put(batch)
        for selection, members in tail.groups.items():
            self._number += 1
            block = Block(batch, selection.select(batch.events), self._number)
            for follower in members:
                follower.on_block(block)
        if self.queued > self._queue_bytes:
            self._relieve()

    def on_topic(self, topic: str, change: TopicChange) -> None:
        for callback in self._listeners:
            callback(topic, change)
        if change is TopicChange.DELETED:
            self._lose(topic, "deleted")
        elif change is TopicChange.CREATED:
            self.look_again(topic)
        elif topic in self._topics:
            self._spawn(self._until_done(partial(self._grow, topic)), f"grow {topic}")

    def on_health(self, health: BusHealth) -> None:
        self.health = health
        for follower in list(self._followers):
            follower.on_health(health)
        if health.ready:
            # What was stored while the bus was away may never come through the tail.
            for topic in self._topics:
                self._spawn(self._until_done(partial(self._catch, topic)), f"edge of {topic}")

    # Inside

    async def _begin(self, tail: TopicTail) -> None:
        try:
            if self._tail is None:
                raise Unavailable("the tail is not listened to: the gateway is starting or closing")
            await self._tail.follow(tail.name)
            tail.epoch = (await self._bus.describe_topic(tail.name)).epoch
            tail.raise_to(await self._bus.bounds(tail.name))
            tail.opening = None
            if not tail.members and self.is_current(tail):
                self._end(tail)
        except BaseException:
            if self.is_current(tail):
                self._end(tail)
            raise

    def _end(self, tail: TopicTail) -> None:
        del self._topics[tail.name]
        for follower in tail.members:
            self._followers[follower].pop(tail, None)
        if self._tail is not None:
            self._tail.unfollow(tail.name)

    async def _ask(self, topic: str) -> list[Bounds]:
        # Who comes after the question was put must not get its answer.
        await asyncio.sleep(0)
        del self._edges[topic]
        bounds = await self._bus.bounds(topic)
        tail = self._topics.get(topic)
        if tail is not None:
            tail.raise_to(bounds)
        return bounds

    def _lose(self, topic: str, reason: GapReason) -> None:
        self.log.forget(topic)
        tail = self._topics.get(topic)
        if tail is not None:
            self._end(tail)
            for follower in list(tail.members):
                follower.on_gone(topic, reason)

    async def _appear(self, topic: str) -> None:
        tail = self._topics.get(topic)
        if tail is not None and tail.opening is not None:
            await asyncio.shield(tail.opening)
        epoch = (await self._bus.describe_topic(topic)).epoch
        if tail is None or (epoch != tail.epoch and self.is_current(tail)):
            self._lose(topic, "recreated")
        for follower in list(self._followers):
            selection = follower.wants(topic) if follower in self._followers else None
            if selection is not None:
                joined = await self.join(topic, follower, selection)
                if follower in self._followers and self.is_current(joined):
                    follower.on_appeared(joined)

    async def _grow(self, topic: str) -> None:
        tail = await self._refresh(topic)
        if tail is not None:
            for follower in list(tail.members):
                follower.on_appeared(tail)

    async def _catch(self, topic: str) -> None:
        tail = await self._refresh(topic)
        if tail is not None:
            for follower in list(tail.members):
                follower.on_edge(tail)

    async def _refresh(self, topic: str) -> TopicTail | None:
        bounds = await self._bus.bounds(topic)
        tail = self._topics.get(topic)
        if tail is None or tail.opening is not None:
            return None  # who is joining asks for itself
        tail.raise_to(bounds)
        return tail

    def _relieve(self) -> None:
        holders = sorted((f for f in self._followers if f.oldest >= 0), key=_oldest)
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
                _log.info("tail_waits_for_bus", reason=error.message)
                await asyncio.sleep(RETRY)
            except LinkspanError as error:
                _log.warning("topic_not_followed", reason=error.message)
                return

    def _spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        # Whoever waits for it raises what the contract names; anything else is a defect.
        if error is not None and not isinstance(error, LinkspanError):
            _log.error("tail_task_failed", task=task.get_name(), exc_info=error)


def _oldest(follower: Follower) -> int:
    return follower.oldest
