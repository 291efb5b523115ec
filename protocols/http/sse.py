"""Server-sent events (WHATWG HTML, 9.2): a form of live delivery, and the pace of its client.

    id: <cursor after this event>
    data: {"specversion": "1.0", ...}

Blocks are framed as chunks of the response and go straight to the transport. A client that
stops reading fills its socket and then the transport's buffer; nothing more is written then,
and after the write time-out the connection is cut. What it did not get it asks for with
`Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
from aiohttp.web import BaseRequest, StreamResponse

from gateway.plugin import Counter, EndCause, Gap, LinkspanError, Session, encode_events
from protocols.http.connection import HttpConnection
from protocols.http.problem import InternalError, problem_of

CONTENT_TYPE = "text/event-stream"
#: Seconds between comments: below the patience of proxies.
HEARTBEAT = 15.0
#: Milliseconds; after a drain they are spread, so that not all clients come back at once.
RETRY, RETRY_SPREAD = 1000, (500, 5000)

_LINE_END = re.compile(rb"\r\n|\r|\n")
_encode = msgspec.json.Encoder(enc_hook=str).encode


class SseForm:
    """Each event as a message with its cursor; `chunked`: framed for HTTP/1.1 (RFC 9112, 7.1)."""

    encode = staticmethod(encode_events)

    def __init__(self, *, chunked: bool) -> None:
        self.chunked = chunked
        self.key = ("sse", chunked)

    def block(self, parts: Sequence[bytes], cursors: Sequence[str], cursor: str) -> bytes:
        """A line break between tokens of an event's JSON begins a further data line."""
        pieces: list[bytes] = []
        for part, at in zip(parts, cursors, strict=True):
            if b"\n" in part or b"\r" in part:
                part = _LINE_END.sub(b"\ndata: ", part)
            pieces += (b"id: ", at.encode("ascii"), b"\ndata: ", part, b"\n\n")
        return self.frame(b"".join(pieces))

    def gap(self, gap: Gap, cursor: str | None) -> bytes:
        return self.frame(named_block("gap", gap, id=cursor))

    def frame(self, body: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(body), body) if self.chunked else body


#: By the minor version of HTTP/1.
FORMS = (SseForm(chunked=False), SseForm(chunked=True))


def named_block(name: str, value: Any, *, retry: int | None = None, id: str | None = None) -> bytes:
    """A message of another kind: `gap`, `error`, `closing`. Its data is one line of JSON."""
    hint = b"" if retry is None else b"retry: %d\n" % retry
    mark = b"" if id is None else b"id: %b\n" % id.encode("ascii")
    return b"event: %b\n%b%bdata: %b\n\n" % (name.encode("ascii"), hint, mark, _encode(value))


class SseClient:
    """One client's stream, from its headers to its end; the sink of its session."""

    def __init__(self, request: BaseRequest, write_timeout: float, slow: Counter) -> None:
        self._request, self._write_timeout, self._slow = request, write_timeout, slow
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        self._transport = transport
        self.form = FORMS[request.version.minor >= 1]
        self.write: Callable[[bytes], object] = transport.write
        self._session: Session | None = None
        self._end: asyncio.Future[tuple[EndCause, LinkspanError | None]] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._told = ""

    def bound(self, size: int) -> None:
        self._transport.set_write_buffer_limits(high=size)

    def ended(self, cause: EndCause, error: LinkspanError | None) -> None:
        if not self._end.done():
            self._end.set_result((cause, error))

    def stop(self) -> None:
        """Tell the client to reconnect elsewhere, and end the stream."""
        if self._session is not None:
            self._session.close()
        self.ended("closed", None)

    def beat(self) -> None:
        """Show that the stream lives, and how far it came though nothing was wanted."""
        session = self._session
        if session is None or session.paused or self._end.done() or self._transport.is_closing():
            return
        cursor = session.cursor
        news = b"" if cursor == self._told else b"id: %b\n" % cursor.encode("ascii")
        self._told = cursor
        self.write(self.form.frame(b":\n%b\n" % news))

    async def run(self, session: Session, response: StreamResponse, buffer: int) -> None:
        """Write until the stream, the client or the gateway ends. Raises ConnectionError.

        The start position was fixed before: only now are the headers sent.
        """
        self._session = session
        connection = cast(HttpConnection, self._request.protocol)
        self._transport.set_write_buffer_limits(high=buffer)
        await response.prepare(self._request)
        await self._notice(b"retry: %d\n\n" % RETRY)
        connection.flow, connection.probe = self._flow, self.beat
        try:
            session.begin()
            cause, error = await self._end
        finally:
            connection.flow = connection.probe = None
            if self._timer is not None:
                self._timer.cancel()
            session.close()
        notice = last_word(cause, error)
        if notice:
            await self._notice(notice)

    def _flow(self, full: bool) -> None:
        """The transport's buffer is full, or has room again."""
        session = self._session
        if session is None:
            return
        if full:
            self._timer = asyncio.get_running_loop().call_later(self._write_timeout, self._cut)
            session.pause()
        else:
            if self._timer is not None:
                self._timer.cancel()
            session.resume()

    def _cut(self) -> None:
        self._slow.inc()
        self._transport.abort()

    async def _notice(self, block: bytes) -> None:
        """Something beside the events. A client that takes nothing is cut after the time-out."""
        writer = self._request.writer
        await writer.write(block, drain=False)  # type: ignore[call-arg]  # StreamWriter's own
        if not self._request.protocol.writing_paused:
            return
        try:
            async with asyncio.timeout(self._write_timeout):
                await writer.drain()
        except TimeoutError:
            self._cut()
            raise ConnectionAbortedError("the client takes nothing") from None


def last_word(cause: EndCause, error: LinkspanError | None) -> bytes:
    """The answer has begun: why it ends is told within it. A limit needs no words."""
    if cause == "closed":
        told = {"code": "draining", "detail": "the gateway is shutting down; reconnect with Last-Event-ID"}
        return named_block("closing", told, retry=random.randint(*RETRY_SPREAD))
    if cause in ("deleted", "recreated"):
        told = {"code": cause, "detail": f"the topic was {cause}; there is nothing left to read"}
        return named_block("closing", told)
    if cause == "failed":
        fault = error or InternalError("something went wrong in the gateway; its log says what")
        return named_block("error", problem_of(fault))
    return b""
