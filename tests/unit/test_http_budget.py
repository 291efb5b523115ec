"""Memory that requests share: small ones pass, nobody waits behind one that has stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from protocols.http import budget as module
from protocols.http.budget import GRAIN, Budget, Share
from protocols.http.problem import Crowded
from tests.conftest import eventually

pytestmark = pytest.mark.timeout(20)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL", 0.1)
    monkeypatch.setattr(module, "SWEEP", 0.02)


async def holding(budget: Budget, amount: int, on_stall: Callable[[], None] | None = None) -> Share:
    share = budget.share(on_stall)
    await share.grow(amount)
    return share


async def test_small_requests_pass_large_ones() -> None:
    budget = Budget(10, 5)
    first = await holding(budget, 6)
    large = asyncio.create_task(holding(budget, 8))
    await asyncio.sleep(0)
    small = await holding(budget, 3)
    assert not large.done()
    first.close()
    small.close()
    assert (await large).held == 8
    assert budget.free == 2


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    budget = Budget(10, 0.05)
    full = await holding(budget, 10)
    with budget.share() as late, pytest.raises(Crowded):
        await late.grow(5)
    cancelled = budget.share()
    waiting = asyncio.create_task(cancelled.grow(5))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    cancelled.close()
    full.close()
    assert (budget.free, budget._shares, budget._waiting) == (10, {}, {})


async def test_a_grant_in_the_moment_of_giving_up_is_given_back_with_the_share() -> None:
    budget = Budget(10, 5)
    full, share = await holding(budget, 10), budget.share()
    waiting = asyncio.create_task(share.grow(5))
    await asyncio.sleep(0)
    full.close()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    share.close()
    share.close()
    assert budget.free == 10


async def test_the_largest_that_has_stopped_gives_way_and_only_when_somebody_waits() -> None:
    budget, told = Budget(10, 5), list[str]()
    small = await holding(budget, 3, lambda: told.append("small"))

    def give_way() -> None:
        told.append("large")
        large.close()

    large = await holding(budget, 6, give_way)
    await asyncio.sleep(0.2)
    assert told == []
    waiting = await holding(budget, 5)
    assert told == ["large"]
    small.close()
    waiting.close()


async def test_who_moves_is_left_alone() -> None:
    budget, told = Budget(10, 0.4), list[str]()
    with await holding(budget, 10, lambda: told.append("evicted")) as share:
        waiting = asyncio.create_task(holding(budget, 5))
        for _ in range(20):
            share.moved()
            await asyncio.sleep(0.02)
        with pytest.raises(Crowded):
            await waiting
    assert told == []


async def test_what_a_client_takes_counts_as_progress_by_the_grain() -> None:
    budget, told, left = Budget(10, 5), list[str](), 100 * GRAIN

    def give_way() -> None:
        told.append("evicted")
        share.close()

    share = await holding(budget, 10, give_way)
    share.left = lambda: left
    share.moved()
    waiting = asyncio.create_task(holding(budget, 5))
    for _ in range(10):
        left -= GRAIN
        await asyncio.sleep(0.03)
    assert told == []
    for _ in range(100):
        left -= 1  # a trickle
        if waiting.done():
            break
        await asyncio.sleep(0.03)
    assert told == ["evicted"]
    (await waiting).close()


async def test_shares_that_wait_for_each_other_come_to_an_end() -> None:
    budget = Budget(10, 5, spare=20)
    first, second = await holding(budget, 5), await holding(budget, 5)
    order: list[str] = []

    async def go_on(name: str, share: Share) -> None:
        for _ in range(3):
            await share.grow(5)
        order.append(name)
        share.close()

    await asyncio.gather(go_on("second", second), go_on("first", first))
    assert order == ["second", "first"], "who waited first of those that began got the spare"
    assert (budget.free, budget._senior) == (10, None)


async def test_a_share_that_settles_lets_others_in_and_may_hold_more_than_there_is() -> None:
    budget = Budget(10, 5)
    share = await holding(budget, 99)
    assert share.held == 10, "more than all counts as all"
    waiting = asyncio.create_task(holding(budget, 10))
    await asyncio.sleep(0)
    share.settle(15)
    assert budget.free == -5
    share.settle(0)
    other = await waiting
    share.settle(4)
    assert budget.free == -4
    share.close()
    other.close()
    await eventually(lambda: budget.free == 10)
