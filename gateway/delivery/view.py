"""Views: subscribers that want the same events in the same form, as one.

A **target** is what several views select alike; its events are matched and encoded once. A
view's block is made once and the same bytes object is written to every member.

Members whose sink is full have left. Under the policies `latest` and `drop` they are `away`:
the view goes on to tell them what they miss, until they return.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

from gateway.address import Pattern
from gateway.delivery.cursor import BlockCursors, JoinedCursors
from gateway.delivery.form import Encode, Form
from gateway.delivery.handover import Gap
from gateway.event import Event

if TYPE_CHECKING:
    from gateway.delivery.session import Session

Write = Callable[[bytes], object]
Key = tuple[str, int, bytes | None]
#: What a kept event weighs beside its data, in bytes.
_EVENT_WEIGHT = 500


class Absence:
    """What a member misses while it is away. With `room` the newest event of each key is kept,
    as long as those have no more bytes; the oldest are given up first."""

    __slots__ = ("_bytes", "_kept", "_room", "missed")

    def __init__(self, room: int | None) -> None:
        self._room = room
        self._kept: OrderedDict[Key, Event] = OrderedDict()
        self._bytes = 0
        self.missed = 0

    def miss(self, events: Sequence[Event]) -> None:
        self.missed += len(events)
        if self._room is None:
            return
        for event in events:
            key = (event.topic, event.partition, event.key)
            replaced = self._kept.pop(key, None)
            if replaced is not None:
                self._bytes -= _weight(replaced)
            self._kept[key] = event
            self._bytes += _weight(event)
        while self._bytes > self._room and len(self._kept) > 1:
            self._bytes -= _weight(self._kept.popitem(last=False)[1])

    def kept(self) -> list[Event]:
        """In log order within a partition."""
        return list(self._kept.values())


class View:
    """The members of one form over one target."""

    __slots__ = ("away", "bytes", "deliveries", "events", "form", "members", "target")

    def __init__(self, target: Target, form: Form) -> None:
        self.target, self.form = target, form
        self.members: dict[Session, Write] = {}
        self.away: dict[Session, Absence] = {}
        self.events = self.deliveries = self.bytes = 0

    @property
    def empty(self) -> bool:
        return not self.members and not self.away

    def miss(self, collected: Collected) -> None:
        """Those away miss these events."""
        events = collected.events()
        for absence in self.away.values():
            absence.miss(events)

    def block(self, collected: Collected, cursor: str) -> bytes:
        """The events as one block of bytes."""
        parts = collected.encoded(self.form.encode)
        self.events += len(parts)
        return self.form.block(parts, collected.cursors(), cursor)

    def notice(self, gaps: Iterable[Gap], cursor: str | None) -> bytes:
        """The notices of gaps."""
        return b"".join(self.form.gap(gap, cursor) for gap in gaps)


class Target:
    """What views select alike: a set of patterns within one scope. `members`: of all its views."""

    __slots__ = ("collected", "members", "patterns", "places", "views")

    def __init__(self, patterns: tuple[Pattern, ...]) -> None:
        self.patterns = patterns
        self.views: dict[Hashable, View] = {}
        self.members = 0
        #: What the flush under way brings, and the wanted places of the slice that is being looked at.
        self.collected = Collected()
        self.places: list[int] | None = None

    def view(self, form: Form) -> View:
        """The view of a form, made when there is none."""
        view = self.views.get(form.key)
        if view is None:
            view = self.views[form.key] = View(self, form)
        return view


class Matched:
    """A slice of a flush, encoded as a whole when targets want most of it. `wanted`: the events
    that some target wants, counted for each."""

    __slots__ = ("_parts", "cursors", "events", "wanted")

    def __init__(self, events: list[Event], cursors: BlockCursors) -> None:
        self.events, self.cursors = events, cursors
        self.wanted = 0
        self._parts: dict[Encode, list[bytes]] = {}

    def parts(self, encode: Encode, places: list[int] | None) -> list[bytes]:
        """Those of the events at some places, or of all."""
        if places is not None and self.wanted * 2 < len(self.events):
            return encode([self.events[place] for place in places])
        parts = self._parts.get(encode)
        if parts is None:
            parts = self._parts[encode] = encode(self.events)
        return parts if places is None else [parts[place] for place in places]


class Collected:
    """The events of a flush that one target wants."""

    __slots__ = ("_chosen", "_encoded", "count")

    def __init__(self) -> None:
        self._chosen: list[tuple[Matched, list[int] | None]] = []
        self._encoded: dict[Encode, list[bytes]] = {}
        self.count = 0

    def add(self, matched: Matched, places: list[int] | None) -> None:
        """Wanted events of a slice, by their places; None: all of them."""
        self._chosen.append((matched, places))
        self.count += len(matched.events) if places is None else len(places)

    def events(self) -> list[Event]:
        return [event for matched, places in self._chosen for event in _at(matched, places)]

    def cursors(self) -> Sequence[str]:
        """The cursors after each of the events."""
        parts = [
            matched.cursors if places is None else matched.cursors.of(_at(matched, places))
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


def _at(matched: Matched, places: list[int] | None) -> list[Event]:
    return matched.events if places is None else [matched.events[place] for place in places]


def _weight(event: Event) -> int:
    return len(event.value or b"") + _EVENT_WEIGHT
