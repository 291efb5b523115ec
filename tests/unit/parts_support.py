"""The parts of a gateway that a plug-in sees, real ones, on a bus in memory, and one listener on a free port."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

import structlog

from auth.principal import ANONYMOUS, Principal
from gateway.bus.contract import TopicSettings
from gateway.bus.memory import MemoryBus
from gateway.bus.tables import Table
from gateway.config.model import Limits, ListenerSettings
from gateway.delivery.live import Views
from gateway.delivery.reader import Reader
from gateway.delivery.tail import TailHub
from gateway.errors import Unauthenticated
from gateway.event import Event
from gateway.ingress import Ingress
from gateway.lookups import Lookups
from gateway.operate.connections import Connections
from gateway.operate.metrics import Metrics
from gateway.plugin import Listener
from gateway.refining import Refiner
from gateway.routes import Router, Workflow
from gateway.schemas import TABLE as SCHEMAS_TABLE
from gateway.schemas import Schemas
from gateway.topics import TABLE, Topics
from gateway.trial import Trial


def permitted(principal: Principal, topic: str) -> bool:
    return True


class Parts:
    """See the module. Topic `t` is there; `alice` is the one token that is known."""

    plugin: Any

    def __init__(
        self,
        limits: Limits,
        *,
        auto_create: bool = False,
        routes: Sequence[dict[str, Any]] = (),
        workflows: Sequence[Workflow] = (),
    ) -> None:
        self.name = "test"
        self.limits = limits
        self.logger: Any = structlog.get_logger("test")
        self.anonymous = True
        self.metrics = Metrics(process=False)
        self.connections = Connections()
        self.bus = MemoryBus()
        self.hub = TailHub(self.bus)
        self.table = Table(self.bus, TABLE, self.hub.wake_on, "//test")
        self.schema_table = Table(self.bus, SCHEMAS_TABLE, self.hub.wake_on, "//test")
        self.schemas = Schemas(self.schema_table, permitted)
        self.topics = Topics(self.bus, self.table, permitted, auto_create=auto_create, schemas=self.schemas)
        self.router = Router(routes, workflows, self.metrics, self.topics.ensure)
        self.ingress = Ingress(self.bus, self.topics, limits, self.metrics, permitted, self.schemas, self.router)
        self.reader = Reader(self.bus, self.hub, limits, metrics=self.metrics, authorise=permitted)
        self.lookups = Lookups(self.reader, limits.memory)
        self.refiner = Refiner(self.ingress, self.topics, self.lookups, self.metrics, permitted, functions={})
        self.trial = Trial(self.refiner, self.router)
        self.views = Views(self.reader, self.hub, limits, self.metrics)
        self.context: ssl.SSLContext | None = None
        self.door: Listener
        self.url = ""
        self.port = 0

    def tls(self, settings: ListenerSettings) -> ssl.SSLContext | None:
        return self.context

    def authenticate(self, credentials: str | None) -> Principal:
        if credentials == "alice":
            return Principal("alice")
        if credentials is not None:
            raise Unauthenticated("nobody knows this token")
        return ANONYMOUS

    async def start(self, settings: Any) -> None:
        await self.bus.start()
        self.hub.listen(self.topics.on_topic)
        self.hub.start()
        self.table.start()
        self.schema_table.start()
        self.ingress.when_due(self.views.due)
        await self.bus.create_topic("t", TopicSettings(partitions=1))
        self.door = self.plugin.build(settings, self)
        [address, *_] = await self.door.start()
        self.url, self.port = address.url, address.port

    async def close(self) -> None:
        await self.door.close()
        await self.ingress.close()
        await self.views.close()
        await self.lookups.close()
        await self.reader.close()
        await self.topics.close()
        await self.table.close()
        await self.schema_table.close()
        await self.hub.close()
        await self.bus.close()

    async def store(self, *events: Event, topic: str = "t") -> None:
        await self.topics.ensure(topic, ANONYMOUS)
        await self.ingress.submit(topic, list(events), ANONYMOUS)

    async def stored(self, topic: str = "t") -> list[Event]:
        """Everything that the bus has of partition 0."""
        batches = await self.bus.read(topic, 0, 0, 2**30)
        return [event for batch in batches for event in batch.events]
