"""The requests that we send, and their responses as small structs. Pure: bytes in, values out."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.bus.kafka.wire import INT16, INT32, NO_TAGS, Cursor, Request, array, string, uvarint

READ_COMMITTED = 1
EARLIEST, LATEST = -2, -1
_TOPIC_RESOURCE = b"\x02"
_SET = b"\x00"
_NULL_ARRAY = b"\xff\xff\xff\xff"
_FETCH_PARTITION = struct.Struct(">iiqiqiB")
_FETCH_HEAD = struct.Struct(">iiiibii")


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The answer to an administrative request about one topic."""

    code: int
    message: str | None = None


# -- producing ------------------------------------------------------------------------------


class Produced(msgspec.Struct, gc=False):
    """The answer for one partition; `timestamp` is -1 where the producer's own holds."""

    code: int
    base_offset: int
    timestamp: int
    message: str | None
    culprits: tuple[int, ...] = ()


def produce(batches: Mapping[str, Sequence[tuple[int, bytes | bytearray]]], timeout_ms: int) -> Request:
    """Produce (key 0, version 8) with acks=all; the response maps (topic, partition) to Produced."""
    parts: list[bytes | bytearray] = [string(None), INT16.pack(-1), INT32.pack(timeout_ms), INT32.pack(len(batches))]
    for topic, partitions in batches.items():
        parts += (string(topic), INT32.pack(len(partitions)))
        for partition, batch in partitions:
            parts += (INT32.pack(partition), INT32.pack(len(batch)), batch)
    return Request("Produce", 0, 8, b"".join(parts), _produced)


def _produced(cursor: Cursor) -> dict[tuple[str, int], Produced]:
    answer = {}
    for _ in range(cursor.count()):
        topic = cursor.string() or ""
        for _ in range(cursor.count()):
            partition, code, base, stamp = cursor.int32(), cursor.int16(), cursor.int64(), cursor.int64()
            cursor.int64()  # log start offset
            culprits, messages = [], []
            for _ in range(cursor.count()):
                culprits.append(cursor.int32())
                messages.append(cursor.string())
            message = cursor.string()
            said = next((text for text in messages if text), None) or message
            answer[topic, partition] = Produced(code, base, stamp, said, tuple(culprits))
    return answer


def init_producer_id() -> Request:
    """InitProducerId (key 22, version 1) without a transaction; the response is (code, id, epoch)."""

    def parse(cursor: Cursor) -> tuple[int, int, int]:
        cursor.int32()  # throttle time
        return cursor.int16(), cursor.int64(), cursor.int16()

    return Request("InitProducerId", 22, 1, string(None) + INT32.pack(-1), parse)


# -- reading --------------------------------------------------------------------------------


class Fetched(msgspec.Struct, gc=False):
    """The answer for one partition: whole batches, the last one perhaps cut off."""

    code: int
    stable_offset: int
    start_offset: int
    aborted: tuple[tuple[int, int], ...]
    records: bytes


def fetch(
    wanted: Mapping[bytes, Sequence[tuple[int, int]]], *, max_wait_ms: int, max_bytes: int, partition_bytes: int
) -> Request:
    """Fetch (key 1, version 13) of committed records.

    `wanted` maps topic ids to (partition, offset); the response maps (topic id, partition) to
    Fetched. By id a deleted topic cannot be mistaken for its successor.
    """
    parts = [_FETCH_HEAD.pack(-1, max_wait_ms, 1, max_bytes, READ_COMMITTED, 0, -1), uvarint(len(wanted) + 1)]
    for topic, partitions in wanted.items():
        parts += (topic, uvarint(len(partitions) + 1))
        for partition, offset in partitions:
            parts.append(_FETCH_PARTITION.pack(partition, -1, offset, -1, -1, partition_bytes, 0))
        parts.append(NO_TAGS)
    parts += (uvarint(1), uvarint(1), NO_TAGS)  # nothing forgotten, no rack
    return Request("Fetch", 1, 13, b"".join(parts), _fetched, flexible=True)


def _fetched(cursor: Cursor) -> tuple[int, dict[tuple[bytes, int], Fetched]]:
    cursor.int32()  # throttle time
    code = cursor.int16()
    cursor.int32()  # session
    answer = {}
    for _ in range(cursor.ucount()):
        topic = cursor.uuid()
        for _ in range(cursor.ucount()):
            partition, fetched = _fetched_partition(cursor)
            answer[topic, partition] = fetched
        cursor.tags()
    return code, answer


def _fetched_partition(cursor: Cursor) -> tuple[int, Fetched]:
    partition, code = cursor.int32(), cursor.int16()
    cursor.int64()  # high watermark
    stable, start = cursor.int64(), cursor.int64()
    aborted = []
    for _ in range(cursor.ucount()):
        aborted.append((cursor.int64(), cursor.int64()))
        cursor.tags()
    cursor.int32()  # preferred replica
    records = cursor.take(max(0, cursor.uvarint() - 1))
    cursor.tags()
    return partition, Fetched(code, stable, start, tuple(aborted), records)


def list_offsets(wanted: Mapping[str, Sequence[int]], timestamp: int) -> Request:
    """ListOffsets (key 2, version 5): EARLIEST, LATEST (committed) or by time in milliseconds.

    The response maps (topic, partition) to (code, offset); -1 is "none".
    """
    body = struct.pack(">ib", -1, READ_COMMITTED) + array(
        string(topic) + array(struct.pack(">iiq", partition, -1, timestamp) for partition in partitions)
        for topic, partitions in wanted.items()
    )
    return Request("ListOffsets", 2, 5, body, _listed)


def _listed(cursor: Cursor) -> dict[tuple[str, int], tuple[int, int]]:
    cursor.int32()  # throttle time
    answer = {}
    for _ in range(cursor.count()):
        topic = cursor.string() or ""
        for _ in range(cursor.count()):
            partition, code = cursor.int32(), cursor.int16()
            cursor.int64()  # timestamp
            answer[topic, partition] = (code, cursor.int64())
            cursor.int32()  # leader epoch
    return answer


# -- administration -------------------------------------------------------------------------


def create_topic(name: str, partitions: int, replication: int, configs: Mapping[str, str], timeout_ms: int) -> Request:
    """CreateTopics (key 19, version 4); -1 leaves a number to the broker. The response is an Outcome."""
    topic = string(name) + INT32.pack(partitions) + INT16.pack(replication) + array(())
    topic += array(string(key) + string(value) for key, value in configs.items())
    return Request("CreateTopics", 19, 4, array([topic]) + INT32.pack(timeout_ms) + b"\x00", _named_outcome)


def create_partitions(name: str, count: int, timeout_ms: int, *, validate_only: bool = False) -> Request:
    """CreatePartitions (key 37, version 1): grow a topic to `count`. The response is an Outcome."""
    topic = string(name) + INT32.pack(count) + _NULL_ARRAY
    body = array([topic]) + INT32.pack(timeout_ms) + bytes([validate_only])
    return Request("CreatePartitions", 37, 1, body, _named_outcome)


def _named_outcome(cursor: Cursor) -> Outcome:
    cursor.int32()  # throttle time
    cursor.count()
    cursor.string()
    return Outcome(cursor.int16(), cursor.string())


def delete_topic(name: str, timeout_ms: int) -> Request:
    """DeleteTopics (key 20, version 3). The response is an Outcome."""

    def parse(cursor: Cursor) -> Outcome:
        cursor.int32()  # throttle time
        cursor.count()
        cursor.string()
        return Outcome(cursor.int16())

    return Request("DeleteTopics", 20, 3, array([string(name)]) + INT32.pack(timeout_ms), parse)


class Described(msgspec.Struct, gc=False):
    """The settings of one topic as they hold, defaults included."""

    code: int
    message: str | None
    configs: dict[str, str | None]


def describe_configs(topics: Iterable[str], keys: Sequence[str]) -> Request:
    """DescribeConfigs (key 32, version 1); the response maps topics to Described."""
    wanted = array(string(key) for key in keys)
    body = array(_TOPIC_RESOURCE + string(topic) + wanted for topic in topics) + b"\x00"
    return Request("DescribeConfigs", 32, 1, body, _described)


def _described(cursor: Cursor) -> dict[str, Described]:
    cursor.int32()  # throttle time
    answer = {}
    for _ in range(cursor.count()):
        code, message = cursor.int16(), cursor.string()
        cursor.int8()  # resource type
        topic = cursor.string() or ""
        configs = {}
        for _ in range(cursor.count()):
            key = cursor.string() or ""
            configs[key] = cursor.string()
            cursor.take(3)  # read-only, source, sensitive
            cursor.count()  # synonyms were not asked for
        answer[topic] = Described(code, message, configs)
    return answer


def alter_configs(topic: str, configs: Mapping[str, str], *, validate_only: bool = False) -> Request:
    """IncrementalAlterConfigs (key 44, version 0): sets what is named and nothing else."""
    settings = array(string(key) + _SET + string(value) for key, value in configs.items())
    body = array([_TOPIC_RESOURCE + string(topic) + settings]) + bytes([validate_only])

    def parse(cursor: Cursor) -> Outcome:
        cursor.int32()  # throttle time
        cursor.count()
        return Outcome(cursor.int16(), cursor.string())

    return Request("IncrementalAlterConfigs", 44, 0, body, parse)


def metadata() -> Request:
    """Metadata (key 3, version 10) of all topics. The response is its bytes: most often they
    are those of last time, and then nothing needs to be parsed (see `metadata.parse`)."""
    # A null array of topics means all; no auto-creation, no authorized operations.
    body = b"\x00" + b"\x00\x00\x00" + NO_TAGS
    return Request("Metadata", 3, 10, body, lambda cursor: cursor.data[cursor.at + INT32.size :], flexible=True)
