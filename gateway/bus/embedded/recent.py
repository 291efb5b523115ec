"""The window of recent batches in memory: readers near the live edge share its Batch objects.

One budget for all topics; the oldest batch goes first, whatever its topic. All on the loop.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from gateway.bus.contract import Batch


class RecentBatches:
    """Of one partition: batches that follow one another up to its next offset, by base offset."""

    __slots__ = ("batches",)

    def __init__(self) -> None:
        self.batches: dict[int, Batch] = {}

    def first(self) -> int | None:
        """The first offset in memory."""
        return next(iter(self.batches), None)

    def read(self, offset: int, max_bytes: int) -> list[Batch]:
        """Batches from `offset` on, at least one; [] when that offset is not in memory."""
        batches = self.batches
        batch = batches.get(offset)
        if batch is None:
            batch = self._holding(offset)
            if batch is None:
                return []
        found: list[Batch] = [batch.since(offset)]
        room = max_bytes - batch.size
        while room > 0 and (batch := batches.get(batch.next_offset)) is not None:
            found.append(batch)
            room -= batch.size
        return found

    def _holding(self, offset: int) -> Batch | None:
        bases = list(self.batches)
        at = bisect_right(bases, offset) - 1
        batch = self.batches[bases[at]] if at >= 0 else None
        return batch if batch is not None and offset < batch.next_offset else None


class RecentWindow:
    """The budget: `room` bytes by `Batch.size`, over all partitions."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._order: deque[tuple[RecentBatches, int]] = deque()
        self.used = 0

    def add(self, partition: RecentBatches, batch: Batch) -> None:
        """Keep a batch that follows the partition's last; older ones make room."""
        partition.batches[batch.base_offset] = batch
        self._order.append((partition, batch.base_offset))
        self.used += batch.size
        while self.used > self._room:
            oldest, base = self._order.popleft()
            gone = oldest.batches.pop(base, None)
            if gone is not None:
                self.used -= gone.size

    def drop(self, partition: RecentBatches, below: int | None = None) -> None:
        """Forget what stands below an offset (retention), or all (the topic is deleted)."""
        for base in list(partition.batches):
            if below is not None and base >= below:
                break
            self.used -= partition.batches.pop(base).size
