"""What the cluster looks like: brokers, topics, leaders. Parsing and comparing, both pure.

Brokers learn of changes one after another, and we ask whichever answers. So an answer may be
older than the one before; `merge` keeps what is known to be newer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from gateway.bus.contract import TopicChange
from gateway.bus.kafka.wire import Cursor

#: A topic is gone when it was missing this long: a broker that lags does not know it yet.
MISSING_SECONDS = 1.0
_RETIRED_KEPT = 10_000


class PartitionMeta(msgspec.Struct, frozen=True):
    leader: int
    """Node number; -1 while there is none."""
    leader_epoch: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


class TopicMeta(msgspec.Struct, frozen=True):
    name: str
    id: bytes
    internal: bool
    partitions: tuple[PartitionMeta, ...]

    @property
    def epoch(self) -> str:
        """The topic id: it differs when a topic was deleted and made anew."""
        return self.id.hex()

    @property
    def led(self) -> bool:
        """Whether every partition has a leader."""
        return all(partition.leader >= 0 for partition in self.partitions)


class Metadata(msgspec.Struct, frozen=True):
    brokers: Mapping[int, tuple[str, int]] = {}
    controller: int = -1
    topics: Mapping[str, TopicMeta] = {}

    def leader(self, topic: str, partition: int) -> int:
        """The node that leads, or -1."""
        meta = self.topics.get(topic)
        if meta is None or partition >= len(meta.partitions):
            return -1
        return meta.partitions[partition].leader


def parse(body: bytes) -> Metadata:
    """Parse a Metadata response (version 10) without its throttle time."""
    cursor = Cursor(body)
    brokers = {}
    for _ in range(cursor.ucount()):
        node, host, port = cursor.int32(), cursor.ustring() or "", cursor.int32()
        cursor.ustring()  # rack
        cursor.tags()
        brokers[node] = (host, port)
    cursor.ustring()  # cluster id
    controller = cursor.int32()
    topics = {}
    for _ in range(cursor.ucount()):
        topic = _topic(cursor)
        if topic.partitions:
            topics[topic.name] = topic
    return Metadata(brokers, controller, topics)


def _topic(cursor: Cursor) -> TopicMeta:
    cursor.int16()  # an error of the topic as a whole leaves its partitions empty
    name, number, internal = cursor.ustring() or "", cursor.uuid(), bool(cursor.int8())
    partitions: dict[int, PartitionMeta] = {}
    for _ in range(cursor.ucount()):
        cursor.int16()  # no leader: told by -1
        index, leader, epoch = cursor.int32(), cursor.int32(), cursor.int32()
        replicas, in_sync = cursor.uint32s(), cursor.uint32s()
        cursor.uint32s()  # offline replicas
        cursor.tags()
        partitions[index] = PartitionMeta(leader, epoch, replicas, in_sync)
    cursor.int32()  # authorized operations, not asked for
    cursor.tags()
    return TopicMeta(name, number, internal, tuple(partitions[index] for index in sorted(partitions)))


class Merger:
    """Puts answers together in the order in which things happened, and names what changed."""

    def __init__(self) -> None:
        self._missing: dict[str, float] = {}
        self._retired: set[bytes] = set()

    @property
    def unsure(self) -> bool:
        """Whether a topic is missing that may only not be known yet: ask again soon."""
        return bool(self._missing)

    def retire(self, topic: TopicMeta) -> None:
        """It was deleted: whoever still names this id is behind."""
        if len(self._retired) >= _RETIRED_KEPT:
            self._retired.clear()  # old enough that no broker is so far behind
        self._retired.add(topic.id)

    def merge(
        self, old: Metadata, new: Metadata, now: float | None = None
    ) -> tuple[Metadata, list[tuple[str, TopicChange]]]:
        """The state after `new`, and the changes of topics in it."""
        now = time.monotonic() if now is None else now
        topics: dict[str, TopicMeta] = {}
        changes: list[tuple[str, TopicChange]] = []
        for name, topic in new.topics.items():
            before = old.topics.get(name)
            if topic.id in self._retired:
                if before is not None and before.id not in self._retired:
                    topics[name] = before
                continue
            self._missing.pop(name, None)
            if before is None or before.id != topic.id:
                if before is not None:
                    self.retire(before)
                changes.append((name, TopicChange.CREATED))
                topics[name] = topic
                continue
            topics[name] = topic = _newer(before, topic)
            if len(topic.partitions) > len(before.partitions):
                changes.append((name, TopicChange.PARTITIONS))
        for name in old.topics.keys() - topics.keys():
            if old.topics[name].id in self._retired or now - self._missing.setdefault(name, now) >= MISSING_SECONDS:
                self._missing.pop(name, None)
                changes.append((name, TopicChange.DELETED))
            else:
                topics[name] = old.topics[name]
        return Metadata(new.brokers, new.controller, topics), changes


def _newer(before: TopicMeta, after: TopicMeta) -> TopicMeta:
    """Per partition the one with the higher leader epoch; partitions only grow."""
    if before == after:
        return before
    merged = [
        old if old.leader_epoch > new.leader_epoch else new
        for old, new in zip(before.partitions, after.partitions, strict=False)
    ]
    longer = max(before.partitions, after.partitions, key=len)
    return TopicMeta(after.name, after.id, after.internal, (*merged, *longer[len(merged) :]))
