"""Encoding by columns makes the very bytes that a Kafka client's record builder makes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus import records
from gateway.bus.columns import encode_columns
from gateway.bus.contract import Compression
from gateway.bus.inflate import CODECS
from gateway.event import Event
from routing.attributes import Value
from tests.harness.events import event, events

VALUES = st.one_of(st.sampled_from(["", "a", "é", "x" * 200]), st.text(max_size=5), st.booleans(), st.integers(-3, 3))
SHAPES = st.sets(st.sampled_from(["source", "subject", "partitionkey", "time", "n"]), min_size=1, max_size=5)


@st.composite
def alike(draw: st.DrawFn) -> list[Event]:
    """Events with the same attributes, in any order in each."""
    names = sorted(draw(SHAPES))
    found = []
    for number in range(draw(st.integers(1, 40))):
        few: dict[str, Value] = {name: draw(VALUES) for name in names}
        data = draw(st.one_of(st.none(), st.binary(max_size=40), st.just(b"d" * 20_000)))
        key = draw(st.one_of(st.none(), st.binary(max_size=3)))
        found.append(Event({"id": str(number), **few}, data, key))
    return found


def copies(of: list[Event]) -> list[Event]:
    return [Event(each.raw, each.value, each.key) for each in of]


def one_by_one(of: list[Event], compression: Compression, monkeypatch: pytest.MonkeyPatch) -> bytes:
    with monkeypatch.context() as patched:
        patched.setattr(records, "_COLUMNS_FROM", 10**9)
        return bytes(records.encode_records(of, 1234, compression))


@given(alike(), st.sampled_from(list(CODECS)))
@settings(max_examples=200, deadline=None)
def test_the_bytes_are_those_of_the_builder_and_so_are_the_keys(of: list[Event], compression: Compression) -> None:
    ours, theirs = copies(of), copies(of)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(records, "_COLUMNS_FROM", 1)
        encoded = bytes(records.encode_records(ours, 1234, compression))
        assert encoded == one_by_one(theirs, compression, patched)
    assert [each.key for each in ours] == [each.key for each in theirs]


def test_many_events_are_the_same_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    of = events(5000, subjects=3000)
    assert bytes(records.encode_records(copies(of), 1234)) == one_by_one(copies(of), "none", monkeypatch)


def test_one_and_true_are_two_values(monkeypatch: pytest.MonkeyPatch) -> None:
    values: list[Value] = [1, True, "1", "true", 0, False, 1, 1]
    of = [event(number, flag=value) for number, value in enumerate(values)]
    assert bytes(records.encode_records(copies(of), 1234)) == one_by_one(copies(of), "none", monkeypatch)


def test_events_that_are_not_alike_are_left_to_the_builder() -> None:
    def encoded(*of: Event) -> bytes | None:
        return encode_columns(of, str.encode)

    assert encoded(event(1), event(2)) is not None
    assert encoded(event(1), event(2, subject="s")) is None
    assert encoded(event(1, a="x"), event(2, b="x")) is None
    assert encoded(event(1), Event([("ce_id", b"1")])) is None
    assert encoded(Event({"id": "1"})) is None


def test_odd_batches_come_back_as_they_were() -> None:
    of = [*events(10), event(11, subject="s"), event(12, data=None)]
    found = records.decode_records(bytes(records.encode_records(of, 5)), "t", 0)
    assert [each.attributes["id"] for each in found.events] == [each.attributes["id"] for each in of]
    assert [each.data for each in found.events] == [each.data for each in of]
