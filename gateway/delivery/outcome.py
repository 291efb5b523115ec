"""What reading gives back: deliveries, pages, the end of a stream, and counters of all that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from gateway.delivery.handover import Counts, Gap
from gateway.event import Event

EndReason = Literal["deleted", "recreated", "closed", "limit"]


class EndOfStream(Exception):
    """The stream delivered all that it ever will.

    `deleted`, `recreated`: nothing is left to read, since the topics that the request names
    are gone (`recreated`: made anew, which is another topic). `limit`: the request's limit of
    events was reached. `closed`: this side ended it, the client may resume elsewhere.
    """

    def __init__(self, reason: EndReason) -> None:
        super().__init__(f"the stream ended: {reason}")
        self.reason: EndReason = reason


class Delivery(msgspec.Struct, eq=False):
    """Events in order per partition. The list is shared: do not change it.

    `cursors[i]` resumes after `events[i]` and is made when asked for; `cursor` resumes after
    the whole delivery. `gaps` come before the events.
    """

    events: list[Event]
    cursors: Sequence[str]
    cursor: str
    gaps: list[Gap]


class Page(msgspec.Struct, eq=False):
    """Up to `limit` events, per partition in log order, partitions merged by append time.

    `cursor` resumes after the page. `more`: it ended before the live edge was reached, at the
    limit or after `SCAN_SECONDS` of looking at events that do not match.
    """

    events: list[Event]
    cursor: str
    gaps: list[Gap]
    more: bool = False


class ReadStats(msgspec.Struct, eq=False):
    """Counters of all readers together."""

    events: int = 0
    deliveries: int = 0
    overflows: int = 0
    gaps: int = 0
    pages: int = 0
    handover: Counts = msgspec.field(default_factory=Counts)
