"""Server-sent events: frames that no payload can forge, and streams that end as they should."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.sse import SseParser
from gateway.event import Event
from gateway.plugin import Delivery, Gap
from protocols.http import sse
from protocols.http.sse import blocks, event_block, named_block
from tests.unit.http_support import stored_event

GAP = Gap("t", 0, 5, 9, "retention")


def delivery(*events: Event, gaps: tuple[Gap, ...] = ()) -> Delivery:
    return Delivery(list(events), [f"c{index}" for index in range(len(events))], "end", list(gaps))


def parsed(data: bytes) -> list[tuple[str, Any, str]]:
    return [(message.event, json.loads(message.data), message.id) for message in SseParser().feed(data)]


def test_an_event_is_one_message_with_its_cursor() -> None:
    [(name, told, cursor)] = parsed(event_block(stored_event(7, b'{"a": 1}'), "CURSOR"))
    assert (name, told["id"], told["data"], cursor) == ("message", "7", {"a": 1}, "CURSOR")


@pytest.mark.parametrize(
    "data", [b"[\n1,\r\n2,\r3\n]", b'\n{"a":\n"data: x"}\n', b"1\n\nevent: gap\ndata: 2", b"\r\r\n\n1"]
)
def test_line_breaks_in_data_cannot_forge_a_message(data: bytes) -> None:
    block = event_block(
        stored_event(1, data) if data[:1] != b"1" else stored_event(1, data, datacontenttype="text/x"), "C"
    )
    assert block.count(b"\n\n") == 1
    assert b"\r" not in block
    [(name, told, _)] = parsed(block)
    assert (name, told["id"]) == ("message", "1")


@given(st.binary(max_size=50), st.sampled_from(["application/json", "text/plain", "image/png"]))
def test_any_payload_stays_within_its_message(data: bytes, type_: str) -> None:
    event = stored_event(1, data, datacontenttype=type_)
    messages = parsed(event_block(event, "A") + event_block(stored_event(2), "B"))
    assert [(name, told["id"], cursor) for name, told, cursor in messages] == [
        ("message", "1", "A"),
        ("message", "2", "B"),
    ]


def test_other_messages_have_a_name() -> None:
    assert parsed(named_block("gap", GAP))[0][:2] == (
        "gap", {"topic": "t", "partition": 0, "from_offset": 5, "to_offset": 9, "reason": "retention"},
    )  # fmt: skip
    assert b"retry: 700\n" in named_block("closing", {}, retry=700)


def test_a_delivery_is_gaps_then_events_up_to_the_limit() -> None:
    whole = delivery(stored_event(1), stored_event(2), stored_event(3), gaps=(GAP,))
    [(block, count)] = blocks(whole, None)
    assert [name for name, _, _ in parsed(block)] == ["gap", "message", "message", "message"]
    assert count == 3
    [(block, count)] = blocks(whole, 2)
    assert (count, parsed(block)[-1][2]) == (2, "c1")


def test_a_delivery_without_events_still_moves_the_cursor() -> None:
    parser = SseParser()
    [(block, count)] = blocks(delivery(), None)
    assert (parser.feed(block), parser.last_id, count) == ([], "end", 0)


def test_large_deliveries_are_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "BLOCK", 500)
    found = list(blocks(delivery(*(stored_event(number) for number in range(20))), None))
    assert len(found) > 3
    assert sum(count for _, count in found) == 20
    assert [told["id"] for block, _ in found for _, told, _ in parsed(block)] == [str(n) for n in range(20)]
