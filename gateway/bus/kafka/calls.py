"""An append while it is under way: one call, whose events may go to several partitions.

Pure bookkeeping. A call ends when every event of it is stored, refused, or unknown; its result
says what the contract asks for (see `Bus.append`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.bus.contract import Position
from gateway.bus.records import encoded_size
from gateway.errors import BusUnavailable, Fault, LinkspanError, OutcomeUnknown, TooLarge
from gateway.event import Event


class Call:
    """One `append`. `left` counts the events whose fate is open, `weight` its encoded bytes."""

    __slots__ = ("deadline", "events", "failure", "future", "left", "positions", "stored", "topic", "unknown", "weight")

    def __init__(
        self, topic: str, events: Sequence[Event], deadline: float, future: asyncio.Future[Sequence[Position]]
    ) -> None:
        self.topic, self.events, self.deadline, self.future = topic, events, deadline, future
        self.positions: list[Position | None] = [None] * len(events)
        self.left = len(events)
        self.stored = 0
        self.unknown = 0
        self.failure: LinkspanError | None = None
        self.weight = 0

    def fail(self, count: int, error: LinkspanError) -> None:
        """`count` of its events are not stored, or it is not known (then an OutcomeUnknown)."""
        if isinstance(error, OutcomeUnknown):
            self.unknown += count
        if self.failure is None or isinstance(error, OutcomeUnknown):
            self.failure = error
        self.settle(count)

    def store(self, count: int) -> None:
        """`count` of its events are stored, their positions set."""
        self.stored += count
        self.settle(count)

    def settle(self, count: int) -> None:
        self.left -= count
        if self.left == 0 and not self.future.done():
            if self.failure is None:
                self.future.set_result(self.positions)  # type: ignore[arg-type]  # all are set now
            else:
                self.future.set_exception(self.verdict(self.failure))

    def give_up(self, error: LinkspanError) -> None:
        """Answer now; what comes later changes nothing any more."""
        if not self.future.done():
            self.future.set_exception(self.verdict(error))

    def verdict(self, error: LinkspanError) -> LinkspanError:
        """The error to raise: OutcomeUnknown as soon as a part is stored or may be."""
        if not self.stored and not self.unknown and not isinstance(error, OutcomeUnknown):
            return error
        if self.stored:
            message = f"only {self.stored} of {len(self.events)} events are known to be stored: {error.message}"
        else:
            message = error.message
        return OutcomeUnknown(message, faults=error.faults, positions=list(self.positions))


def too_large(events: Sequence[Event], limit: int) -> TooLarge:
    """Say which of the events are above the topic's limit."""
    places = [place for place, event in enumerate(events) if encoded_size(event) > limit]
    message = f"is larger than the topic's limit of {limit} bytes"
    faults = tuple(Fault(f"events[{place}]", message, place) for place in places[:20])
    return TooLarge(f"of {len(events)} events {len(places)} cannot be stored: larger than {limit} bytes", faults=faults)


def unavailable(why: str) -> BusUnavailable:
    """Nothing of the append was stored."""
    return BusUnavailable(f"not stored: {why}")
