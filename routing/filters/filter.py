"""A subscription's filters, compiled once to something that runs over whole batches. Pure.

Filters with equal keys select alike, however they were written; whoever has both needs only one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from routing.batch import Batch, Decode, EventLike, Plain
from routing.filters.dialects import Part, read_filter, read_filters
from routing.filters.predicates import Equality, Places, Predicate, all_of

Written = Mapping[str, object] | str


@dataclass(slots=True)
class FilterStats:
    """What a filter has done: events it looked at, those that passed, evaluations that failed, seconds."""

    matched: int = 0
    passed: int = 0
    failed: int = 0
    seconds: float = 0.0


class Filter:
    """All of some filters; an event for which an evaluation fails does not pass.

    `attributes` and payload `paths` are what is read. `equality`, where there is one, is an
    attribute and the texts of which it must have one (for `symbol` as `symbol_of` tells it): an
    index can leave all other events out.
    """

    __slots__ = ("_predicate", "stats", "written")

    def __init__(self, predicate: Predicate, written: Sequence[Written]) -> None:
        self._predicate = predicate
        #: As it was written, for people.
        self.written = written
        self.stats = FilterStats()

    @property
    def key(self) -> str:
        """Equal for filters that select alike, as far as can be told."""
        return self._predicate.key

    @property
    def attributes(self) -> frozenset[str]:
        return self._predicate.attributes

    @property
    def paths(self) -> frozenset[tuple[str | int, ...]]:
        return self._predicate.paths

    @property
    def equality(self) -> Equality | None:
        return self._predicate.equality

    def places(self, batch: Batch, among: Places | None = None) -> Places:
        """The places of the events that pass, in order; only those of `among` are looked at.

        Others may have been given the same sequence: it is not changed.
        """
        began = time.perf_counter()
        found, errors = self._predicate.run(batch, among)
        stats = self.stats
        stats.matched += len(batch.events) if among is None else len(among)
        stats.passed += len(found)
        stats.failed += errors
        stats.seconds += time.perf_counter() - began
        return found

    def passes(self, attributes: dict[str, str | int | bool], data: bytes | None = None) -> bool:
        """Whether one event passes; not counted."""
        return bool(self._predicate.run(Batch([Plain(attributes, data)]), None)[0])

    def explain(self, event: EventLike, decode: Decode | None = None) -> list[dict[str, object]]:
        """What each filter says of an event: `{where, filter, passed, error?, parts?}`; not counted.

        `error` is why an evaluation failed, as `{kind, message, position}`; `parts` are the filters
        inside this one.
        """
        return [_explained(part, event, decode) for part in read_filters(self.written, "filters")]


def compile_filters(filters: Sequence[Written], where: str = "filters") -> Filter:
    """All must pass; without any, everything does. Raises InvalidFilter, with the place of the fault."""
    return Filter(all_of(part.predicate for part in read_filters(filters, where)), filters)


def compile_expr_filter(text: str, where: str = "filter") -> Filter:
    """The filter of an `expr`, as `filter=` has it. Raises InvalidFilter."""
    return Filter(read_filter(text, where).predicate, [text])


def _explained(part: Part, event: EventLike, decode: Decode | None) -> dict[str, object]:
    told: dict[str, object] = {"where": part.where, "filter": part.written}
    told["passed"] = bool(part.predicate.run(Batch([event], None, decode), None)[0])
    error = part.predicate.error(event, decode)
    if error is not None:
        told["error"] = {"kind": error.kind, "message": error.message, "position": error.position}
    if part.parts:
        told["parts"] = [_explained(inner, event, decode) for inner in part.parts]
    return told
