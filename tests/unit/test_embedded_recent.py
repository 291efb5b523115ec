"""The window of recent batches: bounded, oldest out first, read from any offset that it holds."""

from __future__ import annotations

from gateway.bus.embedded.recent import OVERHEAD, RecentBatches, RecentWindow
from gateway.bus.records import encode_records, set_base_offset
from gateway.event import Event


def body(base: int, count: int = 10) -> bytearray:
    attributes: dict[str, str | int | bool] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    encoded = encode_records([Event(dict(attributes), b"x") for _ in range(count)], 7)
    set_base_offset(encoded, base)
    return encoded


SIZE = len(body(0)) + OVERHEAD


def filled(window: RecentWindow, bases: range) -> RecentBatches:
    partition = RecentBatches("t", 3)
    for base in bases:
        window.add(partition, base, body(base))
    return partition


def test_what_is_read_is_what_was_written() -> None:
    (found,) = filled(RecentWindow(10 * SIZE), range(0, 20, 10)).read(10, 1)
    assert (found.topic, found.partition, found.base_offset, found.next_offset) == ("t", 3, 10, 20)
    assert [(event.offset, event.data, event.timestamp_ms) for event in found.events] == [
        (offset, b"x", 7) for offset in range(10, 20)
    ]


def test_a_read_takes_about_what_it_asks_for_and_at_least_one_batch() -> None:
    partition = filled(RecentWindow(10 * SIZE), range(0, 50, 10))
    assert [b.base_offset for b in partition.read(10, 1)] == [10]
    assert [b.base_offset for b in partition.read(10, SIZE)] == [10, 20]
    assert [b.base_offset for b in partition.read(10, 100 * SIZE)] == [10, 20, 30, 40]


def test_a_read_in_the_middle_of_a_batch_begins_there() -> None:
    partition = filled(RecentWindow(10 * SIZE), range(0, 30, 10))
    (found,) = partition.read(13, 1)
    assert [event.offset for event in found.events] == list(range(13, 20))
    assert partition.read(30, 1) == []


def test_the_oldest_batch_makes_room_whatever_its_partition() -> None:
    window = RecentWindow(3 * SIZE)
    first = filled(window, range(0, 20, 10))
    second = filled(window, range(0, 20, 10))
    assert (first.first(), second.first()) == (10, 0)
    assert first.read(0, 1) == []
    assert window.used == 3 * SIZE


def test_a_batch_larger_than_the_window_is_not_kept() -> None:
    window = RecentWindow(3 * SIZE)
    partition = filled(window, range(0, 20, 10))
    window.add(partition, 20, body(20, 1000))
    assert (partition.bodies, window.used) == ({}, 0)
    assert partition.read(20, 1) == []


def test_what_retention_or_deletion_removed_is_forgotten() -> None:
    window = RecentWindow(10 * SIZE)
    partition = filled(window, range(0, 40, 10))
    window.drop(partition, 20)
    assert (partition.first(), window.used) == (20, 2 * SIZE)
    window.drop(partition)
    assert (partition.first(), window.used) == (None, 0)
    later = filled(window, range(0, 120, 10))
    assert (later.first(), window.used) == (20, 10 * SIZE)
