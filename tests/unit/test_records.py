"""The record codec: what goes in comes out, others' records are readable, damage is told."""

from __future__ import annotations

import zlib

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus import records
from gateway.bus.contract import Compression
from gateway.errors import CorruptData
from gateway.event import Event

ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
CODECS: list[Compression] = ["none", "gzip", "snappy", "lz4", "zstd"]


def event(data: bytes | None = b"x", key: bytes | None = None, **more: str | int | bool) -> Event:
    return Event({**ATTRIBUTES, **more}, data, key)


def raw_batch(headers: list[tuple[str, bytes | None]], value: bytes | None, codec: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)
    builder.append(0, 1_700_000_000_123, None, value, headers)
    return bytes(builder.build())


@pytest.mark.parametrize("codec", CODECS)
def test_events_come_back_as_they_went_in(codec: Compression) -> None:
    sent = [event(b'{"a":1}', subject="a/\u00e9", datacontenttype="application/json"), event(None), event(b"", ok=True)]
    batch = records.encode_records(sent, 5, codec)
    records.set_base_offset(batch, 40)
    got = records.decode_records(bytes(batch), "t", 3)
    assert (got.base_offset, got.next_offset, got.timestamp_ms) == (40, 43, 5)
    assert [e.offset for e in got.events] == [40, 41, 42]
    assert [e.data for e in got.events] == [b'{"a":1}', None, b""]
    assert got.events[0].attributes == sent[0].attributes
    assert got.events[2].attributes["ok"] == "true"
    assert got.events[0].key == "a/\u00e9".encode()


def test_partitionkey_wins_over_subject_as_the_default_key() -> None:
    assert records.key_of(event(subject="s", partitionkey="p")) == b"p"
    assert records.key_of(event()) is None
    assert records.key_of(event(key=b"given", subject="s")) == b"given"


def test_a_raw_record_gets_attributes_from_its_place() -> None:
    got = records.decode_records(raw_batch([("x", b"1"), ("ce_subject", b"a"), ("ce_type", None)], b"v"), "t", 2)
    assert got.events[0].attributes == {
        "specversion": "1.0",
        "id": "t-2-0",
        "source": "//kafka/t",
        "type": "io.linkspan.kafka.message",
        "subject": "a",
        "time": "2023-11-14T22:13:20.123Z",
    }
    assert got.events[0].subject == "a"


def test_illegal_attributes_of_a_raw_record_are_left_out() -> None:
    headers = [("ce_subject", b"a+b"), ("ce_BAD", b"x"), ("ce_note", b"\xff"), ("content-type", b"text/plain")]
    got = records.decode_records(raw_batch(headers, b"v"), "t", 0)  # type: ignore[arg-type]
    attributes = got.events[0].attributes
    assert attributes["datacontenttype"] == "text/plain"
    assert not {"subject", "BAD", "note"} & attributes.keys()


def test_a_structured_record_is_read_as_the_event_in_it() -> None:
    body = b'{"specversion":"1.0","id":"7","source":"/s","type":"t","data":{"a":1}}'
    batch = raw_batch([("content-type", b"application/cloudevents+json; charset=utf-8")], body)
    got = records.decode_records(batch, "t", 0).events[0]
    assert got.data == b'{"a":1}'
    assert got.attributes["id"] == "7"


def test_a_broken_structured_record_is_served_raw() -> None:
    batch = raw_batch([("content-type", b"application/cloudevents+json")], b"{")
    got = records.decode_records(batch, "t", 0).events[0]
    assert got.data == b"{"
    assert got.attributes["id"] == "t-0-0"
    nothing = raw_batch([("content-type", b"application/cloudevents+json")], None)
    assert records.decode_records(nothing, "t", 0).events[0].data is None


@given(st.integers(min_value=21, max_value=200), st.integers(min_value=0, max_value=7))
def test_a_flipped_bit_behind_the_checksum_is_told(at: int, bit: int) -> None:
    batch = records.encode_records([event(b"x" * 100, subject="s")], 5)
    at = min(at, len(batch) - 1)
    batch[at] ^= 1 << bit
    with pytest.raises(CorruptData):
        records.decode_records(bytes(batch), "t", 0)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_not_served(junk: bytes) -> None:
    with pytest.raises(CorruptData):
        records.decode_records(junk, "t", 0)


@pytest.mark.parametrize("codec", [1, 2, 3, 4, 6])
def test_broken_compression_is_told_with_where_to_go_on(codec: int) -> None:
    batch = bytearray(raw_batch([], b"v" * 50))
    batch[22] |= codec
    records.set_base_offset(batch, 9)
    with pytest.raises(CorruptData) as caught:
        records.decode_records(bytes(batch), "t", 0, check=False)
    assert caught.value.detail["next_offset"] == 10


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_batch_that_inflates_too_far_is_refused(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_INFLATED", 100_000)
    with pytest.raises(CorruptData):
        records.decode_records(raw_batch([], bytes(900_000), codec), "t", 0)
    assert records.decode_records(raw_batch([], bytes(90_000), codec), "t", 0).events[0].data == bytes(90_000)


def test_a_large_compressed_batch_grows_its_buffer() -> None:
    body = zlib.compress(b"") + bytes(2_000_000)
    for codec in (3, 4):
        assert records.decode_records(raw_batch([], body, codec), "t", 0).events[0].data == body


def test_control_batches_have_no_events_but_move_on() -> None:
    batch = bytearray(raw_batch([], b"v"))
    batch[22] |= 0x20
    got = records.decode_records(bytes(batch), "t", 0, check=False)
    assert (got.events, got.next_offset) == ([], 1)


def test_keys_are_placed_as_kafka_places_them() -> None:
    # From Kafka's own UtilsTest.testMurmur2: murmur2("foobar") = -790332482.
    partitioner = records.Partitioner(kept=1)
    assert partitioner.partition(b"foobar", 7) == (-790332482 & 0x7FFFFFFF) % 7
    assert partitioner.partition(b"foobar", 7) == partitioner.partition(b"foobar", 7)
    assert partitioner.partition(b"21", 1000) == (-973932308 & 0x7FFFFFFF) % 1000


def test_events_of_one_call_without_a_key_stay_together() -> None:
    partitioner = records.Partitioner()
    split = partitioner.split([event(), event(subject="s"), event(), event(subject="s")], 4)
    places = sorted(place for part in split.values() for place in part)
    assert places == [0, 1, 2, 3]
    assert any({0, 2} <= set(part) for part in split.values())
    assert any({1, 3} <= set(part) for part in split.values())
    assert partitioner.split([event()], 1) == {0: [0]}
    assert partitioner.split([event()], 4) != partitioner.split([event()], 4)


def test_the_size_estimate_is_an_upper_bound() -> None:
    one = event(b"x" * 1000, subject="a/b", note="n" * 300)
    assert len(records.encode_records([one], 5)) - records.HEADER_SIZE <= records.encoded_size(one)


def test_unusual_attribute_names_do_not_grow_the_name_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_NAMES_KEPT", len(records._TO_HEADER))
    assert ("ce_somethingnew", b"1") in records.headers_of(event(somethingnew=1))
    assert "somethingnew" not in records._TO_HEADER
