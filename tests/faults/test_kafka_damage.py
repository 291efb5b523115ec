"""Bytes that rot on a broker's disk are found, named and passed over; a cluster loses a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from gateway.bus.contract import TopicHealth, TopicSettings
from gateway.bus.kafka import KafkaBus
from gateway.errors import CorruptData, LinkspanError
from tests.conftest import eventually
from tests.harness.events import READ_BYTES, Sink, events, ids, read_partition, read_topic
from tests.harness.kafka import KafkaServer

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]


@pytest.fixture
def alone() -> Iterator[KafkaServer]:
    server = KafkaServer()
    server.start()
    yield server
    server.close()


@pytest.fixture
def cluster() -> Iterator[KafkaServer]:
    server = KafkaServer(nodes=3)
    server.start()
    yield server
    server.close()


async def test_a_flipped_bit_on_a_brokers_disk_is_found_and_passed_over(alone: KafkaServer) -> None:
    bus = KafkaBus(alone.bootstrap, refresh=0.5)
    await bus.start()
    await eventually(lambda: bus.health().ready)
    await bus.create_topic("rot", TopicSettings(partitions=1, compression="none"))
    for first in range(0, 30, 10):
        await bus.append("rot", events(10, first, size=100))
    await asyncio.to_thread(alone.node.stop)
    (segment,) = alone.folder.rglob("rot-0/*0.log")
    damaged = bytearray(segment.read_bytes())
    damaged[damaged.index(b"15....")] ^= 0x01
    segment.write_bytes(damaged)
    await alone.up()
    await eventually(lambda: bus.health().ready)

    batches = await bus.read("rot", 0, 0, READ_BYTES)
    assert ids([each for batch in batches for each in batch.events]) == list(range(10))
    for offset in (10, 15, 19):
        with pytest.raises(CorruptData, match="rot/0") as caught:
            await bus.read("rot", 0, offset, READ_BYTES)
        assert caught.value.detail["next_offset"] == 20
    assert ids(await read_partition(bus, "rot", 0, start=20)) == list(range(20, 30))
    await bus.append("rot", events(5, 30))
    assert ids(await read_partition(bus, "rot", 0, start=20)) == list(range(20, 35))
    await bus.close()


async def test_a_cluster_loses_a_broker_and_no_event(cluster: KafkaServer) -> None:
    bus = KafkaBus(cluster.bootstrap, refresh=0.5)
    await bus.start()
    await eventually(lambda: bus.health().ready and bus.health().detail["brokers"] == 3, 30)
    info = await bus.create_topic("spread", TopicSettings(partitions=6))
    assert info.replication == 3
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow("spread")
    acknowledged: set[int] = set()
    failures: list[LinkspanError] = []
    numbers = iter(range(0, 100_000_000, 50))
    stopping = asyncio.Event()

    async def caller() -> None:
        while not stopping.is_set():
            first = next(numbers)
            try:
                await bus.append("spread", events(50, first, subjects=40))
            except LinkspanError as error:
                failures.append(error)
            else:
                acknowledged.update(range(first, first + 50))

    async def more() -> None:
        enough = len(acknowledged) + 3000
        await eventually(lambda: len(acknowledged) > enough, 30, "appends succeed")

    async def healthy() -> bool:
        return await bus.topic_health("spread") == TopicHealth()

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(caller())
        await more()
        await asyncio.to_thread(cluster.node.kill)
        await eventually(lambda: _degraded(bus), 30)
        await more()
        cluster.node.start()
        await eventually(healthy, 30)
        await more()
        stopping.set()
    stored = ids(await read_topic(bus, "spread"))
    lost = acknowledged - set(stored)
    print(  # noqa: T201  # the figures are what the test is for
        f"\n1 of 3 brokers killed and started again: {len(acknowledged)} acknowledged, {len(lost)} lost, "
        f"{len(stored) - len(set(stored))} stored twice, {len(failures)} appends failed"
    )
    assert not lost
    assert len(stored) == len(set(stored))
    assert failures == [], "with two brokers left, every append succeeds within its deadline"
    await eventually(lambda: len(sink.events("spread")) >= len(stored))
    assert sorted(ids(sink.events("spread"))) == sorted(stored)
    assert sink.faults == []
    await tail.close()
    await bus.close()


async def _degraded(bus: KafkaBus) -> bool:
    return bool((await bus.topic_health("spread")).under_replicated)
