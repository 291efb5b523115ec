"""Encodings are shared within a bound, and never across selections, forms or cursors."""

from __future__ import annotations

from gateway.address import parse_pattern
from gateway.delivery.encodings import Encodings
from gateway.delivery.outcome import Delivery, Slice
from gateway.delivery.select import Selection
from gateway.event import Event
from tests.unit.live_support import LineForm, encode_places

ALL = Selection("t", (parse_pattern("t/**"),))
SOME = Selection("t", (parse_pattern("t/a"),))


def events(first: int, last: int, topic: str = "t") -> list[Event]:
    attributes = {"id": "x", "source": "/", "type": "t", "specversion": "1.0"}
    return [Event(dict(attributes), b"", None, topic, 0, offset) for offset in range(first, last)]


def delivery(*slices: list[Event], cursor: str = "C") -> Delivery:
    flat = [event for some in slices for event in some]
    cursors = [cursor] * len(flat)
    return Delivery(flat, cursors, cursor, [], [Slice(some[0].topic, some, cursors[: len(some)], 0) for some in slices])


def test_equal_ranges_are_encoded_once() -> None:
    encodings = Encodings(10_000)
    first = encodings.parts(encode_places, ALL, events(0, 5))
    assert encodings.parts(encode_places, ALL, events(0, 5)) is first
    assert encodings.parts(encode_places, ALL, events(0, 4)) is not first
    assert encodings.parts(encode_places, SOME, events(0, 5)) is not first
    assert (encodings.encoded, encodings.shared) == (14, 5)


def test_equal_deliveries_are_one_block() -> None:
    encodings, form = Encodings(10_000), LineForm()
    first = encodings.block(form, lambda _: ALL, delivery(events(0, 5)))
    assert encodings.block(LineForm(), lambda _: ALL, delivery(events(0, 5))) is first
    other = encodings.block(form, lambda _: ALL, delivery(events(0, 5), cursor="D"))
    assert other.endswith(b" D\n")
    assert encodings.block(LineForm("other"), lambda _: ALL, delivery(events(0, 5))) is not first


def test_several_slices_share_their_parts() -> None:
    encodings = Encodings(10_000)
    two = delivery(events(0, 2), events(0, 3, "u"))
    block = encodings.block(LineForm(), lambda _: ALL, two)
    assert block.count(b"\n") == 5
    assert encodings.block(LineForm(), lambda topic: ALL if topic == "t" else None, two) == block
    assert encodings.shared == 2


def test_the_bound_holds_and_the_least_recently_used_goes_first() -> None:
    encodings = Encodings(1000)
    kept = encodings.parts(encode_places, ALL, events(0, 2))
    for at in range(10, 100, 2):
        encodings.parts(encode_places, ALL, events(at, at + 2))
        assert encodings.parts(encode_places, ALL, events(0, 2)) is kept
        assert encodings.bytes <= 1000
    assert encodings.parts(encode_places, ALL, events(0, 100))
    assert encodings.bytes <= 1000


def test_a_topic_is_forgotten_whole() -> None:
    encodings = Encodings(100_000)
    encodings.block(LineForm(), lambda _: ALL, delivery(events(0, 5)))
    encodings.parts(encode_places, ALL, events(0, 5, "u"))
    encodings.forget("t")
    left = encodings.bytes
    assert left
    encodings.forget("u")
    assert encodings.bytes == 0
