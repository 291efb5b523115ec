"""Server-sent events (WHATWG HTML, 9.2): a live stream as text, and the pace of its client.

    id: <cursor after this event>
    data: {"specversion": "1.0", ...}

A client that stops reading fills its socket and then the transport's buffer; the stream then
takes nothing more from the reader, and after the write time-out the connection is cut. What
it did not get it asks for with `Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp.web import BaseRequest, StreamResponse

from gateway.plugin import Counter, Delivery, EndOfStream, Event, Gap, LinkspanError, Stream, encode_event
from protocols.http.problem import problem_of

CONTENT_TYPE = "text/event-stream"
#: Seconds between comments on a stream that has nothing to say: below the patience of proxies.
HEARTBEAT = 15.0
#: Bytes after which a block is written before more of a delivery is encoded.
BLOCK = 128 * 1024
#: Milliseconds; after a drain they are spread, so that not all clients come back at once.
RETRY, RETRY_SPREAD = 1000, (500, 5000)

_LINE_END = re.compile(rb"\r\n|\r|\n")
_encode = msgspec.json.Encoder(enc_hook=str).encode


def event_block(event: Event, cursor: str) -> bytes:
    """One CloudEvent. A line break between tokens of its JSON begins a further data line."""
    data = encode_event(event)
    if b"\n" in data or b"\r" in data:
        data = _LINE_END.sub(b"\ndata: ", data)
    return b"id: %b\ndata: %b\n\n" % (cursor.encode("ascii"), data)


def named_block(name: str, value: Any, *, retry: int | None = None) -> bytes:
    """A message of another kind: `gap`, `error`, `closing`. Its data is one line of JSON."""
    hint = b"" if retry is None else b"retry: %d\n" % retry
    return b"event: %b\n%bdata: %b\n\n" % (name.encode("ascii"), hint, _encode(value))


def blocks(delivery: Delivery, most: int | None) -> Iterator[tuple[bytes, int]]:
    """A delivery as (bytes, events in them), cut at BLOCK; `most` is what is left of a limit."""
    parts = [gap_block(gap) for gap in delivery.gaps]
    size, count, events = sum(map(len, parts)), 0, delivery.events
    for index in range(len(events) if most is None else min(most, len(events))):
        part = event_block(events[index], delivery.cursors[index])
        parts.append(part)
        size += len(part)
        count += 1
        if size >= BLOCK:
            yield b"".join(parts), count
            parts, size, count = [], 0, 0
    if not events:
        parts.append(b"id: %b\n\n" % delivery.cursor.encode("ascii"))
    if parts:
        yield b"".join(parts), count


def gap_block(gap: Gap) -> bytes:
    return named_block("gap", gap)


class SseSession:
    """One client's stream, from its headers to its end."""

    def __init__(self, stream: Stream, limit: int | None, write_timeout: float, slow: Counter, sent: Counter) -> None:
        self._stream, self._left = stream, limit
        self._write_timeout, self._slow, self._sent = write_timeout, slow, sent
        self._task: asyncio.Task[Any] | None = None
        self._closing = False

    def stop(self) -> None:
        """Tell the client to reconnect elsewhere, and end the stream."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()

    async def run(self, request: BaseRequest, response: StreamResponse, buffer: int) -> None:
        """Write until the stream, the client or the gateway ends. Raises ConnectionError.

        The start position was fixed before: only now are the headers sent.
        """
        self._task = asyncio.current_task()
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        transport.set_write_buffer_limits(high=buffer)
        await response.prepare(request)
        try:
            await self._write(request, b"retry: %d\n\n" % RETRY)
            await self._pump(request)
        except asyncio.CancelledError:
            if not self._closing or self._task is None or request.transport is None:
                raise
            # stop() used the cancellation to end the wait; the task itself goes on to its end.
            self._task.uncancel()
        if self._closing:
            notice = {"code": "draining", "detail": "the gateway is shutting down; reconnect with Last-Event-ID"}
            await self._write(request, named_block("closing", notice, retry=random.randint(*RETRY_SPREAD)))

    async def _pump(self, request: BaseRequest) -> None:
        while (self._left is None or self._left > 0) and not self._closing:
            try:
                delivery = await self._stream.next(timeout=HEARTBEAT)
            except EndOfStream as end:
                self._closing = end.reason == "closed"
                if end.reason in ("deleted", "recreated"):
                    detail = f"the topic was {end.reason}; there is nothing left to read"
                    await self._write(request, named_block("closing", {"code": end.reason, "detail": detail}))
                return
            except LinkspanError as error:
                # The answer has begun: what goes wrong now is told within it.
                await self._write(request, named_block("error", problem_of(error)))
                return
            if delivery is None:
                await self._write(request, b":\n\n")
                continue
            for block, count in blocks(delivery, self._left):
                await self._write(request, block)
                self._sent.value += count
                if self._left is not None:
                    self._left -= count

    async def _write(self, request: BaseRequest, block: bytes) -> None:
        writer = request.writer
        await writer.write(block, drain=False)  # type: ignore[call-arg]  # StreamWriter's own
        if not request.protocol.writing_paused:
            return
        try:
            async with asyncio.timeout(self._write_timeout):
                await writer.drain()
        except TimeoutError:
            self._slow.inc()
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionAbortedError("the client takes nothing") from None
