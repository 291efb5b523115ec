"""Scopes: matched once, encoded once, the same bytes to every member, and nobody keeps the others waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.delivery import scope as scopes
from gateway.delivery.scope import Scope
from gateway.errors import CorruptData
from gateway.event import Event
from tests.unit.live_support import LineForm, ListSink, LiveRig, a_live_rig, encode_places, session_of, until
from tests.unit.reading_support import event


def the_scope(rig: LiveRig) -> Scope:
    [scope] = rig.views._scopes.values()
    return scope


async def test_every_member_gets_the_same_bytes_object() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        sinks = [await rig.subscribe("t/**") for _ in range(5)]
        await rig.put("t", "a", "b")
        await until(lambda: all(sink.ids == ["a", "b"] for sink in sinks))
        assert len({id(sink.blocks[0]) for sink in sinks}) == 1


async def test_views_that_select_alike_share_the_encoding() -> None:
    calls = 0

    class Counting(LineForm):
        @staticmethod
        def encode(events: Sequence[Event]) -> list[bytes]:
            nonlocal calls
            calls += 1
            return encode_places(events)

    async with a_live_rig() as rig:
        await rig.topic("t")
        one, two = await rig.subscribe("t/**", form=Counting("1")), await rig.subscribe("t/**", form=Counting("2"))
        await rig.put("t", "a")
        await until(lambda: one.ids == two.ids == ["a"])
        assert calls == 1
        assert len(the_scope(rig).views) == 2


async def test_each_subject_goes_to_those_who_want_it() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        narrow, wide = await rig.subscribe("t/a/x"), await rig.subscribe("t/a/*", "t/b")
        everything, bare = await rig.subscribe("t/**"), await rig.subscribe("t")
        await rig.put("t", "1@a/x", "2@a/y", "3@b", "4")
        await until(lambda: everything.ids == ["1", "2", "3", "4"])
        assert (narrow.ids, wide.ids, bare.ids) == (["1"], ["1", "2", "3"], ["4"])


async def test_what_comes_while_a_flush_lingers_is_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scopes, "LINGER", 1e6)
    monkeypatch.setattr(scopes, "MAX_LINGER", 0.05)
    async with a_live_rig() as rig:
        await rig.topic("t")
        sink = await rig.subscribe("t/**")
        await rig.put("t", "first")
        await until(lambda: sink.ids == ["first"])
        await asyncio.sleep(0)
        for name in "abc":
            await rig.put("t", name)
            await asyncio.sleep(0.001)
        assert sink.ids == ["first"], "it waits for company"
        await until(lambda: sink.ids == ["first", "a", "b", "c"])
        assert len(sink.blocks) == 2


async def test_plenty_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scopes, "LINGER", 1e9)
    monkeypatch.setattr(scopes, "MAX_LINGER", 60.0)
    async with a_live_rig() as rig:
        await rig.topic("t")
        sink = await rig.subscribe("t/**")
        await rig.put("t", "first")
        await until(lambda: sink.ids == ["first"])
        await asyncio.sleep(0)
        await rig.put("t", "small")
        await asyncio.sleep(0.01)
        assert sink.ids == ["first"]
        await rig.put("t", event("large", size=scopes.PLENTY))
        await until(lambda: sink.ids == ["first", "small", "large"])


async def test_a_broken_member_does_not_keep_a_block_from_the_others() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        sinks = [await rig.subscribe("t/**") for _ in range(3)]
        sinks[1].broken = True
        await rig.put("t", "a")
        await until(lambda: sinks[0].ids == sinks[2].ids == ["a"])
        assert sinks[1].end == ("failed", None)
        assert the_scope(rig).members == 2


async def test_many_members_are_served_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scopes, "STEP_MEMBERS", 2)
    monkeypatch.setattr(scopes, "STEP_SECONDS", 0.0)
    async with a_live_rig() as rig:
        await rig.topic("t")
        sinks = [await rig.subscribe("t/**") for _ in range(7)]

        def first_step() -> None:
            if not session_of(sinks[5]).paused:
                session_of(sinks[6]).close()
                session_of(sinks[5]).pause()

        sinks[0].written = first_step
        await rig.put("t", "a")
        await until(lambda: sinks[0].blocks)
        late = await rig.subscribe("t/**", start="latest")
        await rig.put("t", "b")
        await until(lambda: all(sink.ids == ["a", "b"] for sink in sinks[:5]))
        assert not sinks[6].blocks, "who has ended gets nothing more"
        assert sinks[5].ids == ["a"], "who is full gets the flush under way, whole"
        session_of(sinks[5]).resume()
        await until(lambda: sinks[5].ids == ["a", "b"])
        await until(lambda: late.ids == ["b"])


async def test_what_the_tail_left_out_comes_from_the_log() -> None:
    async with a_live_rig(batch_events=1) as rig:
        await rig.topic("t")
        sinks = [await rig.subscribe("t/**"), await rig.subscribe("t/x")]
        rig.bus.lose_tail(3)
        await rig.put("t", "a@x", "b@y", "c@x", "d@x")
        await until(lambda: sinks[0].ids == ["a", "b", "c", "d"])
        assert sinks[1].ids == ["a", "c", "d"]
        assert all(session_of(sink).live for sink in sinks)


async def test_members_are_told_of_a_gap() -> None:
    async with a_live_rig(batch_events=1) as rig:
        await rig.topic("t")
        sink = await rig.subscribe("t/**")
        rig.bus.lose_tail(2)
        await rig.put("t", "a", "b")
        rig.bus.truncate("t", 0, 2)
        await rig.put("t", "c")
        await until(lambda: sink.ids == ["c"])
        [gap] = sink.gaps
        assert (gap.from_offset, gap.to_offset, gap.reason) == (0, 2, "retention")


async def test_damage_that_says_nothing_of_where_to_go_on_ends_the_members() -> None:
    async with a_live_rig(batch_events=1) as rig:
        await rig.topic("t")
        sink = await rig.subscribe("t/**")
        rig.bus.lose_tail(1)
        await rig.put("t", "a")
        rig.bus.fail_next("read", CorruptData("all is lost"))
        await rig.put("t", "b")
        await until(lambda: sink.end)
        assert sink.end is not None
        assert sink.end[0] == "failed"
        assert isinstance(sink.end[1], CorruptData)
        assert not rig.views._scopes


async def test_members_end_with_their_topic() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        sinks: list[ListSink] = [await rig.subscribe("t/**"), await rig.subscribe("t/x")]
        await rig.put("t", "a@x")
        await rig.bus.delete_topic("t")
        await until(lambda: all(sink.end for sink in sinks))
        assert [sink.end for sink in sinks] == [("deleted", None)] * 2
        assert not rig.views._scopes


async def test_topics_and_partitions_that_appear_are_delivered_from_their_start() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        wild, narrow = await rig.subscribe("**"), await rig.subscribe("*/x")
        await rig.topic("u", 2)
        await rig.put("u", "a#1@x", "b#2@y", "c#3@x")
        await until(lambda: sorted(wild.ids) == ["a", "b", "c"])
        await until(lambda: sorted(narrow.ids) == ["a", "c"])


async def test_views_and_targets_without_members_are_gone() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        kept = await rig.subscribe("t/**")
        for number in range(20):
            gone = await rig.subscribe(f"t/s/{number}")
            await rig.put("t", f"e{number}@s/{number}")
            await ids_are(gone, [f"e{number}"])
            session_of(gone).close()
        scope = the_scope(rig)
        assert len(scope.views) == len(scope._matcher.targets) == 1
        assert not scope._matcher._indexes["t"].narrow
        session_of(kept).close()
        assert not rig.views._scopes
        assert not rig.hub.followed


async def ids_are(sink: ListSink, ids: list[str]) -> None:
    await until(lambda: sink.ids == ids)


async def test_a_quiet_topic_does_not_wait_for_a_busy_one() -> None:
    async with a_live_rig() as rig:
        await rig.topic("busy")
        await rig.topic("quiet")
        crowd = [await rig.subscribe("busy/**") for _ in range(300)]
        quiet = await rig.subscribe("quiet/**")
        for _ in range(20):
            await rig.put("busy", *(event(str(n), size=200) for n in range(100)))
        await rig.put("quiet", "q")
        await until(lambda: quiet.ids == ["q"], 0.5)
        await until(lambda: all(len(sink.ids) == 2000 for sink in crowd[:3]), 10)
