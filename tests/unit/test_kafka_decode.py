# mypy: disable-error-code="arg-type"
"""From what a broker sends to batches: cut off, damaged, aborted, control."""

from __future__ import annotations

import struct

import pytest

from gateway.bus.kafka.decode import decode
from gateway.bus.kafka.messages import Fetched
from gateway.bus.records import enclose, encode_records, set_base_offset, set_producer
from gateway.errors import CorruptData
from gateway.event import Event
from tests.harness.events import events, ids


def batch(sent: list[Event], base: int, *, producer: int = -1, transactional: bool = False) -> bytearray:
    made = encode_records(sent, 1, "none")
    if transactional:
        made[22] |= 0x10
    set_producer(made, (producer, 0, 0))
    set_base_offset(made, base)
    return made


def control(base: int, producer: int, *, commit: bool) -> bytearray:
    # A record with the key (version, type) and the value (version, coordinator epoch).
    record = b"\x00\x00\x00\x08" + struct.pack(">hh", 0, int(commit)) + b"\x0c" + b"\x00" * 6 + b"\x00"
    made = enclose(bytes([2 * len(record)]) + record, 1, 1)
    made[22] |= 0x30
    set_producer(made, (producer, 0, -1))
    set_base_offset(made, base)
    return made


def fetched(*batches: bytes, aborted: tuple[tuple[int, int], ...] = ()) -> Fetched:
    return Fetched(0, 100, 0, aborted, b"".join(batches))


def test_batches_come_in_order_from_the_offset_on() -> None:
    answer = fetched(batch(events(5), 10), batch(events(5, 5), 15))
    got, looked_at = decode(answer, "t", 2, 12)
    assert [(each.base_offset, each.next_offset) for each in got] == [(12, 15), (15, 20)]
    assert ids([each for one in got for each in one.events]) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert looked_at == len(answer.records)
    assert decode(answer, "t", 2, 15)[0][0].base_offset == 15


def test_a_batch_that_was_cut_off_is_left_out() -> None:
    whole = fetched(batch(events(5), 0), batch(events(5, 5), 5)).records
    for cut in (1, 40, 200):
        got, _ = decode(Fetched(0, 1, 0, (), whole[:-cut]), "t", 0, 0)
        assert [each.next_offset for each in got] == [5]
    assert decode(fetched(), "t", 0, 0) == ([], 0)


def test_it_stops_when_there_is_enough() -> None:
    answer = fetched(*(batch(events(5), base) for base in range(0, 50, 5)))
    assert len(decode(answer, "t", 0, 0, 1)[0]) == 1
    got, looked_at = decode(answer, "t", 0, 0, 5000)
    assert 1 < len(got) < 10
    assert looked_at == len(answer.records) * len(got) // 10


def test_a_damaged_batch_is_told_with_its_place_and_what_precedes_it_is_served() -> None:
    bad = batch(events(5, 5), 5)
    bad[-1] ^= 1
    got, _ = decode(fetched(batch(events(5), 0), bad, batch(events(5), 10)), "t", 0, 0)
    assert [each.next_offset for each in got] == [5]
    with pytest.raises(CorruptData) as caught:
        decode(fetched(bad, batch(events(5), 10)), "t", 3, 5)
    assert (caught.value.detail["partition"], caught.value.detail["next_offset"]) == (3, 10)


def test_where_not_even_the_header_can_be_read_the_next_offset_is_tried() -> None:
    bad = batch(events(5), 5)
    bad[16] = 9
    with pytest.raises(CorruptData) as caught:
        decode(fetched(bad), "t", 0, 7)
    assert caught.value.detail["next_offset"] == 8


def test_events_of_an_aborted_transaction_are_left_out_and_those_of_others_are_not() -> None:
    answer = fetched(
        batch(events(2), 0, producer=7, transactional=True),
        batch(events(2, 10), 2, producer=8, transactional=True),
        batch(events(2, 20), 4, producer=7),  # the same id outside a transaction
        control(6, 7, commit=False),
        batch(events(2, 30), 7, producer=7, transactional=True),
        control(9, 7, commit=True),
        control(10, 8, commit=True),
        aborted=((7, 0),),
    )
    got, _ = decode(answer, "t", 0, 0)
    assert [ids(each.events) for each in got] == [[], [10, 11], [20, 21], [], [30, 31], [], []]
    assert [each.next_offset for each in got] == [2, 4, 6, 7, 9, 10, 11]


def test_an_abort_that_begins_later_does_not_reach_back() -> None:
    answer = fetched(
        batch(events(2), 0, producer=7, transactional=True),
        control(2, 7, commit=True),
        batch(events(2, 10), 3, producer=7, transactional=True),
        control(5, 7, commit=False),
        aborted=((7, 3),),
    )
    assert [ids(each.events) for each in decode(answer, "t", 0, 0)[0]] == [[0, 1], [], [], []]
