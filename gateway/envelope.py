"""The CloudEvents JSON format (1.0.2), written: shared by every door. Pure: events in, bytes out.

Data is spliced into the envelope only after it was decoded once as a single JSON value: an
unchecked splice would let a payload forge attributes. That is done each time, since what is in
the log may have been written by others. Anything else goes as `data_base64`.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from gateway.event import Event
from gateway.shapes import is_json
from routing.attributes import Value

_Kind: TypeAlias = Literal["json", "text", "bytes"]

_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_encode = msgspec.json.Encoder().encode
_TEXT_TYPE = re.compile(r"text/|application/xml\Z|[^/]+/[^/]+\+xml\Z")
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s";]*)', re.IGNORECASE)
_kinds: dict[Value | None, _Kind] = {}
_KINDS_KEPT = 1000
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
#: For fewer events it is quicker to encode one after the other.
_FEW = 3


def encode_event(event: Event) -> bytes:
    """One structured event. It has no line break unless there is one between tokens of its data.

    `data` is a JSON value as it came, or a string for textual content types; other payloads,
    and such as are not what their content type says, become `data_base64`.
    """
    raw = event.raw
    attributes = raw if type(raw) is dict else event.attributes
    data = event.value
    head = _encode(attributes)
    if data is None:
        return head
    content_type = attributes.get("datacontenttype")
    kind = _kinds.get(content_type) or _kind(content_type)
    if kind == "json":
        try:
            _decode_raw(data)
            if not data.isascii():
                data.decode()
        except _NOT_JSON:
            pass
        else:
            return b'%b,"data":%b}' % (head[:-1], data)
    elif kind == "text":
        try:
            return b'%b,"data":%b}' % (head[:-1], _encode(data.decode()))
        except UnicodeDecodeError:
            pass
    return b'%b,"data_base64":"%b"}' % (head[:-1], b2a_base64(data, newline=False))


def encode_events(events: Sequence[Event]) -> list[bytes]:
    """Structured events, one for each: what `encode_event` makes of it."""
    return (_encode_alike(events) if len(events) > _FEW else None) or list(map(encode_event, events))


def encode_batch(events: Sequence[Event]) -> bytes:
    """A JSON array of structured events."""
    return b"[%b]" % b",".join(encode_events(events))


def _encode_alike(events: Sequence[Event]) -> list[bytes] | None:
    """Events whose data is all of one kind, and just that; None when they are not such."""
    attributes = [raw if type(raw := event.raw) is dict else event.attributes for event in events]
    datas = [event.value for event in events]
    types = {each.get("datacontenttype") for each in attributes}
    kind = _kind(types.pop())
    if kind == "bytes" or not all(_kind(other) == kind for other in types):
        return None
    try:
        if kind == "text":
            parts = list(map(_encode, map(bytes.decode, datas)))  # type: ignore[arg-type]  # None: see below
        else:
            parts = datas  # type: ignore[assignment]
            for data in datas:
                _decode_raw(data)  # type: ignore[arg-type]
            if not all(map(bytes.isascii, parts)):
                for data in parts:
                    data.decode()
    except (*_NOT_JSON, TypeError):  # TypeError: an event without data
        return None
    return [b'%b,"data":%b}' % (_encode(each)[:-1], part) for each, part in zip(attributes, parts, strict=True)]


def _kind(content_type: Value | None) -> _Kind:
    """What a media type says that the data is: a JSON value, text in UTF-8, or anything."""
    known = _kinds.get(content_type)
    if known is None:
        if content_type is None or is_json(str(content_type)):
            known = "json"
        else:
            known = "text" if _is_text(str(content_type)) else "bytes"
        if len(_kinds) < _KINDS_KEPT:
            _kinds[content_type] = known
    return known


def _is_text(content_type: str) -> bool:
    charset = _CHARSET.search(content_type)
    return bool(_TEXT_TYPE.match(content_type.partition(";")[0].strip().lower())) and (
        charset is None or charset[1].lower() in ("utf-8", "utf8", "us-ascii")
    )
