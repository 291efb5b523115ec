"""Arbitrary bytes, whole and byte by byte: nothing is raised, and no other connection is disturbed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.model import Limits
from protocols.websocket.connection import Connection
from protocols.websocket.handshake import CLOUDEVENTS, NATIVE
from protocols.websocket.wire import text_frame
from tests.unit.websocket_support import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Port,
    event,
    frame,
    handshake,
    port,
)


class Transport(asyncio.Transport):
    """Takes everything, and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.over = False

    def write(self, data: Any) -> None:
        assert not self.over, "written after the end"
        self.written += data

    def write_eof(self) -> None:
        self.over = True

    def close(self) -> None:
        self.over = True

    def abort(self) -> None:
        self.over = True

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


MESSAGES = st.one_of(
    st.sampled_from(
        [
            {"id": 1, "subscribe": {"from": "t/**"}},
            {"id": 1, "subscribe": {"from": "nowhere"}},
            {"id": 2, "unsubscribe": {"sid": 1}},
            {"id": 3, "publish": {"topic": "t", "events": [event()]}},
            {"id": 3, "publish": {"topic": "x", "events": [event()]}},
            {"id": 3, "publish": {"topic": "t", "events": [{}]}},
            {"id": 4, "ping": {}},
            {"id": 4, "ack": {}},
            event(),
            [],
        ]
    ).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=40),
)
FRAMES = st.builds(
    frame,
    st.sampled_from([TEXT, TEXT, TEXT, BINARY, CONT, PING, PONG, CLOSE, 3, 15]),
    MESSAGES,
    fin=st.sampled_from([True, True, True, False]),
    mask=st.sampled_from([True, True, True, True, False]),
    rsv=st.sampled_from([0, 0, 0, 0, 4, 2]),
)
BYTES = st.one_of(st.lists(FRAMES, max_size=6).map(b"".join), st.binary(max_size=100))
HEADS = st.one_of(
    st.builds(
        handshake,
        st.sampled_from([NATIVE, CLOUDEVENTS, None, "mqtt"]),
        st.sampled_from(["/v1/ws", "/v1/ws?from=t/**&to=t", "/v1/ws?to=t", "/v1/ws?x", "/"]),
        st.sampled_from([{}, {"Sec-WebSocket-Extensions": "permessage-deflate"}, {"Host": None}, {"Upgrade": "x"}]),
        st.sampled_from(["GET", "GET", "GET", "POST"]),
    ),
    st.binary(max_size=100),
    st.binary(max_size=100).map(lambda data: data + b"\r\n\r\n"),
)


async def feed(gateway: Port, head: bytes, pieces: list[bytes]) -> bytes:
    """Feed a connection, with turns of the loop between; what it wrote."""
    connection, transport = Connection(gateway.listener.door), Transport()
    connection.connection_made(transport)
    try:
        for piece in (head, *pieces):
            await asyncio.sleep(0)
            if not transport.over:
                connection.data_received(piece)
        for _ in range(5):
            await asyncio.sleep(0)
    finally:
        connection.connection_lost(None)
    return transport.written


def whole_frames(data: bytes) -> None:
    """What was written is an HTTP answer, and then whole frames that are not masked."""
    if not data:
        return
    head, _, rest = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ")
    if not head.startswith(b"HTTP/1.1 101"):
        return
    at = 0
    while at < len(rest):
        size = rest[at + 1]
        at += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(rest[at : at + width], "big")
            at += width
        at += size
    assert at == len(rest)


@settings(deadline=None, max_examples=300)
@given(head=HEADS, body=BYTES, bytewise=st.booleans())
def test_nothing_is_raised_and_only_whole_frames_are_written(head: bytes, body: bytes, bytewise: bool) -> None:
    async def run() -> None:
        async with port(Limits(), max_message=2048) as gateway:
            other, seen = Connection(gateway.listener.door), Transport()
            other.connection_made(seen)
            other.data_received(handshake())
            pieces = [bytes([byte]) for byte in body] if bytewise else [body]
            with structlog.testing.capture_logs() as logs:
                whole_frames(await feed(gateway, head, pieces))
            assert [entry for entry in logs if entry["log_level"] in ("error", "critical")] == []
            before = len(seen.written)
            other.data_received(frame(TEXT, b'{"id":"still","ping":{}}'))
            assert seen.written[before:] == text_frame(b'{"id":"still","ok":{}}')
            assert len(gateway.listener.door.connections) == 1
            other.connection_lost(None)

    asyncio.run(run())
