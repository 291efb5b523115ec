"""The dialects in which filters are written, read into predicates. Pure.

Those of the CloudEvents Subscriptions API 1.0 (3.2.4.1): `exact`, `prefix`, `suffix`, `all`, `any`,
`not`, `sql`; our `expr`; and the shorthand. A text in the place of a filter is an `expr`. Whatever
is wrong is refused with its place, such as `filters[1].any[0].exact.type`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from routing.attributes import name_fault
from routing.errors import InvalidFilter
from routing.filters.compile import Expression, compile_cesql, compile_expr
from routing.filters.faults import fault, kind_of, suggestion, text_of
from routing.filters.predicates import Affix, Formula, Member, Predicate, all_of, any_of, not_of
from routing.filters.shorthand import SHORTHAND, read_shorthand

#: Filters in one list, and levels of `all`, `any` and `not`.
MOST_FILTERS = 100
MOST_LEVELS = 32
#: Filters in all the lists of one filter together.
MOST_PARTS = 1000


class Part:
    """A filter as it was written: its place, its text, and what it means; `parts` are those inside."""

    __slots__ = ("parts", "predicate", "where", "written")

    def __init__(self, where: str, written: object, predicate: Predicate, parts: Sequence[Part] = ()) -> None:
        self.where, self.written, self.predicate, self.parts = where, written, predicate, parts


class _Reader:
    """Reads the filters of one subscription."""

    def __init__(self) -> None:
        self._left = MOST_PARTS

    def list(self, filters: object, where: str, level: int) -> list[Part]:
        if isinstance(filters, str | bytes | Mapping) or not isinstance(filters, Sequence):
            raise fault(where, f"is a list of filters, not {kind_of(filters)}")
        if len(filters) > MOST_FILTERS:
            raise fault(where, f"has {len(filters)} filters; {MOST_FILTERS} are the most")
        return [self.one(one, f"{where}[{place}]", level) for place, one in enumerate(filters)]

    def one(self, written: object, where: str, level: int = 0) -> Part:
        self._left -= 1
        if self._left < 0:
            raise fault(where, f"there are more than {MOST_PARTS} filters, those inside others counted")
        if isinstance(written, str):
            return Part(where, written, _expr(written, where))
        if not isinstance(written, Mapping):
            raise fault(where, f"is a filter such as {{'exact': {{'type': 'x'}}}}, not {kind_of(written)}")
        if written and set(written) <= SHORTHAND.keys():
            return Part(where, written, all_of(read_shorthand(written, where)))
        dialect = _dialect(written, where)
        inside, at = written[dialect], f"{where}.{dialect}"
        if dialect in _LEAVES:
            return Part(where, written, _LEAVES[dialect](inside, at))
        if level >= MOST_LEVELS:
            raise fault(at, f"is nested more than {MOST_LEVELS} levels deep")
        if dialect == "not":
            part = self.one(inside, at, level + 1)
            return Part(where, written, not_of(part.predicate), [part])
        parts = self.list(inside, at, level + 1)
        if not parts:
            raise fault(at, "has at least one filter")
        join = all_of if dialect == "all" else any_of
        return Part(where, written, join(part.predicate for part in parts), parts)


def read_filters(filters: object, where: str) -> list[Part]:
    """The filters of one subscription. Raises InvalidFilter for the first fault, with its place."""
    return _Reader().list(filters, where, 0)


def read_filter(written: object, where: str) -> Part:
    """One filter. Raises InvalidFilter for the first fault, with its place."""
    return _Reader().one(written, where)


def _dialect(written: Mapping[object, object], where: str) -> str:
    for key in written:
        if not isinstance(key, str):
            raise fault(where, f"has the key {key!r}, which is not a text")
        if key not in _DIALECTS and key not in SHORTHAND:
            hint = suggestion(key, [*_DIALECTS, *SHORTHAND])
            raise fault(f"{where}.{key[:80]}", f"is not a dialect of filters{hint}")
    if len(written) != 1:
        named = " and ".join(map(str, written)) or "nothing"
        raise fault(where, f"has one dialect, not {named}; write each as a filter of its own, or put them into 'all'")
    (dialect,) = written
    return str(dialect)


def _pairs(inside: object, at: str) -> list[tuple[str, str]]:
    """The attributes of a map and their texts."""
    if not isinstance(inside, Mapping):
        raise fault(at, f"is an object of attributes and texts, not {kind_of(inside)}")
    if not inside:
        raise fault(at, "names at least one attribute")
    if len(inside) > MOST_FILTERS:
        raise fault(at, f"names {len(inside)} attributes; {MOST_FILTERS} are the most")
    return [(_name(name, at), text_of(value, f"{at}.{name}")) for name, value in inside.items()]


def _name(name: object, at: str) -> str:
    if not isinstance(name, str):
        raise fault(at, f"has the key {name!r}, which is not a text")
    wrong = name_fault(name)
    if wrong is None:
        return name
    hint = ""
    if name_fault(name.lower()) is None:
        hint = f"; did you mean {name.lower()!r}?"
    elif name.startswith("data"):
        hint = "; what is in the data is asked by an 'expr'"
    raise fault(f"{at}.{name[:80]}", f"{wrong}{hint}")


def _exact(inside: object, at: str) -> Predicate:
    return all_of(Member(name, frozenset([text])) for name, text in _pairs(inside, at))


def _prefix(inside: object, at: str) -> Predicate:
    return all_of(Affix(name, text, end=False) for name, text in _pairs(inside, at))


def _suffix(inside: object, at: str) -> Predicate:
    return all_of(Affix(name, text, end=True) for name, text in _pairs(inside, at))


def _sql(inside: object, at: str) -> Predicate:
    return _formula(compile_cesql, inside, at)


def _expr(inside: object, at: str) -> Predicate:
    return _formula(compile_expr, inside, at)


def _formula(compiled: Callable[..., Expression], inside: object, at: str) -> Predicate:
    if not isinstance(inside, str):
        raise fault(at, f"is a text, not {kind_of(inside)}")
    try:
        return Formula(compiled(inside, boolean=True))
    except InvalidFilter as error:
        raise InvalidFilter(error.message, kind=error.kind, position=error.position, where=at) from None


_LEAVES: Final[Mapping[str, Callable[[object, str], Predicate]]] = {
    "exact": _exact,
    "prefix": _prefix,
    "suffix": _suffix,
    "sql": _sql,
    "expr": _expr,
}
_DIALECTS: Final = (*_LEAVES, "all", "any", "not")
