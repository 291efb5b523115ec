"""The window of recent batches in memory, as they were encoded: reads near the live edge spare the disk.

Encoded, an event takes a quarter of its objects' memory, and appends leave nothing behind in the
processor's caches; who reads here has a batch decoded again (readers share that, see
`gateway.delivery.window`). One budget for all topics; the oldest batch goes first, whatever
its topic. All on the loop.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from gateway.bus.contract import Batch
from gateway.bus.records import decode_records

#: What a batch takes beside its bytes.
OVERHEAD = 200


class RecentBatches:
    """Of one partition: batches that follow one another up to its next offset, by base offset."""

    __slots__ = ("bodies", "partition", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self.bodies: dict[int, bytearray] = {}

    def first(self) -> int | None:
        """The first offset in memory."""
        return next(iter(self.bodies), None)

    def read(self, offset: int, max_bytes: int) -> list[Batch]:
        """Batches from `offset` on, at least one; [] when that offset is not in memory."""
        body = self.bodies.get(offset)
        if body is None:
            body = self._holding(offset)
        found: list[Batch] = []
        while body is not None and (not found or max_bytes > 0):
            # Checked when it was written, and in memory since.
            found.append(decode_records(body, self.topic, self.partition, check=False))
            max_bytes -= len(body)
            body = self.bodies.get(found[-1].next_offset)
        if found:
            found[0] = found[0].since(offset)
            if found[0].next_offset <= offset:
                return []
        return found

    def _holding(self, offset: int) -> bytearray | None:
        bases = list(self.bodies)
        at = bisect_right(bases, offset) - 1
        return self.bodies[bases[at]] if at >= 0 else None


class RecentWindow:
    """The budget: `room` bytes over all partitions."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._order: deque[tuple[RecentBatches, int]] = deque()
        self.used = 0

    def add(self, partition: RecentBatches, base: int, body: bytearray) -> None:
        """Keep a finished batch that follows the partition's last; older ones make room."""
        partition.bodies[base] = body
        self._order.append((partition, base))
        self.used += len(body) + OVERHEAD
        while self.used > self._room:
            oldest, first = self._order.popleft()
            gone = oldest.bodies.pop(first, None)
            if gone is not None:
                self.used -= len(gone) + OVERHEAD

    def drop(self, partition: RecentBatches, below: int | None = None) -> None:
        """Forget what stands below an offset (retention), or all (the topic is deleted)."""
        for base in list(partition.bodies):
            if below is not None and base >= below:
                break
            self.used -= len(partition.bodies.pop(base)) + OVERHEAD
