"""One partition's way to Kafka: a queue of parts, and at most one batch on the wire.

With one batch on the wire order is kept whatever is repeated, and the producer's sequence is
known at every moment. A batch that Kafka certainly did not store dissolves back into the queue;
one whose fate is open (`Flight`) is repeated with the same bytes and sequence until it is known.
"""

from __future__ import annotations

import struct
import time
from collections import deque

from aiokafka.record.util import calc_crc32c

from gateway.bus.contract import Compression
from gateway.bus.kafka.calls import Part, Slice
from gateway.bus.records import encode_records
from gateway.errors import LinkspanError
from gateway.event import Event

_PRODUCER = struct.Struct(">qhi")
_PRODUCER_AT, _CRC_AT, _CHECKED_FROM = 43, 17, 21
#: Uncompressed bytes that make a good batch: beyond it compression gains nothing.
BATCH_BYTES = 1024 * 1024
_SEQUENCES = 2**31


class ProducerId:
    """An idempotent producer's identity. A new one begins all sequences anew."""

    __slots__ = ("epoch", "id")

    def __init__(self, number: int, epoch: int) -> None:
        self.id, self.epoch = number, epoch


class Flight:
    """An encoded batch that was put on the wire and is not known to be stored or refused."""

    __slots__ = ("batch", "count", "doubtful", "producer", "sequence", "slices", "timestamp_ms")

    def __init__(self, slices: list[Slice], batch: bytearray, timestamp_ms: int, producer: ProducerId, sequence: int):
        self.slices, self.batch, self.timestamp_ms = slices, batch, timestamp_ms
        self.producer, self.sequence = producer, sequence
        self.count = sum(each.stop - each.start for each in slices)
        #: An attempt ended without an answer: from then on a refusal proves nothing.
        self.doubtful = False

    @property
    def deadline(self) -> float:
        return max(each.part.call.deadline for each in self.slices)


class Lane:
    """`busy` while its batch is in a request; `cap` bounds the events of a batch, `alone` the
    number of batches that take one part each, after Kafka refused a batch of several."""

    __slots__ = ("alone", "busy", "cap", "flight", "key", "not_before", "parts", "producer", "sequence")

    def __init__(self, topic: str, partition: int) -> None:
        self.key = (topic, partition)
        self.parts: deque[Part] = deque()
        self.flight: Flight | None = None
        self.busy = False
        self.cap = 0
        self.alone = 0
        self.not_before = 0.0
        self.producer: ProducerId | None = None
        self.sequence = 0

    @property
    def idle(self) -> bool:
        return not self.parts and self.flight is None

    def take_off(self, producer: ProducerId, compression: Compression, max_bytes: int) -> Flight:
        """Encode the next batch, as large as is good and allowed."""
        if self.producer is not producer:
            self.producer, self.sequence = producer, 0
        slices = self._gather(min(BATCH_BYTES, max_bytes))
        now = time.time_ns() // 1_000_000
        batch = encode_records(_events(slices), now, compression)
        while len(batch) > max_bytes and (count := _count(slices)) > 1:
            slices = _halve(slices, count // 2)
            batch = encode_records(_events(slices), now, compression)
        stamp(batch, producer, self.sequence)
        for each in slices:
            each.part.at = each.stop
        while self.parts and not self.parts[0].rest:
            self.parts.popleft()
        self.flight = Flight(slices, batch, now, producer, self.sequence)
        return self.flight

    def _gather(self, room: int) -> list[Slice]:
        slices: list[Slice] = []
        most = self.cap or 1_000_000
        for part in self.parts:
            each = max(1, part.weight // len(part.places))
            fits = min(part.rest, most, max(0 if slices else 1, room // each))
            if not fits:
                break
            slices.append(Slice(part, part.at, part.at + fits))
            room -= fits * each
            most -= fits
            if self.alone or part.at + fits < len(part.places):
                break
        return slices

    def landed(self) -> Flight:
        """The batch is stored: its sequence numbers are used up."""
        flight = self.flight
        assert flight is not None
        self.sequence = (self.sequence + flight.count) % _SEQUENCES
        self.cap = 0
        self.alone = max(0, self.alone - 1)
        self.flight = None
        return flight

    def dissolve(self) -> Flight:
        """The batch is certainly not stored: its events stand in the queue again, first."""
        flight = self.flight
        assert flight is not None
        for each in reversed(flight.slices):
            each.part.at = each.start
            if not self.parts or self.parts[0] is not each.part:
                self.parts.appendleft(each.part)
        self.flight = None
        return flight

    def refuse(self, error: LinkspanError) -> None:
        """The batch is refused for good: its events fail, the sequence stays."""
        flight = self.flight
        assert flight is not None
        self.alone = max(0, self.alone - 1)
        self.flight = None
        for each in flight.slices:
            each.part.call.fail(each.stop - each.start, error)

    def abandon(self, error: LinkspanError) -> None:
        """Nobody will know what became of the batch: a new producer id is needed."""
        self.producer = None
        self.refuse(error)

    def drop(self, error: LinkspanError, before: float = float("inf")) -> None:
        """Fail what is queued and due before `before`; calls stand in the order of their deadlines."""
        while self.parts and self.parts[0].call.deadline < before:
            part = self.parts.popleft()
            rest = part.rest
            part.places = part.places[: part.at]  # what is on the wire may still come back
            part.call.fail(rest, error)


def stamp(batch: bytearray, producer: ProducerId, sequence: int) -> None:
    """Write the producer's identity and the first sequence number into a finished batch."""
    _PRODUCER.pack_into(batch, _PRODUCER_AT, producer.id, producer.epoch, sequence)
    struct.pack_into(">I", batch, _CRC_AT, calc_crc32c(bytes(memoryview(batch)[_CHECKED_FROM:])))


def _events(slices: list[Slice]) -> list[Event]:
    events: list[Event] = []
    for each in slices:
        all_of_it = each.part.call.events
        places = each.part.places
        if each.start == 0 and each.stop == len(places) == len(all_of_it):
            events += all_of_it
        else:
            events += [all_of_it[place] for place in places[each.start : each.stop]]
    return events


def _count(slices: list[Slice]) -> int:
    return sum(each.stop - each.start for each in slices)


def _halve(slices: list[Slice], count: int) -> list[Slice]:
    """The first `count` events of the slices."""
    kept: list[Slice] = []
    for each in slices:
        take = min(count, each.stop - each.start)
        if take:
            kept.append(Slice(each.part, each.start, each.start + take))
        count -= take
    return kept
