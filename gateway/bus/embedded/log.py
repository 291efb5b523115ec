"""The embedded log: the bus on one machine, in files. See `gateway.bus.contract.Bus`.

    <folder>/lock                                  who has it open
    <folder>/topics/<topic>/topic                  settings, twice in one file
    <folder>/topics/<topic>/<sequence>.log, .idx   segments with the partitions interleaved

Appends are encoded and numbered on the loop, written by one thread, and acknowledged and told
to the tail when they are durable. Reads near the edge come from memory, others from a thread.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import structlog

from gateway.address import check_topic
from gateway.bus.contract import (
    Batch,
    Bounds,
    BusHealth,
    Position,
    TailSink,
    TopicChange,
    TopicHealth,
    TopicInfo,
    TopicSettings,
)
from gateway.bus.embedded.folder import (
    NO_ROOM,
    TEMPORARY,
    FolderLock,
    make_folder,
    remove_folder,
    storage_error,
    sync_folder,
)
from gateway.bus.embedded.maintenance import Maintenance
from gateway.bus.embedded.messages import Append, Committed, Done, Failed, Finish, Grow, Outcome, Rolled
from gateway.bus.embedded.reads import Threads
from gateway.bus.embedded.recent import RecentWindow
from gateway.bus.embedded.recovery import Opened, create_topic_files, open_topic
from gateway.bus.embedded.segment import store_index
from gateway.bus.embedded.settings import BOUNDS, DAY_MS, altered, load_topic, new_topic, store_topic
from gateway.bus.embedded.tail import EmbeddedTail, Listeners
from gateway.bus.embedded.topic import TopicLog
from gateway.bus.embedded.writer import Writer
from gateway.bus.partitioner import Partitioner
from gateway.bus.settings import refuse, setting_faults
from gateway.errors import (
    BusUnavailable,
    CorruptData,
    Fault,
    LinkspanError,
    OffsetOutOfRange,
    OutcomeUnknown,
    TopicExists,
    UnknownTopic,
)
from gateway.event import Event

log = structlog.get_logger("linkspan.log")
T = TypeVar("T")

MIB = 1024 * 1024
CLOSE_SECONDS = 10.0


class EmbeddedBus:
    """`memory` bounds the window of recent batches, in bytes. `durability="os"` acknowledges what the
    operating system has: safe from `kill -9`, not from a power cut. `maintenance_interval` in seconds.
    """

    def __init__(
        self,
        path: Path | str,
        durability: Literal["fsync", "os"] = "fsync",
        *,
        memory: int = 16 * MIB,
        segment_bytes: int = 64 * MIB,
        max_event_bytes: int = MIB,
        defaults: TopicSettings | None = None,
        maintenance_interval: float = 30.0,
        tombstones_ms: int = DAY_MS,
    ) -> None:
        self.path = Path(path)
        self.recent = RecentWindow(memory)
        self._topics: dict[str, TopicLog] = {}
        self._damaged: dict[str, LinkspanError] = {}
        self._durability = durability
        self._segment_bytes = segment_bytes
        self._max_event_bytes = max_event_bytes
        self._defaults = defaults or TopicSettings()
        self._partitioner = Partitioner()
        self._lock = FolderLock(self.path)
        self._listeners = Listeners()
        self._admin = asyncio.Lock()
        self._running = False
        self._failing: tuple[str, TopicLog, int] | None = None
        self._maintenance = Maintenance(self, maintenance_interval, tombstones_ms)
        self._commits = 0
        self._pending: set[asyncio.Future[Sequence[Position]]] = set()

    # Life

    async def start(self) -> None:
        """Raises BusUnavailable when the folder is locked or cannot be used.

        A topic whose settings or segment headers are lost is reported and refused; the others
        are served.
        """
        refuse(setting_faults(self._defaults, None, BOUNDS))
        self._loop = asyncio.get_running_loop()
        self._lock.acquire()
        self.threads = Threads()
        try:
            for name, opened in (await self.threads.run(self._open_all)).items():
                if isinstance(opened, LinkspanError):
                    log.error("topic cannot be opened", topic=name, reason=opened.message)
                    self._damaged[name] = opened
                else:
                    self._register(name, opened)
        except BaseException as error:
            await self.threads.close()
            self._lock.release()
            if isinstance(error, OSError):
                raise storage_error(error, f"cannot open the data folder {self.path}") from error
            raise
        self._writer = Writer(self._report, sync=self._durability == "fsync")
        self._writer.start()
        self._running = True
        self._maintenance.start()

    def _open_all(self) -> dict[str, Opened | LinkspanError]:
        root = self.path / "topics"
        make_folder(root)
        opened: dict[str, Opened | LinkspanError] = {}
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            if folder.name.startswith(TEMPORARY):
                remove_folder(folder)
                continue
            try:
                opened[folder.name] = _open(folder)
            except LinkspanError as error:
                opened[folder.name] = error
        return opened

    def _register(self, name: str, opened: Opened) -> TopicLog:
        topic = TopicLog(self.path / "topics" / name, opened, self._segment_bytes, self._max_event_bytes)
        self._topics[name] = topic
        return topic

    async def close(self) -> None:
        """Idempotent. Appends that are not durable within 10 s fail with OutcomeUnknown."""
        if not self._running:
            return
        self._running = False
        await self._maintenance.stop()
        for topic in self._topics.values():
            self._writer.put(Finish(topic.writer))
        ended = await self.threads.run(self._writer.stop, CLOSE_SECONDS)
        if ended:
            await self.threads.run(self._mark_complete)
        else:
            log.error("the writer did not end in time", seconds=CLOSE_SECONDS)
            for done in self._pending:
                if not done.done():
                    done.set_exception(OutcomeUnknown("the log was closed before the disk answered"))
        await self.threads.close()
        for topic in self._topics.values():
            for segment in topic.segments:
                self.threads.files.retire(segment)
        if ended:  # else another process could open a folder that is still being written to
            self._lock.release()

    def _mark_complete(self) -> None:
        for topic in self._topics.values():
            store_index(topic.active.path, topic.active.header, topic.active.loaded())

    # Appending

    async def append(self, topic: str, events: Sequence[Event], deadline: float | None = None) -> Sequence[Position]:
        """One record batch per partition, all in one commit."""
        there = self.topic(topic)
        if not events:
            return []
        append = there.encode(events, self._partitioner, keep=bool(self._listeners.of(topic)))
        del events
        done: asyncio.Future[Sequence[Position]] = self._loop.create_future()
        append.done = done
        self._pending.add(done)
        self._writer.put(append)
        return await done

    def _report(self, outcomes: list[Outcome]) -> None:
        """On the writer's thread: one hop to the loop per commit."""
        try:
            self._loop.call_soon_threadsafe(self._on_outcomes, outcomes)
        except RuntimeError:
            log.error("the loop was closed before the log; outcomes are not told", count=len(outcomes))

    def _on_outcomes(self, outcomes: list[Outcome]) -> None:
        self._commits += 1
        for outcome in outcomes:
            if isinstance(outcome, Done):
                self._on_done(outcome)
                continue
            topic: TopicLog = outcome.topic.owner
            if isinstance(outcome, Committed):
                self._on_committed(topic, outcome.appends)
            elif isinstance(outcome, Rolled):
                self._maintenance.closed(topic, topic.rolled(outcome))
            else:
                self._on_failed(topic, outcome)

    def _on_committed(self, topic: TopicLog, appends: list[Append]) -> None:
        sinks = self._listeners.of(topic.name)
        for append in appends:
            positions = topic.committed(append)
            self._pending.discard(append.done)
            if not append.done.done():  # a cancelled call: its events are stored all the same
                append.done.set_result(positions)
            for out in append.batches:
                if not topic.deleted:
                    self.recent.add(topic.partitions[out.partition].recent, out.base_offset, out.body)
                if sinks:
                    self._listeners.tell_batch(sinks, topic.batch_of(out))
        if self._failing is not None:
            self.recovered()

    def _on_failed(self, topic: TopicLog, failed: Failed) -> None:
        topic.failed(failed.appends[-1].generation)
        for append in failed.appends:
            self._pending.discard(append.done)
            if not append.done.done():
                append.done.set_exception(failed.error)
        size = max(append.size for append in failed.appends)
        if self._failing is None or self._failing[0] != failed.error.message:
            log.error("append failed", topic=topic.name, code=failed.error.code, reason=failed.error.message)
            self._failing = (failed.error.message, topic, size)
            self._listeners.tell_health(self.health())
        self._maintenance.hurry()

    def _on_done(self, done: Done) -> None:
        future = done.item.done
        if future is not None and not future.done():
            if done.error is None:
                future.set_result(None)
            else:
                future.set_exception(done.error)

    def recovered(self) -> None:
        """An append, or a trial in place of one, has worked again."""
        if self._failing is not None:
            log.info("appends work again")
            self._failing = None
            self._listeners.tell_health(self.health())

    @property
    def failing(self) -> tuple[TopicLog, int] | None:
        """The topic whose append failed last and how much it wanted to write, while that holds."""
        return None if self._failing is None else self._failing[1:]

    async def control(self, make: Callable[[asyncio.Future[None]], Any]) -> None:
        """Have the writer carry something out after what is queued. Raises BusUnavailable."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._writer.put(make(done))
        await done

    # Reading

    async def read(self, topic: str, partition: int, offset: int, max_bytes: int) -> list[Batch]:
        there = self.topic(topic)
        state, first = there.partition(partition), there.first(partition)
        if not first <= offset <= state.next:
            raise OffsetOutOfRange(topic, partition, offset, first, state.next)
        if offset == state.next:
            return []
        found = state.recent.read(offset, max_bytes)
        if found:
            return found
        return await self.threads.read(there, partition, offset, max_bytes)

    async def offset_for_time(self, topic: str, partition: int, timestamp_ms: int) -> int:
        return await self.threads.offset_for_time(self.topic(topic), partition, timestamp_ms)

    async def bounds(self, topic: str) -> list[Bounds]:
        return self.topic(topic).bounds()

    # The tail

    def tail(self, sink: TailSink) -> EmbeddedTail:
        return self._listeners.add(sink, self.topic)

    # Topics

    def topic(self, name: str) -> TopicLog:
        """Raises UnknownTopic, CorruptData for one that could not be opened, BusUnavailable."""
        if not self._running:
            raise BusUnavailable("the log is not open")
        there = self._topics.get(name)
        if there is None:
            if name in self._damaged:
                raise self._damaged[name]
            raise UnknownTopic(name)
        return there

    def open_topics(self) -> list[TopicLog]:
        return list(self._topics.values())

    async def topics(self, *, internal: bool = False) -> list[str]:
        return sorted(name for name in self._topics if internal or not name.startswith("_"))

    def setting_faults(self, settings: TopicSettings, now: TopicInfo | None = None) -> tuple[Fault, ...]:
        return setting_faults(settings, now, BOUNDS)

    async def create_topic(self, name: str, settings: TopicSettings) -> TopicInfo:
        """The topic is durable on return."""
        check_topic(name, internal=True)
        async with self._admin:
            if not self._running:
                raise BusUnavailable("the log is not open")
            if name in self._topics or name in self._damaged:
                raise TopicExists(f"topic {name!r} exists already", topic=name)
            file = new_topic(name, secrets.token_hex(8), settings, self._defaults)
            root = self.path / "topics"

            def create() -> Opened:
                fresh = root / f"{TEMPORARY}new-{file.epoch}"
                try:
                    create_topic_files(fresh, file)
                    fresh.rename(root / name)
                except OSError:
                    if fresh.exists():
                        remove_folder(fresh)
                    raise
                sync_folder(root)
                return open_topic(root / name)

            opened = await self._storing(create, f"create topic {name!r}")
            topic = self._register(name, opened)
            self._listeners.tell_topic(name, TopicChange.CREATED)
            return topic.settings.info(self._max_event_bytes)

    async def describe_topic(self, name: str) -> TopicInfo:
        return self.topic(name).settings.info(self._max_event_bytes)

    async def alter_topic(self, name: str, settings: TopicSettings) -> TopicInfo:
        async with self._admin:
            there = self.topic(name)
            async with there.lock:
                before, file = there.settings, altered(there.settings, settings)
                await self._storing(lambda: store_topic(there.folder, file), f"alter topic {name!r}")
                self._writer.put(Grow(there.writer, file.partitions))
                there.grow(file)
            if file.partitions != before.partitions:
                self._listeners.tell_topic(name, TopicChange.PARTITIONS)
            return file.info(self._max_event_bytes)

    async def delete_topic(self, name: str) -> None:
        """Appends that are queued are still stored, and go with the topic."""
        async with self._admin:
            damaged = self._damaged.get(name)
            if damaged is None:
                await self._let_go(self.topic(name))
            root = self.path / "topics"

            def delete() -> None:
                if damaged is not None and not (root / name).exists():
                    return  # removed by hand meanwhile
                trash = root / f"{TEMPORARY}deleted-{secrets.token_hex(8)}"
                (root / name).rename(trash)
                sync_folder(root)
                remove_folder(trash)

            try:
                await self._storing(delete, f"delete topic {name!r}")
            except LinkspanError as error:
                self._damaged[name] = error  # neither there nor gone: deleting it can be tried again
                raise
            self._damaged.pop(name, None)
            self._listeners.tell_topic(name, TopicChange.DELETED)

    async def _let_go(self, there: TopicLog) -> None:
        there.deleted = True
        del self._topics[there.name]
        async with there.lock:
            await self.control(lambda done: Finish(there.writer, done))
            for segment in there.segments:
                self.threads.files.retire(segment)
            for partition in there.partitions:
                self.recent.drop(partition.recent)

    async def _storing(self, work: Callable[[], T], doing: str) -> T:
        try:
            return await self.threads.run(work)
        except OSError as error:
            raise storage_error(error, doing) from error

    async def topic_health(self, name: str) -> TopicHealth:
        self.topic(name)
        return TopicHealth()

    def health(self) -> BusHealth:
        """`detail`: topics, segments, bytes on disk, bytes of recent batches in memory, commits.

        `degraded`: topics that could not be opened, or not be deleted.
        """
        reasons = [] if self._running else ["the log is not open"]
        if self._failing is not None:
            reasons.append(self._failing[0])
        degraded = [f"topic {name!r}: {error.message}" for name, error in sorted(self._damaged.items())]
        topics = self._topics.values()
        detail: dict[str, str | int | float] = {
            "path": str(self.path),
            "durability": self._durability,
            "topics": len(topics),
            "segments": sum(len(topic.segments) for topic in topics),
            "bytes": sum(topic.bytes for topic in topics),
            "memory": self.recent.used,
            "commits": self._commits,
        }
        return BusHealth(self._running and self._failing is None, tuple(reasons), detail, tuple(degraded))

    async def maintain(self) -> None:
        """Do now what the background task would do sooner or later: retention and compaction."""
        await self._maintenance.run(force=True)


def _open(folder: Path) -> Opened:
    """Raises LinkspanError for what is wrong with this folder alone, OSError when no other would do better."""
    try:
        stored, _ = load_topic(folder)
        if stored.name != folder.name:
            message = f"the folder {folder} holds topic {stored.name!r}: a copy of its files is no topic"
            raise CorruptData(message, file=str(folder), position=0)
        return open_topic(folder)
    except OSError as error:
        if error.errno in (*NO_ROOM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS):
            raise
        raise storage_error(error, f"cannot open {folder}") from error
