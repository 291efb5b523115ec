"""Which of the published events a subscriber is to get, known before a run. Pure.

Event `number` has the subject `s/{number % views}` and a price that runs through PRICES values, in
a mixed order that repeats itself. With `views` 1 everyone gets everything; with more, subscriber
i one subject. With `filters` everyone subscribes to the topic, and subscriber i lets a tenth of
the prices through, a band that begins elsewhere for each of STEPS in turn.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from typing import Any

from tests.bench.stream import Broken

PRICES, BAND, STEPS = 1000, 100, 500
#: Has no factor in common with PRICES, so that each price comes once in PRICES events.
_MIXED = 617
_LEAST = 1000


class Share:
    """See the module."""

    def __init__(self, views: int = 1, *, filters: bool = False) -> None:
        if filters and views != 1:
            raise ValueError("filters are asked for with one view")
        self.views, self.filters = views, filters

    def subject(self, index: int) -> str:
        """What a subscriber subscribes to: everything, if there is one view."""
        return "**" if self.views == 1 else f"s/{index % self.views}"

    def filter(self, index: int) -> list[dict[str, Any]]:
        """Its filters. No index helps with them, and no two of STEPS subscribers have the same."""
        if not self.filters:
            return []
        least = _LEAST + _begin(index)
        return [{"expr": f"data.price > {least} AND data.price <= {least + BAND}"}]

    def price(self, number: int) -> float | None:
        """Of an event; all have as many digits."""
        return _LEAST + number * _MIXED % PRICES + 0.5 if self.filters else None

    def expected(self, index: int, sent: int) -> int:
        """How many of the first `sent` events are for a subscriber."""
        if not self.filters:
            return len(range(index % self.views, sent, self.views))
        rounds, rest = divmod(sent, PRICES)
        return rounds * BAND + bisect_left(_places(_begin(index)), rest)

    def rank(self, index: int, number: int) -> int:
        """The place of an event among those for a subscriber, from 0. Raises Broken if it is not for it."""
        rank = self.expected(index, number)
        if self.expected(index, number + 1) == rank:
            raise Broken(f"event {number} is not for subscriber {index}")
        return rank

    def reached(self, got: list[int]) -> int:
        """How many events everyone has, of all that were published; with shares of them on average."""
        if self.filters:
            return sum(got) * PRICES // (BAND * len(got))
        return min(got) if self.views == 1 else sum(got) * self.views // len(got)


def _begin(index: int) -> int:
    return index % STEPS * (PRICES - BAND) // STEPS


@lru_cache(STEPS)
def _places(begin: int) -> list[int]:
    """The numbers below PRICES whose price is in the band, in order."""
    return [number for number in range(PRICES) if begin <= number * _MIXED % PRICES < begin + BAND]
