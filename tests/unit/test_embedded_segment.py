"""Segments: indexes made anew, files held open for readers, a bounded number of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.bus.embedded.segment import INDEX_SUFFIX, OpenFiles, Segment, build_index, store_index
from tests.unit.embedded_support import flip, frame, header, reading, segment_file


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    made = segment_file(tmp_path, header(base=[0, 0]), [frame(0, 0), frame(1, 0, 5), frame(0, 3)])
    made.until = [6, 5]
    return made


def test_a_missing_index_is_made_from_the_segment_and_stored(segment: Segment) -> None:
    files = OpenFiles()
    files.acquire(segment)
    index = segment.loaded()
    assert (index.next, index.end, index.newest_ms) == ([6, 5], segment.path.stat().st_size, 1000)
    files.release(segment)
    stored = Segment(segment.path, segment.header).loaded()
    assert stored.encode(1) == index.encode(1)
    files.retire(segment)


def test_a_damaged_index_is_made_anew_and_said_so(segment: Segment) -> None:
    files = OpenFiles()
    files.acquire(segment)
    whole = segment.loaded().encode(1)
    segment.index = None
    flip(segment.path.with_suffix(INDEX_SUFFIX), 20)
    with capture_logs() as logs:
        assert segment.loaded().encode(1) == whole
    assert [entry["event"] for entry in logs] == ["index does not hold, making it anew"]
    files.release(segment)
    files.retire(segment)


def test_an_index_that_cannot_be_written_is_logged_and_does_without(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gateway.bus.embedded.segment.write_file", fail)
    files = OpenFiles()
    files.acquire(segment)
    with capture_logs() as logs:
        assert segment.loaded().next == [6, 5]
    assert logs[0]["event"] == "index not written"
    files.release(segment)
    files.retire(segment)


def test_damage_in_a_closed_segment_is_logged_with_its_place(segment: Segment) -> None:
    start = segment.header.data_start
    flip(segment.path, start + 100)
    files = OpenFiles()
    files.acquire(segment)
    with capture_logs() as logs:
        assert segment.loaded().next == [6, 5]
    assert [(entry["event"], entry["position"]) for entry in logs] == [("damaged batch", start)]
    files.release(segment)
    files.retire(segment)


def test_frames_that_belong_to_the_next_segment_are_not_part_of_this_one() -> None:
    data = frame(0, 0) + frame(0, 3) + frame(0, 6)
    head = header(base=[0], slot=0)
    index, damage, rest = build_index(reading(data), head, len(data), until=[3])
    assert (index.next, damage, rest) == ([3], [], [])
    index, _, _ = build_index(reading(data), head, len(data), until=[])
    assert index.next == [0]


def test_an_unreadable_end_is_told_from_damage_in_the_middle() -> None:
    frames = [frame(0, 0), frame(0, 3), frame(0, 6)]
    data = bytearray(b"".join(frames))
    data[len(frames[0]) + 80] ^= 1
    head = header(base=[0], slot=0)
    index, damage, rest = build_index(reading(bytes(data[:-1])), head, len(data) - 1)
    assert index.next == [3]
    assert damage == []
    assert [piece.position for piece in rest] == [len(frames[0]), len(frames[0]) + len(frames[1])]
    index, damage, rest = build_index(reading(bytes(data)), head, len(data))
    assert (index.next, len(damage), rest) == ([9], 1, [])


def test_a_partition_added_later_ends_at_zero_in_older_segments(segment: Segment) -> None:
    assert [segment.until_of(number) for number in range(3)] == [6, 5, 0]
    segment.until = None
    assert segment.until_of(0) is None


def test_a_file_stays_open_while_it_is_read_though_it_was_retired(segment: Segment) -> None:
    files = OpenFiles()
    files.acquire(segment)
    files.acquire(segment)
    files.retire(segment)
    segment.path.unlink()
    assert segment.pread(0, 8) == b"LSPSEGM1"
    fd = segment.fd
    files.release(segment)
    assert is_open(fd)
    files.release(segment)
    assert segment.fd == -1
    assert not is_open(fd)


def test_only_so_many_idle_files_stay_open_and_their_indexes_go_with_them(tmp_path: Path) -> None:
    files = OpenFiles(kept=2)
    made = []
    for sequence in range(4):
        segment = segment_file(tmp_path, header(sequence), [frame(0, 0)])
        segment.until = [3]
        files.acquire(segment)
        segment.loaded()
        made.append(segment)
    for segment in made:
        files.release(segment)
    assert [segment.fd >= 0 for segment in made] == [False, False, True, True]
    assert [segment.index is not None for segment in made] == [False, False, True, True]
    for segment in made:
        files.retire(segment)


def test_an_index_from_an_earlier_end_of_the_log_is_completed(segment: Segment) -> None:
    files = OpenFiles()
    files.acquire(segment)
    whole = segment.loaded().encode(1)
    first = len(frame(0, 0))
    data = segment.path.read_bytes()[: segment.header.data_start + first]
    early, _, _ = build_index(reading(data), segment.header, len(data))
    store_index(segment.path, segment.header, early)
    segment.index = None
    assert segment.loaded().encode(1) == whole
    files.release(segment)
    files.retire(segment)
