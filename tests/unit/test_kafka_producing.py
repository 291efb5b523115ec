"""Appends when Kafka loses answers, moves leaders, refuses, or is not there."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from gateway.bus.contract import TopicSettings
from gateway.bus.kafka import admin, errors
from gateway.bus.kafka.bus import KafkaBus
from gateway.bus.records import decode_records, read_batch_header
from gateway.errors import BusUnavailable, InvalidEvent, OutcomeUnknown, TooLarge, UnknownTopic
from gateway.event import Event
from tests.conftest import eventually
from tests.harness.events import event, events, ids
from tests.harness.fake_kafka import FakeKafka

pytestmark = pytest.mark.timeout(20)
Open = Callable[..., AbstractAsyncContextManager[KafkaBus]]


@pytest.fixture
async def fake() -> AsyncIterator[FakeKafka]:
    fake = FakeKafka(2)
    await fake.start()
    fake.create("t")
    yield fake
    await fake.close()


@pytest.fixture
def opened(fake: FakeKafka) -> Open:
    @asynccontextmanager
    async def opened(**options: float) -> AsyncIterator[KafkaBus]:
        bus = KafkaBus(fake.bootstrap, **{"request_timeout": 2.0, "refresh": 0.2, **options})  # type: ignore[arg-type]
        await bus.start()
        yield bus
        await bus.close()

    return opened


@pytest.fixture
async def bus(opened: Open) -> AsyncIterator[KafkaBus]:
    async with opened() as bus:
        yield bus


def stored(fake: FakeKafka, partition: int = 0, topic: str = "t") -> list[int]:
    log = fake.topics[topic].partitions[partition]
    return ids([each for batch in log.batches for each in decode_records(batch, topic, partition).events])


async def test_positions_say_where_the_events_stand(fake: FakeKafka, bus: KafkaBus) -> None:
    assert await bus.append("t", events(10)) == [(0, offset) for offset in range(10)]
    assert stored(fake) == list(range(10))
    assert await bus.append("t", []) == []


async def test_what_arrives_while_a_batch_is_on_the_wire_makes_the_next_one(fake: FakeKafka, bus: KafkaBus) -> None:
    await bus.append("t", events(1))
    await asyncio.gather(*(bus.append("t", events(10, first)) for first in range(1, 501, 10)))
    assert stored(fake) == list(range(501))
    assert fake.count("Produce") < 10


@pytest.mark.parametrize("step", ["lose", "drop"])
async def test_a_lost_answer_is_no_loss_and_no_repeat(fake: FakeKafka, bus: KafkaBus, step: str) -> None:
    await bus.append("t", events(5))
    fake.script["Produce"] += [step, step]
    assert await bus.append("t", events(5, 5)) == [(0, offset) for offset in range(5, 10)]
    await bus.append("t", events(5, 10))
    assert stored(fake) == list(range(15))


@pytest.mark.parametrize(
    "code", [errors.NOT_ENOUGH_REPLICAS, errors.REQUEST_TIMED_OUT, errors.NOT_LEADER_OR_FOLLOWER, 45, 59]
)
async def test_a_passing_refusal_is_tried_again(fake: FakeKafka, bus: KafkaBus, code: int) -> None:
    await bus.append("t", events(5))
    fake.script["Produce"].append(code)
    await asyncio.gather(bus.append("t", events(5, 5)), bus.append("t", events(5, 10)))
    assert stored(fake) == list(range(15))


@pytest.mark.parametrize("code", [errors.NOT_LEADER_OR_FOLLOWER, errors.UNKNOWN_TOPIC_OR_PARTITION])
async def test_a_leader_deposed_after_it_stored_leaves_doubt_and_no_later_event_in_its_place(
    fake: FakeKafka, opened: Open, code: int
) -> None:
    partition = fake.topics["t"].partitions[0]
    original = partition.produce

    def deposed(batch: bytes) -> tuple[int, int]:
        partition.leader, partition.leader_epoch = -1, 1
        return code, original(batch)[1]

    async with opened(request_timeout=0.5) as bus:
        await bus.append("t", events(5))
        partition.produce = deposed  # type: ignore[method-assign]
        with pytest.raises(OutcomeUnknown):
            await bus.append("t", events(5, 5))
        partition.produce = original  # type: ignore[method-assign]
        partition.leader, partition.leader_epoch = 1, 2
        # As many events as before: a broker must not take them for those again.
        assert await bus.append("t", events(5, 10)) == [(0, offset) for offset in range(10, 15)]
    assert stored(fake) == list(range(15))


async def test_a_leader_deposed_after_it_stored_is_asked_again_when_it_is_back(fake: FakeKafka, bus: KafkaBus) -> None:
    await bus.append("t", events(5))
    partition = fake.topics["t"].partitions[0]
    original, answers = partition.produce, [errors.NOT_LEADER_OR_FOLLOWER, errors.NONE]
    partition.produce = lambda batch: (answers.pop(0), original(batch)[1])  # type: ignore[method-assign]
    assert await bus.append("t", events(5, 5)) == [(0, offset) for offset in range(5, 10)]
    assert stored(fake) == list(range(10))


async def test_a_leader_that_moves_is_followed(fake: FakeKafka, bus: KafkaBus) -> None:
    await bus.append("t", events(5))
    partition = fake.topics["t"].partitions[0]
    partition.leader, partition.leader_epoch = 2, 1
    await bus.append("t", events(5, 5))
    assert stored(fake) == list(range(10))


async def test_a_leader_that_hangs_while_another_takes_over_is_not_waited_for(fake: FakeKafka, opened: Open) -> None:
    async with opened(request_timeout=5.0) as bus:
        await bus.append("t", events(5))
        fake.script["Produce"].append("hang")
        partition = fake.topics["t"].partitions[0]
        waiting = asyncio.create_task(bus.append("t", events(5, 5)))
        await eventually(lambda: not fake.script["Produce"])
        partition.leader, partition.leader_epoch = 2, 1
        started = asyncio.get_running_loop().time()
        await waiting
        assert asyncio.get_running_loop().time() - started < 3
    assert stored(fake) == list(range(10))


async def test_a_partition_without_a_leader_waits_for_one(fake: FakeKafka, bus: KafkaBus) -> None:
    partition = fake.topics["t"].partitions[0]
    partition.leader, partition.leader_epoch = -1, 1
    waiting = asyncio.create_task(bus.append("t", events(5)))
    await eventually(lambda: bus.health().detail["appending_bytes"])
    partition.leader, partition.leader_epoch = 2, 2
    await waiting
    assert stored(fake) == list(range(5))


async def test_no_answer_in_time_is_an_unknown_outcome_and_later_appends_go_on(fake: FakeKafka, opened: Open) -> None:
    async with opened(request_timeout=0.4) as bus:
        await bus.append("t", events(5))
        fake.script["Produce"].append("hang")
        with pytest.raises(OutcomeUnknown) as caught:
            await bus.append("t", events(5, 5))
        assert caught.value.detail["positions"] == [None] * 5
        await eventually(lambda: _succeeds(bus.append("t", events(1, 10))))
    assert stored(fake)[-1] == 10


async def _succeeds(append: Awaitable[object]) -> bool:
    try:
        await append
    except (BusUnavailable, OutcomeUnknown):
        return False
    return True


async def test_what_was_never_sent_was_certainly_not_stored(fake: FakeKafka, opened: Open) -> None:
    async with opened(request_timeout=0.5) as bus:
        await bus.append("t", events(5))
        for node in (1, 2):
            await fake.stop(node)
        with pytest.raises(BusUnavailable):
            await bus.append("t", events(5, 5))
        await eventually(lambda: bus._cluster.down_for() > 0.5)
        started = asyncio.get_running_loop().time()
        with pytest.raises(BusUnavailable, match="out of reach"):
            await bus.append("t", events(5, 5))
        assert asyncio.get_running_loop().time() - started < 0.2
        for node in (1, 2):
            await fake.open(node)
        await eventually(lambda: bus.health().ready)
        await bus.append("t", events(5, 10))
    assert stored(fake) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]


async def test_a_lost_sequence_after_doubt_is_an_unknown_outcome(fake: FakeKafka, bus: KafkaBus) -> None:
    fake.script["Produce"] += ["lose", errors.OUT_OF_ORDER_SEQUENCE]
    with pytest.raises(OutcomeUnknown, match="lost track"):
        await bus.append("t", events(5))
    await bus.append("t", events(5, 5))
    assert fake.count("InitProducerId") == 2


async def test_a_duplicate_that_the_broker_cannot_place_is_an_unknown_outcome(fake: FakeKafka, bus: KafkaBus) -> None:
    fake.script["Produce"].append(errors.DUPLICATE_SEQUENCE)
    with pytest.raises(OutcomeUnknown, match="does not say where"):
        await bus.append("t", events(5))


async def test_too_large_is_found_before_anything_is_sent(fake: FakeKafka, bus: KafkaBus) -> None:
    fake.create("two", 2)
    big = event(7, b"x" * 1_100_000, subject="b")
    with pytest.raises(TooLarge) as caught:
        await bus.append("two", [event(1, subject="a"), event(2, subject="c"), big])
    assert [fault.index for fault in caught.value.faults] == [2]
    await bus.append("two", events(5))
    assert sorted(stored(fake, 0, "two") + stored(fake, 1, "two")) == list(range(5))
    with pytest.raises(TooLarge):
        await bus.append("two", [big])
    assert bus.health().detail["appending_bytes"] == 0


async def test_when_the_limit_shrank_batches_are_divided_until_they_fit(fake: FakeKafka, bus: KafkaBus) -> None:
    await bus.append("t", events(1))
    fake.topics["t"].configs["max.message.bytes"] = "1500"
    big = event(31, os.urandom(5000))
    good, bad = await asyncio.gather(
        bus.append("t", events(30, 1, size=200)), bus.append("t", [big]), return_exceptions=True
    )
    assert good == [(0, offset) for offset in range(1, 31)]
    assert isinstance(bad, TooLarge)
    assert all(len(batch) <= 1500 for batch in fake.topics["t"].partitions[0].batches)


async def test_a_refused_record_fails_its_own_call_alone(fake: FakeKafka, bus: KafkaBus) -> None:
    topic = fake.topics["t"]
    original = topic.partitions[0].produce

    def strict(batch: bytes) -> tuple[int, int]:
        keys = [each.key for each in decode_records(batch, "t", 0).events]
        return (errors.INVALID_RECORD, -1) if None in keys else original(batch)

    topic.partitions[0].produce = strict  # type: ignore[method-assign]
    await bus.append("t", events(1))
    answers = await asyncio.gather(
        bus.append("t", events(5, 1)),
        bus.append("t", [event(99)]),
        bus.append("t", events(5, 6)),
        return_exceptions=True,
    )
    assert isinstance(answers[1], InvalidEvent)
    assert "said the broker" in str(answers[1])
    assert stored(fake) == list(range(11))
    await bus.append("t", events(5, 11))


async def test_what_kafka_does_not_permit_is_unavailable(fake: FakeKafka, bus: KafkaBus) -> None:
    fake.script["Produce"].append(errors.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(BusUnavailable, match="TOPIC_AUTHORIZATION_FAILED"):
        await bus.append("t", events(5))


async def test_of_two_partitions_one_may_fail_alone(fake: FakeKafka, bus: KafkaBus) -> None:
    topic = fake.create("two", 2)
    topic.partitions[1].produce = lambda batch: (errors.INVALID_RECORD, -1)  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown, match="only") as caught:
        await bus.append("two", events(20))
    positions = caught.value.detail["positions"]
    assert {position[0] for position in positions if position} == {0}
    assert sum(position is not None for position in positions) == len(stored(fake, 0, "two"))


async def test_calls_keep_their_order_while_a_topic_is_looked_up(fake: FakeKafka, bus: KafkaBus) -> None:
    fake.create("new")
    await asyncio.gather(*(bus.append("new", events(3, first)) for first in range(0, 30, 3)))
    assert stored(fake, 0, "new") == list(range(30))
    with pytest.raises(UnknownTopic):
        await bus.append("nowhere", events(1))
    with pytest.raises(TooLarge):
        await bus.append("t", [event(0, b"x" * 2_000_000)])


async def test_what_cannot_be_encoded_is_refused_and_holds_up_nobody(fake: FakeKafka, bus: KafkaBus) -> None:
    bad = Event({"id": "\ud800", "source": "s", "type": "t", "specversion": "1.0"})
    answers = await asyncio.gather(bus.append("t", [bad]), bus.append("t", events(2)), return_exceptions=True)
    assert isinstance(answers[0], InvalidEvent)
    with pytest.raises(InvalidEvent):
        await bus.append("t", [bad])
    assert stored(fake) == [0, 1]


async def test_a_topic_that_is_deleted_meanwhile_is_unknown(fake: FakeKafka, bus: KafkaBus) -> None:
    await bus.append("t", events(5))
    del fake.topics["t"]
    with pytest.raises(UnknownTopic):
        await bus.append("t", events(5, 5))
    fake.create("t")
    await eventually(lambda: _known(bus))
    assert await bus.append("t", events(5, 10)) == [(0, offset) for offset in range(5)]


async def _known(bus: KafkaBus) -> bool:
    await bus._cluster.refreshed()
    return "t" in bus._cluster.metadata.topics


async def test_a_topic_made_anew_takes_appends_at_once(fake: FakeKafka, bus: KafkaBus) -> None:
    await bus.append("t", events(5))
    await bus.delete_topic("t")
    await bus.create_topic("t", TopicSettings())
    assert await bus.append("t", events(5, 5)) == [(0, offset) for offset in range(5)]
    assert stored(fake) == [5, 6, 7, 8, 9]


async def test_too_much_waiting_is_refused_at_once(fake: FakeKafka, opened: Open) -> None:
    async with opened(memory=10_000) as bus:
        await bus.append("t", events(1))
        partition = fake.topics["t"].partitions[0]
        partition.leader, partition.leader_epoch = -1, 1
        await bus._cluster.refreshed()
        first = asyncio.create_task(bus.append("t", events(200)))
        await eventually(lambda: bus.health().detail["appending_bytes"])
        with pytest.raises(BusUnavailable, match="wait for Kafka already"):
            await bus.append("t", events(1))
        partition.leader, partition.leader_epoch = 1, 2
        await first
        await bus.append("t", events(1))


async def test_closing_lets_appends_finish_and_answers_the_rest(fake: FakeKafka, opened: Open) -> None:
    async with opened(request_timeout=0.5) as bus:
        await bus.append("t", events(1))
        done = asyncio.create_task(bus.append("t", events(5, 1)))
        await asyncio.sleep(0)
    assert len(await done) == 5
    async with opened(request_timeout=30.0) as bus:
        await bus.append("t", events(1))
        fake.script["Produce"].append("hang")
        flying = asyncio.create_task(bus.append("t", events(5)))
        await eventually(lambda: not fake.script["Produce"])
        waiting = asyncio.create_task(bus.append("t", events(5)))
        await asyncio.sleep(0)
        await bus._producing.close(0.1)
        with pytest.raises(OutcomeUnknown):
            await flying
        with pytest.raises(BusUnavailable):
            await waiting
        with pytest.raises(BusUnavailable, match="closed"):
            await bus.append("t", events(1))


async def test_a_cancelled_append_is_stored_all_the_same(fake: FakeKafka, bus: KafkaBus) -> None:
    await bus.append("t", events(1))
    cancelled = asyncio.create_task(bus.append("t", events(5, 1)))
    await asyncio.sleep(0)
    cancelled.cancel()
    await bus.append("t", events(1, 6))
    assert stored(fake) == list(range(7))


async def test_no_producer_id_means_no_sending_until_there_is_one(fake: FakeKafka, bus: KafkaBus) -> None:
    fake.script["InitProducerId"] += [14, "drop"]
    await bus.append("t", events(5))
    assert fake.count("InitProducerId") == 3
    assert read_batch_header(fake.topics["t"].partitions[0].batches[0]).producer_id > 0


async def test_settings_that_cannot_be_had_at_first_delay_an_append(fake: FakeKafka, bus: KafkaBus) -> None:
    fake.script["DescribeConfigs"] += ["drop", "drop", errors.REQUEST_TIMED_OUT]
    await bus.append("t", events(5))
    assert stored(fake) == list(range(5))


async def test_a_topics_compression_is_used_once_it_is_known(fake: FakeKafka, bus: KafkaBus) -> None:
    await bus.append("t", events(5))
    await bus.alter_topic("t", TopicSettings(compression="gzip"))
    await bus.append("t", events(5))
    assert [read_batch_header(batch).codec for batch in fake.topics["t"].partitions[0].batches] == [4, 1]


async def test_settings_that_cannot_be_had_do_not_hold_up_the_answers(
    fake: FakeKafka, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "FRESH", 0.0)
    async with opened(refresh=30) as bus:
        await bus.append("t", events(5))
        fake.script["DescribeConfigs"] += ["hang"] * 10
        await eventually(lambda: len(fake.script["DescribeConfigs"]) < 10)
        fake.script["Produce"] += ["hang"] * 10
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            await bus.append("t", events(5))
        assert time.monotonic() - began < 2.5


async def test_a_deadline_of_the_callers_is_kept(fake: FakeKafka, bus: KafkaBus) -> None:
    await bus.append("t", events(5))
    fake.script["Produce"] += ["hang"] * 10
    began = time.monotonic()
    flying = asyncio.create_task(bus.append("t", events(5), time.monotonic() + 1.0))
    await eventually(lambda: fake.count("Produce") > 1)
    # A later call may have less time than those before it.
    with pytest.raises(BusUnavailable):
        await bus.append("t", events(5), time.monotonic() + 0.3)
    assert time.monotonic() - began < 0.8
    with pytest.raises(OutcomeUnknown):
        await flying
    assert time.monotonic() - began < 1.5
