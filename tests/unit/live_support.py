"""Live delivery over the bus in memory, with sinks that remember and can be full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from auth.principal import ANONYMOUS
from gateway.config.model import Limits
from gateway.delivery.form import EndCause, Overflow
from gateway.delivery.handover import Gap
from gateway.delivery.live import Views
from gateway.delivery.refine import Refinement
from gateway.delivery.session import Session
from gateway.errors import LinkspanError
from gateway.event import Event
from routing.filters.filter import compile_filters
from routing.transforms.transform import compile_transform
from tests.unit.reading_support import Rig, a_rig, request

_encode, _decode = msgspec.json.encode, msgspec.json.decode


def encode_places(events: Sequence[Event]) -> list[bytes]:
    """[topic, partition, offset, id] for each event."""
    return [_encode([each.topic, each.partition, each.offset, each.attributes["id"]]) for each in events]


class LineForm:
    """A line of JSON for each event or gap; `key` is part of no line."""

    encode = staticmethod(encode_places)

    def __init__(self, key: Hashable = "lines") -> None:
        self.key = key
        self.blocks = 0

    def block(self, parts: Sequence[bytes], cursors: Sequence[str], cursor: str) -> bytes:
        self.blocks += 1
        assert len(parts) == len(cursors)
        assert cursors[-1] == cursor or cursors[-1]
        return b"".join(b"%b %b\n" % (part, at.encode()) for part, at in zip(parts, cursors, strict=True))

    def gap(self, gap: Gap, cursor: str | None) -> bytes:
        return _encode({"gap": gap, "cursor": cursor}) + b"\n"


class Place(msgspec.Struct, frozen=True):
    topic: str
    partition: int
    offset: int
    id: str
    cursor: str


class ListSink:
    """Remembers what it gets. With `capacity` it is full once it holds so many bytes, and tells
    its session from within `write`, as a transport does."""

    def __init__(self, capacity: int | None = None) -> None:
        self.blocks: list[bytes] = []
        self.capacity, self.held = capacity, 0
        self.session: Session | None = None
        self.end: tuple[EndCause, LinkspanError | None] | None = None
        self.broken = False
        self.written: Callable[[], None] = lambda: None
        self.bounds: list[int] = []

    def write(self, data: bytes) -> None:
        if self.broken:
            raise RuntimeError("the transport is closed")
        assert self.end is None, "written to after its end"
        self.blocks.append(data)
        self.held += len(data)
        self.written()
        over = self.capacity is not None and self.held > self.capacity
        if over and self.session is not None and not self.session.paused:
            self.session.pause()

    def bound(self, size: int) -> None:
        self.bounds.append(size)

    def ended(self, cause: EndCause, error: LinkspanError | None) -> None:
        assert self.end is None
        self.end = (cause, error)

    def drained(self) -> None:
        """The client has taken everything."""
        self.held = 0
        if self.session is not None and self.session.paused:
            self.session.resume()

    @property
    def got(self) -> list[Place | Gap]:
        """Events and gaps in the order in which they came."""
        found: list[Place | Gap] = []
        for line in b"".join(self.blocks).splitlines():
            if line.startswith(b"{"):
                found.append(msgspec.convert(_decode(line)["gap"], Gap))
            else:
                place, _, cursor = line.rpartition(b" ")
                topic, partition, offset, id = _decode(place)
                found.append(Place(topic, partition, offset, id, cursor.decode()))
        return found

    @property
    def events(self) -> list[Place]:
        return [each for each in self.got if isinstance(each, Place)]

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.events]

    @property
    def gaps(self) -> list[Gap]:
        return [each for each in self.got if isinstance(each, Gap)]


class LiveRig:
    """`bus` and `reader` as in Rig, with views on top."""

    def __init__(self, rig: Rig, limits: Limits) -> None:
        self.rig, self.bus, self.hub, self.metrics = rig, rig.bus, rig.hub, rig.metrics
        self.topic, self.put = rig.topic, rig.put
        self.views = Views(rig.reader, rig.hub, limits, rig.metrics)

    async def subscribe(
        self,
        *sources: str,
        start: str = "latest",
        limit: int | None = None,
        overflow: Overflow = "catch-up",
        capacity: int | None = None,
        form: LineForm | None = None,
        begin: bool = True,
        filters: Sequence[Mapping[str, Any]] = (),
        transform: Sequence[Mapping[str, Any]] = (),
    ) -> ListSink:
        sink = ListSink(capacity)
        wanted = request(sources, start, limit)
        if filters or transform:
            refinement = Refinement(
                compile_filters(filters) if filters else None,
                compile_transform(transform) if transform else None,
                lambda event, failure: None,
            )
            wanted = msgspec.structs.replace(wanted, refinement=refinement)
        sink.session = await self.views.subscribe(wanted, ANONYMOUS, form or LineForm(), sink, overflow)
        if begin:
            sink.session.begin()
        return sink


@asynccontextmanager
async def a_live_rig(*, batch_events: int = 1000, limits: Limits | None = None) -> AsyncIterator[LiveRig]:
    limits = limits or Limits()
    async with a_rig(batch_events=batch_events, limits=limits) as rig:
        live = LiveRig(rig, limits)
        try:
            yield live
        finally:
            await live.views.close()


def session_of(sink: ListSink) -> Session:
    assert sink.session is not None
    return sink.session


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for a condition; AssertionError when it does not come."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen"
        await asyncio.sleep(0.001)
