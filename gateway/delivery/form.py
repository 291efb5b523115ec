"""What a door gives to live delivery: how events look on its wire, and where the bytes go.

A **form** is pure. A **sink** is one subscriber's wire, written to synchronously. Subscribers
with equal forms that want the same events share a view: its blocks are made once, and the same
bytes object goes to every member's sink.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Literal, Protocol, TypeAlias

from gateway.delivery.handover import Gap
from gateway.errors import LinkspanError
from gateway.event import Event

Encode: TypeAlias = Callable[[Sequence[Event]], list[bytes]]
"""Events -> one part for each; what forms have in common."""

Overflow: TypeAlias = Literal["catch-up", "latest", "drop", "disconnect"]
"""What becomes of a subscriber whose sink is full.

`catch-up`: it gets every event, from the log, at its own pace. `latest`: once it takes more it
gets the newest event of each key that it missed. `drop`: it goes on with what comes then. Both
tell it of the gap. `disconnect`: it ends.
"""

EndCause: TypeAlias = Literal["deleted", "recreated", "limit", "closed", "overflow", "failed"]
"""`deleted`, `recreated`, `limit`, `closed` as in `outcome.EndReason`; `overflow`: the policy is
`disconnect`; `failed`: with the error."""


class Form(Protocol):
    """How events look on a wire. Pure: no clock, no state that another call could see.

    Everything that stands in the bytes is part of `key` (a subscription's identifier, a
    compression): forms with equal keys make equal bytes of equal input.
    """

    @property
    def key(self) -> Hashable: ...

    @property
    def encode(self) -> Encode:
        """Forms that have the same function share its results."""

    def block(self, parts: Sequence[bytes], cursors: Sequence[str], cursor: str) -> bytes:
        """The events of `parts`, at least one, as whole frames.

        `cursors[i]` resumes after `parts[i]` and costs a microsecond when it is asked for;
        `cursor` resumes after all of them.
        """

    def gap(self, gap: Gap, cursor: str | None) -> bytes:
        """The notice of a gap, as whole frames. `cursor` resumes after it; None: events follow at
        once, and their cursors do."""


class Sink(Protocol):
    """One subscriber's wire. Called on the event loop; `pause` and `resume` of its session say
    when it is full and when it has room again."""

    @property
    def write(self) -> Callable[[bytes], object]:
        """Takes whole frames, never blocks; best the transport's own method."""

    @property
    def bound(self) -> Callable[[int], object]:
        """From now on it is full once more than so many bytes wait: few while it catches up, whose
        blocks are its own; more at the live edge, whose blocks are shared."""

    def ended(self, cause: EndCause, error: LinkspanError | None) -> None:
        """Nothing more will be written. Called at most once, and not after `Session.close`."""
