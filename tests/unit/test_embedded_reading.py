"""Reading a partition: what is good is served, what is damaged is named with the way around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.bus.embedded.frame import FRAME_HEADER
from gateway.bus.embedded.reading import Extent, find_time, read_batches
from gateway.bus.embedded.segment import OpenFiles, Segment
from gateway.errors import CorruptData
from tests.unit.embedded_support import flip, frame, header, segment_file

# Partition 0: offsets 0..11, partition 1: 0..9; the second segment begins at [6, 5].
FIRST = [frame(0, 0, time=100), frame(1, 0, 5, time=150), frame(0, 3, time=200)]
SECOND = [frame(1, 5, 5, time=300), frame(0, 6, time=300), frame(0, 9, time=400)]


class Files:
    def __init__(self, folder: Path, compacted: bool = False) -> None:
        self.segments = [
            segment_file(folder, header(1, [0, 0], compacted=compacted), FIRST),
            segment_file(folder, header(2, [6, 5]), SECOND),
        ]
        self.segments[0].until = [6, 5]
        self.files = OpenFiles()
        for segment in self.segments:
            self.files.acquire(segment)

    def extents(self) -> list[Extent]:
        size = self.segments[1].path.stat().st_size
        return [Extent(self.segments[0]), Extent(self.segments[1], size, (self.segments[1].header.data_start, None))]

    def read(self, partition: int, offset: int, max_bytes: int = 10**6, until: int | None = None) -> list[int]:
        """Offsets read."""
        until = (12 if partition == 0 else 10) if until is None else until
        found = read_batches(self.extents(), partition, offset, until, max_bytes)
        assert all(batch.base_offset >= offset for batch in found)
        return [event.offset for batch in found for event in batch.events]

    def flip(self, number: int, frames: list[bytes], which: int, at: int) -> int:
        """Damage one frame; returns its position."""
        segment = self.segments[number]
        position = segment.header.data_start + sum(map(len, frames[:which]))
        flip(segment.path, position + at)
        return position

    def close(self) -> None:
        for segment in self.segments:
            self.files.release(segment)
            self.files.retire(segment)


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Files]:
    files = Files(tmp_path)
    yield files
    files.close()


HEADER, BATCH = 9, FRAME_HEADER + 70


def test_all_of_a_partition_is_read_over_segments(there: Files) -> None:
    assert there.read(0, 0) == list(range(12))
    assert there.read(1, 0) == list(range(10))


@pytest.mark.parametrize("offset", range(12))
def test_a_read_begins_at_any_offset(there: Files, offset: int) -> None:
    assert there.read(0, offset) == list(range(offset, 12))


def test_a_read_ends_after_about_so_many_bytes(there: Files) -> None:
    assert there.read(0, 0, max_bytes=1) == [0, 1, 2]
    assert there.read(0, 4, max_bytes=len(FIRST[0]) + 1) == [4, 5, 6, 7, 8]


def test_a_read_ends_where_the_recent_batches_in_memory_begin(there: Files) -> None:
    assert there.read(0, 0, until=9) == list(range(9))
    assert there.read(0, 0, until=6) == list(range(6))


@pytest.mark.parametrize("at", [HEADER, BATCH])
def test_damage_is_raised_with_its_place_and_reading_goes_on_behind_it(there: Files, at: int) -> None:
    position = there.flip(0, FIRST, 0, at)
    with pytest.raises(CorruptData) as caught:
        there.read(0, 1)
    assert caught.value.detail == {
        "file": str(there.segments[0].path), "position": position, "topic": "t", "partition": 0,
        "offset": 1, "next_offset": 3,
    }  # fmt: skip
    assert there.read(0, 3) == list(range(3, 12))
    assert there.read(1, 0) == list(range(10))


@pytest.mark.parametrize("at", [HEADER, BATCH])
def test_what_precedes_damage_is_served_first(there: Files, at: int) -> None:
    there.flip(1, SECOND, 1, at)
    assert there.read(0, 0) == list(range(6))
    with pytest.raises(CorruptData) as caught:
        there.read(0, 6)
    assert (caught.value.detail["offset"], caught.value.detail["next_offset"]) == (6, 9)
    assert there.read(0, 9) == [9, 10, 11]


@pytest.mark.parametrize("at", [HEADER, BATCH])
def test_damage_of_another_partition_is_none_of_this_reads(there: Files, at: int) -> None:
    there.flip(0, FIRST, 1, at)
    assert there.read(0, 0) == list(range(12))
    with pytest.raises(CorruptData):
        there.read(1, 0)
    assert there.read(1, 5) == list(range(5, 10))


@pytest.mark.parametrize("at", [HEADER, BATCH])
@pytest.mark.parametrize(("number", "frames", "offset", "next_"), [(0, FIRST, 3, 6), (1, SECOND, 9, 12)])
def test_damage_at_the_end_of_a_segment_is_found_by_what_is_missing(
    there: Files, number: int, frames: list[bytes], offset: int, next_: int, at: int
) -> None:
    there.flip(number, frames, 2, at)
    with pytest.raises(CorruptData) as caught:
        there.read(0, offset)
    assert (caught.value.detail["offset"], caught.value.detail["next_offset"]) == (offset, next_)


def test_a_batch_whose_checksums_hold_and_that_cannot_be_decoded_is_damage(
    there: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise CorruptData("no such compression")

    monkeypatch.setattr("gateway.bus.embedded.reading.decode_records", fail)
    with pytest.raises(CorruptData) as caught:
        there.read(0, 0)
    assert caught.value.detail["next_offset"] == 3


def test_the_read_before_an_undecodable_batch_is_served(there: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.bus.records import decode_records

    def some(data: bytes, topic: str, partition: int, *, check: bool) -> object:
        batch = decode_records(data, topic, partition, check=check)
        if batch.base_offset == 3:
            raise CorruptData("no such compression")
        return batch

    monkeypatch.setattr("gateway.bus.embedded.reading.decode_records", some)
    assert there.read(0, 0) == [0, 1, 2]


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_flipped_bit_is_ever_served_and_all_the_rest_is(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    there = Files(tmp_path_factory.mktemp("flip"))
    number = data.draw(st.integers(0, 1))
    segment, frames = there.segments[number], [FIRST, SECOND][number]
    at = data.draw(st.integers(0, sum(map(len, frames)) - 1))
    flip(segment.path, segment.header.data_start + at, data.draw(st.integers(0, 7)))
    hit = next(n for n in range(3) if at < sum(map(len, frames[: n + 1])))
    lost = {(0, 0): (0, 0, 3), (0, 1): (1, 0, 5), (0, 2): (0, 3, 6), (1, 0): (1, 5, 10), (1, 1): (0, 6, 9),
            (1, 2): (0, 9, 12)}[number, hit]  # fmt: skip
    for partition, end in ((0, 12), (1, 10)):
        offset, found, reported = 0, [], []
        while offset < end:
            try:
                got = there.read(partition, offset, max_bytes=1)
                found += got
                offset = got[-1] + 1
            except CorruptData as error:
                reported.append((error.detail["offset"], error.detail["next_offset"]))
                offset = error.detail["next_offset"]
        expected = [] if partition != lost[0] else [lost[1:]]
        assert reported == expected
        assert found == [o for o in range(end) if not (expected and lost[1] <= o < lost[2])]
    there.close()


def segment_with_holes(folder: Path) -> Segment:
    """Compacted: of 0..29 only 3..5 and 20..22 are left."""
    segment = segment_file(folder, header(1, [0], compacted=True), [frame(0, 3), frame(0, 20)])
    segment.until = [30]
    return segment


def test_holes_of_compaction_are_passed_over(tmp_path: Path) -> None:
    segment, files = segment_with_holes(tmp_path), OpenFiles()
    files.acquire(segment)

    def read(offset: int) -> list[tuple[int, int, int]]:
        return [
            (b.base_offset, b.next_offset, len(b.events)) for b in read_batches([Extent(segment)], 0, offset, 30, 1)
        ]

    assert read(0) == [(3, 6, 3)]
    assert read(6) == [(20, 23, 3)]
    assert read(23) == [(23, 30, 0)], "an empty batch moves the reader to where there is more"
    files.release(segment)
    files.retire(segment)


def test_damage_in_a_compacted_segment_loses_all_that_may_have_stood_there(tmp_path: Path) -> None:
    segment, files = segment_with_holes(tmp_path), OpenFiles()
    files.acquire(segment)
    flip(segment.path, segment.header.data_start + 9)
    with pytest.raises(CorruptData) as caught:
        read_batches([Extent(segment)], 0, 0, 30, 1)
    assert (caught.value.detail["offset"], caught.value.detail["next_offset"]) == (0, 20)
    files.release(segment)
    files.retire(segment)


@pytest.mark.parametrize(
    ("time", "offset"), [(0, 0), (100, 0), (101, 3), (200, 3), (201, 6), (300, 6), (350, 9), (400, 9), (401, 12)]
)
def test_the_first_offset_of_a_time(there: Files, time: int, offset: int) -> None:
    assert find_time(there.extents(), 0, time, 12) == offset


def test_a_time_is_found_over_a_damaged_batch(there: Files) -> None:
    assert there.segments[0].loaded().end
    there.flip(0, FIRST, 0, BATCH)
    assert find_time(there.extents(), 0, 50, 12) == 0
