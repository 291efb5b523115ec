"""Live delivery as doors see it: who shares what, what is refused, and what operators can see."""

from __future__ import annotations

import asyncio

import pytest

from auth.principal import ANONYMOUS, Principal
from gateway.delivery.live import MAX_SERIES, MIN_CHUNK
from gateway.delivery.reader import ReadRequest
from gateway.delivery.window import CHUNK
from gateway.errors import InvalidInput, UnknownTopic
from tests.unit.live_support import LineForm, ListSink, a_live_rig, session_of, until
from tests.unit.reading_support import request


async def test_who_starts_at_the_live_edge_opens_no_stream_and_no_task() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        await rig.subscribe("t/**")
        streams, tasks = len(rig.rig.reader._streams), asyncio.all_tasks()
        sinks = [await rig.subscribe(f"t/{number}") for number in range(10)]
        assert len(rig.rig.reader._streams) == streams == 1
        assert asyncio.all_tasks() == tasks
        assert all(session_of(sink).live for sink in sinks)


async def test_what_was_stored_before_is_not_delivered_at_the_live_edge() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        first = await rig.subscribe("t/**")
        await rig.put("t", "a")
        # The flush has not come yet: who joined the view now would get it.
        second = await rig.subscribe("t/**")
        await rig.put("t", "b")
        await until(lambda: first.ids == ["a", "b"])
        await until(lambda: second.ids == ["b"])


async def test_a_tail_that_lags_behind_does_not_bring_older_events() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        first = await rig.subscribe("t/**")
        rig.bus.pause_tail()
        await rig.put("t", "a")
        second = await rig.subscribe("t/**")
        rig.bus.resume_tail()
        await rig.put("t", "b")
        await until(lambda: first.ids == ["a", "b"] and second.ids == ["b"])
        await until(lambda: session_of(second).live)


async def test_nobody_shares_a_scope_with_somebody_else() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        await rig.subscribe("t/**")
        sink = ListSink()
        await rig.views.subscribe(request(["t/**"], "latest"), Principal("alice"), LineForm(), sink)
        assert len(rig.views._scopes) == 2


async def test_refusals_leave_nothing_behind() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        for wanted, error in (
            (request(["missing/**"], "latest"), UnknownTopic),
            (request(["missing/**"], "earliest"), UnknownTopic),
            (request(["t/**", "missing"], "latest"), UnknownTopic),
            (ReadRequest((), request(["t"], "latest").start), InvalidInput),
        ):
            with pytest.raises(error):
                await rig.views.subscribe(wanted, ANONYMOUS, LineForm(), ListSink())
        assert not rig.views._scopes
        assert not rig.hub.followed
        await rig.subscribe("t/**")
        with pytest.raises(UnknownTopic):
            await rig.subscribe("t/**", "missing/**")


async def test_a_named_topic_that_went_is_unknown_though_others_go_on() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        await rig.topic("u")
        await rig.subscribe("t/**", "u/**")
        await rig.bus.delete_topic("u")
        await asyncio.sleep(0.01)
        with pytest.raises(UnknownTopic):
            await rig.subscribe("t/**", "u/**")


async def test_a_scope_that_lost_its_last_session_while_it_opened_is_gone() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        release = rig.bus.hold("bounds")
        asking = asyncio.create_task(rig.subscribe("t/**"))
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        release()
        await until(lambda: not rig.views._opening)
        assert not rig.views._scopes
        assert not rig.hub.followed


async def test_operators_see_views_and_figures() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        for _ in range(3):
            await rig.subscribe("t/a/*")
        slow = await rig.subscribe("t/**", overflow="drop")
        session_of(slow).pause()
        await rig.put("t", "1@a/x", "2@b/x")
        await until(lambda: rig.views.views()[0].deliveries == 3)
        first, second = rig.views.views()
        assert (first.scope, first.patterns, first.members, first.events) == ("t", ["t/a/*"], 3, 1)
        assert (second.members, second.away) == (0, 1)
        shown = rig.metrics.render().decode()
        assert 'linkspan_deliveries_total{topic="t"} 3.0' in shown
        assert 'linkspan_encoded_events_total{topic="t"} 1.0' in shown
        assert 'linkspan_subscribers{state="live",topic="t"} 3.0' in shown
        assert 'linkspan_subscribers{state="catch-up",topic="t"} 1.0' in shown
        assert 'linkspan_delivery_seconds_count{topic="t"} 3.0' in shown
        assert 'linkspan_overflows_total{policy="drop"} 1.0' in shown
        assert "linkspan_views 2.0" in shown


async def test_only_topics_that_exist_have_series_and_many_share_one() -> None:
    async with a_live_rig() as rig:
        for number in range(50):
            with pytest.raises(UnknownTopic):
                await rig.subscribe(f"missing{number}/**")
        assert b"missing" not in rig.metrics.render()
        long = "m" * 249
        for number in range(MAX_SERIES):
            await rig.topic(f"t{number}")
            session_of(await rig.subscribe(f"t{number}/**")).close()
        await rig.topic(long)
        await rig.topic("real")
        await rig.subscribe(f"{long}/**")
        await rig.subscribe("real/**")
        shown = rig.metrics.render()
        assert b'linkspan_subscribers{state="live",topic="_other"} 2.0' in shown
        await rig.bus.delete_topic("t7")
        assert b'topic="t7"' not in rig.metrics.render()
        await rig.subscribe(f"{long}/x")
        assert rig.views.views()[0].scope == long


async def test_the_more_catch_up_the_less_each_takes_at_once() -> None:
    async with a_live_rig() as rig:
        assert rig.views.chunk == CHUNK
        rig.views.catching_up = 100_000
        assert rig.views.chunk == MIN_CHUNK
        rig.views.catching_up = 0


async def test_those_who_catch_up_together_share_their_blocks() -> None:
    async with a_live_rig(batch_events=10) as rig:
        await rig.topic("t")
        await rig.put("t", *map(str, range(100)))
        sinks = [await rig.subscribe("t/**", start="earliest") for _ in range(5)]
        await until(lambda: all(len(sink.ids) == 100 for sink in sinks))
        assert rig.views.encodings.encoded == 100
        assert rig.views.encodings.shared == 400
        assert len({id(sink.blocks[0]) for sink in sinks}) == 1


async def test_encodings_of_a_topic_go_with_it() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        await rig.put("t", "old")
        await until_read(await rig.subscribe("t/**", start="earliest"), ["old"])
        assert rig.views.encodings.bytes
        await rig.bus.delete_topic("t")
        assert not rig.views.encodings.bytes
        await rig.topic("t")
        await rig.put("t", "new")
        await until_read(await rig.subscribe("t/**", start="earliest"), ["new"])


async def until_read(sink: ListSink, ids: list[str]) -> None:
    await until(lambda: sink.ids == ids)


async def test_the_end_of_the_gateway_is_told_to_everybody() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        sinks = [await rig.subscribe("t/**"), await rig.subscribe("t/**", start="earliest", begin=False)]
        await rig.views.close()
        assert [sink.end for sink in sinks] == [("closed", None)] * 2
