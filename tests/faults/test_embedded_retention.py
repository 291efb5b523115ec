"""Retention and compaction under readers: a read under way ends undisturbed, the next is told where to go on."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from gateway.bus.contract import Bounds, TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.bus.embedded.segment import Segment
from gateway.errors import OffsetOutOfRange, UnknownTopic
from tests.harness.events import event, events, ids, read_topic


async def opened(folder: Path, memory: int = 1) -> EmbeddedBus:
    """Without memory, so that all is read from the files."""
    bus = EmbeddedBus(folder, maintenance_interval=3600, segment_bytes=64 * 1024, memory=memory)
    await bus.start()
    return bus


async def grown(bus: EmbeddedBus, topic: str, count: int, first: int = 0) -> None:
    for number in range(first, first + count, 50):
        await bus.append(topic, events(50, first=number, size=300))


class Gate:
    """Holds the first read of a file in its thread, after the file was opened for it; later ones pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        pread = Segment.pread

        def held(segment: Segment, position: int, size: int) -> bytes:
            if not self.entered.is_set():
                self.entered.set()
                assert self.go.wait(10)
            return pread(segment, position, size)

        monkeypatch.setattr(Segment, "pread", held)


async def test_a_read_under_way_ends_undisturbed_and_the_next_is_told_the_first_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await opened(tmp_path / "data")
    await bus.create_topic("t", TopicSettings(retention_ms=-1))
    await grown(bus, "t", 2000)
    gate = Gate(monkeypatch)
    reading = asyncio.create_task(bus.read("t", 0, 0, 10_000))
    await asyncio.to_thread(gate.entered.wait, 10)
    await bus.alter_topic("t", TopicSettings(retention_bytes=256 * 1024))
    await bus.maintain()
    [bounds] = await bus.bounds("t")
    assert bounds.first > 0, "retention removed nothing"
    gate.go.set()
    batches = await reading
    assert ids(batches[0].events) == list(range(50))
    with pytest.raises(OffsetOutOfRange) as passed:
        await bus.read("t", 0, batches[-1].next_offset, 10_000)
    assert (passed.value.first, passed.value.next) == (bounds.first, 2000)
    assert ids(await read_topic(bus, "t")) == list(range(bounds.first, 2000))
    await bus.close()


async def test_a_slow_reader_that_retention_passes_again_and_again_reads_on_from_the_first_offset(
    tmp_path: Path,
) -> None:
    bus = await opened(tmp_path / "data")
    await bus.create_topic("t", TopicSettings(retention_bytes=300 * 1024))
    offset, passed, found = 0, 0, []
    for written in range(500, 10_500, 500):
        await grown(bus, "t", 500, first=written - 500)
        await bus.maintain()
        first = (await bus.bounds("t"))[0].first
        if offset < first:
            with pytest.raises(OffsetOutOfRange) as error:
                await bus.read("t", 0, offset, 1000)
            assert error.value.first == first
            offset, passed = first, passed + 1
        [batch, *_] = await bus.read("t", 0, offset, 1000)
        assert batch.base_offset == offset
        found += ids(batch.events)
        offset = batch.next_offset
    found += ids(await read_topic(bus, "t"))[offset - (await bus.bounds("t"))[0].first :]
    assert passed > 2
    assert found == sorted(set(found))
    assert found[-1] == 9_999
    await bus.close()


async def test_the_first_offset_outlives_a_restart_when_all_was_removed(tmp_path: Path) -> None:
    bus = await opened(tmp_path / "data")
    await bus.create_topic("t", TopicSettings(partitions=2, retention_ms=50))
    await grown(bus, "t", 1000)
    before = await bus.bounds("t")

    async def all_gone() -> bool:
        await bus.maintain()
        return all(bounds.first == bounds.next for bounds in await bus.bounds("t"))

    for _ in range(200):
        if await all_gone():
            break
        await asyncio.sleep(0.02)
    assert await bus.bounds("t") == [Bounds(bounds.next, bounds.next) for bounds in before]
    await bus.close()
    bus = await opened(tmp_path / "data")
    assert await bus.bounds("t") == [Bounds(bounds.next, bounds.next) for bounds in before]
    [(partition, offset)] = await bus.append("t", [event(1)])
    assert offset == before[partition].next
    await bus.close()


async def test_compaction_under_a_read_leaves_it_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = await opened(tmp_path / "data")
    await bus.create_topic("t", TopicSettings(cleanup="compact"))
    await grown(bus, "t", 1000)
    gate = Gate(monkeypatch)
    reading = asyncio.create_task(bus.read("t", 0, 0, 10_000))
    await asyncio.to_thread(gate.entered.wait, 10)
    await bus.maintain()
    gate.go.set()
    assert ids((await reading)[0].events) == list(range(50))
    # What is read from now on is the last event of each of the seven keys.
    assert ids(await read_topic(bus, "t")) == list(range(993, 1000))
    assert await bus.bounds("t") == [Bounds(0, 1000)]
    await bus.close()


async def test_a_topic_deleted_under_a_read_leaves_it_its_files_and_is_gone_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await opened(tmp_path / "data")
    await bus.create_topic("t", TopicSettings())
    await grown(bus, "t", 500)
    gate = Gate(monkeypatch)
    reading = asyncio.create_task(bus.read("t", 0, 0, 10_000))
    await asyncio.to_thread(gate.entered.wait, 10)
    await bus.delete_topic("t")
    gate.go.set()
    assert ids((await reading)[0].events) == list(range(50))
    with pytest.raises(UnknownTopic):
        await bus.read("t", 0, 0, 10_000)
    assert list((tmp_path / "data" / "topics").iterdir()) == []
    await bus.close()
