"""Compressed batches are inflated within a bound, and broken ones are told."""

from __future__ import annotations

import zlib

import pytest

from gateway.bus import inflate, records
from gateway.errors import CorruptData
from tests.unit.test_records import raw_batch


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
    monkeypatch.setattr(inflate, "MAX_INFLATED", 100_000)
    with pytest.raises(CorruptData):
        records.decode_records(raw_batch([], bytes(900_000), codec), "t", 0)
    assert records.decode_records(raw_batch([], bytes(90_000), codec), "t", 0).events[0].data == bytes(90_000)


def test_a_large_compressed_batch_grows_its_buffer() -> None:
    body = zlib.compress(b"") + bytes(2_000_000)
    for codec in (3, 4):
        assert records.decode_records(raw_batch([], body, codec), "t", 0).events[0].data == body
