"""What goes on in the background: retention, compaction, indexes, coming back after a failure."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.bus.contract import Bounds, TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.bus.embedded.index import decode_index
from gateway.errors import OffsetOutOfRange
from tests.conftest import eventually
from tests.harness.events import event, events, ids, read_partition, read_topic
from tests.unit.embedded_support import log_files, opened


async def fill(bus: EmbeddedBus, topic: str, count: int, first: int = 0) -> None:
    for number in range(first, first + count, 50):
        await bus.append(topic, events(50, number, size=200))


async def table(bus: EmbeddedBus, topic: str) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for each in await read_topic(bus, topic):
        assert each.key is not None
        if each.data is None:
            found.pop(each.key, None)
        else:
            found[each.key] = each.data
    return found


async def test_old_segments_go_and_offsets_never_go_back(tmp_path: Path) -> None:
    bus = await opened(tmp_path, None)
    await bus.create_topic("t", TopicSettings(retention_ms=1))
    await fill(bus, "t", 1000)
    await asyncio.sleep(0.02)
    await bus.maintain()
    assert await bus.bounds("t") == [Bounds(1000, 1000)]
    assert len(log_files(tmp_path, "t")) == 1
    with pytest.raises(OffsetOutOfRange):
        await bus.read("t", 0, 999, 1)
    assert bus.health().detail["memory"] == 0
    for _ in range(2):
        await bus.close()
        bus = await opened(tmp_path, None)
        assert await bus.bounds("t") == [Bounds(1000, 1000)]
    assert list(await bus.append("t", [event(1)])) == [(0, 1000)]
    await bus.close()


async def test_segments_beyond_the_size_go_and_the_rest_is_readable(tmp_path: Path) -> None:
    bus = await opened(tmp_path, None)
    await bus.create_topic("t", TopicSettings(retention_bytes=300_000))
    await fill(bus, "t", 3000)
    await bus.maintain()
    (bounds,) = await bus.bounds("t")
    assert 0 < bounds.first < 2500
    assert ids(await read_topic(bus, "t")) == list(range(bounds.first, 3000))
    held = bus.health().detail["bytes"]
    assert isinstance(held, int)
    assert 300_000 <= held < 400_000
    await bus.close()


async def test_a_read_under_way_is_not_disturbed_by_retention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = await opened(tmp_path, None, memory=0)
    await bus.create_topic("t", TopicSettings(retention_ms=1))
    await fill(bus, "t", 500)
    reading = asyncio.ensure_future(bus.read("t", 0, 0, 10**6))
    await asyncio.sleep(0)
    await asyncio.sleep(0.02)
    await bus.maintain()
    assert ids([each for batch in await reading for each in batch.events])[0] == 0
    with pytest.raises(OffsetOutOfRange):
        await bus.read("t", 0, 0, 1)
    await bus.close()


async def test_retention_runs_by_itself(tmp_path: Path) -> None:
    bus = await opened(tmp_path, None, maintenance_interval=0.05)
    await bus.create_topic("t", TopicSettings(retention_ms=100))
    await fill(bus, "t", 100)

    async def gone() -> bool:
        return (await bus.bounds("t"))[0].first == 100

    await eventually(gone)
    await bus.close()


async def test_compaction_keeps_the_latest_of_each_key(tmp_path: Path) -> None:
    bus = await opened(tmp_path, None, memory=0, segment_bytes=16 * 1024)
    await bus.create_topic("c", TopicSettings(cleanup="compact", partitions=2))
    for number in range(2000):
        key = b"k%d" % (number % 10)
        await bus.append("c", [event(number, data=b"%d" % number, key=key)])
    before, bounds = await table(bus, "c"), await bus.bounds("c")
    size = bus.health().detail["bytes"]
    await bus.maintain()
    assert await table(bus, "c") == before
    assert await bus.bounds("c") == bounds
    assert len(await read_topic(bus, "c")) == 10
    assert bus.health().detail["bytes"] * 5 < size  # type: ignore[operator]
    await bus.close()
    bus = await opened(tmp_path, None)
    assert await table(bus, "c") == before
    await bus.append("c", [event(1, key=b"k1")])
    await bus.maintain()
    assert len(await read_topic(bus, "c")) == 10
    await bus.close()


async def test_tombstones_go_after_their_time(tmp_path: Path) -> None:
    bus = await opened(tmp_path, None, tombstones_ms=0)
    await bus.create_topic("c", TopicSettings(cleanup="compact"))
    await bus.append("c", [event(1, key=b"a"), event(2, key=b"b")])
    await bus.append("c", [event(3, data=None, key=b"a")])
    await asyncio.sleep(0.01)
    await bus.maintain()
    assert ids(await read_topic(bus, "c")) == [2]
    assert await bus.bounds("c") == [Bounds(0, 3)]
    await bus.close()


async def test_readers_and_appends_go_on_during_compaction(tmp_path: Path) -> None:
    bus = await opened(tmp_path, None, memory=0, segment_bytes=16 * 1024)
    await bus.create_topic("c", TopicSettings(cleanup="compact"))
    await fill(bus, "c", 2000)
    going = asyncio.ensure_future(bus.maintain())
    rounds = 0
    while not going.done():
        await bus.append("c", events(7, 2000))
        offset, seen = 0, 0
        (bounds,) = await bus.bounds("c")
        while offset < bounds.next:
            batches = await bus.read("c", 0, offset, 10_000)
            seen += sum(len(batch.events) for batch in batches)
            assert batches[-1].next_offset > offset
            offset = batches[-1].next_offset
        assert seen >= 7
        rounds += 1
    await going
    assert rounds
    assert len(await table(bus, "c")) == 7
    await bus.close()


async def test_compaction_waits_until_it_pays(tmp_path: Path) -> None:
    bus = await opened(tmp_path, None, segment_bytes=16 * 1024, maintenance_interval=0.02)
    await bus.create_topic("c", TopicSettings(cleanup="compact"))
    await fill(bus, "c", 1000)

    async def compacted() -> bool:
        return len(await read_topic(bus, "c")) < 500

    await eventually(compacted)
    await bus.close()


async def test_a_closed_segment_gets_its_index_file(tmp_path: Path) -> None:
    bus = await opened(tmp_path, maintenance_interval=0.05)
    await fill(bus, "t", 1000)
    first = bus.topic("t").segments[0]
    index = first.path.with_suffix(".idx")
    await eventually(index.exists)
    found = decode_index(index.read_bytes(), first.header.salt)
    assert found is not None
    assert found.next == list(first.until or ())
    await bus.close()


async def test_indexes_that_are_missing_are_made_anew(tmp_path: Path) -> None:
    bus = await opened(tmp_path)
    await fill(bus, "t", 1000)
    await bus.close()
    for path in (tmp_path / "topics" / "t").glob("*.idx"):
        path.unlink()
    bus = await opened(tmp_path)
    assert ids(await read_partition(bus, "t", 0)) == list(range(1000))
    stamp = (await bus.read("t", 0, 500, 1))[0].events[0].timestamp_ms
    assert await bus.offset_for_time("t", 0, stamp) <= 500
    assert len(list((tmp_path / "topics" / "t").glob("*.idx"))) == len(log_files(tmp_path, "t")) - 1
    await bus.close()


async def test_a_topic_that_fails_does_not_keep_the_others_from_retention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await opened(tmp_path, None)
    for name in ("a", "b"):
        await bus.create_topic(name, TopicSettings(retention_ms=1))
        await fill(bus, name, 500)
    await asyncio.sleep(0.02)
    real = os.unlink

    def refuse(path: Path, *arguments: object, **more: object) -> None:
        if "/a/" in str(path):
            raise PermissionError(13, "Permission denied")
        real(path, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "unlink", refuse)
    with capture_logs() as logs:
        await bus.maintain()
    assert [entry["topic"] for entry in logs if entry["event"].startswith("maintenance failed")] == ["a"]
    assert await bus.bounds("b") == [Bounds(500, 500)]
    monkeypatch.undo()
    await bus.close()


async def test_compaction_that_finds_no_room_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = await opened(tmp_path, None, memory=0)
    await bus.create_topic("c", TopicSettings(cleanup="compact"))
    await fill(bus, "c", 500)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gateway.bus.embedded.compaction._write", full)
    with capture_logs() as logs:
        await bus.maintain()
    assert any(entry["event"].startswith("maintenance failed") for entry in logs)
    assert len(await read_topic(bus, "c")) == 500
    monkeypatch.undo()
    await bus.maintain()
    assert len(await read_topic(bus, "c")) == 7
    await bus.close()


async def test_a_segment_that_is_gone_already_is_no_failure(tmp_path: Path) -> None:
    bus = await opened(tmp_path, None)
    await bus.create_topic("t", TopicSettings(retention_ms=1))
    await fill(bus, "t", 500)
    await asyncio.sleep(0.02)
    log_files(tmp_path, "t")[0].unlink()
    with capture_logs() as logs:
        await bus.maintain()
    assert "segment was gone already" in [entry["event"] for entry in logs]
    assert await bus.bounds("t") == [Bounds(500, 500)]
    await bus.close()
