"""Pages over more partitions than a cursor has room for: every event once, at the latest when it is old enough.

What is stated for any interleaving of appends and pages: following `next` delivers every event, and
none of them twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus.contract import TopicSettings
from gateway.delivery import sweep, writer
from gateway.delivery.cursor import MAX_CURSOR, TIME_MARGIN, decode_cursor
from gateway.delivery.outcome import Page
from tests.unit.reading_support import Rig, a_rig, drain, event, names, read

pytestmark = pytest.mark.timeout(120)
MARGIN = TIME_MARGIN / 1000


async def follow(rig: Rig, cursor: str, limit: int, after: Callable[[Page], object]) -> tuple[list[str], str]:
    """The names of all events from page to page, until one has nothing and no more."""
    seen: list[str] = []
    while True:
        page = await rig.page("*/**", start=cursor, limit=limit)
        assert page.gaps == []
        assert len(page.cursor) <= MAX_CURSOR
        seen += names(page.events)
        cursor = page.cursor
        after(page)
        if not page.events and not page.more:
            return seen, cursor


async def fill(rig: Rig, topics: int, events: int) -> None:
    for n in range(topics):
        await rig.topic(f"t{n}")
        await rig.put(f"t{n}", *(f"{n}-{m}" for m in range(events)))


async def test_pages_over_hundreds_of_fresh_topics_bring_every_event_once() -> None:
    async with a_rig(batch_events=7) as rig:
        await fill(rig, 300, 20)
        pages: list[Page] = []
        seen, cursor = await follow(rig, "earliest", 500, pages.append)
        assert len(seen) == len(set(seen)) == 6000
        assert len(pages) <= 14
        assert decode_cursor(cursor).sweep is not None
        await rig.put("t7", "new")
        assert (await follow(rig, cursor, 500, pages.append))[0] == ["new"]


async def test_pages_keep_up_with_steady_traffic_over_hundreds_of_topics() -> None:
    async with a_rig() as rig:
        await fill(rig, 300, 2)
        stored, seen, cursor = 600, 0, "earliest"
        for _ in range(60):
            page = await rig.page("*/**", start=cursor, limit=500)
            seen, cursor = seen + len(page.events), page.cursor
            rig.now += 1
            for n in range(100):
                await rig.put(f"t{(stored + n * 7) % 300}", f"{stored}-{n}")
            stored += 100
        rest, _ = await follow(rig, cursor, 500, lambda page: None)
        assert seen + len(rest) == stored
        assert len(rest) <= 200


async def test_more_lanes_than_can_be_listed_are_delivered_when_they_are_old_enough() -> None:
    async with a_rig() as rig:
        await fill(rig, 1000, 3)
        fresh, cursor = await follow(rig, "earliest", 1000, lambda page: None)
        assert len(fresh) == len(set(fresh))
        assert 1000 < len(fresh) < 3000
        rig.now += MARGIN + 1
        rest, cursor = await follow(rig, cursor, 1000, lambda page: None)
        assert len(fresh + rest) == len({*fresh, *rest}) == 3000
        assert (await rig.page("*/**", start=cursor)).events == []


async def test_a_page_that_waits_brings_what_was_kept_back_as_soon_as_it_is_old_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep, "LIST_BYTES", 200)
    monkeypatch.setattr("gateway.delivery.paging.LOOK_SECONDS", 0.01)
    async with a_rig() as rig:
        await fill(rig, 160, 1)
        fresh, cursor = await follow(rig, "earliest", 1000, lambda page: None)
        assert 0 < len(fresh) < 160
        waiting = asyncio.create_task(rig.page("*/**", start=cursor, limit=1000, wait=20))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await rig.put("t3", "young")
        rig.now += MARGIN + 1.5
        began = time.monotonic()
        page = await waiting
        assert time.monotonic() - began < 5
        rest, cursor = await follow(rig, page.cursor, 1000, lambda page: None)
        rig.now += MARGIN + 1
        last, _ = await follow(rig, cursor, 1000, lambda page: None)
        every = fresh + names(page.events) + rest + last
        assert len(every) == len(set(every)) == 161


async def test_a_page_that_waits_over_hundreds_of_topics_brings_the_first_event() -> None:
    async with a_rig() as rig:
        await fill(rig, 200, 1)
        seen, cursor = await follow(rig, "earliest", 1000, lambda page: None)
        assert len(seen) == 200
        waiting = asyncio.create_task(rig.page("*/**", start=cursor, wait=20))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await rig.put("t9", "new")
        page = await waiting
        assert names(page.events) == ["new"]
        assert (await rig.page("*/**", start=page.cursor)).events == []


async def test_a_stream_resumes_from_a_coarse_cursor_without_a_repeat() -> None:
    async with a_rig() as rig:
        await fill(rig, 300, 2)
        stream = await rig.open("*/**")
        had = [name for each in await drain(stream) for name in names(each.events)]
        assert len(had) == len(set(had)) == 600
        for n in range(50):
            rig.now += 1
            await rig.put(f"t{n}", f"live{n}")
        assert len(await read(stream, 50)) == 50
        resumed = await rig.open("*/**", start=stream.cursor)
        assert await drain(resumed) == []
        await rig.put("t3", "new")
        assert await read(resumed, 1) == await read(stream, 1) == ["new"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 19), st.integers(1, 4)),
        st.tuples(st.just("append"), st.integers(0, 19), st.integers(1, 4)),
        st.tuples(st.just("page"), st.integers(1, 12), st.just(0)),
        st.tuples(st.just("page"), st.integers(1, 12), st.integers(1, 3)),
        st.tuples(st.just("time"), st.integers(1, 20), st.just(0)),
        st.tuples(st.just("time"), st.integers(20, 90), st.just(0)),
        st.tuples(st.just("topic"), st.just(0), st.just(0)),
        st.tuples(st.just("grow"), st.integers(0, 9), st.just(0)),
    ),
    max_size=60,
)


class Play:
    """Pages over topics that come and grow, with appends between them and in their midst."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.cursor = rig, "earliest"
        self.topics: dict[str, int] = {}
        self.stored: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()

    async def topic(self) -> None:
        name = f"topic{len(self.topics)}"
        self.topics[name] = 1 + len(self.topics) % 3
        await self.rig.topic(name, self.topics[name])

    async def append(self, which: int, count: int) -> None:
        topic = sorted(self.topics)[which % len(self.topics)]
        made = [event(str(len(self.stored) + n), key=str(which * n).encode()) for n in range(count)]
        self.stored.update(names(made))
        await self.rig.bus.append(topic, made)

    async def page(self, limit: int, meanwhile: int) -> Page:
        """A page, while others append."""
        reading = asyncio.create_task(self.rig.page("*/**", start=self.cursor, limit=limit))
        for n in range(meanwhile):
            for _ in range(7 * n):
                await asyncio.sleep(0)
            await self.append(n, 1)
        page = await reading
        assert page.gaps == []
        self.cursor = page.cursor
        self.seen.update(names(page.events))
        return page

    async def step(self, what: str, a: int, b: int) -> None:
        if what == "append":
            await self.append(a, b)
        elif what == "page":
            await self.page(a, b)
        elif what == "time":
            self.rig.now += a
        elif what == "topic" and len(self.topics) < 9:
            await self.topic()
        elif what == "grow":
            topic = sorted(self.topics)[a % len(self.topics)]
            self.topics[topic] += 1
            await self.rig.bus.alter_topic(topic, TopicSettings(partitions=self.topics[topic]))


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from([0, 150, 190, 250, 3000]))
def test_following_next_brings_every_event_and_none_twice(steps: list[tuple[str, int, int]], room: int) -> None:
    async def play() -> None:
        async with a_rig(batch_events=2) as rig:
            scene = Play(rig)
            for _ in range(4):
                await scene.topic()
            for step in steps:
                await scene.step(*step)
            for _ in range(3):
                rig.now += MARGIN + 1
                page = await scene.page(5, 0)
                while page.more:
                    page = await scene.page(5, 0)
            assert scene.seen == scene.stored

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "_COARSE_FROM", -1)
        patch.setattr(sweep, "LIST_BYTES", room)
        asyncio.run(play())
