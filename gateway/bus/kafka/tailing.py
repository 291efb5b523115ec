"""The live edge on Kafka: one long poll per broker for everything that is followed.

Every tail of the process shares it, so a batch is fetched and decoded once however many listen.
Topics are fetched by id: one that was deleted and made anew cannot be mistaken for the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from gateway.bus.contract import Batch, BusHealth, TailSink, TopicChange
from gateway.bus.kafka import errors, messages
from gateway.bus.kafka.cluster import Cluster
from gateway.bus.kafka.decode import each
from gateway.bus.kafka.errors import Unreachable
from gateway.bus.kafka.messages import Fetched
from gateway.bus.kafka.reading import Reading
from gateway.errors import CorruptData, LinkspanError, UnknownTopic

log = structlog.get_logger("kafka")

#: How long a broker holds a poll without events: the longest that a newly followed topic waits.
MAX_WAIT_MS = 250
PARTITION_BYTES = 1024 * 1024
_BACKOFF = 0.2
#: Events handed out before others on the loop get a turn.
_TURN = 2000


class Followed:
    """A topic that is followed: where its partitions stand, and who listens from which offset."""

    __slots__ = ("floors", "id", "paused", "positions", "topic")

    def __init__(self, topic: str, topic_id: bytes, positions: list[int]) -> None:
        self.topic, self.id, self.positions = topic, topic_id, positions
        self.floors: dict[KafkaTail, list[int]] = {}
        self.paused: set[int] = set()

    def restart(self, topic_id: bytes, partitions: int) -> None:
        """The topic was made anew: everything in it is new."""
        self.id, self.positions = topic_id, [0] * partitions
        self.floors = {tail: [0] * partitions for tail in self.floors}

    def grow(self, partitions: int) -> None:
        """New partitions are new from their first event."""
        more = [0] * (partitions - len(self.positions))
        self.positions += more
        for floors in self.floors.values():
            floors += [0] * (partitions - len(floors))

    def deliver(self, batch: Batch) -> None:
        """Hand a batch to all who want it; where it lies below a listener's start, the rest of it."""
        self.positions[batch.partition] = batch.next_offset
        for tail, floors in list(self.floors.items()):
            floor = floors[batch.partition]
            if batch.next_offset > floor:
                _safely(tail.sink.on_batch, batch.since(floor))


class KafkaTail:
    """See `gateway.bus.contract.Tail`. A topic stays followed when it is deleted: should it come
    again, it is followed from its first event."""

    def __init__(self, tailing: Tailing, sink: TailSink) -> None:
        self._tailing, self.sink = tailing, sink

    async def follow(self, topic: str) -> None:
        await self._tailing.follow(self, topic)

    def unfollow(self, topic: str) -> None:
        self._tailing.unfollow(self, topic)

    async def close(self) -> None:
        self._tailing.forget(self)


class Tailing:
    """`memory` bounds the bytes of one poll."""

    def __init__(self, cluster: Cluster, reading: Reading, memory: int) -> None:
        self._cluster, self._reading = cluster, reading
        self._poll_bytes = max(64 * 1024, min(4 * 1024 * 1024, memory // 4))
        self._tails: dict[KafkaTail, None] = {}
        self._followed: dict[str, Followed] = {}
        self._loops: dict[int, asyncio.Task[None]] = {}
        self._repairs: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._cluster.on_changes.append(self._on_changes)
        self._cluster.on_ready.append(self._on_health)

    async def close(self) -> None:
        self._followed.clear()
        self._tails.clear()
        tasks = [*self._loops.values(), *self._repairs]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def open(self, sink: TailSink) -> KafkaTail:
        tail = KafkaTail(self, sink)
        self._tails[tail] = None
        return tail

    async def follow(self, tail: KafkaTail, topic: str) -> None:
        """See `Tail.follow`."""
        before = self._cluster.metadata.topics.get(topic)
        bounds = await self._reading.bounds(topic)
        meta = self._cluster.metadata.topics.get(topic)
        if meta is None or tail not in self._tails:
            raise UnknownTopic(topic)
        if before is not None and before.id != meta.id:
            bounds = []  # they may be those of its predecessor; in this one everything is new
        starts = [bound.next for bound in bounds] + [0] * (len(meta.partitions) - len(bounds))
        followed = self._followed.get(topic)
        if followed is None or not followed.positions:
            floors = followed.floors if followed is not None else {}
            followed = self._followed[topic] = Followed(topic, meta.id, list(starts))
            followed.floors = {other: list(starts) for other in floors}
        # Where the poll is beyond `starts` already, that was fetched before this call returns.
        followed.floors.setdefault(tail, starts)
        followed.grow(len(starts))
        self._arrange()

    def unfollow(self, tail: KafkaTail, topic: str) -> None:
        followed = self._followed.get(topic)
        if followed is not None:
            followed.floors.pop(tail, None)
            if not followed.floors:
                del self._followed[topic]

    def forget(self, tail: KafkaTail) -> None:
        for topic in list(self._followed):
            self.unfollow(tail, topic)
        self._tails.pop(tail, None)

    # -- what the cluster tells ---------------------------------------------------------

    def _on_changes(self, changes: list[tuple[str, TopicChange]]) -> None:
        for topic, change in changes:
            followed = self._followed.get(topic)
            meta = self._cluster.metadata.topics.get(topic)
            if followed is not None:
                if change is TopicChange.DELETED or meta is None:
                    followed.restart(b"", 0)
                elif change is TopicChange.CREATED:
                    followed.restart(meta.id, len(meta.partitions))
                else:
                    followed.grow(len(meta.partitions))
            for tail in list(self._tails):
                _safely(lambda tail=tail, topic=topic, change=change: tail.sink.on_topic(topic, change))
        self._arrange()

    def _on_health(self, health: BusHealth) -> None:
        for tail in list(self._tails):
            _safely(tail.sink.on_health, health)

    # -- polling ------------------------------------------------------------------------

    def _arrange(self) -> None:
        """See to it that every broker that leads something followed is polled."""
        leader = self._cluster.metadata.leader
        nodes = {leader(f.topic, number) for f in self._followed.values() for number in range(len(f.positions))}
        for node in nodes - self._loops.keys() - {-1}:
            self._loops[node] = asyncio.create_task(self._poll(node), name=f"kafka tail {node}")

    def _wanted(self, node: int) -> dict[bytes, list[tuple[int, int]]]:
        leader = self._cluster.metadata.leader
        wanted = {}
        for followed in self._followed.values():
            mine = [
                (number, position)
                for number, position in enumerate(followed.positions)
                if leader(followed.topic, number) == node and number not in followed.paused
            ]
            if mine:
                wanted[followed.id] = mine
        return wanted

    def _leads(self, node: int) -> bool:
        leader = self._cluster.metadata.leader
        return any(leader(f.topic, n) == node for f in self._followed.values() for n in range(len(f.positions)))

    async def _poll(self, node: int) -> None:
        """Poll one broker as long as it leads something that is followed."""
        try:
            while self._leads(node):
                wanted = self._wanted(node)
                if not wanted:
                    await asyncio.sleep(_BACKOFF)
                    continue
                request = messages.fetch(
                    wanted, max_wait_ms=MAX_WAIT_MS, max_bytes=self._poll_bytes, partition_bytes=PARTITION_BYTES
                )
                try:
                    code, answer = await self._cluster.call(node, "tail", request)
                except Unreachable as error:
                    log.debug("kafka tail broken off", node=node, reason=str(error))
                    await asyncio.sleep(_BACKOFF)
                    continue
                if code:
                    self._cluster.refresh_soon()
                    await asyncio.sleep(_BACKOFF)
                await self._hand_out(wanted, answer)
        finally:
            del self._loops[node]

    async def _hand_out(
        self, wanted: dict[bytes, list[tuple[int, int]]], answer: dict[tuple[bytes, int], Fetched]
    ) -> None:
        by_id = {followed.id: followed for followed in self._followed.values()}
        asked = {(topic_id, part): offset for topic_id, parts in wanted.items() for part, offset in parts}
        for (topic_id, partition), fetched in answer.items():
            followed, offset = by_id.get(topic_id), asked.get((topic_id, partition))
            if followed is None or offset is None:
                continue
            if fetched.code:
                self._failed(followed, partition, fetched.code)
            elif fetched.records:
                try:
                    await self._deliver(followed, partition, offset, fetched)
                except CorruptData as error:
                    self._damaged(followed, partition, error)

    async def _deliver(self, followed: Followed, partition: int, offset: int, fetched: Fetched) -> None:
        """Decode and hand out one batch after the other: of what inflates only one is held."""
        topic_id, turn = followed.id, 0
        for batch, _ in each(fetched, followed.topic, partition, offset):
            # Meanwhile it may have been unfollowed, or made anew.
            if followed.id != topic_id or self._followed.get(followed.topic) is not followed:
                return
            followed.deliver(batch)
            turn += len(batch.events)
            if turn > _TURN:
                turn = 0
                await asyncio.sleep(0)

    def _damaged(self, followed: Followed, partition: int, error: CorruptData) -> None:
        # The gap is seen by those who listen; reading it tells them what is wrong.
        log.error("kafka holds a damaged batch", topic=followed.topic, partition=partition, reason=error.message)
        position = followed.positions[partition]
        followed.positions[partition] = max(position + 1, int(error.detail["next_offset"]))

    def _failed(self, followed: Followed, partition: int, code: int) -> None:
        reason = errors.name_of(code)
        log.info("kafka tail of a partition failed", topic=followed.topic, partition=partition, reason=reason)
        self._cluster.refresh_soon()
        followed.paused.add(partition)
        if code == errors.OFFSET_OUT_OF_RANGE:
            work = asyncio.create_task(self._repair(followed, partition), name=f"kafka tail of {followed.topic}")
            self._repairs.add(work)
            work.add_done_callback(self._repairs.discard)
        else:
            asyncio.get_running_loop().call_later(_BACKOFF, followed.paused.discard, partition)

    async def _repair(self, followed: Followed, partition: int) -> None:
        """Retention passed the tail, or the log was cut: go on where there is something."""
        topic_id = followed.id
        try:
            bounds = (await self._reading.bounds(followed.topic))[partition]
            if followed.id == topic_id:
                position = followed.positions[partition]
                followed.positions[partition] = bounds.first if position < bounds.first else bounds.next
        except LinkspanError as error:
            log.info("kafka tail cannot go on yet", topic=followed.topic, reason=error.message)
        finally:
            followed.paused.discard(partition)


def _safely(call: Callable[..., None], *arguments: object) -> None:
    """A listener must not raise; if it does, the others are served all the same."""
    try:
        call(*arguments)
    except Exception:
        log.exception("a listener of the tail failed")
