"""Kafka's record batches (format v2) as both buses store them.

Layout of a batch (big-endian): base offset (8), length of what follows (4), leader epoch (4),
magic (1), CRC-32C of everything after it (4), attributes (2), last offset delta (4), first and
max timestamp (8, 8), producer id (8), epoch (2), base sequence (4), record count (4), records.
The base offset is outside the checksum, so that a log can set it on a finished batch.
What stands in a record is the binding's to say (`gateway.bus.binding`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import google_crc32c
import msgspec
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from gateway.bus.binding import header_bytes, headers_of, key_of
from gateway.bus.columns import encode_columns
from gateway.bus.contract import Batch, Compression
from gateway.bus.inflate import BROKEN, CODECS, COMPRESS, inflate
from gateway.errors import CorruptData, LinkspanError
from gateway.event import Event

HEADER_SIZE = 61
#: Offset of `attributes`; the checksum covers everything from here on.
_CHECKED_FROM = 21
_PRODUCER_AT = 43
_HEADER = struct.Struct(">qiibIhiqqqhii")
_LENGTH_AT = 8
#: What an event weighs in memory beside its bytes: the objects, the dict, the headers.
EVENT_OVERHEAD = 400


class BatchHeader(msgspec.Struct, frozen=True, gc=False):
    """The fields of a batch's fixed header; `size` is the whole batch in bytes."""

    base_offset: int
    size: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    max_timestamp: int
    producer_id: int
    records: int

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_offset_delta + 1

    @property
    def codec(self) -> int:
        return self.attributes & 0x07

    @property
    def transactional(self) -> bool:
        return bool(self.attributes & 0x10)

    @property
    def control(self) -> bool:
        return bool(self.attributes & 0x20)


def read_batch_header(buffer: bytes | bytearray | memoryview, at: int = 0) -> BatchHeader:
    """Read the header of the batch that begins at `at`. Raises CorruptData when it cannot be one."""
    if len(buffer) - at < HEADER_SIZE:
        raise CorruptData(f"{len(buffer) - at} bytes are too few for a record batch")
    fields = _HEADER.unpack_from(buffer, at)
    base, length, _, magic, crc, attributes, delta, _, newest, producer, _, _, count = fields
    if magic != 2 or length < HEADER_SIZE - 12 or delta < 0 or count < 0 or base < 0:
        raise CorruptData(f"no record batch of format 2 (magic {magic}, length {length})")
    return BatchHeader(base, length + 12, magic, crc, attributes, delta, newest, producer, count)


def crc_matches(batch: bytes | bytearray | memoryview) -> bool:
    """Whether the CRC-32C of exactly one whole batch holds."""
    stored = int.from_bytes(batch[17:21], "big")
    value: int = google_crc32c.value(bytes(batch[_CHECKED_FROM:]))
    return value == stored


def encode_records(events: Sequence[Event], timestamp_ms: int, compression: Compression = "none") -> bytearray:
    """Encode events as one batch with base offset 0, all appended at `timestamp_ms`.

    An event without a key gets the default one. The caller sets the base offset
    (`set_base_offset`) and bounds the size.
    """
    return enclose(encode_body(events), len(events), timestamp_ms, compression)


def encode_body(events: Sequence[Event], first: int = 0) -> bytes:
    """The events' records without the batch around them, numbered from `first` on, all of one time.

    Bodies that are numbered on from each other make one batch together (see `enclose`).
    """
    records = encode_columns(events, header_bytes, first) if len(events) >= _COLUMNS_FROM else None
    if records is not None:
        return records
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 2**31 - 1)
    append = builder.append
    for place, event in enumerate(events, first):
        append(place, 0, key_of(event), event.value, headers_of(event))
    return bytes(memoryview(builder.build())[HEADER_SIZE:])


#: From so many events on, encoding by columns is the faster way.
_COLUMNS_FROM = 6


#: No idempotent producer: id, epoch, first sequence number.
NO_PRODUCER = (-1, -1, -1)


def enclose(
    body: bytes,
    count: int,
    timestamp_ms: int,
    compression: Compression = "none",
    producer: tuple[int, int, int] = NO_PRODUCER,
) -> bytearray:
    """A batch with base offset 0 around `count` encoded records. What compression would enlarge stays plain."""
    codec = CODECS[compression]
    if codec:
        smaller = COMPRESS[codec](body)
        body, codec = (smaller, codec) if len(smaller) < len(body) else (body, 0)
    batch = bytearray(HEADER_SIZE) + body
    fields = (codec, count - 1, timestamp_ms, timestamp_ms, *producer, count)
    _HEADER.pack_into(batch, 0, 0, len(batch) - 12, -1, 2, 0, *fields)
    struct.pack_into(">I", batch, _CHECKED_FROM - 4, google_crc32c.value(bytes(memoryview(batch)[_CHECKED_FROM:])))
    return batch


def set_producer(batch: bytearray, producer: tuple[int, int, int]) -> None:
    """Make a finished batch another idempotent producer's, or another place in its sequence."""
    struct.pack_into(">qhi", batch, _PRODUCER_AT, *producer)
    struct.pack_into(">I", batch, _CHECKED_FROM - 4, google_crc32c.value(bytes(memoryview(batch)[_CHECKED_FROM:])))


def encode_kept(events: Sequence[Event], compression: Compression = "none") -> bytearray:
    """Encode stored events again as one batch, as they are: offsets with their holes, times, raw headers.

    For compaction. The first event's offset becomes the base offset.
    """
    base = events[0].offset
    builder = DefaultRecordBatchBuilder(2, CODECS[compression], 0, -1, -1, -1, 2**31 - 1)
    for event in events:
        headers = headers_of(event) if type(event.raw) is dict else event.raw
        builder.append(event.offset - base, event.timestamp_ms, event.key, event.value, headers)
    batch: bytearray = builder.build()
    set_base_offset(batch, base)
    return batch


def encoded_size(event: Event) -> int:
    """An upper bound of the event's encoded, uncompressed size as a record, in bytes."""
    size: int = DefaultRecordBatchBuilder.estimate_size_in_bytes(key_of(event), event.value, headers_of(event))
    return size


def set_base_offset(batch: bytearray, offset: int) -> None:
    """Number a finished batch, as a broker does."""
    struct.pack_into(">q", batch, 0, offset)


def decode_records(batch: bytes | bytearray, topic: str, partition: int, *, check: bool = True) -> Batch:
    """Decode exactly one batch; control batches yield no events but move the reader on.

    Headers stay undecoded until an event's attributes are asked for. Raises CorruptData with
    `detail["next_offset"]` when the checksum, the compression or a record is broken.
    """
    header = read_batch_header(batch)
    if check and not crc_matches(batch):
        raise _corrupt(header, topic, partition, "its checksum does not match")
    events: list[Event] = []
    size = header.size
    if not header.control:
        try:
            plain = _plain(bytes(batch), header.codec)
            records = DefaultRecordBatch(plain)
            events = [Event(r.headers, r.value, r.key, topic, partition, r.offset, r.timestamp) for r in records]
        except _UNREADABLE as error:
            raise _corrupt(header, topic, partition, str(error) or type(error).__name__) from error
        size = len(plain) + EVENT_OVERHEAD * len(events)
    return Batch(topic, partition, header.base_offset, header.next_offset, events, size, header.max_timestamp)


_UNREADABLE = (*BROKEN, CorruptRecordException, UnicodeDecodeError, IndexError, struct.error)


def _corrupt(header: BatchHeader, topic: str, partition: int, why: str) -> LinkspanError:
    return CorruptData(
        f"the batch at {topic}/{partition} offset {header.base_offset} is damaged: {why}",
        topic=topic,
        partition=partition,
        offset=header.base_offset,
        next_offset=header.next_offset,
    )


def _plain(batch: bytes, codec: int) -> bytes:
    """The same batch without compression."""
    if codec == 0:
        return batch
    body = inflate(batch[HEADER_SIZE:], codec)
    head = bytearray(batch[:HEADER_SIZE])
    struct.pack_into(">i", head, _LENGTH_AT, HEADER_SIZE - 12 + len(body))
    head[_CHECKED_FROM + 1] &= ~0x07
    return bytes(head) + body
