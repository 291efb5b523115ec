"""The CloudEvents Kafka binding, and Kafka's record batches (format v2) as both buses store them.

Encoding writes binary mode: `ce_*` headers, `content-type`, the data as the value.
Reading accepts that, structured mode (`content-type: application/cloudevents+json`), and raw
records of others, whose missing attributes are made up from their place in the log.

Layout of a batch (big-endian): base offset (8), length of what follows (4), leader epoch (4),
magic (1), CRC-32C of everything after it (4), attributes (2), last offset delta (4), first and
max timestamp (8, 8), producer id (8), epoch (2), base sequence (4), record count (4), records.
The base offset is outside the checksum, so that a log can set it on a finished batch.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterable, Sequence

import cramjam
import google_crc32c
import msgspec
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.errors import CorruptRecordException
from aiokafka.partitioner import murmur2
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from gateway.bus.columns import encode_columns
from gateway.bus.contract import Batch, Compression
from gateway.columns import Columns
from gateway.errors import CorruptData, LinkspanError
from gateway.event import REQUIRED, STRING_ILLEGAL, Event, Value, attribute_fault, canonical, name_legal

HEADER_SIZE = 61
#: Offset of `attributes`; the checksum covers everything from here on.
_CHECKED_FROM = 21
_PRODUCER_AT = 43
_HEADER = struct.Struct(">qiibIhiqqqhii")
_LENGTH_AT = 8
#: One batch never inflates beyond this, whatever its sender claims.
MAX_INFLATED = 64 * 1024 * 1024

CODECS: dict[Compression, int] = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_XERIAL = b"\x82SNAPPY\x00"
_STRUCTURED = "application/cloudevents+json"
_CONTENT_TYPE = "content-type"
# Attribute name <-> header name, both ways; bounded, since others choose the names.
_TO_HEADER: dict[str, str] = {"datacontenttype": _CONTENT_TYPE}
_FROM_HEADER: dict[str, str] = {}
_IGNORED = "-"
_NAMES_KEPT = 1024
_SUBJECT = "ce_subject"
_STRUCTURED_BYTES = _STRUCTURED.encode()
# Subjects repeat. Emptied when full.
_SUBJECTS: dict[bytes, str] = {}
_SUBJECTS_KEPT = 10_000
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


class _Pairs(dict[tuple[str, Value], tuple[str, bytes]]):
    """(attribute, value) -> record header. Most values repeat from event to event: their headers are kept.

    Only strings are kept, since 1 and True are one dict key and two header values.
    """

    def __missing__(self, item: tuple[str, Value]) -> tuple[str, bytes]:
        name, value = item
        header = _TO_HEADER.get(name) or _header_name(name)
        if type(value) is not str:
            return header, canonical(value).encode()
        pair = header, value.encode()
        if name not in _UNIQUE and len(value) <= _PAIR_LENGTH:
            if len(self) >= _PAIRS_KEPT:
                self.clear()
            self[item] = pair
        return pair


_UNIQUE = frozenset({"id", "time"})
_PAIRS_KEPT = 4096
_PAIR_LENGTH = 128
_pair = _Pairs().__getitem__


def headers_of(event: Event) -> list[tuple[str, bytes]]:
    """The record headers of an event (Kafka binding, 3.2: binary content mode)."""
    raw = event.raw
    return list(map(_pair, (raw if type(raw) is dict else event.attributes).items()))


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
    records = encode_columns(events, _header_bytes, first) if len(events) >= _COLUMNS_FROM else None
    if records is not None:
        return records
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 2**31 - 1)
    append = builder.append
    for place, event in enumerate(events, first):
        append(place, 0, key_of(event), event.value, headers_of(event))
    return bytes(memoryview(builder.build())[HEADER_SIZE:])


#: From so many events on, encoding by columns is the faster way.
_COLUMNS_FROM = 6
_COMPRESS: dict[int, Callable[[bytes], bytes]] = {1: gzip_encode, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}


def _header_bytes(name: str) -> bytes:
    return (_TO_HEADER.get(name) or _header_name(name)).encode()


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
        smaller = _COMPRESS[codec](body)
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


def key_of(event: Event) -> bytes | None:
    """The event's key; one without gets the default, which then stays with it."""
    key = event.key
    if key is None:
        attributes = event.attributes
        name = "partitionkey" if "partitionkey" in attributes else "subject"
        value = attributes.get(name)
        if value is not None:
            key = event.key = _pair((name, value))[1]
    return key


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
            plain = _inflated(bytes(batch), header.codec)
            records = DefaultRecordBatch(plain)
            events = [Event(r.headers, r.value, r.key, topic, partition, r.offset, r.timestamp) for r in records]
        except _UNREADABLE as error:
            raise _corrupt(header, topic, partition, str(error) or type(error).__name__) from error
        size = len(plain) + EVENT_OVERHEAD * len(events)
    return Batch(topic, partition, header.base_offset, header.next_offset, events, size, header.max_timestamp)


_UNREADABLE = (
    CorruptRecordException,
    cramjam.DecompressionError,
    zlib.error,
    UnicodeDecodeError,
    ValueError,
    IndexError,
    struct.error,
)


def _corrupt(header: BatchHeader, topic: str, partition: int, why: str) -> LinkspanError:
    return CorruptData(
        f"the batch at {topic}/{partition} offset {header.base_offset} is damaged: {why}",
        topic=topic,
        partition=partition,
        offset=header.base_offset,
        next_offset=header.next_offset,
    )


def _inflated(batch: bytes, codec: int) -> bytes:
    """The same batch without compression, inflated within MAX_INFLATED."""
    if codec == 0:
        return batch
    body = _INFLATE[codec](batch[HEADER_SIZE:]) if codec in _INFLATE else None
    if body is None:
        raise ValueError(f"unknown compression {codec}")
    head = bytearray(batch[:HEADER_SIZE])
    struct.pack_into(">i", head, _LENGTH_AT, HEADER_SIZE - 12 + len(body))
    head[_CHECKED_FROM + 1] &= ~0x07
    return bytes(head) + body


def _gunzip(data: bytes) -> bytes:
    inflater = zlib.decompressobj(31)
    body = inflater.decompress(data, MAX_INFLATED)
    if not inflater.eof:
        raise ValueError(f"inflates beyond {MAX_INFLATED} bytes, or is cut short")
    return body


def _unsnappy(data: bytes) -> bytes:
    if not data.startswith(_XERIAL):
        return _unsnappy_block(data, MAX_INFLATED)
    at, parts, room = 16, [], MAX_INFLATED
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        parts.append(_unsnappy_block(data[at + 4 : end], room))
        room -= len(parts[-1])
        at = end
    return b"".join(parts)


def _unsnappy_block(block: bytes, room: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(block) > room:
        raise ValueError(f"inflates beyond {MAX_INFLATED} bytes")
    return bytes(cramjam.snappy.decompress_raw(block))


def _grow(into: Callable[[bytes, bytearray], int]) -> Callable[[bytes], bytes]:
    """A decoder that tries ever larger buffers: cramjam has no bound of its own."""

    def inflate(data: bytes) -> bytes:
        room = min(MAX_INFLATED, max(64 * 1024, 8 * len(data)))
        while True:
            out = bytearray(room)
            try:
                return bytes(memoryview(out)[: into(data, out)])
            except cramjam.DecompressionError:
                if room >= MAX_INFLATED:
                    raise
                room = min(MAX_INFLATED, 4 * room)

    return inflate


_INFLATE: dict[int, Callable[[bytes], bytes]] = {
    1: _gunzip,
    2: _unsnappy,
    3: _grow(cramjam.lz4.decompress_into),
    4: _grow(cramjam.zstd.decompress_into),
}


def resolve(event: Event) -> dict[str, Value]:
    """Turn an event's record headers into its attributes, once; called by `Event.attributes`.

    An attribute that is illegal (others write to Kafka too) is left out; a required one that is
    missing is made up from the event's place, which is the same for every reader.
    """
    headers = event.raw
    if isinstance(headers, dict):
        return headers
    names = _FROM_HEADER
    attributes: dict[str, Value] = {}
    try:
        for header, value in headers:
            name = names.get(header) or _attribute_name(header)
            if name != _IGNORED and value is not None:
                attributes[name] = value.decode()
    except UnicodeDecodeError:
        attributes = _decodable(headers)
    kind = attributes.get("datacontenttype")
    if kind is not None and str(kind)[:28].lower() == _STRUCTURED and _resolve_structured(event):
        return event.attributes
    _complete(event, attributes)
    event.raw = attributes
    return attributes


def subject_of(event: Event) -> str | None:
    """As `event.subject`, without decoding what else the headers hold, where that can be had.

    For those who look through many events for a few: a fifth of the time.
    """
    raw = event.raw
    if isinstance(raw, dict):
        return event.subject
    headers = dict(raw)
    encoded = headers.get(_SUBJECT)
    kind = headers.get(_CONTENT_TYPE)
    if kind is not None and kind[:28].lower() == _STRUCTURED_BYTES:
        return event.subject
    if encoded is None:
        return None
    subject = _SUBJECTS.get(encoded)
    if subject is None:
        subject = _plain(encoded)
        if subject is None:
            return event.subject
        if len(_SUBJECTS) >= _SUBJECTS_KEPT:
            _SUBJECTS.clear()
        _SUBJECTS[encoded] = subject
    return subject


def _plain(encoded: bytes) -> str | None:
    """The subject, if it is one that every reader takes as it is."""
    try:
        subject = encoded.decode()
    except UnicodeDecodeError:
        return None
    return None if attribute_fault("subject", subject) else subject


def _decodable(headers: list[tuple[str, bytes]]) -> dict[str, Value]:
    attributes: dict[str, Value] = {}
    for header, value in headers:
        name = _attribute_name(header)
        if name != _IGNORED and value is not None:
            try:
                attributes[name] = value.decode()
            except UnicodeDecodeError:
                continue  # not ours, and not text: the attribute is left out, the event is served
    return attributes


def _attribute_name(header: str) -> str:
    """The attribute that a header stands for (Kafka binding, 3.2.4), or _IGNORED."""
    if header == _CONTENT_TYPE:
        name = "datacontenttype"
    else:
        name = header[3:] if header[:3] == "ce_" and name_legal(header[3:]) else _IGNORED
    if len(_FROM_HEADER) < _NAMES_KEPT:
        _FROM_HEADER[header] = name
    return name


def _resolve_structured(event: Event) -> bool:
    from gateway.formats import decode_event

    if event.value is None:
        return False
    try:
        inner = decode_event(event.value)
    except LinkspanError:
        return False  # served as a raw record of that content type, with nothing made up in its data
    event.raw, event.value = inner.attributes, inner.data
    return True


def _complete(event: Event, attributes: dict[str, Value]) -> None:
    # Others write to Kafka too. Records of ours are complete and legal; one search over all
    # values tells them apart from those that need a closer look.
    complete = all(map(attributes.__contains__, REQUIRED)) and attributes["specversion"] == "1.0"
    if complete and not STRING_ILLEGAL.search("".join(attributes.values())):  # type: ignore[arg-type]
        return
    for name in [name for name, value in attributes.items() if attribute_fault(name, value)]:
        del attributes[name]
    attributes.setdefault("specversion", "1.0")
    attributes.setdefault("id", f"{event.topic}-{event.partition}-{event.offset}")
    attributes.setdefault("source", f"//kafka/{event.topic}")
    attributes.setdefault("type", "io.linkspan.kafka.message")
    if event.timestamp_ms >= 0:
        seconds, millis = divmod(event.timestamp_ms, 1000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        attributes.setdefault("time", f"{stamp}.{millis:03d}Z")


def _header_name(name: str) -> str:
    header = "ce_" + name
    if len(_TO_HEADER) < _NAMES_KEPT:
        _TO_HEADER[name] = header
    return header


class Partitioner:
    """Kafka's default partitioner for keyed records, with the hashes of recent keys kept.

    murmur2 is pure Python (2 to 5 us), and a stream's keys repeat. Keyless events go round
    robin by call, so that the events of one call stay together.
    """

    def __init__(self, kept: int = 16384) -> None:
        self._hashes: dict[bytes, int] = {}
        self._kept = kept
        self._turn = 0

    def partition(self, key: bytes, partitions: int) -> int:
        """The partition of a key."""
        number = self._hashes.get(key)
        if number is None:
            if len(self._hashes) >= self._kept:
                self._hashes.clear()
            number = self._hashes[key] = murmur2(key) & 0x7FFFFFFF
        return number % partitions

    def split(self, events: Sequence[Event], partitions: int) -> dict[int, list[int]]:
        """The places of the events by partition, in order."""
        self._turn += 1
        spare = self._turn % partitions
        if partitions == 1:
            return {0: list(range(len(events)))}
        split: dict[int, list[int]] = {}
        for place, key in enumerate(_keys_of(events)):
            number = spare if key is None else self.partition(key, partitions)
            split.setdefault(number, []).append(place)
        return split


def _keys_of(events: Sequence[Event]) -> Iterable[bytes | None]:
    if isinstance(events, Columns) and events.intact:
        return [None if key is None else canonical(key).encode() for key in events.key_values()]
    return map(key_of, events)
