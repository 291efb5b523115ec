"""Whatever happens in whatever order, a subscriber gets the log: nothing twice, no silent hole.

The model is the log itself. Appends, pauses, overflows, retention, lost tails, resumes by
cursor, new partitions and topics come in any order, with the loop turning any number of times
in between; in the end everybody may read, and what each got is compared with the log.
"""

from __future__ import annotations

import asyncio
import os

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.bus.contract import TopicSettings
from gateway.config.model import Limits
from gateway.delivery.form import Overflow
from gateway.delivery.handover import Gap
from tests.unit.live_support import LineForm, ListSink, LiveRig, Place, a_live_rig, session_of, until

EXAMPLES = int(os.environ.get("LINKSPAN_EXAMPLES", "150"))
PATTERNS = st.sampled_from([("t/**",), ("t/a/*",), ("t/a/x", "t/b/*"), ("u/**", "t/a/*"), ("*/a/#",), ("**",)])
POLICIES = st.sampled_from(["catch-up", "catch-up", "catch-up", "latest", "drop"])
SUBJECTS = st.sampled_from(["a/x", "a/y", "b/x"])

STEP = st.one_of(
    st.tuples(st.just("append"), st.sampled_from("tu"), st.lists(SUBJECTS, min_size=1, max_size=6)),
    st.tuples(st.just("append"), st.just("t"), st.lists(SUBJECTS, min_size=1, max_size=6)),
    st.tuples(
        st.just("subscribe"),
        PATTERNS,
        st.sampled_from(["latest", "latest", "earliest", "last:3"]),
        POLICIES,
        st.sampled_from([None, None, 200, 2000]),
    ),
    st.tuples(st.just("pause"), st.integers(0, 9)),
    st.tuples(st.just("resume"), st.integers(0, 9)),
    st.tuples(st.just("drain"), st.integers(0, 9)),
    st.tuples(st.just("reconnect"), st.integers(0, 9)),
    st.tuples(st.just("close"), st.integers(0, 9)),
    st.tuples(st.just("retain"), st.sampled_from("tu"), st.integers(0, 1), st.integers(0, 20)),
    st.tuples(st.just("lose tail"), st.integers(1, 3)),
    st.tuples(st.just("grow")),
    st.tuples(st.just("create")),
    st.tuples(st.just("turn"), st.integers(1, 12)),
    st.tuples(st.just("wait")),
)


class World:
    def __init__(self, rig: LiveRig) -> None:
        self.rig = rig
        self.form = LineForm()
        self.number = 0
        self.sinks: list[ListSink] = []
        self.wanted: dict[ListSink, tuple[tuple[str, ...], str, Overflow, dict[tuple[str, int], int]]] = {}
        self.created = False

    async def run(self, steps: list[tuple[object, ...]]) -> None:
        for name, *arguments in steps:
            await getattr(self, str(name).replace(" ", "_"))(*arguments)
        for sink in self.sinks:
            sink.capacity = None
            sink.drained()
            session_of(sink).resume()
        # What the tail lost is noticed with the next batch of the partition.
        self.rig.bus.lose_tail(0)
        for topic in ("t", "u"):
            await self.rig.put(topic, *(f"end{n}#{n}@a/x" for n in range(40)))
        await until(lambda: all(session_of(sink).live for sink in self.sinks))
        await until(lambda: all(scope.idle for scope in self.rig.views._scopes.values()))
        for sink in self.sinks:
            await self.check(sink)

    async def append(self, topic: str, subjects: list[str]) -> None:
        made = []
        for subject in subjects:
            self.number += 1
            made.append(f"e{self.number}#{self.number % 7}@{subject}")
        await self.rig.put(topic, *made)

    async def subscribe(self, sources: tuple[str, ...], start: str, policy: Overflow, capacity: int | None) -> None:
        if len(self.sinks) >= 6:
            return
        ends = {
            (topic, number): bounds.next
            for topic in await self.rig.bus.topics()
            for number, bounds in enumerate(await self.rig.bus.bounds(topic))
        }
        sink = await self.rig.subscribe(
            *sources,
            start=start,
            overflow=policy,
            capacity=capacity,
            form=self.form,
            begin=False,
        )
        # A batch may come between the answer and the beginning.
        session_of(sink).begin()
        self.sinks.append(sink)
        self.wanted[sink] = (sources, start, policy, ends)

    def one(self, number: int) -> ListSink | None:
        return self.sinks[number % len(self.sinks)] if self.sinks else None

    async def pause(self, number: int) -> None:
        sink = self.one(number)
        if sink is not None and not session_of(sink).paused:
            session_of(sink).pause()

    async def resume(self, number: int) -> None:
        if sink := self.one(number):
            session_of(sink).resume()

    async def drain(self, number: int) -> None:
        if sink := self.one(number):
            sink.drained()

    async def reconnect(self, number: int) -> None:
        """It goes on from its last cursor on another connection, as a client does."""
        sink = self.one(number)
        if sink is None or not sink.events or sink.gaps or self.wanted[sink][2] != "catch-up":
            return
        session_of(sink).close()
        sources, start, policy, ends = self.wanted.pop(sink)
        resumed = await self.rig.subscribe(*sources, start=sink.events[-1].cursor, form=self.form)
        resumed.blocks[:0] = sink.blocks
        self.sinks[self.sinks.index(sink)] = resumed
        self.wanted[resumed] = (sources, start, policy, ends)

    async def close(self, number: int) -> None:
        if sink := self.one(number):
            session_of(sink).close()
            self.sinks.remove(sink)
            del self.wanted[sink]

    async def retain(self, topic: str, partition: int, back: int) -> None:
        bounds = await self.rig.bus.bounds(topic)
        if partition < len(bounds):
            first = max(bounds[partition].first, bounds[partition].next - back)
            self.rig.bus.truncate(topic, partition, first)

    async def lose_tail(self, count: int) -> None:
        self.rig.bus.lose_tail(count)

    async def grow(self) -> None:
        info = await self.rig.bus.describe_topic("t")
        if info.partitions < 4:
            await self.rig.bus.alter_topic("t", TopicSettings(partitions=info.partitions + 1))

    async def create(self) -> None:
        if not self.created:
            self.created = True
            await self.rig.topic("v")
            await self.rig.put("v", "first@a/x")

    async def turn(self, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    async def wait(self) -> None:
        await asyncio.sleep(0.008)

    async def check(self, sink: ListSink) -> None:
        sources, start, policy, ends = self.wanted[sink]
        lanes: dict[tuple[str, int], list[Place | Gap]] = {}
        for each in sink.got:
            lanes.setdefault((each.topic, each.partition), []).append(each)
        for topic in await self.rig.bus.topics():
            for number in range(len(await self.rig.bus.bounds(topic))):
                stored = await self.stored(sources, topic, number)
                begin = ends.get((topic, number), 0) if start == "latest" else 0
                self.check_lane(lanes.pop((topic, number), []), stored, begin, start, policy)
        assert not lanes

    async def stored(self, sources: tuple[str, ...], topic: str, number: int) -> dict[int, str]:
        """Offset -> id of what is there and wanted."""
        first = (await self.rig.bus.bounds(topic))[number].first
        batches = await self.rig.bus.read(topic, number, first, 10**9)
        from gateway.delivery.select import Selection
        from tests.unit.reading_support import request

        selection = Selection(topic, request(sources).sources)
        events = [event for batch in batches for event in batch.events]
        return {event.offset: str(event.attributes["id"]) for event in selection.select(events)}

    def check_lane(self, got: list[Place | Gap], stored: dict[int, str], begin: int, start: str, policy: str) -> None:
        offsets = [each.offset for each in got if isinstance(each, Place)]
        assert offsets == sorted(set(offsets)), f"out of order or twice: {offsets}"
        if start.startswith("last"):
            begin = min(offsets, default=max(stored, default=-1) + 1)
        assert all(offset >= begin for offset in offsets)
        missing = {offset for offset in stored if offset >= begin} - set(offsets)
        told = [each for each in got if isinstance(each, Gap)]
        for offset in missing:
            gaps = [gap for gap in told if gap.from_offset <= offset < gap.to_offset]
            assert gaps, f"{offset} is missing without a word"
            assert policy != "catch-up" or gaps[0].reason == "retention"
        # Whatever the policy, nothing is missing of what came when it could keep up again.
        if stored and max(stored) >= begin:
            assert max(stored) in offsets


@example(
    # A topic that grows while a scope is being opened was told to a stream that had not begun.
    [
        ("append", "t", ["a/x"]),
        ("subscribe", ("t/**",), "latest", "catch-up", None),
        ("subscribe", ("u/**", "t/a/*"), "last:3", "catch-up", None),
        ("grow",),
    ],
    3,
)
@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(STEP, min_size=3, max_size=40), st.sampled_from([3, 1000]))
def test_a_subscriber_gets_the_log(steps: list[tuple[object, ...]], batch_events: int) -> None:
    async def scenario() -> None:
        limits = Limits(stream_buffer=4096)
        async with a_live_rig(batch_events=batch_events, limits=limits) as rig:
            await rig.topic("t", 2)
            await rig.topic("u")
            await World(rig).run(steps)

    with asyncio.Runner() as runner:
        runner.run(asyncio.wait_for(scenario(), 30))
