"""The record codec: what goes in comes out, others' records are readable, damage is told."""

from __future__ import annotations

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


def test_control_batches_have_no_events_but_move_on() -> None:
    batch = bytearray(raw_batch([], b"v"))
    batch[22] |= 0x20
    got = records.decode_records(bytes(batch), "t", 0, check=False)
    assert (got.events, got.next_offset) == ([], 1)


def test_the_size_estimate_is_an_upper_bound() -> None:
    one = event(b"x" * 1000, subject="a/b", note="n" * 300)
    assert len(records.encode_records([one], 5)) - records.HEADER_SIZE <= records.encoded_size(one)
