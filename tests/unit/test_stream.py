"""Streams over a bus in memory, whatever happens in whatever order.

Each example runs a list of steps: appends, lost and late tail batches, slow consumers, retention,
an absent bus, partitions that are added. What a stream delivers is compared with the log.
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus.contract import TopicSettings
from gateway.config.model import Limits
from gateway.delivery import sweep, writer
from gateway.delivery.handover import Gap
from gateway.delivery.outbox import MAX_EVENTS
from gateway.delivery.outcome import Delivery, EndOfStream
from gateway.delivery.stream import Stream
from gateway.errors import CorruptData, UnknownTopic
from tests.conftest import eventually
from tests.unit.reading_support import Rig, a_rig, event, names, read

pytestmark = pytest.mark.timeout(200)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 6), st.integers(0, 5)),
        st.tuples(st.just("append"), st.integers(1, 6), st.integers(0, 5)),
        st.tuples(st.just("next"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("lose"), st.integers(1, 2), st.just(0)),
        st.tuples(st.just("pause"), st.just(0), st.just(0)),
        st.tuples(st.just("resume"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("retain"), st.integers(0, 1), st.integers(0, 100)),
        st.tuples(st.just("away"), st.just(0), st.just(0)),
        st.tuples(st.just("grow"), st.just(0), st.just(0)),
        st.tuples(st.just("reopen"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("forget"), st.just(0), st.just(0)),
        st.tuples(st.just("time"), st.integers(1, 60), st.just(0)),
    ),
    max_size=40,
)
SOURCES = (("t/**",), ("t/0", "t/1"), ("*/*",))


class Play:
    """Three streams of one topic, and what each of them has had."""

    def __init__(self, rig: Rig, *, coarse: bool) -> None:
        self.rig, self.number, self.coarse = rig, 0, coarse
        self.streams: list[Stream] = []
        self.had: list[list[Delivery]] = [[], [], []]
        self.stored: dict[tuple[int, int], str] = {}
        self.subjects: dict[str, str] = {}
        self.removed: set[tuple[int, int]] = set()

    async def step(self, what: str, a: int, b: int) -> None:
        bus = self.rig.bus
        if what == "append":
            events = [event(str(self.number + n), str((b + n) % 3), size=700) for n in range(a)]
            self.number += a
            self.rig.now += 20
            for (partition, offset), each in zip(await bus.append("t", events), events, strict=True):
                self.stored[partition, offset] = str(each.attributes["id"])
                self.subjects[str(each.attributes["id"])] = str(each.attributes["subject"])
        elif what == "next":
            for _ in range(b):
                await self.next(a, 0)
        elif what == "lose":
            bus.lose_tail(a)
        elif what == "pause":
            bus.pause_tail()
        elif what == "resume":
            bus.resume_tail(a or None)
        elif what == "retain":
            bounds = await bus.bounds("t")
            lane = a % len(bounds)
            self.removed |= {(lane, offset) for offset in range(bounds[lane].next * b // 100)}
            bus.truncate("t", lane, bounds[lane].next * b // 100)
        elif what == "away":
            bus.away()
            await self.next(0, 0)
            bus.back()
        elif what == "grow":
            count = len(await bus.bounds("t"))
            if count < 4:
                await bus.alter_topic("t", TopicSettings(partitions=count + 1))
        elif what == "reopen":
            stream = self.streams[a]
            self.streams[a] = await self.rig.open(*SOURCES[a], start=self.cursor(a))
            await stream.close()
        elif what == "time":
            self.rig.now += a
        else:
            self.rig.hub.log.forget("t")

    def cursor(self, which: int) -> str:
        had = self.had[which]
        if not had:
            return self.streams[which].cursor
        return had[-1].cursors[-1] if had[-1].events else had[-1].cursor

    async def next(self, which: int, timeout: float) -> bool:
        delivery = await self.streams[which].next(timeout)
        if delivery is not None:
            self.had[which].append(delivery)
        return delivery is not None

    def check(self) -> None:
        for which, had in enumerate(self.had):
            missing = {
                (gap.partition, offset)
                for each in had
                for gap in each.gaps
                for offset in range(gap.from_offset, gap.to_offset)
            }
            # A coarse cursor does not know which events there were.
            missing |= self.removed if self.coarse else set()
            for partition in range(4):
                found = [each for delivery in had for each in delivery.events if each.partition == partition]
                expected = [
                    name
                    for (there, offset), name in sorted(self.stored.items())
                    if there == partition
                    and (there, offset) not in missing
                    and (which != 1 or self.subjects[name] in ("0", "1"))
                ]
                if self.coarse:  # at least once
                    assert set(names(found)) >= set(expected), f"stream {which}, partition {partition}"
                else:
                    assert names(found) == expected, f"stream {which}, partition {partition}"


async def play(steps: list[tuple[str, int, int]], *, coarse: bool) -> None:
    async with a_rig(batch_events=3, limits=Limits(stream_buffer=4096)) as rig:
        await rig.topic("t", partitions=2)
        scene = Play(rig, coarse=coarse)
        scene.streams = [await rig.open(*sources) for sources in SOURCES]
        for step in steps:
            await scene.step(*step)
        rig.bus.resume_tail()
        rig.bus.lose_tail(0)
        rig.bus.away()
        rig.bus.back()
        await eventually(lambda: not rig.hub._tasks)
        for which in range(3):
            while await scene.next(which, 0.005) or not scene.streams[which].live:
                pass
        scene.check()
        assert rig.hub.queued == 0


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_a_stream_delivers_its_log_in_order_without_a_skip_or_a_repeat(steps: list[tuple[str, int, int]]) -> None:
    asyncio.run(play(steps, coarse=False))


@settings(max_examples=80, deadline=None)
@given(STEPS, st.sampled_from([0, 10, 20, 3000]))
def test_coarse_cursors_skip_nothing(steps: list[tuple[str, int, int]], room: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "LIST_BYTES", room)
        patch.setattr(writer, "_COARSE_FROM", -1)
        asyncio.run(play(steps, coarse=True))


async def test_many_small_batches_that_waited_are_one_delivery() -> None:
    async with a_rig(limits=Limits(stream_buffer=2**24)) as rig:
        await rig.topic("t", partitions=2)
        stream = await rig.open("t/**", start="latest")
        for n in range(100):
            await rig.put("t", event(str(n), key=str(n).encode()))
        delivery = await stream.next(1)
        assert delivery is not None
        assert names(delivery.events) == [str(n) for n in range(100)]
        assert len(delivery.cursors) == 100
        for n in range(MAX_EVENTS + 100):
            await rig.put("t", event(str(n), key=b"k", size=0))
        first, second = stream.take(2**30), stream.take(2**30)
        assert first is not None
        assert second is not None
        assert [len(first.events), len(second.events)] == [MAX_EVENTS, 100]


async def test_a_block_larger_than_the_buffer_is_delivered_all_the_same() -> None:
    async with a_rig(limits=Limits(stream_buffer=4096)) as rig:
        await rig.topic("t")
        stream = await rig.open("t/**", start="latest")
        await rig.put("t", event("large", size=50_000))
        assert stream.live
        assert await read(stream, 1) == ["large"]
        assert rig.reader.stats.overflows == 0


async def test_damage_that_does_not_say_where_to_go_on_is_raised() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.put("t", "a")
        stream = await rig.open("t/**")
        rig.bus.fail_next("read", CorruptData("unreadable"))
        with pytest.raises(CorruptData):
            await stream.next(1)
        assert await read(stream, 1) == ["a"]


async def test_a_topic_that_the_bus_does_not_know_for_a_moment_is_waited_for() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.put("t", "a")
        stream = await rig.open("t/**")
        rig.bus.fail_next("read", UnknownTopic("t"))
        assert await read(stream, 1) == ["a"]


async def test_events_that_are_known_but_not_to_be_had_yet_are_waited_for() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.put("t", "a")
        log = rig.bus.topic("t").partitions[0]
        kept, log.batches = log.batches, []
        stream = await rig.open("t/**")
        assert await stream.next(0.05) is None
        assert not stream.live
        assert (await rig.page("t/**")).events == []
        log.batches = kept
        assert await read(stream, 1) == ["a"]


async def test_a_log_that_lost_its_end_is_announced_and_read_on() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.put("t", event("a", size=300_000), event("b", size=300_000))
        stream = await rig.open("t/**", limit=3)
        assert (await read(stream, 2)) == ["a", "b"]
        rig.bus.lose_tail()
        await rig.put("t", "c")
        rig.bus.away()
        rig.bus.back()
        await eventually(lambda: not stream.live)
        log = rig.bus.topic("t").partitions[0]
        log.batches.clear()
        log.next = 1
        rig.hub.log.forget("t")
        delivery = await stream.next(1)
        assert delivery is not None
        assert delivery.gaps == [Gap("t", 0, 2, 1, "lost")]
        await rig.put("t", "d")
        assert await read(stream, 1) == ["d"]
        with pytest.raises(EndOfStream):
            await stream.next(0)
