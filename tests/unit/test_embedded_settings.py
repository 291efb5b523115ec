"""A topic's settings: what can hold, and a file that survives a damaged copy."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.bus.contract import TopicSettings
from gateway.bus.embedded.settings import (
    DAY_MS,
    FILE,
    altered,
    decode_topic,
    encode_topic,
    load_topic,
    new_topic,
    store_topic,
)
from gateway.errors import BusUnavailable, CorruptData, InvalidSetting

TOPIC = new_topic("t", "e1", TopicSettings(partitions=3), TopicSettings())


def test_what_is_not_asked_comes_from_the_bus_and_then_from_kafkas_defaults() -> None:
    topic = new_topic("t", "e1", TopicSettings(partitions=3), TopicSettings(partitions=2, retention_bytes=5000))
    assert (topic.partitions, topic.retention_bytes, topic.retention_ms) == (3, 5000, 7 * DAY_MS)
    info = topic.info(1000)
    assert (info.replication, info.cleanup, info.compression, info.max_event_bytes) == (1, "delete", "none", 1000)


def test_all_that_cannot_hold_is_said_at_once() -> None:
    with pytest.raises(InvalidSetting) as caught:
        new_topic(
            "t", "e1", TopicSettings(partitions=0, replication=3, retention_ms=0, retention_bytes=-2), TopicSettings()
        )
    assert [fault.where for fault in caught.value.faults] == [
        "partitions", "replication", "retention.time", "retention.bytes",
    ]  # fmt: skip
    assert "Kafka" in caught.value.faults[1].message
    assert caught.value.message.startswith("partitions must be 1 to")


def test_altering_changes_only_what_is_asked() -> None:
    changed = altered(TOPIC, TopicSettings(retention_ms=-1, replication=1))
    assert changed == msgspec.structs.replace(TOPIC, retention_ms=-1)


def test_partitions_only_grow() -> None:
    assert altered(TOPIC, TopicSettings(partitions=4)).partitions == 4
    with pytest.raises(InvalidSetting, match="can only grow"):
        altered(TOPIC, TopicSettings(partitions=2))


def test_any_flipped_bit_in_the_file_is_found_and_the_other_copy_serves() -> None:
    data = encode_topic(TOPIC)
    assert decode_topic(data) == (TOPIC, None)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert decode_topic(bytes(flipped)) == (TOPIC, bit // 8), f"bit {bit}"


def test_with_both_copies_damaged_the_topic_is_refused_by_file(tmp_path: Path) -> None:
    store_topic(tmp_path, TOPIC)
    assert load_topic(tmp_path) == (TOPIC, None)
    data = encode_topic(TOPIC).replace(b"e1", b"e2")
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(CorruptData) as caught:
        load_topic(tmp_path)
    assert caught.value.detail == {"file": str(tmp_path / FILE), "position": 0}


def test_a_folder_without_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptData):
        load_topic(tmp_path)


def test_a_newer_format_is_refused() -> None:
    with pytest.raises(BusUnavailable, match="format 2"):
        decode_topic(encode_topic(msgspec.structs.replace(TOPIC, format=2)))
