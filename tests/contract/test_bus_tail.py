"""What every bus promises about its live edge; see `gateway.bus.contract.Tail`."""

from __future__ import annotations

import asyncio

import pytest

from gateway.bus.contract import Bus, TopicChange, TopicSettings
from gateway.errors import UnknownTopic
from tests.conftest import eventually
from tests.contract.conftest import Rig
from tests.harness.events import Sink, event, events, ids, read_topic

pytestmark = pytest.mark.timeout(60)


def contiguous(sink: Sink, topic: str) -> bool:
    """Whether each batch of a partition begins where the one before it ended."""
    ends: dict[int, int] = {}
    for batch in sink.batches:
        if batch.topic == topic:
            if ends.get(batch.partition, batch.base_offset) != batch.base_offset:
                return False
            ends[batch.partition] = batch.next_offset
    return True


async def test_it_delivers_all_that_is_appended_after_following_in_order(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=3))
    await bus.append(topic, events(50))
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow(topic)
    for first in range(50, 1050, 200):
        await asyncio.gather(*(bus.append(topic, events(20, start)) for start in range(first, first + 200, 20)))
    await eventually(lambda: len(sink.events(topic)) >= 1000)
    assert sorted(ids(sink.events(topic))) == list(range(50, 1050))
    assert sink.faults == []
    assert contiguous(sink, topic)
    for key in {each.key for each in sink.events(topic)}:
        mine = ids([each for each in sink.events(topic) if each.key == key])
        assert mine == sorted(mine)
    await tail.close()


async def test_following_under_load_misses_nothing_from_its_first_batch_on(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=2))
    done = asyncio.Event()
    appended = 0

    async def load() -> None:
        nonlocal appended
        while not done.is_set():
            await bus.append(topic, events(20, appended))
            appended += 20

    async with asyncio.TaskGroup() as group:
        group.create_task(load())
        await eventually(lambda: appended >= 200)
        sink = Sink()
        tail = bus.tail(sink)
        await tail.follow(topic)
        beyond = appended + 20  # one call may have been under way
        await eventually(lambda: appended >= beyond + 200)
        done.set()
    last = appended - 1
    await eventually(lambda: last in ids(sink.events(topic)))
    seen = ids(sink.events(topic))
    assert set(range(beyond, appended)) <= set(seen)
    assert len(seen) == len(set(seen))
    assert sink.faults == []
    assert contiguous(sink, topic)
    await tail.close()


async def test_following_twice_delivers_once(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow(topic)
    await bus.append(topic, [event(0)])
    await tail.follow(topic)
    await bus.append(topic, [event(1)])
    await eventually(lambda: 1 in ids(sink.events(topic)))
    assert ids(sink.events(topic)) == [0, 1]
    await tail.close()


async def test_what_is_not_followed_any_more_is_not_delivered(bus: Bus, topic: str) -> None:
    other = topic + ".other"
    await bus.create_topic(topic, TopicSettings(partitions=1))
    await bus.create_topic(other, TopicSettings(partitions=1))
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow(topic)
    await tail.follow(other)
    await bus.append(topic, [event(0)])
    await eventually(lambda: ids(sink.events(topic)) == [0])
    tail.unfollow(topic)
    await bus.append(topic, [event(1)])
    await bus.append(other, [event(2)])
    await eventually(lambda: ids(sink.events(other)) == [2])
    assert ids(sink.events(topic)) == [0]
    await tail.follow(topic)
    await bus.append(topic, [event(3)])
    await eventually(lambda: 3 in ids(sink.events(topic)))
    assert ids(sink.events(topic)) == [0, 3]
    await tail.close()


async def test_after_closing_nothing_is_delivered(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    closed, open_ = Sink(), Sink()
    first, second = bus.tail(closed), bus.tail(open_)
    await first.follow(topic)
    await second.follow(topic)
    await first.close()
    await bus.append(topic, [event(0)])
    await eventually(lambda: ids(open_.events(topic)) == [0])
    assert closed.events(topic) == []
    await second.close()


async def test_two_tails_each_get_what_they_follow_from_where_they_began(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    early, late = Sink(), Sink()
    first, second = bus.tail(early), bus.tail(late)
    await first.follow(topic)
    await bus.append(topic, events(10))
    await second.follow(topic)
    await bus.append(topic, events(10, 10))
    await eventually(lambda: len(early.events(topic)) == 20 and len(late.events(topic)) == 10)
    assert ids(late.events(topic)) == list(range(10, 20))
    await first.close()
    await second.close()


async def test_following_an_unknown_topic_says_so(bus: Bus, topic: str) -> None:
    tail = bus.tail(Sink())
    with pytest.raises(UnknownTopic):
        await tail.follow(topic)
    await tail.close()


async def test_it_tells_of_topics_that_come_grow_and_go(bus: Bus, rig: Rig, topic: str) -> None:
    sink = Sink()
    tail = bus.tail(sink)
    await bus.create_topic(topic, TopicSettings(partitions=1))
    await eventually(lambda: (topic, TopicChange.CREATED) in sink.changes)
    await bus.alter_topic(topic, TopicSettings(partitions=2))
    await eventually(lambda: (topic, TopicChange.PARTITIONS) in sink.changes)
    await bus.delete_topic(topic)
    await eventually(lambda: (topic, TopicChange.DELETED) in sink.changes)
    assert [change for name, change in sink.changes if name == topic] == list(TopicChange)
    await tail.close()


async def test_it_tells_of_what_another_instance_does_to_topics(bus: Bus, rig: Rig, topic: str) -> None:
    if not rig.shared:
        pytest.skip("this bus has one process")
    other = await rig.open()
    await other.start()
    sink = Sink()
    tail = bus.tail(sink)
    await other.create_topic(topic, TopicSettings(partitions=1))
    await eventually(lambda: (topic, TopicChange.CREATED) in sink.changes)
    await tail.follow(topic)
    await other.append(topic, [event(0)])
    await eventually(lambda: ids(sink.events(topic)) == [0])
    await other.alter_topic(topic, TopicSettings(partitions=2))
    await eventually(lambda: (topic, TopicChange.PARTITIONS) in sink.changes)
    await other.delete_topic(topic)
    await other.create_topic(topic, TopicSettings(partitions=1))
    await eventually(lambda: sink.changes[-1] == (topic, TopicChange.CREATED) and len(sink.changes) > 2)
    await other.append(topic, [event(1)])
    await tail.follow(topic)
    await other.append(topic, [event(2)])
    await eventually(lambda: 2 in ids(sink.events(topic)))
    assert sink.faults == []
    await tail.close()
    await other.close()


async def test_new_partitions_are_followed_from_their_first_event(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow(topic)
    await bus.append(topic, events(20))
    await bus.alter_topic(topic, TopicSettings(partitions=4))
    await bus.append(topic, events(80, 20, subjects=40))
    await eventually(lambda: len(sink.events(topic)) >= 100)
    assert sorted(ids(sink.events(topic))) == list(range(100))
    assert {each.partition for each in sink.events(topic)} == {0, 1, 2, 3}
    assert sink.faults == []
    assert contiguous(sink, topic)
    await tail.close()


async def test_a_topic_made_anew_can_be_followed_anew(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1))
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow(topic)
    await bus.append(topic, events(10))
    await eventually(lambda: len(sink.events(topic)) == 10)
    await bus.delete_topic(topic)
    await eventually(lambda: (topic, TopicChange.DELETED) in sink.changes)
    await bus.create_topic(topic, TopicSettings(partitions=2))
    await tail.follow(topic)
    await bus.append(topic, events(30, 100))
    await eventually(lambda: len(sink.events(topic)) >= 40)
    assert sorted(ids(sink.events(topic))[10:]) == list(range(100, 130))
    assert sink.faults == []
    assert sorted(ids(await read_topic(bus, topic))) == list(range(100, 130))
    await tail.close()
