"""A topic's schema: the setting, and what becomes of events that are not what it says.

    reject   the whole publish is refused, with a fault for each event
    mark     the event is stored, with the reason in its attribute `schemaerror`
    divert   the event is stored in another topic instead, with the reason likewise

A publisher whose events were diverted is answered like any other once all are stored: its answer
has null in place of their positions, and tells of each where it went and why (`Published`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from gateway.bus.contract import Position
from gateway.errors import Fault, InvalidEvent, LinkspanError, OutcomeUnknown
from gateway.event import Event

OnInvalid: TypeAlias = Literal["reject", "mark", "divert"]
ON_INVALID: tuple[OnInvalid, ...] = ("reject", "mark", "divert")
#: The attribute that holds the reason. A publisher's own value is dropped on topics with a schema.
REASON = "schemaerror"
MAX_FAULTS = 20


class TopicSchema(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A topic's setting `schema`. Without a name the topic has none."""

    name: str = ""
    version: int | Literal["latest"] = "latest"
    on_invalid: OnInvalid = "reject"
    divert_to: str | None = None

    def faults(self, topic: str) -> list[Fault]:
        """What is wrong with it by itself."""
        if self.on_invalid == "divert" and self.divert_to is None:
            return [Fault("schema.divert_to", "names the topic that takes the invalid events: it is missing")]
        if self.on_invalid != "divert" and self.divert_to is not None:
            return [Fault("schema.divert_to", "is for on_invalid: divert alone")]
        if self.divert_to == topic:
            return [Fault("schema.divert_to", "must be another topic")]
        return []


class Diverted(msgspec.Struct, frozen=True):
    """An event that went to another topic: `index` is its place in the publish."""

    index: int
    topic: str
    position: Position
    reason: str


class Published(list[Position | None]):
    """Positions of a publish of which some events were diverted; None stands for those."""

    __slots__ = ("diverted",)

    def __init__(self, positions: Sequence[Position | None], diverted: Sequence[Diverted]) -> None:
        super().__init__(positions)
        self.diverted = tuple(diverted)


Outcome: TypeAlias = Sequence[Position | None] | LinkspanError
Done: TypeAlias = Callable[[Outcome], None]


def published_members(positions: Sequence[Position | None]) -> dict[str, Any]:
    """What every door answers for a publish that was stored: `count`, `positions`, and `diverted` where some were."""
    members: dict[str, Any] = {"count": len(positions), "positions": positions}
    if isinstance(positions, Published):
        members["diverted"] = positions.diverted
    return members


def refusal(reasons: dict[int, str]) -> InvalidEvent:
    """The refusal of a publish for events that are not what the schema says."""
    faults = [Fault(f"events[{index}].data", reason, index) for index, reason in list(reasons.items())[:MAX_FAULTS]]
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return InvalidEvent(
        f"the topic's schema refuses this: {faults[0].where} {faults[0].message}{more}", faults=tuple(faults)
    )


def mark(events: Sequence[Event], reasons: dict[int, str]) -> None:
    """Write the reasons into the events."""
    for index, reason in reasons.items():
        events[index].attributes[REASON] = reason


class Division:
    """One publish in two topics: `done` is called once, when both parts are answered."""

    def __init__(self, count: int, reasons: dict[int, str], topic: str, done: Done) -> None:
        self._reasons, self._topic, self._done = reasons, topic, done
        self._good = [index for index in range(count) if index not in reasons]
        self._positions: list[Position | None] = [None] * count
        self._diverted: list[Diverted] = []
        self._errors: list[LinkspanError] = []
        self._open = 2 if self._good else 1

    @property
    def good(self) -> list[int]:
        """Places of the events that stay."""
        return self._good

    def stored(self, outcome: Outcome) -> None:
        """The answer for the events that stay."""
        if isinstance(outcome, LinkspanError):
            self._errors.append(outcome)
            outcome = outcome.detail.get("positions") or ()
        for index, position in zip(self._good, outcome, strict=False):
            self._positions[index] = position
        self._part()

    def diverted(self, outcome: Outcome) -> None:
        """The answer for the others."""
        if isinstance(outcome, LinkspanError):
            self._errors.append(outcome)
            outcome = outcome.detail.get("positions") or ()
        for (index, reason), position in zip(self._reasons.items(), outcome, strict=False):
            if position is not None:
                self._diverted.append(Diverted(index, self._topic, position, reason))
        self._part()

    def _part(self) -> None:
        self._open -= 1
        if self._open:
            return
        if not self._errors:
            self._done(Published(self._positions, self._diverted))
            return
        error = self._errors[0]
        known = self._diverted or any(position is not None for position in self._positions)
        if known or any(isinstance(one, OutcomeUnknown) for one in self._errors):
            told = f"not all of this is known to be stored: {error.message}"
            error = OutcomeUnknown(told, positions=self._positions, diverted=self._diverted)
        self._done(error)
