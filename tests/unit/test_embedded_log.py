"""The embedded log as a bus: what the contract suite does not ask of every bus."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.bus.contract import Bounds, TopicChange, TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.errors import (
    BusUnavailable,
    CorruptData,
    DiskFull,
    InvalidSetting,
    OffsetOutOfRange,
    OutcomeUnknown,
    TopicExists,
    UnknownTopic,
)
from tests.conftest import eventually
from tests.harness.events import Sink, event, events, ids, read_partition, read_topic
from tests.unit.embedded_support import flip, log_files, opened

MIB = 1024 * 1024


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[EmbeddedBus]:
    made = await opened(tmp_path / "data")
    yield made
    await made.close()


async def reopened(bus: EmbeddedBus, **settings: Any) -> EmbeddedBus:
    await bus.close()
    return await opened(bus.path, None, **settings)


async def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    bus = await opened(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "topics" / "t" / "topic").exists()
    await bus.close()


async def test_a_second_log_on_the_folder_is_refused_with_the_process_and_the_path(bus: EmbeddedBus) -> None:
    second = EmbeddedBus(bus.path)
    with pytest.raises(BusUnavailable) as caught:
        await second.start()
    assert str(os.getpid()) in caught.value.message
    assert str(bus.path) in caught.value.message
    await second.close()


async def test_a_folder_that_cannot_be_read_is_a_clear_error_and_leaves_no_lock(tmp_path: Path) -> None:
    (tmp_path / "topics").write_text("a file")
    for _ in range(2):
        with pytest.raises(BusUnavailable, match="cannot open the data folder"):
            await EmbeddedBus(tmp_path).start()


async def test_defaults_that_cannot_hold_are_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting):
        await EmbeddedBus(tmp_path, defaults=TopicSettings(replication=3)).start()


async def test_everything_is_there_after_it_was_closed_and_opened(bus: EmbeddedBus) -> None:
    for first in range(0, 1000, 100):
        await bus.append("t", events(100, first))
    again = await reopened(bus)
    assert ids(await read_topic(again, "t")) == list(range(1000))
    assert len(log_files(bus.path, "t")) > 1
    await again.append("t", events(3, 1000))
    assert ids(await read_partition(again, "t", 0, 999)) == [999, 1000, 1001, 1002]
    await again.close()


async def test_a_closed_log_leaves_no_spare_room_and_refuses_everything(bus: EmbeddedBus) -> None:
    await bus.append("t", events(3))
    await bus.close()
    assert log_files(bus.path, "t")[-1].stat().st_size < 6000
    for call in (bus.append("t", events(1)), bus.bounds("t"), bus.create_topic("u", TopicSettings())):
        with pytest.raises(BusUnavailable, match="not open"):
            await call
    assert not bus.health().ready
    await bus.close()


async def test_appends_under_way_are_stored_before_it_closes(bus: EmbeddedBus) -> None:
    calls = [asyncio.ensure_future(bus.append("t", events(10, n * 10))) for n in range(20)]
    await asyncio.sleep(0)
    await bus.close()
    assert [len(await call) for call in calls] == [10] * 20


async def test_appending_nothing_stores_nothing(bus: EmbeddedBus) -> None:
    assert await bus.append("t", []) == []
    with pytest.raises(UnknownTopic):
        await bus.append("nowhere", [])


async def test_with_durability_os_nothing_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = await opened(tmp_path, durability="os", segment_bytes=MIB)
    monkeypatch.setattr(os, "fdatasync", lambda fd: pytest.fail("synced"))
    await bus.append("t", events(3))
    assert ids(await read_topic(bus, "t")) == [0, 1, 2]
    await bus.close()


async def test_the_window_of_recent_batches_is_bounded_and_the_rest_comes_from_disk(tmp_path: Path) -> None:
    bus = await opened(tmp_path, memory=20_000)
    for first in range(0, 1000, 20):
        await bus.append("t", events(20, first))
    assert 0 < int(bus.health().detail["memory"]) <= 20_000
    assert ids(await read_topic(bus, "t")) == list(range(1000))
    await bus.close()


async def test_without_a_window_everything_comes_from_disk(tmp_path: Path) -> None:
    bus = await opened(tmp_path, memory=0)
    for first in range(0, 300, 20):
        await bus.append("t", events(20, first))
        assert ids(await read_partition(bus, "t", 0, first)) == list(range(first, first + 20))
    await bus.close()


async def test_a_damaged_batch_is_refused_with_its_place_and_the_rest_is_served(bus: EmbeddedBus) -> None:
    for first in range(0, 30, 10):
        await bus.append("t", events(10, first))
    await bus.close()
    path = log_files(bus.path, "t")[0]
    size = (path.stat().st_size - 4096) // 3
    flip(path, 4096 + size + 100)
    again = await opened(bus.path, None)
    assert ids((await again.read("t", 0, 0, MIB))[0].events) == list(range(10))
    with pytest.raises(CorruptData) as caught:
        await again.read("t", 0, 10, MIB)
    assert caught.value.detail["file"] == str(path)
    assert caught.value.detail["next_offset"] == 20
    assert ids(await read_partition(again, "t", 0, 20)) == list(range(20, 30))
    await again.close()


async def test_a_topic_that_cannot_be_opened_is_refused_with_the_reason_and_can_be_deleted(bus: EmbeddedBus) -> None:
    await bus.create_topic("u", TopicSettings())
    await bus.close()
    (bus.path / "topics" / "t" / "topic").write_bytes(b"nonsense")
    with capture_logs() as logs:
        again = await opened(bus.path, None)
    assert [entry["event"] for entry in logs] == ["topic cannot be opened"]
    with pytest.raises(CorruptData):
        await again.append("t", events(1))
    await again.append("u", events(1))
    health = again.health()
    assert health.ready
    assert health.reasons == ()
    assert "topic 't'" in health.degraded[0]
    with pytest.raises(TopicExists):
        await again.create_topic("t", TopicSettings())
    await again.delete_topic("t")
    await again.create_topic("t", TopicSettings())
    await again.append("t", events(1))
    await again.close()


async def test_an_offset_or_partition_that_is_not_there(bus: EmbeddedBus) -> None:
    await bus.append("t", events(3))
    with pytest.raises(OffsetOutOfRange) as caught:
        await bus.read("t", 0, 4, 1)
    assert (caught.value.first, caught.value.next) == (0, 3)
    with pytest.raises(UnknownTopic):
        await bus.read("t", 1, 0, 1)


async def test_partitions_of_a_topic_share_segments_and_keep_their_own_offsets(bus: EmbeddedBus) -> None:
    await bus.create_topic("p", TopicSettings(partitions=5))
    positions = []
    for first in range(0, 500, 50):
        positions += list(await bus.append("p", events(50, first, subjects=20)))
    assert len(set(positions)) == 500
    stored = {int(str(each.attributes["id"])): (each.partition, each.offset) for each in await read_topic(bus, "p")}
    assert positions == [stored[number] for number in range(500)]
    again = await reopened(bus)
    assert sum(bounds.next for bounds in await again.bounds("p")) == 500
    assert sorted(ids(await read_topic(again, "p"))) == list(range(500))
    await again.close()


async def test_partitions_can_be_added_while_it_runs(bus: EmbeddedBus) -> None:
    sink = Sink()
    bus.tail(sink)
    await bus.append("t", events(30))
    await bus.alter_topic("t", TopicSettings(partitions=4))
    await bus.append("t", events(100, 30, subjects=20))
    assert sink.changes == [("t", TopicChange.PARTITIONS)]
    again = await reopened(bus)
    bounds = await again.bounds("t")
    assert len(bounds) == 4
    assert sorted(ids(await read_topic(again, "t"))) == list(range(130))
    await again.close()


async def test_a_deleted_topic_is_gone_from_the_disk_and_its_epoch_never_comes_back(bus: EmbeddedBus) -> None:
    before = await bus.describe_topic("t")
    await bus.append("t", events(100))
    await bus.delete_topic("t")
    assert list((bus.path / "topics").iterdir()) == []
    assert bus.health().detail["memory"] == 0
    after = await bus.create_topic("t", TopicSettings())
    assert after.epoch != before.epoch
    assert await bus.bounds("t") == [Bounds(0, 0)]


async def test_appends_that_are_queued_when_a_topic_is_deleted_are_answered(bus: EmbeddedBus) -> None:
    calls = [asyncio.ensure_future(bus.append("t", events(10))) for _ in range(10)]
    await asyncio.sleep(0)
    await bus.delete_topic("t")
    assert [len(await call) for call in calls] == [10] * 10
    assert bus.health().detail["memory"] == 0


async def test_a_topic_left_half_made_or_half_deleted_is_cleared_away(bus: EmbeddedBus) -> None:
    await bus.append("t", events(3))
    await bus.close()
    topics = bus.path / "topics"
    for name in ("~new-1", "~deleted-1"):
        (topics / name).mkdir()
        (topics / name / "topic").write_text("")
    again = await opened(bus.path, None)
    assert [path.name for path in topics.iterdir()] == ["t"]
    await again.close()


async def test_a_topic_that_cannot_be_made_leaves_nothing_behind(
    bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="create topic 'u'"):
        await bus.create_topic("u", TopicSettings())
    monkeypatch.undo()
    assert [path.name for path in (bus.path / "topics").iterdir()] == ["t"]
    await bus.create_topic("u", TopicSettings())


async def test_settings_that_cannot_be_stored_are_not_in_force(
    bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        await bus.alter_topic("t", TopicSettings(retention_ms=5))
    assert (await bus.describe_topic("t")).retention_ms != 5


async def test_a_failed_sync_refuses_what_was_queued_and_the_next_append_works(
    bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bus.append("t", events(3))
    sink, real, calls = Sink(), os.fdatasync, [0]
    bus.tail(sink)

    def fail_once(fd: int) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fdatasync", fail_once)
    outcomes = await asyncio.gather(*(bus.append("t", events(2, 90)) for _ in range(5)), return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, BusUnavailable)]
    assert failed
    assert not any(isinstance(outcome, OutcomeUnknown) for outcome in outcomes)
    stored = 3 + 2 * (5 - len(failed))
    assert list(await bus.append("t", events(2, 50))) == [(0, stored), (0, stored + 1)]
    assert [health.ready for health in sink.health] == [False, True]
    again = await reopened(bus)
    assert ids(await read_topic(again, "t"))[-2:] == [50, 51]
    assert await again.bounds("t") == [Bounds(0, stored + 2)]
    await again.close()


async def test_a_full_disk_is_said_by_health_and_over_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await opened(tmp_path, maintenance_interval=0.05)
    sink = Sink()
    bus.tail(sink)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskFull, match="no room"):
        await bus.append("t", events(3))
    health = bus.health()
    assert not health.ready
    assert "no room" in health.reasons[0]
    monkeypatch.undo()
    await eventually(lambda: bus.health().ready)
    assert [each.ready for each in sink.health] == [False, True]
    await bus.append("t", events(3))
    await bus.close()


async def test_a_cancelled_append_is_stored_all_the_same(bus: EmbeddedBus) -> None:
    call = asyncio.ensure_future(bus.append("t", events(3)))
    await asyncio.sleep(0)
    call.cancel()
    await bus.append("t", events(1, 3))
    assert ids(await read_topic(bus, "t")) == [0, 1, 2, 3]


async def test_a_cancelled_append_that_fails_is_no_defect(bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    call = asyncio.ensure_future(bus.append("t", events(3)))
    await asyncio.sleep(0)
    call.cancel()
    await eventually(lambda: not bus.health().ready)


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_topics_read_the_same_and_take_less_room(tmp_path: Path, compression: str) -> None:
    bus = await opened(tmp_path, None, memory=0)
    await bus.create_topic("c", TopicSettings(compression=compression))  # type: ignore[arg-type]
    await bus.append("c", events(500, size=200))
    assert [each.data for each in await read_topic(bus, "c")] == [each.data for each in events(500, size=200)]
    assert int(bus.health().detail["bytes"]) < 60_000
    await bus.close()


async def test_internal_topics_are_listed_only_when_asked(bus: EmbeddedBus) -> None:
    await bus.create_topic("_linkspan.topics", TopicSettings(cleanup="compact"))
    assert await bus.topics() == ["t"]
    assert await bus.topics(internal=True) == ["_linkspan.topics", "t"]
    health = await bus.topic_health("t")
    assert (health.offline, health.under_replicated) == ((), ())


async def test_health_holds_figures_for_people(bus: EmbeddedBus) -> None:
    await bus.append("t", [event(1)])
    detail = bus.health().detail
    assert detail["topics"] == 1
    assert detail["segments"] == 1
    assert detail["path"] == str(bus.path)
    assert detail["durability"] == "fsync"


async def test_a_writer_that_hangs_does_not_keep_the_process_from_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await opened(tmp_path)
    gate, real = threading.Event(), os.fdatasync
    monkeypatch.setattr("gateway.bus.embedded.log.CLOSE_SECONDS", 0.1)
    monkeypatch.setattr(os, "fdatasync", lambda fd: gate.wait(20) and real(fd))
    call = asyncio.ensure_future(bus.append("t", events(1)))
    await asyncio.sleep(0.05)
    with capture_logs() as logs:
        await bus.close()
    assert [entry["event"] for entry in logs] == ["the writer did not end in time"]
    with pytest.raises(OutcomeUnknown):
        await call
    gate.set()


async def test_a_topic_that_could_not_be_deleted_is_refused_and_can_be_deleted_again(
    bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(BusUnavailable, match="delete topic 't': Permission denied"):
        await bus.delete_topic("t")
    monkeypatch.undo()
    with pytest.raises(BusUnavailable, match="Permission denied"):
        await bus.append("t", events(1))
    await bus.delete_topic("t")
    assert list((bus.path / "topics").iterdir()) == []


async def test_a_failure_is_over_when_its_topic_is_deleted(bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(BusUnavailable):
        await bus.append("t", events(1))
    await bus.delete_topic("t")
    await bus.maintain()
    assert bus.health().ready


async def test_one_bad_folder_is_told_and_the_log_stays_ready(bus: EmbeddedBus) -> None:
    await bus.append("t", [event(1)])
    await bus.close()
    topics = bus.path / "topics"
    (topics / "stray").mkdir()
    shutil.copytree(topics / "t", topics / "copy")
    (topics / "odd" / "topic").mkdir(parents=True)
    with capture_logs() as logs:
        bus = await opened(bus.path, None)
    assert [entry["topic"] for entry in logs if entry["event"] == "topic cannot be opened"] == ["copy", "odd", "stray"]
    health = bus.health()
    assert (health.ready, health.reasons) == (True, ())
    assert [text.partition(":")[0] for text in health.degraded] == ["topic 'copy'", "topic 'odd'", "topic 'stray'"]
    assert "holds topic 't'" in health.degraded[0]
    assert await bus.topics() == ["t"]
    assert ids(await read_topic(bus, "t")) == [1]
    for name in ("copy", "stray"):
        with pytest.raises(CorruptData):
            await bus.describe_topic(name)
        await bus.delete_topic(name)
    shutil.rmtree(topics / "odd")
    await bus.delete_topic("odd")
    assert bus.health().degraded == ()
    await bus.close()


async def test_without_files_to_open_the_log_does_not_start_with_half_of_its_topics(
    bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bus.close()

    def too_many(folder: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("gateway.bus.embedded.log.open_topic", too_many)
    with pytest.raises(BusUnavailable, match="Too many open files"):
        await EmbeddedBus(bus.path).start()
