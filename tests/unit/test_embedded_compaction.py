"""Compaction keeps the latest of each key, at its offset, whatever happens half way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.bus.embedded.compaction import compact, is_due
from gateway.bus.embedded.reading import Extent, read_batches
from gateway.bus.embedded.segment import OpenFiles, Segment, segment_name
from tests.harness.events import event
from tests.unit.embedded_support import flip, frame_of, header, segment_file

Record = tuple[bytes | None, bytes | None]
"""(key, data)."""


class Closed:
    """Closed segments of one partition from lists of records, ten milliseconds apart."""

    def __init__(self, folder: Path, *contents: list[Record]) -> None:
        self.folder, self.files, self.segments = folder, OpenFiles(), list[Segment]()
        offset = 0
        for sequence, records in enumerate(contents, 1):
            frames, base = [], offset
            for key, data in records:
                frames.append(frame_of([event(offset, data, key)], 0, offset, 10 * offset, sequence))
                offset += 1
            self.segments.append(segment_file(folder, header(sequence, [base], salt=sequence), frames))
            self.segments[-1].until = [offset]
        self.next = offset
        for segment in self.segments:
            self.files.acquire(segment)

    def compact(self, tombstones: int = 0, segment_bytes: int = 10**6, steps: int | None = None) -> None:
        """Compact and take over the new segments; only the first so many `steps`."""
        for step, change in enumerate(compact(self.segments, "none", tombstones, segment_bytes), 1):
            new = Segment(change.path, change.header, change.index)
            new.until, new.bytes = change.old[-1].until, change.index.end
            self.segments = [new if s is change.old[0] else s for s in self.segments if s not in change.old[1:]]
            for old in change.old:
                self.files.release(old)
                self.files.retire(old)
            self.files.acquire(new)
            if step == steps:
                return

    def records(self) -> dict[int, Record]:
        """What readers see."""
        found: dict[int, Record] = {}
        offset = 0
        while offset < self.next:
            for batch in read_batches([Extent(segment) for segment in self.segments], 0, offset, self.next, 1):
                found.update({e.offset: (e.key, e.data) for e in batch.events})
                assert batch.next_offset > offset
                offset = batch.next_offset
        return found

    def close(self) -> None:
        for segment in self.segments:
            self.files.release(segment)
            self.files.retire(segment)


@pytest.fixture
def closing() -> Iterator[list[Closed]]:
    made: list[Closed] = []
    yield made
    for each in made:
        each.close()


def test_the_latest_of_each_key_stays_at_its_offset(tmp_path: Path, closing: list[Closed]) -> None:
    closed = Closed(tmp_path, [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")], [(b"b", b"4"), (b"c", b"5")])
    closing.append(closed)
    closed.compact()
    assert closed.records() == {2: (b"a", b"3"), 3: (b"b", b"4"), 4: (b"c", b"5")}
    assert [segment.header.compacted for segment in closed.segments] == [True]
    assert [path.name for path in sorted(tmp_path.glob("*.log*"))] == [segment_name(1)]


def test_events_without_a_key_stay(tmp_path: Path, closing: list[Closed]) -> None:
    closed = Closed(tmp_path, [(None, b"1"), (None, b"1"), (b"k", b"1"), (b"k", b"2")])
    closing.append(closed)
    closed.compact()
    assert sorted(closed.records()) == [0, 1, 3]


def test_a_tombstone_stays_for_a_while_and_then_goes(tmp_path: Path, closing: list[Closed]) -> None:
    closed = Closed(tmp_path, [(b"a", b"1"), (b"a", None)], [(b"b", b"2")])
    closing.append(closed)
    closed.compact(tombstones=10)
    assert closed.records() == {1: (b"a", None), 2: (b"b", b"2")}
    closed.compact(tombstones=11)
    assert closed.records() == {2: (b"b", b"2")}


def test_segments_are_merged_up_to_their_size(tmp_path: Path, closing: list[Closed]) -> None:
    contents: list[list[Record]] = [[(b"%d" % n, b"x" * 1000)] for n in range(6)]
    closed = Closed(tmp_path, *contents)
    closing.append(closed)
    head, size = closed.segments[0].header.data_start, closed.segments[0].data_bytes
    closed.compact(segment_bytes=2 * (head + 2 * size))
    assert [segment.header.sequence for segment in closed.segments] == [1, 3, 5]
    assert sorted(closed.records()) == list(range(6))


def test_a_damaged_segment_is_left_as_it_is_and_said(tmp_path: Path, closing: list[Closed]) -> None:
    closed = Closed(tmp_path, [(b"a", b"1"), (b"a", b"2")], [(b"b", b"3"), (b"b", b"4")], [(b"a", b"5"), (b"c", b"6")])
    closing.append(closed)
    damaged = closed.segments[1]
    flip(damaged.path, damaged.header.data_start + 100)
    before = damaged.path.read_bytes()
    with capture_logs() as logs:
        closed.compact()
    assert [entry["event"] for entry in logs if "not compacted" in entry["event"]] == [
        "damaged segment is not compacted"
    ]
    assert [segment.header.compacted for segment in closed.segments] == [True, False, True]
    assert damaged.path.read_bytes() == before


def test_after_a_crash_between_two_replacements_no_older_value_is_back(tmp_path: Path, closing: list[Closed]) -> None:
    closed = Closed(tmp_path, [(b"a", b"1"), (b"b", b"1")], [(b"a", None), (b"c", b"2")])
    closing.append(closed)
    closed.compact(tombstones=10**6, segment_bytes=1, steps=1)
    assert closed.records() == {1: (b"b", b"1"), 2: (b"a", None), 3: (b"c", b"2")}


def test_a_merged_segment_beside_those_it_replaces_serves_nothing_twice(
    tmp_path: Path, closing: list[Closed], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = Closed(tmp_path, [(b"a", b"1"), (b"b", b"1")], [(b"a", b"2")], [(b"c", b"1")])
    closing.append(closed)

    def crash(_: Path) -> None:
        raise OSError("crash")

    monkeypatch.setattr("gateway.bus.embedded.compaction.remove_segment", crash)
    with pytest.raises(OSError, match="crash"):
        closed.compact()
    from gateway.bus.embedded.header import decode_header
    from tests.unit.embedded_support import reading

    found, _ = decode_header(reading(closed.segments[0].path.read_bytes()))
    assert found is not None
    merged = Segment(closed.segments[0].path, found)
    merged.until = closed.segments[0].until
    closed.files.acquire(merged)
    old, closed.segments[0] = closed.segments[0], merged
    closed.files.release(old)
    closed.files.retire(old)
    assert sorted(closed.records()) == [1, 2, 3]


def test_a_rewrite_that_fails_leaves_everything_as_it_was(
    tmp_path: Path, closing: list[Closed], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = Closed(tmp_path, [(b"a", b"1"), (b"a", b"2")])
    closing.append(closed)
    before = closed.segments[0].path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        closed.compact()
    assert closed.segments[0].path.read_bytes() == before
    assert not list(tmp_path.glob("*.new"))


def test_it_stops_between_two_segments_when_asked(tmp_path: Path, closing: list[Closed]) -> None:
    closed = Closed(tmp_path, [(b"a", b"1")], [(b"a", b"2")], [(b"a", b"3")])
    closing.append(closed)
    assert list(compact(closed.segments, "none", 0, 1, stopped=lambda: True)) == []


@given(st.lists(st.lists(st.tuples(st.sampled_from([None, b"a", b"b", b"c"]), st.sampled_from([None, b"1", b"2"])),
                         max_size=6), min_size=1, max_size=4), st.integers(0, 200), st.booleans())  # fmt: skip
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_read_from_the_log_is_the_same_before_and_after(
    tmp_path_factory: pytest.TempPathFactory, contents: list[list[Record]], tombstones: int, merged: bool
) -> None:
    closed = Closed(tmp_path_factory.mktemp("c"), *contents)

    def table(records: dict[int, Record]) -> dict[bytes, bytes]:
        latest = {key: data for _, (key, data) in sorted(records.items()) if key is not None}
        return {key: data for key, data in latest.items() if data is not None}

    before = closed.records()
    closed.compact(tombstones, 10**6 if merged else 1)
    after = closed.records()
    assert table(after) == table(before)
    assert after.items() <= before.items()
    assert len([key for key, _ in after.values() if key is not None]) <= 3
    closed.close()


def test_it_is_due_when_as_much_was_written_as_the_last_time_left() -> None:
    clean, dirty = Segment(Path("1.log"), header(compacted=True)), Segment(Path("2.log"), header())
    clean.bytes, dirty.bytes = 4196, 4195
    assert not is_due([clean, dirty])
    dirty.bytes = 4196
    assert is_due([clean, dirty])
    assert not is_due([clean])
    assert not is_due([])
