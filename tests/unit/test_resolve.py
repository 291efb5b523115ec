"""Start positions on a bus; the last N matching events above all."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.delivery import resolve
from gateway.delivery.resolve import gathered
from tests.conftest import eventually
from tests.unit.reading_support import Rig, a_rig, drain, event, names, read

pytestmark = pytest.mark.timeout(100)


async def fill(rig: Rig, events: list[tuple[int, int]], partitions: int) -> list[str]:
    """Events as (partition-ish key, subject number), a second apart; their names in time order."""
    await rig.topic("t", partitions)
    for n, (key, subject) in enumerate(events):
        rig.now += 1
        await rig.put("t", event(str(n), str(subject), key=str(key).encode()))
    return [str(n) for n, (_, subject) in enumerate(events) if subject == 0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=80),
    st.integers(1, 4),
    st.integers(1, 30),
    st.integers(0, 10),
)
def test_the_last_n_are_the_last_n_that_match_by_append_time(
    events: list[tuple[int, int]], partitions: int, wanted: int, retained: int
) -> None:
    async def example() -> None:
        async with a_rig(batch_events=3) as rig:
            matching = await fill(rig, events, partitions)
            rig.bus.truncate("t", 0, retained)
            kept = [n for n in matching if await readable(rig, n)]
            page = await rig.page("t/0", start=f"last:{wanted}", limit=100)
            assert names(page.events) == kept[-wanted:]
            stream = await rig.open("t/0", start=f"last:{wanted}")
            await rig.put("t", event("new", "0"))
            found = [name for each in await drain(stream, 0.002) for name in names(each.events)]
            assert sorted(found) == sorted([*kept[-wanted:], "new"])

    asyncio.run(example())


async def readable(rig: Rig, name: str) -> bool:
    return name in names((await rig.page("t/**", limit=1000)).events)


async def test_the_last_n_of_several_topics_share_the_number() -> None:
    async with a_rig() as rig:
        for topic in ("a", "b", "c"):
            await rig.topic(topic)
        for n in range(30):
            rig.now += 1
            await rig.put("a" if n < 20 else "b", str(n))
        assert names((await rig.page("*/**", start="last:12")).events) == [str(n) for n in range(18, 30)]
        assert len((await rig.page("*/**", start="last:10000", limit=100)).events) == 30


async def test_the_last_n_do_not_look_further_back_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_rig(batch_events=10) as rig:
        await rig.topic("t")
        await rig.put("t", *(f"{n}@x" for n in range(10)))
        await rig.put("t", *(f"{n}@y" for n in range(2000)))
        assert len((await rig.page("t/x", start="last:5")).events) == 5
        monkeypatch.setattr(resolve, "LAST_BYTES", 50_000)
        assert (await rig.page("t/x", start="last:5")).events == []
        assert len((await rig.page("t/y", start="last:5")).events) == 5


async def test_looking_back_passes_damage_and_retention() -> None:
    async with a_rig(batch_events=2) as rig:
        await rig.topic("t")
        await rig.put("t", *(f"{n}" for n in range(100)))
        rig.bus.corrupt("t", 0, 97)
        release = rig.bus.hold("read")
        opening = asyncio.create_task(rig.open("t/**", start="last:90"))
        await eventually(lambda: rig.bus.calls.get("read"))
        rig.bus.truncate("t", 0, 50)
        release()
        stream = await opening
        assert await read(stream, 48) == [str(n) for n in range(50, 100) if n not in (96, 97)]


async def test_looking_back_stops_where_the_bus_has_nothing_to_give() -> None:
    async with a_rig(batch_events=2) as rig:
        await rig.topic("t")
        await rig.put("t", *"abcd")
        log = rig.bus.topic("t").partitions[0]
        del log.batches[1]
        assert names((await rig.page("t/**", start="last:3")).events) == ["a", "b"]


async def test_questions_are_asked_together_and_the_first_error_ends_them() -> None:
    asked: list[int] = []
    under_way = 0

    async def ask(n: int) -> int:
        nonlocal under_way
        under_way += 1
        asked.append(under_way)
        await asyncio.sleep(0)
        under_way -= 1
        if n == 30:
            raise ValueError("thirty")
        return n

    assert await gathered([ask(n) for n in range(20)], at_once=5) == list(range(20))
    assert max(asked) == 5
    with pytest.raises(ValueError, match="thirty"):
        await gathered([ask(n) for n in range(25, 50)], at_once=2)
    assert await gathered([ask(1)]) == [1]
    assert await gathered([]) == []
