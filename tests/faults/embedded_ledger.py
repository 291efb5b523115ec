"""What a load was told is stored, and whether a log that was opened again still has it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from gateway.bus.contract import Bus
from gateway.bus.embedded import EmbeddedBus
from gateway.errors import CorruptData
from gateway.event import Event
from tests.faults.embedded_load import KEYS, SETTINGS, TOPICS, data_of

READ_BYTES = 256 * 1024


class Ledger:
    """Acknowledgements by place. What was served once counts as acknowledged from then on: a reader acted on it.

    `power`: the load's storage may go away under it. `torn`: of what was never acknowledged, parts may have
    reached the disk, and may be found damaged.
    """

    def __init__(self, *, power: bool = False, torn: bool = False) -> None:
        self.acknowledged = 0
        self.served = 0
        self.unreadable = 0
        self.lost = 0
        self.faults: list[str] = []
        self._power, self._torn = power, torn
        self._epochs: dict[str, str] = {}
        self._gone: set[str] = set()
        self._places: dict[tuple[str, int], dict[int, int]] = {}
        self._ids: dict[tuple[str, int], tuple[int, int]] = {}
        #: Up to where each partition was read and found in order.
        self._seen: dict[tuple[str, int], int] = {}

    def note(self, lines: Iterable[list[str]]) -> None:
        for kind, topic, first, *places in lines:
            if kind == "failed":
                self.faults += [] if self._power else [f"append to {topic} failed: {' '.join((first, *places))}"]
            elif kind == "made":
                self._epochs[topic] = first
            elif kind == "going":
                self._epochs.pop(topic, None)
            elif kind == "gone":
                self._gone.add(topic)
            else:
                self._kept(topic, int(first), places)

    def _kept(self, topic: str, first: int, places: list[str]) -> None:
        self.acknowledged += len(places)
        for number, place in enumerate(places, first):
            partition, offset = map(int, place.split(":"))
            self._store(topic, partition, offset, number)

    def _store(self, topic: str, partition: int, offset: int, number: int) -> None:
        known = self._places.setdefault((topic, partition), {})
        if known.setdefault(offset, number) != number:
            self.faults.append(f"{topic}/{partition} offset {offset} is event {number}, was {known[offset]}")
        if self._ids.setdefault((topic, number), (partition, offset)) != (partition, offset):
            self.faults.append(f"{topic} has event {number} twice, at {partition}:{offset} too")

    async def check(self, folder: Path, *, thoroughly: bool = False) -> None:
        """Open the log and compare; what was read before is read again only when `thoroughly`."""
        bus = EmbeddedBus(folder, maintenance_interval=3600, **SETTINGS)  # type: ignore[arg-type]
        await bus.start()
        try:
            self.faults.extend(bus.health().reasons + bus.health().degraded)
            names = set(await bus.topics())
            self.faults += [f"topic {name} is lost" for name in sorted(self._epochs.keys() - names)]
            self.faults += [f"topic {name} was deleted and is back" for name in sorted(self._gone & names)]
            for name in sorted(names):
                await self._topic(bus, name, thoroughly)
        finally:
            await bus.close()

    async def _topic(self, bus: Bus, name: str, thoroughly: bool) -> None:
        epoch = (await bus.describe_topic(name)).epoch
        if self._epochs.setdefault(name, epoch) != epoch:
            self.faults.append(f"topic {name} has epoch {epoch}, was {self._epochs[name]}")
        for partition, bounds in enumerate(await bus.bounds(name)):
            place = name, partition
            if bounds.next < self._seen.get(place, 0):
                self.faults.append(f"{name}/{partition} ends at {bounds.next}, once at {self._seen[place]}")
            start = bounds.first if thoroughly else max(bounds.first, self._seen.get(place, 0))
            found = await self._read(bus, name, partition, start, bounds.next)
            self._compare(name, partition, start, found)
            self._seen[place] = bounds.next

    async def _read(self, bus: Bus, topic: str, partition: int, offset: int, end: int) -> list[Event]:
        found: list[Event] = []
        while offset < end:
            try:
                batches = await bus.read(topic, partition, offset, READ_BYTES)
            except CorruptData as error:
                self.unreadable += error.detail["next_offset"] - offset
                if not self._torn:
                    self.faults.append(error.message)
                offset = error.detail["next_offset"]
                continue
            for batch in batches:
                found += batch.events
                offset = batch.next_offset
        return found

    def _compare(self, topic: str, partition: int, start: int, found: list[Event]) -> None:
        self.served += len(found)
        offsets = [event.offset for event in found]
        if any(later <= earlier for earlier, later in pairwise(offsets)):
            self.faults.append(f"{topic}/{partition} is out of order")
        for event in found:
            number = int(str(event.attributes["id"]))
            self._store(topic, partition, event.offset, number)
            if event.data != data_of(topic, number):
                self.faults.append(f"{topic}/{partition} offset {event.offset} is served torn")
        known = self._places.get((topic, partition), {})
        lost = {offset for offset in known if offset >= start} - set(offsets)
        if topic in TOPICS and TOPICS[topic].cleanup == "compact":
            lost &= set({known[offset] % KEYS: offset for offset in sorted(known)}.values())
        self.lost += len(lost)
        self.faults += [f"{topic}/{partition} offset {offset} is lost" for offset in sorted(lost)[:20]]
