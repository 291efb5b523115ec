"""Record batches on their way to Kafka: filled while they wait, closed when they leave.

Records are encoded the moment they are appended, so that this overlaps with what the broker does,
and so that a batch grows by whatever arrives while the one before it is on the wire.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from gateway.bus.contract import Compression
from gateway.bus.kafka.calls import Call
from gateway.bus.records import CODECS, encoded_size, headers_of, key_of

#: Uncompressed bytes that make a good batch: beyond it compression gains little.
BATCH_BYTES = 1024 * 1024
_PRODUCER = struct.Struct(">qhi")
_PRODUCER_AT, _CRC_AT, _CHECKED_FROM = 43, 17, 21


class Oversize(Exception):
    """An event does not fit into any batch that the topic takes."""


class ProducerId:
    """An idempotent producer's identity. A new one begins all sequences anew."""

    __slots__ = ("epoch", "id")

    def __init__(self, number: int, epoch: int) -> None:
        self.id, self.epoch = number, epoch


class Part:
    """Events of one call that stand together in a parcel; `places` are theirs in the call."""

    __slots__ = ("call", "places", "timestamp_ms")

    def __init__(self, call: Call, places: Sequence[int], timestamp_ms: int) -> None:
        self.call, self.places, self.timestamp_ms = call, places, timestamp_ms


class Parcel:
    """One record batch. It takes parts until it is full or `close` finishes it."""

    __slots__ = ("_builder", "batch", "compression", "count", "limit", "parts")

    def __init__(self, compression: Compression, limit: int) -> None:
        self.compression, self.limit = compression, limit
        self.parts: list[Part] = []
        self.count = 0
        self.batch = bytearray()
        self._builder: Any = DefaultRecordBatchBuilder(2, CODECS[compression], 0, -1, -1, -1, min(BATCH_BYTES, limit))

    @property
    def open(self) -> bool:
        return self._builder is not None

    @property
    def size(self) -> int:
        """Its bytes, uncompressed while it is open."""
        return len(self.batch) if self._builder is None else int(self._builder.size())

    def add(self, call: Call, places: Sequence[int], timestamp_ms: int) -> int:
        """Take as many of the events as fit; the result is how many. Raises Oversize."""
        assert self._builder is not None
        append, events, count = self._builder.append, call.events, self.count
        before = self._builder.size()
        first = count
        if first == 0 and encoded_size(events[places[0]]) > self.limit:
            raise Oversize
        for place in places:
            event = events[place]
            key = event.key
            if key is None:
                key = key_of(event)
            if append(count, timestamp_ms, key, event.value, headers_of(event)) is None:
                break
            count += 1
        taken = count - first
        if taken:
            self.count = count
            self.parts.append(Part(call, places if taken == len(places) else places[:taken], timestamp_ms))
            call.weight += self._builder.size() - before
        return taken

    def close(self, producer: ProducerId, sequence: int) -> None:
        """Finish the batch as this producer's, from this sequence number on. Repeatable."""
        if self._builder is None:
            stamp(self.batch, producer, sequence)
            return
        self._builder.set_producer_state(producer.id, producer.epoch, sequence)
        self.batch = self._builder.build()
        self._builder = None
        if len(self.batch) > self.limit and self.compression != "none":
            # What cannot be compressed grows a little, and this one has no room for that.
            plain = repack(self.parts, "none", self.limit)[0]
            plain.close(producer, sequence)
            self.batch = plain.batch


def repack(parts: Sequence[Part], compression: Compression, limit: int, most: int = 2**31) -> list[Parcel]:
    """Put parts into new parcels, at most `most` events each; nothing of them is weighed again."""
    parcels: list[Parcel] = []
    for part in parts:
        places, weight = part.places, part.call.weight
        while places:
            if not parcels or not parcels[-1].open or parcels[-1].count >= most:
                parcels.append(Parcel(compression, limit))
            taken = parcels[-1].add(part.call, places[: most - parcels[-1].count], part.timestamp_ms)
            places = places[taken:]
            if places and parcels[-1].count < most:
                parcels.append(Parcel(compression, limit))
        part.call.weight = weight
    return parcels


def stamp(batch: bytearray, producer: ProducerId, sequence: int) -> None:
    """Write the producer's identity and the first sequence number into a finished batch."""
    _PRODUCER.pack_into(batch, _PRODUCER_AT, producer.id, producer.epoch, sequence)
    struct.pack_into(">I", batch, _CRC_AT, calc_crc32c(bytes(memoryview(batch)[_CHECKED_FROM:])))
