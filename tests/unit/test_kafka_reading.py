"""Reading while leaders move, brokers go and topics are made anew."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from gateway.bus.contract import Bounds
from gateway.bus.kafka import errors
from gateway.bus.kafka.cluster import Cluster
from gateway.bus.kafka.reading import Reading
from gateway.bus.records import encode_records
from gateway.errors import BusUnavailable, CorruptData, OffsetOutOfRange, UnknownTopic
from tests.harness.events import events, ids
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
async def reading(fake: FakeKafka) -> AsyncIterator[Reading]:
    cluster = Cluster(fake.bootstrap, request_timeout=1, refresh=5)
    await cluster.start()
    yield Reading(cluster, 1.0)
    await cluster.close()


def partition(fake: FakeKafka, number: int = 0) -> FakePartition:
    return fake.topics["t"].partitions[number]


async def test_batches_come_from_the_middle_on(fake: FakeKafka, reading: Reading) -> None:
    for first in (0, 10):
        partition(fake).put(encode_records(events(10, first), 5, "zstd"))
    got = await reading.read("t", 0, 4, 1_000_000)
    assert [(batch.base_offset, batch.next_offset) for batch in got] == [(4, 10), (10, 20)]
    assert ids([each for batch in got for each in batch.events]) == list(range(4, 20))
    assert await reading.read("t", 0, 20, 1_000_000) == []
    assert await reading.bounds("t") == [Bounds(0, 20), Bounds(0, 0)]


async def test_what_inflates_is_asked_for_in_smaller_pieces(fake: FakeKafka, reading: Reading) -> None:
    for first in range(0, 5000, 100):
        partition(fake).put(encode_records(events(100, first, size=1000), 5, "zstd"))
    offset = reads = 0
    while offset < 5000:
        got = await reading.read("t", 0, offset, 400_000)
        assert sum(batch.size for batch in got) < 600_000
        offset, reads = got[-1].next_offset, reads + 1
    assert 10 < reads <= 51


async def test_whoever_reads_on_gets_what_the_last_answer_held(fake: FakeKafka, reading: Reading) -> None:
    for first in range(0, 1000, 100):
        partition(fake).put(encode_records(events(100, first, size=1000), 5, "zstd"))
    offset, got = 0, []
    while offset < 1000:
        batches = await reading.read("t", 0, offset, 100_000)
        got += ids([each for batch in batches for each in batch.events])
        offset = batches[-1].next_offset
    assert got == list(range(1000))
    assert 1 <= fake.count("Fetch") <= 2
    assert ids((await reading.read("t", 0, 500, 100_000))[0].events)[0] == 500, "elsewhere is another place"
    assert fake.count("Fetch") <= 3


async def test_what_an_answer_held_is_not_kept_for_long(
    fake: FakeKafka, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.bus.kafka.reading._AHEAD_SECONDS", 0.0)
    for first in range(0, 300, 100):
        partition(fake).put(encode_records(events(100, first, size=1000), 5, "zstd"))
    for offset in (0, 100, 200):
        assert ids((await reading.read("t", 0, offset, 100_000))[0].events)[0] == offset
    assert fake.count("Fetch") == 3


async def test_answers_of_few_partitions_are_kept(fake: FakeKafka, reading: Reading) -> None:
    for number in range(12):
        name = f"more{number}"
        [log] = fake.create(name).partitions
        for first in (0, 100):
            log.put(encode_records(events(100, first, size=1000), 5, "zstd"))
        await reading.read(name, 0, 0, 100_000)
    assert len(reading._ahead) == 8


async def test_outside_the_bounds_the_error_names_them(fake: FakeKafka, reading: Reading) -> None:
    partition(fake).put(encode_records(events(10), 5))
    partition(fake).first = 4
    for offset in (3, 11):
        with pytest.raises(OffsetOutOfRange) as caught:
            await reading.read("t", 0, offset, 1000)
        assert (caught.value.first, caught.value.next) == (4, 10)


async def test_damage_is_told_and_what_is_behind_it_can_be_read(fake: FakeKafka, reading: Reading) -> None:
    bad = encode_records(events(10), 5)
    bad[-1] ^= 1
    partition(fake).put(bad)
    partition(fake).put(encode_records(events(10, 10), 5))
    with pytest.raises(CorruptData) as caught:
        await reading.read("t", 0, 0, 1_000_000)
    assert caught.value.detail["next_offset"] == 10
    assert len((await reading.read("t", 0, 10, 1_000_000))[0].events) == 10


async def test_a_time_finds_the_first_batch_from_then_on(fake: FakeKafka, reading: Reading) -> None:
    for stamp in (100, 200):
        partition(fake).put(encode_records(events(10), stamp))
    assert [await reading.offset_for_time("t", 0, when) for when in (-5, 0, 150, 200, 201)] == [0, 0, 10, 10, 20]


async def test_a_leader_that_moved_is_followed(fake: FakeKafka, reading: Reading) -> None:
    partition(fake).put(encode_records(events(10), 5))
    partition(fake).leader, partition(fake).leader_epoch = 2, 1
    assert len(await reading.read("t", 0, 0, 1000)) == 1
    partition(fake).leader, partition(fake).leader_epoch = 1, 2
    assert (await reading.bounds("t"))[0] == Bounds(0, 10)


async def test_a_broker_that_breaks_off_is_asked_again(fake: FakeKafka, reading: Reading) -> None:
    partition(fake).put(encode_records(events(10), 5))
    fake.script["Fetch"] += ["drop", "lose", errors.KAFKA_STORAGE_ERROR]
    assert len(await reading.read("t", 0, 0, 1000)) == 1
    fake.script["ListOffsets"] += ["drop", errors.LEADER_NOT_AVAILABLE, errors.REQUEST_TIMED_OUT]
    assert (await reading.bounds("t"))[0] == Bounds(0, 10)


async def test_what_cannot_be_had_in_time_is_unavailable(fake: FakeKafka, reading: Reading) -> None:
    partition(fake).leader, partition(fake).leader_epoch = -1, 1
    with pytest.raises(BusUnavailable, match="no leader"):
        await reading.read("t", 0, 0, 1000)
    fake.script["ListOffsets"].append(errors.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(BusUnavailable, match="TOPIC_AUTHORIZATION_FAILED"):
        await reading.offset_for_time("t", 1, 0)


@pytest.mark.parametrize("before", ["drop", errors.LEADER_NOT_AVAILABLE])
async def test_a_broker_that_hangs_is_waited_for_until_the_deadline(
    fake: FakeKafka, reading: Reading, before: str | int
) -> None:
    fake.script["Fetch"] += [before, "hang", "hang", "hang"]
    began = time.monotonic()
    with pytest.raises(BusUnavailable, match="cannot be read"):
        await reading.read("t", 0, 0, 1000)
    assert time.monotonic() - began < 1.8


async def test_what_is_not_there_is_unknown(fake: FakeKafka, reading: Reading) -> None:
    for wrong in (reading.read("t", 2, 0, 1000), reading.read("x", 0, 0, 1000), reading.bounds("x")):
        with pytest.raises(UnknownTopic):
            await wrong


async def test_a_topic_made_by_others_is_found_at_once(fake: FakeKafka, reading: Reading) -> None:
    fake.create("new")
    assert await reading.bounds("new") == [Bounds(0, 0)]


async def test_a_topic_made_anew_is_not_mistaken_for_the_old_one(fake: FakeKafka, reading: Reading) -> None:
    partition(fake).put(encode_records(events(10), 5))
    assert len(await reading.read("t", 0, 0, 1000)) == 1
    fake.create("t").partitions[0].put(encode_records(events(3, 100), 5))
    with pytest.raises(OffsetOutOfRange):
        await reading.read("t", 0, 9, 1000)
    assert ids((await reading.read("t", 0, 0, 1000))[0].events) == [100, 101, 102]


async def test_after_a_long_outage_reads_fail_at_once(fake: FakeKafka, reading: Reading) -> None:
    for node in (1, 2):
        await fake.stop(node)
    with pytest.raises(BusUnavailable):
        await reading.read("t", 0, 0, 1000)
    reading._cluster.down_since -= 10
    before = len(fake.seen)
    with pytest.raises(BusUnavailable, match=r"out of reach|127\.0\.0\.1"):
        await reading.read("x", 0, 0, 1000)
    assert len(fake.seen) == before
