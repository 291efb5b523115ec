"""Reads of what memory does not hold, in worker threads, with the files held open meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from gateway.bus.contract import Batch
from gateway.bus.embedded.folder import storage_error
from gateway.bus.embedded.reading import Extent, find_time, read_batches
from gateway.bus.embedded.segment import OpenFiles
from gateway.bus.embedded.topic import TopicLog

T = TypeVar("T")


class Threads:
    """Worker threads and the files they read: two for readers, one more for maintenance.

    Made on the loop, used on it, closed on it.
    """

    def __init__(self) -> None:
        self.files = OpenFiles()
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(3, "linkspan-log-reader")
        self._reads: dict[tuple[TopicLog, int, int, int], asyncio.Future[list[Batch]]] = {}

    async def close(self) -> None:
        """Ends after the reads under way."""
        await asyncio.gather(*self._reads.values(), return_exceptions=True)
        self._pool.shutdown()

    def run(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._pool, work, *arguments)

    def run_with(self, extents: list[Extent], work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Run `work(extents, *arguments)` with the segments' files held open. Raises OSError."""
        held: list[Extent] = []
        try:
            for extent in extents:
                self.files.acquire(extent.segment)
                held.append(extent)
            future = self.run(work, extents, *arguments)
        except BaseException:
            self._release(held)
            raise
        future.add_done_callback(lambda _: self._release(held))
        return future

    def _release(self, extents: list[Extent]) -> None:
        for extent in extents:
            self.files.release(extent.segment)

    async def read(self, there: TopicLog, partition: int, offset: int, max_bytes: int) -> list[Batch]:
        """Batches up to where memory has them. Raises CorruptData, BusUnavailable."""
        try:
            return await asyncio.shield(self._shared(there, partition, offset, max_bytes))
        except OSError as error:
            raise storage_error(error, f"read of {there.name}/{partition}") from error

    def _shared(self, there: TopicLog, partition: int, offset: int, max_bytes: int) -> asyncio.Future[list[Batch]]:
        """Readers that go over the same ground at the same time share one read."""
        key = (there, partition, offset, max_bytes)
        reading = self._reads.get(key)
        if reading is None:
            state = there.partitions[partition]
            extents = there.extents(partition, offset)
            last, recent = extents[-1].segment.until_of(partition), state.recent.first()
            until = min(state.next if last is None else last, state.next if recent is None else recent)
            reading = self.run_with(extents, read_batches, partition, offset, until, max_bytes)
            self._reads[key] = reading
            reading.add_done_callback(lambda _: self._reads.pop(key, None))
        return reading

    async def offset_for_time(self, there: TopicLog, partition: int, timestamp_ms: int) -> int:
        """Raises BusUnavailable."""
        next_ = there.partition(partition).next
        try:
            extents = there.extents_for_time(partition, timestamp_ms)
            found = await self.run_with(extents, find_time, partition, timestamp_ms, next_)
        except OSError as error:
            raise storage_error(error, f"read of {there.name}/{partition}") from error
        return max(found, there.first(partition))
