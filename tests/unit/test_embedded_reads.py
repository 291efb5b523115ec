"""Reads of the disk: shared, bounded, with clear errors."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.embedded import EmbeddedBus
from gateway.errors import (
    BusUnavailable,
)
from tests.harness.events import events
from tests.unit.embedded_support import log_files, opened

MIB = 1024 * 1024


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[EmbeddedBus]:
    made = await opened(tmp_path / "data")
    yield made
    await made.close()


async def reopened(bus: EmbeddedBus, **settings: Any) -> EmbeddedBus:
    await bus.close()
    return await opened(bus.path, None, **settings)


async def test_readers_of_the_same_place_share_one_read_of_the_disk(tmp_path: Path) -> None:
    bus = await opened(tmp_path, memory=0)
    await bus.append("t", events(20))
    results = await asyncio.gather(*(bus.read("t", 0, 0, 1000) for _ in range(5)))
    assert all(result is results[0] for result in results)
    await bus.close()


async def test_a_reader_that_goes_away_leaves_the_others_their_read(tmp_path: Path) -> None:
    bus = await opened(tmp_path, memory=0)
    await bus.append("t", events(20))
    first, second = (asyncio.ensure_future(bus.read("t", 0, 0, 1000)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert len((await second)[0].events) == 20
    await bus.close()


async def test_a_disk_that_cannot_be_read_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = await opened(tmp_path, memory=0)
    await bus.append("t", events(20))

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(BusUnavailable, match="Input/output error"):
        await bus.read("t", 0, 0, 1000)
    with pytest.raises(BusUnavailable, match="Input/output error"):
        await bus.offset_for_time("t", 0, 0)
    monkeypatch.undo()
    assert len(await bus.read("t", 0, 0, 1000)) == 1
    await bus.close()


async def test_a_file_that_is_gone_is_a_clear_error(tmp_path: Path) -> None:
    bus = await opened(tmp_path, memory=0)
    await bus.append("t", events(20))
    log_files(tmp_path, "t")[0].rename(tmp_path / "elsewhere")
    with pytest.raises(BusUnavailable):
        await bus.read("t", 0, 0, 1000)
    (tmp_path / "elsewhere").rename(tmp_path / "topics" / "t" / "00000000000000000001.log")
    await bus.close()


async def test_times_are_found_over_segments(bus: EmbeddedBus) -> None:
    stamps = []
    for first in range(0, 1200, 100):
        await bus.append("t", events(100, first))
        (batch,) = await bus.read("t", 0, first, 1)
        stamps.append(batch.timestamp_ms)
        await asyncio.sleep(0.002)
    assert len(log_files(bus.path, "t")) > 1
    for number, stamp in enumerate(stamps):
        assert await bus.offset_for_time("t", 0, stamp) == number * 100
    assert await bus.offset_for_time("t", 0, stamps[-1] + 1) == 1200
    assert await bus.offset_for_time("t", 0, 0) == 0
    again = await reopened(bus)
    assert await again.offset_for_time("t", 0, stamps[3]) == 300
    await again.close()
