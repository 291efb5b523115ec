"""The vector of what was delivered, and its cursors. Pure; one for each reader."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.delivery.cursor import (
    COARSE,
    EPOCH,
    FIRST,
    MAX_HEAD,
    NAME,
    TIME_MARGIN,
    BlockCursors,
    Cursor,
    Order,
    Prefix,
    TopicMark,
    enclose,
    epoch_hash,
    lane_tag,
    number,
    topic_hash,
)
from gateway.delivery.handover import Gap
from gateway.delivery.sweep import Spot, Swept
from gateway.event import Event

#: Above this estimate a reader goes coarse for good, before its cursors would be too long.
_COARSE_FROM = 2_800


class _Topic:
    """The part of the vector that belongs to one topic."""

    __slots__ = ("encoded", "epoch", "hash", "name", "spots")

    def __init__(self, topic: str, epoch: str) -> None:
        self.name, self.epoch, self.hash = topic_hash(topic), epoch, epoch_hash(epoch)
        self.spots: list[Spot] = []
        self.encoded: bytes | None = None

    def add(self, topic: str, offset: int, newest_ms: int) -> Spot:
        partition = len(self.spots)
        tag = lane_tag(topic, self.epoch, partition)
        spot = Spot((self.name, partition), self.hash, tag, offset, newest_ms)
        self.spots.append(spot)
        self.encoded = None
        return spot

    def at_same(self, other: _Topic) -> bool:
        return self.epoch == other.epoch and [s.offset for s in self.spots] == [s.offset for s in other.spots]

    def encode(self) -> bytes:
        if self.encoded is None:
            self.encoded = self.encode_without(None)
        return self.encoded

    def encode_without(self, active: Spot | None) -> bytes:
        """The active lane's offset stands at the cursor's end."""
        numbers = [b"\0" if spot is active else number(spot.offset) for spot in self.spots]
        return b"".join((self.name, self.hash, number(len(numbers)), *numbers))


class CursorWriter:
    """Lanes of a topic are added in the order of their numbers. Offsets only grow, except by
    `seek`. Append times, in milliseconds, matter to coarse cursors (see `gateway.delivery.sweep`).
    """

    def __init__(self, wild: bool = False) -> None:
        self._wild = wild
        self._topics: dict[str, _Topic] = {}
        self._active: tuple[str, Spot] | None = None
        self._lanes = 0
        self._prefix: tuple[Spot | None, int, Prefix] | None = None
        self._after, self._before, self._place = 0, 0, FIRST
        self._swept: Swept | None = None

    def begin(self, after_ms: int, before_ms: int, place: Order = FIRST) -> None:
        """The times that lanes to be added stand by: `after_ms`, and `before_ms` before the place."""
        self._after, self._before, self._place = after_ms, max(after_ms, before_ms), place

    @property
    def coarse(self) -> bool:
        """Whether cursors are coarse. Once they are they stay so."""
        return self._swept is not None

    @property
    def place(self) -> Order:
        """Where a sweep goes on, or begins."""
        return self._place if self._swept is None else self._swept.place

    def add(self, topic: str, epoch: str, offset: int, newest_ms: int = -1) -> None:
        """Add the next partition of a topic. `newest_ms`: no event before `offset` was appended
        later; by default it stands where its time leads to (see `begin`)."""
        there = self._topics.get(topic)
        if there is None:
            there = self._topics[topic] = _Topic(topic, epoch)
        spot = there.add(topic, offset, newest_ms)
        self._active = self._active or (topic, spot)
        self._prefix = None
        self._lanes += 1
        if self._swept is not None:
            self._swept.add(spot)
        elif len(self._topics) * (NAME + EPOCH + 2) + self._lanes * 6 > _COARSE_FROM:
            self._go_coarse()

    def drop(self, topic: str) -> None:
        """The topic is gone, or is to be added anew."""
        gone = self._topics.pop(topic, None)
        if gone is None:
            return
        self._lanes -= len(gone.spots)
        self._prefix = None
        for spot in gone.spots if self._swept is not None else ():
            self._swept.drop(spot)  # type: ignore[union-attr]
        if self._active is not None and self._active[0] == topic:
            self._active = next(((name, there.spots[0]) for name, there in self._topics.items()), None)

    def offset(self, topic: str, partition: int) -> int:
        """The next offset to deliver."""
        return self._topics[topic].spots[partition].offset

    def move(self, topic: str, partition: int, offset: int, newest_ms: int) -> None:
        """Everything of the lane below `offset` was delivered. Never moves back."""
        there = self._topics.get(topic)
        if there is not None and offset > there.spots[partition].offset:
            self._set(topic, partition, offset, newest_ms)

    def seek(self, topic: str, partition: int, offset: int, newest_ms: int) -> None:
        """As `move`, in either direction."""
        self._set(topic, partition, offset, newest_ms)

    def turn(self, topic: str, partition: int, now_ms: int, *, wrapped: bool) -> None:
        """A sweep comes to this lane, and has read all that it passed to their ends as they were
        at `now_ms`. `wrapped`: it begins a new round."""
        there = self._topics.get(topic)
        if self._swept is not None and there is not None:
            self._swept.turn(there.spots[partition], wrapped, now_ms - TIME_MARGIN)
            self._prefix = None

    def settle(self, now_ms: int) -> None:
        """All lanes were delivered to their ends as they were at `now_ms`."""
        self._after = max(self._after, now_ms - TIME_MARGIN)
        if self._swept is not None:
            self._swept.settle(self._after)
            self._prefix = None

    def late(self, now_ms: int) -> bool:
        """Whether a new round at `now_ms` would read further than this one does."""
        return self._swept is not None and self._swept.late(now_ms - TIME_MARGIN)

    def limit_of(self, topic: str, partition: int) -> int | None:
        """The append time before which a lane may be read so that its cursor is exact; None: all."""
        there = self._topics.get(topic)
        if self._swept is None or there is None:
            return None
        return self._swept.limit_of(there.spots[partition])

    def cursor(self) -> str:
        """Where all lanes stand now."""
        spot = self._swept.here if self._swept is not None else self._active and self._active[1]
        return self._prefix_of(spot).at(0 if spot is None else spot.offset)

    def block(self, topic: str, partition: int, events: Sequence[Event], end: int, newest_ms: int) -> BlockCursors:
        """Cursors with the lane behind each of `events`, and all others where they stand now.
        No event before `end` is newer than `newest_ms`."""
        return BlockCursors(self._prefix_of(self._topics[topic].spots[partition], newest_ms), events, end)

    # Readers that stand beside each other

    def place_of_all(self) -> Cursor:
        """Where all lanes stand, exactly. It may have no text: that of a cursor is bounded."""
        marks = {
            there.name: TopicMark(there.hash, tuple(spot.offset for spot in there.spots))
            for there in self._topics.values()
        }
        return Cursor(self._wild, FIRST, self._after, marks)

    def beside(self, other: CursorWriter) -> bool:
        """Whether both stand at the same offsets of the same topics."""
        mine, theirs = self._topics, other._topics
        return mine.keys() == theirs.keys() and all(there.at_same(theirs[name]) for name, there in mine.items())

    def covers(self, topic: str, ends: Sequence[int]) -> bool:
        """Whether the topic's lanes stand at these offsets or beyond."""
        there = self._topics.get(topic)
        return (
            there is not None
            and len(there.spots) >= len(ends)
            and not any(spot.offset < end for spot, end in zip(there.spots, ends, strict=False))
        )

    def gaps_since(self, place: Cursor) -> list[Gap]:
        """What was passed since, of topics that are still the same ones."""
        gaps: list[Gap] = []
        for topic, there in self._topics.items():
            mark = place.marks.get(there.name)
            if mark is None or mark.epoch == there.hash:
                before = () if mark is None else mark.offsets
                for partition, spot in enumerate(there.spots):
                    begin = before[partition] if partition < len(before) else 0
                    if begin < spot.offset:
                        gaps.append(Gap(topic, partition, begin, spot.offset, "overflow"))
        return gaps

    # Inside

    def _set(self, topic: str, partition: int, offset: int, newest_ms: int) -> None:
        there = self._topics[topic]
        spot = there.spots[partition]
        spot.offset, spot.newest_ms = offset, max(spot.newest_ms, newest_ms)
        there.encoded = None
        self._active = (topic, spot)
        # A prefix does not depend on its own lane's offset, only on those of the others.
        if self._prefix is not None and self._prefix[0] is not spot:
            self._prefix = None
        if self._swept is not None:
            self._swept.moved(spot)

    def _go_coarse(self) -> None:
        self._swept = Swept(self._after, max(self._after, self._before), self._place)
        for there in self._topics.values():
            for spot in there.spots:
                self._swept.add(spot)

    def _prefix_of(self, spot: Spot | None, newest_ms: int = -1) -> Prefix:
        newest_ms = max(newest_ms, -1 if spot is None else spot.newest_ms) if self.coarse else -1
        if self._prefix is not None and self._prefix[0] is spot and self._prefix[1] == newest_ms:
            return self._prefix[2]
        raw = b""
        if self._swept is None:
            raw = self._exact(spot)
            if len(raw) > MAX_HEAD:
                self._go_coarse()
        if self._swept is not None:
            raw = enclose(COARSE, self._wild, self._swept.body(spot, newest_ms))
        prefix = Prefix.of(raw)
        self._prefix = (spot, newest_ms, prefix)
        return prefix

    def _exact(self, spot: Spot | None) -> bytes:
        parts, active = [], 0
        for at, there in enumerate(self._topics.values()):
            if spot is not None and there.name == spot.order[0]:
                active = at
                parts.append(there.encode_without(spot))
            else:
                parts.append(there.encode())
        partition = 0 if spot is None else spot.order[1]
        head = (number(self._after), number(active), number(partition), number(len(parts)))
        return enclose(0, self._wild, b"".join((*head, *parts)))
