"""The live edge: what is delivered, and what happens when brokers and topics change under it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.bus.contract import Batch, TopicChange
from gateway.bus.kafka import errors
from gateway.bus.kafka.bus import KafkaBus
from gateway.bus.records import encode_records
from gateway.errors import UnknownTopic
from tests.conftest import eventually
from tests.harness.events import Sink, events, ids
from tests.harness.fake_kafka import FakeKafka, FakePartition

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
async def fake() -> AsyncIterator[FakeKafka]:
    fake = FakeKafka(2)
    await fake.start()
    fake.create("t", 2)
    yield fake
    await fake.close()


@pytest.fixture
async def bus(fake: FakeKafka) -> AsyncIterator[KafkaBus]:
    bus = KafkaBus(fake.bootstrap, request_timeout=2.0, refresh=0.1)
    await bus.start()
    yield bus
    await bus.close()


def put(fake: FakeKafka, count: int, first: int, partition: int = 0, topic: str = "t") -> FakePartition:
    log = fake.topics[topic].partitions[partition]
    log.put(encode_records(events(count, first), 5, "zstd"))
    return log


def seen(sink: Sink, topic: str = "t") -> list[int]:
    assert sink.faults == []
    return ids(sink.events(topic))


async def test_what_is_appended_after_follow_comes_and_what_was_before_does_not(fake: FakeKafka, bus: KafkaBus) -> None:
    put(fake, 5, 0)
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow("t")
    put(fake, 5, 5)
    put(fake, 5, 10, partition=1)
    await eventually(lambda: sorted(seen(sink)) == list(range(5, 15)))
    with pytest.raises(UnknownTopic):
        await tail.follow("nowhere")


async def test_two_tails_share_one_poll_and_each_has_its_own_start(fake: FakeKafka, bus: KafkaBus) -> None:
    one, two = Sink(), Sink()
    await bus.tail(one).follow("t")
    put(fake, 5, 0)
    await eventually(lambda: seen(one) == list(range(5)))
    second = bus.tail(two)
    await second.follow("t")
    await second.follow("t")
    put(fake, 5, 5)
    await eventually(lambda: seen(two) == list(range(5, 10)))
    assert seen(one) == list(range(10))
    assert one.batches[-1] is two.batches[-1]


async def test_a_batch_that_began_before_a_listener_is_cut_for_it(fake: FakeKafka, bus: KafkaBus) -> None:
    early, late = Sink(), Sink()
    await bus.tail(early).follow("t")
    tail = bus.tail(late)
    await tail.follow("t")
    bus._tailing._followed["t"].floors[tail] = [3, 0]
    put(fake, 5, 0)
    await eventually(lambda: seen(early) == list(range(5)))
    assert seen(late) == [3, 4]


async def test_what_is_not_followed_any_more_is_not_polled(fake: FakeKafka, bus: KafkaBus) -> None:
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow("t")
    tail.unfollow("t")
    tail.unfollow("t")
    await eventually(lambda: not bus._tailing._loops)
    put(fake, 5, 0)
    await tail.follow("t")
    put(fake, 5, 5)
    await eventually(lambda: seen(sink) == list(range(5, 10)))
    await tail.close()
    await eventually(lambda: not bus._tailing._loops)
    with pytest.raises(UnknownTopic):
        await tail.follow("t")


async def test_new_partitions_are_followed_from_their_first_event(fake: FakeKafka, bus: KafkaBus) -> None:
    sink = Sink()
    await bus.tail(sink).follow("t")
    fake.topics["t"].partitions.append(FakePartition(2))
    put(fake, 5, 0, partition=2)
    await eventually(lambda: seen(sink) == list(range(5)))
    assert sink.changes == [("t", TopicChange.PARTITIONS)]


async def test_a_topic_made_anew_is_followed_from_its_first_event(fake: FakeKafka, bus: KafkaBus) -> None:
    put(fake, 9, 0)
    sink = Sink()
    await bus.tail(sink).follow("t")
    fake.create("t", 1)
    put(fake, 20, 100)
    await eventually(lambda: seen(sink) == list(range(100, 120)))
    assert sink.changes == [("t", TopicChange.CREATED)]


async def test_a_topic_that_comes_back_is_followed_again(fake: FakeKafka, bus: KafkaBus) -> None:
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow("t")
    del fake.topics["t"]
    await eventually(lambda: sink.changes == [("t", TopicChange.DELETED)])
    fake.create("t")
    put(fake, 5, 0)
    await eventually(lambda: seen(sink) == list(range(5)))
    await tail.follow("t")
    put(fake, 5, 5)
    await eventually(lambda: seen(sink) == list(range(10)))


@pytest.mark.parametrize("step", ["drop", "lose", errors.NOT_LEADER_OR_FOLLOWER, errors.KAFKA_STORAGE_ERROR])
async def test_nothing_is_missed_when_a_poll_fails(fake: FakeKafka, bus: KafkaBus, step: str) -> None:
    sink = Sink()
    await bus.tail(sink).follow("t")
    put(fake, 5, 0)
    await eventually(lambda: len(seen(sink)) == 5)
    fake.script["Fetch"] += [step, step]
    put(fake, 5, 5)
    await eventually(lambda: seen(sink) == list(range(10)))


async def test_a_leader_that_moves_is_followed(fake: FakeKafka, bus: KafkaBus) -> None:
    sink = Sink()
    await bus.tail(sink).follow("t")
    log = put(fake, 5, 0)
    await eventually(lambda: len(seen(sink)) == 5)
    log.leader, log.leader_epoch = 2, 1
    put(fake, 5, 5)
    await eventually(lambda: seen(sink) == list(range(10)))


async def test_an_outage_is_told_and_bridged(fake: FakeKafka, bus: KafkaBus) -> None:
    sink = Sink()
    await bus.tail(sink).follow("t")
    for node in (1, 2):
        await fake.stop(node)
    await eventually(lambda: sink.health)
    assert not sink.health[0].ready
    put(fake, 5, 0)
    for node in (1, 2):
        await fake.open(node)
    await eventually(lambda: seen(sink) == list(range(5)))
    assert sink.health[-1].ready


async def test_when_retention_passes_the_tail_goes_on_behind_the_gap(fake: FakeKafka, bus: KafkaBus) -> None:
    sink = Sink()
    await bus.tail(sink).follow("t")
    log = put(fake, 5, 0)
    await eventually(lambda: len(seen(sink)) == 5)
    bus._tailing._followed["t"].paused.add(0)
    put(fake, 5, 5)
    put(fake, 5, 10)
    log.first = 12
    bus._tailing._followed["t"].paused.discard(0)
    await eventually(lambda: seen(sink) == [0, 1, 2, 3, 4, 12, 13, 14])


async def test_a_log_that_was_cut_is_followed_from_its_end(fake: FakeKafka, bus: KafkaBus) -> None:
    sink = Sink()
    await bus.tail(sink).follow("t")
    log = put(fake, 5, 0)
    await eventually(lambda: len(seen(sink)) == 5)
    log.batches.clear()
    log.next = 2
    await eventually(lambda: bus._tailing._followed["t"].positions[0] == 2)
    sink.next.clear()
    put(fake, 5, 2)
    await eventually(lambda: seen(sink) == [0, 1, 2, 3, 4, 2, 3, 4, 5, 6])


async def test_a_damaged_batch_leaves_a_gap(fake: FakeKafka, bus: KafkaBus) -> None:
    sink = Sink()
    await bus.tail(sink).follow("t")
    bad = encode_records(events(5), 5)
    bad[-1] ^= 1
    fake.topics["t"].partitions[0].put(bad)
    put(fake, 5, 5)
    await eventually(lambda: seen(sink) == list(range(5, 10)))


async def test_a_listener_that_raises_does_not_cost_the_others_their_events(fake: FakeKafka, bus: KafkaBus) -> None:
    class Broken(Sink):
        def on_batch(self, batch: Batch) -> None:
            raise RuntimeError("defect")

    good = Sink()
    await bus.tail(Broken()).follow("t")
    await bus.tail(good).follow("t")
    put(fake, 5, 0)
    await eventually(lambda: seen(good) == list(range(5)))


async def test_many_events_leave_turns_to_others(fake: FakeKafka, bus: KafkaBus) -> None:
    sink = Sink()
    await bus.tail(sink).follow("t")
    for first in range(0, 9000, 3000):
        put(fake, 3000, first)
    await eventually(lambda: len(seen(sink)) == 9000)
