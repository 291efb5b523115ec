"""What routes send on, appended beside the publish that it comes from, and answered together with it.

A publish whose events are routed is several appends: the events that stay, and a parcel for each
target. Its publisher is answered once, when all of them are. What cannot be stored goes to its
route's error topic with the reason; an event that was to be moved goes back to its own topic where
there is none. Only what was stored nowhere, and may be if the publisher tries again, is an error
to the publisher.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from auth.principal import ANONYMOUS, Principal
from gateway.bus.contract import Position
from gateway.errors import Draining, InvalidInput, LinkspanError, OutcomeUnknown, TooLarge, UnknownTopic
from gateway.event import Event
from gateway.validation import Diverted, Done, Outcome, Published
from routing.routes import Route, RouteStats

#: Characters of a reason that go along with a failed event.
REASON = 500
#: Seconds between two lines of the log about one route.
QUIET = 10.0

_log = structlog.get_logger("linkspan.routes")


class Way(Protocol):
    """The way in for what routes send on (`Ingress.forward`)."""

    def __call__(
        self, topic: str, events: Sequence[Event], done: Done, since: float, *, routed: bool, checked: bool
    ) -> None: ...


class Watched:
    """A route in use, with what it has done."""

    __slots__ = ("_told", "route", "stats", "stored")

    def __init__(self, route: Route, stored: Callable[[Route, int, int], None]) -> None:
        self.route, self.stats, self.stored = route, RouteStats(), stored
        self._told = 0.0

    def failed(self, reason: str, count: int, topic: str) -> None:
        """Tell the log now and then: a counter says how often."""
        now = time.monotonic()
        if now - self._told >= QUIET or not self._told:
            self._told = now
            _log.warning("route_failed", route=self.route.name, target=topic, events=count, reason=reason[:REASON])


class Settlement:
    """One publish in several parts: `done` is called once, when all are answered.

    `kept` are the places of the events that stay in their topic (None: all). Positions are None
    for the others, unless they come back.
    """

    __slots__ = ("_diverted", "_done", "_error", "_kept", "_lost", "_open", "_positions", "_sent")

    def __init__(self, count: int, kept: Sequence[int] | None, done: Done, parts: int) -> None:
        self._kept, self._done = kept, done
        self._positions: list[Position | None] = [None] * count
        self._diverted: list[Diverted] = []
        self._error: LinkspanError | None = None
        self._lost: LinkspanError | None = None
        self._sent = False
        self._open = parts

    def more(self) -> None:
        """One part has become two."""
        self._open += 1

    def own(self, outcome: Outcome) -> None:
        """The answer for the events that stay."""
        self._fill(range(len(self._positions)) if self._kept is None else self._kept, outcome)
        if isinstance(outcome, LinkspanError):
            self._error = outcome
        self._part()

    def back(self, places: Sequence[int], outcome: Outcome) -> None:
        """The answer for events that came back to their topic."""
        self._fill(places, outcome)
        if isinstance(outcome, LinkspanError):
            self._lost = outcome
        self._part()

    def sent(self) -> None:
        """A parcel is stored, or its failure is."""
        self._sent = True
        self._part()

    def given_up(self, error: LinkspanError) -> None:
        """A parcel is stored nowhere; the publisher is to know if that may be otherwise next time."""
        if error.retriable:
            self._lost = error
        self._part()

    def _fill(self, places: Sequence[int], outcome: Outcome) -> None:
        positions = outcome.detail.get("positions") or () if isinstance(outcome, LinkspanError) else outcome
        for place, position in zip(places, positions, strict=False):
            self._positions[place] = position
        if isinstance(outcome, Published):
            self._diverted += [
                Diverted(places[one.index], one.topic, one.position, one.reason) for one in outcome.diverted
            ]

    def _part(self) -> None:
        self._open -= 1
        if not self._open:
            self._done(self._outcome())

    def _outcome(self) -> Outcome:
        error = self._error or self._lost
        if error is None:
            return Published(self._positions, self._diverted) if self._diverted else self._positions
        if self._error is not None and not self._error.retriable:
            return self._error
        stored = self._sent or any(position is not None for position in self._positions)
        if not stored and not isinstance(error, OutcomeUnknown):
            return error
        told = f"not all that this leads to is known to be stored: {error.message}"
        return OutcomeUnknown(told, positions=self._positions)


class Parcel:
    """Events on their way from one publish to one topic, by one route. `failed`: they go to its error
    topic, with the reason of each."""

    __slots__ = ("events", "originals", "places", "since", "source", "target", "topic", "watched")

    def __init__(self, watched: Watched, target: int, topic: str, source: str, since: float) -> None:
        self.watched, self.target, self.topic, self.source, self.since = watched, target, topic, source, since
        self.events: list[Event] = []
        self.originals: list[Event] = []
        self.places: list[int] = []

    def add(self, event: Event, original: Event, place: int) -> None:
        self.events.append(event)
        self.originals.append(original)
        self.places.append(place)

    def halves(self) -> tuple[Parcel, Parcel]:
        """Two parcels, in order: what is wrong with one event is not to hold back the others."""
        middle = len(self.events) // 2
        parts = []
        for cut in (slice(None, middle), slice(middle, None)):
            part = Parcel(self.watched, self.target, self.topic, self.source, self.since)
            part.events, part.originals, part.places = self.events[cut], self.originals[cut], self.places[cut]
            parts.append(part)
        return parts[0], parts[1]


def failed_event(event: Event, route: Route, source: str, reason: str) -> Event:
    """The event as it was, with what went wrong, for the error topic."""
    told = "".join(char if char.isprintable() else " " for char in reason)[:REASON]
    attributes = {**event.attributes, "routename": route.name, "routefrom": source, "routeerror": told}
    return Event(attributes, event.data, event.key)


class Forwarder:
    """Sends parcels on. Topics that nobody has asked for yet are asked for; parcels for them wait, in order."""

    def __init__(self, ensure: Callable[[str, Principal], Awaitable[object]]) -> None:
        self._ensure = ensure
        self._way: Way | None = None
        self._waiting: dict[str, list[Callable[[LinkspanError | None], None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def bind(self, way: Way) -> None:
        self._way = way

    @property
    def busy(self) -> bool:
        """Whether parcels wait for their topics."""
        return bool(self._waiting)

    async def close(self) -> None:
        """Answer all that wait with an error. Idempotent."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def send(self, parcel: Parcel, settlement: Settlement) -> None:
        """Never raises: whatever becomes of the parcel, the settlement is told."""

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, LinkspanError):
                self._failed(parcel, settlement, outcome)
            else:
                watched = parcel.watched
                watched.stats.passed += len(parcel.events)
                watched.stored(watched.route, parcel.target, len(parcel.events))
                settlement.sent()

        self._forward(parcel.topic, parcel.events, done, parcel.since, routed=True, checked=True)

    def send_failed(self, parcel: Parcel, settlement: Settlement, error: LinkspanError | None = None) -> None:
        """A parcel for the error topic; `error` is what the publisher is told if that fails as well."""

        def done(outcome: Outcome) -> None:
            if not isinstance(outcome, LinkspanError):
                settlement.sent()
                return
            parcel.watched.failed(outcome.message, len(parcel.events), parcel.topic)
            self._give_up(parcel, settlement, error or outcome)

        self._forward(parcel.topic, parcel.events, done, parcel.since, routed=False, checked=True)

    def _failed(self, parcel: Parcel, settlement: Settlement, error: LinkspanError) -> None:
        if isinstance(error, InvalidInput | TooLarge) and len(parcel.events) > 1:
            settlement.more()
            for half in parcel.halves():
                self.send(half, settlement)
            return
        watched, route = parcel.watched, parcel.watched.route
        watched.stats.failed += len(parcel.events)
        watched.failed(error.message, len(parcel.events), parcel.topic)
        if route.on_error is None:
            self._give_up(parcel, settlement, error)
            return
        last = Parcel(watched, parcel.target, route.on_error, parcel.source, parcel.since)
        for original, place in zip(parcel.originals, parcel.places, strict=True):
            last.add(failed_event(original, route, parcel.source, error.message), original, place)
        self.send_failed(last, settlement, error)

    def _give_up(self, parcel: Parcel, settlement: Settlement, error: LinkspanError) -> None:
        if not parcel.watched.route.takes_away:
            settlement.given_up(error)
            return
        # It was to leave its topic and has no other place.
        places = parcel.places
        self._forward(
            parcel.source,
            parcel.originals,
            lambda outcome: settlement.back(places, outcome),
            parcel.since,
            routed=False,
            checked=False,
        )

    def _forward(
        self, topic: str, events: Sequence[Event], done: Done, since: float, *, routed: bool, checked: bool
    ) -> None:
        if self._closed:
            done(Draining("the gateway is shutting down; nothing of this was stored"))
            return
        if topic in self._waiting:
            self._wait(topic, events, done, since, routed=routed)
            return
        assert self._way is not None
        try:
            self._way(topic, events, done, since, routed=routed, checked=checked)
        except UnknownTopic:
            self._wait(topic, events, done, since, routed=routed)
            task = asyncio.get_running_loop().create_task(self._open(topic), name=f"route to {topic}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        except LinkspanError as error:
            done(error)

    def _wait(self, topic: str, events: Sequence[Event], done: Done, since: float, *, routed: bool) -> None:
        def go_on(error: LinkspanError | None) -> None:
            if error is not None or self._way is None:
                done(error or UnknownTopic(topic))
                return
            try:
                self._way(topic, events, done, since, routed=routed, checked=True)
            except LinkspanError as refused:
                done(refused)

        self._waiting.setdefault(topic, []).append(go_on)

    async def _open(self, topic: str) -> None:
        error: LinkspanError | None = None
        try:
            await self._ensure(topic, ANONYMOUS)
        except LinkspanError as refused:
            error = refused
        except asyncio.CancelledError:
            error = Draining("the gateway is shutting down; nothing of this was stored")
            raise
        finally:
            for go_on in self._waiting.pop(topic, ()):
                go_on(error)
