"""Tables work on every bus alike: what the gateway knows of itself is a compacted topic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from gateway.bus.contract import Batch, Bus, BusHealth, TopicChange
from gateway.bus.tables import Follow, Table
from tests.conftest import eventually
from tests.contract.conftest import Rig

pytestmark = pytest.mark.timeout(60)


class Wakes:
    """A sink that wakes whoever follows a topic, as the hub of the process does."""

    def __init__(self) -> None:
        self.callbacks: list[tuple[str, Callable[[], None]]] = []

    def on_batch(self, batch: Batch) -> None:
        self._wake(batch.topic)

    def on_topic(self, topic: str, change: TopicChange) -> None:
        self._wake(topic)

    def on_health(self, health: BusHealth) -> None:
        for _, wake in self.callbacks:
            wake()

    def _wake(self, topic: str) -> None:
        for name, wake in self.callbacks:
            if name == topic:
                wake()


def follow_of(bus: Bus) -> Follow:
    """How a table follows a bus when nobody else does."""
    wakes = Wakes()
    tail = bus.tail(wakes)

    async def follow(topic: str, wake: Callable[[], None]) -> Callable[[], None]:
        await tail.follow(topic)
        wakes.callbacks.append((topic, wake))
        return lambda: wakes.callbacks.remove((topic, wake))

    return follow


@pytest.fixture
async def table(bus: Bus, topic: str) -> AsyncIterator[Table]:
    table = Table(bus, f"_{topic}", follow_of(bus), "//test")
    table.start()
    await table.wait(10)
    yield table
    await table.close()


async def test_a_writer_sees_its_own_writes(table: Table) -> None:
    for number in range(20):
        await table.put(f"key {number % 3}", b"%d" % number)
        assert table.get(f"key {number % 3}") == b"%d" % number
    await table.put("key 0", None)
    assert dict(table.items()) == {"key 1": b"19", "key 2": b"17"}


async def test_its_topic_is_compacted_and_internal(bus: Bus, topic: str, table: Table) -> None:
    info = await bus.describe_topic(f"_{topic}")
    assert (info.cleanup, info.partitions, info.retention_ms, info.retention_bytes) == ("compact", 1, -1, -1)
    assert f"_{topic}" not in await bus.topics()


async def test_another_table_on_the_same_topic_follows(bus: Bus, topic: str, table: Table) -> None:
    await table.put("ключ", b"")
    other = Table(bus, f"_{topic}", follow_of(bus), "//other")
    seen: list[tuple[str, bytes | None]] = []
    other.watch(lambda key, value: seen.append((key, value)))
    other.start()
    await other.wait(10)
    await table.put("b", b"2")
    await table.put("ключ", None)
    await eventually(lambda: len(seen) == 3)
    assert seen == [("ключ", b""), ("b", b"2"), ("ключ", None)]
    await other.close()


async def test_it_is_there_after_opening_anew(rig: Rig, topic: str) -> None:
    if not rig.durable:
        pytest.skip("this bus forgets on purpose")
    for value in (b"1", b"2"):
        bus = await rig.open()
        await bus.start()
        table = Table(bus, f"_{topic}", follow_of(bus), "//test")
        table.start()
        await table.wait(10)
        assert dict(table.items()) == ({} if value == b"1" else {"a": b"1"})
        await table.put("a", value)
        await table.close()
        await bus.close()
