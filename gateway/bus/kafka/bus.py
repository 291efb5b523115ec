"""The bus on Apache Kafka (3.1 or newer)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.bus.contract import Batch, Bounds, BusHealth, Position, TailSink, TopicHealth, TopicInfo, TopicSettings
from gateway.bus.kafka.admin import Admin
from gateway.bus.kafka.cluster import Cluster
from gateway.bus.kafka.producing import Producing
from gateway.bus.kafka.reading import Reading
from gateway.bus.kafka.tailing import KafkaTail, Tailing
from gateway.config.model import KafkaSecurity
from gateway.errors import Fault
from gateway.event import Event


class KafkaBus:
    """Implements `gateway.bus.contract.Bus`; each method's promises stand there.

    `memory` bounds the bytes of appends under way and of one poll of the tail;
    `request_timeout` (seconds) is the deadline of every call. While Kafka is away calls wait up
    to that long; once it has been away for longer, they fail at once.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        security: KafkaSecurity | None = None,
        memory: int = 16 * 1024 * 1024,
        client_id: str = "linkspan",
        request_timeout: float = 10.0,
        refresh: float = 3.0,
    ) -> None:
        self._cluster = Cluster(
            bootstrap, security=security, client_id=client_id, request_timeout=request_timeout, refresh=refresh
        )
        self._timeout = request_timeout
        self._reading = Reading(self._cluster, request_timeout)
        self._admin = Admin(self._cluster, self._reading, request_timeout)
        self._producing = Producing(self._cluster, self._admin, memory=memory, deadline=request_timeout)
        self._tailing = Tailing(self._cluster, self._reading, memory)

    async def start(self) -> None:
        """Try to connect; when Kafka is out of reach, go on trying and let `health` say so."""
        self._producing.start()
        self._tailing.start()
        await self._cluster.start()

    async def close(self) -> None:
        await self._producing.close(min(10.0, self._timeout))
        await self._tailing.close()
        await self._cluster.close()

    async def append(self, topic: str, events: Sequence[Event], deadline: float | None = None) -> Sequence[Position]:
        return await self._producing.append(topic, events, deadline)

    async def read(self, topic: str, partition: int, offset: int, max_bytes: int) -> list[Batch]:
        return await self._reading.read(topic, partition, offset, max_bytes)

    async def offset_for_time(self, topic: str, partition: int, timestamp_ms: int) -> int:
        return await self._reading.offset_for_time(topic, partition, timestamp_ms)

    async def bounds(self, topic: str) -> list[Bounds]:
        return await self._reading.bounds(topic)

    def tail(self, sink: TailSink) -> KafkaTail:
        return self._tailing.open(sink)

    async def topics(self, *, internal: bool = False) -> list[str]:
        """Names in order, as known from at most a few seconds ago."""
        return self._admin.names(internal)

    def setting_faults(self, settings: TopicSettings, now: TopicInfo | None = None) -> tuple[Fault, ...]:
        return self._admin.setting_faults(settings, now)

    async def create_topic(self, name: str, settings: TopicSettings) -> TopicInfo:
        return await self._admin.create(name, settings)

    async def describe_topic(self, name: str) -> TopicInfo:
        return await self._admin.describe(name)

    async def alter_topic(self, name: str, settings: TopicSettings) -> TopicInfo:
        return await self._admin.alter(name, settings)

    async def delete_topic(self, name: str) -> None:
        await self._admin.delete(name)

    async def topic_health(self, name: str) -> TopicHealth:
        return await self._admin.health(name)

    def health(self) -> BusHealth:
        health = self._cluster.health()
        health.detail["appending_bytes"] = self._producing.held
        return health
