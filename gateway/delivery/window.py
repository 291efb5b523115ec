"""Recent and re-read batches in memory, bounded in bytes, shared by all readers.

Two parts: the **window** holds what the tail brought last, so that most catching up never
touches the disk; **chunks** hold what was read from the log, so that readers on the same range
share one read and one decoding. Readers that stand inside a chunk take its rest and meet there.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right, insort
from collections import OrderedDict, deque
from collections.abc import Sequence

from gateway.bus.contract import Batch, Bus

#: Bytes of one read from the log: large enough to be quick, small enough to take turns.
CHUNK = 128 * 1024
#: What an event weighs in memory beyond its bytes: the object, its headers or attributes.
EVENT_WEIGHT = 500
#: Reads of the log under way at once, for all readers together.
READS = 8


def weight(batch: Batch) -> int:
    """An estimate of what a batch holds in memory, in bytes."""
    return batch.size + EVENT_WEIGHT * len(batch.events) + 200


class _Run:
    """Adjoining batches of one partition; those before `head` are gone."""

    __slots__ = ("batches", "head", "topic")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.batches: list[Batch] = []
        self.head = 0

    def find(self, offset: int, max_bytes: int) -> list[Batch]:
        at = bisect_right(self.batches, offset, lo=self.head, key=_next_offset)
        if at == len(self.batches) or self.batches[at].base_offset > offset:
            return []
        return _cut(self.batches, at, offset, max_bytes)

    def forget_first(self) -> None:
        self.head += 1
        if self.head > 64 and self.head * 2 > len(self.batches):
            del self.batches[: self.head]
            self.head = 0


class Window:
    """The last batches of the tail, the oldest of all topics dropped first."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._runs: dict[tuple[str, int], _Run] = {}
        self._order: deque[tuple[_Run, int]] = deque()
        self.bytes = 0

    def put(self, batch: Batch) -> None:
        """A batch of the tail. After a gap in its partition the window begins anew there."""
        lane = (batch.topic, batch.partition)
        run = self._runs.get(lane)
        if run is None or (run.batches and run.batches[-1].next_offset != batch.base_offset):
            # The old run stays in the order until its bytes were given back.
            run = self._runs[lane] = _Run(batch.topic)
        run.batches.append(batch)
        size = weight(batch)
        self._order.append((run, size))
        self.bytes += size
        while self.bytes > self.max_bytes:
            oldest, freed = self._order.popleft()
            oldest.forget_first()
            self.bytes -= freed

    def find(self, topic: str, partition: int, offset: int, max_bytes: int) -> list[Batch]:
        """Adjoining batches from exactly `offset` on; [] when it is not in the window."""
        run = self._runs.get((topic, partition))
        return [] if run is None else run.find(offset, max_bytes)

    def forget(self, topic: str) -> None:
        """The topic is gone: nothing of it is held any more."""
        for lane in [lane for lane in self._runs if lane[0] == topic]:
            del self._runs[lane]
        self._order = deque(entry for entry in self._order if entry[0].topic != topic)
        self.bytes = sum(size for _, size in self._order)


class Chunks:
    """Results of reads by where they began, least recently used dropped first."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._found: OrderedDict[tuple[str, int, int], tuple[list[Batch], int]] = OrderedDict()
        self._starts: dict[tuple[str, int], list[int]] = {}
        self.bytes = 0

    def put(self, topic: str, partition: int, offset: int, batches: list[Batch]) -> None:
        self._drop((topic, partition, offset))
        size = sum(map(weight, batches))
        if size > self.max_bytes:
            return
        self._found[topic, partition, offset] = (batches, size)
        insort(self._starts.setdefault((topic, partition), []), offset)
        self.bytes += size
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._found)))

    def find(self, topic: str, partition: int, offset: int, max_bytes: int) -> list[Batch]:
        """The rest of the chunk that holds `offset` and those that adjoin; [] when there is none."""
        found = self._rest(topic, partition, offset)
        size = sum(batch.size for batch in found)
        while found and size < max_bytes:
            adjoining = self._found.get((topic, partition, found[-1].next_offset))
            if adjoining is None:
                break
            found += adjoining[0]
            size += sum(batch.size for batch in adjoining[0])
        return found

    def _rest(self, topic: str, partition: int, offset: int) -> list[Batch]:
        starts = self._starts.get((topic, partition))
        at = bisect_right(starts, offset) if starts else 0
        if not starts or not at:
            return []
        key = (topic, partition, starts[at - 1])
        batches = self._found[key][0]
        if batches[-1].next_offset <= offset:
            return []
        self._found.move_to_end(key)
        return _cut(batches, bisect_right(batches, offset, key=_next_offset), offset, self.max_bytes)

    def forget(self, topic: str) -> None:
        for key in [key for key in self._found if key[0] == topic]:
            self._drop(key)

    def _drop(self, key: tuple[str, int, int]) -> None:
        known = self._found.pop(key, None)
        if known is None:
            return
        self.bytes -= known[1]
        starts = self._starts[key[:2]]
        starts.remove(key[2])
        if not starts:
            del self._starts[key[:2]]


class SharedLog:
    """Reads a bus through the window and the chunks; equal reads under way are one.

    Raises what `Bus.read` raises. A read goes on when its caller is cancelled: its result
    serves the next one.
    """

    def __init__(self, bus: Bus, max_bytes: int = 24 * 2**20) -> None:
        self._bus = bus
        self._window, self._chunks = Window(max_bytes), Chunks(max_bytes)
        self.resize(max_bytes)
        self._under_way: dict[tuple[str, int, int], asyncio.Task[list[Batch]]] = {}
        self._tasks: set[asyncio.Task[list[Batch]]] = set()
        self._turns = asyncio.Semaphore(READS)
        self._serial: dict[str, int] = {}
        #: Reads that went to the bus, and those answered from memory.
        self.reads = 0
        self.shared = 0

    def resize(self, max_bytes: int) -> None:
        self._window.max_bytes, self._chunks.max_bytes = max_bytes * 2 // 3, max_bytes // 3

    @property
    def bytes(self) -> int:
        """What is kept in memory now."""
        return self._window.bytes + self._chunks.bytes

    def put(self, batch: Batch) -> None:
        """A batch of the tail."""
        self._window.put(batch)

    async def read(self, topic: str, partition: int, offset: int, max_bytes: int = CHUNK) -> Sequence[Batch]:
        """As `Bus.read`."""
        found = self._window.find(topic, partition, offset, max_bytes) or self._chunks.find(
            topic, partition, offset, max_bytes
        )
        if found:
            self.shared += 1
            # Memory answers at once: give the live edge its turn all the same.
            await asyncio.sleep(0)
            return found
        key = (topic, partition, offset)
        task = self._under_way.get(key)
        if task is None:
            name = f"read {topic}/{partition}@{offset}"
            task = self._under_way[key] = asyncio.create_task(self._read(key, max_bytes), name=name)
            self._tasks.add(task)
            task.add_done_callback(self._done)
        else:
            self.shared += 1
        return await asyncio.shield(task)

    def forget(self, topic: str) -> None:
        """The topic was deleted or made anew: nothing of it holds any more."""
        self._serial[topic] = self._serial.get(topic, 0) + 1
        self._window.forget(topic)
        self._chunks.forget(topic)
        for key in [key for key in self._under_way if key[0] == topic]:
            del self._under_way[key]

    async def close(self) -> None:
        """Stop reads that nobody waits for any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, key: tuple[str, int, int], max_bytes: int) -> list[Batch]:
        topic, partition, offset = key
        serial = self._serial.get(topic, 0)
        try:
            async with self._turns:
                self.reads += 1
                batches = await self._bus.read(topic, partition, offset, max_bytes)
            if batches and serial == self._serial.get(topic, 0):
                self._chunks.put(topic, partition, offset, batches)
            return batches
        finally:
            if self._under_way.get(key) is asyncio.current_task():
                del self._under_way[key]

    def _done(self, task: asyncio.Task[list[Batch]]) -> None:
        self._tasks.discard(task)
        # The waiters raise what went wrong; without any left it would be warned about.
        if not task.cancelled():
            task.exception()


def _next_offset(batch: Batch) -> int:
    return batch.next_offset


def _cut(batches: Sequence[Batch], at: int, offset: int, max_bytes: int) -> list[Batch]:
    """From the `at`-th batch on, which holds `offset`, about `max_bytes` of adjoining ones."""
    found = [batches[at].since(offset)]
    size = found[0].size
    for place in range(at + 1, len(batches)):
        if size >= max_bytes:
            break
        found.append(batches[place])
        size += batches[place].size
    return found
