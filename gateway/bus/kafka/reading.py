"""Reading on demand: batches from an offset, bounds, offsets by time.

Whoever reads on gets what the last response held beyond what was wanted then, so that the broker
is asked less often; nothing else is remembered.

What can be read is what is committed: up to the last stable offset. While another client's
transaction is open, later events wait behind it, and `bounds` ends there too.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from gateway.bus.contract import Batch, Bounds
from gateway.bus.kafka import errors, messages
from gateway.bus.kafka.cluster import Cluster
from gateway.bus.kafka.decode import decode
from gateway.bus.kafka.errors import Retry, Unreachable
from gateway.bus.kafka.messages import EARLIEST, LATEST, Fetched
from gateway.bus.kafka.metadata import TopicMeta
from gateway.bus.records import HEADER_SIZE
from gateway.errors import BusUnavailable, OffsetOutOfRange, UnknownTopic

T = TypeVar("T")

#: So much is asked for even where events inflate wildly; a batch always comes whole.
_LEAST_BYTES = 4096
_INFLATIONS_KEPT = 1000
#: Who asks for so much will read on: so much is asked for, and what is left of it kept for so long, of
#: so many partitions. Compressed events take few bytes, and the broker a millisecond for each request.
_READS_ON = 64 * 1024
_AHEAD_BYTES, _AHEAD_SECONDS, _AHEADS = 256 * 1024, 0.5, 8
_FIRST_BACKOFF, _LAST_BACKOFF = 0.02, 0.5
#: Seconds beyond the deadline for a request that began in time: it ends by itself then, and with
#: it the connection that hangs.
_GRACE = 0.5


class _Ahead(NamedTuple):
    """A response, and the offset up to which it was read; not used any more after `until`."""

    fetched: Fetched
    offset: int
    until: float


class Reading:
    def __init__(self, cluster: Cluster, deadline: float) -> None:
        self._cluster = cluster
        self._deadline = deadline
        self._ahead: OrderedDict[tuple[bytes, int], _Ahead] = OrderedDict()
        self._inflation: dict[bytes, float] = {}
        """By topic id: how much heavier its events are in memory than on the wire, lately."""

    async def read(self, topic: str, partition: int, offset: int, max_bytes: int) -> list[Batch]:
        """See `Bus.read`."""
        return await self.retrying(topic, lambda meta: self._read(meta, partition, offset, max_bytes))

    async def bounds(self, topic: str) -> list[Bounds]:
        """See `Bus.bounds`; `next` is the last stable offset."""
        return await self.retrying(topic, self._bounds)

    async def offset_for_time(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """See `Bus.offset_for_time`."""
        return await self.retrying(topic, lambda meta: self._offset_for_time(meta, partition, timestamp_ms))

    async def known(self, topic: str) -> TopicMeta:
        """The topic's metadata, asked for anew if it is not known. Raises UnknownTopic, Retry."""
        meta = self._cluster.metadata.topics.get(topic)
        if meta is None:
            if not await self._cluster.refreshed():
                raise Retry(self._cluster.reason)
            meta = self._cluster.metadata.topics.get(topic)
            if meta is None:
                raise UnknownTopic(topic)
        return meta

    async def retrying(self, topic: str, attempt: Callable[[TopicMeta], Awaitable[T]]) -> T:
        """Try until it succeeds or the deadline is over: then BusUnavailable.

        When Kafka has been away for longer than that already, nobody waits for it.
        """
        if self._cluster.down_for() > self._deadline:
            raise BusUnavailable(f"topic {topic!r} cannot be read: {self._cluster.reason}")
        try:
            async with asyncio.timeout(self._deadline + _GRACE):
                return await self._retrying(topic, attempt)
        except TimeoutError:
            why = self._cluster.reason or f"Kafka did not answer within {self._deadline:g} s"
            raise BusUnavailable(f"topic {topic!r} cannot be read: {why}") from None

    async def _retrying(self, topic: str, attempt: Callable[[TopicMeta], Awaitable[T]]) -> T:
        end = time.monotonic() + self._deadline
        backoff = _FIRST_BACKOFF
        while True:
            try:
                return await attempt(await self.known(topic))
            except (Retry, Unreachable) as error:
                if time.monotonic() + backoff > end:
                    raise BusUnavailable(f"topic {topic!r} cannot be read: {error}") from error
            self._cluster.refresh_soon()
            await asyncio.sleep(backoff)
            backoff = min(_LAST_BACKOFF, backoff * 2)

    async def _read(self, meta: TopicMeta, partition: int, offset: int, max_bytes: int) -> list[Batch]:
        ahead = self._ahead.pop((meta.id, partition), None)
        if ahead is not None and ahead.offset == offset and time.monotonic() < ahead.until:
            batches, end = decode(ahead.fetched, meta.name, partition, offset, max_bytes)
            if batches:
                self._keep(meta, partition, ahead.fetched, batches, end)
                return batches
        fetched = await self._fetch(meta, partition, offset, max_bytes)
        batches, end = decode(fetched, meta.name, partition, offset, max_bytes)
        if batches:
            if len(self._inflation) >= _INFLATIONS_KEPT:
                self._inflation.clear()
            self._inflation[meta.id] = max(1.0, sum(batch.size for batch in batches) / end)
            self._keep(meta, partition, fetched, batches, end)
        return batches

    def _keep(self, meta: TopicMeta, partition: int, fetched: Fetched, batches: list[Batch], end: int) -> None:
        """For who reads on from there: what a response holds beyond these batches."""
        if len(fetched.records) - end < HEADER_SIZE:
            return
        until = time.monotonic() + _AHEAD_SECONDS
        self._ahead[meta.id, partition] = _Ahead(fetched, batches[-1].next_offset, until)
        if len(self._ahead) > _AHEADS:
            self._ahead.popitem(last=False)

    async def _fetch(self, meta: TopicMeta, partition: int, offset: int, max_bytes: int) -> Fetched:
        node = self._leader(meta, partition)
        wire_bytes = max(_LEAST_BYTES, int(max_bytes / self._inflation.get(meta.id, 1.0)))
        if max_bytes >= _READS_ON:
            wire_bytes = max(wire_bytes, _AHEAD_BYTES)
        request = messages.fetch(
            {meta.id: ((partition, offset),)}, max_wait_ms=0, max_bytes=wire_bytes, partition_bytes=wire_bytes
        )
        code, answer = await self._cluster.call(node, "read", request)
        fetched: Fetched | None = answer.get((meta.id, partition))
        if code or fetched is None:
            raise Retry(errors.name_of(code))
        if fetched.code == errors.OFFSET_OUT_OF_RANGE:
            bounds = (await self._bounds(meta))[partition]
            raise OffsetOutOfRange(meta.name, partition, offset, bounds.first, bounds.next)
        if fetched.code:
            raise _failure(fetched.code, meta.name)
        return fetched

    async def _bounds(self, meta: TopicMeta) -> list[Bounds]:
        first, last = await asyncio.gather(self._offsets(meta, EARLIEST), self._offsets(meta, LATEST))
        return [Bounds(first[number], max(first[number], last[number])) for number in range(len(meta.partitions))]

    async def _offset_for_time(self, meta: TopicMeta, partition: int, timestamp_ms: int) -> int:
        found = await self._offsets(meta, max(0, timestamp_ms), partition)
        if found[partition] >= 0:
            return found[partition]
        return (await self._offsets(meta, LATEST, partition))[partition]

    async def _offsets(self, meta: TopicMeta, when: int, only: int | None = None) -> dict[int, int]:
        by_node: dict[int, list[int]] = {}
        for number in range(len(meta.partitions)) if only is None else (only,):
            by_node.setdefault(self._leader(meta, number), []).append(number)
        answers = await asyncio.gather(
            *(
                self._cluster.call(node, "read", messages.list_offsets({meta.name: numbers}, when))
                for node, numbers in by_node.items()
            )
        )
        offsets = {}
        for answer in answers:
            for (_, number), (code, offset) in answer.items():
                if code:
                    raise _failure(code, meta.name)
                offsets[number] = offset
        return offsets

    def _leader(self, meta: TopicMeta, partition: int) -> int:
        if not 0 <= partition < len(meta.partitions):
            raise UnknownTopic(f"{meta.name}/{partition}")
        leader = meta.partitions[partition].leader
        if leader < 0:
            raise Retry(f"partition {partition} has no leader")
        return leader


def _failure(code: int, topic: str) -> Exception:
    if code in errors.MOVED or code in (errors.REQUEST_TIMED_OUT, errors.NETWORK_EXCEPTION):
        return Retry(errors.name_of(code))
    return BusUnavailable(f"topic {topic!r} cannot be read: {errors.name_of(code)}")
