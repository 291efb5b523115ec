"""The bus as a whole, and that it keeps the contract's shape."""

from __future__ import annotations

import pytest

from gateway.bus.contract import Bus, TopicHealth, TopicSettings
from gateway.bus.kafka import KafkaBus
from gateway.errors import BusUnavailable, InvalidSetting
from tests.conftest import eventually
from tests.harness.events import events, ids, read_topic
from tests.harness.fake_kafka import FakeKafka

pytestmark = pytest.mark.timeout(20)


async def test_a_topic_from_its_creation_to_its_end() -> None:
    fake = FakeKafka()
    await fake.start()
    bus: Bus = KafkaBus(fake.bootstrap, request_timeout=2.0)
    await bus.start()
    try:
        info = await bus.create_topic("t", TopicSettings(partitions=2))
        assert await bus.describe_topic("t") == info
        assert await bus.topics() == ["t"]
        await bus.append("t", events(20))
        assert sorted(ids(await read_topic(bus, "t"))) == list(range(20))
        assert await bus.offset_for_time("t", 0, 0) == 0
        assert (await bus.alter_topic("t", TopicSettings(retention_ms=7))).retention_ms == 7
        assert await bus.topic_health("t") == TopicHealth()
        await bus.delete_topic("t")
        assert await bus.topics() == []
    finally:
        await bus.close()
        await fake.close()


async def test_kafka_need_not_be_there_at_start() -> None:
    fake = FakeKafka()
    await fake.start()
    await fake.stop(1)
    bus = KafkaBus(fake.bootstrap, request_timeout=0.3)
    await bus.start()
    try:
        assert not bus.health().ready
        assert "127.0.0.1" in bus.health().reasons[0]
        for call in (bus.append("t", events(1)), bus.describe_topic("t"), bus.create_topic("t", TopicSettings())):
            with pytest.raises(BusUnavailable):
                await call
        fake.create("t")
        await fake.open(1)
        await eventually(lambda: bus.health().ready)
        assert len(await bus.append("t", events(3))) == 3
    finally:
        await bus.close()
        await fake.close()


async def test_an_address_that_cannot_be_is_refused_when_constructing() -> None:
    with pytest.raises(InvalidSetting, match="not host:port"):
        KafkaBus("host:port")
