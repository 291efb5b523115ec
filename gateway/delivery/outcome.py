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


class Slice(msgspec.Struct, eq=False, gc=False):
    """The part of a delivery that is of one partition. `newest_ms`: the append time of its last batch."""

    topic: str
    events: list[Event]
    cursors: Sequence[str]
    newest_ms: int


class Delivery(msgspec.Struct, eq=False):
    """Events in order per partition. The list is shared: do not change it.

    `cursors[i]` resumes after `events[i]` and is made when asked for; `cursor` resumes after
    the whole delivery. `gaps` come before the events. `slices` are the same events by partition.
    """

    events: list[Event]
    cursors: Sequence[str]
    cursor: str
    gaps: list[Gap]
    slices: list[Slice] = []


class Page(msgspec.Struct, eq=False):
    """Up to `limit` events, per partition in log order, partitions merged by append time.

    `cursor` resumes after the page. `more`: it ended before the live edge was reached: at the
    limit, at PAGE_BYTES, or after SCAN_SECONDS of looking at events that do not match (see
    `gateway.delivery.paging`).
    """

    events: list[Event]
    cursor: str
    gaps: list[Gap]
    more: bool = False


def joined(gaps: Sequence[Gap]) -> list[Gap]:
    """The gaps, those as one that follow on each other in a partition for the same reason."""
    found: list[Gap] = []
    latest: dict[tuple[str, int], int] = {}
    for gap in gaps:
        lane = (gap.topic, gap.partition)
        before = found[latest[lane]] if lane in latest else None
        if before is not None and _goes_on(before, gap):
            found[latest[lane]] = Gap(*lane, before.from_offset, gap.to_offset, gap.reason)
        else:
            latest[lane] = len(found)
            found.append(gap)
    return found


def _goes_on(before: Gap, gap: Gap) -> bool:
    # An empty gap says that nobody knows how many events are missing: it stays as it is.
    return gap.reason == before.reason and before.from_offset != before.to_offset == gap.from_offset


class ReadStats(msgspec.Struct, eq=False):
    """Counters of all readers together."""

    events: int = 0
    deliveries: int = 0
    overflows: int = 0
    gaps: int = 0
    pages: int = 0
    handover: Counts = msgspec.field(default_factory=Counts)
