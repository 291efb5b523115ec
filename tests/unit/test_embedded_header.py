"""Segment headers survive the loss of one of their two copies."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus.embedded.header import SegmentHeader, decode_header, encode_header
from gateway.errors import BusUnavailable
from tests.unit.embedded_support import header, reading


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=600), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_header_comes_back_with_its_real_size(base: list[int], salt: int) -> None:
    data = encode_header(header(3, base, salt))
    found, damaged = decode_header(reading(data + b"frames"))
    assert damaged is None
    assert found is not None
    assert (found.base, found.salt, found.sequence, found.data_start) == (base, salt, 3, len(data))


@given(st.integers(0, 4096 * 8 - 1))
@settings(deadline=None)
def test_any_flipped_bit_is_found_at_its_place_and_the_other_copy_serves(bit: int) -> None:
    data = bytearray(encode_header(header(3, [5, 6])))
    data[bit // 8] ^= 1 << bit % 8
    found, damaged = decode_header(reading(bytes(data)))
    assert damaged == bit // 8
    assert found is not None
    assert found.base == [5, 6]


def test_with_both_copies_damaged_there_is_no_header() -> None:
    data = bytearray(encode_header(header()))
    data[30] ^= 1
    data[2048 + 30] ^= 1
    assert decode_header(reading(bytes(data))) == (None, 0)
    assert decode_header(reading(b"")) == (None, 0)


def test_a_second_copy_that_is_cut_off_is_damage() -> None:
    found, damaged = decode_header(reading(encode_header(header())[:3000]))
    assert found is not None
    assert damaged == 3000


def test_a_newer_format_is_refused_with_both_numbers() -> None:
    newer = msgspec.structs.replace(header(), format=9)
    with pytest.raises(BusUnavailable, match="format 9, this version reads 1"):
        decode_header(reading(encode_header(newer)))


def test_partitions_that_came_later_begin_at_zero() -> None:
    head: SegmentHeader = header(base=[4, 5])
    assert [head.base_of(number) for number in range(3)] == [4, 5, 0]
