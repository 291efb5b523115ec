"""What every bus promises about appending and reading; see `gateway.bus.contract`."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from aiokafka.partitioner import murmur2

from gateway.bus.contract import Bounds, Bus, TopicSettings
from gateway.bus.records import encoded_size
from gateway.errors import OffsetOutOfRange, TooLarge, UnknownTopic
from gateway.event import Event
from routing.attributes import canonical
from tests.conftest import eventually
from tests.contract.conftest import Rig
from tests.harness.events import READ_BYTES, Sink, event, events, ids, read_partition, read_topic

pytestmark = pytest.mark.timeout(60)


async def test_positions_stand_in_the_order_of_the_events(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=3))
    before = time.time() * 1000 - 1000
    positions = await bus.append(topic, events(100))
    assert len(set(positions)) == 100
    for partition in range(3):
        for each in await read_partition(bus, topic, partition):
            assert positions[int(str(each.attributes["id"]))] == (partition, each.offset)
            assert (each.topic, each.partition) == (topic, partition)
            assert before <= each.timestamp_ms <= time.time() * 1000 + 1000


async def test_events_of_one_key_stay_together_where_kafkas_partitioner_puts_them(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=4))
    for first in range(0, 120, 40):
        await bus.append(topic, events(40, first))
    stored = await read_topic(bus, topic)
    assert len(stored) == 120
    for key in {each.key for each in stored}:
        assert key is not None
        mine = [each for each in stored if each.key == key]
        assert {each.partition for each in mine} == {(murmur2(key) & 0x7FFFFFFF) % 4}
        assert ids(mine) == sorted(ids(mine))


async def test_calls_under_way_at_once_are_stored_in_the_order_in_which_they_were_made(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=2))
    await asyncio.gather(*(bus.append(topic, events(10, first)) for first in range(0, 600, 10)))
    stored = await read_topic(bus, topic)
    assert sorted(ids(stored)) == list(range(600))
    for partition in range(2):
        mine = [number for number, each in zip(ids(stored), stored, strict=True) if each.partition == partition]
        assert mine == sorted(mine)


async def test_events_without_a_key_stay_together_and_stay_without(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=4))
    positions = await bus.append(topic, [event(number) for number in range(20)])
    assert len({partition for partition, _ in positions}) == 1
    stored = await read_topic(bus, topic)
    assert ids(stored) == list(range(20))
    assert {each.key for each in stored} == {None}


async def test_no_data_and_empty_data_are_two_things(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    given = [None, b"", b"\x00\xff\r\n", b"{}"]
    await bus.append(topic, [event(number, data, key=b"k") for number, data in enumerate(given)])
    assert [each.data for each in await read_topic(bus, topic)] == given


async def test_keys_are_bytes_and_the_default_key_is_partitionkey_before_subject(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    appended = [
        event(0, key=b"\xff\x00"),
        event(1, key=b""),
        event(2, subject="a/ü"),
        event(3, subject="a", partitionkey="p"),
        event(4),
    ]
    await bus.append(topic, appended)
    assert [each.key for each in await read_topic(bus, topic)] == [b"\xff\x00", b"", "a/ü".encode(), b"p", None]


async def test_attributes_come_back_as_they_were_numbers_and_booleans_perhaps_as_text(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    attributes = {
        "id": "идентификатор", "source": "//tëst/ß", "type": "t", "specversion": "1.0", "subject": "日本/🚢/ ",
        "datacontenttype": "text/plain; charset=utf-8", "time": "2026-01-02T03:04:05.678Z", "note": 'a "b" \\ c%20',
    }  # fmt: skip
    await bus.append(topic, [Event({**attributes, "priority": 7, "urgent": True}, b"x")])
    (stored,) = await read_topic(bus, topic)
    texts = {name: canonical(value) for name, value in stored.attributes.items()}
    assert texts == {**attributes, "priority": "7", "urgent": "true"}


async def test_appending_nothing_stores_nothing(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    assert list(await bus.append(topic, [])) == []
    assert await bus.bounds(topic) == [Bounds(0, 0)]


async def test_a_large_append_is_stored_whole_and_in_order(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    positions = await bus.append(topic, events(5000, size=1000))
    assert list(positions) == [(0, number) for number in range(5000)]
    assert ids(await read_topic(bus, topic)) == list(range(5000))


async def test_an_event_that_is_too_large_is_refused_with_its_call_and_later_ones_go_on(bus: Bus, topic: str) -> None:
    info = await bus.create_topic(topic, TopicSettings(partitions=1))
    await bus.append(topic, [event(0)])
    huge = event(2, data=b"x" * info.max_event_bytes)
    with pytest.raises(TooLarge):
        await bus.append(topic, [event(1), huge, event(3)])
    assert await bus.bounds(topic) == [Bounds(0, 1)]
    largest = event(4, data=b"x" * (info.max_event_bytes - 1000))
    await asyncio.gather(bus.append(topic, [largest]), bus.append(topic, [event(5)]))
    assert ids(await read_topic(bus, topic)) == [0, 4, 5]


async def test_an_event_up_to_the_limit_is_taken_and_one_beyond_it_refused(bus: Bus, topic: str) -> None:
    info = await bus.create_topic(topic, TopicSettings(partitions=1, compression="none"))
    noise = random.Random(7).randbytes(info.max_event_bytes)
    length = info.max_event_bytes
    while encoded_size(event(1, data=noise[:length])) > info.max_event_bytes:
        length -= 1
    with pytest.raises(TooLarge):
        await bus.append(topic, [event(0, data=noise)])
    await bus.append(topic, [event(1, data=noise[:length])])
    (stored,) = await read_topic(bus, topic)
    assert stored.data == noise[:length]


async def test_reading_may_begin_inside_a_batch(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    await bus.append(topic, events(50))
    for start in (0, 1, 20, 49):
        batches = await bus.read(topic, 0, start, READ_BYTES)
        assert batches[0].base_offset == start
        assert ids(await read_partition(bus, topic, 0, start)) == list(range(start, 50))


async def test_reading_gives_about_as_much_as_asked_for_but_always_goes_on(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1, compression="none"))
    for first in range(0, 1000, 100):
        await bus.append(topic, events(100, first, size=500))
    offset, steps = 0, 0
    while offset < 1000:
        batches = await bus.read(topic, 0, offset, 1)
        assert len(batches) == 1
        offset, steps = batches[-1].next_offset, steps + 1
    assert steps > 1
    some = await bus.read(topic, 0, 0, 120_000)
    assert 0 < sum(len(batch.events) for batch in some) < 1000


async def test_at_the_live_edge_there_is_nothing_and_beyond_it_an_error(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=2))
    positions = await bus.append(topic, [event(number, key=b"k") for number in range(5)])
    partition = positions[0][0]
    assert await bus.read(topic, partition, 5, READ_BYTES) == []
    assert await bus.read(topic, 1 - partition, 0, READ_BYTES) == []
    for offset in (6, 1_000_000, -1):
        with pytest.raises(OffsetOutOfRange) as caught:
            await bus.read(topic, partition, offset, READ_BYTES)
        assert (caught.value.first, caught.value.next, caught.value.offset) == (0, 5, offset)


async def test_what_is_acknowledged_lies_within_the_bounds(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=3))
    assert await bus.bounds(topic) == [Bounds(0, 0)] * 3
    for first in range(0, 50, 10):
        positions = await bus.append(topic, events(10, first))
        bounds = await bus.bounds(topic)
        assert all(bounds[partition].first <= offset < bounds[partition].next for partition, offset in positions)
    assert sum(each.next for each in bounds) == 50


async def test_a_time_leads_to_the_first_event_from_then_on(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    times = []
    for number in range(4):
        await bus.append(topic, events(10, 10 * number))
        times.append((await bus.read(topic, 0, 10 * number, 1))[0].timestamp_ms)
        await eventually(lambda: time.time() * 1000 > times[-1] + 2)
    for number, at in enumerate(times):
        assert await bus.offset_for_time(topic, 0, at) == 10 * number
        assert await bus.offset_for_time(topic, 0, at + 1) == 10 * number + 10
    assert await bus.offset_for_time(topic, 0, 0) == 0
    assert await bus.offset_for_time(topic, 0, times[-1] + 3_600_000) == 40


async def test_what_asks_for_an_unknown_topic_or_partition_is_told_so(bus: Bus, topic: str) -> None:
    with pytest.raises(UnknownTopic):
        await bus.append(topic, [event()])
    with pytest.raises(UnknownTopic):
        await bus.read(topic, 0, 0, READ_BYTES)
    with pytest.raises(UnknownTopic):
        await bus.bounds(topic)
    with pytest.raises(UnknownTopic):
        await bus.offset_for_time(topic, 0, 0)
    with pytest.raises(UnknownTopic):
        await bus.topic_health(topic)
    await bus.create_topic(topic, TopicSettings(partitions=2))
    for partition in (2, -1):
        with pytest.raises(UnknownTopic):
            await bus.read(topic, partition, 0, READ_BYTES)
        with pytest.raises(UnknownTopic):
            await bus.offset_for_time(topic, partition, 0)


async def test_a_cancelled_append_is_whole_or_nothing_and_holds_up_nobody(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    for first in range(0, 100, 20):
        cancelled = asyncio.create_task(bus.append(topic, events(10, first)))
        await asyncio.sleep(0)
        cancelled.cancel()
        await bus.append(topic, events(10, first + 10))
    stored = ids(await read_topic(bus, topic))
    assert stored == sorted(set(stored))
    for first in range(0, 100, 20):
        assert len([number for number in stored if first <= number < first + 10]) in (0, 10)
        assert [number for number in stored if first + 10 <= number < first + 20] == list(range(first + 10, first + 20))


async def test_what_was_acknowledged_is_there_after_opening_anew(rig: Rig, topic: str) -> None:
    if not rig.durable:
        pytest.skip("this bus forgets on purpose")
    bus = await rig.open()
    await bus.start()
    info = await bus.create_topic(topic, TopicSettings(partitions=2))
    await bus.append(topic, events(300))
    bounds = await bus.bounds(topic)
    await bus.close()

    bus = await rig.open()
    await bus.start()
    assert await bus.describe_topic(topic) == info
    assert await bus.bounds(topic) == bounds
    assert sorted(ids(await read_topic(bus, topic))) == list(range(300))
    positions = await bus.append(topic, [event(300, key=b"k")])
    assert positions[0][1] == bounds[positions[0][0]].next
    await bus.close()


async def test_closing_finishes_what_is_under_way(rig: Rig, topic: str) -> None:
    bus = await rig.open()
    await bus.start()
    await bus.create_topic(topic, TopicSettings(partitions=1))
    await bus.append(topic, [event(0)])
    under_way = [asyncio.create_task(bus.append(topic, events(100, first))) for first in range(1, 1001, 100)]
    await asyncio.sleep(0.001)
    await bus.close()
    done = await asyncio.gather(*under_way, return_exceptions=True)
    assert [each for each in done if isinstance(each, BaseException)] == []
    if rig.durable:
        bus = await rig.open()
        await bus.start()
        assert ids(await read_topic(bus, topic)) == list(range(1001))
        await bus.close()


async def test_events_read_are_those_that_the_tail_shows(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow(topic)
    await bus.append(topic, events(30))
    await eventually(lambda: len(sink.events(topic)) == 30)
    stored = await read_topic(bus, topic)
    for one, other in zip(sink.events(topic), stored, strict=True):
        assert {**one.attributes} == {**other.attributes}
        fields = ("data", "key", "topic", "partition", "offset", "timestamp_ms")
        assert [getattr(one, name) for name in fields] == [getattr(other, name) for name in fields]
    await tail.close()
