"""A whole gateway behind the HTTP door, on a bus in memory, for the tests of `protocols.http`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession

from gateway.config.model import Limits
from gateway.event import Event
from protocols.http.plugin import HttpSettings, plugin
from protocols.http.server import HttpListener
from tests.unit.parts_support import Parts

BATCH = "application/cloudevents-batch+json"
STRUCTURED = "application/cloudevents+json"


class House(Parts):
    """With an HTTP listener."""

    plugin = plugin

    @property
    def listener(self) -> HttpListener:
        assert isinstance(self.door, HttpListener)
        return self.door


@asynccontextmanager
async def house(
    limits: Limits | None = None, settings: HttpSettings | None = None, **more: Any
) -> AsyncIterator[House]:
    made = House(limits or Limits(), **more)
    await made.start(settings or HttpSettings())
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def client(house: House) -> AsyncIterator[ClientSession]:
    async with ClientSession(house.url) as session:
        yield session


def event(number: int = 0, **more: Any) -> dict[str, Any]:
    """A structured event as a client would send it."""
    return {"specversion": "1.0", "id": str(number), "source": "/test", "type": "t.made", "data": {"n": number}} | more


def stored_event(number: int = 0, data: bytes | None = b"{}", **more: str | int | bool) -> Event:
    attributes: dict[str, str | int | bool] = {"specversion": "1.0", "id": str(number), "source": "/test"}
    return Event(attributes | {"type": "t.made"} | more, data)


def batch(events: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps(list(events)).encode()


async def raw(port: int, request: bytes, *, deadline: float = 10.0) -> bytes:
    """Send bytes, read until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(deadline):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def split(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body of one raw answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split(" ")[1]), headers, body
