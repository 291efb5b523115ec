"""The shorthand of the intelligence profile: `{symbol: AAPL, datatype: [signal, news], confidence: 0.8}`.

`symbol`, `datatype` and `qualitytier` are one text or a list of which one must be there; the
symbol of an event without the attribute is the last segment of its subject. `confidence` is the
least one. All that is given must be so. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from routing.filters.faults import fault, kind_of, text_of
from routing.filters.predicates import AtLeast, Member, Predicate, Symbol, number_of

#: Values in a list.
MOST_VALUES = 1000


def read_shorthand(written: Mapping[str, object], where: str) -> list[Predicate]:
    """The predicates of an object whose keys are all in SHORTHAND. Raises InvalidFilter."""
    return [SHORTHAND[name](value, f"{where}.{name}") for name, value in written.items()]


def _texts(value: object, at: str) -> frozenset[str]:
    if not isinstance(value, list | tuple | set | frozenset):
        return frozenset([text_of(value, at)])
    if not value:
        raise fault(at, "has at least one text")
    if len(value) > MOST_VALUES:
        raise fault(at, f"has {len(value)} texts; {MOST_VALUES} are the most")
    return frozenset(text_of(one, f"{at}[{place}]") for place, one in enumerate(value))


def _symbol(value: object, at: str) -> Predicate:
    return Symbol(_texts(value, at))


def _datatype(value: object, at: str) -> Predicate:
    return Member("datatype", _texts(value, at))


def _quality_tier(value: object, at: str) -> Predicate:
    return Member("qualitytier", _texts(value, at))


def _confidence(value: object, at: str) -> Predicate:
    least = number_of(value) if isinstance(value, str) else value
    if isinstance(least, bool) or not isinstance(least, int | float):
        raise fault(at, f"is a number from 0 to 1, the least one, not {kind_of(value)}")
    if not 0 <= least <= 1 or math.isnan(least):
        raise fault(at, "is from 0 to 1")
    return AtLeast("confidence", float(least))


SHORTHAND: Final[Mapping[str, Callable[[object, str], Predicate]]] = {
    "symbol": _symbol,
    "datatype": _datatype,
    "qualitytier": _quality_tier,
    "confidence": _confidence,
}
