"""The hand-over between the log and the live edge, as pure logic: no I/O, no clock, no tasks.

A reader has a **lane** for each (topic, partition): the position up to which events were
handed over, and the tail position up to which events are known to exist.

    CATCH_UP   some lane is behind its tail: the log is read, tail batches only move the tail
    LIVE       no lane is behind: tail batches are handed over as they come

Rules, which the property test in tests/unit/test_handover.py states against a model:
1. A position moves only to the end of what was handed over, or over an announced gap.
2. LIVE begins when no lane is behind, at one moment for all lanes (one position vector).
3. A tail batch that ends at or below the position was had before: it is skipped. One that
   begins above it means that the tail left something out: CATCH_UP, the log has it.
4. A read counts only if its lane still stands where the read began.

So per lane, what is handed over is exactly the log from the start position on, in order,
without the announced gaps: nothing is skipped and nothing repeated, until `seek` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Literal

import msgspec

from gateway.bus.contract import Batch
from gateway.delivery.cursor import FIRST, Order, topic_hash


class State(Enum):
    CATCH_UP = "catch-up"
    LIVE = "live"


GapReason = Literal["retention", "recreated", "deleted", "corrupt", "lost", "overflow"]


class Gap(msgspec.Struct, frozen=True):
    """Events that will not be delivered, from `from_offset` up to before `to_offset`.

    `retention`: removed before they were read. `corrupt`: damaged in the log. `deleted`: the
    topic was deleted with these events unread. `recreated`: the topic was deleted and made
    anew, reading goes on at `to_offset` of the new one. `lost`: the log ends below the
    position, at `to_offset`, where reading goes on. `overflow`: the subscriber was too slow, and
    asked for events to be left out then.
    """

    topic: str
    partition: int
    from_offset: int
    to_offset: int
    reason: GapReason


class Lane(msgspec.Struct, eq=False, gc=False):
    """One partition of a reader. `alive` is False once the topic was dropped."""

    topic: str
    partition: int
    position: int
    tail: int
    order: Order
    alive: bool = True

    @property
    def behind(self) -> bool:
        return self.position < self.tail


class Read(msgspec.Struct, frozen=True, eq=False):
    """What to read next: `lane` from `offset` on. `wrapped`: a new round of the sweep begins."""

    lane: Lane
    offset: int
    wrapped: bool = False


class Counts(msgspec.Struct, eq=False):
    """How often LIVE was left, and reached again; readers may share one."""

    fell_behind: int = 0
    joined: int = 0


class Handover:
    """See the module. `sweep`: read each lane to its end before the next, in the order of
    coarse cursors; else lanes that are behind take turns. A round of the sweep visits the lanes
    that were behind when it began.
    """

    __slots__ = ("_behind", "_goal", "_held", "_lanes", "_ring", "counts", "state", "sweep")

    def __init__(self, counts: Counts | None = None, *, sweep: bool = False) -> None:
        self.counts = counts or Counts()
        self.state = State.LIVE
        self.sweep = sweep
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._behind: dict[Lane, None] = {}
        # What is left of the round, the next lane last, and where the next lane's turn ends.
        self._ring: list[Lane] = []
        self._goal = -1
        self._held: dict[Lane, int] = {}

    # Lanes

    def add(self, topic: str, partition: int, position: int, tail: int) -> None:
        """A lane begins at `position`; events up to `tail` are known to exist."""
        lane = Lane(topic, partition, position, tail, (topic_hash(topic), partition))
        self._lanes[topic, partition] = lane
        self._look(lane)

    def drop(self, topic: str) -> list[Lane]:
        """The topic is gone; its lanes, as they stood."""
        gone = [lane for lane in self._lanes.values() if lane.topic == topic]
        for lane in gone:
            lane.alive = False
            self._behind.pop(lane, None)
            self._held.pop(lane, None)
            del self._lanes[topic, lane.partition]
        self._join()
        return gone

    def lanes(self) -> Sequence[Lane]:
        return tuple(self._lanes.values())

    def lane(self, topic: str, partition: int) -> Lane | None:
        return self._lanes.get((topic, partition))

    @property
    def lag(self) -> int:
        """Events (offsets, rather) known to exist and not handed over."""
        return sum(lane.tail - lane.position for lane in self._behind)

    # The live edge

    def offer(self, batch: Batch) -> Batch | None:
        """A tail batch: the part of it to hand over now, which then counts as handed over."""
        lane = self._lanes.get((batch.topic, batch.partition))
        if lane is None:
            return None
        position, end = lane.position, batch.next_offset
        if end > lane.tail:
            lane.tail = end
        if end <= position:
            return None
        if self.state is State.LIVE and batch.base_offset <= position:
            lane.position = end
            return batch.since(position)
        self._look(lane)
        return None

    def extend(self, topic: str, partition: int, tail: int) -> None:
        """Events up to `tail` exist, though no tail batch brought them."""
        lane = self._lanes.get((topic, partition))
        if lane in self._held:
            self._held[lane] = max(self._held[lane], tail)
        elif lane is not None and tail > lane.tail:
            lane.tail = tail
            self._look(lane)

    # Catching up

    def next_read(self) -> Read | None:
        """The read to do now; None when LIVE. The same again until its outcome is told."""
        if not self._behind:
            return None
        if self.sweep:
            return self._swept()
        lane = next(iter(self._behind))
        return Read(lane, lane.position)

    def accept(self, read: Read, batches: Sequence[Batch]) -> Sequence[Batch]:
        """What a read brought: the part to hand over now, which then counts as handed over.

        Nothing when the lane was moved or dropped meanwhile. An empty read leaves the lane
        behind: the bus says that there is nothing yet, the caller waits and repeats.
        """
        lane = read.lane
        if not lane.alive or lane.position != read.offset:
            return ()
        if batches:
            lane.position = batches[-1].next_offset
            lane.tail = max(lane.tail, lane.position)
        self._turn(lane)
        return batches

    def settle_for(self, read: Read) -> None:
        """Take the end of the lane to be where the read found nothing."""
        lane = read.lane
        if lane.alive and lane.position == read.offset:
            lane.tail = lane.position
            self._turn(lane)

    def hold(self, lane: Lane) -> None:
        """Leave the lane where it stands until `release`, as if its end were there."""
        if lane.alive and lane.behind:
            self._held[lane] = lane.tail
            lane.tail = lane.position
            self._turn(lane)

    def release(self) -> None:
        """Lanes that were held are read on."""
        held, self._held = self._held, {}
        for lane, tail in held.items():
            lane.tail = max(lane.tail, tail)
            self._look(lane)

    def holds(self) -> bool:
        """Whether any lane is held."""
        return bool(self._held)

    def skip(self, read: Read, to_offset: int, reason: GapReason) -> Gap | None:
        """What stands between the read's offset and `to_offset` cannot be had. `to_offset` may
        be lower: then the log ends there. None when the lane was moved or dropped meanwhile."""
        lane = read.lane
        if not lane.alive or lane.position != read.offset:
            return None
        lane.position = to_offset
        lane.tail = to_offset if reason == "lost" else max(lane.tail, to_offset)
        self._turn(lane)
        return Gap(lane.topic, lane.partition, read.offset, to_offset, reason)

    def seek(self, topic: str, partition: int, position: int) -> None:
        """Go on at `position`: after an overflow back to what was delivered, or at will."""
        lane = self._lanes.get((topic, partition))
        if lane is not None:
            lane.position = position
            self._look(lane)
            self._join()

    def start_at(self, order: Order = FIRST) -> None:
        """Let the lane of this order, or the next one, be read first. A sweep is in the middle
        of a round then."""
        if self.sweep:
            self._new_ring([lane for lane in self._behind if lane.order >= order])
        else:
            ahead = sorted(self._behind, key=lambda lane: (lane.order < order, lane.order))
            self._behind = dict.fromkeys(ahead)

    # Inside

    def _look(self, lane: Lane) -> None:
        if lane.position < lane.tail:
            self._behind.setdefault(lane)
            if self.state is State.LIVE:
                self.state = State.CATCH_UP
                self.counts.fell_behind += 1
        else:
            self._behind.pop(lane, None)

    def _turn(self, lane: Lane) -> None:
        self._behind.pop(lane, None)
        self._look(lane)
        self._join()

    def _join(self) -> None:
        if self.state is State.CATCH_UP and not self._behind:
            self.state = State.LIVE
            self.counts.joined += 1
            self._new_ring([])

    def _swept(self) -> Read:
        # A lane is done once it reached the tail as it was when its turn came, so that one
        # topic at full speed does not hold up the others.
        while self._ring:
            lane = self._ring[-1]
            if lane in self._behind and (self._goal < 0 or lane.position < self._goal):
                self._goal = lane.tail if self._goal < 0 else self._goal
                return Read(lane, lane.position)
            self._ring.pop()
            self._goal = -1
        self.release()
        self._new_ring(list(self._behind))
        lane = self._ring[-1]
        self._goal = lane.tail
        return Read(lane, lane.position, wrapped=True)

    def _new_ring(self, lanes: list[Lane]) -> None:
        self._ring = sorted(lanes, key=lambda lane: lane.order, reverse=True)
        self._goal = -1
