"""Pages end at a number of bytes, whatever was asked for; what is read for one is bounded as well."""

from __future__ import annotations

import pytest

from gateway.config.model import Limits
from gateway.delivery import reader
from gateway.delivery.handover import Gap
from gateway.delivery.outcome import Page
from gateway.delivery.paging import PAGE_BYTES, merged
from gateway.delivery.window import CHUNK
from gateway.event import Event
from tests.unit.reading_support import Rig, a_rig, event, names

pytestmark = pytest.mark.timeout(60)
LARGE = 300_000


def data_of(page: Page) -> int:
    return sum(len(each.value or b"") for each in page.events)


async def every_page(rig: Rig, *sources: str, start: str = "earliest") -> list[Page]:
    pages = [await rig.page(*sources, start=start, limit=10_000)]
    while pages[-1].more:
        pages.append(await rig.page(*sources, start=pages[-1].cursor, limit=10_000))
    return pages


def all_names(pages: list[Page]) -> list[str]:
    return [name for page in pages for name in names(page.events)]


async def test_a_page_ends_at_a_number_of_bytes_and_the_next_goes_on_there() -> None:
    async with a_rig(batch_events=4) as rig:
        await rig.topic("t")
        for n in range(15):
            await rig.put("t", *(event(f"{n * 4 + m}", size=LARGE) for m in range(4)))
        first = await rig.page("t/**", limit=10_000)
        assert first.more
        assert PAGE_BYTES - LARGE < data_of(first) <= PAGE_BYTES
        # Each read brings one batch: that which was cut is the last one read.
        assert rig.bus.calls["read"] == len(first.events) // 4 + 1
        pages = await every_page(rig, "t/**")
        assert all_names(pages) == [str(n) for n in range(60)]
        assert max(map(data_of, pages)) <= PAGE_BYTES


async def test_a_page_over_many_topics_and_partitions_is_bounded_before_it_is_merged() -> None:
    async with a_rig(batch_events=1) as rig:
        for n in range(30):
            await rig.topic(f"t{n}", partitions=2)
        for n in range(90):
            rig.now += 1
            await rig.put(f"t{n % 30}", event(str(n), key=str(n).encode(), size=LARGE))
        first = await rig.page("*/**", limit=10_000)
        assert rig.bus.calls["read"] <= PAGE_BYTES // LARGE + 2
        assert rig.hub.log.bytes <= PAGE_BYTES + LARGE + CHUNK
        times = [each.timestamp_ms for each in first.events]
        assert times == sorted(times)
        pages = await every_page(rig, "*/**")
        assert sorted(map(int, all_names(pages))) == list(range(90))
        assert max(map(data_of, pages)) <= PAGE_BYTES


async def test_an_event_larger_than_a_page_is_a_page() -> None:
    async with a_rig(limits=Limits()) as rig:
        await rig.topic("t")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reader, "PAGE_BYTES", 1000)
            await rig.put("t", event("a", size=10), event("b", size=5000), event("c", size=5000), event("d", size=10))
            pages = await every_page(rig, "t/**")
            assert [names(page.events) for page in pages] == [["a"], ["b"], ["c"], ["d"]]
            assert not pages[-1].more


async def test_attributes_count_as_data_does() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reader, "PAGE_BYTES", 1000)
            for n in range(3):
                one = event(str(n), size=0)
                one.attributes["remark"] = "x" * 600
                await rig.put("t", one)
            assert [names(page.events) for page in await every_page(rig, "t/**")] == [["0"], ["1"], ["2"]]


async def test_only_what_matches_counts() -> None:
    async with a_rig(batch_events=3) as rig:
        await rig.topic("t")
        for n in range(40):
            await rig.put("t", event(f"large{n}", "y", size=LARGE), event(str(n), "x", size=1000))
        page = await rig.page("t/x", limit=10_000)
        assert (names(page.events), page.more) == ([str(n) for n in range(40)], False)


async def test_a_page_that_waits_is_bounded_as_well() -> None:
    async with a_rig() as rig:
        await rig.topic("t")
        for n in range(20):
            await rig.put("t", event(str(n), size=LARGE))
        page = await rig.page("t/**", limit=10_000, wait=5)
        assert page.more
        assert data_of(page) <= PAGE_BYTES


async def test_the_last_n_large_events_are_found_within_the_bound_and_paged() -> None:
    async with a_rig(batch_events=2) as rig:
        await rig.topic("t")
        for n in range(100):
            await rig.put("t", event(str(n), size=1_000_000), event(f"{n}+", size=10))
        pages = await every_page(rig, "t/**", start="last:10000")
        found = all_names(pages)
        assert len(found) >= 40
        assert found[-1] == "99+"
        assert max(map(data_of, pages)) <= PAGE_BYTES


async def test_adjoining_damage_is_one_gap_in_pages_and_streams() -> None:
    async with a_rig(batch_events=2) as rig:
        await rig.topic("t", partitions=2)
        for n in range(20):
            await rig.put("t", event(f"{n}", key=b"k"), event(f"{n}+", key=b"k"))
        lane = (await rig.page("t/**", limit=1)).events[0].partition
        for offset in (10, 12, 14, 20):
            rig.bus.corrupt("t", lane, offset)
        expected = [Gap("t", lane, 10, 16, "corrupt"), Gap("t", lane, 20, 22, "corrupt")]
        rig.hub.log.forget("t")
        page = await rig.page("t/**", limit=1000)
        assert page.gaps == expected
        assert len(page.events) == 32
        stream = await rig.open("t/**")
        told: list[Gap] = []
        while not stream.live or len(told) < 2:
            delivery = await stream.next(1)
            assert delivery is not None
            told += delivery.gaps
        assert told == expected


async def test_damage_up_to_the_end_is_told() -> None:
    async with a_rig(batch_events=1) as rig:
        await rig.topic("t")
        await rig.put("t", "a", "b", "c")
        rig.bus.corrupt("t", 0, 1)
        rig.bus.corrupt("t", 0, 2)
        page = await rig.page("t/**")
        assert (names(page.events), page.gaps, page.more) == (["a"], [Gap("t", 0, 1, 3, "corrupt")], False)
        assert (await rig.page("t/**", start=page.cursor)).gaps == []


def test_merging_keeps_the_order_of_each_partition() -> None:
    def at(partition: int, offset: int, when: int) -> Event:
        return Event({}, topic="t", partition=partition, offset=offset, timestamp_ms=when)

    parts = [[at(0, 0, 5), at(0, 1, 3)], [at(1, 0, 4)], [at(0, 2, 9)]]
    found = [(each.partition, each.offset) for each in merged(parts)]
    assert found == [(1, 0), (0, 0), (0, 1), (0, 2)]
    assert merged([]) == []
