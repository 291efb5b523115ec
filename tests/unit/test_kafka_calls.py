"""What an append answers when its parts fare differently."""

from __future__ import annotations

import asyncio

import pytest

from gateway.bus.kafka.calls import Call, too_large, unavailable
from gateway.errors import BusUnavailable, InvalidEvent, OutcomeUnknown
from tests.harness.events import event, events


def call(count: int) -> Call:
    return Call("t", events(count), 0.0, asyncio.get_running_loop().create_future())


async def test_it_ends_when_every_event_is_stored() -> None:
    one = call(3)
    one.positions[:2] = [(0, 4), (0, 5)]
    one.store(2)
    assert not one.future.done()
    one.positions[2] = (1, 9)
    one.store(1)
    assert one.future.result() == [(0, 4), (0, 5), (1, 9)]


async def test_what_fails_as_a_whole_fails_with_its_own_error() -> None:
    one = call(3)
    one.fail(2, InvalidEvent("no key"))
    one.fail(1, unavailable("away"))
    with pytest.raises(InvalidEvent):
        one.future.result()


async def test_what_is_stored_in_part_is_told_with_the_positions() -> None:
    one = call(3)
    one.positions[1] = (1, 9)
    one.store(1)
    one.fail(2, unavailable("away"))
    with pytest.raises(OutcomeUnknown, match=r"only 1 of 3 .*away") as caught:
        one.future.result()
    assert caught.value.detail["positions"] == [None, (1, 9), None]


async def test_doubt_about_a_part_is_doubt_about_the_call() -> None:
    one = call(3)
    one.fail(1, OutcomeUnknown("no answer"))
    one.fail(2, unavailable("away"))
    with pytest.raises(OutcomeUnknown, match="no answer") as caught:
        one.future.result()
    assert caught.value.detail["positions"] == [None, None, None]


async def test_a_call_that_was_given_up_keeps_its_answer() -> None:
    one = call(2)
    one.give_up(BusUnavailable("late"))
    one.give_up(BusUnavailable("later"))
    one.positions[:] = [(0, 0), (0, 1)]
    one.store(2)
    with pytest.raises(BusUnavailable, match=r"late$"):
        one.future.result()


async def test_a_cancelled_call_takes_no_answer() -> None:
    one = call(1)
    one.future.cancel()
    one.store(1)
    assert one.future.cancelled()


def test_events_above_the_limit_are_named() -> None:
    error = too_large([event(), event(1, b"x" * 5000), event(2), event(3, b"y" * 5000)], 1000)
    assert [fault.index for fault in error.faults] == [1, 3]
    assert "2 cannot be stored" in error.message
