"""A whole answer in one write.

aiohttp's own Response costs more than everything else that a publish takes; this has the part
of its interface that the connection uses (`prepare`, `write_eof`, `keep_alive`) and no more.
Streams use aiohttp's StreamResponse.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus

from aiohttp.web import BaseRequest

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_UNSAFE = re.compile(r"[^\t\x20-\x7e]")
#: Longer bodies are not copied behind their head.
_JOINED = 64 * 1024
_date = (0, "")


def http_date() -> str:
    """The Date header (RFC 9110, 6.6.1), put together once a second."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, formatdate(now, usegmt=True))
    return _date[1]


class Reply:
    """Status, headers and body, written at once. `body` None: an answer that has none (204, 304)."""

    __slots__ = ("_body", "_close", "_content_type", "_request", "_timeout", "headers", "keep_alive", "status")

    def __init__(
        self,
        status: int,
        body: bytes | None = None,
        content_type: str = "application/json",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.status, self._body, self._content_type = status, body, content_type
        self.headers = list(headers)
        self.keep_alive: bool | None = None
        self._close = False
        self._timeout = 30.0
        self._request: BaseRequest | None = None

    @property
    def body(self) -> bytes:
        return self._body or b""

    def force_close(self) -> None:
        """Tell the client that the connection ends with this answer, and end it."""
        self._close = True

    def bound(self, seconds: float) -> None:
        """How long the client may take nothing before its connection is cut."""
        self._timeout = seconds

    def head(self, request: BaseRequest) -> bytes:
        """The status line and headers; decides whether the connection lives on."""
        keep = self.keep_alive = request.keep_alive and not self._close
        parts = [_LINES[self.status], "Date: ", http_date(), "\r\n"]
        if self._body is not None:
            parts.append(f"Content-Type: {self._content_type}\r\nContent-Length: {len(self._body)}\r\n")
        for name, value in self.headers:
            # Nothing that a client sent may end a line here: it would write a header of its own.
            parts.append(f"{name}: {_UNSAFE.sub('?', value)}\r\n")
        if not keep:
            parts.append("Connection: close\r\n")
        elif request.version < (1, 1):
            parts.append("Connection: keep-alive\r\n")
        parts.append("\r\n")
        return "".join(parts).encode("ascii")

    async def prepare(self, request: BaseRequest) -> None:
        """Write everything. Raises ConnectionError when the client has gone."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self._request = request
        head = self.head(request)
        if self._body is None or request.method == "HEAD":
            transport.write(head)
        elif len(self._body) <= _JOINED:
            transport.write(head + self._body)
        else:
            transport.writelines((head, self._body))

    async def write_eof(self) -> None:
        """Wait until the transport has room again; cut the connection of a client that takes nothing."""
        request = self._request
        while request is not None and request.protocol.writing_paused and request.transport is not None:
            left = request.transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(self._timeout):
                    await request.writer.drain()
            except TimeoutError:
                if request.transport is None or request.transport.get_write_buffer_size() < left:
                    continue
                request.transport.abort()
                raise ConnectionAbortedError("the client takes nothing") from None
