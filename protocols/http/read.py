"""Reading: `GET /v1/topics/{topic}/events` and `GET /v1/events`, as a live stream or page by page."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp.web import BaseRequest, StreamResponse

from gateway.plugin import (
    Draining,
    Gateway,
    Page,
    Pattern,
    Principal,
    Query,
    ReadRequest,
    Refinement,
    check_topic,
    parse_duration,
    parse_pattern,
    parse_start,
    parse_subject_pattern,
    query_fault,
)
from protocols.http import sse
from protocols.http.accept import choose
from protocols.http.binding import BATCH
from protocols.http.budget import Share
from protocols.http.cors import Cors
from protocols.http.pages import RESERVE, PageReader, PageReply, encode_page
from protocols.http.reply import Reply
from protocols.http.sse import CONTENT_TYPE, SseClient

#: What a client gets that does not say what it wants comes first: an answer that ends.
OFFERS = (BATCH, CONTENT_TYPE, "application/json")
PAGE = 100
#: Seconds that a long poll may wait for its first event.
MAX_WAIT = 60.0
MAX_LIMIT = 10**12
_AWAY = "the gateway is shutting down; ask another instance, or again later"
_COMMON = ("start", "filter", "limit", "wait")


class Readings:
    """The handlers for both addresses, and the clients of streams under way."""

    def __init__(self, gateway: Gateway, cors: Cors) -> None:
        self._gateway, self._limits, self._cors = gateway, gateway.limits, cors
        self.pages = PageReader(gateway.reader, gateway.limits)
        self.clients: set[SseClient] = set()
        self._heart: asyncio.TimerHandle | None = None
        self._polls: set[asyncio.Task[Any]] = set()
        self._draining = False
        metrics = gateway.metrics
        self._slow = metrics.counter(
            "linkspan_http_slow_clients_total", "Streams that were cut since the client took nothing."
        )
        metrics.gauge_function("linkspan_http_streams", "Open streams.", lambda: float(len(self.clients)))

    def drain(self) -> None:
        """End all streams and long polls with word that they should go elsewhere."""
        self._draining = True
        for client in list(self.clients):
            client.stop()
        for task in list(self._polls):
            task.cancel()

    async def topic(
        self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]
    ) -> Reply | StreamResponse:
        """The events of one topic, narrowed by `subject`."""
        asked = Query(query, ("subject", *_COMMON))
        topic = check_topic(path[0])
        subject = asked.get("subject")
        segments = ("**",) if subject is None else parse_subject_pattern(subject)
        return await self._answer(request, principal, asked, (Pattern(topic, segments),))

    async def several(
        self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]
    ) -> Reply | StreamResponse:
        """The events of several address patterns: `from=signals/**&from=news/*`."""
        asked = Query(query, _COMMON, repeated=("from",))
        sources = asked.all("from")
        if not sources:
            raise query_fault("from", "is required: an address pattern such as signals/**; it may be given again")
        return await self._answer(request, principal, asked, tuple(parse_pattern(text) for text in sources))

    async def _answer(
        self, request: BaseRequest, principal: Principal, asked: Query, sources: tuple[Pattern, ...]
    ) -> Reply | StreamResponse:
        kind = choose(request.headers.get("Accept"), OFFERS)
        if kind == CONTENT_TYPE:
            return await self._stream(request, principal, asked, sources)
        return await self._page(request, principal, asked, sources, kind)

    async def _page(
        self, request: BaseRequest, principal: Principal, asked: Query, sources: tuple[Pattern, ...], kind: str
    ) -> Reply:
        wanted = ReadRequest(
            sources=sources,
            start=parse_start(asked.get("start") or "earliest"),
            refinement=await self._refinement(asked),
            limit=asked.number("limit", self._limits.page) or min(PAGE, self._limits.page),
        )
        wait = _wait(asked)
        share = self.pages.budget.share()
        try:
            page = await self._poll(wanted, principal, wait, share)
            body = await encode_page(page.events)
            following = f'<{_path(request)}?{asked.replaced("start", page.cursor)}>; rel="next"'
            headers = [("Linkspan-Cursor", page.cursor), ("Link", following), *_gap_header(page)]
            headers.append(("Cache-Control", "no-store"))
            return PageReply(body, kind, headers, share)
        except BaseException:
            share.close()
            raise

    async def _poll(self, wanted: ReadRequest, principal: Principal, wait: float, share: Share) -> Page:
        """A page of what is known; when that is nothing, of what comes within `wait` seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        page = await self.pages.read(wanted, principal, share)
        left = until - loop.time()
        if left <= 0 or page.events or page.gaps:
            return page
        share.settle(0)  # who waits holds nothing
        wanted = ReadRequest(wanted.sources, parse_start(page.cursor), wanted.refinement, wanted.limit)
        page = await self._wait(wanted, principal, left)
        if page.events:
            await share.grow(RESERVE)
        return page

    async def _wait(self, wanted: ReadRequest, principal: Principal, wait: float) -> Page:
        task = asyncio.current_task()
        if self._draining or task is None:
            raise Draining(_AWAY)
        self._polls.add(task)
        try:
            return await self._gateway.reader.page(wanted, principal, wait=wait)
        except asyncio.CancelledError:
            if not self._draining:
                raise
            task.uncancel()  # see `drain`: the request itself goes on to its answer
            raise Draining(_AWAY) from None
        finally:
            self._polls.discard(task)

    async def _stream(
        self, request: BaseRequest, principal: Principal, asked: Query, sources: tuple[Pattern, ...]
    ) -> Reply | StreamResponse:
        if asked.get("wait") is not None:
            raise query_fault("wait", "is for pages: a stream waits for ever")
        limit = asked.number("limit", MAX_LIMIT)
        # A browser repeats its URL when it reconnects: what it has seen is in the header.
        start = request.headers.get("Last-Event-ID") or asked.get("start") or "latest"
        wanted = ReadRequest(sources, parse_start(start), await self._refinement(asked), limit)
        client = SseClient(request, self._limits.write_timeout, self._slow)
        session = await self._gateway.views.subscribe(wanted, principal, client.form, client)
        if request.method == "HEAD":
            session.close()
            return Reply(200, headers=[("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store")])
        self._enter(client)
        try:
            response = self._response(request)
            await client.run(session, response, self._limits.stream_buffer)
            return response
        finally:
            self.clients.discard(client)
            session.close()

    def _enter(self, client: SseClient) -> None:
        self.clients.add(client)
        if self._draining:
            client.stop()
        elif self._heart is None:
            self._heart = asyncio.get_running_loop().call_later(sse.HEARTBEAT, self._beat)

    def _beat(self) -> None:
        """One timer for all streams, while there are any."""
        self._heart = None
        for client in self.clients:
            client.beat()
        if self.clients:
            self._heart = asyncio.get_running_loop().call_later(sse.HEARTBEAT, self._beat)

    async def _refinement(self, asked: Query) -> Refinement | None:
        text = asked.get("filter")
        return None if text is None else await self._gateway.refiner.expression(text)

    def _response(self, request: BaseRequest) -> StreamResponse:
        headers = {
            "Content-Type": CONTENT_TYPE,
            "Cache-Control": "no-store",
            "Server": "linkspan",
            "X-Accel-Buffering": "no",  # nginx and those that follow it pass each event on at once
        }
        origin = request.headers.get("Origin")
        if origin is not None:
            headers.update(self._cors.headers(origin))
        response = StreamResponse(headers=headers)
        response.force_close()  # a stream ends with its connection: nothing can follow on it
        return response


def _wait(asked: Query) -> float:
    text = asked.get("wait")
    if text is None:
        return 0.0
    try:
        wait = parse_duration(text)
    except ValueError as error:
        raise query_fault("wait", str(error)) from None
    if wait > MAX_WAIT:
        raise query_fault("wait", f"is at most {MAX_WAIT:g}s, not {text[:40]}: ask again after that")
    return wait


def _path(request: BaseRequest) -> str:
    raw = request.raw_path.partition("?")[0]
    return quote(raw, safe="/%:@!$&'()*+,;=~-._", errors="replace")


def _gap_header(page: Page) -> list[tuple[str, str]]:
    """Gaps stand in one header, as a JSON array in ASCII."""
    if not page.gaps:
        return []
    return [("Linkspan-Gap", json.dumps(msgspec.to_builtins(list(page.gaps)), separators=(",", ":")))]
