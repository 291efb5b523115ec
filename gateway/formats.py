"""The CloudEvents JSON format (1.0.2), read: shared by every door. Pure: bytes in, events out.

Decoding has two halves. Events that look like ones seen before take the learned decoders of
`gateway.shapes`; everything else, and everything that is not plainly legal, takes the exact
path here, which names each fault with its place. Data of JSON content types keeps its bytes.
`gateway.envelope` writes it.
"""

from __future__ import annotations

import json
import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.columns import Columns
from gateway.errors import Fault, InvalidEvent, TooLarge
from gateway.event import Event, event_faults, now_rfc3339, uuid7
from gateway.shapes import INT32, MAX_MEMBERS, SAFE_LENGTH, Shapes, data_of
from routing.attributes import CHECKS, REQUIRED, Value, attribute_fault

MAX_FAULTS = 20
#: Each costs time on the exact path, and memory in a decoder once it is learned.
MAX_ATTRIBUTES = 256
_PAYLOAD = ("data", "data_base64")

_shapes = Shapes()
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_values = msgspec.json.Decoder(list[str | bool | INT32]).decode
_decode_string = msgspec.json.Decoder(str).decode
_ENDS_EARLY = re.compile("truncated|unexpected end|surrogate")
# RFC 8259, 8.2: an escape that is half of a pair, without the other half beside it.
_LONE_SURROGATE = re.compile(
    rb"(?<!\\)(?:\\\\)*(\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|[c-fC-F](?<!\\u[dD][89abAB]..\\u[dD].)))"
)
_NAMES = re.compile(r"[a-z0-9]{1,64}(?:,[a-z0-9]{1,64})*\Z")
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)\Z")


def decode_event(body: bytes) -> Event:
    """Decode one structured event (`application/cloudevents+json`).

    Raises InvalidEvent with a Fault per defect, `where` being the attribute, `data` or `body`.
    """
    event = _shapes.one(body)
    if event is not None:
        return event
    _shapes.replenish()
    _check_text(body)
    result = _exact(body, "", None)
    if isinstance(result, list):
        raise _refusal("the event was refused", result)
    return result


def decode_sketch(body: bytes) -> Event:
    """As `decode_event`, but of an event that somebody makes up to try something: no attribute is required.

    Raises InvalidEvent.
    """
    _check_text(body)
    result = _exact(body, "", None, whole=False)
    if isinstance(result, list):
        raise _refusal("the event was refused", result)
    return result


def decode_batch(body: bytes, max_events: int) -> Sequence[Event]:
    """Decode a JSON array of structured events (`application/cloudevents-batch+json`).

    All or nothing: raises InvalidEvent with the first 20 faults of the whole batch, `index`
    being the position of the event and `where` as in `events[3].source`; TooLarge for more
    than `max_events`. An empty array is legal and gives [].
    """
    events = _shapes.batch(body)
    if events is None:
        events = _decode_mixed(body, max_events)
    elif len(events) > max_events:
        raise _too_many(len(events), max_events)
    return events


def with_subject(events: Sequence[Event], subject: str, *, batch: bool) -> Sequence[Event]:
    """Supply a missing subject, which is legal; one that is there must be equal. Raises InvalidEvent.

    `batch`: faults are told by the place of their event.
    """
    if isinstance(events, Columns) and events.intact and events.values.setdefault("subject", subject) == subject:
        return events
    faults = []
    for index, event in enumerate(events):
        own = event.attributes.setdefault("subject", subject)
        if own != subject:
            message = f"is {str(own)[:80]!r}, but the request is for {subject[:80]!r}"
            faults.append(Fault(f"events[{index}].subject" if batch else "subject", message, index if batch else None))
    if faults:
        raise InvalidEvent(f"{faults[0].where} {faults[0].message}", faults=tuple(faults[:MAX_FAULTS]))
    return events


def adapt(
    protocol: str,
    gateway_name: str,
    principal_id: str,
    data: bytes | None,
    content_type: str | None,
    subject: str | None,
    type_: str | None,
) -> Event:
    """Make an event of a message that is none: a plain POST, a plain MQTT publish.

    `type_` is the topic's default type or None. Without a content type the data is looked at:
    JSON, text in UTF-8, or bytes. Raises InvalidEvent for an illegal content type or subject.
    """
    source = _sources.get((protocol, gateway_name, principal_id))
    if source is None:
        parts = (quote(part, safe="") for part in (gateway_name, protocol, principal_id))
        source = "//" + "/".join(parts)
        if len(_sources) < 10_000:
            _sources[protocol, gateway_name, principal_id] = source
    attributes: dict[str, Value] = {
        "specversion": "1.0",
        "id": uuid7(),
        "source": source,
        "type": type_ or f"io.linkspan.{protocol}.message",
        "time": now_rfc3339(),
    }
    faults = []
    if subject is not None:
        attributes["subject"] = subject
        faults.append(("subject", attribute_fault("subject", subject)))
    if content_type is None and data:
        attributes["datacontenttype"] = _sniff(data)
    elif content_type is not None:
        attributes["datacontenttype"] = content_type
        faults.append(("datacontenttype", attribute_fault("datacontenttype", content_type)))
    found = [Fault(where, message) for where, message in faults if message]
    if found:
        raise _refusal("the message cannot become an event", found)
    return Event(attributes, data)


_sources: dict[tuple[str, str, str], str] = {}


def _sniff(data: bytes) -> str:
    try:
        text = data.decode()
        if data[0] in b'{["-0123456789tfn':
            _decode_raw(data)
            return "application/json"
    except UnicodeDecodeError:
        return "application/octet-stream"
    except (msgspec.DecodeError, RecursionError):
        pass
    return "application/octet-stream" if "\0" in text else "text/plain; charset=utf-8"


def _refusal(message: str, faults: list[Fault]) -> InvalidEvent:
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return InvalidEvent(f"{message}: {first.where} {first.message}{more}", faults=tuple(faults[:MAX_FAULTS]))


def _too_many(count: int, limit: int) -> TooLarge:
    return TooLarge(f"a batch has at most {limit} events, not {count}", limit=limit, count=count)


def _check_text(body: bytes) -> None:
    # The decoder does not look into strings that it passes over as raw JSON.
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise _refusal("the body is not UTF-8", [Fault("body", f"is not UTF-8 at byte {error.start}")]) from None


def _malformed(error: Exception, body: bytes) -> Fault:
    if isinstance(error, RecursionError):
        return Fault("body", "is nested too deeply")
    # The decoder calls half of a surrogate pair an escape, or a text, that ends too early.
    lone = _LONE_SURROGATE.search(body) if _ENDS_EARLY.search(str(error)) else None
    if lone:
        return Fault("body", f"has a lone surrogate at byte {lone.start(1)}")
    return Fault("body", f"is not JSON: {str(error).removeprefix('JSON is malformed: ')}")


def _decode_mixed(body: bytes, max_events: int) -> list[Event]:
    """Event by event: the learned decoders where they fit, else the exact path."""
    _shapes.replenish()
    _check_text(body)
    try:
        raws = _decode_list(body)
    except msgspec.ValidationError:
        fault = Fault("body", "must be a JSON array of events")
        raise _refusal("the batch is not a CloudEvents batch", [fault]) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise _refusal("the batch is not JSON", [_malformed(error, body)]) from None
    if len(raws) > max_events:
        raise _too_many(len(raws), max_events)
    events: list[Event] = []
    faults: list[Fault] = []
    for index, raw in enumerate(map(bytes, raws)):
        result = _shapes.one(raw) or _exact(raw, f"events[{index}]", index)
        if not isinstance(result, list):
            events.append(result)
            continue
        faults += result
        if len(faults) >= MAX_FAULTS:
            break
    if faults:
        raise _refusal("the batch was refused as a whole", faults)
    return events


def _exact(raw: bytes, path: str, index: int | None, *, whole: bool = True) -> Event | list[Fault]:
    """One event by the letter of the specification: the event, or what is wrong with it. Without `whole`
    it may lack what is required."""
    try:
        members = _decode_members(raw)
    except msgspec.ValidationError:
        found = f"must be a JSON object{', not a batch' if raw.lstrip()[:1] == b'[' else ''}"
        return [Fault(path or "body", found, index)]
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        return [Fault(path or "body", _malformed(error, raw).message, index)]
    if len(members) > MAX_ATTRIBUTES + len(_PAYLOAD):
        return [Fault(path or "body", f"has more than {MAX_ATTRIBUTES} attributes", index)]
    try:
        twice = _duplicates(raw, members)
    except RecursionError as error:  # Python's decoder takes less depth than the other one
        return [Fault(path or "body", _malformed(error, raw).message, index)]
    if not twice and whole:
        plain = _plain(members)
        if plain is not None:
            data, fault = _data(members, plain)
            if fault is None:
                _learn(members, plain)
                return Event(plain, data)
    attributes: dict[str, Value] = {}
    faults: list[tuple[str, str]] = [(name, "is given twice") for name in twice]
    for name, value in members.items():
        if name in _PAYLOAD:
            continue
        decoded, defect = _value(bytes(value))
        if defect:
            faults.append((name, defect))
        if decoded is not None:
            attributes[name] = decoded
    faulty = {name for name, _ in faults}
    if not whole:
        faulty.update(name for name in REQUIRED if name not in members)
    faults += [fault for fault in event_faults(attributes) if fault[0] not in faulty]
    data, fault = _data(members, attributes)
    if fault:
        faults.append(fault)
    if faults:
        prefix = f"{path}." if path else ""
        return [Fault(prefix + _printable(name), message, index) for name, message in faults[:MAX_FAULTS]]
    if whole:
        _learn(members, attributes)
    return Event(attributes, data)


def _plain(members: dict[str, msgspec.Raw]) -> dict[str, Value] | None:
    """All attributes at once, when they are plainly legal; None: look at each."""
    names = [name for name in members if name not in _PAYLOAD]
    if not _NAMES.match(",".join(names)):
        return None
    try:
        values = _decode_values(b"[%b]" % b",".join([members[name] for name in names]))
    except msgspec.DecodeError:
        return None
    attributes = dict(zip(names, values, strict=True))
    special = {name: attributes[name] for name in CHECKS if name in attributes}
    if event_faults(special):
        return None
    text = "".join([value for value in values if type(value) is str])
    return attributes if text.isprintable() and len(text) <= SAFE_LENGTH else None


def _printable(name: str) -> str:
    return name if name.isidentifier() and len(name) <= 64 else ascii(name[:64])


def _duplicates(raw: bytes, members: dict[str, msgspec.Raw]) -> list[str]:
    """Member names that an object has more than once. Raises RecursionError."""
    # A name has two quotation marks of its own: with none to spare every member is among these.
    if raw.count(b'"') - b"".join(members.values()).count(b'"') == 2 * len(members):
        return []
    names: list[str] = []

    def outermost(pairs: list[tuple[str, Any]]) -> None:
        nonlocal names
        names = [name for name, _ in pairs]  # objects are completed inside out: the last call counts

    # Numbers are not looked at: converting hostile ones costs time or raises.
    json.loads(raw, object_pairs_hook=outermost, parse_int=str, parse_float=str)
    return [name for name, count in Counter(names).items() if count > 1]


def _value(raw: bytes) -> tuple[Value | None, str | None]:
    """An attribute's value, None for null (which is as good as absent), and what is wrong."""
    first = raw[:1]
    if first == b'"':
        try:
            return _decode_string(raw), None
        except msgspec.DecodeError:
            return None, "has a lone surrogate"
    if raw == b"null":
        return None, None
    if raw == b"true" or raw == b"false":
        return raw == b"true", None
    if first in b"[{":
        return None, "must be a string, an integer or a boolean"
    if not _INTEGER.match(raw):
        return None, "a number has neither fraction nor exponent"
    return (int(raw), None) if len(raw) <= 11 else (None, "integers have 32 bits")


def _data(members: dict[str, msgspec.Raw], attributes: dict[str, Value]) -> tuple[bytes | None, tuple[str, str] | None]:
    """The payload and what is wrong with it; sets the implied content type (1.0.2, 3.1)."""
    plain, base64 = members.get("data"), members.get("data_base64")
    if base64 is not None and bytes(base64) != b"null":
        if plain is not None and bytes(plain) != b"null":
            return None, ("data_base64", "excludes data: only one of the two may be there")
        try:
            return a2b_base64(_decode_string(base64).encode("ascii"), strict_mode=True), None
        except (msgspec.DecodeError, Base64Error, UnicodeError):
            return None, ("data_base64", "is not a string in base64")
    if plain is None:
        return None, None
    content_type = attributes.setdefault("datacontenttype", "application/json")
    try:
        return data_of(bytes(plain), str(content_type)), None
    except msgspec.DecodeError:
        return None, ("data", "has a lone surrogate")


def _learn(members: dict[str, msgspec.Raw], attributes: dict[str, Value]) -> None:
    if len(members) > MAX_MEMBERS:
        return
    shape: dict[str, type] = {name: type(attributes.get(name)) for name in members}
    if "data" in shape:
        shape["data"] = object
    if "data_base64" in shape:
        shape["data_base64"] = str
    if type(None) not in shape.values() and not ("data" in shape and "data_base64" in shape):
        _shapes.learn(shape)
