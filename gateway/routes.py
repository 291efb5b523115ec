"""Routes at work: which apply to a topic, what they do with what is published, and what they have done.

They run when events are published, after validation and before the append: the publisher's answer
covers the copies. A topic without routes costs a look into a dict.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from auth.principal import Principal
from gateway.address import parse_pattern, subject_patterns
from gateway.automaton import Automaton
from gateway.columns import take
from gateway.event import Event
from gateway.forwarding import Forwarder, Parcel, Settlement, Watched, Way, failed_event
from gateway.operate.metrics import Counter, Metrics
from gateway.validation import Done
from routing.batch import Decode, Paths
from routing.route_spec import compile_route
from routing.routes import Outcome, Route, RouteStats, run

#: Topics whose routes are remembered.
MAX_TOPICS = 10_000
DecodeOf: TypeAlias = Callable[[str], Decode | None]
"""How payloads of a topic are read that do not tell their format; None: there is no such way."""

_RESULTS = ("matched", "passed", "failed")


class Workflow(msgspec.Struct, frozen=True):
    """A named target of routes: its topic is what those who do the work subscribe to."""

    name: str
    topic: str
    description: str = ""


class _Own:
    """One route on one topic: `matches` tells by the subject whether it reads from there (None: always)."""

    __slots__ = ("_always", "_automaton", "_none", "watched")

    def __init__(self, watched: Watched, patterns: Sequence[tuple[str, ...] | None]) -> None:
        self.watched = watched
        self._always = ("**",) in patterns
        self._none = None in patterns
        self._automaton = Automaton([segments for segments in patterns if segments is not None])

    def places(self, subjects: Sequence[str | None]) -> Sequence[int] | None:
        """The places that it reads from; None: all."""
        if self._always:
            return None
        matches = self._automaton.matches
        known = {each: self._none if each is None else matches(each) for each in set(subjects)}
        return [place for place, subject in enumerate(subjects) if known[subject]]


class TopicRoutes:
    """The routes of one topic, in their order."""

    def __init__(self, topic: str, own: Sequence[_Own], forwarder: Forwarder, decode: DecodeOf) -> None:
        self._topic, self._own, self._forwarder, self._decode = topic, own, forwarder, decode
        self._paths = Paths(path for each in own for path in each.watched.route.paths)
        self._watched = {id(each.watched.route): each.watched for each in own}

    def take(self, events: Sequence[Event], done: Done, since: float) -> tuple[Sequence[Event], Done]:
        """Run the routes over what is being published. What they send on is on its way when this returns;
        what stays is given back, with whom to answer for it. `done` is called when all of it is answered."""
        outcome = self._run(events)
        for place, attributes in outcome.changed.items():
            events[place].raw = attributes
        if not outcome.sent and not outcome.failed:
            return events, done
        sent, failed = self._parcels(outcome, events, since)
        stays = len(outcome.kept) == len(events)
        parts = len(sent) + len(failed) + bool(outcome.kept)
        settlement = Settlement(len(events), None if stays else outcome.kept, done, parts)
        kept = take(events, outcome.kept)
        for parcel in sent:
            self._forwarder.send(parcel, settlement)
        for parcel in failed:
            self._forwarder.send_failed(parcel, settlement)
        return kept, settlement.own

    def _run(self, events: Sequence[Event]) -> Outcome:
        subjects = [None if (value := event.attributes.get("subject")) is None else str(value) for event in events]
        routes = [(own.watched.route, own.places(subjects), own.watched.stats) for own in self._own]
        return run(routes, events, self._topic, self._paths, self._decode(self._topic))

    def _parcels(self, outcome: Outcome, events: Sequence[Event], since: float) -> tuple[list[Parcel], list[Parcel]]:
        """One for each route, target and topic, in the order of the routes; and those for error topics."""
        sent: dict[tuple[int, int, str], Parcel] = {}
        for route, each in outcome.sent:
            key = (id(route), each.target, each.topic)
            parcel = sent.get(key)
            if parcel is None:
                watched = self._watched[id(route)]
                parcel = sent[key] = Parcel(watched, each.target, each.topic, self._topic, since)
            original = events[each.place]
            parcel.add(Event(each.attributes, original.data, original.key), original, each.place)
        failed: dict[int, Parcel] = {}
        for route, fault in outcome.failed:
            watched = self._watched[id(route)]
            watched.failed(fault.reason, 1, fault.at)
            if route.on_error is None:
                continue
            last = failed.get(id(route))
            if last is None:
                last = failed[id(route)] = Parcel(watched, 0, route.on_error, self._topic, since)
            original = events[fault.place]
            told = failed_event(original, route, self._topic, f"{fault.at}: {fault.reason}")
            last.add(told, original, fault.place)
        return list(sent.values()), list(failed.values())


class Router:
    """All routes and workflows of a gateway. Built without side effects; `bind` gives it the way in."""

    def __init__(
        self,
        routes: Sequence[Mapping[str, Any]],
        workflows: Sequence[Workflow],
        metrics: Metrics,
        ensure: Callable[[str, Principal], Awaitable[object]],
        decode: DecodeOf = lambda topic: None,
    ) -> None:
        """`routes` as they were written, and checked. Raises InvalidRoute."""
        self.workflows = tuple(workflows)
        topics = {workflow.name: workflow.topic for workflow in workflows}
        self._received: dict[str, Counter] = {
            workflow.name: metrics.counter(
                "linkspan_workflow_events_total", "Events that routes sent to a workflow.", workflow=workflow.name
            )
            for workflow in workflows
        }
        compiled = [compile_route(spec, topics, f"routes[{number}]") for number, spec in enumerate(routes)]
        self._routes = [Watched(route, self._stored) for route in compiled]
        self._sources = [
            [parse_pattern(text) for text in _listed(watched.route.written["from"])] for watched in self._routes
        ]
        self._forwarder, self._decode = Forwarder(ensure), decode
        self._topics: dict[str, TopicRoutes | None] = {}
        for watched in self._routes:
            _count(metrics, watched.route.name, watched.stats)

    def bind(self, way: Way) -> None:
        """What parcels go in by."""
        self._forwarder.bind(way)

    @property
    def busy(self) -> bool:
        """Whether anything waits that is not with the bus."""
        return self._forwarder.busy

    async def close(self) -> None:
        await self._forwarder.close()

    def of(self, topic: str) -> TopicRoutes | None:
        """The routes that read from a topic; None without any."""
        try:
            return self._topics[topic]
        except KeyError:
            return self._find(topic)

    def topics(self) -> list[str]:
        """All topics that are named as targets: those of workflows, of routes, and for errors."""
        named = dict.fromkeys(workflow.topic for workflow in self.workflows)
        for watched in self._routes:
            named |= dict.fromkeys(name for target in watched.route.to if (name := target.topic.literal) is not None)
            if watched.route.on_error is not None:
                named[watched.route.on_error] = None
        return list(named)

    def described(self) -> list[dict[str, Any]]:
        """Every route as it was written, with what it has done."""
        return [
            {**_without_examples(watched.route.written), "counters": msgspec.structs.asdict(watched.stats)}
            for watched in self._routes
        ]

    def described_workflows(self) -> list[dict[str, Any]]:
        """Every workflow, with the routes to it and the number of events that they sent."""
        return [
            {
                **msgspec.structs.asdict(workflow),
                "routes": [watched.route.name for watched in self._routes if _leads_to(watched.route, workflow.name)],
                "counters": {"received": int(self._received[workflow.name].value)},
            }
            for workflow in self.workflows
        ]

    def _find(self, topic: str) -> TopicRoutes | None:
        own = []
        for watched, sources in zip(self._routes, self._sources, strict=True):
            patterns = list(subject_patterns(topic, sources))
            if patterns:
                own.append(_Own(watched, patterns))
        if len(self._topics) >= MAX_TOPICS:
            self._topics.clear()
        found = TopicRoutes(topic, own, self._forwarder, self._decode) if own else None
        self._topics[topic] = found
        return found

    def _stored(self, route: Route, target: int, count: int) -> None:
        workflow = route.to[target].workflow
        if workflow is not None:
            self._received[workflow].inc(count)


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _without_examples(written: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in written.items() if name != "examples"}


def _leads_to(route: Route, workflow: str) -> bool:
    return any(target.workflow == workflow for target in route.to)


def _count(metrics: Metrics, name: str, stats: RouteStats) -> None:
    for result in _RESULTS:
        metrics.counter_function(
            "linkspan_route_events_total",
            "Events that routes were meant for, that went where they say, and that they failed for.",
            lambda result=result: float(getattr(stats, result)),  # type: ignore[misc]
            route=name,
            result=result,
        )
    metrics.counter_function(
        "linkspan_route_seconds_total", "Time in routes, without the appends.", lambda: stats.seconds, route=name
    )
