"""An ingress with routes on a bus in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from auth.principal import ANONYMOUS
from gateway.bus.contract import Position, TopicSettings
from gateway.bus.memory import MemoryBus
from gateway.bus.tables import Table
from gateway.config.model import Limits
from gateway.event import Event
from gateway.ingress import Ingress
from gateway.operate.metrics import Metrics
from gateway.routes import Router, Workflow
from gateway.topics import TABLE, Topics
from routing.attributes import Value
from tests.unit.test_tables import follow_of

Spec = Mapping[str, Any]


def route(name: str = "r", source: str = "t/**", **spec: Any) -> dict[str, Any]:
    return {"name": name, "from": [source], **spec}


def event(number: int = 0, data: bytes | None = b"{}", **more: Value) -> Event:
    return Event({"specversion": "1.0", "id": str(number), "source": "/s", "type": "t", **more}, data)


class RoutedHouse:
    def __init__(self, routes: Sequence[Spec], workflows: Mapping[str, str], *, deadline: float, event: int) -> None:
        self.bus = MemoryBus()
        self.table = Table(self.bus, TABLE, follow_of(self.bus), "//test")
        self.topics = Topics(self.bus, self.table, lambda who, topic: True)
        self.metrics = Metrics(process=False)
        flows = [Workflow(name, topic) for name, topic in workflows.items()]
        self.router = Router(routes, flows, self.metrics, self.topics.ensure)
        limits = Limits(publish_deadline=deadline, batch=1000, event=event)
        self.ingress = Ingress(self.bus, self.topics, limits, self.metrics, lambda who, topic: True, router=self.router)

    async def start(self, topics: Sequence[str]) -> None:
        await self.bus.start()
        self.table.start()
        for topic in topics:
            await self.bus.create_topic(topic, TopicSettings(partitions=1))

    async def close(self) -> None:
        await self.ingress.close()
        await self.topics.close()
        await self.table.close()
        await self.bus.close()

    async def publish(self, *events: Event, topic: str = "t") -> Sequence[Position | None]:
        return await self.ingress.submit(topic, list(events), ANONYMOUS)

    async def stored(self, topic: str) -> list[Event]:
        batches = await self.bus.read(topic, 0, 0, 1 << 30)
        return [event for batch in batches for event in batch.events]

    async def ids(self, topic: str) -> list[str]:
        return [str(event.attributes["id"]) for event in await self.stored(topic)]

    def counters(self, name: str = "r") -> tuple[int, int, int]:
        """Matched, passed, failed."""
        (found,) = [each["counters"] for each in self.router.described() if each["name"] == name]
        return found["matched"], found["passed"], found["failed"]


@asynccontextmanager
async def routed(
    *routes: Spec,
    topics: Sequence[str] = ("t", "u", "errors"),
    workflows: Mapping[str, str] | None = None,
    deadline: float = 5.0,
    event: int = 10_000,
) -> AsyncIterator[RoutedHouse]:
    house = RoutedHouse(routes, workflows or {}, deadline=deadline, event=event)
    await house.start(topics)
    try:
        yield house
    finally:
        await house.close()
