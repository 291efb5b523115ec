"""Server-sent events: frames that no payload can forge, and streams that end as they should."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.sse import SseParser
from gateway.event import Event
from gateway.plugin import EndCause, Gap, Unavailable, encode_events
from protocols.http.sse import SseForm, last_word, named_block
from tests.unit.http_support import stored_event

GAP = Gap("t", 0, 5, 9, "retention")


PLAIN = SseForm(chunked=False)


def event_block(event: Event, cursor: str) -> bytes:
    return PLAIN.block(encode_events([event]), [cursor], cursor)


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


def test_a_block_has_every_event_with_its_cursor() -> None:
    block = PLAIN.block(encode_events([stored_event(1), stored_event(2)]), ["c1", "c2"], "c2")
    assert [(told["id"], cursor) for _, told, cursor in parsed(block)] == [("1", "c1"), ("2", "c2")]


def test_a_gap_moves_the_cursor_when_no_events_follow() -> None:
    parser = SseParser()
    [message] = parser.feed(PLAIN.gap(GAP, "end"))
    assert (message.event, message.id) == ("gap", "end")
    [message] = SseParser().feed(PLAIN.gap(GAP, None))
    assert message.id == ""


def test_blocks_are_chunks_of_the_response_where_the_version_has_them() -> None:
    plain, chunked = PLAIN.gap(GAP, "c"), SseForm(chunked=True).gap(GAP, "c")
    assert chunked == b"%x\r\n%b\r\n" % (len(plain), plain)
    assert PLAIN.key != SseForm(chunked=True).key


@pytest.mark.parametrize(
    ("cause", "name", "code"),
    [
        ("closed", "closing", "draining"),
        ("deleted", "closing", "deleted"),
        ("recreated", "closing", "recreated"),
        ("failed", "error", "internal"),
    ],
)
def test_the_last_word_says_why_it_ends(cause: EndCause, name: str, code: str) -> None:
    [(told_name, told, _)] = parsed(last_word(cause, None))
    assert (told_name, told["code"]) == (name, code)


def test_an_error_is_told_as_itself_and_a_limit_not_at_all() -> None:
    [(_, told, _)] = parsed(last_word("failed", Unavailable("the bus is away")))
    assert told["detail"] == "the bus is away"
    assert last_word("limit", None) == b""
