"""One TCP connection: aiohttp's request handler, with our answers for what it refuses itself.

aiohttp parses, keeps alive and schedules; it tells its own errors in plain text and knows no
bound on the number of connections. The private parts of aiohttp that this relies on are named
here and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from aiohttp import StreamReader
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web import BaseRequest, RequestHandler, Server, StreamResponse
from aiohttp.web_protocol import _ErrInfo

from gateway.plugin import ANONYMOUS, Connection, Connections, Limits, Unavailable, now_rfc3339
from protocols.http.problem import HeadersTooLarge, InternalError, Malformed, reply_of
from protocols.http.reply import Reply, http_date

if TYPE_CHECKING:
    from protocols.http.routes import Answer

#: More header lines than this are refused whatever their size.
MAX_HEADERS = 100
#: Bytes of a body that a connection takes before they are asked for; twice as much is the bound.
READ_AHEAD = 128 * 1024
#: Seconds for which the rest of a refused body is read and thrown away, so that the client sees the answer.
LINGER = 1.0
#: Seconds between two attempts to tell a client that is gone from one that just sends nothing more.
PROBE, PROBES = 1.0, 2

Serve = Callable[[BaseRequest], "Awaitable[Answer]"]


class HttpServer(Server):
    """The connections of one listener. `full` and `draining` decide what a new one gets."""

    def __init__(self, serve: Serve, limits: Limits, connections: Connections) -> None:
        super().__init__(
            cast("Callable[[BaseRequest], Awaitable[StreamResponse]]", serve),  # a Reply has the part that is used
            handler_cancellation=True,  # a stream whose client left ends at once
            access_log=None,
            keepalive_timeout=limits.idle_timeout,
            max_line_size=limits.header,
            max_field_size=limits.header,
            max_headers=MAX_HEADERS,
            lingering_time=LINGER,
            read_bufsize=READ_AHEAD,
            auto_decompress=False,  # bounded inflation is ours, see `body`
        )
        self._limit = limits.connections
        self.registry = connections
        self.draining = False
        self.empty = asyncio.Event()
        self.empty.set()

    def __call__(self) -> HttpConnection:
        return HttpConnection(self, loop=self._loop, **self._kwargs)

    @property
    def full(self) -> bool:
        return len(self._connections) > self._limit

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.empty.clear()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        if all(connection.transport is None for connection in self._connections):
            self.empty.set()

    def drain(self) -> None:
        """Close connections that wait for a request; the others close with their answer."""
        self.draining = True
        for connection in list(self._connections):
            cast("HttpConnection", connection).close_when_idle()


class HttpConnection(RequestHandler):
    #: `broken`: a payload that was ended since its transfer coding is not one. `flow`: called with
    #: True when the transport's buffer is full, and with False when it has room again. `probe`: called
    #: to write something, since only that shows whether a client that sends nothing more is there.
    __slots__ = ("_half_closed", "_id", "_latest", "_principal", "_since", "broken", "flow", "probe")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.broken: StreamReader | None = None
        self.flow: Callable[[bool], None] | None = None
        self.probe: Callable[[], None] | None = None
        self._latest: StreamReader | None = None
        self._half_closed = False
        server = cast(HttpServer, self._manager)
        self._principal, self._since = ANONYMOUS.id, now_rfc3339()
        self._id = server.registry.add("http", self)
        if server.full:
            refusal = Unavailable("this gateway has as many connections as it takes; try again later")
            cast(asyncio.Transport, transport).write(_unasked(reply_of(refusal)))
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._manager is not None:
            cast(HttpServer, self._manager).registry.remove(self._id)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.flow is not None:
            self.flow(True)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.flow is not None:
            self.flow(False)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            self._latest = self._messages[-1][1]
        # aiohttp queues the error as if it were a request, and leaves the reader of the body waiting.
        if self._messages and type(self._messages[-1][0]) is _ErrInfo:
            if len(self._messages) > 1:
                self._break(self._messages[-2][1])
            else:
                # The request may have left the queue just now, and its handler not have begun.
                asyncio.get_running_loop().call_soon(self._break_current)

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp has nothing to do here
        """The client sends nothing more (RFC 9112, 9.6). What it has asked for whole it still gets.

        Whether it has gone altogether shows when something is written to it. Over TLS a connection
        cannot be closed by half.
        """
        transport = self.transport
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            return False
        idle = self._waiter is not None and not self._waiter.done() and not self._messages
        if idle or self._task_handler is None or (self._latest is not None and not self._latest.is_eof()):
            return False
        if not self._half_closed:
            self._half_closed = True
            self._probe(PROBES)
        return True

    def _probe(self, more: int) -> None:
        # The first write to a client that has gone is answered with a reset, the next one fails.
        if self.probe is not None:
            self.probe()
        if more and self.transport is not None:
            asyncio.get_running_loop().call_later(PROBE, self._probe, more - 1)

    async def finish_response(
        self, request: BaseRequest, resp: StreamResponse, start_time: float | None
    ) -> tuple[StreamResponse, bool]:
        ended = await super().finish_response(request, resp, start_time)
        if self._half_closed and not self._messages:
            self._close = True  # nothing can follow
        return ended

    def _break_current(self) -> None:
        if self._current_request is not None:
            self._break(self._current_request.content)

    def _break(self, payload: StreamReader) -> None:
        if not payload.is_eof():
            self.broken = payload
            payload.feed_eof()

    def describe(self, id: str) -> Connection:
        peer = self.peername
        shown = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "")
        return Connection(id=id, protocol="http", peer=shown, principal=self._principal, since=self._since)

    def belongs_to(self, principal: str) -> None:
        """Who the latest request was made by."""
        self._principal = principal

    def disconnect(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def close_when_idle(self) -> None:
        if self._current_request is None and not self._messages:
            self.force_close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """What aiohttp refuses before there is a request, or could not finish, as a problem."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer has begun already")
        return cast(StreamResponse, _closing(refusal_of(status, exc)))


def refusal_of(status: int, exc: BaseException | None) -> Reply:
    """The answer to bytes that aiohttp could not make a request of."""
    if isinstance(exc, LineTooLong) or (exc is not None and "Too many" in str(exc)):
        return reply_of(HeadersTooLarge("the request line or a header is longer than this gateway takes"))
    if status < 500:
        return reply_of(Malformed("this is not a request by HTTP/1.1"))
    return reply_of(InternalError("something went wrong in the gateway; its log says what"))


def _closing(reply: Reply) -> Reply:
    reply.force_close()
    return reply


def _unasked(reply: Reply) -> bytes:
    """An answer written to a client that has not asked yet."""
    head = f"HTTP/1.1 {reply.status} Service Unavailable\r\nDate: {http_date()}\r\nConnection: close\r\n"
    lines: list[tuple[str, Any]] = [("Content-Type", "application/problem+json"), ("Content-Length", len(reply.body))]
    return (
        head + "".join(f"{name}: {value}\r\n" for name, value in (*lines, *reply.headers)) + "\r\n"
    ).encode() + reply.body
