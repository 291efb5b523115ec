"""Events go where Kafka's own clients would put them."""

from __future__ import annotations

import pytest

from gateway.bus.partitioner import Partitioner, check_keys
from gateway.columns import Columns
from gateway.errors import InvalidEvent
from tests.harness.events import event


def test_keys_are_placed_as_kafka_places_them() -> None:
    # From Kafka's own UtilsTest.testMurmur2: murmur2("foobar") = -790332482.
    partitioner = Partitioner(kept=1)
    assert partitioner.partition(b"foobar", 7) == (-790332482 & 0x7FFFFFFF) % 7
    assert partitioner.partition(b"foobar", 7) == partitioner.partition(b"foobar", 7)
    assert partitioner.partition(b"21", 1000) == (-973932308 & 0x7FFFFFFF) % 1000


def test_events_of_one_call_without_a_key_stay_together() -> None:
    partitioner = Partitioner()
    split = partitioner.split([event(), event(subject="s"), event(), event(subject="s")], 4)
    places = sorted(place for part in split.values() for place in part)
    assert places == [0, 1, 2, 3]
    assert any({0, 2} <= set(part) for part in split.values())
    assert any({1, 3} <= set(part) for part in split.values())
    assert partitioner.split([event()], 1) == {0: [0]}
    assert partitioner.split([event()], 4) != partitioner.split([event()], 4)


def test_events_without_a_key_are_named() -> None:
    there = [event(0, subject="s"), event(1, key=b"k"), event(2, partitionkey="p")]
    check_keys(there, "t")
    with pytest.raises(InvalidEvent, match=r"2 of 5 events.*'t'") as caught:
        check_keys([*there, event(3), event(4)], "t")
    assert [(fault.where, fault.index) for fault in caught.value.faults] == [("events[3]", 3), ("events[4]", 4)]
    columns = Columns({"id": ["1", "2"], "source": "s", "type": "t", "specversion": "1.0"}, None, 2)
    with pytest.raises(InvalidEvent):
        check_keys(columns, "t")
    assert columns.intact
