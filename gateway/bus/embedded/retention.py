"""Which segments go, and when the active one is closed so that it can go. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.bus.embedded.segment import Segment
from gateway.bus.embedded.settings import DAY_MS, TopicFile

#: A segment covers at most this share of what retention keeps, by time and by bytes.
SHARE = 8
SMALLEST_SEGMENT = 256 * 1024
#: Segments of a compacted topic begin small: its readers read all of it.
SMALLEST_COMPACTED = 4 * 1024 * 1024


def kept_bytes(topic: TopicFile) -> int:
    """Retention by size is per partition, as in Kafka; a topic's partitions share their segments."""
    return topic.retention_bytes * topic.partitions


def segment_bytes(topic: TopicFile, most: int, closed: Sequence[Segment]) -> int:
    """How large the active segment may grow."""
    if topic.cleanup == "compact":
        clean = sum(segment.data_bytes for segment in closed if segment.header.compacted)
        return min(most, max(clean, SMALLEST_COMPACTED))
    if topic.retention_bytes > 0:
        return min(most, max(kept_bytes(topic) // SHARE, SMALLEST_SEGMENT))
    return most


def must_roll(topic: TopicFile, active: Segment, now_ms: int) -> bool:
    """Whether the active segment, which holds something, is old enough to be closed."""
    age = now_ms - active.header.created_ms
    if topic.cleanup == "compact":
        return age >= DAY_MS
    return topic.retention_ms > 0 and age >= max(1, topic.retention_ms // SHARE)


def expired(topic: TopicFile, segments: Sequence[Segment], now_ms: int) -> int:
    """How many of the oldest segments retention removes; never the active one, which is the last."""
    if topic.cleanup == "compact":
        return 0
    total = sum(segment.bytes for segment in segments)
    count = 0
    for segment in segments[:-1]:
        too_old = topic.retention_ms > 0 and segment.newest_ms < now_ms - topic.retention_ms
        too_much = topic.retention_bytes > 0 and total - segment.bytes >= kept_bytes(topic)
        if not (too_old or too_much):
            break
        total -= segment.bytes
        count += 1
    return count
