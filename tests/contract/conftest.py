"""The buses that the contract suite runs against."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.bus.contract import Bus
from gateway.bus.embedded import EmbeddedBus
from gateway.bus.kafka import KafkaBus, messages
from gateway.bus.memory import MemoryBus

_numbers = itertools.count(1)


class Rig:
    """One kind of bus on a store of its own: what differs between the kinds when testing."""

    durable = True
    shared = False
    """Whether several processes may work on one store."""
    defaults = 1
    """Partitions of a topic that does not say how many."""

    async def open(self) -> Bus:
        """Another bus on the same store."""
        raise NotImplementedError

    async def quick_compaction(self, topic: str) -> None:
        """Have the bus compact the topic as often as it can."""

    async def tidy(self, bus: Bus, topic: str) -> None:
        """Give the bus a push to do its housekeeping, where it needs one."""


class MemoryRig(Rig):
    durable = False

    async def open(self) -> Bus:
        return MemoryBus()

    async def tidy(self, bus: Bus, topic: str) -> None:
        assert isinstance(bus, MemoryBus)
        info = await bus.describe_topic(topic)
        if info.cleanup == "compact":
            bus.compact(topic)
        else:
            bus.expire(topic)


class EmbeddedRig(Rig):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def open(self) -> Bus:
        # Little memory, so that most is read from disk.
        return EmbeddedBus(self._folder, memory=128 * 1024, segment_bytes=128 * 1024, maintenance_interval=0.1)


class KafkaRig(Rig):
    shared = True

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    async def open(self) -> Bus:
        return KafkaBus(self._bootstrap, refresh=0.3)

    async def quick_compaction(self, topic: str) -> None:
        bus = KafkaBus(self._bootstrap)
        await bus.start()
        settings = {"min.cleanable.dirty.ratio": "0.001", "segment.ms": "50", "max.compaction.lag.ms": "100"}
        outcome = await bus._cluster.call_any(messages.alter_configs(topic, settings))
        assert outcome.code == 0, outcome.message
        await bus.close()


@pytest.fixture(params=["memory", "embedded", "kafka"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    if request.param == "memory":
        return MemoryRig()
    if request.param == "embedded":
        return EmbeddedRig(tmp_path / "data")
    return KafkaRig(request.getfixturevalue("kafka").bootstrap)


@pytest.fixture
async def bus(rig: Rig) -> AsyncIterator[Bus]:
    bus = await rig.open()
    await bus.start()
    yield bus
    await bus.close()


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses: Kafka is shared by all."""
    return f"contract-{next(_numbers)}"
