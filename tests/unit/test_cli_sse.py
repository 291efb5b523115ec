"""gateway/cli/sse.py: server-sent events without I/O."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.sse import Message, SseParser


def parse(data: bytes) -> list[Message]:
    return SseParser().feed(data)


def test_a_message_has_its_event_data_and_id() -> None:
    assert parse(b"event: gap\nid: 7\ndata: x\n\n") == [Message("gap", "x", "7")]


def test_an_event_without_a_name_is_a_message_and_keeps_the_last_id() -> None:
    assert parse(b"id: 7\ndata: x\n\ndata: y\n\n") == [Message("message", "x", "7"), Message("message", "y", "7")]


def test_several_data_lines_are_joined_by_newlines() -> None:
    assert parse(b"data: a\ndata:\ndata:  b\n\n")[0].data == "a\n\n b"


def test_all_three_line_ends_are_understood() -> None:
    assert [message.data for message in parse(b"data: a\r\n\r\ndata: b\r\rdata: c\n\n")] == ["a", "b", "c"]


def test_comments_and_unknown_fields_are_ignored() -> None:
    assert parse(b": heartbeat\n\nfoo: bar\ndata\n\n") == [Message("message", "", "")]


def test_a_block_without_data_dispatches_nothing_but_moves_the_id() -> None:
    parser = SseParser()
    assert parser.feed(b"id: 9\nevent: x\n\n") == []
    assert parser.last_id == "9"
    assert parser.feed(b"data: y\n\n") == [Message("message", "y", "9")]


def test_an_id_with_nul_is_ignored() -> None:
    assert parse(b"id: a\x00b\ndata: x\n\n")[0].id == ""


def test_retry_is_kept_in_seconds_and_nonsense_is_not() -> None:
    parser = SseParser()
    parser.feed(b"retry: 1500\nretry: soon\n")
    assert parser.retry == 1.5


def test_a_byte_order_mark_at_the_start_is_dropped_even_when_it_comes_in_pieces() -> None:
    parser = SseParser()
    assert parser.feed(b"\xef") == []
    assert parser.feed(b"\xbb") == []
    assert parser.feed(b"\xbfdata: x\n\n") == [Message("message", "x", "")]


def test_an_unfinished_message_is_not_dispatched() -> None:
    assert parse(b"data: x\n") == []


lines = st.sampled_from(
    [b"data: a", b"data:b", b"id: 1", b"id", b"event: gap", b": c", b"", b"", b"x", b"data: \xff\xc3\xa4"]
)
ends = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(st.lists(st.tuples(lines, ends)))
def test_feeding_whole_and_byte_by_byte_gives_the_same(pieces: list[tuple[bytes, bytes]]) -> None:
    data = b"".join(line + end for line, end in pieces)
    whole, bytewise = SseParser(), SseParser()
    got = [message for at in range(len(data)) for message in bytewise.feed(data[at : at + 1])]
    # A CR at the very end may be half of a CRLF: a further line settles it for both.
    tail = b": end\n\n"
    assert whole.feed(data) + whole.feed(tail) == got + bytewise.feed(tail)
    assert whole.last_id == bytewise.last_id
