"""A full disk: appends are refused with the reason, nothing else suffers, and they work again when there is room."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.bus.contract import TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.bus.embedded.verify import Finding, verify
from gateway.errors import BusUnavailable, DiskFull
from tests.conftest import eventually
from tests.harness.events import event, events, ids, read_topic

MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB of its own."""
    if os.getuid() != 0:
        pytest.skip("only root mounts: the tests with a file size limit stand in")
    path = tmp_path / "disk"
    path.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=6m", "linkspan-test", str(path)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("no mounts are allowed here: the tests with a file size limit stand in")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


async def opened(folder: Path, interval: float = 0.05) -> EmbeddedBus:
    bus = EmbeddedBus(folder, maintenance_interval=interval, segment_bytes=512 * 1024, memory=64 * 1024)
    await bus.start()
    return bus


async def fill(bus: EmbeddedBus, topic: str, first: int = 0) -> int:
    """Append until it is refused for want of room; returns the first id that is not stored."""
    number = first
    while number < first + 100_000:
        try:
            await bus.append(topic, events(50, first=number, size=400))
        except DiskFull:
            return number
        number += 50
    pytest.fail("the disk never became full")


def damage(folder: Path) -> list[Finding]:
    return [found for found in verify(folder) if isinstance(found, Finding)]


async def test_appends_are_refused_with_the_reason_and_work_again_when_there_is_room(disk: Path) -> None:
    (disk / "of-somebody-else").write_bytes(bytes(3 * MIB))
    bus = await opened(disk / "data")
    await bus.create_topic("t", TopicSettings(retention_ms=-1))
    stored = await fill(bus, "t")
    with pytest.raises(DiskFull, match="no room on the disk") as refused:
        await bus.append("t", events(5000, first=stored, size=400))
    assert refused.value.retriable
    health = bus.health()
    assert not health.ready
    assert "no room" in health.reasons[0]
    assert ids(await read_topic(bus, "t")) == list(range(stored)), "what is stored cannot be read"
    assert (await bus.bounds("t"))[0].next == stored, "a refused append left its offsets"

    (disk / "of-somebody-else").unlink()
    await eventually(lambda: bus.health().ready, what="ready again")
    positions = await bus.append("t", events(50, first=stored, size=400))
    assert positions[0] == (0, stored)
    await bus.close()
    assert damage(disk / "data") == []
    bus = await opened(disk / "data")
    assert ids(await read_topic(bus, "t")) == list(range(stored + 50))
    await bus.close()


async def test_retention_makes_room_on_a_full_disk(disk: Path) -> None:
    bus = await opened(disk / "data")
    await bus.create_topic("old", TopicSettings(retention_ms=1500))
    await bus.create_topic("t", TopicSettings(retention_ms=-1))
    number = 0
    while (await bus.bounds("old"))[0].first == 0 and number < 4000:
        await bus.append("old", events(50, first=number, size=400))
        number += 50
    stored = await fill(bus, "t")

    async def made_room() -> bool:
        return (await bus.bounds("old"))[0].first > 0 and bus.health().ready

    await eventually(made_room, what="ready again through retention")
    assert (await bus.append("t", events(50, first=stored, size=400)))[0] == (0, stored)
    assert ids(await read_topic(bus, "t")) == list(range(stored + 50))
    await bus.close()


async def test_a_topic_can_be_deleted_on_a_full_disk_and_that_makes_room(disk: Path) -> None:
    bus = await opened(disk / "data")
    await bus.create_topic("big", TopicSettings(retention_ms=-1))
    await bus.create_topic("t", TopicSettings(retention_ms=-1))
    for number in range(0, 4000, 50):
        await bus.append("big", events(50, first=number, size=400))
    stored = await fill(bus, "t")
    await bus.delete_topic("big")
    await eventually(lambda: bus.health().ready, what="ready again")
    assert (await bus.append("t", [event(stored)])) == [(0, stored)]
    await bus.close()


async def test_a_log_on_a_full_disk_is_closed_and_opened_and_served(disk: Path) -> None:
    bus = await opened(disk / "data")
    await bus.create_topic("t", TopicSettings(retention_ms=-1))
    (disk / "reserve").write_bytes(bytes(1024 * 1024))
    stored = await fill(bus, "t")
    room = os.statvfs(disk)
    (disk / "of-somebody-else").write_bytes(bytes(room.f_bavail * room.f_bsize))
    await bus.close()
    bus = await opened(disk / "data")
    assert ids(await read_topic(bus, "t")) == list(range(stored))
    with pytest.raises(BusUnavailable):
        await bus.create_topic("another", TopicSettings())
    assert await bus.topics() == ["t"]
    await bus.close()
    (disk / "reserve").unlink()
    bus = await opened(disk / "data")
    await bus.create_topic("another", TopicSettings())
    assert (await bus.append("t", [event(stored)])) == [(0, stored)]
    await bus.close()


@pytest.fixture
def size_limit() -> Iterator[int]:
    """No file of this process grows beyond the limit, until the test raises it."""
    limit = 300 * 1024
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_file_size_limit_refuses_like_a_full_disk(tmp_path: Path, size_limit: int) -> None:
    bus = await opened(tmp_path / "data", interval=3600)
    await bus.create_topic("t", TopicSettings(retention_ms=-1))
    stored = await fill(bus, "t")
    assert 0 < stored * 400 < size_limit
    assert not bus.health().ready
    assert ids(await read_topic(bus, "t")) == list(range(stored))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await bus.maintain()
    assert bus.health().ready
    assert (await bus.append("t", events(50, first=stored)))[0] == (0, stored)
    await bus.close()
    bus = await opened(tmp_path / "data", interval=3600)
    assert ids(await read_topic(bus, "t")) == list(range(stored + 50))
    await bus.close()


async def test_of_many_appends_under_way_each_is_stored_or_refused_as_a_whole(disk: Path) -> None:
    bus = await opened(disk / "data")
    await bus.create_topic("t", TopicSettings(partitions=3, retention_ms=-1))
    calls = [events(50, first=number, size=400) for number in range(0, 40_000, 50)]
    outcomes = await asyncio.gather(*(bus.append("t", call) for call in calls), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert refused
    assert all(isinstance(outcome, DiskFull) for outcome in refused), refused[0]
    stored = {
        position: first * 50 + at
        for first, outcome in enumerate(outcomes)
        if not isinstance(outcome, BaseException)
        for at, position in enumerate(outcome)
    }
    await bus.close()
    bus = await opened(disk / "data", interval=3600)
    found = await read_topic(bus, "t")
    assert {(each.partition, each.offset): int(str(each.attributes["id"])) for each in found} == stored
    await bus.close()
