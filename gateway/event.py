"""The one event: CloudEvents 1.0 attributes, raw data, and its place in the log."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from gateway.address import subject_fault

Value: TypeAlias = str | int | bool
Headers: TypeAlias = Sequence[tuple[str, bytes]]

REQUIRED = ("id", "source", "type", "specversion")
#: Attribute values are at most this long once encoded; the whole set is bounded by the bus.
MAX_ATTRIBUTE_BYTES = 64 * 1024

_NAME = re.compile(r"[a-z0-9]{1,64}\Z")
# CloudEvents 1.0.2, 2.4 (String): no control characters, surrogates or noncharacters.
STRING_ILLEGAL = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_TIME = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)\Z",
    re.ASCII,
)
# RFC 3986, 2: neither reserved nor unreserved, or a percent sign without its two digits.
_URI_ILLEGAL = re.compile(r'[\s<>"{}|\\^`]|%(?![0-9A-Fa-f]{2})')
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# RFC 9110, 8.3.1; it becomes a header on several wires, so it stays ASCII.
_MEDIA_TYPE = re.compile(r"[\w!#$%&'*+.^`|~-]+/[\w!#$%&'*+.^`|~-]+ *(?:;[ -~]*)?\Z", re.ASCII)
_DAYS = {"04": "30", "06": "30", "09": "30", "11": "30"}
_INTEGER = range(-(2**31), 2**31)


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


def canonical(value: Value) -> str:
    """The canonical string of an attribute value (CloudEvents 1.0.2, 2.4)."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    return str(value)


def name_legal(name: str) -> bool:
    """Whether an attribute may have this name (see `attribute_fault`)."""
    return _NAME.match(name) is not None and name != "data"


def attribute_fault(name: str, value: object) -> str | None:
    """Say what is wrong with one attribute, or None when it is legal.

    Clause: CloudEvents 1.0.2, sections 2.3 to 2.5 and 3.1. Names of up to 64 characters
    are accepted where the specification recommends 20.
    """
    if name not in _CHECKS and not _NAME.match(name):
        return "an attribute name has 1 to 64 characters of a-z and 0-9"
    if name == "data":
        return "'data' is no attribute name"
    if type(value) is bool or type(value) is int:
        if name in _STRING_ONLY:
            return f"must be a string, not {canonical(value)}"
        return None if type(value) is bool or value in _INTEGER else "integers have 32 bits"
    if type(value) is not str:
        return f"must be a string, an integer or a boolean, not {type(value).__name__}"
    # isprintable() is quick; what it refuses (an emoji joiner, say) may still be legal.
    if not value.isprintable() and STRING_ILLEGAL.search(value):
        return "has a control character, surrogate or noncharacter"
    if len(value) > MAX_ATTRIBUTE_BYTES // 4 and len(value.encode()) > MAX_ATTRIBUTE_BYTES:
        return f"is longer than {MAX_ATTRIBUTE_BYTES} bytes"
    check = _CHECKS.get(name)
    return check(value) if check else None


def event_faults(attributes: Mapping[str, object]) -> list[tuple[str, str]]:
    """All faults of a set of attributes as (attribute, message); empty when it is valid."""
    faults = [(name, "is required") for name in REQUIRED if name not in attributes]
    for name, value in attributes.items():
        fault = attribute_fault(name, value)
        if fault:
            faults.append((name, fault))
    return faults


def _not_empty(value: str) -> str | None:
    return None if value else "must not be empty"


def _uri_reference(value: str) -> str | None:
    if not value:
        return "must not be empty"
    return "is not a URI reference" if _URI_ILLEGAL.search(value) else None


def _uri(value: str) -> str | None:
    if not _SCHEME.match(value) or _URI_ILLEGAL.search(value):
        return "is not an absolute URI"
    return None


def _time(value: str) -> str | None:
    if not _TIME.match(value):
        return "is not an RFC 3339 time"
    month, day = value[5:7], value[8:10]
    if month == "02" and day > "28":
        year = int(value[:4])
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return "names a day that its month does not have" if not (leap and day == "29") else None
    return "names a day that its month does not have" if day > _DAYS.get(month, "31") else None


def _version(value: str) -> str | None:
    return None if value == "1.0" else f"must be '1.0', not {value[:20]!r}"


def _subject(value: str) -> str | None:
    return subject_fault(value) if value else "must not be empty (leave it out instead)"


def _media_type(value: str) -> str | None:
    return None if _MEDIA_TYPE.match(value) else "is not a media type"


_CHECKS = {
    "id": _not_empty,
    "source": _uri_reference,
    "type": _not_empty,
    "specversion": _version,
    "subject": _subject,
    "time": _time,
    "expirytime": _time,
    "dataschema": _uri,
    "datacontenttype": _media_type,
}
_STRING_ONLY = frozenset(_CHECKS)
#: Attributes that have rules beside those that hold for all.
RULED = tuple(_CHECKS)


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
