"""Routes: which events go on to other topics, subjects and workflows, and what is set on the way. Pure.

A route selects events by their address (`from`) and an expression (`when`), and does one of these:
without `to` it sets attributes of the event where it is; `copy` sends copies to its targets, `move`
sends the event there instead, and `divert` does as `move` and keeps the event from the routes that
come after. All of it runs over whole batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import msgspec

from routing.addresses import Address, Hole, Segment, topic_fault
from routing.attributes import CHECKS, Value, attribute_fault
from routing.batch import Batch, Decode, EventLike, Paths, Plain
from routing.filters.filter import Filter
from routing.templates import Field, Filled, Template, Unfilled

Action: TypeAlias = Literal["copy", "move", "divert"]

HOPS: Final = "routehops"
#: Routes that an event passes at most, one after the other.
MAX_HOPS: Final = 8

Changes: TypeAlias = Mapping[str, Value]
_NONE: Final[Changes] = MappingProxyType({})


class Target(msgspec.Struct, frozen=True):
    """Where events go. Without a subject they keep their own; `workflow` is what the topic belongs to."""

    topic: Template
    subject: Template | None = None
    workflow: str | None = None


class RouteStats(msgspec.Struct):
    """What a route has done: events that it was meant for, those that went where it says (each target
    counts), those that it failed for (an evaluation that failed included), and seconds."""

    matched: int = 0
    passed: int = 0
    failed: int = 0
    seconds: float = 0.0


class Sent(msgspec.Struct, frozen=True):
    """An event's way to one target: `attributes` are those that it has there."""

    place: int
    target: int
    topic: str
    attributes: dict[str, Value]


class Failed(msgspec.Struct, frozen=True):
    """A route could not be applied to the event at `place`; it is as it was. `at` is the part of the
    route that failed, such as `to[1].subject`."""

    place: int
    reason: str
    at: str = ""


class Result(msgspec.Struct):
    """What one route does with a batch. `places` are of the events that went on or were changed."""

    places: list[int]
    sent: list[Sent]
    changed: dict[int, dict[str, Value]]
    failed: list[Failed]


class Route(msgspec.Struct, frozen=True):
    """One route, compiled. `sets` are the attributes that it sets, `written` is it as its author wrote it."""

    name: str
    sources: tuple[Address, ...]
    when: Filter | None
    to: tuple[Target, ...]
    action: Action
    sets: Mapping[str, Value | Template]
    on_error: str | None
    examples: tuple[Mapping[str, Any], ...]
    written: Mapping[str, Any]

    @property
    def takes_away(self) -> bool:
        """Whether events leave their own topic."""
        return bool(self.to) and self.action != "copy"

    @property
    def paths(self) -> frozenset[tuple[str | int, ...]]:
        """What it reads of payloads."""
        return frozenset().union(self.when.paths if self.when else (), *(each.paths for each in self._templates()))

    def _templates(self) -> list[Template]:
        targets = [each for target in self.to for each in (target.topic, target.subject) if each is not None]
        return targets + [value for value in self.sets.values() if isinstance(value, Template)]

    def covers(self, topic: str, subject: str | None) -> bool:
        """Whether it reads from this address."""
        return any(source.matches(topic, subject) for source in self.sources)

    def select(self, batch: Batch, places: Sequence[int]) -> tuple[Sequence[int], int]:
        """The places, of those whose address it reads from, where `when` holds, and how often it failed."""
        if self.when is None:
            return places, 0
        before = self.when.stats.failed
        found = self.when.places(batch, None if len(places) == len(batch) else places)
        return found, self.when.stats.failed - before

    def apply(self, batch: Batch, topic: str, places: Sequence[int]) -> Result:
        """What it does with the events at the places, which are in `topic`. An event goes to all its
        targets or fails as a whole."""
        failed: dict[int, Failed] = {}
        changes = self._changes(batch, topic, places, failed)
        if not self.to:
            rows = batch.rows
            changed = {at: rows[at] | new for at, new in zip(places, changes, strict=True) if at not in failed}
            return Result(list(changed), [], changed, list(failed.values()))
        self._check_hops(batch, places, failed)
        ways = [self._way(number, batch, topic, places, failed) for number in range(len(self.to))]
        sent = self._send(batch, places, changes, ways, failed)
        return Result([place for place in places if place not in failed], sent, {}, list(failed.values()))

    def _changes(
        self, batch: Batch, topic: str, places: Sequence[int], failed: dict[int, Failed]
    ) -> Sequence[dict[str, Value]]:
        fixed = {name: value for name, value in self.sets.items() if not isinstance(value, Template)}
        changes = [fixed] * len(places)
        for name, template in self.sets.items():
            if not isinstance(template, Template):
                continue
            filled = template.fill(batch, topic, places)
            for at, (place, text) in enumerate(zip(places, filled, strict=True)):
                fault = text.reason if isinstance(text, Unfilled) else attribute_fault(name, text)
                if fault is not None:
                    failed.setdefault(place, Failed(place, fault, f"tags.{name}"))
                elif isinstance(text, str):
                    changes[at] = changes[at] | {name: text}
        return changes

    def _check_hops(self, batch: Batch, places: Sequence[int], failed: dict[int, Failed]) -> None:
        column = batch.attribute(HOPS)
        for place in places:
            if column[place] is not None and hops(column[place]) >= MAX_HOPS:
                reason = f"went through {MAX_HOPS} routes already; it goes in a circle"
                failed.setdefault(place, Failed(place, reason, "to"))

    def _way(
        self, number: int, batch: Batch, topic: str, places: Sequence[int], failed: dict[int, Failed]
    ) -> tuple[Sequence[Filled], Sequence[Filled] | None]:
        """The topic and subject at each place (None: its own)."""
        target = self.to[number]
        topics = _filled(target.topic, topic_fault, f"to[{number}].topic", batch, topic, places, failed)
        if target.subject is None:
            return topics, None
        return topics, _filled(target.subject, CHECKS["subject"], f"to[{number}].subject", batch, topic, places, failed)

    def _send(
        self,
        batch: Batch,
        places: Sequence[int],
        changes: Sequence[dict[str, Value]],
        ways: Sequence[tuple[Sequence[Filled], Sequence[Filled] | None]],
        failed: Mapping[int, Failed],
    ) -> list[Sent]:
        rows, sent = batch.rows, []
        for number, (topics, subjects) in enumerate(ways):
            for at, place in enumerate(places):
                if place in failed:
                    continue
                row = rows[place]
                attributes = {**row, **changes[at], HOPS: hops(row.get(HOPS)) + 1}
                if subjects is not None:
                    attributes["subject"] = subjects[at]  # type: ignore[assignment]  # not among the failed
                sent.append(Sent(place, number, topics[at], attributes))  # type: ignore[arg-type]
        return sent

    def outputs(self) -> list[Address]:
        """Patterns of the addresses that it may write to."""
        return [
            Address(_hole(target.topic), segments)
            for target in self.to
            for segments in _written(target.subject, self.sources)
        ]


def _filled(
    template: Template,
    check: Any,
    where: str,
    batch: Batch,
    topic: str,
    places: Sequence[int],
    failed: dict[int, Failed],
) -> Sequence[Filled]:
    """The texts of a template; those that are illegal as a whole are noted as failed."""
    texts = template.fill(batch, topic, places)
    if template.literal is not None:
        return texts
    faults: dict[Filled, str | None] = {}
    for place, text in zip(places, texts, strict=True):
        if text not in faults:
            faults[text] = text.reason if isinstance(text, Unfilled) else check(text)
        fault = faults[text]
        if fault is not None:
            failed.setdefault(place, Failed(place, fault, where))
    return texts


def hops(value: Value | None) -> int:
    """How many routes an event has been through; what is no number of them counts as none."""
    if type(value) is int:
        return max(0, value)
    # Doors whose wire knows texts alone bring it as one.
    return int(value) if type(value) is str and value.isascii() and value.isdigit() and len(value) < 10 else 0


def _hole(template: Template) -> Segment:
    """A segment for the loop detection: literal, or with a hole from the first field to the last."""
    if template.literal is not None:
        return template.literal
    first, last = template.parts[0], template.parts[-1]
    return Hole(first if isinstance(first, str) else "", last if isinstance(last, str) else "")


def _written(subject: Template | None, sources: Sequence[Address]) -> list[tuple[Segment, ...] | None]:
    """The subjects that a target may write, as patterns; without one of its own those that are read."""
    if subject is None:
        # A topic wildcard of several segments may leave any subject.
        return [("**",) if source.topic == "**" else source.segments for source in sources]
    if any(isinstance(part, Field) and part.kind == "attribute" and part.name == "subject" for part in subject.parts):
        return [("**",)] if isinstance(subject.parts[0], Field) else [(*_cut(subject)[:-1], "**")]
    return [_cut(subject)]


def _cut(subject: Template) -> tuple[Segment, ...]:
    """A template of a subject as segments, up to a field that holds several."""
    segments: list[list[str | Field]] = [[]]
    for part in subject.parts:
        if isinstance(part, Field):
            segments[-1].append(part)
            if part.kind == "attribute" and part.name == "subject":
                break
            continue
        first, *more = part.split("/")
        segments[-1].append(first)
        segments += [[text] for text in more]
    return tuple(_hole(Template("", "subject", [part for part in parts if part != ""] or [""])) for parts in segments)


def select_and_apply(
    route: Route, batch: Batch, topic: str, places: Sequence[int], stats: RouteStats | None = None
) -> Result:
    """One route over the events whose address it reads from, counted in `stats`."""
    began = perf_counter()
    chosen, errors = route.select(batch, places)
    result = route.apply(batch, topic, chosen) if chosen else Result([], [], {}, [])
    if stats is not None:
        stats.matched += len(chosen)
        stats.failed += errors + len(result.failed)
        stats.passed += len(result.changed)
        stats.seconds += perf_counter() - began
    return result


class Outcome(msgspec.Struct):
    """What the routes of a topic do with a batch: `kept` are the places of the events that stay."""

    kept: list[int]
    sent: list[tuple[Route, Sent]]
    changed: dict[int, dict[str, Value]]
    failed: list[tuple[Route, Failed]]


def run(
    routes: Sequence[tuple[Route, Sequence[int] | None, RouteStats]],
    events: Sequence[EventLike],
    topic: str,
    paths: Paths | None = None,
    decode: Decode | None = None,
) -> Outcome:
    """All routes of a topic, in their order. Each comes with the places that it reads from (None: all).

    A route sees what the ones before it have set, but not what they have diverted. An event that fails
    under a `move` or `divert` leaves its topic all the same where the route has an error topic.
    """
    batch = Batch(events, paths, decode)
    outcome, taken, gone = Outcome([], [], {}, []), set[int](), set[int]()
    everything = range(len(events))
    for route, own, stats in routes:
        places = everything if own is None else own
        if gone:
            places = [place for place in places if place not in gone]
        if not places:
            continue
        result = select_and_apply(route, batch, topic, places, stats)
        outcome.sent += [(route, sent) for sent in result.sent]
        outcome.failed += [(route, failed) for failed in result.failed]
        if route.takes_away:
            away = result.places + ([each.place for each in result.failed] if route.on_error else [])
            taken.update(away)
            if route.action == "divert":
                gone.update(away)
        if result.changed:
            outcome.changed |= result.changed
            rows, datas = list(batch.rows), batch.datas
            for place, attributes in result.changed.items():
                rows[place] = attributes
            batch = Batch([Plain(row, data) for row, data in zip(rows, datas, strict=True)], paths, decode)
    outcome.kept = [place for place in everything if place not in taken]
    return outcome
