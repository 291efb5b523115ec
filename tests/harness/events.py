"""Events for tests, and reading a topic back as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.bus.contract import Batch, Bus, BusHealth, TopicChange
from gateway.event import Event
from routing.attributes import Value

READ_BYTES = 1024 * 1024


def event(number: int = 0, data: bytes | None = b"{}", key: bytes | None = None, **attributes: Value) -> Event:
    """A valid event whose id is its number."""
    return Event({"id": str(number), "source": "//test", "type": "test", "specversion": "1.0", **attributes}, data, key)


def events(count: int, first: int = 0, subjects: int = 7, size: int = 20) -> list[Event]:
    """Events over a few subjects, hence keys."""
    return [
        event(number, data=f"{number}".encode().ljust(size, b"."), subject=f"s/{number % subjects}")
        for number in range(first, first + count)
    ]


def ids(stored: Sequence[Event]) -> list[int]:
    return [int(str(each.attributes["id"])) for each in stored]


async def read_partition(bus: Bus, topic: str, partition: int, start: int | None = None) -> list[Event]:
    """All events from `start` (default: the first) to the end as it is now, checked for order."""
    bounds = (await bus.bounds(topic))[partition]
    offset = bounds.first if start is None else start
    found: list[Event] = []
    while offset < bounds.next:
        batches = await bus.read(topic, partition, offset, READ_BYTES)
        assert batches, f"nothing at {offset} though the end is {bounds.next}"
        for batch in batches:
            check_batch(batch)
            assert batch.base_offset >= offset
            assert batch.next_offset > offset
            found += batch.events
            offset = batch.next_offset
    return found


async def read_topic(bus: Bus, topic: str) -> list[Event]:
    """All events of all partitions, partition after partition."""
    found: list[Event] = []
    for partition in range(len(await bus.bounds(topic))):
        found += await read_partition(bus, topic, partition)
    return found


def check_batch(batch: Batch) -> None:
    """What the contract says of every batch."""
    offsets = [each.offset for each in batch.events]
    assert offsets == sorted(set(offsets))
    for each in batch.events:
        assert (each.topic, each.partition) == (batch.topic, batch.partition)
        assert batch.base_offset <= each.offset < batch.next_offset


class Sink:
    """A TailSink that keeps everything and checks order and overlap as it comes."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.changes: list[tuple[str, TopicChange]] = []
        self.health: list[BusHealth] = []
        self.next: dict[tuple[str, int], int] = {}
        self.faults: list[str] = []

    def on_batch(self, batch: Batch) -> None:
        place = (batch.topic, batch.partition)
        if batch.base_offset < self.next.get(place, 0):
            self.faults.append(f"{place}: {batch.base_offset} after {self.next[place]}")
        self.next[place] = batch.next_offset
        self.batches.append(batch)

    def on_topic(self, topic: str, change: TopicChange) -> None:
        if change is not TopicChange.PARTITIONS:
            self.next = {place: offset for place, offset in self.next.items() if place[0] != topic}
        self.changes.append((topic, change))

    def on_health(self, health: BusHealth) -> None:
        self.health.append(health)

    def events(self, topic: str) -> list[Event]:
        return [each for batch in self.batches if batch.topic == topic for each in batch.events]
