"""Pages and streams over a bus in memory that loses, delays and forgets on demand."""

from __future__ import annotations

import asyncio
import time

import pytest

from auth.principal import ANONYMOUS
from gateway.address import Pattern
from gateway.config.model import Limits
from gateway.delivery.cursor import decode_cursor
from gateway.delivery.outcome import EndOfStream
from gateway.delivery.position import EARLIEST
from gateway.delivery.reader import ReadRequest
from gateway.errors import (
    BusUnavailable,
    Forbidden,
    InvalidInput,
    UnknownTopic,
)
from tests.conftest import eventually
from tests.unit.reading_support import a_rig, drain, event, names, read

pytestmark = pytest.mark.timeout(30)


async def test_a_page_starts_where_it_is_told_and_the_next_goes_on_there() -> None:
    async with a_rig(batch_events=3) as rig:
        await rig.topic("t")
        await rig.put("t", *"abcdefg")
        first = await rig.page("t/**", limit=4)
        assert (names(first.events), first.more) == (["a", "b", "c", "d"], True)
        second = await rig.page("t/**", start=first.cursor, limit=4)
        assert (names(second.events), second.more) == (["e", "f", "g"], False)
        assert (await rig.page("t/**", start=second.cursor)).events == []
        await rig.put("t", "h")
        assert names((await rig.page("t/**", start=second.cursor)).events) == ["h"]


async def test_the_limit_counts_matching_events() -> None:
    async with a_rig(batch_events=2) as rig:
        await rig.topic("t")
        await rig.put("t", "a@x", "b@y", "c@x", "d@y", "e@x", "f")
        page = await rig.page("t/x", limit=2)
        assert names(page.events) == ["a", "c"]
        assert names((await rig.page("t/x", start=page.cursor, limit=2)).events) == ["e"]
        assert names((await rig.page("t")).events) == ["f"]
        assert len((await rig.page("t/**")).events) == 6


async def test_a_page_merges_partitions_by_append_time() -> None:
    async with a_rig() as rig:
        await rig.topic("t", partitions=3)
        for name in "abcdefghi":
            rig.now += 1
            await rig.put("t", f"{name}#{name}")
        assert names((await rig.page("t/**")).events) == list("abcdefghi")


async def test_pages_take_turns_between_partitions() -> None:
    async with a_rig(batch_events=2) as rig:
        await rig.topic("t", partitions=2)
        keys: dict[int, set[int]] = {}
        for n in range(20):
            await rig.put("t", event(str(n), key=str(n).encode()))
        cursor = "earliest"
        seen: list[str] = []
        for _ in range(12):
            page = await rig.page("t/**", start=cursor, limit=2)
            cursor = page.cursor
            seen += names(page.events)
            keys[len(keys)] = {each.partition for each in page.events}
        assert sorted(map(int, seen)) == list(range(20))
        assert keys[0] != keys[1]


async def test_an_event_that_matches_several_sources_is_delivered_once() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.put("t", "a@x/y", "b@z")
        assert names((await rig.page("t/x/*", "t/**", "*/x/y", "**")).events) == ["a", "b"]


async def test_wildcards_leave_out_internal_topics_and_those_that_may_not_be_read() -> None:
    async with a_rig(authorise=lambda principal, topic: topic != "secret") as rig:
        for topic in ("a", "b", "secret", "_linkspan.x"):
            await rig.topic(topic)
            await rig.put(topic, f"{topic}@s")
        assert names((await rig.page("*/s")).events) == ["a", "b"]
        assert names((await rig.page("**")).events) == ["a", "b"]
        with pytest.raises(Forbidden):
            await rig.page("secret/**")
        with pytest.raises(Forbidden):
            await rig.reader.page(ReadRequest((Pattern("_linkspan.x", ("**",)),), EARLIEST), ANONYMOUS)


async def test_requests_that_cannot_be_served_say_why() -> None:
    async with a_rig(limits=Limits(page=50)) as rig:
        await rig.topic("t")
        for make in (rig.open, rig.page):
            with pytest.raises(UnknownTopic):
                await make("nowhere/**")
            with pytest.raises(InvalidInput, match="positive"):
                await make("t/**", limit=0)
        with pytest.raises(InvalidInput, match="at most 50"):
            await rig.page("t/**", limit=51)
        with pytest.raises(InvalidInput, match="1 to 100"):
            await rig.open()
        with pytest.raises(InvalidInput, match="at most 2,048 segments together"):
            await rig.open(*(f"t/{number}/{'*/' * 100}x" for number in range(21)))
        rig.bus.away()
        with pytest.raises(BusUnavailable):
            await rig.open("t/**")
        with pytest.raises(BusUnavailable):
            await rig.page("t/**", wait=5)
        assert rig.hub.followed == []


async def test_a_page_waits_for_the_first_match_and_no_longer() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.put("t", "old@x")
        began = time.monotonic()
        assert (await rig.page("t/x", start="latest", wait=0.1)).events == []
        assert time.monotonic() - began >= 0.09
        waiting = asyncio.create_task(rig.page("t/x", start="latest", wait=20))
        await eventually(lambda: rig.hub.followed == ["t"] and rig.bus.calls.get("bounds", 0) >= 4)
        for name in ("other@y", "new@x"):
            await rig.put("t", name)
        assert names((await waiting).events) == ["new"]
        assert rig.hub.followed == []
        assert time.monotonic() - began < 10


async def test_starts_by_time_and_by_duration_back() -> None:
    async with a_rig() as rig:
        await rig.topic("t", partitions=2)
        for n in range(10):
            rig.now = 1_000_000.0 + n * 60
            await rig.put("t", f"{n}#{n}")
        assert names((await rig.page("t/**", start="-3m")).events) == ["6", "7", "8", "9"]
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_000_000 + 8 * 60))
        assert names((await rig.page("t/**", start=at)).events) == ["8", "9"]
        assert len((await rig.page("t/**", start="-9999999d")).events) == 10
        assert (await rig.page("t/**", start="2999-01-01T00:00:00Z")).events == []
        stream = await rig.open("t/**", start="-1m")
        assert sorted(await read(stream, 2)) == ["8", "9"]


async def test_a_stream_brings_what_was_there_and_then_what_comes() -> None:
    async with a_rig(batch_events=2) as rig:
        await rig.topic("t")
        await rig.put("t", *"abcde")
        stream = await rig.open("t/**")
        assert not stream.live
        assert await read(stream, 5) == list("abcde")
        assert await stream.next(0) is None
        assert stream.live
        await rig.put("t", "f", "g")
        assert await read(stream, 2) == ["f", "g"]
        assert rig.bus.calls["read"] <= 4


async def test_the_start_is_fixed_when_open_returns() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.put("t", "before")
        stream = await rig.open("t/**", start="latest")
        await rig.put("t", "after")
        assert await read(stream, 1) == ["after"]


async def test_latest_is_the_edge_of_the_log_even_while_the_tail_is_late() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        first = await rig.open("t/**", start="latest")
        rig.bus.pause_tail()
        await rig.put("t", "before")
        second = await rig.open("t/**", start="latest")
        await rig.put("t", "after")
        rig.bus.resume_tail()
        assert await read(second, 1) == ["after"]
        assert await read(first, 2) == ["before", "after"]


async def test_every_event_has_a_cursor_that_resumes_behind_it() -> None:
    async with a_rig(batch_events=2) as rig:
        await rig.topic("t", partitions=2)
        await rig.put("t", *(f"{n}@{n % 3}" for n in range(12)))
        stream = await rig.open("t/0", "t/1")
        deliveries = await drain(stream)
        wanted = [name for each in deliveries for name in names(each.events)]
        assert sorted(map(int, wanted)) == [0, 1, 3, 4, 6, 7, 9, 10]
        at = 0
        for each in deliveries:
            assert len(each.cursors) == len(each.events)
            for cursor in each.cursors:
                at += 1
                rest = await drain(await rig.open("t/0", "t/1", start=cursor), 0.01)
                assert sorted(name for d in rest for name in names(d.events)) == sorted(wanted[at:])
        assert deliveries[-1].cursors[-1] == deliveries[-1].cursor or len(deliveries) > 1


async def test_the_cursor_passes_events_that_nobody_wants() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        stream = await rig.open("t/x", start="latest")
        await rig.put("t", "a@x", "b@y")
        await rig.put("t", "c@y")
        delivery = await stream.next(1)
        assert delivery is not None
        assert list(delivery.cursors) != [delivery.cursor]
        (mark,) = decode_cursor(delivery.cursor).marks.values()
        assert mark.offsets == (3,)
        await rig.put("t", "d@y")
        (mark,) = decode_cursor(stream.cursor).marks.values()
        assert mark.offsets == (4,)


async def test_a_stream_that_is_not_read_goes_on_from_the_log_and_joins_again() -> None:
    async with a_rig(limits=Limits(stream_buffer=4096)) as rig:
        await rig.topic("t")
        slow, quick = await rig.open("t/**", start="latest"), await rig.open("t/**", start="latest")
        expected = []
        for n in range(100):
            await rig.put("t", event(str(n), size=500))
            expected.append(str(n))
            assert await read(quick, 1) == [str(n)]
        assert not slow.live
        assert slow.lag > 0
        assert rig.reader.stats.overflows == 1
        assert [name for each in await drain(slow) for name in names(each.events)] == expected
        assert slow.live
        await rig.put("t", "on")
        assert await read(slow, 1) == await read(quick, 1) == ["on"]
        assert rig.hub.queued == 0


async def test_all_queues_together_have_a_bound() -> None:
    async with a_rig(limits=Limits(memory=2**20)) as rig:
        await rig.topic("t")
        await rig.topic("u")
        old, new = await rig.open("t/**", start="latest"), await rig.open("u/**", start="latest")
        for n in range(40):
            await rig.put("t", event(f"t{n}", size=5000))
        for n in range(100):
            await rig.put("u", event(f"u{n}", size=5000))
        assert rig.hub.queued <= 2**20
        assert not old.live
        for stream, topic, count in ((old, "t", 40), (new, "u", 100)):
            found = [name for each in await drain(stream) for name in names(each.events)]
            assert found == [f"{topic}{n}" for n in range(count)]


async def test_what_the_tail_loses_is_read_from_the_log() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        stream = await rig.open("t/**", start="latest")
        rig.bus.lose_tail(2)
        for name in "abc":
            await rig.put("t", name)
        assert await read(stream, 3) == ["a", "b", "c"]


async def test_what_was_stored_while_the_bus_was_away_comes_when_it_is_back() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        stream = await rig.open("t/**", start="latest")
        rig.bus.lose_tail()
        await rig.put("t", "a")
        rig.bus.away("cable")
        assert stream.health.ready is False
        assert await stream.next(0.02) is None
        rig.bus.back()
        assert await read(stream, 1) == ["a"]


async def test_a_stream_stays_open_while_the_bus_is_away_in_the_middle_of_catching_up() -> None:
    async with a_rig(batch_events=1) as rig:
        await rig.topic("t")
        await rig.put("t", event("a", size=300_000), event("b", size=300_000))
        stream = await rig.open("t/**")
        assert await read(stream, 1) == ["a"]
        rig.bus.away()
        assert await stream.next(0.05) is None
        rig.bus.back()
        assert await read(stream, 1) == ["b"]


async def test_a_page_does_not_wait_for_a_bus_that_is_away() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.put("t", "a")
        rig.bus.fail_next("read", BusUnavailable("away"))
        with pytest.raises(BusUnavailable):
            await rig.page("t/**")


async def test_a_closed_stream_ends_for_its_consumer() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        stream = await rig.open("t/**", start="latest")
        waiting = asyncio.create_task(stream.next())
        await asyncio.sleep(0)
        await rig.reader.close()
        with pytest.raises(EndOfStream) as caught:
            await waiting
        assert caught.value.reason == "closed"
        await stream.close()
        assert rig.hub.followed == []


async def test_a_stream_with_a_limit_ends_at_it() -> None:
    async with a_rig(batch_events=3) as rig:
        await rig.topic("t")
        await rig.put("t", *"abcde")
        stream = await rig.open("t/**", limit=4)
        assert await read(stream, 4) == list("abcd")
        with pytest.raises(EndOfStream) as caught:
            await stream.next(1)
        assert caught.value.reason == "limit"
        assert names((await rig.page("t/**", start=stream.cursor)).events) == ["e"]


async def test_a_call_that_is_cancelled_takes_nothing() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.put("t", "a")
        stream = await rig.open("t/**")
        release = rig.bus.hold("read")
        for _ in range(2):
            waiting = asyncio.create_task(stream.next())
            await eventually(lambda: rig.bus.calls.get("read", 0) >= 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await stream.next(0.02) is None
        release()
        assert await read(stream, 1) == ["a"]
        assert rig.bus.calls["read"] == 1


async def test_readers_of_the_same_range_share_reads() -> None:
    async with a_rig(batch_events=10) as rig:
        await rig.topic("t")
        for n in range(50):
            await rig.put("t", *(event(f"{n}-{m}", size=1000) for m in range(20)))
        await rig.page("t/**", limit=10_000)
        alone = rig.hub.log.reads
        streams = [await rig.open("t/**") for _ in range(10)]
        counts = await asyncio.gather(*(drain(stream) for stream in streams))
        assert [sum(len(each.events) for each in found) for found in counts] == [1000] * 10
        assert rig.hub.log.reads == alone
        assert rig.hub.log.shared >= 10 * alone / 2


async def test_the_metrics_say_what_readers_do() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        await rig.put("t", "a", "b")
        stream = await rig.open("t/**")
        text = rig.metrics.render().decode()
        assert 'linkspan_streams{state="catch-up"} 1.0' in text
        await read(stream, 2)
        await rig.page("t/**")
        text = rig.metrics.render().decode()
        assert 'linkspan_streams{state="live"} 1.0' in text
        assert "linkspan_read_events_total 4.0" in text
        assert "linkspan_pages_total 1.0" in text
        assert "linkspan_topics_followed 1.0" in text


async def test_a_wildcard_over_hundreds_of_topics_resumes_from_coarse_cursors_without_a_skip() -> None:
    async with a_rig() as rig:
        for n in range(250):
            await rig.topic(f"t{n}")
            await rig.topic(f"empty{n}")
            await rig.put(f"t{n}", f"a{n}", f"b{n}")
        rig.now += 3600
        wanted = {f"{x}{n}" for x in "ab" for n in range(250)}
        cursor, pages = "earliest", 0
        seen: list[str] = []
        while not wanted <= set(seen):
            page = await rig.page("*/**", start=cursor, limit=60)
            assert page.gaps == []
            assert len(page.cursor) < 4096
            seen += names(page.events)
            cursor = page.cursor
            pages += 1
            assert pages < 20
        assert len(seen) == 500
        assert (await rig.page("*/**", start=cursor)).events == []
        rig.now += 3600
        await rig.put("t3", "new")
        assert names((await rig.page("*/**", start=cursor)).events)[-1] == "new"
        stream = await rig.open("*/**", start=cursor)
        assert "new" in [name for each in await drain(stream) for name in names(each.events)]
