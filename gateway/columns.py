"""Events of one shape as columns: what a batch on its way in is, until somebody looks at an event.

A publisher's batch is decoded, checked and encoded column by column; making 500 objects and
dicts on the way would cost more than all of that, and nobody needs them unless a subscriber
follows the topic. As soon as one event was asked for, the events are the truth, since they
may be changed then, and the columns are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, cast, overload

from gateway.event import Event
from routing.attributes import Value

Column = str | list[Any]
"""A value that all have, or one for each."""


class Columns(Sequence[Event]):
    """Valid events that all have the attributes `values`, in that order; `datas` is None for no data.

    The names were checked to be attribute names.
    """

    __slots__ = ("_count", "_events", "datas", "values")

    def __init__(self, values: dict[str, Column], datas: list[bytes | None] | None, count: int) -> None:
        self.values, self.datas, self._count = values, datas, count
        self._events: list[Event] | None = None

    @property
    def intact(self) -> bool:
        """Whether the columns are still the truth."""
        return self._events is None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events())

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return self.events()[index]

    def __eq__(self, other: object) -> bool:
        return self.events() == (other.events() if isinstance(other, Columns) else other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def events(self) -> list[Event]:
        """The events as objects, made once."""
        if self._events is None:
            datas: list[Any] = self.datas if self.datas is not None else [None] * self._count
            columns = [[value] * self._count if type(value) is str else value for value in self.values.values()]
            self._events = list(map(Event, _rows(tuple(self.values))(zip(*columns, strict=True)), datas))
            self.values, self.datas = {}, None
        return self._events

    def key_values(self) -> Sequence[Any]:
        """What each event's default key is made of; None where there is nothing."""
        column = self.values.get("partitionkey", self.values.get("subject"))
        return column if isinstance(column, list) else [column] * self._count

    def take(self, places: Sequence[int]) -> Sequence[Event]:
        """Some of them, in the order of the places."""
        if self._events is not None:
            return [self._events[place] for place in places]
        values = {
            name: value if type(value) is str else list(map(cast(list[Any], value).__getitem__, places))
            for name, value in self.values.items()
        }
        datas = None if self.datas is None else list(map(self.datas.__getitem__, places))
        return Columns(values, datas, len(places))


def take(events: Sequence[Event], places: Sequence[int]) -> Sequence[Event]:
    """Some of the events, in the order of the places, without making objects of columns."""
    if len(places) == len(events):
        return events
    return events.take(places) if isinstance(events, Columns) else [events[place] for place in places]


def data_at(events: Sequence[Event], place: int) -> bytes | None:
    """The data of one event, without making objects of columns."""
    if isinstance(events, Columns) and events.intact:
        return None if events.datas is None else events.datas[place]
    return events[place].value


@lru_cache(256)
def _rows(names: tuple[str, ...]) -> Callable[[Any], list[dict[str, Value]]]:
    """Rows -> attribute dicts, in generated code: a display of literal keys is the quickest way to a dict."""
    # The names were matched against the rule for attribute names: nothing else gets into the source.
    row = ", ".join(f"v{place}" for place in range(len(names)))
    entries = ", ".join(f"{name!r}: v{place}" for place, name in enumerate(names))
    return eval(f"lambda rows: [{{{entries}}} for {row}, in rows]", {})  # type: ignore[no-any-return]
