"""The bus: a log of events in topics and partitions. One contract, two implementations.

Ordering
    Within a partition, offsets grow in append order, and events of one `append` keep
    their order. Events with equal keys go to the same partition, by Kafka's own
    partitioner (murmur2), so that both buses place them alike. Events without a key
    stay together in a partition of the bus's choice.

Durability
    `append` resolves only once the events are durable at the topic's level: `acks=all`
    on Kafka, `fdatasync` on the embedded log (`durability: fsync`). Cancelling a call
    does not take the events back.

Visibility
    Only what is durable is read or tailed, in offset order. Offsets may have holes
    (compaction, transactions, control records); `Batch.next_offset` is where to go on.

Errors
    UnknownTopic, OffsetOutOfRange, TooLarge, InvalidEvent, BusUnavailable (nothing of the call was
    stored), OutcomeUnknown (it may have been), CorruptData (the place, and the next
    readable offset as `detail["next_offset"]`). Everything else is a defect.

All calls are made on the event loop's thread. All callbacks come on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Literal, Protocol

import msgspec

from gateway.errors import Fault
from gateway.event import Event

Position = tuple[int, int]
"""(partition, offset)."""

Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]


class Batch(msgspec.Struct, gc=False, eq=False):
    """Events of one partition in offset order: decoded once, shared by all, never changed.

    `base_offset <= event.offset < next_offset` for every event. `events` may be empty
    (compacted away, a control batch): then it still moves the reader on.
    `size` is its weight in bytes for windows and budgets.
    """

    topic: str
    partition: int
    base_offset: int
    next_offset: int
    events: list[Event]
    size: int
    timestamp_ms: int = 0

    def since(self, offset: int) -> Batch:
        """The part from `offset` on; the same object when that is all of it."""
        if offset <= self.base_offset:
            return self
        events = [event for event in self.events if event.offset >= offset]
        size = self.size * len(events) // max(1, len(self.events))
        return Batch(self.topic, self.partition, offset, self.next_offset, events, size, self.timestamp_ms)


class Bounds(msgspec.Struct, frozen=True):
    """The first readable offset of a partition and the one after the last."""

    first: int
    next: int


class TopicSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What can be asked of a topic. None means the bus's own default.

    Times in milliseconds, sizes in bytes; -1 means no limit. `cleanup` is Kafka's
    `cleanup.policy`. `compression` applies to what the gateway writes.
    """

    partitions: int | None = None
    replication: int | None = None
    retention_ms: int | None = None
    retention_bytes: int | None = None
    cleanup: Literal["delete", "compact"] | None = None
    compression: Compression | None = None


class TopicInfo(msgspec.Struct, frozen=True):
    """A topic as it stands. `epoch` differs when a topic was deleted and made anew.

    `max_event_bytes` is the largest encoded event that the topic takes.
    """

    name: str
    epoch: str
    partitions: int
    replication: int
    retention_ms: int
    retention_bytes: int
    cleanup: Literal["delete", "compact"]
    compression: Compression
    max_event_bytes: int


class TopicHealth(msgspec.Struct, frozen=True):
    """Partition numbers in trouble; both empty when all is well (always on one machine)."""

    under_replicated: tuple[int, ...] = ()
    offline: tuple[int, ...] = ()


class BusHealth(msgspec.Struct, frozen=True):
    """`ready` with the reasons why not. `detail` holds figures for people (bytes, topics...).

    `degraded` says what is refused while all else is served, such as a damaged topic; it does not
    stand in the way of `ready`.
    """

    ready: bool
    reasons: tuple[str, ...] = ()
    detail: dict[str, str | int | float] = {}
    degraded: tuple[str, ...] = ()


class TopicChange(Enum):
    CREATED = "created"  # also: its epoch changed, it was deleted and made anew
    PARTITIONS = "partitions"
    DELETED = "deleted"


class TailSink(Protocol):
    """Who listens to the tail. Called synchronously on the loop; must not block or raise."""

    def on_batch(self, batch: Batch) -> None:
        """A durable batch of a followed topic. Per partition in order and without overlap;
        after a failure the tail may leave a gap (`batch.base_offset` is beyond the last
        `next_offset`), which the listener fills by reading."""

    def on_topic(self, topic: str, change: TopicChange) -> None:
        """A topic came, went or grew: within 10 s on Kafka, at once on the embedded log."""

    def on_health(self, health: BusHealth) -> None:
        """The bus became ready or ceased to be."""


class Tail(Protocol):
    """The live edge of the topics that are followed, as memory allows. One per process."""

    async def follow(self, topic: str) -> None:
        """Begin to deliver batches appended from now on. Idempotent. Raises UnknownTopic."""

    def unfollow(self, topic: str) -> None:
        """Stop delivering; a topic that is not followed costs nothing."""

    async def close(self) -> None: ...


class Bus(Protocol):
    async def start(self) -> None:
        """Open or connect. The embedded log raises BusUnavailable (locked, unwritable) or
        CorruptData (nothing can be trusted); Kafka does not raise when out of reach: it
        keeps trying, and `health` says so."""

    async def close(self) -> None:
        """Finish appends under way (bounded by 10 s), then let go of everything."""

    async def append(self, topic: str, events: Sequence[Event], deadline: float | None = None) -> Sequence[Position]:
        """Store the events; return their positions, in the order given.

        `deadline` (time.monotonic): whoever holds events back answers then at the latest, with
        BusUnavailable for what is not on its way yet. The caller does not rely on it.

        The objects belong to the bus from now on: a tail may deliver them, with their
        `topic, partition, offset, timestamp_ms` set. An event without a key gets `default_key`;
        a compacted topic refuses one that has none then (InvalidEvent, nothing of the call is stored).
        Many calls may be under way at once; those of one topic are stored in call order per
        partition.
        Of several partitions one may fail alone: then OutcomeUnknown, or BusUnavailable,
        with `detail["positions"]` (None where not stored) aligned with `events`.
        """

    async def read(self, topic: str, partition: int, offset: int, max_bytes: int) -> list[Batch]:
        """Batches from `offset` on, about `max_bytes` of them but at least one if there is any.

        Every event's offset is >= `offset`. [] at the live edge. Never waits for new events.
        Raises OffsetOutOfRange when `offset` is below the first or above the next one;
        CorruptData when the next batch is damaged and nothing readable precedes it.
        """

    async def offset_for_time(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """The first offset appended at or after that time; the next offset if there is none."""

    async def bounds(self, topic: str) -> list[Bounds]:
        """Per partition, index = partition number. Every acknowledged event is below `next`."""

    def tail(self, sink: TailSink) -> Tail: ...

    async def topics(self, *, internal: bool = False) -> list[str]:
        """Names in order."""

    def setting_faults(self, settings: TopicSettings, now: TopicInfo | None = None) -> tuple[Fault, ...]:
        """All that keeps a topic from being made so, or the one that is as `now` says from being
        brought to it. From memory; never blocks. The bus checks the same when it is asked to."""

    async def create_topic(self, name: str, settings: TopicSettings) -> TopicInfo:
        """Raises TopicExists, InvalidSetting with `faults`, InvalidAddress."""

    async def describe_topic(self, name: str) -> TopicInfo:
        """Raises UnknownTopic. May answer from memory that is at most 10 s old."""

    async def alter_topic(self, name: str, settings: TopicSettings) -> TopicInfo:
        """Change only what is not None. Partitions can only grow. Raises InvalidSetting with `faults`."""

    async def delete_topic(self, name: str) -> None:
        """Raises UnknownTopic. Its epoch never comes back."""

    async def topic_health(self, name: str) -> TopicHealth: ...

    def health(self) -> BusHealth:
        """From memory; never blocks."""
