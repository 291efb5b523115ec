"""What Kafka refuses fails alone: the events beside it, before it and after it are stored."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from gateway.bus.contract import Bounds, TopicChange, TopicSettings
from gateway.bus.kafka import KafkaBus
from gateway.errors import (
    BusUnavailable,
    InvalidEvent,
    InvalidSetting,
    LinkspanError,
    OutcomeUnknown,
    TooLarge,
    UnknownTopic,
)
from tests.conftest import eventually
from tests.harness.events import Sink, event, events, ids, read_topic
from tests.harness.kafka import KafkaServer

pytestmark = [pytest.mark.timeout(60), pytest.mark.slow]


@pytest.fixture
async def bus(kafka: KafkaServer) -> AsyncIterator[KafkaBus]:
    bus = KafkaBus(kafka.bootstrap, refresh=0.3, request_timeout=5)
    await bus.start()
    yield bus
    await bus.close()


@pytest.fixture
async def topic(bus: KafkaBus, request: pytest.FixtureRequest) -> str:
    name = f"refusals-{request.node.name[:200]}"
    await bus.create_topic(name, TopicSettings(partitions=1))
    return name


@pytest.fixture
async def admin(kafka: KafkaServer) -> AsyncIterator[AIOKafkaAdminClient]:
    """Another client, behind the bus's back."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    yield admin
    await admin.close()


async def set_behind_its_back(admin: AIOKafkaAdminClient, topic: str, **configs: str) -> None:
    names = {name.replace("_", "."): value for name, value in configs.items()}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=names)])


async def outcome_of(bus: KafkaBus, topic: str, number: int, size: int) -> LinkspanError | None:
    """What an append of one event ends with; None when it is stored."""
    try:
        await bus.append(topic, [event(number, data=b"x" * size)])
    except LinkspanError as error:
        return error
    return None


async def test_a_batch_that_the_broker_refuses_is_followed_by_good_ones(
    bus: KafkaBus, admin: AIOKafkaAdminClient, topic: str
) -> None:
    await bus.append(topic, [event(0)])
    # The bus knows the old limit for a few seconds yet: it is the broker that refuses.
    await set_behind_its_back(admin, topic, max_message_bytes="5000", compression_type="uncompressed")
    refused = 0
    for number in range(1, 200, 2):
        large, small = await asyncio.gather(
            outcome_of(bus, topic, number, 6000), outcome_of(bus, topic, number + 1, 100)
        )
        assert small is None, "the event beside it is stored"
        if large is not None:
            assert isinstance(large, TooLarge)
            refused += 1
        if refused == 5:
            break
    assert refused == 5
    # A call of many small events is cut into batches that the broker takes.
    await bus.append(topic, events(50, 1000, size=1000))
    stored = ids(await read_topic(bus, topic))
    assert stored == sorted(set(stored))
    assert stored[-50:] == list(range(1000, 1050))
    assert {0, 2, 4, 6, 8, 10} <= set(stored)


async def test_a_record_that_a_compacted_topic_does_not_take_is_named(
    bus: KafkaBus, admin: AIOKafkaAdminClient, topic: str
) -> None:
    await set_behind_its_back(admin, topic, cleanup_policy="compact")

    async def refuses() -> bool:
        try:
            await bus.append(topic, [event(0)])
        except InvalidEvent:
            return True
        return False

    await eventually(refuses)
    before = (await bus.bounds(topic))[0].next
    good = [asyncio.create_task(bus.append(topic, events(10, first))) for first in range(100, 200, 10)]
    mixed = asyncio.create_task(bus.append(topic, [event(1, key=b"k"), event(2), event(3, key=b"k"), event(4)]))
    good += [asyncio.create_task(bus.append(topic, events(10, first))) for first in range(200, 300, 10)]
    with pytest.raises(InvalidEvent, match="Kafka refuses") as caught:
        await mixed
    assert [fault.index for fault in caught.value.faults] == [1, 3]
    assert [fault.where for fault in caught.value.faults] == ["events[1]", "events[3]"]
    await asyncio.gather(*good)
    stored = [each for each in await read_topic(bus, topic) if each.offset >= before]
    assert ids(stored) == list(range(100, 300))


async def test_events_too_large_for_the_topic_are_named_before_anything_is_sent(bus: KafkaBus, topic: str) -> None:
    info = await bus.describe_topic(topic)
    huge = b"x" * info.max_event_bytes
    with pytest.raises(TooLarge) as caught:
        await bus.append(topic, [event(0), event(1, data=huge), event(2), event(3, data=huge)])
    assert [fault.index for fault in caught.value.faults] == [1, 3]
    assert await bus.bounds(topic) == [Bounds(0, 0)]


async def test_a_topic_may_take_larger_events_than_usual(bus: KafkaBus, admin: AIOKafkaAdminClient, topic: str) -> None:
    await set_behind_its_back(admin, topic, max_message_bytes="5000000")
    await eventually(lambda: _limit_is(bus, topic, 5_000_000))
    noise = random.Random(7).randbytes(4_900_000)
    sizes = (10, 4_900_000, 1_500_000, 10, 3_000_000)
    await bus.append(topic, [event(number, data=noise[:size]) for number, size in enumerate(sizes)])
    assert [len(each.data or b"") for each in await read_topic(bus, topic)] == list(sizes)


async def _limit_is(bus: KafkaBus, topic: str, limit: int) -> bool:
    return (await bus.describe_topic(topic)).max_event_bytes == limit


async def test_appends_go_on_in_a_topic_that_others_delete_and_make_anew(
    bus: KafkaBus, admin: AIOKafkaAdminClient, topic: str
) -> None:
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow(topic)
    await bus.append(topic, events(50))
    before = await bus.describe_topic(topic)
    numbers = iter(range(1000, 1_000_000))
    outcomes: dict[int, LinkspanError | None] = {}
    stopping = asyncio.Event()

    async def caller() -> None:
        while not stopping.is_set():
            number = next(numbers)
            outcomes[number] = await outcome_of(bus, topic, number, 100)
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(caller())
        await admin.delete_topics([topic])
        await eventually(lambda: any(isinstance(outcome, UnknownTopic) for outcome in outcomes.values()))
        await admin.create_topics([NewTopic(topic, 1, 1)])
        await eventually(lambda: len(sink.changes) > 1 and sink.changes[-1] == (topic, TopicChange.CREATED))
        newest = max(outcomes)
        await eventually(lambda: any(outcome is None for number, outcome in outcomes.items() if number > newest))
        stopping.set()
    assert {type(outcome) for outcome in outcomes.values()} <= {type(None), UnknownTopic, OutcomeUnknown}
    after = await bus.describe_topic(topic)
    assert after.epoch != before.epoch
    stored = ids(await read_topic(bus, topic))
    assert len(stored) == len(set(stored))
    refused = {number for number, outcome in outcomes.items() if isinstance(outcome, UnknownTopic)}
    assert not refused & set(stored)
    acknowledged = {number for number, outcome in outcomes.items() if outcome is None and number > newest}
    assert acknowledged <= set(stored)
    await eventually(lambda: set(stored) <= set(ids(sink.events(topic))))
    assert sink.faults == []
    await tail.close()


async def test_creating_what_the_broker_refuses_gives_its_own_words(
    bus: KafkaBus, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidSetting, match="this Kafka has 1 broker up"):
        await bus.create_topic(topic + ".wide", TopicSettings(replication=7))
    # Brokers may go between our look and theirs.
    monkeypatch.setattr(bus._admin, "setting_faults", lambda settings, now=None: ())
    with pytest.raises(InvalidSetting, match=r"(?i)replication factor") as caught:
        await bus.create_topic(topic + ".wide", TopicSettings(replication=7))
    assert [fault.where for fault in caught.value.faults] == ["replication"]
    assert topic + ".wide" not in await bus.topics()


async def test_a_full_memory_refuses_at_once_and_recovers(kafka: KafkaServer, topic: str) -> None:
    bus = KafkaBus(kafka.bootstrap, memory=200_000)
    await bus.start()
    await bus.append(topic, [event(0)])
    under_way = [asyncio.create_task(bus.append(topic, events(100, first, size=1000))) for first in range(0, 2000, 100)]
    outcomes = await asyncio.gather(*under_way, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert refused
    assert all(isinstance(outcome, BusUnavailable) for outcome in refused)
    assert len(refused) < len(outcomes)
    assert bus.health().detail["appending_bytes"] == 0
    await bus.append(topic, events(100, size=1000))
    assert (await bus.bounds(topic))[0].next == 1 + 100 * (len(outcomes) - len(refused) + 1)
    await bus.close()
