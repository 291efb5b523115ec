"""Retention decides by time and by bytes, and never takes the active segment."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.bus.contract import TopicSettings
from gateway.bus.embedded.retention import (
    SMALLEST_COMPACTED,
    SMALLEST_SEGMENT,
    expired,
    must_roll,
    segment_bytes,
)
from gateway.bus.embedded.segment import Segment
from gateway.bus.embedded.settings import DAY_MS, TopicFile, new_topic
from tests.unit.embedded_support import header

MIB = 1024 * 1024


def topic(**settings: object) -> TopicFile:
    return new_topic("t", "e", TopicSettings(**settings), TopicSettings())  # type: ignore[arg-type]


def segments(*sizes_and_times: tuple[int, int], compacted: bool = False) -> list[Segment]:
    made = []
    for sequence, (size, newest) in enumerate(sizes_and_times):
        segment = Segment(Path(f"{sequence}.log"), header(sequence, compacted=compacted))
        segment.bytes, segment.newest_ms = size, newest
        made.append(segment)
    return made


def test_segments_that_are_too_old_go() -> None:
    kept = topic(retention_ms=100)
    assert expired(kept, segments((1, 10), (1, 50), (1, 200), (1, 300)), 151) == 2
    assert expired(kept, segments((1, 10), (1, 50), (1, 200)), 10_000) == 2


def test_an_older_segment_is_not_taken_before_the_oldest() -> None:
    assert expired(topic(retention_ms=100), segments((1, 500), (1, 10), (1, 10)), 550) == 0


def test_segments_beyond_the_size_go_and_what_remains_is_not_less_than_it() -> None:
    assert expired(topic(retention_ms=-1, retention_bytes=100), segments((60, 1), (60, 1), (60, 1)), 10**9) == 1
    assert expired(topic(retention_ms=-1, retention_bytes=100), segments((60, 1), (50, 1), (49, 1)), 10**9) == 0


def test_size_is_per_partition_as_in_kafka() -> None:
    three = topic(retention_ms=-1, retention_bytes=100, partitions=3)
    assert expired(three, segments((150, 1), (150, 1), (150, 1)), 10**9) == 1
    assert expired(three, segments((150, 1), (150, 1), (149, 1)), 10**9) == 0


def test_without_limits_and_with_compaction_nothing_goes() -> None:
    assert expired(topic(retention_ms=-1), segments((9, 1), (9, 1)), 10**15) == 0
    assert expired(topic(retention_ms=1, cleanup="compact"), segments((9, 1), (9, 1)), 10**15) == 0


def test_a_segment_is_closed_after_a_share_of_the_time_that_is_kept() -> None:
    active = segments((10, 1))[0]  # created at 1
    assert not must_roll(topic(retention_ms=800), active, 100)
    assert must_roll(topic(retention_ms=800), active, 101)
    assert not must_roll(topic(retention_ms=-1), active, 10**15)
    assert must_roll(topic(cleanup="compact"), active, DAY_MS + 1)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 64 * MIB),
        ({"retention_bytes": 80 * MIB}, 10 * MIB),
        ({"retention_bytes": 80 * MIB, "partitions": 4}, 40 * MIB),
        ({"retention_bytes": 1000}, SMALLEST_SEGMENT),
        ({"cleanup": "compact"}, SMALLEST_COMPACTED),
    ],
)
def test_segments_are_a_share_of_what_is_kept(settings: dict[str, object], expected: int) -> None:
    assert segment_bytes(topic(**settings), 64 * MIB, []) == expected


def test_segments_of_a_compacted_topic_grow_with_what_it_holds() -> None:
    compacted = topic(cleanup="compact")
    assert segment_bytes(compacted, 64 * MIB, segments((10 * MIB + 4096, 1), compacted=True)) == 10 * MIB
    assert segment_bytes(compacted, 64 * MIB, segments((100 * MIB, 1), compacted=True)) == 64 * MIB
    assert segment_bytes(compacted, 64 * MIB, segments((100 * MIB, 1))) == SMALLEST_COMPACTED
