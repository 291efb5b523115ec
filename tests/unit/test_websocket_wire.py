"""Frames both ways, without a socket."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.websocket.wire import (
    WORTH_COMPRESSING,
    BoundedDeflate,
    Deflate,
    Wire,
    compressed_frame,
    shortened,
    text_frame,
    text_head,
    window_bits,
)
from tests.unit.websocket_support import BINARY, CLOSE, CONT, PING, TEXT, frame

LIMIT = 10_000


def wire(*, compressed: bool = False, limit: int = LIMIT) -> Wire:
    return Wire([BoundedDeflate(True, True, 15, 15)] if compressed else [], limit)


def close_code(output: bytes) -> int:
    assert output[0] == 0x80 | CLOSE
    return int.from_bytes(output[2:4], "big")


def packed(payload: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_the_length_takes_as_few_bytes_as_it_can(size: int, head: bytes) -> None:
    assert text_head(size) == head
    assert text_frame(b"x" * size) == head + b"x" * size


def test_messages_come_out_as_they_went_in() -> None:
    found = wire().receive(frame(TEXT, b"one") + frame(BINARY, b"two") + frame(TEXT))
    assert [(message.data, message.text) for message in found] == [(b"one", True), (b"two", False), (b"", True)]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.booleans())
def test_fragments_are_put_together_whole_and_byte_by_byte(parts: list[bytes], text: bool) -> None:
    sent = b""
    for place, part in enumerate(parts):
        opcode = CONT if place else TEXT if text else BINARY
        sent += frame(opcode, part, fin=place == len(parts) - 1) + frame(PING, b"between")
    whole = wire()
    [message] = whole.receive(sent)
    assert (message.data, message.text) == (b"".join(parts), text)
    assert whole.take_output() == b"\x8a\x07between" * len(parts)
    slow = wire()
    found = [message for byte in sent for message in slow.receive(bytes([byte]))]
    assert [message.data for message in found] == [b"".join(parts)]


def test_control_frames_between_messages_are_answered_and_not_seen() -> None:
    made = wire()
    assert [message.data for message in made.receive(frame(PING, b"p") + frame(10) + frame(TEXT, b"x"))] == [b"x"]
    assert made.take_output() == b"\x8a\x01p"
    assert made.take_output() == b""


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"x", mask=False), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(3, b"x"), 1002),
        (frame(TEXT, b"x", rsv=4), 1002),
        (frame(CONT, b"x"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, b"\x03\xed"), 1002),  # 1005 is never sent
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (frame(TEXT, b"x" * (LIMIT + 1)), 1009),
        (frame(TEXT, b"x" * LIMIT, fin=False) + frame(CONT, b"x"), 1009),
        (b"\x81\xff" + b"\x7f" * 8, 1009),
    ],
)
def test_what_breaks_the_protocol_gets_its_code(sent: bytes, code: int) -> None:
    for pieces in ([sent], [bytes([byte]) for byte in sent]):
        made = wire()
        for piece in pieces:
            made.receive(piece)
        assert close_code(made.take_output()) == code
        assert (made.open, made.over, made.clean, made.close_code) == (False, True, False, code)
        assert made.receive(frame(TEXT, b"more")) == []


def test_the_closing_handshake_of_the_client_is_answered() -> None:
    made = wire()
    assert made.close_code == 1006
    assert [message.data for message in made.receive(frame(TEXT, b"x") + frame(CLOSE, b"\x03\xe8bye"))] == [b"x"]
    assert made.take_output() == b"\x88\x05\x03\xe8bye"
    assert (made.open, made.over, made.clean, made.close_code) == (False, True, True, 1000)


def test_our_closing_handshake_waits_for_the_client() -> None:
    made = wire()
    made.close(1012, "later")
    assert made.take_output() == b"\x88\x07\x03\xf4later"
    made.close(1000, "again")
    assert (made.take_output(), made.open, made.over) == (b"", False, False)
    made.receive(frame(CLOSE, b"\x03\xf4"))
    assert (made.over, made.clean, made.close_code) == (True, True, 1012)


@given(st.text(max_size=200))
def test_a_reason_has_at_most_123_bytes_of_whole_characters(text: str) -> None:
    short = shortened(text)
    assert text.startswith(short)
    assert len(short.encode()) <= 123
    assert short == text or len(short.encode()) >= 120


# Compression


def test_agreed_compression_is_of_each_message_by_itself() -> None:
    params, agreed = Deflate().process_request_params([("client_max_window_bits", None)], [])
    assert params == [("server_no_context_takeover", None), ("client_no_context_takeover", None)]
    assert isinstance(agreed, BoundedDeflate)
    assert (window_bits([agreed]), window_bits([])) == (15, 0)
    params, agreed = Deflate().process_request_params([("server_max_window_bits", "10")], [])
    assert ("server_max_window_bits", "10") in params
    assert window_bits([agreed]) == 10


@given(st.binary(max_size=5000), st.integers(9, 15))
def test_a_compressed_frame_can_be_inflated_alone(payload: bytes, bits: int) -> None:
    made = compressed_frame(payload, bits)
    if len(payload) < WORTH_COMPRESSING:
        assert made == text_frame(payload)
        return
    assert made[0] == 0xC1
    size, at = made[1], 2
    if size == 126:
        size, at = int.from_bytes(made[2:4], "big"), 4
    assert len(made) == at + size
    assert zlib.decompressobj(-bits).decompress(made[at:] + b"\x00\x00\xff\xff") == payload


def test_compressed_messages_are_inflated_up_to_the_bound() -> None:
    made = wire(compressed=True)
    assert made.receive(frame(TEXT, packed(b"x" * LIMIT), rsv=4))[0].data == b"x" * LIMIT
    assert made.receive(frame(TEXT, b"plain"))[0].data == b"plain"
    made.receive(frame(TEXT, packed(b"x" * (LIMIT + 1)), rsv=4))
    assert close_code(made.take_output()) == 1009


def test_fragments_cannot_inflate_beyond_the_bound_together() -> None:
    made = wire(compressed=True)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = deflate.compress(b"x" * LIMIT) + deflate.flush(zlib.Z_SYNC_FLUSH)
    bomb = deflate.compress(b"y" * (100 * LIMIT)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    made.receive(frame(TEXT, first, fin=False, rsv=4) + frame(CONT, bomb[:-4]))
    assert close_code(made.take_output()) == 1009


def test_what_is_not_deflated_is_a_protocol_error() -> None:
    made = wire(compressed=True)
    made.receive(frame(TEXT, b"\xff\xff\xff", rsv=4))
    assert close_code(made.take_output()) == 1002
