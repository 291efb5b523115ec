"""What goes on in the background: retention, compaction, indexes, a trial after a failure."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from gateway.bus.contract import Compression
from gateway.bus.embedded.compaction import Replaced, compact, is_due, remove_segment
from gateway.bus.embedded.messages import Probe, Roll
from gateway.bus.embedded.reading import Extent
from gateway.bus.embedded.retention import expired, must_roll
from gateway.bus.embedded.segment import Segment, store_index
from gateway.bus.embedded.topic import TopicLog
from gateway.errors import LinkspanError

if TYPE_CHECKING:
    from gateway.bus.embedded.log import EmbeddedBus

log = structlog.get_logger("linkspan.log")

#: How often a failing log is tried again, in seconds.
PROBE_SECONDS = 1.0


class Maintenance:
    """One task; `run` may also be called directly."""

    def __init__(self, bus: EmbeddedBus, interval: float, tombstones_ms: int) -> None:
        self._bus, self._interval, self._tombstones_ms = bus, interval, tombstones_ms
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._closed: list[tuple[TopicLog, Segment]] = []

    def start(self) -> None:
        self._task = asyncio.create_task(self._forever(), name="linkspan-log-maintenance")

    async def stop(self) -> None:
        """Ends after the step under way."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task

    def hurry(self) -> None:
        """An append failed: retention may help."""
        self._wake.set()

    def closed(self, topic: TopicLog, segment: Segment) -> None:
        """A segment was closed: its index is written soon."""
        self._closed.append((topic, segment))
        self._wake.set()

    async def _forever(self) -> None:
        due = time.monotonic() + self._interval
        while not self._stopping:
            failing = self._bus.failing is not None
            wait = min(PROBE_SECONDS, self._interval) if failing else max(0.0, due - time.monotonic())
            try:
                await asyncio.wait_for(self._wake.wait(), wait)
                self._wake.clear()
            except TimeoutError:
                pass  # the interval is over
            if self._stopping:
                return
            await self._write_indexes()
            if failing or self._bus.failing is not None or time.monotonic() >= due:
                await self.run()
                due = time.monotonic() + self._interval

    async def run(self, *, force: bool = False) -> None:
        """One round over all topics. A topic's failure is logged and leaves the others alone.

        `force` closes and compacts what is closed otherwise only once it pays.
        """
        for topic in self._bus.open_topics():
            async with topic.lock:
                if topic.deleted or self._stopping:
                    continue
                try:
                    await self._roll(topic, force)
                    await self._retain(topic)
                    await self._compact(topic, force)
                except (OSError, LinkspanError) as error:
                    log.warning("maintenance failed, tried again later", topic=topic.name, reason=str(error))
        await self._write_indexes()
        await self._probe()

    async def _roll(self, topic: TopicLog, force: bool) -> None:
        used = topic.active.bytes > topic.active.header.data_start
        compacted = topic.settings.cleanup == "compact"
        if used and ((force and compacted) or must_roll(topic.settings, topic.active, _now_ms())):
            await self._bus.control(lambda done: Roll(topic.writer, done))

    async def _retain(self, topic: TopicLog) -> None:
        count = expired(topic.settings, topic.segments, _now_ms())
        if not count:
            return
        gone, topic.segments[:] = topic.segments[:count], topic.segments[count:]
        for segment in gone:
            self._bus.threads.files.retire(segment)
        for number, partition in enumerate(topic.partitions):
            self._bus.recent.drop(partition.recent, topic.first(number))
        log.info("retention removes segments", topic=topic.name, count=count, bytes=sum(s.bytes for s in gone))
        topic.size_segments()
        await self._bus.threads.run(_remove, gone)

    async def _compact(self, topic: TopicLog, force: bool) -> None:
        closed = topic.segments[:-1]
        dirty = any(not segment.header.compacted for segment in closed)
        if topic.settings.cleanup != "compact" or not dirty or not (force or is_due(closed)):
            return
        extents = [Extent(segment) for segment in closed]
        replaced, error = await self._bus.threads.run_with(
            extents,
            self._compacted,
            topic.settings.compression,
            _now_ms() - self._tombstones_ms,
            topic.writer.segment_bytes,
        )
        for change in replaced:
            self._replace(topic, change)
            for number, partition in enumerate(topic.partitions):
                # Memory would go on serving what was compacted away; that is no fault, but no use either.
                self._bus.recent.drop(partition.recent, change.old[-1].until_of(number))
        topic.size_segments()
        if error is not None:
            raise error

    def _compacted(
        self, extents: list[Extent], compression: Compression, tombstones: int, segment_bytes: int
    ) -> tuple[list[Replaced], OSError | None]:
        """In a thread. What was replaced before a failure is reported with it."""
        done: list[Replaced] = []
        try:
            segments = [extent.segment for extent in extents]
            done.extend(compact(segments, compression, tombstones, segment_bytes, lambda: self._stopping))
        except OSError as error:
            return done, error
        return done, None

    def _replace(self, topic: TopicLog, change: Replaced) -> None:
        first = topic.segments.index(change.old[0])
        segment = Segment(change.path, change.header, change.index)
        segment.until = change.old[-1].until
        segment.newest_ms = max(old.newest_ms for old in change.old)
        segment.bytes = change.index.end
        topic.segments[first : first + len(change.old)] = [segment]
        for old in change.old:
            self._bus.threads.files.retire(old)
        log.info(
            "compacted", topic=topic.name, segments=len(change.old), before=sum(old.bytes for old in change.old),
            after=segment.bytes,
        )  # fmt: skip

    async def _write_indexes(self) -> None:
        while self._closed:
            topic, segment = self._closed.pop()
            async with topic.lock:
                index = segment.index
                if index is not None and not segment.retired:
                    await self._bus.threads.run(store_index, segment.path, segment.header, index)
                    if not segment.users:
                        segment.index = None  # from now on it is loaded when somebody reads

    async def _probe(self) -> None:
        """Find out whether appends would work again, so that health need not wait for one."""
        failing = self._bus.failing
        if failing is None:
            return
        topic, size = failing
        if topic.deleted:
            self._bus.recovered()
            return
        try:
            await self._bus.control(lambda done: Probe(topic.writer, size, done))
        except LinkspanError as error:
            log.debug("appends would still fail", reason=error.message)
        else:
            self._bus.recovered()


def _remove(gone: list[Segment]) -> None:
    """Oldest first, each durably: after a crash no younger one is missing before an older."""
    for segment in gone:
        try:
            remove_segment(segment.path)
        except FileNotFoundError:
            log.warning("segment was gone already", file=str(segment.path))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
