"""The way in: authorise, validate, batch per topic, append, answer.

A door calls `publish` with everything that it has parsed from one socket read; `done` is called
exactly once, on the loop, after the bus has it (or not). What several clients publish to one
topic meanwhile goes to the bus as one append, except that a large publish goes alone: nothing
waits when the topic is idle, and while appends are under way a batch grows until it is large
enough, LINGER has passed, or one of them has ended.

Whoever publishes is answered within the publish deadline, whatever the bus does: what the bus
has not been given by then is refused, and of what it has been given the outcome is unknown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from auth.principal import Principal
from gateway.bus.contract import Bus, Position
from gateway.columns import Columns, take
from gateway.config.model import Limits
from gateway.errors import (
    BusUnavailable,
    Draining,
    Fault,
    Forbidden,
    InvalidEvent,
    LinkspanError,
    OutcomeUnknown,
    TooLarge,
    Unavailable,
)
from gateway.event import Event
from gateway.judging import judge
from gateway.operate.metrics import Metrics
from gateway.routes import Router
from gateway.schemas import Schemas
from gateway.topics import Topics, TopicView
from gateway.validation import ON_INVALID, Division, Done, Outcome, TopicSchema, mark, refusal

__all__ = ["Authorise", "Done", "Ingress", "Outcome"]

Authorise = Callable[[Principal, str], bool]

#: Seconds that a batch may wait for company while others are under way.
LINGER = 0.002
#: A batch of this many bytes does not wait.
FLUSH_BYTES = 256 * 1024
#: A publish of this many bytes is an append of its own. Nobody holds its events then but the bus,
#: which frees them as soon as they are encoded, while the processor's caches still hold them.
ALONE_BYTES = 64 * 1024
#: Seconds that a batch may wait for company on an idle topic whose subscribers would not get it yet
#: anyway (see `when_due`), and those that storing it takes, about.
DUE_LINGER, COMMIT = 0.003, 0.001
#: Appends of one topic under way at once.
IN_FLIGHT = 8
#: Seconds between two looks for publishes whose deadline is over, while any are open.
SWEEP = 0.25
#: Seconds beyond the deadline in which the bus may still say itself what became of them.
GRACE = 0.5
#: What an event weighs beside its data: attributes, key, objects.
EVENT_WEIGHT = 512


class _Entry:
    """One `publish` call that waits for its answer."""

    __slots__ = ("answered", "count", "done", "events", "since", "weight")

    def __init__(self, events: Sequence[Event], done: Done, weight: int, since: float) -> None:
        self.events, self.done, self.weight, self.since = events, done, weight, since
        self.answered = False
        self.count = len(events)

    def hand_over(self) -> Sequence[Event]:
        """The events, which this entry then holds no longer."""
        events, self.events = self.events, ()
        return events


class _Lane:
    """What waits for one topic, and what the bus has of it (`under_way`, by append)."""

    __slots__ = ("in_flight", "lingers", "scheduled", "topic", "under_way", "waiting", "weight")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.waiting: list[_Entry] = []
        self.weight = 0
        self.in_flight = 0
        self.under_way: dict[int, list[_Entry]] = {}
        self.scheduled: asyncio.Handle | None = None
        self.lingers = False


def _take(lane: _Lane) -> list[_Entry]:
    """What goes out next, in order: one large entry, or the small ones up to the next large one."""
    waiting = lane.waiting
    end = next((at for at, entry in enumerate(waiting) if entry.weight >= ALONE_BYTES), len(waiting))
    taken = waiting[: end or 1]
    del waiting[: end or 1]
    lane.weight -= sum(entry.weight for entry in taken)
    return taken


def _weight(events: Sequence[Event]) -> int:
    return EVENT_WEIGHT * len(events) + sum(len(event.value) for event in events if event.value is not None)


def _identify(events: Sequence[Event], principal: Principal) -> None:
    """Set the gateway's own attributes; those that came are dropped."""
    identity = None if principal.anonymous else principal.id
    columns = events if isinstance(events, Columns) and events.intact else None
    # Every event's own attributes, or those that all of them have as columns.
    for attributes in (event.attributes for event in events) if columns is None else (columns.values,):
        if "authid" in attributes or "authtype" in attributes:
            attributes.pop("authtype", None)
            attributes.pop("authid", None)
        if identity is not None:
            attributes["authtype"] = "app_user"
            attributes["authid"] = identity


class Ingress:
    """The one way in, for every door. All calls on the event loop."""

    def __init__(
        self,
        bus: Bus,
        topics: Topics,
        limits: Limits,
        metrics: Metrics,
        authorise: Authorise,
        schemas: Schemas | None = None,
        router: Router | None = None,
    ) -> None:
        self._bus, self._topics, self._limits, self._authorise = bus, topics, limits, authorise
        self._schemas, self._router = schemas, router
        if router is not None:
            router.bind(self.forward)
        self._lanes: dict[str, _Lane] = {}
        self._appends: set[asyncio.Task[None]] = set()
        self._weight = 0
        self._high = limits.memory // 4
        self._low = self._high // 2
        self._waiters: list[Callable[[], None]] = []
        self._due: Callable[[str], float] = lambda topic: 0.0
        self._open = True
        self._closed = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._events = metrics.counter("linkspan_published_events_total", "Events stored by the bus.")
        self._bytes = metrics.counter("linkspan_published_bytes_total", "Bytes of data stored by the bus.")
        self._refused = metrics.counter("linkspan_publish_refused_events_total", "Events refused before the bus.")
        self._invalid = {
            action: metrics.counter(
                "linkspan_schema_invalid_events_total",
                "Events that were not what their topic's schema says.",
                action=action,
            )
            for action in ON_INVALID
        }
        self._failed = metrics.counter("linkspan_publish_failed_events_total", "Events that the bus did not confirm.")
        self._calls = metrics.counter("linkspan_bus_appends_total", "Appends to the bus; each holds many events.")
        self._seconds = metrics.histogram("linkspan_bus_append_seconds", "From the call to the bus's answer.")
        metrics.gauge_function("linkspan_ingress_waiting_bytes", "Bytes accepted and not answered.", self._waiting)

    def publish(
        self, topic: str, events: Sequence[Event], principal: Principal, done: Done, *, waited: float = 0.0
    ) -> None:
        """Take validated events for one topic; `done` gets their positions or an error, at the
        latest when the publish deadline is over. `waited`: the seconds of it that are gone.

        Raises at once, without calling `done`: UnknownTopic, Forbidden, InvalidEvent, TooLarge,
        Draining. A door that reads on while `writable` is False breaks the memory bound.
        """
        since = time.monotonic() - waited
        try:
            weight = self._check(topic, events, principal)
            self._admit(topic, events, done, weight, since)
        except LinkspanError:
            self._refused.inc(len(events))
            raise

    def forward(
        self, topic: str, events: Sequence[Event], done: Done, since: float, *, routed: bool, checked: bool
    ) -> None:
        """Take what routes send on. `routed`: the routes of this topic see it; `checked`: it is held to
        the topic's bounds and schema, which events that were there before are not.

        Raises at once, without calling `done`: UnknownTopic, InvalidEvent, TooLarge.
        """
        if not checked:
            self._enter(topic, events, done, _weight(events), since)
            return
        weight = self._weigh(events, self._topics.require(topic))
        self._admit(topic, events, done, weight, since, routed=routed)

    def _admit(
        self, topic: str, events: Sequence[Event], done: Done, weight: int, since: float, *, routed: bool = True
    ) -> None:
        """Judge by the topic's schema, run its routes, and let what stays wait for the bus."""
        view = self._topics.require(topic)
        reasons = None
        if view.schema is not None:
            reasons = self._judge(view.schema, events, tombstones=view.info.cleanup == "compact")
        router = self._router if routed else None
        if not reasons:
            self._route(router, topic, events, done, weight, since)
            return
        assert view.schema is not None
        assert view.schema.divert_to is not None
        division = Division(len(events), reasons, view.schema.divert_to, done)
        diverted = take(events, list(reasons))
        if division.good:
            good = take(events, division.good)
            self._route(router, topic, good, division.stored, _weight(good), since)
        self._enter(view.schema.divert_to, diverted, division.diverted, _weight(diverted), since)

    def _route(
        self, router: Router | None, topic: str, events: Sequence[Event], done: Done, weight: int, since: float
    ) -> None:
        routes = None if router is None else router.of(topic)
        if routes is not None:
            events, done = routes.take(events, done, since)
            if not events:
                return
            weight = _weight(events)
        self._enter(topic, events, done, weight, since)

    def _enter(self, topic: str, events: Sequence[Event], done: Done, weight: int, since: float) -> None:
        lane = self._lanes.get(topic)
        if lane is None:
            lane = self._lanes[topic] = _Lane(topic)
        lane.waiting.append(_Entry(events, done, weight, since))
        lane.weight += weight
        self._weight += weight
        self._schedule(lane)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP, self._sweep)

    def when_due(self, due: Callable[[str], float]) -> None:
        """`due` tells in how many seconds what is stored in a topic now would be delivered live: until
        then small publishes wait for each other, and are stored by one append."""
        self._due = due

    async def submit(
        self, topic: str, events: Sequence[Event], principal: Principal, *, waited: float = 0.0
    ) -> Sequence[Position | None]:
        """`publish` for request and response: wait for room and for the answer.

        Raises what `publish` raises, Unavailable when there is no room within the publish
        deadline, and what the bus answers: BusUnavailable, OutcomeUnknown. Positions are None
        only where the topic's schema diverted an event (`Published`). When the caller is
        cancelled the events may be stored all the same.
        """
        since = time.monotonic() - waited
        if self._topics.known(topic) is None:
            await self._topics.ensure(topic, principal)
        if not self.writable:
            await self.room(time.monotonic() - since)
        answer: asyncio.Future[Sequence[Position | None]] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome) -> None:
            if answer.cancelled():
                return
            if isinstance(outcome, LinkspanError):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        self.publish(topic, events, principal, done, waited=time.monotonic() - since)
        del events
        return await answer

    @property
    def writable(self) -> bool:
        """False while more than the high watermark waits for the bus: stop reading."""
        return self._weight < self._high

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call once when there is room again (below the low watermark), or now if there is."""
        if self.writable:
            callback()
        else:
            self._waiters.append(callback)

    async def room(self, waited: float = 0.0) -> None:
        """Wait until `writable`. Raises Unavailable when the publish deadline, of which `waited`
        seconds are gone, is over."""
        ready = asyncio.Event()
        self.when_writable(ready.set)
        try:
            async with asyncio.timeout(self._limits.publish_deadline - waited):
                await ready.wait()
        except TimeoutError:
            raise Unavailable("the bus does not keep up with what is published; try again later") from None

    async def drain(self, seconds: float) -> None:
        """Refuse new events and wait until all that were taken are answered, or time is up."""
        self._open = False
        deadline = time.monotonic() + seconds
        router = self._router
        while self._appends or any(lane.waiting for lane in self._lanes.values()) or (router and router.busy):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if self._appends:
                await asyncio.wait(self._appends, timeout=left)
            else:
                await asyncio.sleep(LINGER)

    async def close(self) -> None:
        """Answer everything that is still open with an error. Idempotent."""
        self._open, self._closed = False, True
        if self._router is not None:
            await self._router.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in list(self._appends):
            task.cancel()
        await asyncio.gather(*self._appends, return_exceptions=True)
        for lane in self._lanes.values():
            if lane.scheduled is not None:
                lane.scheduled.cancel()
            waiting, lane.waiting = lane.waiting, []
            for entry in waiting:
                self._answer(entry, Draining("the gateway is shutting down; nothing of this was stored"))

    def _waiting(self) -> float:
        return self._weight

    def _check(self, topic: str, events: Sequence[Event], principal: Principal) -> int:
        if not self._open:
            raise Draining("the gateway is shutting down")
        if not self._authorise(principal, topic):
            raise Forbidden(f"{principal.id} may not publish to {topic!r}")
        view = self._topics.require(topic)
        if not events:
            raise InvalidEvent("there is no event to publish")
        if len(events) > self._limits.batch:
            raise TooLarge(f"{len(events)} events in one publish; at most {self._limits.batch} are taken")
        weight = self._weigh(events, view)
        _identify(events, principal)
        return weight

    def _weigh(self, events: Sequence[Event], view: TopicView) -> int:
        """The weight of the events. Raises TooLarge."""
        most = min(self._limits.event, view.info.max_event_bytes)
        columns = events if isinstance(events, Columns) and events.intact else None
        if columns is not None:
            sizes = [0 if data is None else len(data) for data in columns.datas or (None,)]
        else:
            sizes = [0 if event.value is None else len(event.value) for event in events]
        if max(sizes) > most:
            index = next(place for place, size in enumerate(sizes) if size > most)
            fault = Fault(f"events[{index}].data", f"has {sizes[index]} bytes, at most {most} are taken", index)
            raise TooLarge(f"event {index} is too large: {sizes[index]} bytes of at most {most}", faults=(fault,))
        return EVENT_WEIGHT * len(events) + sum(sizes)

    def _judge(self, schema: TopicSchema, events: Sequence[Event], *, tombstones: bool) -> dict[int, str]:
        """Why events, by their place, are to be diverted. Raises InvalidEvent where the topic refuses them."""
        if self._schemas is None:
            raise Unavailable("this gateway has no schemas to check the events by")
        reasons = judge(self._schemas, schema, events, tombstones=tombstones)
        if not reasons:
            return reasons
        self._invalid[schema.on_invalid].inc(len(reasons))
        if schema.on_invalid == "reject":
            raise refusal(reasons)
        mark(events, reasons)
        return reasons if schema.on_invalid == "divert" else {}

    def _schedule(self, lane: _Lane) -> None:
        if lane.in_flight >= IN_FLIGHT:
            return  # the next answer sends it
        wait = 0.0
        if lane.weight < FLUSH_BYTES:
            wait = LINGER if lane.in_flight else min(DUE_LINGER, self._due(lane.topic) - COMMIT)
        if lane.scheduled is not None:
            if wait > 0 or not lane.lingers:
                return
            lane.scheduled.cancel()
        loop = asyncio.get_running_loop()
        lane.lingers = wait > 0
        # call_soon: whatever else is parsed in this turn of the loop comes along.
        lane.scheduled = loop.call_later(wait, self._flush, lane) if wait > 0 else loop.call_soon(self._flush, lane)

    def _flush(self, lane: _Lane) -> None:
        if lane.scheduled is not None:
            lane.scheduled.cancel()
            lane.scheduled = None
        loop = asyncio.get_running_loop()
        while lane.waiting and lane.in_flight < IN_FLIGHT and not self._closed:
            lane.in_flight += 1
            # Tasks begin in the order in which they are made, and so do the appends.
            task = loop.create_task(self._append(lane, _take(lane)), name=f"append {lane.topic}")
            self._appends.add(task)
            task.add_done_callback(self._appends.discard)

    async def _append(self, lane: _Lane, entries: list[_Entry]) -> None:
        lane.under_way[id(entries)] = entries
        try:
            await self._store(lane.topic, self._still_wanted(entries))
        finally:
            del lane.under_way[id(entries)]
            lane.in_flight -= 1
            if lane.waiting:
                self._flush(lane)
            elif lane.in_flight == 0 and self._lanes.get(lane.topic) is lane:
                del self._lanes[lane.topic]

    def _still_wanted(self, entries: list[_Entry]) -> list[_Entry]:
        """Those whose deadline is not over; the others are refused."""
        oldest = time.monotonic() - self._limits.publish_deadline
        late = [entry for entry in entries if entry.since < oldest]
        if not late:
            return entries
        for entry in late:
            self._answer(entry, BusUnavailable("the bus took too long; nothing of this was stored"))
        return [entry for entry in entries if entry.since >= oldest]

    def _sweep(self) -> None:
        """Answer those whose deadline is over."""
        self._sweeper = None
        if self._closed or not self._lanes:
            return
        oldest = time.monotonic() - self._limits.publish_deadline - GRACE
        unknown = OutcomeUnknown("the bus did not answer in time; the events may be stored yet")
        for lane in list(self._lanes.values()):
            lane.waiting = self._still_wanted(lane.waiting)
            lane.weight = sum(entry.weight for entry in lane.waiting)
            for entry in [entry for entries in lane.under_way.values() for entry in entries]:
                if entry.since < oldest:
                    self._tell(entry, unknown, 0)  # the bus holds it still: so does its room
            if not lane.waiting and not lane.in_flight and self._lanes.get(lane.topic) is lane:
                del self._lanes[lane.topic]
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP, self._sweep)

    async def _store(self, topic: str, entries: list[_Entry]) -> None:
        if not entries:
            return
        deadline = max([entry.since for entry in entries]) + self._limits.publish_deadline
        if len(entries) == 1:
            appending = self._bus.append(topic, entries[0].hand_over(), deadline)
        else:
            appending = self._bus.append(topic, [event for entry in entries for event in entry.events], deadline)
        began = time.monotonic()
        try:
            positions = await appending
        except (TooLarge, InvalidEvent) as error:
            await self._store_apart(topic, entries, error)
            return
        except LinkspanError as error:
            self._part(entries, error)
            return
        except asyncio.CancelledError:
            unknown = OutcomeUnknown("the gateway stopped before the bus answered; the events may be stored")
            for entry in entries:
                self._answer(entry, unknown)
            raise
        self._calls.inc()
        self._seconds.observe(time.monotonic() - began)
        at = 0
        for entry in entries:
            end = at + entry.count
            self._answer(entry, positions if len(entries) == 1 else positions[at:end])
            at = end

    async def _store_apart(self, topic: str, entries: list[_Entry], error: LinkspanError) -> None:
        # The bus refused the whole for one event in it, and stored nothing: each publish on its
        # own, so that only its sender is refused.
        if len(entries) == 1:
            self._answer(entries[0], error)
            return
        for entry in entries:
            await self._store(topic, [entry])

    def _part(self, entries: list[_Entry], error: LinkspanError) -> None:
        """Answer each publish by what is known of its own events."""
        known: Sequence[Position | None] | None = error.detail.get("positions")
        if known is None:
            for entry in entries:
                self._answer(entry, error)
            return
        at = 0
        for entry in entries:
            own = known[at : at + entry.count]
            at += entry.count
            stored = sum(position is not None for position in own)
            if stored == len(own):
                self._answer(entry, own)
            elif stored or isinstance(error, OutcomeUnknown):
                self._answer(entry, OutcomeUnknown(error.message, positions=own))
            else:
                self._answer(entry, type(error)(error.message))

    def _answer(self, entry: _Entry, outcome: Outcome) -> None:
        """Tell its publisher, and let others have its room."""
        weight, entry.weight = entry.weight, 0
        self._weight -= weight
        self._tell(entry, outcome, weight)
        if self._waiters and self._weight <= self._low:
            waiters, self._waiters = self._waiters, []
            for callback in waiters:
                callback()

    def _tell(self, entry: _Entry, outcome: Outcome, weight: int) -> None:
        if entry.answered:
            return
        entry.answered = True
        if isinstance(outcome, LinkspanError):
            self._failed.inc(entry.count)
        else:
            self._events.inc(entry.count)
            self._bytes.inc(weight - EVENT_WEIGHT * entry.count)
        entry.done(outcome)
