"""What is done with events whose address matches: a filter, then a transformation.

Refinements with equal keys do alike, so that those who have them share views and encodings. An
event that cannot be transformed is left out and reported; the stream goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias

from gateway.event import Event
from routing.attributes import Value
from routing.batch import Batch, Decode, Paths
from routing.filters.filter import Filter
from routing.transforms.failure import StepFailed
from routing.transforms.transform import Transform

DecodeOf: TypeAlias = Callable[[str], Decode | None]
"""How payloads of a topic are decoded whose content type does not tell; None: not at all."""
Report: TypeAlias = Callable[[Event, StepFailed], None]
"""Told of an event that could not be transformed, as it was. Must not raise."""


class Refinement:
    """See the module. `errors` names where failures are reported to: part of what makes it equal."""

    __slots__ = ("_decode_of", "filter", "key", "report", "transform")

    def __init__(
        self,
        filter: Filter | None,
        transform: Transform | None,
        report: Report,
        errors: Hashable = None,
        decode_of: DecodeOf = lambda topic: None,
    ) -> None:
        self.filter, self.transform, self.report, self._decode_of = filter, transform, report, decode_of
        self.key = (filter and filter.key, transform and transform.key, transform and errors)

    def passing(self, events: list[Event]) -> list[Event]:
        """Those that the filter lets pass, in order; the same list when that is all of them."""
        if self.filter is None or not events:
            return events
        places = self.filter.places(self.batch(events))
        return events if len(places) == len(events) else [events[place] for place in places]

    def batch(self, events: list[Event], paths: Paths | None = None) -> Batch:
        """Events of one topic, to be looked at by filters."""
        return Batch(events, paths, self._decode_of(events[0].topic))

    def transformed(self, events: list[Event]) -> list[Event]:
        """What becomes of events that passed, at the same places in the log."""
        if self.transform is None or not events:
            return events
        made, failed = self.transform.apply_batch(events)
        for place, failure in failed:
            self.report(events[place], failure)
        return [_made(event, *result) for event, result in zip(_kept(events, failed), made, strict=True)]


def _kept(events: list[Event], failed: Sequence[tuple[int, StepFailed]]) -> list[Event]:
    if not failed:
        return events
    gone = {place for place, _ in failed}
    return [event for place, event in enumerate(events) if place not in gone]


def _made(event: Event, attributes: dict[str, Value], data: bytes | None) -> Event:
    return Event(
        attributes, data, event.key, event.topic, event.partition, event.offset,
        event.timestamp_ms,
    )  # fmt: skip
