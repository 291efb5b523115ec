"""The bus in memory keeps the contract and breaks on demand."""

from __future__ import annotations

import asyncio

import pytest

from gateway.bus.contract import Batch, Bounds, BusHealth, TopicChange, TopicSettings
from gateway.bus.memory import MemoryBus
from gateway.errors import (
    BusUnavailable,
    CorruptData,
    InvalidAddress,
    InvalidSetting,
    OffsetOutOfRange,
    OutcomeUnknown,
    TooLarge,
    TopicExists,
    UnknownTopic,
)
from gateway.event import Event

pytestmark = pytest.mark.timeout(10)


class Sink:
    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.changes: list[tuple[str, TopicChange]] = []
        self.healths: list[BusHealth] = []

    def on_batch(self, batch: Batch) -> None:
        self.batches.append(batch)

    def on_topic(self, topic: str, change: TopicChange) -> None:
        self.changes.append((topic, change))

    def on_health(self, health: BusHealth) -> None:
        self.healths.append(health)

    @property
    def seen(self) -> list[tuple[str, int, int]]:
        return [(e.topic, e.partition, e.offset) for batch in self.batches for e in batch.events]


def event(name: str, subject: str | None = None, key: bytes | None = None) -> Event:
    attributes: dict[str, str | int | bool] = {"id": name, "source": "//t", "type": "t", "specversion": "1.0", "n": 1}
    if subject is not None:
        attributes["subject"] = subject
    return Event(attributes, b"data", key)


async def a_bus(partitions: int = 1, **options: int) -> MemoryBus:
    bus = MemoryBus(**options)  # type: ignore[arg-type]
    await bus.start()
    await bus.create_topic("t", TopicSettings(partitions=partitions))
    return bus


async def ids(bus: MemoryBus, offset: int, max_bytes: int = 1 << 20, partition: int = 0) -> list[str]:
    return [str(e.attributes["id"]) for b in await bus.read("t", partition, offset, max_bytes) for e in b.events]


async def test_events_come_back_in_order_with_their_place_and_time() -> None:
    bus = MemoryBus(clock=lambda: 5.0)
    await bus.create_topic("t", TopicSettings())
    events = [event("a"), event("b")]
    assert await bus.append("t", events) == [(0, 0), (0, 1)]
    assert await bus.append("t", [event("c")]) == [(0, 2)]
    assert events[1].topic == "t"
    assert events[1].offset == 1
    assert events[1].timestamp_ms == 5000
    assert await ids(bus, 0) == ["a", "b", "c"]
    assert await ids(bus, 1) == ["b", "c"]
    assert await ids(bus, 3) == []
    assert await bus.append("t", []) == []


async def test_equal_keys_share_a_partition_and_the_key_defaults_to_the_subject() -> None:
    bus = await a_bus(partitions=8)
    first = await bus.append("t", [event("a", "s/x"), event("b", key=b"s/x"), event("c", "s/x")])
    assert len({partition for partition, _ in first}) == 1
    keyless = await bus.append("t", [event("d"), event("e")])
    assert keyless[0][0] == keyless[1][0]


async def test_reads_are_bounded_but_never_empty_before_the_edge() -> None:
    bus = await a_bus(batch_events=2)
    await bus.append("t", [event(str(n)) for n in range(7)])
    assert await ids(bus, 0, max_bytes=1) == ["0", "1"]
    assert await ids(bus, 1, max_bytes=1) == ["1"]


async def test_offsets_outside_the_log_are_refused_with_the_bounds() -> None:
    bus = await a_bus(batch_events=2)
    await bus.append("t", [event(str(n)) for n in range(4)])
    bus.truncate("t", 0, 3)
    assert await bus.bounds("t") == [Bounds(3, 4)]
    for offset in (2, 5):
        with pytest.raises(OffsetOutOfRange) as caught:
            await bus.read("t", 0, offset, 100)
        assert (caught.value.first, caught.value.next) == (3, 4)
    assert await ids(bus, 3) == ["3"]
    with pytest.raises(UnknownTopic):
        await bus.read("t", 7, 0, 100)


async def test_time_finds_the_first_event_appended_at_or_after_it() -> None:
    now = [1.0]
    bus = MemoryBus(clock=lambda: now[0])
    await bus.create_topic("t", TopicSettings())
    for now[0] in (1.0, 2.0, 3.0):
        await bus.append("t", [event("a"), event("b")])
    assert [await bus.offset_for_time("t", 0, ms) for ms in (0, 1000, 1001, 3000, 3001)] == [0, 0, 2, 4, 6]


async def test_retention_by_time_and_size_removes_whole_batches() -> None:
    now = [0.0]
    bus = MemoryBus(clock=lambda: now[0])
    await bus.create_topic("t", TopicSettings(retention_ms=1000))
    for now[0] in (0.0, 1.0, 2.0):
        await bus.append("t", [event("a"), event("b")])
    bus.expire("t")
    assert await bus.bounds("t") == [Bounds(2, 6)]
    await bus.alter_topic("t", TopicSettings(retention_ms=-1, retention_bytes=10))
    bus.expire("t")
    assert await bus.bounds("t") == [Bounds(6, 6)]


async def test_compaction_and_markers_leave_holes_that_move_a_reader_on() -> None:
    bus = await a_bus(batch_events=2)
    await bus.append("t", [event("a", key=b"k"), event("b", key=b"l"), event("c", key=b"k"), event("d", key=b"l")])
    bus.hole("t", 0, 3)
    bus.compact("t")
    batches = await bus.read("t", 0, 0, 1 << 20)
    assert [(b.base_offset, b.next_offset, len(b.events)) for b in batches] == [(0, 2, 0), (2, 4, 2), (4, 7, 0)]


async def test_a_damaged_batch_says_where_reading_goes_on() -> None:
    bus = await a_bus(batch_events=2)
    await bus.append("t", [event(str(n)) for n in range(6)])
    bus.corrupt("t", 0, 3)
    assert await ids(bus, 0) == ["0", "1"]
    with pytest.raises(CorruptData) as caught:
        await bus.read("t", 0, 2, 1 << 20)
    assert caught.value.detail["next_offset"] == 4
    assert await ids(bus, 4) == ["4", "5"]


async def test_the_tail_delivers_what_is_appended_after_follow() -> None:
    bus, sink = await a_bus(), Sink()
    tail = bus.tail(sink)
    await bus.append("t", [event("before")])
    await tail.follow("t")
    await bus.append("t", [event("a")])
    bus.lose_tail()
    await bus.append("t", [event("lost")])
    await bus.append("t", [event("b")])
    assert sink.seen == [("t", 0, 1), ("t", 0, 3)]
    tail.unfollow("t")
    await bus.append("t", [event("after")])
    await tail.follow("t")
    await tail.close()
    await bus.append("t", [event("closed")])
    assert len(sink.seen) == 2
    with pytest.raises(UnknownTopic):
        await tail.follow("nowhere")


async def test_a_paused_tail_delivers_later_in_order() -> None:
    bus, sink = await a_bus(), Sink()
    await bus.tail(sink).follow("t")
    bus.pause_tail()
    for name in "abc":
        await bus.append("t", [event(name)])
    assert sink.seen == []
    bus.resume_tail(1)
    assert len(sink.seen) == 1
    bus.resume_tail()
    assert [offset for _, _, offset in sink.seen] == [0, 1, 2]


async def test_topics_are_administered_and_sinks_are_told() -> None:
    bus, sink = await a_bus(), Sink()
    await bus.tail(sink).follow("t")
    info = await bus.describe_topic("t")
    with pytest.raises(TopicExists):
        await bus.create_topic("t", TopicSettings())
    with pytest.raises(InvalidAddress):
        await bus.create_topic("a/b", TopicSettings())
    with pytest.raises(InvalidSetting):
        await bus.create_topic("u", TopicSettings(partitions=0))
    with pytest.raises(InvalidSetting):
        await bus.alter_topic("t", TopicSettings(replication=3))
    assert (await bus.alter_topic("t", TopicSettings(partitions=3, cleanup="compact"))).partitions == 3
    with pytest.raises(InvalidSetting):
        await bus.alter_topic("t", TopicSettings(partitions=2))
    await bus.create_topic("_internal", TopicSettings())
    assert await bus.topics() == ["t"]
    assert await bus.topics(internal=True) == ["_internal", "t"]
    assert (await bus.topic_health("t")).offline == ()
    await bus.delete_topic("t")
    with pytest.raises(UnknownTopic):
        await bus.describe_topic("t")
    assert (await bus.create_topic("t", TopicSettings())).epoch != info.epoch
    assert sink.changes == [
        ("t", TopicChange.PARTITIONS),
        ("_internal", TopicChange.CREATED),
        ("t", TopicChange.DELETED),
        ("t", TopicChange.CREATED),
    ]


async def test_an_event_above_the_topics_limit_stores_nothing() -> None:
    bus = await a_bus()
    with pytest.raises(TooLarge):
        await bus.append("t", [event("a"), Event({}, bytes(2 << 20))])
    assert await bus.bounds("t") == [Bounds(0, 0)]


async def test_away_refuses_every_call_and_tells_sinks_until_back() -> None:
    bus, sink = await a_bus(), Sink()
    bus.tail(sink)
    bus.away("cable cut")
    for call in (bus.append("t", [event("a")]), bus.read("t", 0, 0, 1), bus.bounds("t"), bus.topics()):
        with pytest.raises(BusUnavailable, match="cable cut"):
            await call
    bus.back()
    await bus.append("t", [event("a")])
    assert [(h.ready, h.reasons) for h in sink.healths] == [(False, ("cable cut",)), (True, ())]


async def test_an_append_can_fail_in_one_partition_or_after_it_landed() -> None:
    bus = await a_bus(partitions=2)
    events = [event("a", key=b"0"), event("b", key=b"1"), event("c", key=b"2"), event("d", key=b"3")]
    bus.fail_next("append", OutcomeUnknown("timed out"), partitions=[1])
    with pytest.raises(OutcomeUnknown) as caught:
        await bus.append("t", events)
    stored = [position is not None for position in caught.value.detail["positions"]]
    assert True in stored
    assert False in stored
    assert sum(stored) == (await bus.bounds("t"))[0].next
    bus.fail_next("append", OutcomeUnknown("timed out"), stored=True)
    with pytest.raises(OutcomeUnknown):
        await bus.append("t", [event("e", key=b"0")])
    bus.fail_next("append", BusUnavailable("refused"))
    with pytest.raises(BusUnavailable):
        await bus.append("t", [event("f", key=b"0")])
    assert sum(b.next for b in await bus.bounds("t")) == sum(stored) + 1


async def test_other_calls_fail_once_on_demand() -> None:
    bus = await a_bus()
    for name, call in (("read", lambda: bus.read("t", 0, 0, 1)), ("bounds", lambda: bus.bounds("t"))):
        bus.fail_next(name, BusUnavailable("once"))
        with pytest.raises(BusUnavailable):
            await call()
        await call()


async def test_a_held_operation_waits_until_released() -> None:
    bus = await a_bus()
    release = bus.hold("append")
    task = asyncio.create_task(bus.append("t", [event("a")]))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    assert await bus.bounds("t") == [Bounds(0, 0)]
    release()
    assert await task == [(0, 0)]
    bus.hold("read")
    reading = asyncio.create_task(bus.read("t", 0, 0, 1))
    await asyncio.sleep(0)
    await bus.close()
    assert len(await reading) == 1
