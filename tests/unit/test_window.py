"""The window and the chunks: bounded, true to the log, and shared."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.contract import Batch, TopicSettings
from gateway.bus.memory import MemoryBus
from gateway.delivery.window import CHUNK, Chunks, SharedLog, Window, weight
from gateway.errors import BusUnavailable, OffsetOutOfRange
from gateway.event import Event
from tests.conftest import eventually
from tests.unit.reading_support import event

pytestmark = pytest.mark.timeout(60)


def a_batch(base: int, count: int, topic: str = "t", partition: int = 0) -> Batch:
    events = [Event({}, offset=base + n) for n in range(count)]
    return Batch(topic, partition, base, base + count, events, count * 100)


def offsets(batches: list[Batch]) -> list[int]:
    return [each.offset for batch in batches for each in batch.events]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.booleans()), max_size=60), st.integers(700, 20_000))
def test_the_window_answers_with_what_follows_the_offset_or_not_at_all(
    pushes: list[tuple[int, int, bool]], room: int
) -> None:
    window, ends = Window(room), [0, 0, 0]
    for partition, count, gap in pushes:
        base = ends[partition] + (3 if gap else 0)
        window.put(a_batch(base, count, partition=partition))
        ends[partition] = base + count
        assert window.bytes <= max(room, weight(a_batch(0, count)))
        for offset in range(ends[partition] + 1):
            found = offsets(window.find("t", partition, offset, 10**9))
            assert found == list(range(offset, ends[partition])) or found == []
    for partition, end in enumerate(ends):
        if end and window.find("t", partition, end - 1, 1):
            assert offsets(window.find("t", partition, end - 1, 1)) == [end - 1]


def test_the_window_keeps_the_newest_of_all_topics() -> None:
    window = Window(weight(a_batch(0, 2)) * 3)
    for n in range(500):
        window.put(a_batch(2 * n, 2, topic="a" if n % 2 else "b", partition=n // 2 % 1))
        if n % 2:
            window.put(a_batch(2 * n + 2, 2, topic="a"))
    assert offsets(window.find("a", 0, 998, 10**9))
    assert window.find("a", 0, 0, 10**9) == []
    window.forget("a")
    assert window.find("a", 0, 998, 10**9) == []
    assert window.find("a", 1, 998, 10**9) == []
    window.forget("b")
    assert (window.bytes, len(window._order)) == (0, 0)


def test_a_long_run_forgets_its_beginning_for_good() -> None:
    window = Window(weight(a_batch(0, 1)) * 10)
    for n in range(1000):
        window.put(a_batch(n, 1))
    assert offsets(window.find("t", 0, 990, 10**9)) == list(range(990, 1000))
    assert window.find("t", 0, 989, 10**9) == []
    assert len(window._runs["t", 0].batches) < 150


def test_answers_are_about_as_large_as_asked_for() -> None:
    window = Window(10**9)
    for n in range(10):
        window.put(a_batch(10 * n, 10))
    assert offsets(window.find("t", 0, 5, 1500)) == list(range(5, 20))


def test_chunks_are_found_from_inside_and_adjoining_ones_are_joined() -> None:
    chunks = Chunks(10**9)
    chunks.put("t", 0, 0, [a_batch(0, 3), a_batch(5, 2)])
    chunks.put("t", 0, 7, [a_batch(7, 2)])
    chunks.put("t", 0, 20, [a_batch(20, 2)])
    assert offsets(chunks.find("t", 0, 1, 10**9)) == [1, 2, 5, 6, 7, 8]
    assert offsets(chunks.find("t", 0, 4, 10**9)) == [5, 6, 7, 8]
    assert offsets(chunks.find("t", 0, 0, 1)) == [0, 1, 2, 5, 6]
    for missing in (9, 19, 22):
        assert chunks.find("t", 0, missing, 10**9) == []
    assert chunks.find("t", 1, 0, 10**9) == []
    chunks.forget("t")
    assert chunks.bytes == 0
    assert chunks.find("t", 0, 1, 10**9) == []


def test_chunks_drop_what_was_not_used_longest() -> None:
    chunks = Chunks(weight(a_batch(0, 2)) * 2)
    chunks.put("t", 0, 0, [a_batch(0, 2)])
    chunks.put("t", 0, 2, [a_batch(2, 2)])
    chunks.find("t", 0, 0, 1)
    chunks.put("t", 0, 4, [a_batch(4, 2)])
    assert chunks.find("t", 0, 2, 1) == []
    assert chunks.find("t", 0, 0, 1)
    chunks.put("t", 0, 0, [a_batch(0, 1)])
    assert offsets(chunks.find("t", 0, 0, 1)) == [0]
    chunks.put("t", 0, 9, [a_batch(9, 1000)])
    assert chunks.find("t", 0, 9, 1) == []


async def a_log(count: int = 10) -> tuple[MemoryBus, SharedLog]:
    bus = MemoryBus(batch_events=2)
    await bus.create_topic("t", TopicSettings())
    await bus.append("t", [event(str(n)) for n in range(count)])
    return bus, SharedLog(bus)


async def test_equal_reads_under_way_are_one() -> None:
    bus, log = await a_log()
    results = await asyncio.gather(*(log.read("t", 0, 0) for _ in range(20)))
    assert all(offsets(list(found)) == list(range(10)) for found in results)
    assert bus.calls["read"] == 1
    assert (log.reads, log.shared) == (1, 19)


async def test_a_read_goes_on_without_its_caller() -> None:
    bus, log = await a_log()
    release = bus.hold("read")
    reading = asyncio.create_task(log.read("t", 0, 0))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    release()
    assert offsets(list(await log.read("t", 0, 0))) == list(range(10))
    assert bus.calls["read"] == 1


async def test_what_the_bus_raises_reaches_all_who_wait_and_is_not_kept() -> None:
    bus, log = await a_log()
    bus.fail_next("read", BusUnavailable("away"))
    results = await asyncio.gather(log.read("t", 0, 0), log.read("t", 0, 0), return_exceptions=True)
    assert [type(result) for result in results] == [BusUnavailable] * 2
    assert len(await log.read("t", 0, 0)) == 5
    with pytest.raises(OffsetOutOfRange):
        await log.read("t", 0, 99)


async def test_the_live_edge_is_asked_for_anew() -> None:
    bus, log = await a_log(2)
    assert await log.read("t", 0, 2) == []
    await bus.append("t", [event("new")])
    assert offsets(list(await log.read("t", 0, 2))) == [2]


async def test_a_topic_that_was_made_anew_is_not_answered_from_what_was_read_before() -> None:
    bus, log = await a_log()
    await log.read("t", 0, 0)
    log.forget("t")
    release = bus.hold("read")
    late = asyncio.create_task(log.read("t", 0, 0))
    await eventually(lambda: bus.calls["read"] == 2)
    log.forget("t")
    release()
    await late
    await log.read("t", 0, 0)
    assert bus.calls["read"] == 3


async def test_closing_ends_reads_under_way() -> None:
    bus, log = await a_log()
    bus.hold("read")
    reading = asyncio.create_task(log.read("t", 0, 0))
    await asyncio.sleep(0)
    await log.close()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_the_window_serves_before_the_log_and_memory_has_a_bound() -> None:
    bus, log = await a_log()
    log.resize(60_000)
    for batch in await bus.read("t", 0, 0, CHUNK):
        log.put(batch)
    assert offsets(list(await log.read("t", 0, 3))) == list(range(3, 10))
    assert log.reads == 0
    assert 0 < log.bytes <= 60_000
