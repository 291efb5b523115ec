"""A compacted topic as a dict: it reads to the end, follows, and survives what can happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.bus import tables
from gateway.bus.contract import Batch, BusHealth, TopicChange
from gateway.bus.memory import MemoryBus
from gateway.bus.tables import Follow, Table
from gateway.errors import BusUnavailable
from tests.conftest import eventually

pytestmark = pytest.mark.timeout(20)
TOPIC = "_linkspan.test"


class Wakes:
    """A sink that wakes whoever follows a topic, as the hub of the process does."""

    def __init__(self) -> None:
        self.callbacks: list[tuple[str, Callable[[], None]]] = []

    def on_batch(self, batch: Batch) -> None:
        for topic, wake in self.callbacks:
            if topic == batch.topic:
                wake()

    def on_topic(self, topic: str, change: TopicChange) -> None:
        for name, wake in self.callbacks:
            if name == topic:
                wake()

    def on_health(self, health: BusHealth) -> None:
        for _, wake in self.callbacks:
            wake()


def follow_of(bus: MemoryBus) -> Follow:
    """How a table follows a bus when nobody else does."""
    wakes = Wakes()
    tail = bus.tail(wakes)

    async def follow(topic: str, wake: Callable[[], None]) -> Callable[[], None]:
        await tail.follow(topic)
        wakes.callbacks.append((topic, wake))
        return lambda: wakes.callbacks.remove((topic, wake))

    return follow


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    bus = MemoryBus()
    await bus.start()
    yield bus
    await bus.close()


@pytest.fixture
async def table(bus: MemoryBus) -> AsyncIterator[Table]:
    table = Table(bus, TOPIC, follow_of(bus), "//test")
    table.start()
    await table.wait(5)
    yield table
    await table.close()


async def test_a_writer_sees_its_own_writes(table: Table) -> None:
    await table.put("a", b"1")
    await table.put("b", b"2")
    await table.put("a", b"3")
    assert dict(table.items()) == {"a": b"3", "b": b"2"}
    await table.put("a", None)
    assert (table.get("a"), len(table)) == (None, 1)


async def test_another_instance_sees_them_too_and_from_the_beginning(bus: MemoryBus, table: Table) -> None:
    await table.put("a", b"1")
    other = Table(bus, TOPIC, follow_of(bus), "//other")
    seen: list[tuple[str, bytes | None]] = []
    other.watch(lambda key, value: seen.append((key, value)))
    other.start()
    await other.wait(5)
    await table.put("b", b"2")
    await table.put("a", None)
    await table.put("never", None)
    await eventually(lambda: len(seen) == 3)
    assert seen == [("a", b"1"), ("b", b"2"), ("a", None)]
    assert other.loaded
    await other.close()


async def test_its_topic_is_compacted_and_never_expires(bus: MemoryBus, table: Table) -> None:
    info = await bus.describe_topic(TOPIC)
    assert (info.cleanup, info.partitions, info.retention_ms, info.retention_bytes) == ("compact", 1, -1, -1)


async def test_it_waits_for_a_bus_that_is_away_and_says_why(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RETRY", 0.01)
    bus.away("no broker")
    table = Table(bus, TOPIC, follow_of(bus), "//test")
    table.start()
    with pytest.raises(BusUnavailable, match="no broker"):
        await table.wait(0.05)
    assert not table.loaded
    bus.back()
    await table.wait(5)
    await table.close()


async def test_a_damaged_row_is_passed_over(bus: MemoryBus, table: Table) -> None:
    await table.put("a", b"1")
    await table.put("b", b"2")
    bus.corrupt(TOPIC, 0, 0)
    other = Table(bus, TOPIC, follow_of(bus), "//test")
    other.start()
    await other.wait(5)
    assert dict(other.items()) == {"b": b"2"}
    await other.close()


async def test_a_topic_deleted_under_it_empties_the_table(bus: MemoryBus, table: Table) -> None:
    seen: list[tuple[str, bytes | None]] = []
    await table.put("a", b"1")
    table.watch(lambda key, value: seen.append((key, value)))
    await bus.delete_topic(TOPIC)
    await eventually(lambda: len(table) == 0)
    assert seen == [("a", None)]
    await table.put("c", b"4")
    assert dict(table.items()) == {"c": b"4"}


async def test_rows_removed_by_hand_are_read_again(bus: MemoryBus, table: Table) -> None:
    await table.put("a", b"1")
    await table.put("b", b"2")
    other = Table(bus, TOPIC, follow_of(bus), "//test")
    bus.truncate(TOPIC, 0, 1)
    other.start()
    await other.wait(5)
    assert dict(other.items()) == {"b": b"2"}
    await other.close()


async def test_a_write_is_seen_even_when_the_tail_lost_it(bus: MemoryBus, table: Table) -> None:
    bus.lose_tail()
    await asyncio.wait_for(table.put("a", b"1"), 5)
    assert table.get("a") == b"1"


async def test_closing_a_table_that_never_started_is_fine(bus: MemoryBus) -> None:
    await Table(bus, TOPIC, follow_of(bus), "//test").close()
