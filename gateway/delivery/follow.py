"""The vocabulary between the tail and those who follow it: blocks, followers, followed topics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.bus.contract import Batch, Bounds, BusHealth
from gateway.delivery.handover import GapReason
from gateway.delivery.select import Selection
from gateway.event import Event


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


class TopicTail:
    """A followed topic: its epoch and, per partition, the offset up to which events exist.

    Followers with equal selections are one group and share their blocks.
    """

    __slots__ = ("epoch", "groups", "members", "name", "next", "opening")

    def __init__(self, name: str) -> None:
        self.name, self.epoch = name, ""
        self.next: list[int] = []
        self.members: dict[Follower, Selection] = {}
        self.groups: dict[Selection, dict[Follower, None]] = {}
        self.opening: asyncio.Task[None] | None = None

    def enter(self, follower: Follower, selection: Selection) -> None:
        self.leave(follower)
        self.members[follower] = selection
        self.groups.setdefault(selection, {})[follower] = None

    def leave(self, follower: Follower) -> None:
        selection = self.members.pop(follower, None)
        if selection is not None:
            group = self.groups[selection]
            del group[follower]
            if not group:
                del self.groups[selection]

    def advance(self, partition: int, end: int) -> None:
        self.next.extend([0] * (partition + 1 - len(self.next)))
        self.next[partition] = max(self.next[partition], end)

    def raise_to(self, bounds: Sequence[Bounds]) -> None:
        for partition, bound in enumerate(bounds):
            self.advance(partition, bound.next)


class Follower(Protocol):
    """Who follows topics through the hub. All calls are synchronous and must not raise."""

    @property
    def oldest(self) -> int:
        """The number of the oldest block in its queue; -1 without any."""

    def on_block(self, block: Block) -> None:
        """A batch of a joined topic: per partition in order, maybe with gaps between them."""

    def wants(self, topic: str) -> Selection | None:
        """What it wants of a topic that appeared; None for nothing, or when it has it already."""

    def on_appeared(self, tail: TopicTail) -> None:
        """A topic that it wants appeared or grew: partitions that are new begin at offset 0."""

    def on_gone(self, topic: str, reason: GapReason) -> None:
        """The topic was `deleted`, or `recreated`: then `wants` is asked again."""

    def on_edge(self, tail: TopicTail) -> None:
        """The tail may have left something out: `tail.next` says up to where events exist."""

    def on_health(self, health: BusHealth) -> None:
        """The bus is ready again, or away."""

    def let_go(self) -> bool:
        """Drop what is queued, it is read again from the log. False when there was nothing."""


class Waker:
    """A follower that only wants to know that a topic may have changed (see `bus/tables.py`)."""

    oldest = -1

    def __init__(self, topic: str, wake: Callable[[], None]) -> None:
        self._topic, self._wake, self._gone = topic, wake, False

    def on_block(self, block: Block) -> None:
        self._wake()

    def wants(self, topic: str) -> Selection | None:
        return Selection(topic, ()) if topic == self._topic and self._gone else None

    def on_appeared(self, tail: TopicTail) -> None:
        self._gone = False
        self._wake()

    def on_gone(self, topic: str, reason: GapReason) -> None:
        self._gone = True
        self._wake()

    def on_edge(self, tail: TopicTail) -> None:
        self._wake()

    def on_health(self, health: BusHealth) -> None:
        self._wake()

    def let_go(self) -> bool:
        return False
