"""The CloudEvents HTTP protocol binding 1.0.2, inbound. Pure: headers and body in, events out.

A request is a batch or a structured event by its media type, a binary event when it has `ce-`
headers, and otherwise a message that is no CloudEvent: its body becomes the data of a new one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote_from_bytes, unquote_to_bytes

from gateway.plugin import (
    Event,
    Fault,
    InvalidEvent,
    UnsupportedContent,
    Value,
    check_subject,
    decode_batch,
    decode_event,
    event_faults,
    with_subject,
)

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

Adapt = Callable[[bytes | None, str | None, str | None], Event]
"""(data, content type, subject) -> event, for a message that is none."""

_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s";]+)', re.IGNORECASE)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\Z', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MAX_FAULTS = 20


def decode(
    headers: Iterable[tuple[str, str]],
    content_type: str | None,
    body: bytes,
    subject: str | None,
    max_events: int,
    adapt: Adapt,
) -> Sequence[Event]:
    """The events of a request; `subject` is that of the address, or None.

    Raises InvalidEvent (a fault for each defect), InvalidAddress, TooLarge for too many
    events, UnsupportedContent for an event format or charset that is not understood.
    """
    if subject is not None:
        check_subject(subject)
    essence = "" if content_type is None else content_type.partition(";")[0].strip().lower()
    if essence.startswith("application/cloudevents"):
        _check_format(essence, content_type or "")
        events = decode_batch(body, max_events) if essence == BATCH else [decode_event(body)]
        return events if subject is None else with_subject(events, subject, batch=essence == BATCH)
    given = [(name[3:] or name, value) for name, value in headers if name[:3] == "ce-"]
    if given:
        event = binary_event(given, content_type, body)
        return [event] if subject is None else with_subject([event], subject, batch=False)
    data = None if content_type is None and not body else body
    return [adapt(data, content_type, subject)]


def binary_event(given: Iterable[tuple[str, str]], content_type: str | None, body: bytes) -> Event:
    """An event in binary mode (3.1); `given` are the `ce-` headers without that prefix."""
    attributes: dict[str, Value] = {}
    faults: list[Fault] = []
    for name, value in given:
        if name in attributes:
            faults.append(Fault(name, "is given twice"))
        elif name == "datacontenttype":
            faults.append(Fault(name, "is the Content-Type header in binary mode"))
        else:
            decoded, defect = header_value(value)
            if defect:
                faults.append(Fault(name, defect))
            attributes[name] = decoded
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    faulty = {fault.where for fault in faults}
    faults += [Fault(name, message) for name, message in event_faults(attributes) if name not in faulty]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        message = f"the event was refused: {faults[0].where} {faults[0].message}{more}"
        raise InvalidEvent(message, faults=tuple(faults[:_MAX_FAULTS]))
    return Event(attributes, None if content_type is None and not body else body)


def header_value(text: str) -> tuple[str, str | None]:
    """An attribute from a header value, and what is wrong with it (3.1.3.2).

    First a double-quoted string is unescaped (senders of older versions), then one round of
    percent-decoding, which must give UTF-8.
    """
    quoted = _QUOTED.match(text)
    if quoted:
        text = _ESCAPE.sub(r"\1", quoted[1])
    if "%" not in text:
        return text, None
    if _BAD_PERCENT.search(text):
        return text, "has a '%' that does not begin a percent-encoded byte"
    try:
        return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode(), None
    except UnicodeDecodeError:
        return text, "is not UTF-8 in percent-encoding"


def encode_header_value(value: str) -> str:
    """An attribute as a header value: all but printable ASCII, blank, `"` and `%` stay (3.1.3.2)."""
    return quote_from_bytes(value.encode(), safe="!#$&'()*+,/:;=?@[]<>\\^`{|}~-._")


def _check_format(essence: str, content_type: str) -> None:
    if essence not in (STRUCTURED, BATCH):
        raise UnsupportedContent(
            f"the event format {essence[:80]!r} is not understood; {STRUCTURED} and {BATCH} are",
            accepted=[STRUCTURED, BATCH],
        )
    charset = _CHARSET.search(content_type)
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedContent(f"events are UTF-8, not {charset[1][:40]!r}")
