"""Matching within a scope: shared filters run once, and everybody gets exactly what they want."""

from __future__ import annotations

import pytest

from gateway.delivery.matching import Matcher
from gateway.delivery.outcome import Delivery
from gateway.delivery.reader import ReadRequest
from gateway.delivery.refine import Refinement
from gateway.event import Event
from routing.filters.filter import Filter, compile_filters
from routing.transforms.failure import StepFailed
from tests.unit.live_support import LineForm, a_live_rig, session_of, until
from tests.unit.reading_support import event, request


def ignore(event: Event, failure: StepFailed) -> None:
    """Nobody asks here."""


def wish(*sources: str, filter: Filter | None = None) -> ReadRequest:
    plain = request(sources or ("t/**",), "latest")
    return ReadRequest(plain.sources, plain.start, None if filter is None else Refinement(filter, None, ignore))


def priced(name: str, price: int, kind: str = "t") -> Event:
    made = event(name)
    made.attributes["type"] = kind
    made.attributes["datacontenttype"] = "application/json"
    return Event(made.attributes, b'{"price": %d}' % price)


async def test_filters_and_patterns_are_both_kept() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        cheap = await rig.subscribe("t/**", filters=[{"expr": "data.price < 50"}])
        kind = await rig.subscribe("t/**", filters=[{"exact": {"type": "b"}}])
        both = await rig.subscribe("t/**", filters=[{"exact": {"type": "b"}}, {"expr": "data.price < 50"}])
        everything = await rig.subscribe("t/**")
        await rig.put("t", priced("1", 10, "a"), priced("2", 10, "b"), priced("3", 90, "b"), priced("4", 90, "a"))
        await until(lambda: everything.ids == ["1", "2", "3", "4"])
        assert (cheap.ids, kind.ids, both.ids) == (["1", "2"], ["2", "3"], ["2"])


async def test_history_live_and_pages_select_alike() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        await rig.put("t", *(priced(str(n), n) for n in range(10)))
        filters = [{"expr": "data.price >= 5"}]
        history = await rig.subscribe("t/**", start="earliest", filters=filters)
        last = await rig.subscribe("t/**", start="last:2", filters=filters)
        some = await rig.subscribe("t/**", start="earliest", filters=filters, limit=3)
        await rig.put("t", priced("low", 1), priced("high", 9))
        await until(lambda: history.ids == ["5", "6", "7", "8", "9", "high"])
        await until(lambda: last.ids == ["8", "9", "high"])
        await until(lambda: some.ids == ["5", "6", "7"])


async def test_a_transform_is_applied_once_for_all_who_share_it() -> None:
    async with a_live_rig() as rig:
        await rig.topic("t")
        steps = [{"set": {"attribute": "id", "to": "CONCAT(id, '!')"}}]
        one, two = await rig.subscribe("t/**", transform=steps), await rig.subscribe("t/**", transform=steps)
        plain = await rig.subscribe("t/**")
        await rig.put("t", priced("a", 1), priced("b", 2))
        await until(lambda: one.ids == two.ids == ["a!", "b!"])
        assert plain.ids == ["a", "b"]
        shown = next(view for view in rig.views.views() if view.transform)
        assert shown.members == 2
        assert shown.transform[0].passed == 2
        session_of(one).pause()
        await rig.put("t", priced("c", 3))
        session_of(one).resume()
        await until(lambda: one.ids == ["a!", "b!", "c!"])


def test_equal_filters_over_a_slice_run_once() -> None:
    matcher = Matcher()
    filters = [compile_filters([{"expr": "data.price > 1"}]) for _ in range(3)]
    for number, filter in enumerate(filters):
        matcher.view_of(wish(filter=filter), LineForm(number)).members[object()] = print  # type: ignore[index]
    assert len(matcher.targets) == 1
    matcher.view_of(wish("*/**", filter=compile_filters([{"expr": "data.price > 1"}])), LineForm())
    assert len(matcher.targets) == 2
    delivery = _delivery([priced("a", 1), priced("b", 2)])
    touched: dict[object, None] = {}
    matcher.match(delivery.slices[0], touched)  # type: ignore[arg-type]
    assert len(touched) == 2
    stats = [target.filter.stats for target in matcher.targets.values() if target.filter]
    assert sorted(each.matched for each in stats) == [0, 2]


@pytest.mark.parametrize("number", [1, 3])
def test_targets_that_go_leave_nothing(number: int) -> None:
    matcher = Matcher()
    views = [
        matcher.view_of(wish(filter=compile_filters([{"expr": f"data.p{n} > 1 AND type = 'x{n}'"}])), LineForm())
        for n in range(number)
    ]
    matcher.match(_delivery([priced("a", 1)]).slices[0], {})
    assert len(matcher._paths) == number
    for view in views:
        matcher.tidy(view)
        matcher.tidy(view)
    assert not matcher.targets
    assert len(matcher._paths) == 0
    assert not matcher._indexes["t"].narrow


def _delivery(events: list[Event]) -> Delivery:
    from gateway.delivery.cursor import BlockCursors, Prefix
    from gateway.delivery.outcome import Slice

    placed = [Event(each.raw, each.value, each.key, "t", 0, n) for n, each in enumerate(events)]
    cursors = BlockCursors(Prefix.of(bytes(12)), placed, len(placed))
    return Delivery(placed, cursors, "c", [], [Slice("t", placed, cursors, 0)])
