"""A page: a stream that ends at a number of events, a number of bytes, or the live edge."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from itertools import groupby

from gateway.delivery.handover import Gap
from gateway.delivery.outcome import EndOfStream, Page, joined
from gateway.delivery.stream import Stream
from gateway.event import Event

#: Bytes of events (data and attributes) at which a page ends early; one event may be larger.
PAGE_BYTES = 4 * 2**20
#: How long a page looks at events that do not match before it ends early, in seconds.
SCAN_SECONDS = 10.0
#: While a page waits, how often it looks whether what it keeps back is old enough, in seconds.
LOOK_SECONDS = 1.0


async def collect(stream: Stream, wait: float) -> Page:
    """What the stream has, up to its limits; without anything, wait up to `wait` seconds for it."""
    loop = asyncio.get_running_loop()
    until, scan_until = loop.time() + wait, loop.time() + SCAN_SECONDS
    parts: list[list[Event]] = []
    gaps: list[Gap] = []
    while not stream.full:
        try:
            delivery = await stream.known(max(until, scan_until))
        except EndOfStream:
            break  # deleted while it was read: the next request says so
        if delivery is not None:
            gaps += delivery.gaps
            parts.append(delivery.events)
        elif not stream.live or any(parts) or gaps or loop.time() >= until:
            break
        elif stream.holds:
            await stream.wait(min(until, loop.time() + LOOK_SECONDS))
            stream.look_again()
        else:
            await stream.wait(until)
    return Page(merged(parts), stream.cursor, joined(gaps), stream.full or not stream.live)


def merged(parts: Sequence[list[Event]]) -> list[Event]:
    """All events by append time, each partition's in its own order."""
    lanes: dict[tuple[str, int], list[Event]] = {}
    for part in parts:
        for lane, events in groupby(part, key=lambda event: (event.topic, event.partition)):
            lanes.setdefault(lane, []).extend(events)
    if len(lanes) == 1:
        return next(iter(lanes.values()))
    return list(heapq.merge(*lanes.values(), key=lambda event: event.timestamp_ms))
