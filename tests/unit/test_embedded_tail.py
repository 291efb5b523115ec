"""The tail: what is durable, the very batches, and nothing that is not followed."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.bus.contract import Batch, Bounds, BusHealth, TopicChange, TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.errors import (
    UnknownTopic,
)
from tests.harness.events import Sink, events
from tests.unit.embedded_support import opened

MIB = 1024 * 1024


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[EmbeddedBus]:
    made = await opened(tmp_path / "data")
    yield made
    await made.close()


async def reopened(bus: EmbeddedBus, **settings: Any) -> EmbeddedBus:
    await bus.close()
    return await opened(bus.path, None, **settings)


async def test_a_listener_with_a_defect_keeps_nobody_from_the_acknowledgement(bus: EmbeddedBus) -> None:
    class Defect(Sink):
        def on_batch(self, batch: Batch) -> None:
            raise ZeroDivisionError

        def on_topic(self, topic: str, change: TopicChange) -> None:
            raise ZeroDivisionError

        def on_health(self, health: BusHealth) -> None:
            raise ZeroDivisionError

    good = Sink()
    for sink in (Defect(), good):
        await bus.tail(sink).follow("t")
    with capture_logs() as logs:
        await bus.append("t", events(1))
        await bus.create_topic("u", TopicSettings())
    assert [entry["event"] for entry in logs] == ["a listener of the tail failed"] * 2
    assert len(good.batches) == 1


async def test_what_is_not_followed_is_not_told(bus: EmbeddedBus) -> None:
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow("t")
    tail.unfollow("t")
    await bus.append("t", events(1))
    assert sink.batches == []
    with pytest.raises(UnknownTopic):
        await tail.follow("nowhere")


async def test_the_tail_is_told_only_what_is_durable(bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, gate, real = Sink(), threading.Event(), os.fdatasync
    await bus.tail(sink).follow("t")
    monkeypatch.setattr(os, "fdatasync", lambda fd: gate.wait(10) and real(fd))
    call = asyncio.ensure_future(bus.append("t", events(3)))
    await asyncio.sleep(0.05)
    assert not call.done()
    assert sink.batches == []
    assert await bus.bounds("t") == [Bounds(0, 0)]
    gate.set()
    await call
    assert len(sink.batches) == 1


async def test_the_tail_gets_the_very_events_which_know_where_they_stand(bus: EmbeddedBus) -> None:
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow("t")
    mine = events(5)
    await bus.append("t", mine)
    (told,) = sink.batches
    assert all(a is b for a, b in zip(told.events, mine, strict=True))
    assert [(each.topic, each.partition, each.offset) for each in mine] == [("t", 0, offset) for offset in range(5)]
    (read,) = await bus.read("t", 0, 0, 1)
    assert (read.base_offset, read.next_offset, read.size, read.timestamp_ms) == (0, 5, told.size, told.timestamp_ms)
    await tail.close()
    await tail.close()
