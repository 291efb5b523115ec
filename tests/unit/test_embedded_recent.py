"""The window of recent batches: shared, bounded, oldest out first."""

from __future__ import annotations

from gateway.bus.contract import Batch
from gateway.bus.embedded.recent import RecentBatches, RecentWindow
from gateway.event import Event


def batch(base: int, count: int = 10, size: int = 100) -> Batch:
    return Batch("t", 0, base, base + count, [Event({}, offset=base + n) for n in range(count)], size)


def filled(window: RecentWindow, bases: range) -> RecentBatches:
    partition = RecentBatches()
    for base in bases:
        window.add(partition, batch(base))
    return partition


def test_readers_share_the_very_batches() -> None:
    partition = filled(RecentWindow(1000), range(0, 50, 10))
    first, again = partition.read(20, 1), partition.read(20, 1)
    assert first[0] is again[0] is partition.batches[20]


def test_a_read_takes_about_what_it_asks_for_and_at_least_one_batch() -> None:
    partition = filled(RecentWindow(1000), range(0, 50, 10))
    assert [b.base_offset for b in partition.read(10, 1)] == [10]
    assert [b.base_offset for b in partition.read(10, 200)] == [10, 20]
    assert [b.base_offset for b in partition.read(10, 10_000)] == [10, 20, 30, 40]


def test_a_read_in_the_middle_of_a_batch_begins_there() -> None:
    partition = filled(RecentWindow(1000), range(0, 30, 10))
    (found,) = partition.read(13, 1)
    assert [event.offset for event in found.events] == list(range(13, 20))


def test_the_oldest_batch_makes_room_whatever_its_partition() -> None:
    window = RecentWindow(300)
    first = filled(window, range(0, 20, 10))
    second = filled(window, range(0, 20, 10))
    assert (first.first(), second.first()) == (10, 0)
    assert first.read(0, 1) == []
    assert window.used == 300


def test_a_batch_larger_than_the_window_is_not_kept() -> None:
    window = RecentWindow(300)
    partition = filled(window, range(0, 20, 10))
    window.add(partition, batch(20, size=301))
    assert (partition.batches, window.used) == ({}, 0)
    assert partition.read(20, 1) == []


def test_what_retention_or_deletion_removed_is_forgotten() -> None:
    window = RecentWindow(1000)
    partition = filled(window, range(0, 40, 10))
    window.drop(partition, 20)
    assert (partition.first(), window.used) == (20, 200)
    window.drop(partition)
    assert (partition.first(), window.used) == (None, 0)
    later = filled(window, range(0, 120, 10))
    assert (later.first(), window.used) == (20, 1000)
