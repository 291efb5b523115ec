"""Who gets what of a flush: events matched against the subscriptions of a scope.

A **target** is what several views select alike: patterns and a refinement. Its events are
looked for by subject and by one attribute in an index, filtered, transformed and encoded once.
All filters over a slice share what was decoded of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import cast

from gateway.address import Pattern
from gateway.bus.binding import subject_of
from gateway.delivery.cursor import BlockCursors, JoinedCursors
from gateway.delivery.form import Encode, Form
from gateway.delivery.index import SubjectIndex
from gateway.delivery.outcome import Slice
from gateway.delivery.reader import ReadRequest
from gateway.delivery.refine import Refinement
from gateway.delivery.view import View
from gateway.event import Event
from routing.batch import Batch, Paths
from routing.filters.filter import Filter
from routing.filters.predicates import Equality


class Target:
    """See the module. `members`: of all its views."""

    __slots__ = ("collected", "members", "patterns", "places", "refinement", "views")

    def __init__(self, patterns: tuple[Pattern, ...], refinement: Refinement | None = None) -> None:
        self.patterns, self.refinement = patterns, refinement
        self.views: dict[Hashable, View] = {}
        self.members = 0
        #: What the flush under way brings, and the wanted places of the slice that is being looked at.
        self.collected = Collected()
        self.places: list[int] | None = None

    @property
    def filter(self) -> Filter | None:
        return None if self.refinement is None else self.refinement.filter

    @property
    def equality(self) -> Equality | None:
        return None if self.filter is None else self.filter.equality


class Matched:
    """A slice of a flush, encoded as a whole when targets want most of it. `wanted`: the events
    that some target wants, counted for each."""

    __slots__ = ("_batch", "_parts", "_passed", "_paths", "cursors", "events", "wanted")

    def __init__(self, events: list[Event], cursors: BlockCursors, paths: Paths) -> None:
        self.events, self.cursors, self._paths = events, cursors, paths
        self.wanted = 0
        self._batch: Batch | None = None
        self._passed: dict[str, Sequence[int]] = {}
        self._parts: dict[Encode, list[bytes]] = {}

    def passing(self, refinement: Refinement, filter: Filter, places: Sequence[int] | None) -> Sequence[int]:
        """The places that a filter lets pass; equal filters over all of the slice run once."""
        if self._batch is None:
            self._batch = refinement.batch(self.events, self._paths)
        if places is not None:
            return filter.places(self._batch, places)
        found = self._passed.get(filter.key)
        if found is None:
            found = self._passed[filter.key] = filter.places(self._batch)
        return found

    def parts(self, encode: Encode, places: Sequence[int] | None) -> list[bytes]:
        """Those of the events at some places, or of all."""
        if places is not None and self.wanted * 2 < len(self.events):
            return encode([self.events[place] for place in places])
        parts = self._parts.get(encode)
        if parts is None:
            parts = self._parts[encode] = encode(self.events)
        return parts if places is None else [parts[place] for place in places]

    def at(self, places: Sequence[int] | None) -> list[Event]:
        return self.events if places is None else [self.events[place] for place in places]


class Collected:
    """The events of a flush that one target wants."""

    __slots__ = ("_chosen", "_encoded", "count")

    def __init__(self) -> None:
        self._chosen: list[tuple[Matched, Sequence[int] | None]] = []
        self._encoded: dict[Encode, list[bytes]] = {}
        self.count = 0

    def add(self, matched: Matched, places: Sequence[int] | None) -> None:
        """Wanted events of a slice, by their places; None: all of them."""
        self._chosen.append((matched, places))
        self.count += len(matched.events) if places is None else len(places)

    def events(self) -> list[Event]:
        return [event for matched, places in self._chosen for event in matched.at(places)]

    def cursors(self) -> Sequence[str]:
        """The cursors after each of the events."""
        parts = [
            matched.cursors if places is None else matched.cursors.of(matched.at(places))
            for matched, places in self._chosen
        ]
        return parts[0] if len(parts) == 1 else JoinedCursors(parts)

    def encoded(self, encode: Encode) -> list[bytes]:
        """One part for each event, encoded once for all views."""
        parts = self._encoded.get(encode)
        if parts is None:
            matched, places = self._chosen[0]
            parts = matched.parts(encode, places)
            for matched, places in self._chosen[1:]:
                parts = parts + matched.parts(encode, places)
            self._encoded[encode] = parts
        return parts


class Matcher:
    """The targets of one scope, and the indexes that find them."""

    def __init__(self) -> None:
        self.targets: dict[Hashable, Target] = {}
        self._indexes: dict[str, SubjectIndex[Target]] = {}
        self._paths = Paths()

    @property
    def views(self) -> list[View]:
        return [view for target in self.targets.values() for view in target.views.values()]

    def view_of(self, request: ReadRequest, form: Form) -> View:
        """The view of a subscription, made when there is none."""
        key = _key(request.sources, request.refinement)
        target = self.targets.get(key)
        if target is None:
            target = self.targets[key] = Target(request.sources, request.refinement)
            if target.filter is not None:
                self._paths.add(target.filter.paths)
            for index in self._indexes.values():
                index.add(target, target.patterns, target.equality)
        view = target.views.get(form.key)
        if view is None:
            view = target.views[form.key] = View(target, form)
        return view

    def tidy(self, view: View) -> None:
        """Drop a view without members."""
        target = view.target
        if not view.empty or target.views.get(view.form.key) is not view:
            return
        del target.views[view.form.key]
        if not target.views:
            del self.targets[_key(target.patterns, target.refinement)]
            if target.filter is not None:
                self._paths.remove(target.filter.paths)
            for index in self._indexes.values():
                index.remove(target, target.patterns, target.equality)

    def match(self, part: Slice, touched: dict[Target, None]) -> int:
        """Let targets collect what they want of a slice; how many deliveries that makes."""
        index = self._indexes.get(part.topic) or self._index(part.topic)
        matched = Matched(part.events, cast(BlockCursors, part.cursors), self._paths)
        deliveries = sum(self._collect(target, matched, None, touched) for target in index.all)
        if index.narrow:
            for target in _places(index, part.events):
                places, target.places = target.places, None
                deliveries += self._collect(target, matched, places, touched)
        return deliveries

    def _collect(
        self, target: Target, matched: Matched, places: Sequence[int] | None, touched: dict[Target, None]
    ) -> int:
        refinement = target.refinement
        if refinement is not None:
            if refinement.filter is not None:
                places = matched.passing(refinement, refinement.filter, places)
            if refinement.transform is not None:
                events = refinement.transformed(matched.at(places))
                matched, places = Matched(events, matched.cursors.of(events), self._paths), None
        count = len(matched.events) if places is None else len(places)
        if not count:
            return 0
        target.collected.add(matched, places)
        touched[target] = None
        if places is not None:
            matched.wanted += count
        return count * target.members

    def _index(self, topic: str) -> SubjectIndex[Target]:
        index: SubjectIndex[Target] = SubjectIndex(topic)
        for target in self.targets.values():
            index.add(target, target.patterns, target.equality)
        self._indexes[topic] = index
        return index


def _key(patterns: tuple[Pattern, ...], refinement: Refinement | None) -> Hashable:
    return (frozenset(patterns), refinement and refinement.key)


def _places(index: SubjectIndex[Target], events: list[Event]) -> list[Target]:
    """The targets that want some of the events, each with their places."""
    found: list[Target] = []
    for place, wanted in enumerate(_wanted(index, events)):
        for target in wanted:
            if target.places is None:
                target.places = [place]
                found.append(target)
            else:
                target.places.append(place)
    return found


def _wanted(index: SubjectIndex[Target], events: list[Event]) -> Iterator[Sequence[Target]]:
    if index.selective:
        return map(index.match_event, (event.raw if type(event.raw) is dict else event.attributes for event in events))
    # The subject can be had for a fifth of what all attributes of a record cost.
    return map(index.match, map(subject_of, events))
