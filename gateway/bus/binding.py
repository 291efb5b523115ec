"""The CloudEvents Kafka binding: events and the headers of their records.

Writing is binary mode: `ce_*` headers, `content-type`, the data as the value. Reading accepts
that, structured mode (`content-type: application/cloudevents+json`), and raw records of others,
whose missing attributes are made up from their place in the log.
"""

from __future__ import annotations

import time

from gateway.errors import LinkspanError
from gateway.event import Event
from gateway.formats import decode_event
from routing.attributes import REQUIRED, Value, attribute_fault, canonical, name_legal

_STRUCTURED = "application/cloudevents+json"
_CONTENT_TYPE = "content-type"
# Attribute name <-> header name, both ways; bounded, since others choose the names.
_TO_HEADER: dict[str, str] = {"datacontenttype": _CONTENT_TYPE}
_FROM_HEADER: dict[str, str] = {}
_IGNORED = "-"
_NAMES_KEPT = 1024
_SUBJECT = "ce_subject"
_STRUCTURED_BYTES = _STRUCTURED.encode()
# Headers that are legal attributes: most repeat. Emptied when full, as the others are.
_LEGAL: dict[tuple[str, bytes], tuple[str, str]] = {}
_LEGAL_KEPT = 10_000
_LEGAL_LENGTH = 256
_SECONDS: set[str] = set()
_SECONDS_KEPT = 1024
# Subjects repeat.
_SUBJECTS: dict[bytes, str] = {}
_SUBJECTS_KEPT = 10_000


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


def header_bytes(name: str) -> bytes:
    """The record header's name of an attribute."""
    return (_TO_HEADER.get(name) or _header_name(name)).encode()


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


def resolve(event: Event) -> dict[str, Value]:
    """Turn an event's record headers into its attributes, once; called by `Event.attributes`.

    An attribute that is illegal (others write to Kafka too) is left out; a required one that is
    missing is made up from the event's place, which is the same for every reader.
    """
    headers = event.raw
    if isinstance(headers, dict):
        return headers
    attributes: dict[str, Value] = {}
    known = _LEGAL.get
    for header in headers:
        attribute = known(header) or _legal(header)
        if attribute is not None:
            attributes[attribute[0]] = attribute[1]
    kind = attributes.get("datacontenttype")
    if kind is not None and str(kind)[:28].lower() == _STRUCTURED and _resolve_structured(event):
        return event.attributes
    if not all(map(attributes.__contains__, REQUIRED)):
        _complete(event, attributes)
    event.raw = attributes
    return attributes


def subject_of(event: Event) -> str | None:
    """As `event.subject`, without decoding what else the headers hold, where that can be had.

    For those who look through many events for a few: a fifth of the time.
    """
    raw = event.raw
    if isinstance(raw, dict):
        value = raw.get("subject")
        return value if value is None or type(value) is str else str(value)
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


def _legal(header: tuple[str, bytes]) -> tuple[str, str] | None:
    """The attribute that a header is; None when it is none, or illegal."""
    name = _FROM_HEADER.get(header[0]) or _attribute_name(header[0])
    if name == _IGNORED or header[1] is None:
        return None
    try:
        value = header[1].decode()
    except UnicodeDecodeError:
        return None  # not ours, and not text: the attribute is left out, the event is served
    if name == "id":
        plain = value.isprintable() and 0 < len(value) <= _PAIR_LENGTH
        return (name, value) if plain or attribute_fault(name, value) is None else None
    if name == "time":
        return (name, value) if _is_time(value) else None
    if attribute_fault(name, value):
        return None
    attribute = name, value
    if len(header[1]) <= _LEGAL_LENGTH:
        if len(_LEGAL) >= _LEGAL_KEPT:
            _LEGAL.clear()
        _LEGAL[header] = attribute
    return attribute


def _is_time(value: str) -> bool:
    # Times differ, but follow each other: up to the second they are often one that was seen.
    rest = value[19:]
    if value[:19] in _SECONDS and rest[:1] == "." and rest[-1:] == "Z" and len(rest) <= _PAIR_LENGTH:
        digits = rest[1:-1]
        if digits.isdigit() and digits.isascii():
            return True
    if attribute_fault("time", value):
        return False
    if len(_SECONDS) >= _SECONDS_KEPT:
        _SECONDS.clear()
    _SECONDS.add(value[:19])
    return True


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
    if event.value is None:
        return False
    try:
        inner = decode_event(event.value)
    except LinkspanError:
        return False  # served as a raw record of that content type, with nothing made up in its data
    event.raw, event.value = inner.attributes, inner.data
    return True


def _complete(event: Event, attributes: dict[str, Value]) -> None:
    """Make up what is missing from the event's place in the log."""
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
