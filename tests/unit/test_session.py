"""Sessions: members at the live edge, readers of the log when they cannot keep up, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.errors import BusUnavailable, InvalidInput, InvalidPosition
from gateway.event import Event
from tests.unit.live_support import LineForm, ListSink, a_live_rig, session_of, until
from tests.unit.reading_support import event


async def test_who_reads_again_gets_every_event_in_order() -> None:
    async with a_live_rig(batch_events=10) as rig:
        await rig.topic("t")
        slow, quick = await rig.subscribe("t/**", capacity=500), await rig.subscribe("t/**")
        for number in range(300):
            await rig.put("t", f"{number}")
            if number % 10 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(quick.ids) == 300)
        assert session_of(slow).paused
        assert not session_of(slow).live
        held = len(slow.ids)
        assert held < 300
        while len(slow.ids) < 300:
            slow.drained()
            await asyncio.sleep(0.001)
        assert slow.ids == [str(number) for number in range(300)]
        slow.capacity = None
        slow.drained()
        await until(lambda: session_of(slow).live)
        assert rig.views.overflows["catch-up"].value >= 1


async def test_a_paused_session_holds_a_place_and_nothing_else() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        sink = await rig.subscribe("t/**")
        before = asyncio.all_tasks()
        session_of(sink).pause()
        await rig.put("t", *map(str, range(50)))
        await asyncio.sleep(0.01)
        session = session_of(sink)
        assert (session._stream, session._task, session.live) == (None, None, False)
        assert asyncio.all_tasks() == before
        assert sink.blocks == []


async def test_latest_brings_the_newest_of_each_key_and_tells_the_gap() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        sink, _ = await rig.subscribe("t/**", overflow="latest"), await rig.subscribe("t/**")
        await rig.put("t", "0#a")
        await until(lambda: sink.ids == ["0"])
        session_of(sink).pause()
        await rig.put("t", "1#a", "2#b", "3#a", "4#c")
        await rig.put("t", "5#b")
        await until(lambda: rig.views.views()[0].away and the_place(rig) == 6)
        session_of(sink).resume()
        await until(lambda: session_of(sink).live)
        assert sink.ids == ["0", "3", "4", "5"]
        [gap] = sink.gaps
        assert (gap.from_offset, gap.to_offset, gap.reason) == (1, 6, "overflow")
        assert rig.views.dropped["latest"].value == 2
        await rig.put("t", "6#a")
        await until(lambda: sink.ids[-1] == "6")
        resumed = await rig.subscribe("t/**", start=sink.events[1].cursor)
        await until(lambda: resumed.ids == ["1", "2", "3", "4", "5", "6"])


def the_place(rig: object) -> int:
    [scope] = rig.views._scopes.values()  # type: ignore[attr-defined]
    [mark] = scope.place().cursor.marks.values()
    return int(mark.offsets[0])


async def test_latest_keeps_no_more_than_its_buffer() -> None:
    from gateway.config.model import Limits

    async with a_live_rig(limits=Limits(stream_buffer=4096)) as rig:
        await rig.topic("t")
        sink, other = await rig.subscribe("t/**", overflow="latest"), await rig.subscribe("t/**")
        session_of(sink).pause()
        await rig.put("t", *(event(str(n), key=str(n).encode(), size=500) for n in range(20)))
        await until(lambda: len(other.ids) == 20)
        session_of(sink).resume()
        await until(lambda: session_of(sink).live)
        assert sink.ids == ["16", "17", "18", "19"]
        assert len(sink.gaps) == 1


async def test_latest_without_anything_missed_says_nothing() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        sink = await rig.subscribe("t/**", overflow="latest")
        session_of(sink).pause()
        session_of(sink).resume()
        assert session_of(sink).live
        assert sink.blocks == []


async def test_drop_goes_on_with_what_comes_then_and_tells_the_gap() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        sink, other = await rig.subscribe("t/x", overflow="drop"), await rig.subscribe("t/**")
        session_of(sink).pause()
        await rig.put("t", "1@x", "2@y", "3@x")
        await until(lambda: len(other.ids) == 3)
        session_of(sink).resume()
        await rig.put("t", "4@x")
        await until(lambda: sink.ids == ["4"])
        [gap] = sink.gaps
        assert (gap.from_offset, gap.to_offset, gap.reason) == (0, 3, "overflow")
        assert rig.views.dropped["drop"].value == 2


async def test_disconnect_ends_it() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        sink = await rig.subscribe("t/**", overflow="disconnect")
        session_of(sink).pause()
        assert sink.end == ("overflow", None)
        session_of(sink).resume()
        assert not rig.views._scopes


@pytest.mark.parametrize("start", ["earliest", "latest"])
async def test_a_limit_is_kept_to_the_event(start: str) -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        if start == "earliest":
            await rig.put("t", "1", "2", "3", "4", "5")
        sink = await rig.subscribe("t/**", start=start, limit=3)
        if start == "latest":
            await rig.put("t", "1", "2")
            await rig.put("t", "3", "4", "5")
        await until(lambda: sink.end)
        assert (sink.ids, sink.end) == (["1", "2", "3"], ("limit", None))
        assert not rig.views._scopes
        assert not rig.views.catching_up


async def test_a_sink_that_is_full_from_the_start_loses_nothing() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        for start in ("latest", "earliest"):
            sink = await rig.subscribe("t/**", start=start, begin=False)
            session_of(sink).pause()
            session_of(sink).begin()
            await rig.put("t", start)
            assert sink.blocks == []
            session_of(sink).resume()
            await last_is(sink, start)


async def test_what_comes_between_the_answer_and_the_beginning_is_delivered() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        other = await rig.subscribe("t/**")
        sink = await rig.subscribe("t/**", begin=False)
        await rig.put("t", "a")
        await until(lambda: other.ids == ["a"])
        session_of(sink).begin()
        await until(lambda: sink.ids == ["a"] and session_of(sink).live)


async def test_the_cursor_never_runs_ahead_of_what_was_written() -> None:
    async with a_live_rig(batch_events=10) as rig:
        await rig.topic("t")
        await rig.put("t", *map(str, range(500)))
        sinks = [await rig.subscribe("t/**", start="earliest") for _ in range(5)]
        while not all(len(sink.ids) == 500 for sink in sinks):
            for sink in sinks:
                resumed = await rig.subscribe("t/**", start=session_of(sink).cursor, limit=1, begin=False)
                offset = resumed.session._stream._writer.offset("t", 0)  # type: ignore[union-attr]
                assert offset <= len(sink.ids), "what is between was not written"
                session_of(resumed).close()
            await asyncio.sleep(0)


async def test_a_limit_goes_with_every_event_alone() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        with pytest.raises(InvalidInput, match="does not go with a limit"):
            await rig.subscribe("t/**", limit=5, overflow="drop")
        assert not rig.views._scopes


async def test_a_wire_that_broke_while_catching_up_ends_quietly() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        await rig.put("t", "a")
        sink = await rig.subscribe("t/**", start="earliest", begin=False)
        sink.broken = True
        session_of(sink).begin()
        await until(lambda: sink.end)
        assert sink.end == ("failed", None)
        away = await rig.subscribe("t/**", overflow="latest")
        session_of(away).pause()
        await rig.put("t", "b")
        await until(lambda: the_place(rig) == 2)
        away.broken = True
        session_of(away).resume()
        assert away.end == ("failed", None)
        assert not rig.views._scopes


async def test_cursors_resume_wherever_it_stands() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        sink = await rig.subscribe("t/**", begin=False)
        first = session_of(sink).cursor
        session_of(sink).begin()
        await rig.put("t", "a", "b")
        await until(lambda: sink.ids == ["a", "b"])
        live = session_of(sink).cursor
        session_of(sink).pause()
        paused = session_of(sink).cursor
        await rig.put("t", "c")
        catching_up = await rig.subscribe("t/**", start=first, begin=False)
        assert session_of(catching_up).lag == 3
        assert session_of(sink).lag == 0
        for cursor, ids in (
            (first, ["a", "b", "c"]),
            (live, ["c"]),
            (paused, ["c"]),
            (session_of(catching_up).cursor, ["a", "b", "c"]),
        ):
            resumed = await rig.subscribe("t/**", start=cursor)
            await ids_are(resumed, ids)


@pytest.mark.parametrize(("recreate", "cause"), [(False, "deleted"), (True, "recreated")])
async def test_a_topic_that_went_while_it_was_paused_ends_it(recreate: bool, cause: str) -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        await rig.topic("u")
        sink = await rig.subscribe("t/**", "u/**")
        session_of(sink).pause()
        await rig.bus.delete_topic("t")
        if recreate:
            await rig.topic("t")
        session_of(sink).resume()
        await until(lambda: sink.end)
        assert sink.end == (cause, None)
        assert not rig.views.catching_up


async def test_an_error_of_the_bus_ends_it_with_that_error() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        sink = await rig.subscribe("t/**")
        session_of(sink).pause()
        await rig.put("t", "a")
        rig.bus.fail_next("bounds", BusUnavailable("away"))
        session_of(sink).resume()
        await until(lambda: sink.end)
        assert sink.end is not None
        assert isinstance(sink.end[1], BusUnavailable)


async def test_a_defect_of_a_form_ends_one_subscriber_alone() -> None:
    class Broken(LineForm):
        def block(self, parts: Sequence[bytes], cursors: Sequence[str], cursor: str) -> bytes:
            raise ZeroDivisionError

    async with a_live_rig() as rig:
        await rig.topic("t")
        await rig.put("t", "a")
        broken, good = await rig.subscribe("t/**", start="earliest", form=Broken("b")), await rig.subscribe("t/**")
        await until(lambda: broken.end)
        assert broken.end == ("failed", None)
        live = await rig.subscribe("t/**", form=Broken("b"))
        await rig.put("t", "b")
        await until(lambda: good.ids == ["b"])
        await until(lambda: live.end)
        await rig.put("t", "c")
        await until(lambda: good.ids == ["b", "c"])


async def test_closing_is_final_in_every_state() -> None:
    async with a_live_rig(batch_events=1) as rig:
        await rig.topic("t")
        await rig.put("t", *map(str, range(10)))
        reading = await rig.subscribe("t/**", start="earliest")
        waiting = await rig.subscribe("t/**", start="earliest")
        session_of(waiting).pause()
        away = await rig.subscribe("t/**", overflow="latest")
        session_of(away).pause()
        fresh = await rig.subscribe("t/**", start="earliest", begin=False)
        await asyncio.sleep(0)
        sinks = (reading, waiting, away, fresh)
        for sink in sinks:
            session_of(sink).close()
            session_of(sink).close()
            session_of(sink).resume()
        before = [len(sink.blocks) for sink in sinks]
        await rig.put("t", "more")
        await asyncio.sleep(0.02)
        assert [len(sink.blocks) for sink in sinks] == before
        assert all(sink.end is None for sink in sinks)
        assert not rig.views._scopes
        assert not rig.views.catching_up
        assert not rig.hub.followed


async def test_a_cursor_of_other_topics_is_refused() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        await rig.topic("u")
        sink = await rig.subscribe("t/**", start="earliest", begin=False)
        with pytest.raises(InvalidPosition):
            await rig.subscribe("u/**", start=session_of(sink).cursor)


async def ids_are(sink: ListSink, ids: list[str]) -> None:
    await until(lambda: sink.ids == ids)


async def last_is(sink: ListSink, id: str) -> None:
    await until(lambda: sink.ids[-1:] == [id])


def test_an_event_has_a_weight() -> None:
    from gateway.delivery.view import Absence

    absence = Absence(None)
    absence.miss([Event({}, b"x")])
    assert (absence.missed, absence.kept()) == (1, [])


def test_what_is_kept_is_weighed_with_its_attributes() -> None:
    from gateway.delivery.view import Absence

    absence = Absence(100_000)
    absence.miss([Event({"big": "x" * 64_000}, None, str(n).encode(), "t", 0, n) for n in range(50)])
    assert [event.offset for event in absence.kept()] == [49]
