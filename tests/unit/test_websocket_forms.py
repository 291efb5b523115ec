"""How events look: whole frames of bounded size, equal for equal subscriptions."""

from __future__ import annotations

import json
import zlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.handover import Gap
from gateway.plugin import encode_events
from protocols.websocket.forms import FRAME, CloudEventsForm, cloudevents_form, native_form
from tests.unit.websocket_support import stored_event

GAP = Gap("t", 0, 3, 5, "retention")


def frames(block: bytes) -> list[bytes]:
    """The payloads of all frames, inflated; every frame must be whole."""
    found, at = [], 0
    while at < len(block):
        first, size = block[at], block[at + 1]
        at += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(block[at : at + width], "big")
            at += width
        payload = block[at : at + size]
        assert first in (0x81, 0xC1)
        assert len(payload) == size
        at += size
        found.append(zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff") if first == 0xC1 else payload)
    return found


def cursors(count: int) -> list[str]:
    return [f"c{number}" for number in range(count)]


def parts(*sizes: int) -> list[bytes]:
    return [b'"%b"' % (b"x" * (size - 2)) for size in sizes]


def test_a_block_is_one_message_with_its_cursor() -> None:
    [payload] = frames(native_form(b"1", 0).block([b'{"a":1}', b'{"a":2}'], cursors(2), "end"))
    assert payload == b'{"sid":1,"events":[{"a":1},{"a":2}],"cursor":"end"}'
    [payload] = frames(native_form(b'"x"', 0).block([b"{}"], cursors(1), "end"))
    assert json.loads(payload) == {"sid": "x", "events": [{}], "cursor": "end"}


@given(st.lists(st.sampled_from([10, FRAME // 3, FRAME // 2, FRAME, FRAME + 1, 2 * FRAME]), min_size=1, max_size=8))
def test_many_events_are_several_messages_each_with_its_cursor(sizes: list[int]) -> None:
    given_parts = parts(*sizes)
    told = [
        json.loads(payload) for payload in frames(native_form(b"1", 0).block(given_parts, cursors(len(sizes)), "end"))
    ]
    assert [event for message in told for event in message["events"]] == [json.loads(part) for part in given_parts]
    seen = 0
    for message in told:
        seen += len(message["events"])
        assert message["cursor"] == ("end" if seen == len(sizes) else f"c{seen - 1}")
        assert len(message["events"]) == 1 or sum(len(event) for event in message["events"]) <= FRAME


def test_gaps_are_told_and_cursors_only_where_they_resume() -> None:
    [payload] = frames(native_form(b"1", 0).gap(GAP, "after"))
    told: dict[str, Any] = json.loads(payload)
    assert told == {
        "sid": 1,
        "gap": {"topic": "t", "partition": 0, "from_offset": 3, "to_offset": 5, "reason": "retention"},
        "cursor": "after",
    }
    [payload] = frames(native_form(b"1", 0).gap(GAP, None))
    assert "cursor" not in json.loads(payload)


def test_cloudevents_have_a_message_each() -> None:
    sent = encode_events([stored_event(1), stored_event(2, b"x" * 70_000, datacontenttype="text/plain")])
    assert frames(cloudevents_form("//g", 0).block(sent, cursors(2), "end")) == sent


def test_a_gap_is_an_event_that_is_the_same_for_all() -> None:
    form = CloudEventsForm("//g/websocket", 0)
    assert form.gap(GAP, "after") == CloudEventsForm("//g/websocket", 0).gap(GAP, "after")
    [payload] = frames(form.gap(GAP, "after"))
    told = json.loads(payload)
    assert (told["type"], told["source"], told["id"]) == ("io.linkspan.gap", "//g/websocket", "gap-t-0-3-5")
    assert told["data"] == {
        "topic": "t", "partition": 0, "from_offset": 3, "to_offset": 5, "reason": "retention", "cursor": "after",
    }  # fmt: skip
    [payload] = frames(form.gap(GAP, None))
    assert "cursor" not in json.loads(payload)["data"]


def test_compressed_blocks_hold_the_same() -> None:
    sent = encode_events([stored_event(number, b'{"text":"%b"}' % (b"abc" * 200)) for number in range(50)])
    plain, packed = native_form(b"1", 0), native_form(b"1", 15)
    assert frames(plain.block(sent, cursors(50), "end")) == frames(packed.block(sent, cursors(50), "end"))
    assert len(packed.block(sent, cursors(50), "end")) < len(plain.block(sent, cursors(50), "end")) / 5
    assert frames(cloudevents_form("//g", 15).block(sent, cursors(50), "end")) == sent


def test_what_stands_in_the_bytes_stands_in_the_key_and_nothing_else() -> None:
    assert native_form(b"1", 0).key == native_form(b"1", 0).key
    keys = {native_form(sid, bits).key for sid in (b"1", b'"1"', b"2") for bits in (0, 9, 15)}
    keys |= {cloudevents_form("//g", bits).key for bits in (0, 15)}
    assert len(keys) == 11
    assert native_form(b"1", 0).encode is cloudevents_form("//g", 15).encode is encode_events
