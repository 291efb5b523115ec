"""The one event: CloudEvents 1.0 attributes, raw data, and its place in the log."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from routing.attributes import REQUIRED, Value, attribute_fault, canonical

Headers: TypeAlias = Sequence[tuple[str, bytes]]


class Event(msgspec.Struct, gc=False, eq=False):
    """One event, in memory. Treat it as immutable: batches are shared by all readers.

    `raw` is either the attributes, or the record headers that they are read from when
    somebody first asks: an eager dict would halve the reading rate. `value` likewise is
    the record's value, which is the data unless the record holds a structured event.
    `topic, partition, offset, timestamp_ms` (append time, milliseconds since 1970) are set by
    the bus; offset -1 means "not stored".
    """

    raw: dict[str, Value] | list[tuple[str, bytes]]
    value: bytes | None = None
    key: bytes | None = None
    topic: str = ""
    partition: int = -1
    offset: int = -1
    timestamp_ms: int = 0

    @property
    def attributes(self) -> dict[str, Value]:
        """CloudEvents attributes by name, `datacontenttype` included, `data` excluded."""
        raw = self.raw
        if type(raw) is dict:
            return raw
        from gateway.bus.binding import resolve  # the Kafka binding: only it knows headers

        return resolve(self)

    @property
    def data(self) -> bytes | None:
        """The payload, untouched; None is "no data", b"" is empty data."""
        if type(self.raw) is not dict:
            _ = self.attributes
        return self.value

    @property
    def subject(self) -> str | None:
        value = self.attributes.get("subject")
        return None if value is None else str(value)


def event_faults(attributes: Mapping[str, object]) -> list[tuple[str, str]]:
    """All faults of a set of attributes as (attribute, message); empty when it is valid."""
    faults = [(name, "is required") for name in REQUIRED if name not in attributes]
    for name, value in attributes.items():
        fault = attribute_fault(name, value)
        if fault:
            faults.append((name, fault))
    return faults


def default_key(attributes: Mapping[str, Value]) -> bytes | None:
    """The Kafka key of an event: `partitionkey`, else `subject`, else none."""
    key = attributes.get("partitionkey")
    if key is None:
        key = attributes.get("subject")
    return None if key is None else canonical(key).encode()


def now_rfc3339() -> str:
    """The current time in UTC with microseconds, as in the `time` attribute."""
    global _second
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    known, text = _second
    if known != seconds:
        text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(seconds))
        _second = (seconds, text)
    return f"{text}{nanos // 1000:06d}Z"


_second = (-1, "")


def uuid7() -> str:
    """A UUIDv7 (RFC 9562, 5.7): unique, and ordered by time to the millisecond."""
    millis = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    number = (millis << 80) | (0x7 << 76) | ((random >> 68) << 64) | (0b10 << 62) | (random & ((1 << 62) - 1))
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
