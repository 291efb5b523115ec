"""A topic's offsets, batches and segments, on the loop's side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.bus.contract import Bounds, TopicSettings
from gateway.bus.embedded.messages import Append, Committed, Rolled
from gateway.bus.embedded.recovery import create_topic_files, open_topic
from gateway.bus.embedded.settings import new_topic
from gateway.bus.embedded.topic import BATCH_EVENTS, TopicLog
from gateway.bus.partitioner import Partitioner
from gateway.bus.records import decode_records
from gateway.errors import TooLarge, UnknownTopic
from tests.harness.events import event, events


def made(folder: Path, **settings: object) -> TopicLog:
    asked = TopicSettings(**settings)  # type: ignore[arg-type]
    create_topic_files(folder / "t", new_topic("t", "e", asked, TopicSettings()))
    return TopicLog(folder / "t", open_topic(folder / "t"), 1024 * 1024, 1024)


@pytest.fixture
def topic(tmp_path: Path) -> Iterator[TopicLog]:
    log = made(tmp_path)
    yield log
    log.writer.close()


def encode(topic: TopicLog, count: int) -> Append:
    return topic.encode(events(count), Partitioner())


def store(topic: TopicLog, append: Append) -> None:
    for outcome in topic.writer.commit([append], sync=False):
        if isinstance(outcome, Rolled):
            topic.rolled(outcome)
        else:
            assert isinstance(outcome, Committed)
            topic.committed(append)


def test_offsets_are_assigned_in_the_order_of_the_calls(topic: TopicLog) -> None:
    first, second = encode(topic, 3), encode(topic, 2)
    assert [(a.batches[0].base_offset, a.batches[0].next_offset) for a in (first, second)] == [(0, 3), (3, 5)]
    assert topic.bounds() == [Bounds(0, 0)], "nothing is durable yet"


def test_what_is_stored_is_a_batch_of_kafka_with_its_offsets(topic: TopicLog) -> None:
    encode(topic, 3)
    (out,) = encode(topic, 2).batches
    found = decode_records(bytes(out.body), "t", 0)
    assert [each.offset for each in found.events] == [3, 4]
    assert found.timestamp_ms == out.timestamp_ms > 1_600_000_000_000


def test_durable_events_know_where_they_stand(topic: TopicLog) -> None:
    append = encode(topic, 3)
    store(topic, append)
    assert topic.committed(append) == [(0, 0), (0, 1), (0, 2)]
    batch = topic.batch_of(append.batches[0])
    assert [(e.topic, e.partition, e.offset) for e in batch.events] == [("t", 0, 0), ("t", 0, 1), ("t", 0, 2)]
    assert topic.bounds() == [Bounds(0, 3)]


def test_a_long_call_is_stored_as_several_batches(topic: TopicLog) -> None:
    append = encode(topic, BATCH_EVENTS + 1)
    assert [out.next_offset - out.base_offset for out in append.batches] == [BATCH_EVENTS, 1]
    store(topic, append)
    assert topic.bounds() == [Bounds(0, BATCH_EVENTS + 1)]


def test_events_of_one_key_share_a_partition_and_a_batch_each_goes_out_together(tmp_path: Path) -> None:
    topic = made(tmp_path, partitions=4)
    append = topic.encode(events(100), Partitioner())
    numbers = [out.partition for out in append.batches]
    assert sorted(set(numbers)) == sorted(numbers)
    assert sum(len(out.events or ()) for out in append.batches) == 100
    homes = {each.key: out.partition for out in append.batches for each in out.events or ()}
    assert all(homes[each.key] == out.partition for out in append.batches for each in out.events or ())
    topic.writer.close()


def test_events_that_were_let_go_are_decoded_for_a_tail_that_came_meanwhile(topic: TopicLog) -> None:
    append = topic.encode(events(3), Partitioner(), keep=False)
    assert append.batches[0].events is None
    store(topic, append)
    assert topic.committed(append) == [(0, 0), (0, 1), (0, 2)]
    assert [each.offset for each in topic.batch_of(append.batches[0]).events] == [0, 1, 2]


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_an_event_that_is_too_large_is_named_and_nothing_is_assigned(tmp_path: Path, compression: str) -> None:
    topic = made(tmp_path, compression=compression)
    large = [event(1), event(2, data=b"x" * 2000), event(3)]
    with pytest.raises(TooLarge) as caught:
        topic.encode(large, Partitioner())
    assert [(fault.where, fault.index) for fault in caught.value.faults] == [("events[1]", 1)]
    assert topic.partitions[0].assigned == 0
    topic.writer.close()


def test_a_large_batch_of_small_events_is_no_large_event(topic: TopicLog) -> None:
    assert len(encode(topic, 500).batches[0].body) > 1024


def test_after_a_failure_offsets_go_on_behind_what_is_durable(topic: TopicLog) -> None:
    store(topic, encode(topic, 3))
    lost = encode(topic, 5)
    topic.failed(lost.generation)
    topic.failed(lost.generation)  # a later append of the same generation
    again = encode(topic, 1)
    assert (again.batches[0].base_offset, again.generation) == (3, lost.generation + 1)


def test_the_segments_that_hold_an_offset_are_found(topic: TopicLog) -> None:
    for _ in range(3):
        store(topic, encode(topic, 10))
        topic.rolled(topic.writer.roll())
    found = topic.extents(0, 15)
    assert [extent.segment.header.sequence for extent in found] == [2, 3, 4]
    assert [extent.end is None for extent in found] == [True, True, False]
    assert topic.active.header.base == [30]
    assert topic.first(0) == 0


def test_the_segments_that_can_hold_a_time_are_found(topic: TopicLog) -> None:
    for time in (100, 300, 200):
        store(topic, encode(topic, 10))
        topic.active.newest_ms = time
        topic.rolled(topic.writer.roll())
    sequences = [
        [extent.segment.header.sequence for extent in topic.extents_for_time(0, time)] for time in (100, 250, 301)
    ]
    assert sequences == [[1, 2, 3, 4], [2, 3, 4], []]


def test_partitions_can_be_added(topic: TopicLog) -> None:
    topic.grow(new_topic("t", "e", TopicSettings(partitions=3), TopicSettings()))
    assert topic.bounds() == [Bounds(0, 0)] * 3
    with pytest.raises(UnknownTopic):
        topic.partition(3)
    with pytest.raises(UnknownTopic):
        topic.partition(-1)
