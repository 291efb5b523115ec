"""Reading, as every door offers it: pages of the log, and streams that go on live.

What to read is a set of address patterns; where to begin is a start position. An event that
matches several patterns is delivered once. Wildcards never match internal topics, and are
narrowed to what the principal may read; a topic that is named must exist and be allowed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from auth.principal import Principal
from gateway.address import Pattern
from gateway.bus.contract import Bounds, Bus
from gateway.config.model import Limits
from gateway.delivery.follow import TopicTail
from gateway.delivery.handover import Gap
from gateway.delivery.outcome import Delivery, EndOfStream, Page, ReadStats
from gateway.delivery.paging import PAGE_BYTES, collect
from gateway.delivery.position import Start
from gateway.delivery.refine import Refinement
from gateway.delivery.resolve import Resolver, Target, gathered
from gateway.delivery.select import Selection
from gateway.delivery.stream import Stream
from gateway.delivery.tail import TailHub
from gateway.errors import Forbidden, InvalidInput, UnknownTopic
from gateway.operate.metrics import Metrics

__all__ = ["Delivery", "EndOfStream", "Gap", "Page", "ReadRequest", "Reader", "Stream"]

DEFAULT_LIMIT = 100
MAX_SOURCES = 100
#: Bounds what one subject costs to match, and the tables for it.
MAX_SOURCE_SEGMENTS = 2048

Authorise = Callable[[Principal, str], bool]


class ReadRequest(msgspec.Struct, frozen=True):
    """`limit` counts delivered events: of a page (100 without), or of a whole stream."""

    sources: tuple[Pattern, ...]
    start: Start
    refinement: Refinement | None = None
    limit: int | None = None


class Reader:
    """Pages and streams over one bus and its tail. `authorise(principal, topic)` may be asked
    for every topic of a request."""

    def __init__(
        self,
        bus: Bus,
        hub: TailHub,
        limits: Limits,
        *,
        metrics: Metrics | None = None,
        authorise: Authorise = lambda principal, topic: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bus, self._hub, self._limits, self._authorise, self._clock = bus, hub, limits, authorise, clock
        # The bus has its own quarter of the memory for what it keeps, and encodings an eighth.
        hub.resize(limits.memory * 5 // 8)
        self._resolver = Resolver(bus, hub.log, clock)
        self._streams: dict[Stream, None] = {}
        self.stats = ReadStats()
        if metrics is not None:
            self._register(metrics)

    async def open(
        self,
        request: ReadRequest,
        principal: Principal,
        woken: Callable[[], None] | None = None,
        buffer: int | None = None,
    ) -> Stream:
        """A stream whose start is fixed: what is published from now on is never missed.
        `woken` is called whenever it may have something new. `buffer`: bytes that wait for its
        consumer at the live edge, before it goes on from the log.

        Raises UnknownTopic, Forbidden, InvalidPosition, Expired, NotAvailable, BusUnavailable.
        """
        self.check(request)
        stream = self._stream(request, principal, request.limit, woken=woken, buffer=buffer)
        self._streams[stream] = None
        self._hub.register(stream)
        try:
            await self._begin(stream, request, principal)
        except BaseException:
            await stream.close()
            raise
        return stream

    async def page(self, request: ReadRequest, principal: Principal, wait: float = 0.0) -> Page:
        """Up to `limit` matching events known now, and about PAGE_BYTES of them; without any,
        wait up to `wait` seconds for the first. Raises as `open`."""
        limit = request.limit or min(DEFAULT_LIMIT, self._limits.page)
        self.check(request)
        if limit > self._limits.page:
            raise InvalidInput(f"limit is at most {self._limits.page:,}, not {limit:,}")
        stream = self._stream(request, principal, limit, room=PAGE_BYTES)
        if wait > 0:
            self._hub.register(stream)
        try:
            await self._begin(stream, request, principal, follow=wait > 0)
            page = await collect(stream, wait)
        finally:
            await stream.close()
        self.stats.pages += 1
        return page

    async def close(self) -> None:
        """End all streams; their consumers get EndOfStream("closed")."""
        for stream in list(self._streams):
            await stream.close()

    # What to read

    def check(self, request: ReadRequest) -> None:
        """Raises InvalidInput for what no reader can do."""
        if not 1 <= len(request.sources) <= MAX_SOURCES:
            raise InvalidInput(f"a request reads from 1 to {MAX_SOURCES} addresses")
        if sum(len(pattern.segments or ()) for pattern in request.sources) > MAX_SOURCE_SEGMENTS:
            raise InvalidInput(f"the addresses of a request have at most {MAX_SOURCE_SEGMENTS:,} segments together")
        if request.limit is not None and request.limit < 1:
            raise InvalidInput(f"limit is a positive number, not {request.limit}")

    async def _topics(self, request: ReadRequest, principal: Principal) -> dict[str, bool]:
        """The topics to read, in order; True for those that the request names."""
        topics = dict.fromkeys((p.topic for p in request.sources if p.literal_topic), True)
        for topic in topics:
            if topic.startswith("_"):
                raise Forbidden(f"topic {topic!r} is internal", topic=topic)
            if not self._authorise(principal, topic):
                raise Forbidden(f"{principal.id} may not read topic {topic!r}", topic=topic)
        if _is_wild(request):
            for topic in await self._bus.topics():
                if topic not in topics and self._select(request, principal, topic) is not None:
                    topics[topic] = False
        return dict(sorted(topics.items()))

    def _select(self, request: ReadRequest, principal: Principal, topic: str) -> Selection | None:
        if topic.startswith("_") or not any(pattern.matches_topic(topic) for pattern in request.sources):
            return None
        return Selection(topic, request.sources, request.refinement) if self._authorise(principal, topic) else None

    # How to begin

    def _stream(
        self,
        request: ReadRequest,
        principal: Principal,
        limit: int | None,
        room: int | None = None,
        woken: Callable[[], None] | None = None,
        buffer: int | None = None,
    ) -> Stream:
        return Stream(
            self._hub,
            self.stats,
            lambda topic: self._select(request, principal, topic),
            lambda stream: self._streams.pop(stream, None),
            wild=_is_wild(request),
            buffer_bytes=buffer or self._limits.stream_buffer,
            limit=limit,
            room=room,
            clock=self._clock,
            woken=woken,
        )

    async def _begin(self, stream: Stream, request: ReadRequest, principal: Principal, *, follow: bool = True) -> None:
        now = int(self._clock() * 1000)
        topics = await self._topics(request, principal)
        joining = [self._join(stream, request, topic, literal, follow) for topic, literal in topics.items()]
        joined = [found for found in await gathered(joining) if found is not None]
        beginning = await self._resolver.resolve(request.start, [target for target, _ in joined], now)
        gaps = beginning.gaps
        # From here on nothing is awaited: no batch of the tail can come in between.
        stream.begin(beginning, now)
        for origin, (target, tail) in zip(beginning.origins, joined, strict=True):
            if tail is not None and not self._hub.is_current(tail):
                if target.literal:
                    raise UnknownTopic(target.topic)
                gaps = [gap for gap in gaps if gap.topic != target.topic]
                continue
            stream.start(origin, [bound.next for bound in target.bounds])
            if tail is not None:
                stream.extend(target.topic, tail.next)
        cursor = request.start.cursor
        stream.begun(gaps, None if cursor is None else cursor.active)
        for target, tail in joined:
            # A topic that grew since its bounds were asked told it to a stream that had not begun.
            if tail is not None and self._hub.is_current(tail) and len(tail.next) > len(target.bounds):
                stream.on_appeared(tail)

    async def _join(
        self, stream: Stream, request: ReadRequest, topic: str, literal: bool, follow: bool
    ) -> tuple[Target, TopicTail | None] | None:
        selection = Selection(topic, request.sources, request.refinement)
        tail: TopicTail | None = None
        try:
            if follow:
                tail = await self._hub.join(topic, stream, selection)
                epoch, bounds = tail.epoch, await self._hub.edge(topic)
            else:
                epoch, bounds = await self._hub.epoch(topic), await self._bus.bounds(topic)
        except UnknownTopic:
            if literal:
                raise
            return None  # it went since it was listed
        return Target(topic, epoch, _not_less(bounds, tail), selection, literal), tail

    # Metrics

    def _register(self, metrics: Metrics) -> None:
        stats, hub = self.stats, self._hub
        counters: list[tuple[str, str, Callable[[], float]]] = [
            ("linkspan_read_events_total", "Events delivered to readers.", lambda: stats.events),
            ("linkspan_read_deliveries_total", "Blocks of events delivered to readers.", lambda: stats.deliveries),
            ("linkspan_read_gaps_total", "Gaps announced to readers.", lambda: stats.gaps),
            ("linkspan_pages_total", "Pages read.", lambda: stats.pages),
            ("linkspan_stream_overflows_total", "Queues dropped over their bound.", lambda: stats.overflows),
            (
                "linkspan_stream_fell_behind_total",
                "Streams that left the live edge.",
                lambda: stats.handover.fell_behind,
            ),
            ("linkspan_stream_joined_total", "Streams that reached the live edge.", lambda: stats.handover.joined),
            ("linkspan_log_reads_total", "Reads of the log by readers.", lambda: hub.log.reads),
            ("linkspan_log_reads_shared_total", "Reads answered from memory.", lambda: hub.log.shared),
        ]
        for name, help_, read in counters:
            metrics.counter_function(name, help_, read)
        streams = "Streams open."
        metrics.gauge_function("linkspan_streams", streams, lambda: self._count(live=True), state="live")
        metrics.gauge_function("linkspan_streams", streams, lambda: self._count(live=False), state="catch-up")
        metrics.gauge_function("linkspan_topics_followed", "Topics whose tail is followed.", lambda: len(hub.followed))
        metrics.gauge_function("linkspan_queued_bytes", "Bytes queued for streams.", lambda: hub.queued)
        metrics.gauge_function("linkspan_window_bytes", "Bytes of the log kept in memory.", lambda: hub.log.bytes)

    def _count(self, *, live: bool) -> int:
        return sum(stream.live is live for stream in self._streams)


def _is_wild(request: ReadRequest) -> bool:
    return not all(pattern.literal_topic for pattern in request.sources)


def _not_less(bounds: list[Bounds], tail: TopicTail | None) -> list[Bounds]:
    """The bounds; with partitions that the tail knows already and the bus's answer lacked."""
    known = 0 if tail is None else len(tail.next)
    return bounds + [Bounds(0, 0)] * (known - len(bounds))
