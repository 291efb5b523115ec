"""Batches that fill while they wait."""

from __future__ import annotations

import asyncio
import os

import pytest

from gateway.bus.kafka import parcels
from gateway.bus.kafka.calls import Call
from gateway.bus.kafka.parcels import Form, Oversize, Parcel, ProducerId, repack
from gateway.bus.records import decode_records, read_batch_header
from gateway.event import Event
from tests.harness.events import event, events, ids

FORM = Form("zstd", 1_000_000)


def call(sent: list[Event]) -> Call:
    return Call("t", sent, 0.0, asyncio.get_running_loop().create_future())


def stored(parcel: Parcel) -> list[int]:
    return ids(decode_records(bytes(parcel.batch), "t", 0).events)


async def test_calls_share_a_batch_in_order() -> None:
    parcel = Parcel(FORM)
    one, two = call(events(10)), call(events(10, 10))
    assert parcel.add(one, range(10)) == 10
    assert parcel.add(two, [1, 3, 5]) == 3
    parcel.close(ProducerId(77, 2), 5, 1234)
    assert stored(parcel) == [*range(10), 11, 13, 15]
    assert not parcel.open
    header = read_batch_header(parcel.batch)
    assert (header.producer_id, header.records, header.max_timestamp) == (77, 13, 1234)


async def test_closing_again_changes_only_whose_it_is() -> None:
    parcel = Parcel(FORM)
    parcel.add(call(events(3)), range(3))
    parcel.close(ProducerId(1, 0), 0, 10)
    first = bytes(parcel.batch)
    parcel.close(ProducerId(2, 0), 9, 20)
    assert stored(parcel) == [0, 1, 2]
    assert parcel.batch[43:57] == (2).to_bytes(8, "big") + b"\0\0" + (9).to_bytes(4, "big")
    parcel.close(ProducerId(1, 0), 0, 30)
    assert bytes(parcel.batch) == first


async def test_a_full_parcel_takes_what_fits_and_then_nothing() -> None:
    parcel = Parcel(Form("none", 10_000))
    one = call(events(1000, size=100))
    taken = parcel.add(one, range(1000))
    assert 20 < taken < 100
    rest = taken + parcel.add(one, range(taken, 1000))
    assert rest - taken <= 10
    assert parcel.add(one, range(rest, 1000)) == 0
    parcel.close(ProducerId(1, 0), 0, 1)
    assert len(parcel.batch) <= 10_000
    assert stored(parcel) == list(range(rest))


async def test_events_of_very_different_sizes_fit_as_well() -> None:
    sent = [event(n, b"x" * (9000 if n % 7 == 3 else 10)) for n in range(50)]
    one = call(sent)
    made = repack([parcels.Part(one, range(50))], Form("none", 10_000))
    for parcel in made:
        parcel.close(ProducerId(1, 0), 0, 1)
        assert len(parcel.batch) <= 10_000
    assert [number for parcel in made for number in stored(parcel)] == list(range(50))


async def test_what_cannot_be_compressed_still_fits() -> None:
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        parcel = Parcel(Form(codec, 10_000))
        assert parcel.add(call([event(0, os.urandom(9800))]), [0]) == 1
        parcel.close(ProducerId(1, 0), 0, 1)
        assert len(parcel.batch) <= 10_000


async def test_an_event_that_fits_into_no_batch_is_refused_whether_first_or_later() -> None:
    one = call([event(0), event(1, b"x" * 20_000)])
    parcel = Parcel(Form("zstd", 10_000))
    with pytest.raises(Oversize):
        parcel.add(one, [1])
    assert parcel.add(one, [0, 1]) == 1
    assert parcel.add(one, [1]) == 0


async def test_a_large_event_may_exceed_what_is_good_but_not_what_is_allowed() -> None:
    parcel = Parcel(Form("none", 3_000_000))
    assert parcel.add(call([event(0, b"x" * 2_000_000), event(1)]), [0, 1]) == 1


async def test_repacking_can_bound_the_events_of_a_parcel() -> None:
    one, two = call(events(10)), call(events(5, 10))
    made = repack([parcels.Part(one, range(10)), parcels.Part(two, range(5))], FORM, 4)
    assert [parcel.count for parcel in made] == [4, 4, 4, 3]
    assert repack([], FORM) == []
