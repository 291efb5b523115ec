"""An append while it is under way: one call, cut into a part for each partition.

Pure bookkeeping. A call ends when every event of it is stored, refused, or unknown; its result
says what the contract asks for (see `Bus.append`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from gateway.bus.contract import Position
from gateway.bus.records import encoded_size
from gateway.errors import BusUnavailable, Fault, LinkspanError, OutcomeUnknown, TooLarge
from gateway.event import Event, Headers, canonical

#: What an attribute costs beside its text: lengths, the `ce_` and the name, taken generously.
_PER_ATTRIBUTE = 16


class Call:
    """One `append`. `left` counts the events whose fate is open."""

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


class Part:
    """The events of a call that go to one partition: `places` in the call, `at` the next to send."""

    __slots__ = ("at", "call", "places", "weight")

    def __init__(self, call: Call, places: Sequence[int], weight: int) -> None:
        self.call, self.places, self.weight = call, places, weight
        self.at = 0

    @property
    def rest(self) -> int:
        return len(self.places) - self.at


class Slice:
    """A run of a part's events inside a batch."""

    __slots__ = ("part", "start", "stop")

    def __init__(self, part: Part, start: int, stop: int) -> None:
        self.part, self.start, self.stop = part, start, stop


def weigh(events: Sequence[Event], limit: int) -> int:
    """About how many bytes the events take encoded. Raises TooLarge for those above `limit`.

    Sizing exactly costs as much as encoding, so only events that come near the limit are.
    """
    total = 0
    near = limit // 8
    faults: list[Fault] = []
    for place, event in enumerate(events):
        raw = event.raw
        if type(raw) is dict:
            try:
                size = len("".join(raw.values()))  # type: ignore[arg-type]  # see below
            except TypeError:
                size = sum(len(canonical(value)) for value in raw.values())
        else:
            size = sum(len(name) + len(value or b"") for name, value in cast(Headers, raw))
        size += _PER_ATTRIBUTE * len(raw)
        if event.key is not None:
            size += len(event.key)
        if event.value is not None:
            size += len(event.value)
        # An upper bound in bytes is 8 times this: UTF-8, and a subject that is also the key.
        if size > near and encoded_size(event) > limit:
            faults.append(Fault(f"events[{place}]", f"is larger than the topic's limit of {limit} bytes", place))
        total += size
    if faults:
        message = f"{len(faults)} of {len(events)} events are larger than the topic's limit of {limit} bytes"
        raise TooLarge(message, faults=tuple(faults[:20]))
    return total


def unavailable(why: str) -> BusUnavailable:
    """Nothing of the append was stored."""
    return BusUnavailable(f"not stored: {why}")
