# mypy: disable-error-code="arg-type,assignment"
"""The cluster as it is known: what changed, and what only looks so since a broker lags."""

from __future__ import annotations

from gateway.bus.contract import TopicChange
from gateway.bus.kafka.metadata import MISSING_SECONDS, Merger, Metadata, PartitionMeta, TopicMeta, parse
from gateway.bus.kafka.wire import INT32, Cursor
from tests.harness.fake_kafka import FakeKafka

CREATED, PARTITIONS, DELETED = TopicChange.CREATED, TopicChange.PARTITIONS, TopicChange.DELETED


def meta(name: str, number: int, *epochs: int, leader: int = 1) -> TopicMeta:
    partitions = tuple(PartitionMeta(leader, epoch, (1,), (1,)) for epoch in epochs)
    return TopicMeta(name, bytes([number]) * 16, False, partitions)


def state(*topics: TopicMeta) -> Metadata:
    return Metadata({1: ("h", 1)}, 1, {topic.name: topic for topic in topics})


async def test_a_response_is_read() -> None:
    fake = FakeKafka(2)
    fake.ports = {1: 9092, 2: 9093}
    topic = fake.create("t", 3)
    fake.create("__internal")
    topic.partitions[2].leader = -1
    topic.partitions[1].in_sync = ()
    body = await fake._Metadata(1, Cursor(b""), 0)
    got = parse(body[INT32.size :])
    assert got.brokers == {1: ("127.0.0.1", 9092), 2: ("127.0.0.1", 9093)}
    assert got.controller == 1
    assert [partition.leader for partition in got.topics["t"].partitions] == [1, 2, -1]
    assert (got.leader("t", 1), got.leader("t", 9), got.leader("x", 0)) == (2, -1, -1)
    assert got.topics["t"].epoch == topic.id.hex()
    assert not got.topics["t"].led
    assert got.topics["__internal"].internal
    assert got.topics["t"].partitions[1].in_sync == ()


def test_a_topic_comes_and_grows() -> None:
    merger = Merger()
    one, changes = merger.merge(Metadata(), state(meta("t", 1, 0)))
    assert changes == [("t", CREATED)]
    two, changes = merger.merge(one, state(meta("t", 1, 0, 0)))
    assert changes == [("t", PARTITIONS)]
    same, changes = merger.merge(two, state(meta("t", 1, 0, 0)))
    assert changes == []
    assert same.topics["t"] is two.topics["t"]


def test_a_topic_made_anew_has_another_id_and_the_old_one_never_comes_back() -> None:
    merger = Merger()
    one, _ = merger.merge(Metadata(), state(meta("t", 1, 5)))
    two, changes = merger.merge(one, state(meta("t", 2, 0)))
    assert changes == [("t", CREATED)]
    behind, changes = merger.merge(two, state(meta("t", 1, 5)))
    assert changes == []
    assert behind.topics["t"].id == bytes([2]) * 16


def test_a_topic_is_gone_when_it_was_missing_for_a_while() -> None:
    merger = Merger()
    one, _ = merger.merge(Metadata(), state(meta("t", 1, 0)), 0.0)
    two, changes = merger.merge(one, state(), 10.0)
    assert (changes, merger.unsure) == ([], True)
    assert "t" in two.topics
    three, changes = merger.merge(two, state(), 10.0 + MISSING_SECONDS)
    assert (changes, merger.unsure) == ([("t", DELETED)], False)
    assert not three.topics


def test_a_broker_that_does_not_know_a_new_topic_yet_changes_nothing() -> None:
    merger = Merger()
    one, _ = merger.merge(Metadata(), state(meta("t", 1, 0)), 0.0)
    two, _ = merger.merge(one, state(), 10.0)
    three, changes = merger.merge(two, state(meta("t", 1, 0)), 10.1)
    assert (changes, merger.unsure) == ([], False)
    assert three.topics == one.topics


def test_what_we_deleted_ourselves_stays_away_whatever_a_broker_says() -> None:
    merger = Merger()
    one, _ = merger.merge(Metadata(), state(meta("t", 1, 0)))
    merger.retire(one.topics["t"])
    two, changes = merger.merge(Metadata(one.brokers, 1, {}), state(meta("t", 1, 0)))
    assert (changes, dict(two.topics)) == ([], {})
    _, changes = merger.merge(one, state(meta("t", 1, 0)))
    assert changes == [("t", DELETED)]


def test_of_two_leaders_the_later_one_counts_and_partitions_do_not_shrink() -> None:
    merger = Merger()
    one, _ = merger.merge(Metadata(), state(meta("t", 1, 5, 5, leader=2)))
    two, changes = merger.merge(one, state(meta("t", 1, 4, leader=1)))
    assert changes == []
    assert [partition.leader for partition in two.topics["t"].partitions] == [2, 2]
    three, _ = merger.merge(two, state(meta("t", 1, 6, 5, leader=3)))
    assert [partition.leader for partition in three.topics["t"].partitions] == [3, 3]


def test_what_is_remembered_of_deleted_topics_is_bounded() -> None:
    merger = Merger()
    for number in range(20_001):
        merger.retire(TopicMeta("t", number.to_bytes(16, "big"), False, ()))
    assert len(merger._retired) <= 10_000
