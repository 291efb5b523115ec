"""Record batches on their way to Kafka: filled while they wait, closed when they leave.

Records are encoded the moment they are appended, so that this overlaps with what the broker does,
and so that a batch grows by whatever arrives while the one before it is on the wire.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.bus.contract import Compression
from gateway.bus.kafka.calls import Call
from gateway.bus.records import HEADER_SIZE, enclose, encode_body, encoded_size, set_producer
from gateway.columns import data_at, take

#: Uncompressed bytes that make a good batch: beyond it compression gains little.
BATCH_BYTES = 1024 * 1024


class Oversize(Exception):
    """An event does not fit into any batch that the topic takes."""


class ProducerId(msgspec.Struct, frozen=True, eq=False):
    """An idempotent producer's identity. A new one begins all sequences anew."""

    id: int
    epoch: int


class Form(msgspec.Struct, frozen=True):
    """How a topic wants its batches: the codec, and the most bytes of one."""

    compression: Compression
    max_bytes: int


class Part:
    """Events of one call that stand together in a parcel; `places` are theirs in the call."""

    __slots__ = ("call", "places")

    def __init__(self, call: Call, places: Sequence[int]) -> None:
        self.call, self.places = call, places


class Parcel:
    """One record batch. It takes parts until it is full or `close` finishes it."""

    __slots__ = ("_bodies", "batch", "count", "form", "parts", "size", "timestamp_ms")

    def __init__(self, form: Form) -> None:
        self.form = form
        self.parts: list[Part] = []
        self.count = 0
        self.batch = bytearray()
        self.timestamp_ms = 0
        """Of all its records; set by `close`."""
        self.size = HEADER_SIZE
        """Its bytes before compression."""
        self._bodies: list[bytes] = []

    @property
    def open(self) -> bool:
        return not self.batch

    def add(self, call: Call, places: Sequence[int]) -> int:
        """Take as many of the events as fit, in order; the result is how many. Raises Oversize."""
        room = min(BATCH_BYTES, self.form.max_bytes) - self.size
        likely = 100 + len(data_at(call.events, places[0]) or b"")
        taken = min(len(places), max(1, room // likely))
        body = encode_body(take(call.events, places[:taken]), self.count)
        while len(body) > room:
            # Only a lone event may exceed what is good; what is allowed, none.
            if taken == 1 and not self.count:
                if encoded_size(call.events[places[0]]) > self.form.max_bytes:
                    raise Oversize
                break
            taken = min(taken - 1, taken * room // len(body))
            if taken <= 0 and self.count:
                return 0
            taken = max(1, taken)
            body = encode_body(take(call.events, places[:taken]), self.count)
        self._bodies.append(body)
        self.size += len(body)
        self.count += taken
        self.parts.append(Part(call, places if taken == len(places) else places[:taken]))
        return taken

    def close(self, producer: ProducerId, sequence: int, timestamp_ms: int) -> None:
        """Finish the batch as this producer's, from this sequence number on. Repeatable."""
        identity = (producer.id, producer.epoch, sequence)
        if self.batch:
            set_producer(self.batch, identity)
            return
        self.timestamp_ms = timestamp_ms
        self.batch = enclose(b"".join(self._bodies), self.count, timestamp_ms, self.form.compression, identity)
        self._bodies = []


def repack(parts: Sequence[Part], form: Form, most: int = 2**31) -> list[Parcel]:
    """Put parts into new parcels, at most `most` events each."""
    parcels: list[Parcel] = []
    for part in parts:
        places = part.places
        while places:
            if not parcels or parcels[-1].count >= most:
                parcels.append(Parcel(form))
            taken = parcels[-1].add(part.call, places[: most - parcels[-1].count])
            places = places[taken:]
            if places and parcels[-1].count < most:
                parcels.append(Parcel(form))
    return parcels
