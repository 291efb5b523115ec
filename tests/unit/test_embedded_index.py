"""The index finds the frame to begin with, by offset and by time, and is believed only when whole."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus.embedded.index import SPACING, SegmentIndex, decode_index

START = 4096


def index_of(
    frames: list[tuple[int, int, int, int]], start: int = START
) -> tuple[SegmentIndex, list[tuple[int, int, int, int, int]]]:
    """An index of (partition, count, size, time) frames, and where each stands."""
    index, position, next_ = SegmentIndex(start, [0, 0, 0]), start, [0, 0, 0]
    placed = []
    for partition, count, size, time in frames:
        base = next_[partition]
        next_[partition] += count
        index.add(position, position + size, partition, base, base + count, time)
        placed.append((partition, base, base + count, position, time))
        position += size
    return index, placed


FRAMES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 50), st.integers(100, 3 * SPACING), st.integers(0, 100)), max_size=40
)


@given(FRAMES, st.integers(0, 2), st.integers(0, 500))
@settings(deadline=None)
def test_the_search_for_an_offset_begins_at_or_before_its_frame(
    frames: list[tuple[int, int, int, int]], partition: int, offset: int
) -> None:
    index, placed = index_of(frames)
    place, at = index.find(partition, offset)
    assert at is None or at <= offset
    assert all(place <= position for p, base, end, position, _ in placed if p == partition and base <= offset < end)
    assert (place, at) == (START, None) or (partition, at, place) in {(p, b, pos) for p, b, _, pos, _ in placed}


@given(FRAMES, st.integers(0, 2), st.integers(0, 101))
@settings(deadline=None)
def test_the_search_for_a_time_begins_at_or_before_the_first_frame_that_is_not_older(
    frames: list[tuple[int, int, int, int]], partition: int, time: int
) -> None:
    index, placed = index_of(frames)
    wanted = [position for p, _, _, position, at in placed if p == partition and at >= time]
    if wanted:
        assert index.find_time(partition, time) <= wanted[0]


@given(FRAMES)
@settings(deadline=None)
def test_an_index_comes_back_from_its_file_and_goes_on_growing(frames: list[tuple[int, int, int, int]]) -> None:
    index, _ = index_of(frames)
    again = decode_index(index.encode(7), 7)
    assert again is not None
    assert (again.start, again.end, again.next, again.newest_ms) == (
        index.start, index.end, index.next, index.newest_ms,
    )  # fmt: skip
    assert again.encode(7) == index.encode(7)
    for grown in (index, again):
        grown.add(grown.end, grown.end + 100, 1, grown.next[1], grown.next[1] + 1, 55)
    assert again.encode(7) == index.encode(7)


def test_any_flipped_bit_and_any_cut_is_noticed() -> None:
    data = index_of([(0, 5, SPACING, 1), (1, 5, 100, 2), (0, 1, 100, 3)])[0].encode(7)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert decode_index(bytes(flipped), 7) is None
    assert all(decode_index(data[:size], 7) is None for size in range(len(data)))


def test_the_index_of_another_segment_is_not_used() -> None:
    assert decode_index(index_of([])[0].encode(7), 8) is None


def test_entries_are_sparse() -> None:
    index, _ = index_of([(0, 1, 100, 1)] * 1000)
    assert len(index.encode(7)) < 1000


def test_partitions_that_appear_later_are_added() -> None:
    index = SegmentIndex(START, [0])
    index.add(START, START + 10, 2, 0, 4, 9)
    assert index.next == [0, 0, 4]
