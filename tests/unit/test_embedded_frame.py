"""Frames: what is packed is read back, and no flipped bit passes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.embedded.frame import FRAME_HEADER, MAX_BATCH, Frame, batch_holds, pack_header, read_header
from gateway.bus.records import HEADER_SIZE, encode_records, set_base_offset
from tests.harness.events import events

SALT = 0x1234ABCD


def batch(base: int = 100, count: int = 3) -> bytes:
    body = encode_records(events(count), 1_700_000_000_000)
    set_base_offset(body, base)
    return bytes(body)


@given(
    st.integers(HEADER_SIZE, MAX_BATCH), st.integers(0, 1023), st.integers(0, 2**62), st.integers(0, 2**31),
    st.integers(0, 2**62), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_a_header_comes_back_as_it_was_packed(
    size: int, partition: int, base: int, span: int, time: int, salt: int
) -> None:
    head = pack_header(salt, size, partition, base, base + span, time)
    assert len(head) == FRAME_HEADER
    assert read_header(head, salt, 7) == Frame(7, size, partition, base, base + span, time)


@given(st.integers(0, FRAME_HEADER * 8 - 1))
def test_a_header_with_any_flipped_bit_does_not_hold(bit: int) -> None:
    head = bytearray(pack_header(SALT, 500, 2, 100, 103, 5))
    head[bit // 8] ^= 1 << bit % 8
    assert read_header(bytes(head), SALT, 0) is None


def test_a_header_of_another_segment_does_not_hold() -> None:
    assert read_header(pack_header(SALT, 500, 2, 100, 103, 5), SALT + 1, 0) is None


def test_a_header_cut_short_does_not_hold() -> None:
    head = pack_header(SALT, 500, 2, 100, 103, 5)
    assert all(read_header(head[:size], SALT, 0) is None for size in range(FRAME_HEADER))


def test_preallocated_zeros_are_no_frame() -> None:
    assert read_header(bytes(FRAME_HEADER), SALT, 0) is None
    assert read_header(bytes(FRAME_HEADER), 0, 0) is None


def test_a_size_that_no_batch_has_is_refused_though_its_checksum_holds() -> None:
    assert read_header(pack_header(SALT, HEADER_SIZE - 1, 0, 0, 1, 0), SALT, 0) is None
    assert read_header(pack_header(SALT, MAX_BATCH + 1, 0, 0, 1, 0), SALT, 0) is None


def test_a_batch_with_any_flipped_bit_does_not_hold() -> None:
    body = batch()
    frame = Frame(0, len(body), 0, 100, 103, 0)
    assert batch_holds(frame, body)
    for bit in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not batch_holds(frame, bytes(flipped)), f"bit {bit}"


def test_a_batch_of_another_offset_or_length_does_not_hold() -> None:
    body = batch()
    assert not batch_holds(Frame(0, len(body), 0, 101, 104, 0), body)
    assert not batch_holds(Frame(0, len(body) + 1, 0, 100, 103, 0), body)


def test_a_frame_knows_where_its_batch_is_and_where_it_ends() -> None:
    frame = Frame(1000, 500, 0, 0, 1, 0)
    assert (frame.batch_at, frame.end) == (1000 + FRAME_HEADER, 1000 + FRAME_HEADER + 500)
