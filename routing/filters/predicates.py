"""What filters are made of: predicates that run over a whole batch. Pure.

A predicate says at which places of a batch it is true, and how many evaluations failed. What
cannot be evaluated is not true (CloudEvents Subscriptions API 1.0, 3.2.4.1.2), and neither is its
`not`: an event that a filter cannot judge does not pass. Places are in order, and shared: nobody
changes them. Predicates with equal keys select alike.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from routing.attributes import canonical
from routing.batch import Batch, Decode, EventLike, Value
from routing.errors import RoutingError
from routing.shape import Path

if TYPE_CHECKING:
    from routing.filters.compile import Expression

Places: TypeAlias = Sequence[int]
Equality: TypeAlias = tuple[str, frozenset[str]]
"""An attribute, and the texts of which it must have one for a predicate to be true."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?\Z", re.ASCII)
_NO_WORD = re.compile(r"(?:-?\d+|true|false)\Z", re.ASCII)
# Attributes that many events have the same value of: an index by another one finds fewer.
_COMMON: Final = frozenset({"type", "source", "specversion", "datatype", "qualitytier", "datacontenttype", "priority"})


class Predicate(ABC):
    """`cost` orders predicates that all must be true: from about 1 for an attribute to 100 for a payload."""

    __slots__ = ("attributes", "cost", "equality", "key", "paths")

    def __init__(
        self,
        key: list[object],
        cost: int,
        *,
        attributes: Iterable[str] = (),
        paths: Iterable[Path] = (),
        equality: Equality | None = None,
    ) -> None:
        self.key = msgspec.json.encode(key).decode()
        self.cost = cost
        self.attributes, self.paths, self.equality = frozenset(attributes), frozenset(paths), equality

    @abstractmethod
    def run(self, batch: Batch, among: Places | None) -> tuple[Places, int]:
        """The places of `among` (None: of all) where it is true, and the number of errors."""

    def error(self, event: EventLike, decode: Decode | None) -> RoutingError | None:
        """Why its evaluation fails for an event; None when it does not."""
        return None


class Member(Predicate):
    """An attribute has one of some texts."""

    __slots__ = ("_words", "name", "values")

    def __init__(self, name: str, values: frozenset[str]) -> None:
        super().__init__(["in", name, *sorted(values)], 1, attributes=[name], equality=(name, values))
        self.name, self.values = name, values
        self._words = not any(map(_NO_WORD.match, values))

    def run(self, batch: Batch, among: Places | None) -> tuple[Places, int]:
        if among is None:
            return batch.equal(self.name, self.values, words=self._words), 0
        column, values = batch.text(self.name), self.values
        return [place for place in among if column[place] in values], 0


class Symbol(Predicate):
    """The symbol of an event, which is its subject's last segment where it has no such attribute."""

    __slots__ = ("values",)

    def __init__(self, values: frozenset[str]) -> None:
        attributes = ("symbol", "subject")
        super().__init__(["symbol", *sorted(values)], 2, attributes=attributes, equality=("symbol", values))
        self.values = values

    def run(self, batch: Batch, among: Places | None) -> tuple[Places, int]:
        symbols, values = batch.text("symbol"), self.values
        if among is None and None not in symbols:
            return batch.equal("symbol", values), 0
        subjects = batch.text("subject")
        found = []
        for place in range(len(batch)) if among is None else among:
            symbol = symbols[place]
            if symbol is None:
                symbol = (subjects[place] or "").rpartition("/")[2]
            if symbol in values:
                found.append(place)
        return found, 0


def symbol_of(attributes: Mapping[str, Value]) -> str | None:
    """The symbol of an event; see `Symbol`. An index by the equality of a filter looks here."""
    value = attributes.get("symbol")
    if value is not None:
        return canonical(value)
    subject = attributes.get("subject")
    return None if subject is None else canonical(subject).rpartition("/")[2]


class Affix(Predicate):
    """The text of an attribute begins or ends with another."""

    __slots__ = ("_tests", "name")

    def __init__(self, name: str, text: str, *, end: bool) -> None:
        super().__init__(["suffix" if end else "prefix", name, text], 2, attributes=[name])
        self.name = name
        self._tests = ("", text) if end else (text, "")

    def run(self, batch: Batch, among: Places | None) -> tuple[Places, int]:
        column, (start, end) = batch.text(self.name), self._tests
        pairs = enumerate(column) if among is None else ((place, column[place]) for place in among)
        if end:
            return [place for place, text in pairs if text is not None and text.endswith(end)], 0
        return [place for place, text in pairs if text is not None and text.startswith(start)], 0


class AtLeast(Predicate):
    """An attribute is a number, and at least so much. One that is no number is an error."""

    __slots__ = ("least", "name")

    def __init__(self, name: str, least: float) -> None:
        super().__init__([">=", name, least], 4, attributes=[name])
        self.name, self.least = name, least

    def run(self, batch: Batch, among: Places | None) -> tuple[Places, int]:
        column, least = batch.text(self.name), self.least
        found, errors = [], 0
        for place in range(len(column)) if among is None else among:
            text = column[place]
            if text is None:
                continue
            number = number_of(text)
            if number is None:
                errors += 1
            elif number >= least:
                found.append(place)
        return found, errors

    def error(self, event: EventLike, decode: Decode | None) -> RoutingError | None:
        value = event.attributes.get(self.name)
        text = None if value is None else canonical(value)
        if text is None or number_of(text) is not None:
            return None
        return RoutingError(f"the attribute {self.name} is {text[:80]!r}, which is no number", kind="cast")


@lru_cache(8192)
def number_of(text: str) -> float | None:
    """The number that an attribute's text writes in decimals, or None."""
    return float(text) if len(text) <= 64 and _NUMBER.match(text) else None


class Formula(Predicate):
    """An expression of CESQL or `expr` is true."""

    __slots__ = ("expression",)

    def __init__(self, expression: Expression) -> None:
        super().__init__(
            [expression.key],
            100 if expression.paths else 10,
            attributes=expression.attributes,
            paths=expression.paths,
            equality=expression.equality,
        )
        self.expression = expression

    def run(self, batch: Batch, among: Places | None) -> tuple[Places, int]:
        return self.expression.places(batch, among)

    def error(self, event: EventLike, decode: Decode | None) -> RoutingError | None:
        return self.expression.one(event.attributes, event.data, decode)[1]


class _Joint(Predicate):
    """Several predicates, quick ones first."""

    __slots__ = ("parts",)

    def __init__(self, word: str, parts: Sequence[Predicate], equality: Equality | None = None) -> None:
        super().__init__(
            [word, *(msgspec.Raw(part.key.encode()) for part in parts)],
            sum(part.cost for part in parts),
            attributes=frozenset[str]().union(*(part.attributes for part in parts)),
            paths=frozenset[Path]().union(*(part.paths for part in parts)),
            equality=equality,
        )
        self.parts = sorted(parts, key=lambda part: part.cost)

    def error(self, event: EventLike, decode: Decode | None) -> RoutingError | None:
        return next((error for part in self.parts if (error := part.error(event, decode)) is not None), None)


class All(_Joint):
    """All of some are true; of none, that is everything. Made by `all_of`."""

    __slots__ = ()

    def __init__(self, parts: Sequence[Predicate]) -> None:
        super().__init__("all", parts, _narrowest(parts))

    def run(self, batch: Batch, among: Places | None) -> tuple[Places, int]:
        errors = 0
        for part in self.parts:
            among, bad = part.run(batch, among)
            errors += bad
            if not among:
                break
        return range(len(batch)) if among is None else among, errors


class Any(_Joint):
    """At least one of some is true. Made by `any_of`."""

    __slots__ = ()

    def __init__(self, parts: Sequence[Predicate]) -> None:
        super().__init__("any", parts, _joined(parts))

    def run(self, batch: Batch, among: Places | None) -> tuple[Places, int]:
        every = range(len(batch)) if among is None else among
        found: set[int] = set()
        errors = 0
        for part in self.parts:
            # To look only where none was true yet is worth its own cost for the costly ones.
            if found and part.cost >= 10:
                among = [place for place in every if place not in found]
                if not among:
                    break
            places, bad = part.run(batch, among)
            found.update(places)
            errors += bad
        return sorted(found), errors


class Not(_Joint):
    """Another one is not true. Made by `not_of`."""

    __slots__ = ()

    def __init__(self, part: Predicate) -> None:
        super().__init__("not", [part])

    def run(self, batch: Batch, among: Places | None) -> tuple[Places, int]:
        part = self.parts[0]
        places, errors = part.run(batch, among)
        taken = set(places)
        if errors:
            looked_at = range(len(batch)) if among is None else among
            taken.update(place for place in looked_at if part.error(batch.events[place], batch.decode) is not None)
        return [place for place in (range(len(batch)) if among is None else among) if place not in taken], errors


def all_of(parts: Iterable[Predicate]) -> Predicate:
    """All are true, in one way of writing it: nested ones spread out, each once, sorted."""
    return _joint(All, parts, frozenset.intersection)


def any_of(parts: Iterable[Predicate]) -> Predicate:
    """At least one is true, in one way of writing it."""
    return _joint(Any, parts, frozenset.union)


def not_of(part: Predicate) -> Predicate:
    """It is not true; twice "not" is nothing."""
    return part.parts[0] if isinstance(part, Not) else Not(part)


def _joint(
    kind: type[All] | type[Any],
    parts: Iterable[Predicate],
    join: Callable[[frozenset[str], frozenset[str]], frozenset[str]],
) -> Predicate:
    others: dict[str, Predicate] = {}
    # All that is asked of one attribute's text is one question.
    members: dict[str, frozenset[str]] = {}
    for part in parts:
        for one in part.parts if isinstance(part, kind) else [part]:
            if isinstance(one, Member):
                known = members.get(one.name)
                members[one.name] = one.values if known is None else join(known, one.values)
            else:
                others[one.key] = one
    joined = [*others.values(), *(Member(name, values) for name, values in members.items())]
    joined.sort(key=lambda part: part.key)
    return joined[0] if len(joined) == 1 else kind(joined)


def _narrowest(parts: Sequence[Predicate]) -> Equality | None:
    """Of several equalities that all must hold the one that is true of the fewest events, by guess."""
    known = [part.equality for part in parts if part.equality is not None]
    return min(known, key=lambda one: (len(one[1]) > 0 and one[0] in _COMMON, len(one[1]), one[0]), default=None)


def _joined(parts: Sequence[Predicate]) -> Equality | None:
    """Of several predicates of which one must hold: an equality if all have one on the same attribute."""
    names: set[str] = set()
    values: set[str] = set()
    for part in parts:
        if part.equality is None:
            return None
        names.add(part.equality[0])
        values |= part.equality[1]
    return (names.pop(), frozenset(values)) if len(names) == 1 else None
