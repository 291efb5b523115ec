"""What waits is delivered in order, once, within its limits, and then let go of."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from auth.principal import ANONYMOUS
from gateway.bus.contract import Batch, TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.bus.memory import MemoryBus
from gateway.config.model import Limits
from gateway.delivery.handover import Gap, Lane
from gateway.delivery.outbox import Gone, Outbox
from gateway.delivery.outcome import ReadStats
from gateway.delivery.reader import Reader
from gateway.delivery.tail import TailHub
from gateway.delivery.writer import CursorWriter
from gateway.event import Event
from tests.unit.reading_support import event, names, request

pytestmark = pytest.mark.timeout(60)


def an_outbox(limit: int | None = None, room: int | None = None) -> Outbox:
    writer = CursorWriter()
    writer.add("t", "e", 0)
    return Outbox(TailHub(MemoryBus()), ReadStats(), writer, buffer_bytes=1000, limit=limit, room=room)


def batch(first: int, count: int, end: int = 0, size: int = 10) -> Batch:
    events = [Event({"id": str(n)}, bytes(size), topic="t", partition=0, offset=n) for n in range(first, first + count)]
    return Batch("t", 0, first, end or first + count, events, 10, 77)


def test_events_that_nobody_wants_are_passed_when_those_before_were_delivered() -> None:
    outbox = an_outbox()
    assert not outbox.put(batch(0, 2), [])
    assert outbox.writer.offset("t", 0) == 2
    wanted = batch(2, 1)
    assert outbox.put(wanted, wanted.events)
    outbox.put(batch(3, 4), [])
    assert outbox.writer.offset("t", 0) == 2
    delivery = outbox.take(0, 2**20)
    assert delivery is not None
    assert outbox.writer.offset("t", 0) == 7
    assert outbox.take(0, 2**20) is None


def test_a_limit_cuts_within_a_batch_and_leaves_the_lane_there() -> None:
    outbox = an_outbox(limit=3)
    wanted = batch(0, 5)
    outbox.put(wanted, wanted.events)
    delivery = outbox.take(0, 2**20)
    assert delivery is not None
    assert names(delivery.events) == ["0", "1", "2"]
    assert outbox.full
    assert outbox.writer.offset("t", 0) == 3


def test_room_cuts_between_events_and_takes_one_in_any_case() -> None:
    outbox = an_outbox(room=50)
    wanted = batch(0, 3, size=40)
    outbox.put(wanted, wanted.events)
    delivery = outbox.take(0, 2**20)
    assert delivery is not None
    assert (names(delivery.events), outbox.full, outbox.writer.offset("t", 0)) == (["0"], True, 1)
    assert list(delivery.cursors) == []


def test_gaps_that_go_on_are_one_and_the_cursor_passes_them_when_they_are_told() -> None:
    outbox = an_outbox()
    outbox.announce(Gap("t", 0, 0, 4, "corrupt"))
    outbox.announce(Gap("t", 0, 4, 9, "corrupt"))
    assert outbox.writer.offset("t", 0) == 0
    delivery = outbox.take(0, 2**20)
    assert delivery is not None
    assert delivery.gaps == [Gap("t", 0, 0, 9, "corrupt")]
    assert outbox.writer.offset("t", 0) == 9


def test_a_topic_goes_after_what_was_taken_up_of_it() -> None:
    outbox = an_outbox()
    wanted = batch(0, 1)
    outbox.put(wanted, wanted.events)
    outbox.change(Gone("t", [Lane("t", 0, 1, 5, (b"", 0))], "deleted"))
    first, second = outbox.take(0, 2**20), outbox.take(0, 2**20)
    assert first is not None
    assert second is not None
    assert (names(first.events), first.gaps) == (["0"], [])
    assert second.gaps == [Gap("t", 0, 1, 5, "deleted")]


@asynccontextmanager
async def a_reader(folder: Path) -> AsyncIterator[tuple[EmbeddedBus, TailHub, Reader]]:
    bus = EmbeddedBus(folder)
    await bus.start()
    hub = TailHub(bus)
    hub.start()
    reader = Reader(bus, hub, Limits())
    try:
        await bus.create_topic("t", TopicSettings(partitions=1))
        yield bus, hub, reader
    finally:
        await reader.close()
        await hub.close()
        await bus.close()


async def test_a_live_stream_of_the_embedded_log_brings_events_at_once(tmp_path: Path) -> None:
    async with a_reader(tmp_path) as (bus, _, reader):
        await bus.append("t", [event("before")])
        stream = await reader.open(request(["t/**"], "latest"), ANONYMOUS)
        waits = []
        for n in range(30):
            await bus.append("t", [event(str(n))])
            stored = time.perf_counter()
            delivery = await stream.next(5)
            waits.append(time.perf_counter() - stored)
            assert delivery is not None
            assert names(delivery.events) == [str(n)]
            assert delivery.events[0].offset == n + 1
        assert sorted(waits)[15] < 0.005
        assert stream.live


async def test_a_stream_lets_go_of_events_once_they_are_delivered(tmp_path: Path) -> None:
    async with a_reader(tmp_path) as (bus, hub, reader):
        await bus.create_topic("u", TopicSettings(partitions=1))
        stream = await reader.open(request(["t/**"], "latest"), ANONYMOUS)
        for _ in range(2):  # the very events of the tail first, then what was read from the log
            await bus.append("t", [event(str(n), size=2000) for n in range(8)])
            await bus.append("u", [event("the writer's hands are full of another append")])
            delivery = await stream.next(5)
            assert delivery is not None
            one = delivery.events[3]
            del delivery
            hub.log.forget("t")
            assert hub.queued == 0
            await asyncio.sleep(0.01)  # the task that has read it ends
            holders = sys.getrefcount(one) - 1  # the argument of the call itself
            assert holders == 1
            await stream.close()
            stream = await reader.open(request(["t/**"], "earliest"), ANONYMOUS)


async def test_readers_of_the_same_recent_events_share_what_was_decoded(tmp_path: Path) -> None:
    async with a_reader(tmp_path) as (bus, hub, reader):
        await bus.append("t", [event(str(n)) for n in range(8)])
        first, second = [await reader.open(request(["t/**"], "earliest"), ANONYMOUS) for _ in range(2)]
        one, other = await first.next(5), await second.next(5)
        assert one is not None
        assert other is not None
        assert all(a is b for a, b in zip(one.events, other.events, strict=True))
        assert hub.log.reads == 1
