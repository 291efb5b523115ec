"""One partition's queue: order and sequence numbers, whatever Kafka answers."""

from __future__ import annotations

import asyncio
import struct

import pytest

from gateway.bus.kafka.calls import Call
from gateway.bus.kafka.lanes import Lane
from gateway.bus.kafka.parcels import Form, Oversize, Parcel, ProducerId
from gateway.bus.records import decode_records
from gateway.errors import BusUnavailable, LinkspanError, OutcomeUnknown
from gateway.event import Event
from tests.harness.events import event, events, ids

FORM = Form("none", 4000)
MINE = ProducerId(7, 0)


def call(sent: list[Event], deadline: float = 10.0) -> Call:
    return Call("t", sent, deadline, asyncio.get_running_loop().create_future())


def filled(*calls: Call, form: Form = FORM) -> Lane:
    lane = Lane("t", 0)
    for each in calls:
        assert lane.add(each, range(len(each.events)), form) > 0
    return lane


def sequence(parcel: Parcel) -> tuple[int, int, list[int]]:
    producer, _, first = struct.unpack_from(">qhi", parcel.batch, 43)
    return producer, first, ids(decode_records(bytes(parcel.batch), "t", 0).events)


async def test_batches_leave_in_order_and_are_numbered_on() -> None:
    lane = filled(call(events(30, size=100)), call(events(10, 30, size=100)))
    assert not lane.idle
    seen: list[int] = []
    while not lane.idle:
        producer, first, numbers = sequence(lane.take_off(MINE))
        assert (producer, first) == (7, len(seen))
        seen += numbers
        lane.landed()
    assert seen == list(range(40))


async def test_a_batch_that_was_not_stored_goes_first_again_with_the_same_number() -> None:
    lane = filled(call(events(60, size=100)))
    first = sequence(lane.take_off(MINE))
    lane.turn_back()
    assert sequence(lane.take_off(MINE)) == first
    lane.landed()
    assert sequence(lane.take_off(MINE))[1] == len(first[2])


async def test_a_new_producer_begins_anew() -> None:
    lane = filled(call(events(60, size=100)))
    lane.take_off(MINE)
    lane.landed()
    assert sequence(lane.take_off(ProducerId(8, 0)))[:2] == (8, 0)


async def test_sequence_numbers_wrap_as_kafka_counts_them() -> None:
    lane = filled(call(events(5)))
    lane.producer, lane.sequence = MINE, 2**31 - 2
    lane.take_off(MINE)
    lane.landed()
    assert lane.sequence == 3


async def test_a_batch_is_divided_by_calls_or_by_count() -> None:
    one, two = call(events(4)), call(events(4, 4))
    lane = filled(one, two)
    lane.take_off(MINE)
    lane.divide()
    assert [sequence(lane.take_off(MINE))[2]] == [[0, 1, 2, 3]]
    lane.turn_back()
    lane.take_off(MINE)
    lane.divide(3)
    assert sequence(lane.take_off(MINE))[2] == [0, 1, 2]
    lane.landed()
    assert sequence(lane.take_off(MINE))[2] == [3]
    lane.landed()
    assert sequence(lane.take_off(MINE))[2] == [4, 5, 6, 7]


async def test_a_refused_batch_fails_its_calls_and_uses_no_numbers() -> None:
    one = call(events(4))
    lane = filled(one)
    lane.take_off(MINE)
    lane.refuse(BusUnavailable("no"))
    assert (lane.sequence, lane.idle, lane.producer) == (0, True, MINE)
    with pytest.raises(BusUnavailable):
        one.future.result()


async def test_an_abandoned_batch_costs_the_producer_its_identity() -> None:
    one = call(events(4))
    lane = filled(one)
    lane.take_off(MINE)
    assert lane.deadline() == 10.0
    lane.abandon(OutcomeUnknown("who knows"))
    assert lane.producer is None
    assert lane.deadline() == 0.0
    with pytest.raises(OutcomeUnknown):
        one.future.result()


async def test_late_calls_are_dropped_and_the_others_stay_in_order() -> None:
    late, due = call(events(5), 1.0), call(events(5, 5), 3.0)
    lane = filled(late, due)
    lane.drop(BusUnavailable("late"), before=2.0)
    with pytest.raises(LinkspanError, match="late"):
        late.future.result()
    assert sequence(lane.take_off(MINE))[2] == [5, 6, 7, 8, 9]
    lane.drop(BusUnavailable("late"), before=2.0)
    assert not due.future.done()


async def test_what_of_a_call_is_on_the_wire_is_not_dropped_with_the_rest() -> None:
    one = call(events(60, size=100), 1.0)
    lane = filled(one)
    flying = lane.take_off(MINE).count
    lane.drop(BusUnavailable("late"))
    assert one.left == flying
    lane.landed()
    one.store(flying)
    with pytest.raises(OutcomeUnknown):
        one.future.result()


async def test_a_call_that_cannot_be_encoded_is_taken_back_whole() -> None:
    lane = filled(call(events(3)))
    bad = call([event(3), event(4, b"x" * 5000)])
    with pytest.raises(Oversize):
        lane.add(bad, range(2), FORM)
    assert len(lane.take_back({bad})) == 1
    assert sequence(lane.take_off(MINE))[2] == [0, 1, 2]
    assert not lane.queue


async def test_a_topic_whose_settings_changed_gets_new_batches() -> None:
    lane = filled(call(events(3)))
    lane.add(call(events(3, 3)), range(3), Form("lz4", 4000))
    assert sequence(lane.take_off(MINE))[2] == [0, 1, 2]
    lane.landed()
    assert sequence(lane.take_off(MINE))[2] == [3, 4, 5]
