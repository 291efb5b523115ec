"""A bus in memory with the reading side on top, and short ways to write and read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from auth.principal import ANONYMOUS, Principal
from gateway.address import parse_pattern
from gateway.bus.contract import TopicSettings
from gateway.bus.memory import MemoryBus
from gateway.config.model import Limits
from gateway.delivery.outcome import Delivery, Page
from gateway.delivery.position import parse_start
from gateway.delivery.reader import Reader, ReadRequest
from gateway.delivery.stream import Stream
from gateway.delivery.tail import TailHub
from gateway.event import Event
from gateway.operate.metrics import Metrics


def event(name: str, subject: str | None = None, key: bytes | None = None, size: int = 20) -> Event:
    attributes: dict[str, str | int | bool] = {"id": name, "source": "//t", "type": "t", "specversion": "1.0"}
    if subject is not None:
        attributes["subject"] = subject
    return Event(attributes, bytes(size), key)


def names(events: Sequence[Event]) -> list[str]:
    return [str(each.attributes["id"]) for each in events]


class Rig:
    """`now` is the clock of bus and reader, in seconds."""

    def __init__(self, batch_events: int, limits: Limits, authorise: Callable[[Principal, str], bool]) -> None:
        self.now = 1_000_000.0
        self.bus = MemoryBus(clock=lambda: self.now, batch_events=batch_events)
        self.hub = TailHub(self.bus)
        self.metrics = Metrics(process=False)
        self.reader = Reader(
            self.bus, self.hub, limits, metrics=self.metrics, authorise=authorise, clock=lambda: self.now
        )
        self.refused: set[str] = set()

    async def topic(self, name: str, partitions: int = 1) -> None:
        await self.bus.create_topic(name, TopicSettings(partitions=partitions))

    async def put(self, topic: str, *what: str | Event) -> None:
        """Events by name; `a@s/x` has the subject s/x, `a#k` the key k."""
        await self.bus.append(topic, [each if isinstance(each, Event) else _event(each) for each in what])

    async def open(self, *sources: str, start: str = "earliest", limit: int | None = None) -> Stream:
        return await self.reader.open(request(sources, start, limit), ANONYMOUS)

    async def page(self, *sources: str, start: str = "earliest", limit: int | None = None, wait: float = 0) -> Page:
        return await self.reader.page(request(sources, start, limit), ANONYMOUS, wait)


def request(sources: Sequence[str], start: str = "earliest", limit: int | None = None) -> ReadRequest:
    return ReadRequest(tuple(map(parse_pattern, sources)), parse_start(start), limit=limit)


def _event(text: str) -> Event:
    name, at, subject = text.partition("@")
    name, hash_, key = name.partition("#")
    return event(name, subject if at else None, key.encode() if hash_ else None)


@asynccontextmanager
async def a_rig(
    *,
    batch_events: int = 1000,
    limits: Limits | None = None,
    authorise: Callable[[Principal, str], bool] = lambda principal, topic: True,
) -> AsyncIterator[Rig]:
    rig = Rig(batch_events, limits or Limits(), authorise)
    await rig.bus.start()
    rig.hub.start()
    try:
        yield rig
    finally:
        await rig.reader.close()
        await rig.hub.close()
        await rig.bus.close()


async def drain(stream: Stream, timeout: float = 0.05) -> list[Delivery]:
    """All deliveries until nothing comes for `timeout` seconds."""
    found = []
    while (delivery := await stream.next(timeout)) is not None:
        found.append(delivery)
    return found


async def read(stream: Stream, count: int, timeout: float = 5) -> list[str]:
    """The names of the next `count` events, and no others with them."""
    found: list[str] = []
    while len(found) < count:
        delivery = await stream.next(timeout)
        assert delivery is not None, f"only {found}"
        found += names(delivery.events)
    assert len(found) == count
    return found
