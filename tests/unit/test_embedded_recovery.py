"""Opening a topic after any end: what was synced is there, what was torn is cut and said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.bus.contract import TopicSettings
from gateway.bus.embedded.header import encode_header
from gateway.bus.embedded.index import SegmentIndex
from gateway.bus.embedded.recovery import Opened, create_topic_files, open_topic
from gateway.bus.embedded.segment import segment_name, store_index
from gateway.bus.embedded.settings import FILE, new_topic, store_topic
from gateway.errors import CorruptData
from tests.unit.embedded_support import flip, frame, header, segment_file

TOPIC = new_topic("t", "e" * 16, TopicSettings(), TopicSettings())
FRAMES = [frame(0, 0), frame(0, 3), frame(0, 6)]


def opened(folder: Path) -> Opened:
    found = open_topic(folder)
    found.writer.close()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A topic with three frames in its only segment, as `kill -9` leaves it."""
    store_topic(tmp_path, TOPIC)
    segment_file(tmp_path, header(), [*FRAMES, bytes(5000)])
    return tmp_path


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / segment_name(1)


def test_a_new_topic_is_empty_and_durable(tmp_path: Path) -> None:
    create_topic_files(tmp_path / "t", TOPIC)
    found = opened(tmp_path / "t")
    assert (found.next, found.topic, len(found.segments)) == ([0], TOPIC, 1)


def test_everything_up_to_the_last_good_frame_is_there_and_spare_room_is_no_damage(folder: Path, path: Path) -> None:
    with capture_logs() as logs:
        found = opened(folder)
    assert found.next == [9]
    assert path.stat().st_size == header().data_start + sum(map(len, FRAMES))
    assert logs == []


def test_a_torn_last_batch_is_cut_at_every_byte_and_said(folder: Path, path: Path) -> None:
    start = header().data_start + len(FRAMES[0]) + len(FRAMES[1])
    whole = path.read_bytes()
    for cut in range(len(FRAMES[2])):
        path.write_bytes(whole[: start + cut])
        with capture_logs() as logs:
            assert opened(folder).next == [6]
        assert path.stat().st_size == start
        assert [entry["event"] for entry in logs] == (["torn write cut from the end"] if cut else [])
        path.write_bytes(whole[: start + cut].ljust(len(whole), b"\0"))
        assert opened(folder).next == [6]


def test_a_damaged_batch_before_good_ones_stays_and_is_said_with_its_place(folder: Path, path: Path) -> None:
    position = header().data_start + len(FRAMES[0])
    flip(path, position + 100)
    with capture_logs() as logs:
        assert opened(folder).next == [9]
    assert logs == [
        {
            "event": "damaged batch", "log_level": "error", "file": str(path), "position": position,
            "partition": 0, "offset": 3, "next_offset": 6,
        }
    ]  # fmt: skip


def test_damage_at_the_end_of_a_log_that_was_closed_in_order_is_not_taken_for_a_torn_write(
    folder: Path, path: Path
) -> None:
    found = opened(folder)
    active = found.segments[-1]
    store_index(path, active.header, active.loaded())
    flip(path, path.stat().st_size - 5)
    again = opened(folder)
    assert again.next == [9], "offsets do not go back"
    assert again.segments[-1].loaded().end == active.loaded().end


def test_a_closed_log_is_opened_without_reading_it_again(
    folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = opened(folder)
    store_index(path, found.segments[-1].header, found.segments[-1].loaded())
    read: list[int] = []
    real = os.pread

    def noting(fd: int, size: int, at: int) -> bytes:
        read.append(at)
        return real(fd, size, at)

    monkeypatch.setattr(os, "pread", noting)
    assert opened(folder).next == [9]
    assert max(read) < header().data_start


def test_a_segment_cut_short_after_it_was_complete_is_said(folder: Path, path: Path) -> None:
    found = opened(folder)
    store_index(path, found.segments[-1].header, found.segments[-1].loaded())
    os.truncate(path, path.stat().st_size - 10)
    with capture_logs() as logs:
        assert opened(folder).next == [9]
    assert logs[0]["event"] == "segment is cut short"


def test_a_damaged_header_is_mended_and_said(folder: Path, path: Path) -> None:
    whole = path.read_bytes()
    flip(path, 20)
    with capture_logs() as logs:
        assert opened(folder).next == [9]
    assert [(entry["log_level"], entry["position"]) for entry in logs] == [("error", 20)]
    assert path.read_bytes() == whole[: path.stat().st_size]


def test_damaged_settings_are_mended_and_said(folder: Path) -> None:
    whole = (folder / FILE).read_bytes()
    flip(folder / FILE, 20)
    with capture_logs() as logs:
        assert opened(folder).topic == TOPIC
    assert logs[0]["position"] == 20
    assert (folder / FILE).read_bytes() == whole


def test_a_topic_whose_only_header_is_lost_is_refused_by_file(folder: Path, path: Path) -> None:
    flip(path, 20)
    flip(path, 2048 + 20)
    with pytest.raises(CorruptData, match="both copies") as caught:
        opened(folder)
    assert caught.value.detail["file"] == str(path)


def test_a_topic_without_segments_is_refused(folder: Path, path: Path) -> None:
    path.unlink()
    with pytest.raises(CorruptData, match="no segment left"):
        opened(folder)


@pytest.mark.parametrize("left", [b"", bytes(100_000), encode_header(header(2, [9]))[:100], b"junk"])
def test_a_new_segment_that_was_never_finished_is_removed(folder: Path, left: bytes) -> None:
    (folder / segment_name(2)).write_bytes(left)
    with capture_logs() as logs:
        assert opened(folder).next == [9]
    assert [entry["event"] for entry in logs] == ["new segment was never finished, removed"]
    assert not (folder / segment_name(2)).exists()


def test_a_lost_header_of_a_segment_that_holds_something_is_not_taken_for_an_unfinished_one(folder: Path) -> None:
    segment = segment_file(folder, header(2, [9]), [frame(0, 9)])
    flip(segment.path, 20)
    flip(segment.path, 2048 + 20)
    with pytest.raises(CorruptData):
        opened(folder)


def test_an_empty_last_segment_keeps_the_offsets_of_all_that_was_removed(folder: Path, path: Path) -> None:
    segment_file(folder, header(2, [9]), [])
    path.unlink()
    found = opened(folder)
    assert (found.next, found.segments[0].header.base) == ([9], [9])


def test_closed_segments_end_where_the_next_begins(folder: Path) -> None:
    segment_file(folder, header(2, [6], previous_newest_ms=77), [frame(0, 6)])
    found = opened(folder)
    assert found.segments[0].until == [6]
    assert found.segments[0].newest_ms == 77
    assert found.next == [9]


def test_leftovers_of_what_did_not_come_to_its_end_are_removed(folder: Path) -> None:
    (folder / "00000000000000000001.log.new").write_bytes(b"compaction")
    (folder / "00000000000000000009.idx").write_bytes(b"orphan")
    opened(folder)
    assert sorted(entry.name for entry in folder.iterdir()) == [segment_name(1), FILE]


def test_more_partitions_in_the_log_than_in_the_settings_are_kept(folder: Path) -> None:
    segment_file(folder, header(2, [9]), [frame(1, 0)])
    found = opened(folder)
    assert (found.topic.partitions, found.next) == (2, [9, 3])


def test_partitions_that_were_added_and_never_used_begin_at_zero(folder: Path) -> None:
    store_topic(folder, new_topic("t", "e" * 16, TopicSettings(partitions=3), TopicSettings()))
    assert opened(folder).next == [9, 0, 0]


def test_the_index_of_another_segment_is_no_checkpoint(folder: Path, path: Path) -> None:
    store_index(path, header(salt=1), SegmentIndex(4096, [5]))
    assert opened(folder).next == [9]


def test_damage_that_cannot_be_mended_keeps_nobody_from_the_second_copy(
    folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(folder / FILE, 20)
    flip(path, 20)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr("gateway.bus.embedded.recovery.store_topic", full)
    with capture_logs() as logs:
        assert opened(folder).next == [9]
    assert [entry["event"] for entry in logs].count("damage could not be mended") == 2
