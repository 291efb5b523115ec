"""A whole gateway behind the WebSocket door, on a bus in memory, and a client that can be rude."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.config.model import Limits
from protocols.websocket.connection import Connection
from protocols.websocket.handshake import CLOUDEVENTS, NATIVE, PATH
from protocols.websocket.listener import WebSocketListener
from protocols.websocket.plugin import plugin
from protocols.websocket.settings import WebSocketSettings
from tests.unit.http_support import event, stored_event
from tests.unit.parts_support import Parts

__all__ = ["CLOUDEVENTS", "NATIVE", "Client", "Port", "Refused", "event", "frame", "handshake", "port", "stored_event"]

TEXT, BINARY, CLOSE, PING, PONG, CONT = 1, 2, 8, 9, 10, 0
DEADLINE = 10.0


class Port(Parts):
    """With a WebSocket listener."""

    plugin = plugin

    @property
    def listener(self) -> WebSocketListener:
        assert isinstance(self.door, WebSocketListener)
        return self.door

    @property
    def clients(self) -> list[Connection]:
        return list(self.listener.door.connections)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a series as it is served; 0 when there is none yet."""
        shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
        for line in self.metrics.render().decode().splitlines():
            head, _, value = line.rpartition(" ")
            if head == (f"{name}{{{shown}}}" if labels else name):
                return float(value)
        return 0.0


@asynccontextmanager
async def port(limits: Limits | None = None, *, auto_create: bool = False, **settings: Any) -> AsyncIterator[Port]:
    made = Port(limits or Limits(), auto_create=auto_create)
    await made.start(WebSocketSettings(**settings))
    try:
        yield made
    finally:
        await made.close()


class Refused(Exception):
    """The handshake was answered with something else than 101."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(status, body)
        self.status, self.headers = status, headers
        self.problem: dict[str, Any] = json.loads(body) if body else {}


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True, rsv: int = 0) -> bytes:
    """A frame as a client sends it, or as it must not."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit, size = (0x80 if mask else 0), len(payload)
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + size.to_bytes(8, "big")
    if not mask:
        return head + payload
    key = b"\x37\xfa\x21\x3d"
    return head + key + bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))


def handshake(
    subprotocol: str | None = NATIVE,
    path: str = PATH,
    headers: dict[str, str | None] | None = None,
    method: str = "GET",
) -> bytes:
    """A request; a header that is None is left out."""
    lines: dict[str, str | None] = {
        "Host": "127.0.0.1",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": subprotocol,
    }
    lines.update(headers or {})
    shown = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"{method} {path} HTTP/1.1\r\n{shown}\r\n".encode()


class Client:
    """A client by hand: it sends any bytes, and reads frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.headers: dict[str, str] = {}

    @staticmethod
    @asynccontextmanager
    async def connected(to: Port) -> AsyncIterator[Client]:
        """A TCP connection, and nothing sent on it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", to.port, limit=2**24)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()

    @staticmethod
    @asynccontextmanager
    async def open(
        to: Port, subprotocol: str = NATIVE, path: str = PATH, headers: dict[str, str | None] | None = None
    ) -> AsyncIterator[Client]:
        """After the handshake. Raises Refused."""
        async with Client.connected(to) as client:
            client.writer.write(handshake(subprotocol, path, headers))
            await client.answer()
            yield client

    async def answer(self) -> None:
        """Read the answer to a handshake. Raises Refused."""
        async with asyncio.timeout(DEADLINE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip().split("\r\n")
            self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            status = int(first.split(" ")[1])
            if status != 101:
                body = await self.reader.readexactly(int(self.headers.get("content-length", "0")))
                raise Refused(status, self.headers, body)

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, message: Any) -> None:
        self.writer.write(frame(TEXT, message if isinstance(message, bytes) else json.dumps(message).encode()))

    async def frame(self, deadline: float = DEADLINE) -> tuple[int, bytes]:
        """First byte and payload of the next frame, which a server does not mask."""
        async with asyncio.timeout(deadline):
            first, size = await self.reader.readexactly(2)
            assert size < 128, "a server does not mask"
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            return first, await self.reader.readexactly(size)

    async def text(self, deadline: float = DEADLINE) -> Any:
        """The next text message as JSON."""
        first, payload = await self.frame(deadline)
        assert first == 0x80 | TEXT, (first, payload)
        return json.loads(payload)

    async def ask(self, message: Any) -> Any:
        """Send a message, and read the next that comes."""
        self.send(message)
        return await self.text()

    async def subscribe(self, source: str | list[str] = "t/**", id: int | str = 1, **more: Any) -> Any:
        told = await self.ask({"id": id, "subscribe": {"from": source, **more}})
        assert told["ok"]["sid"] == id, told
        return told["ok"]

    async def closed(self, deadline: float = DEADLINE) -> tuple[int, str]:
        """Code and reason of the close frame that comes next; 1006 when the socket ends without one."""
        try:
            first, payload = await self.frame(deadline)
        except (asyncio.IncompleteReadError, ConnectionError):
            return 1006, ""
        assert first == 0x80 | CLOSE, (first, payload)
        return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    async def gone(self, deadline: float = DEADLINE) -> bool:
        """Whether the server ends the socket, whatever it still sends."""
        async with asyncio.timeout(deadline):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass
            return True
