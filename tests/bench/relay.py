"""The floor that live delivery is measured against: what is POSTed goes to every WebSocket at once.

No log, no views, no bounds, no cursors: the events of one POST are framed as they came and
written to all. Prints its port.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import sys
from collections.abc import Callable
from typing import cast

import uvloop

from tests.bench.stream import server_frame

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Protocol: linkspan.v1\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)
SUBSCRIBED = server_frame(b'{"id":1,"ok":{"sid":1}}')
STORED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Write = Callable[[bytes], object]


class Peer(asyncio.Protocol):
    def __init__(self, subscribers: dict[Peer, Write]) -> None:
        self._subscribers = subscribers
        self._buffer = b""
        self._upgraded = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._subscribers.pop(self, None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._upgraded:
            self._subscribe()
            return
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if b"sec-websocket-key" in fields:
            key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))[19:]
            accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
            self._transport.write(UPGRADED % accept)
            self._upgraded, self._buffer = True, body
        elif len(body) >= int(fields[b"content-length"]):
            self._buffer = b""
            self._publish(body)

    def _subscribe(self) -> None:
        """Whatever was sent is the wish to have everything."""
        self._buffer = b""
        self._transport.write(SUBSCRIBED)
        self._subscribers[self] = self._transport.write

    def _publish(self, body: bytes) -> None:
        events = body[1:-1] if body.startswith(b"[") else body
        block = server_frame(b'{"sid":1,"events":[%b],"cursor":"AAAAAAAAAAAA"}' % events)
        for write in self._subscribers.values():
            write(block)
        self._transport.write(STORED)


async def serve() -> None:
    subscribers: dict[Peer, Write] = {}
    server = await asyncio.get_running_loop().create_server(lambda: Peer(subscribers), "127.0.0.1", 0)
    gc.freeze()
    gc.disable()
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        uvloop.run(serve())
    except KeyboardInterrupt:
        sys.exit(0)
