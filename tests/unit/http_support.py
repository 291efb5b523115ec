"""A whole gateway behind the HTTP door, on a bus in memory, for the tests of `protocols.http`."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiohttp import ClientSession

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
from gateway.refining import Refiner
from gateway.routes import Router, Workflow
from gateway.schemas import TABLE as SCHEMAS_TABLE
from gateway.schemas import Schemas
from gateway.topics import TABLE, Topics
from gateway.trial import Trial
from protocols.http.plugin import HttpSettings, plugin
from protocols.http.server import HttpListener

BATCH = "application/cloudevents-batch+json"
STRUCTURED = "application/cloudevents+json"


def permitted(principal: Principal, topic: str) -> bool:
    return True


class House:
    """The parts that a plug-in sees of the gateway, real ones, and one HTTP listener on a free port."""

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
        self.listener: HttpListener
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

    async def start(self, settings: HttpSettings) -> None:
        await self.bus.start()
        self.hub.listen(self.topics.on_topic)
        self.hub.start()
        self.table.start()
        self.schema_table.start()
        await self.bus.create_topic("t", TopicSettings(partitions=1))
        listener = plugin.build(settings, self)
        assert isinstance(listener, HttpListener)
        self.listener = listener
        [address, *_] = await listener.start()
        self.url, self.port = address.url, address.port

    async def close(self) -> None:
        await self.listener.close()
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


@asynccontextmanager
async def house(
    limits: Limits | None = None, settings: HttpSettings | None = None, **more: Any
) -> AsyncIterator[House]:
    made = House(limits or Limits(), **more)
    await made.start(settings or HttpSettings())
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def client(house: House) -> AsyncIterator[ClientSession]:
    async with ClientSession(house.url) as session:
        yield session


def event(number: int = 0, **more: Any) -> dict[str, Any]:
    """A structured event as a client would send it."""
    return {"specversion": "1.0", "id": str(number), "source": "/test", "type": "t.made", "data": {"n": number}} | more


def stored_event(number: int = 0, data: bytes | None = b"{}", **more: str | int | bool) -> Event:
    attributes: dict[str, str | int | bool] = {"specversion": "1.0", "id": str(number), "source": "/test"}
    return Event(attributes | {"type": "t.made"} | more, data)


def batch(events: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps(list(events)).encode()


async def raw(port: int, request: bytes, *, deadline: float = 10.0) -> bytes:
    """Send bytes, read until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(deadline):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def split(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body of one raw answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split(" ")[1]), headers, body
