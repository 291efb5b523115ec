"""Views: subscribers that want the same events in the same form, as one.

A view's block is made once and the same bytes object is written to every member.

Members whose sink is full have left. Under the policies `latest` and `drop` they are `away`:
the view goes on to tell them what they miss, until they return.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from gateway.delivery.form import Form
from gateway.delivery.handover import Gap
from gateway.delivery.outbox import size_of
from gateway.delivery.window import EVENT_WEIGHT
from gateway.event import Event

if TYPE_CHECKING:
    from gateway.delivery.matching import Collected, Target
    from gateway.delivery.session import Session

Write = Callable[[bytes], object]
Key = tuple[str, int, bytes | None]


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
                self._bytes -= size_of(replaced) + EVENT_WEIGHT
            self._kept[key] = event
            self._bytes += size_of(event) + EVENT_WEIGHT
        while self._bytes > self._room and len(self._kept) > 1:
            self._bytes -= size_of(self._kept.popitem(last=False)[1]) + EVENT_WEIGHT

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
