"""Those who catch up leave most of the loop to the live edge while that is busy."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from gateway.delivery import pace as paces
from gateway.delivery.pace import Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("gateway.delivery.pace.asyncio.sleep", sleep)
    return found


async def test_a_turn_is_followed_by_a_rest_while_the_live_edge_is_busy(rests: list[float]) -> None:
    clock = Clock()
    pace = Pace(clock)

    def work() -> None:
        clock.now += 0.01

    await pace.turn(work)
    pace.flushed()
    await pace.turn(work)
    clock.now += paces.BUSY
    await pace.turn(work)
    assert rests == [0, pytest.approx(0.01 * paces.REST), 0]


async def test_turns_are_taken_one_at_a_time_and_in_order() -> None:
    pace = Pace()
    order: list[int] = []
    await asyncio.gather(*(pace.turn(partial(order.append, number)) for number in range(5)))
    assert order == [0, 1, 2, 3, 4]


async def test_work_that_fails_gives_its_turn_back() -> None:
    pace = Pace()
    done: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await pace.turn(fail)
    await pace.turn(lambda: done.append(1))
    assert done
