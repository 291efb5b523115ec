"""What becomes of pages and streams when the log changes under them: retention, damage, topics that go."""

from __future__ import annotations

import asyncio

import pytest

from gateway.bus.contract import TopicSettings
from gateway.config.model import Limits
from gateway.delivery.cursor import decode_cursor
from gateway.delivery.handover import Gap
from gateway.delivery.outcome import EndOfStream
from gateway.errors import (
    Expired,
    InvalidPosition,
    UnknownTopic,
)
from tests.conftest import eventually
from tests.unit.reading_support import a_rig, drain, event, names, read

pytestmark = pytest.mark.timeout(30)


async def test_retention_that_passes_a_reader_is_announced() -> None:
    async with a_rig(batch_events=2, limits=Limits(stream_buffer=4096)) as rig:
        await rig.topic("t")
        stream = await rig.open("t/**", start="latest")
        cursor = stream.cursor
        for n in range(40):
            await rig.put("t", event(str(n), size=500))
        rig.bus.truncate("t", 0, 30)
        rig.hub.log.forget("t")
        deliveries = await drain(stream)
        assert [gap for each in deliveries for gap in each.gaps] == [Gap("t", 0, 0, 30, "retention")]
        assert [name for each in deliveries for name in names(each.events)] == [str(n) for n in range(30, 40)]
        page = await rig.page("t/**", start=cursor, limit=2)
        assert page.gaps == [Gap("t", 0, 0, 30, "retention")]
        assert names(page.events) == ["30", "31"]
        assert rig.reader.stats.gaps == 2


async def test_a_damaged_batch_is_announced_and_passed() -> None:
    async with a_rig(batch_events=2) as rig:
        await rig.topic("t")
        await rig.put("t", *"abcdef")
        rig.bus.corrupt("t", 0, 2)
        page = await rig.page("t/**")
        assert (names(page.events), page.gaps) == (list("abef"), [Gap("t", 0, 2, 4, "corrupt")])
        assert names((await rig.page("t/**", start="last:3")).events) == ["b", "e", "f"]


async def test_holes_in_the_offsets_are_no_gaps() -> None:
    async with a_rig(batch_events=2) as rig:
        await rig.topic("t")
        await rig.put("t", "a#k", "b#l", "c#k", "d#k")
        rig.bus.hole("t", 0, 3)
        rig.bus.compact("t")
        page = await rig.page("t/**")
        assert (names(page.events), page.gaps, page.more) == (["b", "d"], [], False)
        assert (await rig.page("t/**", start=page.cursor)).events == []


async def test_a_cursor_of_a_topic_made_anew_is_refused_by_name_and_announced_under_a_wildcard() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.topic("u")
        await rig.put("t", "a", "b")
        named, wild = (await rig.page("t/**")).cursor, (await rig.page("*/**")).cursor
        await rig.bus.delete_topic("t")
        await rig.topic("t")
        await rig.put("t", "c", "d", "e")
        for make in (rig.page, rig.open):
            with pytest.raises(Expired):
                await make("t/**", start=named)
        page = await rig.page("*/**", start=wild)
        assert (names(page.events), page.gaps) == (["c", "d", "e"], [Gap("t", 0, 2, 0, "recreated")])


async def test_a_cursor_covers_only_what_was_read_with_it() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.topic("u")
        cursor = (await rig.page("t/**")).cursor
        with pytest.raises(InvalidPosition, match="other topics"):
            await rig.page("u/**", start=cursor)
        with pytest.raises(InvalidPosition, match="other topics"):
            await rig.page("*/**", start=cursor)


async def test_a_cursor_beyond_the_end_says_that_the_log_lost_events() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.put("t", *"abc")
        cursor = (await rig.page("t/**")).cursor
        rig.bus.topic("t").partitions[0].batches.clear()
        rig.bus.topic("t").partitions[0].next = 0
        await rig.put("t", "x")
        page = await rig.page("t/**", start=cursor)
        assert page.gaps == [Gap("t", 0, 3, 1, "lost")]


async def test_topics_and_partitions_that_appear_are_read_from_their_beginning() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        stream = await rig.open("*/x", start="latest")
        await rig.topic("u")
        await rig.put("u", "a@x", "b@y")
        assert await read(stream, 1) == ["a"]
        rig.bus.pause_tail()
        await rig.bus.alter_topic("t", TopicSettings(partitions=4))
        for n in range(8):
            await rig.put("t", event(str(n), "x", key=str(n).encode()))
        rig.bus.resume_tail()
        assert sorted(await read(stream, 8)) == [str(n) for n in range(8)]
        assert decode_cursor(stream.cursor).wild
        cursor = stream.cursor
        await rig.topic("v")
        await rig.put("v", "late@x")
        assert await read(stream, 1) == ["late"]
        assert names((await rig.page("*/x", start=cursor)).events) == ["late"]
        assert await read(await rig.open("*/x", start=cursor), 1) == ["late"]


async def test_a_topic_that_appears_while_a_stream_is_opened_is_not_missed() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        release = rig.bus.hold("bounds")
        opening = asyncio.create_task(rig.open("*/**", start="latest"))
        await eventually(lambda: rig.bus.calls.get("bounds", 0) >= 1)
        await rig.topic("u")
        await rig.put("u", "a")
        release()
        assert await read(await opening, 1) == ["a"]


async def test_a_stream_of_a_deleted_topic_ends_after_what_it_had() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        stream = await rig.open("t/**", start="latest")
        await rig.put("t", "a")
        await rig.bus.delete_topic("t")
        assert await read(stream, 1) == ["a"]
        for _ in range(2):
            with pytest.raises(EndOfStream) as caught:
                await stream.next(1)
            assert caught.value.reason == "deleted"


async def test_a_stream_goes_on_for_the_topics_that_are_left() -> None:
    async with a_rig(batch_events=1) as rig:
        await rig.topic("t")
        await rig.topic("u")
        await rig.put("t", event("a", size=300_000), event("b", size=300_000))
        stream = await rig.open("t/**", "u/**")
        assert await read(stream, 1) == ["a"]
        await rig.bus.delete_topic("t")
        delivery = await stream.next(1)
        assert delivery is not None
        assert delivery.gaps == [Gap("t", 0, 1, 2, "deleted")]
        await rig.put("u", "c")
        assert await read(stream, 1) == ["c"]
        await rig.topic("t")
        await rig.put("t", "anew")
        assert await read(stream, 1) == ["anew"]


async def test_a_topic_made_anew_unnoticed_is_announced() -> None:
    """As on Kafka, where a topic can be deleted and made between two looks."""
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.topic("u")
        named, wild = await rig.open("t/**", start="latest"), await rig.open("*/**", start="latest")
        await rig.put("t", "a", "b")
        assert await read(named, 2) == await read(wild, 2)
        tails, rig.bus._tails = rig.bus._tails, []
        await rig.bus.delete_topic("t")
        rig.bus._tails = tails
        await rig.topic("t")
        await rig.put("t", "c")
        delivery = await wild.next(2)
        assert delivery is not None
        assert delivery.gaps == [Gap("t", 0, 2, 0, "recreated")]
        assert names(delivery.events) + (await read(wild, 1) if not delivery.events else []) == ["c"]
        last = await named.next(2)
        assert last is not None
        assert (last.events, last.gaps) == ([], delivery.gaps)
        with pytest.raises(EndOfStream) as caught:
            await named.next(2)
        assert caught.value.reason == "recreated"


async def test_a_topic_that_goes_while_it_is_opened_is_unknown_or_left_out() -> None:
    async with a_rig() as rig:
        for topic in ("t", "u"):
            await rig.topic(topic)
            await rig.put(topic, topic)
        for sources in (("t/**",), ("*/**",)):
            release = rig.bus.hold("offset_for_time")
            opening = asyncio.create_task(rig.open(*sources, start="-1h"))
            before = rig.bus.calls.get("offset_for_time", 0)
            await eventually(lambda before=before: rig.bus.calls.get("offset_for_time", 0) > before)
            await rig.bus.delete_topic("t")
            await rig.topic("t")
            release()
            if sources == ("t/**",):
                with pytest.raises(UnknownTopic):
                    await opening
            else:
                assert await read(await opening, 1) == ["u"]
        listing = rig.bus.hold("topics")
        opening = asyncio.create_task(rig.open("*/**"))
        await asyncio.sleep(0.01)
        rig.bus.fail_next("bounds", UnknownTopic("t"))
        listing()
        assert await read(await opening, 1) == ["u"]


async def test_a_page_of_a_topic_that_is_made_anew_meanwhile_says_so() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.put("t", "a", "b")
        cursor = (await rig.page("t/**", limit=1)).cursor
        rig.hub.log.forget("t")
        release = rig.bus.hold("read")
        reading = asyncio.create_task(rig.page("t/**", start=cursor))
        await eventually(lambda: rig.bus.calls.get("read", 0) >= 2)
        await rig.bus.delete_topic("t")
        await rig.topic("t")
        release()
        with pytest.raises(Expired):
            await reading


async def test_a_stream_whose_topic_is_another_one_by_now_finds_out_when_it_reads() -> None:
    async with a_rig(batch_events=1) as rig:
        await rig.topic("t")
        await rig.put("t", event("a", size=300_000), event("b", size=300_000))
        stream = await rig.open("*/**")
        assert await read(stream, 1) == ["a"]
        tails, rig.bus._tails = rig.bus._tails, []
        await rig.bus.delete_topic("t")
        await rig.topic("t")
        rig.bus._tails = tails
        rig.hub.log.forget("t")
        delivery = await stream.next(2)
        assert delivery is not None
        assert delivery.gaps == [Gap("t", 0, 1, 0, "recreated")]
        await rig.put("t", "c")
        assert await read(stream, 1) == ["c"]


async def test_a_coarse_cursor_says_where_events_may_have_been_removed() -> None:
    async with a_rig(batch_events=1) as rig:
        for n in range(300):
            await rig.topic(f"t{n}")
            await rig.put(f"t{n}", "a", "b")
        rig.now += 3600
        cursor = (await rig.page("*/**", limit=1000)).cursor
        assert decode_cursor(cursor).sweep is not None
        rig.now += 60
        await rig.put("t7", "c", "d")
        rig.bus.truncate("t7", 0, 3)
        assert (await rig.page("*/**", start=cursor)).gaps == []  # its retention did not do that
        await rig.bus.alter_topic("t7", TopicSettings(retention_bytes=100))
        page = await rig.page("*/**", start=cursor)
        assert (names(page.events), page.gaps) == (["d"], [Gap("t7", 0, 3, 3, "retention")])
        rig.now += 30 * 24 * 3600
        await rig.bus.alter_topic("t7", TopicSettings(retention_bytes=-1))
        assert (await rig.page("*/**", start=cursor)).gaps == [Gap("t7", 0, 3, 3, "retention")]


async def test_a_coarse_cursor_whose_place_is_a_topic_made_anew_is_announced() -> None:
    async with a_rig() as rig:
        for n in range(300):
            await rig.topic(f"t{n}")
            await rig.put(f"t{n}", "a", "b")
        page = await rig.page("*/**", limit=1)
        topic = page.events[0].topic
        await rig.bus.delete_topic(topic)
        await rig.topic(topic)
        await rig.put(topic, "anew")
        resumed = await rig.page("*/**", start=page.cursor, limit=1)
        assert (names(resumed.events), resumed.gaps) == (["anew"], [Gap(topic, 0, 1, 0, "recreated")])
