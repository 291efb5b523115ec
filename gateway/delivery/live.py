"""Live delivery, as every door offers it: subscribe, and blocks come to the sink.

Subscriptions to the same topics form a scope; within it, those that want the same events in the
same form share a view (`gateway.delivery.scope`, `gateway.delivery.view`). Who cannot keep up
reads the log at its own pace and comes back (`gateway.delivery.session`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, get_args

import msgspec

from auth.principal import Principal
from gateway.address import Pattern
from gateway.bus.contract import TopicChange
from gateway.config.model import Limits
from gateway.delivery.encodings import Encodings
from gateway.delivery.figures import ScopeFigures
from gateway.delivery.form import Form, Overflow, Sink
from gateway.delivery.pace import Pace
from gateway.delivery.position import LATEST, Start
from gateway.delivery.reader import Reader, ReadRequest
from gateway.delivery.scope import Place, Scope
from gateway.delivery.session import Session
from gateway.delivery.stream import Stream
from gateway.delivery.tail import TailHub
from gateway.delivery.view import View
from gateway.delivery.window import CHUNK
from gateway.errors import InvalidInput
from gateway.operate.metrics import OTHER, Counter, Metrics

#: Views that operators are shown.
SHOWN = 1000
#: Sets of topics with figures of their own; those of others are counted together.
MAX_SERIES = 400
#: The least that one reads of the log at once, in bytes.
MIN_CHUNK = 16 * 1024
_EVERYTHING = ("**",)

_Key = tuple[frozenset[str], str, str]


class ViewFigures(msgspec.Struct, frozen=True):
    """A view for operators: what it wants, who is there, and what was delivered since it began.

    `filter` and `transform` are what those have done, None without them: events looked at, passed
    and failed, and seconds.
    """

    scope: str
    patterns: list[str]
    form: str
    members: int
    away: int
    events: int
    deliveries: int
    bytes: int
    filter: Any
    transform: Any


class Views:
    """All live subscriptions of one gateway process."""

    def __init__(self, reader: Reader, hub: TailHub, limits: Limits, metrics: Metrics) -> None:
        self._reader, self._hub, self._metrics = reader, hub, metrics
        self.buffer = limits.stream_buffer
        self.encodings = Encodings(limits.memory // 8)
        self._room = limits.memory // 2
        self.pace = Pace()
        self._scopes: dict[_Key, Scope] = {}
        # By the topics that they name; "**" for a wildcard.
        self._following: dict[str, dict[Scope, None]] = {}
        self._opening: dict[Scope, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._figures: dict[str, ScopeFigures] = {}
        self.catching_up = 0
        self.overflows = _by_policy(metrics, "linkspan_overflows_total", "Subscribers whose sink was full.")
        self.dropped = _by_policy(metrics, "linkspan_dropped_events_total", "Events left out by an overflow policy.")
        hub.listen(self._topic_changed)
        metrics.gauge_function("linkspan_views", "Views with members.", self._view_count)
        metrics.gauge_function(
            "linkspan_encodings_bytes", "Encoded events kept for those who catch up.", lambda: self.encodings.bytes
        )
        metrics.gauge_function(
            "linkspan_catch_up_lag_events", "How far the furthest of those who catch up is behind.", self._lag
        )
        metrics.counter_function(
            "linkspan_catch_up_encoded_events_total",
            "Events encoded for those who catch up.",
            lambda: self.encodings.encoded,
        )
        metrics.counter_function(
            "linkspan_catch_up_shared_events_total",
            "Events whose encoding was shared by those who catch up.",
            lambda: self.encodings.shared,
        )

    async def subscribe(
        self, request: ReadRequest, principal: Principal, form: Form, sink: Sink, overflow: Overflow = "catch-up"
    ) -> Session:
        """A session whose start is fixed: what is published from now on is never missed.

        Nothing is written before `Session.begin`. With `limit` it ends after so many events, and
        `overflow` is `catch-up`.
        Raises UnknownTopic, Forbidden, InvalidPosition, Expired, NotAvailable, InvalidInput,
        BusUnavailable.
        """
        self._reader.check(request)
        if request.limit is not None and overflow != "catch-up":
            raise InvalidInput(f"overflow {overflow!r} does not go with a limit: such a subscription gets every event")
        scope = self._scope(request, principal)
        session = Session(self, scope, request, principal, form, sink, overflow)
        try:
            if request.start.kind == "latest" and request.limit is None:
                await self.reach(scope)
                place = await self._edge(scope, request)
                if place is not None:
                    session.start_at(place)
                    return session
            session.start_from(await self._reader.open(request, principal))
        except BaseException:
            session.close()
            raise
        return session

    async def close(self) -> None:
        """End all sessions, with the cause `closed`."""
        for scope in list(self._scopes.values()):
            for session in list(scope.sessions):
                session.end("closed")
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def views(self) -> list[ViewFigures]:
        """The SHOWN largest views, those with the most members first."""
        found = [_shown(scope, view) for scope in self._scopes.values() for view in scope.views]
        return sorted(found, key=lambda view: -view.members)[:SHOWN]

    def due(self, topic: str) -> float:
        """Seconds until what is stored in a topic now would be delivered; 0 when that is at once, or to nobody."""
        scopes = [*self._following.get(topic, ()), *self._following.get("**", ())]
        return min((scope.linger for scope in scopes if scope.members), default=0.0)

    # What sessions call

    @property
    def chunk(self) -> int:
        """Bytes of the log that one session takes at once: the more catch up, the less."""
        return max(MIN_CHUNK, min(CHUNK, self._room // max(1, self.catching_up)))

    async def resume(self, session: Session, place: Place) -> Stream:
        """A stream from a place on. Raises as `subscribe`."""
        request = msgspec.structs.replace(session.request, start=Start("cursor", cursor=place.cursor))
        return await self._reader.open(request, session.principal)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task that ends with these views at the latest: one for each session that catches up, and for
        each scope that is opened or follows the log."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def reach(self, scope: Scope) -> None:
        """Return when the scope follows the live edge. Raises as `subscribe`."""
        if scope.opened:
            return
        opening = self._opening.get(scope)
        if opening is None:
            opening = self._opening[scope] = self.spawn(self._open(scope), f"open {scope.label}")
        await asyncio.shield(opening)

    # Inside

    def _scope(self, request: ReadRequest, principal: Principal) -> Scope:
        names = frozenset(pattern.topic if pattern.literal_topic else "**" for pattern in request.sources)
        key = (names, principal.tenant, principal.id)
        scope = self._scopes.get(key)
        if scope is None:
            sources = tuple(Pattern(name, _EVERYTHING) for name in sorted(names))
            label = "*" if "**" in names else ",".join(sorted(names))
            figures = partial(self._figures_of, label)
            scope = Scope(
                label, figures, self.pace, self.spawn, sources, principal, lambda over: self._forget(key, over)
            )
            self._scopes[key] = scope
            for name in names:
                self._following.setdefault(name, {})[scope] = None
        return scope

    def _forget(self, key: _Key, scope: Scope) -> None:
        if self._scopes.get(key) is scope:
            del self._scopes[key]
            for name in key[0]:
                self._following[name].pop(scope, None)
                if not self._following[name]:
                    del self._following[name]

    async def _open(self, scope: Scope) -> None:
        try:
            request = ReadRequest(scope.sources, LATEST)
            stream = await self._reader.open(request, scope.principal, scope.woken, self._room // 4)
            scope.open(stream)
        finally:
            del self._opening[scope]

    async def _edge(self, scope: Scope, request: ReadRequest) -> Place | None:
        """The place of the scope, if that is the live edge now: nothing stored before is to come."""
        if not scope.idle:
            return None
        topics = scope.stream.topics
        if not all(pattern.topic in topics for pattern in request.sources if pattern.literal_topic):
            return None
        ends = {topic: await self._hub.edge(topic) for topic in topics}
        if not scope.idle or not all(scope.stream.covers(topic, bounds) for topic, bounds in ends.items()):
            return None
        return scope.place()

    def _figures_of(self, label: str) -> ScopeFigures:
        """Asked for by scopes that have been opened, so that only topics that exist have series."""
        label = label if label in self._figures or len(self._figures) < MAX_SERIES else OTHER
        figures = self._figures.get(label)
        if figures is None:
            figures = self._figures[label] = ScopeFigures(self._metrics, label)
            help_ = "Subscribers at the live edge, and those that catch up or wait for their clients."
            for state, live in (("live", True), ("catch-up", False)):
                count = partial(self._count, figures, live=live)
                self._metrics.gauge_function("linkspan_subscribers", help_, count, topic=label, state=state)
        return figures

    def _view_count(self) -> float:
        return sum(len(scope.views) for scope in self._scopes.values())

    def _count(self, figures: ScopeFigures, *, live: bool) -> float:
        scopes = [scope for scope in self._scopes.values() if scope.counted_in(figures)]
        return sum(scope.members if live else len(scope.sessions) - scope.members for scope in scopes)

    def _lag(self) -> float:
        return max((session.lag for scope in self._scopes.values() for session in scope.sessions), default=0)

    def _topic_changed(self, topic: str, change: TopicChange) -> None:
        if change is not TopicChange.PARTITIONS:
            self.encodings.forget(topic)
        if change is TopicChange.DELETED and self._figures.pop(topic, None) is not None:
            self._metrics.forget(topic=topic)


def _shown(scope: Scope, view: View) -> ViewFigures:
    target = view.target
    transform = target.refinement and target.refinement.transform
    return ViewFigures(
        scope=scope.label,
        patterns=sorted(map(str, target.patterns)),
        form=str(view.form.key),
        members=len(view.members),
        away=len(view.away),
        events=view.events,
        deliveries=view.deliveries,
        bytes=view.bytes,
        filter=target.filter and target.filter.stats,
        transform=transform and transform.stats,
    )


def _by_policy(metrics: Metrics, name: str, help_: str) -> dict[Overflow, Counter]:
    policies: Sequence[Overflow] = get_args(Overflow)
    return {policy: metrics.counter(name, help_, policy=policy) for policy in policies}
