"""Pages on their way to a client: encoded a slice at a time, and bounded together in memory.

A page is charged to a budget before it is read, with the most that it can take; afterwards
with what it has, until the client has taken all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp.web import BaseRequest

from gateway.plugin import Event, Limits, Page, Principal, Reader, ReadRequest, encode_event
from protocols.http.budget import Budget, Share
from protocols.http.reply import Reply

#: Bytes that a page is taken for before it is read: where the reader ends one.
RESERVE = 4 * 2**20
#: Encoded bytes, and events, after which the event loop runs on.
SLICE_BYTES, SLICE_EVENTS = 128 * 1024, 200


class PageReader:
    """Reads pages for all clients of a listener."""

    def __init__(self, reader: Reader, limits: Limits) -> None:
        self._reader = reader
        self.budget = Budget(limits.memory // 4, limits.publish_deadline)

    async def read(self, wanted: ReadRequest, principal: Principal, share: Share) -> Page:
        """What `Reader.page` gives, as soon as there is room for it. Raises Crowded."""
        lent = False

        def lend() -> None:
            # A read that looks at much and finds little holds little: others may have its room.
            nonlocal lent
            lent = True
            share.settle(0)

        await share.grow(RESERVE)
        share.on_stall = lend
        try:
            page = await self._reader.page(wanted, principal)
        finally:
            share.on_stall = None
        if lent:
            await share.grow(RESERVE)
        return page


class PageReply(Reply):
    """A page as an answer; its share is given back when the client has taken all, or is gone."""

    __slots__ = ("_share",)

    def __init__(self, body: bytes, content_type: str, headers: Sequence[tuple[str, str]], share: Share) -> None:
        super().__init__(200, body, content_type, headers)
        self._share = share
        share.settle(len(body))

    async def prepare(self, request: BaseRequest) -> None:
        transport = request.transport
        try:
            if transport is not None and not transport.is_closing():
                # The transport then tells when everything has gone, not when there is room for more.
                transport.set_write_buffer_limits(high=1)
                self._share.left = transport.get_write_buffer_size
                self._share.on_stall = transport.abort
            await super().prepare(request)
        except BaseException:
            self._share.close()
            raise
        self._share.moved()
        self._body = b""  # the connection keeps its last answer for as long as it is idle

    async def write_eof(self) -> None:
        try:
            await super().write_eof()
            transport = self._request.transport if self._request is not None else None
            if transport is not None and not transport.is_closing():
                transport.set_write_buffer_limits()
        finally:
            self._share.close()


async def encode_page(events: Sequence[Event]) -> bytes:
    """A JSON array of structured events. Others have their turn between slices."""
    parts: list[bytes] = []
    size = count = 0
    for event in events:
        part = encode_event(event)
        parts.append(part)
        size += len(part)
        count += 1
        if size >= SLICE_BYTES or count >= SLICE_EVENTS:
            size = count = 0
            await asyncio.sleep(0)
    if not parts:
        return b"[]"
    parts[0] = b"[" + parts[0]
    parts[-1] += b"]"
    return b",".join(parts)
