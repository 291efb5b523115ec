"""Each answer to a produce request, and what it does to the batch and its calls."""

from __future__ import annotations

import asyncio

import pytest

from gateway.bus.kafka import errors
from gateway.bus.kafka.answers import Then, refusal, settle, unencodable
from gateway.bus.kafka.calls import Call
from gateway.bus.kafka.lanes import Lane
from gateway.bus.kafka.messages import Produced
from gateway.bus.kafka.parcels import Form, Parcel, ProducerId
from gateway.errors import BusUnavailable, InvalidEvent, OutcomeUnknown, TooLarge
from tests.harness.events import events

FORM = Form("none", 100_000)


class Sent:
    """A lane with two calls of three events in one batch on the wire."""

    def __init__(self, calls: int = 2) -> None:
        future = asyncio.get_running_loop().create_future
        self.calls = [Call("t", events(3, 3 * n), 9.0, future()) for n in range(calls)]
        self.lane = Lane("t", 0)
        for call in self.calls:
            self.lane.add(call, range(3), FORM)
        self.lane.take_off(ProducerId(1, 0))


def answer(code: int, base: int = -1, stamp: int = -1, message: str | None = None, *culprits: int) -> Produced:
    return Produced(code, base, stamp, message, culprits)


async def test_stored() -> None:
    sent = Sent()
    assert settle(sent.lane, answer(0, 40)) is Then.NOTHING
    assert [call.future.result() for call in sent.calls] == [[(0, 40), (0, 41), (0, 42)], [(0, 43), (0, 44), (0, 45)]]
    assert (sent.lane.idle, sent.lane.sequence) == (True, 6)


@pytest.mark.parametrize("produced", [None, *map(answer, sorted(errors.UNDECIDED))])
async def test_in_doubt_the_same_batch_stays_on_the_wire(produced: Produced | None) -> None:
    sent = Sent()
    flight = sent.lane.flight
    assert settle(sent.lane, produced) == Then.WAIT | Then.REFRESH
    assert sent.lane.flight is flight
    assert sent.lane.doubtful


@pytest.mark.parametrize("code", sorted(errors.REFUSED_FOR_NOW))
async def test_a_refusal_that_names_an_offset_came_after_the_batch_was_stored(code: int) -> None:
    sent = Sent()
    flight = sent.lane.flight
    assert settle(sent.lane, answer(code, 40)) == Then.WAIT | Then.REFRESH
    assert sent.lane.flight is flight
    assert sent.lane.doubtful


def test_a_leader_that_lost_the_lead_may_have_stored_the_batch_before() -> None:
    assert errors.NOT_LEADER_OR_FOLLOWER in errors.UNDECIDED


@pytest.mark.parametrize("code", [errors.INVALID_RECORD, errors.TOPIC_AUTHORIZATION_FAILED, *errors.TOO_LARGE])
async def test_refused_for_good_after_doubt_it_is_unknown_and_its_sequence_is_not_used_again(code: int) -> None:
    sent = Sent()
    settle(sent.lane, None)
    assert Then.NEW_PRODUCER in settle(sent.lane, answer(code))
    assert (sent.lane.idle, sent.lane.producer) == (True, None)
    for call in sent.calls:
        with pytest.raises(OutcomeUnknown, match=errors.name_of(code)):
            call.future.result()


@pytest.mark.parametrize("code", sorted(errors.REFUSED_FOR_NOW))
async def test_refused_for_now_it_goes_back_unless_it_was_in_doubt(code: int) -> None:
    sent = Sent()
    assert Then.WAIT in settle(sent.lane, answer(code))
    assert (sent.lane.flight, len(sent.lane.queue)) == (None, 1)
    doubtful = Sent()
    settle(doubtful.lane, None)
    settle(doubtful.lane, answer(code))
    assert doubtful.lane.flight is not None


@pytest.mark.parametrize("code", sorted(errors.SEQUENCE_LOST))
async def test_a_lost_sequence_asks_for_a_new_producer(code: int) -> None:
    sent = Sent()
    assert Then.NEW_PRODUCER in settle(sent.lane, answer(code))
    assert (sent.lane.flight, sent.lane.producer, len(sent.lane.queue)) == (None, None, 1)
    doubtful = Sent()
    settle(doubtful.lane, None)
    settle(doubtful.lane, answer(code))
    assert doubtful.lane.idle
    with pytest.raises(OutcomeUnknown):
        doubtful.calls[0].future.result()


@pytest.mark.parametrize("produced", [answer(errors.DUPLICATE_SEQUENCE), answer(0)])
async def test_stored_at_an_unknown_place(produced: Produced) -> None:
    sent = Sent()
    assert settle(sent.lane, produced) is Then.NOTHING
    assert sent.lane.sequence == 6
    for call in sent.calls:
        with pytest.raises(OutcomeUnknown, match="where"):
            call.future.result()


@pytest.mark.parametrize("code", sorted(errors.TOO_LARGE))
async def test_too_large_is_halved_until_one_event_is_left(code: int) -> None:
    sent = Sent()
    left = 6
    while left > 1:
        assert settle(sent.lane, answer(code)) is Then.NEW_SETTINGS
        left //= 2
        assert sent.lane.take_off(ProducerId(1, 0)).count == left
    settle(sent.lane, answer(code))
    sent.calls[0].left = 0
    assert isinstance(sent.calls[0].failure, TooLarge)


async def test_refused_for_good_the_calls_are_tried_singly_and_then_fail() -> None:
    sent = Sent()
    assert settle(sent.lane, answer(errors.INVALID_RECORD)) is Then.NOTHING
    assert [parcel.count for parcel in sent.lane.queue] == [3, 3]
    sent.lane.take_off(ProducerId(1, 0))
    settle(sent.lane, answer(errors.INVALID_RECORD, -1, -1, "no key", 1, 9))
    with pytest.raises(InvalidEvent, match="no key") as caught:
        sent.calls[0].future.result()
    assert [fault.index for fault in caught.value.faults] == [1]
    assert not sent.calls[1].future.done()


def test_what_is_not_the_events_fault_is_unavailable() -> None:
    assert isinstance(refusal(errors.TOPIC_AUTHORIZATION_FAILED, None, Parcel(FORM)), BusUnavailable)
    assert isinstance(refusal(errors.INVALID_TIMESTAMP, None, Parcel(FORM)), InvalidEvent)
    assert isinstance(unencodable(ValueError("x")), InvalidEvent)
