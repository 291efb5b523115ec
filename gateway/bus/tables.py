"""A compacted topic as a dict: the gateway's own state, the same on both buses.

The table reads its topic from the first offset to the end and then follows it. A write is an
append; `put` returns once the table itself has read it, so the writer sees its own writes.
There is no compare-and-set in a log: of two writers the later record wins, everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import structlog

from gateway.bus.contract import Bus, TopicSettings
from gateway.errors import BusUnavailable, CorruptData, LinkspanError, OffsetOutOfRange, TopicExists, UnknownTopic
from gateway.event import Event, now_rfc3339, uuid7

Watcher = Callable[[str, bytes | None], None]
#: Begins to call the function whenever the topic may have grown; returns how to stop it.
Follow = Callable[[str, Callable[[], None]], Awaitable[Callable[[], None]]]

READ_BYTES = 1024 * 1024
#: Seconds between attempts while the bus is away, and between looks for changes whose wake-up
#: was lost with a connection.
RETRY = 1.0
RECHECK = 30.0

_log = structlog.get_logger("linkspan.table")


class Table:
    """`topic`'s latest value per key. One partition, so that all writes have one order."""

    def __init__(self, bus: Bus, topic: str, follow: Follow, source: str) -> None:
        self._bus, self._topic, self._follow, self._source = bus, topic, follow, source
        self._rows: dict[str, bytes] = {}
        self._next = 0
        self._epoch = ""
        self._loaded = asyncio.Event()
        self._moved = asyncio.Event()
        self._wake = asyncio.Event()
        self._watchers: list[Watcher] = []
        self._task: asyncio.Task[None] | None = None
        self.fault = "not started"

    @property
    def loaded(self) -> bool:
        """Whether the table has been read to its end; until then it knows nothing for sure."""
        return self._loaded.is_set()

    def start(self) -> None:
        """Begin to load, in a task of the table's own; `wait` tells when it is done."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"table {self._topic}")

    async def wait(self, seconds: float) -> None:
        """Wait until it is loaded. Raises BusUnavailable with the reason when it takes longer."""
        try:
            async with asyncio.timeout(seconds):
                await self._loaded.wait()
        except TimeoutError:
            raise BusUnavailable(f"table {self._topic} is not loaded: {self.fault}") from None

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def get(self, key: str) -> bytes | None:
        return self._rows.get(key)

    def __len__(self) -> int:
        return len(self._rows)

    def items(self) -> Iterator[tuple[str, bytes]]:
        """A snapshot."""
        return iter(list(self._rows.items()))

    def watch(self, watcher: Watcher) -> None:
        """Call for every change, in log order: (key, value), or (key, None) when it went."""
        self._watchers.append(watcher)

    async def put(self, key: str, value: bytes | None, *, seconds: float = 10.0) -> None:
        """Set a value (None deletes it), durable and visible in this table on return.

        Raises BusUnavailable (not loaded, or nothing was stored) and OutcomeUnknown.
        """
        await self.wait(seconds)
        attributes: dict[str, str | int | bool] = {
            "specversion": "1.0",
            "id": uuid7(),
            "source": self._source,
            "type": "io.linkspan.table.row",
            "time": now_rfc3339(),
        }
        ((_, offset),) = await self._bus.append(self._topic, [Event(attributes, value, key.encode())])
        self._wake.set()
        try:
            async with asyncio.timeout(seconds):
                while self._next <= offset:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise BusUnavailable(f"table {self._topic} does not follow its topic: {self.fault}") from None

    async def _run(self) -> None:
        unfollow: Callable[[], None] | None = None
        try:
            while True:
                try:
                    if unfollow is None:
                        await self._ensure()
                        unfollow = await self._follow(self._topic, self._wake.set)
                    self._wake.clear()
                    await self._read_on()
                    self.fault = ""
                    self._loaded.set()
                    await self._woken(RECHECK)
                except UnknownTopic:
                    # Deleted under us: begin anew with an empty table.
                    if unfollow is not None:
                        unfollow()
                    unfollow = None
                    self._reset()
                except LinkspanError as error:
                    if error.message != self.fault:
                        _log.warning("table_waits", topic=self._topic, reason=error.message)
                    self.fault = error.message
                    await self._woken(RETRY)
        finally:
            if unfollow is not None:
                unfollow()

    async def _woken(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return  # time to look by itself

    async def _ensure(self) -> None:
        try:
            info = await self._bus.describe_topic(self._topic)
        except UnknownTopic:
            settings = TopicSettings(partitions=1, cleanup="compact", retention_ms=-1, retention_bytes=-1)
            try:
                info = await self._bus.create_topic(self._topic, settings)
            except TopicExists:
                info = await self._bus.describe_topic(self._topic)
        if info.epoch != self._epoch:
            if self._epoch:
                self._reset()
            self._epoch = info.epoch

    async def _read_on(self) -> None:
        while True:
            try:
                batches = await self._bus.read(self._topic, 0, self._next, READ_BYTES)
            except OffsetOutOfRange as error:
                # The topic was made anew or emptied by hand: what it holds now is the truth.
                _log.warning("table_reread", topic=self._topic, offset=self._next, first=error.first)
                self._reset()
                self._next = error.first
                continue
            except CorruptData as error:
                _log.error("table_row_lost", topic=self._topic, reason=error.message)
                self._next = error.detail["next_offset"]
                continue
            if not batches:
                return
            for batch in batches:
                for event in batch.events:
                    self._apply(event)
                self._next = batch.next_offset
            self._moved.set()

    def _apply(self, event: Event) -> None:
        key = (event.key or b"").decode(errors="replace")
        value = event.data
        if value is None:
            if self._rows.pop(key, None) is None:
                return
        else:
            self._rows[key] = value
        self._tell(key, value)

    def _reset(self) -> None:
        gone, self._rows, self._next = self._rows, {}, 0
        for key in gone:
            self._tell(key, None)

    def _tell(self, key: str, value: bytes | None) -> None:
        for watcher in self._watchers:
            watcher(key, value)
