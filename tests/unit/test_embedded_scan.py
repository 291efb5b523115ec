"""Walking a segment: every byte is accounted for, damage included."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus.embedded.frame import FRAME_HEADER, MAGIC
from gateway.bus.embedded.scan import find_frame, walk, zeros
from tests.harness.events import event
from tests.unit.embedded_support import SALT, frame, frame_of, pieces, reading

FRAMES = [frame(0, 0), frame(1, 0, 5), frame(0, 3, 1)]
DATA = b"".join(FRAMES)
STARTS = [0, len(FRAMES[0]), len(FRAMES[0]) + len(FRAMES[1])]


def test_good_frames_come_back_one_after_the_other() -> None:
    found = pieces(DATA)
    assert [piece.position for piece in found] == STARTS
    assert [piece.damaged for piece in found] == [False] * 3
    assert [(p.frame.partition, p.frame.base_offset) for p in found if p.frame] == [(0, 0), (1, 0), (0, 3)]
    assert found[-1].end == len(DATA)


def test_a_damaged_batch_is_known_by_its_header_and_the_walk_goes_on() -> None:
    data = bytearray(DATA)
    data[STARTS[1] + FRAME_HEADER + 70] ^= 1
    first, bad, last = pieces(bytes(data))
    assert (first.damaged, bad.damaged, last.damaged) == (False, True, False)
    assert bad.frame is not None
    assert (bad.frame.partition, bad.frame.base_offset, bad.frame.next_offset) == (1, 0, 5)
    assert bad.batch is None


def test_a_damaged_header_is_damage_up_to_the_next_good_frame() -> None:
    data = bytearray(DATA)
    data[STARTS[1] + 9] ^= 1
    _first, bad, last = pieces(bytes(data))
    assert (bad.position, bad.end, bad.frame, bad.damaged) == (STARTS[1], STARTS[2], None, True)
    assert last.frame is not None


@given(st.integers(0, len(DATA) * 8 - 1))
@settings(max_examples=300, deadline=None)
def test_pieces_cover_everything_and_one_flipped_bit_damages_one_of_them(bit: int) -> None:
    data = bytearray(DATA)
    data[bit // 8] ^= 1 << bit % 8
    found = pieces(bytes(data))
    assert [piece.position for piece in found[1:]] == [piece.end for piece in found[:-1]]
    assert (found[0].position, found[-1].end) == (0, len(data))
    assert [piece.damaged for piece in found].count(True) == 1
    (bad,) = (piece for piece in found if piece.damaged)
    assert bad.position <= bit // 8 < bad.end


@given(st.integers(0, len(DATA)), st.binary(max_size=200), st.integers(16, 600))
@settings(max_examples=200, deadline=None)
def test_any_bytes_can_be_walked_with_any_window(cut: int, junk: bytes, chunk: int) -> None:
    data = DATA[:cut] + junk
    found = pieces(data, chunk=chunk)
    assert sum(piece.end - piece.position for piece in found) == len(data)
    whole = [piece for piece in found if not piece.damaged]
    assert len(whole) >= sum(start + len(one) <= cut for start, one in zip(STARTS, FRAMES, strict=True))


def test_a_payload_that_holds_a_frame_of_its_own_is_not_taken_for_one() -> None:
    forged = frame(0, 7, salt=SALT ^ 0xFFFF)
    carrier = frame_of([event(1, data=forged + forged)], 0, 0)
    data = bytearray(carrier + FRAMES[2])
    data[0] ^= 1
    bad, good = pieces(bytes(data))
    assert (bad.position, bad.end) == (0, len(carrier))
    assert good.frame is not None


def test_batches_that_are_not_wanted_are_not_read() -> None:
    asked: list[tuple[int, int]] = []

    def read(position: int, size: int) -> bytes:
        asked.append((position, size))
        return DATA[position : position + size]

    found = list(walk(read, 0, len(DATA), SALT, lambda frame: frame.partition == 1, chunk=FRAME_HEADER))
    assert [piece.batch is not None for piece in found] == [False, True, False]
    assert sum(size for _, size in asked) < len(DATA)


def test_the_next_frame_is_found_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.bus.embedded.scan._SEARCH_CHUNK", 64)
    junk = (MAGIC + b"nonsense") * 20
    assert find_frame(reading(junk + DATA), 1, len(junk + DATA), SALT) == len(junk)
    assert find_frame(reading(junk), 0, len(junk), SALT) == len(junk)


def test_a_search_ends_where_the_file_is_shorter_than_it_should_be() -> None:
    assert find_frame(reading(b"short"), 0, 1000, SALT) == 1000


def test_zeros_are_told_from_anything_else() -> None:
    assert zeros(reading(bytes(100)), 0, 100)
    assert zeros(reading(bytes(100)), 0, 500)
    assert not zeros(reading(bytes(99) + b"\1"), 0, 100)
    assert zeros(reading(b"\1" + bytes(99)), 1, 100)
