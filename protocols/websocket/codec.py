"""The messages of `linkspan.v1`: one JSON object each. Pure.

Client: `{"id": 1, "subscribe": {...}}`, and `unsubscribe`, `publish`, `ping` likewise (`ack`,
`nack`, `auth` come later). Server: `{"id": 1, "ok": {...}}`, `{"id": 1, "error": {...}}`,
`{"sid": 1, "events": [...], "cursor": "..."}`, `{"sid": 1, "gap": {...}, "cursor": "..."}`,
`{"sid": 1, "end": {...}}`.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, TypeVar, get_args

import msgspec

from gateway.plugin import (
    EndCause,
    Fault,
    InvalidInput,
    LinkspanError,
    NotAvailable,
    Overflow,
    ReadRequest,
    check_topic,
    parse_pattern,
    parse_start,
)

MAX_ID = 64
_LATER = ("ack", "nack", "auth")
KINDS = ("subscribe", "unsubscribe", "publish", "ping", *_LATER)

_SUBSCRIBE = ("from", "start", "limit", "filters", "transform", "on_error", "delivery")
_SUBSCRIBE_LATER = ("name", "sink", "expires")
_DELIVERY = ("overflow",)
_DELIVERY_LATER = ("ordering", "in_flight", "ack_timeout", "attempts", "backoff", "dead_letter", "priority")
_OVERFLOWS: tuple[str, ...] = get_args(Overflow)

#: `id` as it stands in JSON, so that the number 1 and the string "1" are two.
Id = bytes
T = TypeVar("T")

_encode = msgspec.json.Encoder(enc_hook=str).encode


class InvalidMessage(InvalidInput):
    """A message that cannot be understood: not JSON, of no known kind, without an id."""

    code = "invalid_message"

    def __init__(self, message: str, id: Id = b"null", **more: Any) -> None:
        super().__init__(message, **more)
        self.id = id


class DuplicateId(InvalidInput):
    """The id of a subscribe belongs to a subscription of this connection already."""

    code = "duplicate_id"


class UnknownSubscription(InvalidInput):
    """There is no subscription of this id on the connection."""

    code = "unknown_subscription"


class Unsubscribed(InvalidInput):
    """The answer to a subscribe that was unsubscribed before it was answered."""

    code = "unsubscribed"


class Publish(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """`events` is the JSON of an array of CloudEvents, untouched."""

    topic: str
    events: msgspec.Raw
    subject: str | None = None


class Subscribe(msgspec.Struct, gc=False):
    """`filters` and `transform` as they were written; `errors_to`: the topic for events that the
    transform fails on."""

    request: ReadRequest
    overflow: Overflow
    filters: list[Any]
    transform: list[Any]
    errors_to: str | None


class _PublishMessage(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    id: int | str
    publish: Publish


class _Unsubscribe(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    sid: int | str


_decode_publish = msgspec.json.Decoder(_PublishMessage).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_id = msgspec.json.Decoder(int | str).decode
_Text = str | list[str]


class Asked(msgspec.Struct, gc=False):
    """A message of the client: `kind` is one of KINDS, `body` what stands there."""

    id: Id
    kind: str
    body: Publish | msgspec.Raw


def decode(text: bytes) -> Asked:
    """Read a message, which must be UTF-8. Raises InvalidMessage, with its id where it has one.

    Publishing is decoded in one pass, the rest in two.
    """
    try:
        publishing = _decode_publish(text)
        return Asked(_id(publishing.id), "publish", publishing.publish)
    except msgspec.ValidationError:
        return _decode_other(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise _not_json(error) from None


def _decode_other(text: bytes) -> Asked:
    try:
        members = _decode_members(text)
    except msgspec.ValidationError:
        raise InvalidMessage("a message is a JSON object") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise _not_json(error) from None
    raw = members.pop("id", None)
    if raw is None:
        raise InvalidMessage("a message needs an id, which its answer will carry", faults=(Fault("id", "is required"),))
    id = _read_id(raw)
    unknown = [name for name in members if name not in KINDS]
    if unknown:
        raise InvalidMessage(
            _unknown("a message", unknown[0], KINDS), id, faults=(Fault(unknown[0][:80], "is unknown"),)
        )
    if len(members) != 1:
        named = ", ".join(members) or "nothing"
        raise InvalidMessage(f"a message asks for one of {', '.join(KINDS)}; this one has {named}", id)
    [(kind, body)] = members.items()
    if kind == "publish":
        _explain_publish(body, id)
    return Asked(id, kind, body)


def _read_id(raw: msgspec.Raw) -> Id:
    try:
        return _id(_decode_id(raw))
    except msgspec.DecodeError:
        fault = Fault("id", f"is an integer or a string of 1 to {MAX_ID} characters")
        raise InvalidMessage(f"id {fault.message}", faults=(fault,)) from None


def _id(value: int | str) -> Id:
    if type(value) is str and not 1 <= len(value) <= MAX_ID:
        raise InvalidMessage(f"a string as id has 1 to {MAX_ID} characters")
    return _encode(value)


def _explain_publish(body: msgspec.Raw, id: Id) -> None:
    """Say what is wrong with a publish that the decoder did not take. Raises InvalidMessage."""
    _typed(body, Publish, "publish", id)
    raise InvalidMessage("publish was not understood", id)


def _typed(body: msgspec.Raw, type_: type[T], name: str, id: Id) -> T:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise InvalidMessage(f"{name}: {error}", id) from None


def _not_json(error: Exception) -> InvalidMessage:
    if isinstance(error, RecursionError):
        return InvalidMessage("the message is nested too deeply")
    return InvalidMessage(f"the message is not JSON: {str(error).removeprefix('JSON is malformed: ')}")


def _unknown(where: str, name: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(name, known, 1, 0.6)
    hint = f"{close[0]!r} was meant?" if close else f"there are {', '.join(known)}"
    return f"{where} has the unknown key {name[:80]!r}; {hint}"


def not_available(kind: str) -> NotAvailable:
    """The error for a kind of message of a later version."""
    return NotAvailable(f"{kind!r} is not available in this version")


def unsubscribe_of(body: msgspec.Raw, id: Id) -> Id:
    """The subscription that an `unsubscribe` names. Raises InvalidMessage."""
    return _id(_typed(body, _Unsubscribe, "unsubscribe", id).sid)


def subscribe_of(body: msgspec.Raw, id: Id) -> Subscribe:
    """A subscription object (design, section 14). Raises InvalidInput and its kinds, and NotAvailable."""
    members = _members(body, "subscribe", _SUBSCRIBE, _SUBSCRIBE_LATER, id)
    source = members.get("from")
    if source is None:
        fault = Fault("from", "is required: an address pattern such as signals/**, or a list of them")
        raise InvalidInput(f"subscribe: 'from' {fault.message}", faults=(fault,))
    patterns = _value(source, _Text, "subscribe", "from", "a pattern or a list of patterns")
    sources = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    start = _value(members["start"], str, "subscribe", "start", "a string") if "start" in members else "latest"
    limit = _value(members["limit"], int, "subscribe", "limit", "a whole number") if "limit" in members else None
    filters, transform = (
        _value(members[name], list[Any], "subscribe", name, "a list") if name in members else []
        for name in ("filters", "transform")
    )
    return Subscribe(
        ReadRequest(tuple(map(parse_pattern, sources)), parse_start(start), limit=limit),
        _overflow(members["delivery"], id) if "delivery" in members else "catch-up",
        filters,
        transform,
        _errors_to(members["on_error"], id) if "on_error" in members else None,
    )


def _errors_to(body: msgspec.Raw, id: Id) -> str:
    members = _members(body, "on_error", ("topic",), (), id)
    if "topic" not in members:
        raise InvalidInput("on_error: 'topic' is required", faults=(Fault("topic", "is required"),))
    topic: str = _value(members["topic"], str, "on_error", "topic", "the name of a topic")
    return check_topic(topic)


def _overflow(body: msgspec.Raw, id: Id) -> Overflow:
    members = _members(body, "delivery", _DELIVERY, _DELIVERY_LATER, id)
    if "overflow" not in members:
        return "catch-up"
    wanted = f"one of {', '.join(_OVERFLOWS)}"
    overflow: Overflow = _value(members["overflow"], Overflow, "delivery", "overflow", wanted)
    return overflow


def _members(
    body: msgspec.Raw, where: str, known: tuple[str, ...], later: tuple[str, ...], id: Id
) -> dict[str, msgspec.Raw]:
    members = _typed(body, dict[str, msgspec.Raw], where, id)
    for name in members:
        if name in later:
            fault = Fault(name, "is not available in this version")
            raise NotAvailable(f"{where}: {name!r} {fault.message}", faults=(fault,))
        if name not in known:
            raise InvalidInput(_unknown(where, name, known + later), faults=(Fault(name[:80], "is unknown"),))
    return members


def _value(raw: msgspec.Raw, type_: Any, where: str, name: str, wanted: str) -> Any:
    try:
        return msgspec.json.decode(raw, type=type_)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise InvalidInput(f"{where}: {name!r} is {wanted}", faults=(Fault(name, f"is {wanted}"),)) from None


# What the server says


def plain(id: Id) -> int | str:
    """The id as JSON has it."""
    value: int | str = _decode_id(id)
    return value


def ok(id: Id, result: Any) -> bytes:
    return b'{"id":%b,"ok":%b}' % (id, _encode(result))


def failed(id: Id, error: LinkspanError) -> bytes:
    """`retry`: whether the same may succeed later. Faults and details come along as in HTTP problems."""
    return b'{"id":%b,"error":%b}' % (id, _encode(error_members(error)))


def error_members(error: LinkspanError) -> dict[str, Any]:
    members: dict[str, Any] = {"code": error.code, "message": error.message, "retry": error.retriable}
    if error.faults:
        members["faults"] = error.faults
    members.update((name, value) for name, value in error.detail.items() if name not in members)
    return members


_ENDS: dict[EndCause, tuple[str, bool]] = {
    "deleted": ("the topic was deleted; there is nothing left to read", False),
    "recreated": ("the topic was deleted and made anew; there is nothing left to read of the old one", False),
    "limit": ("the limit of events was reached", False),
    "closed": ("the gateway ended the subscription; resume with the last cursor", True),
    "overflow": ("the subscriber was too slow, and asked to be disconnected then", True),
    "failed": ("the subscription failed", True),
}


def end_members(cause: EndCause, error: LinkspanError | None) -> dict[str, Any]:
    """`code` is the cause, or that of the error; `retry`: whether to subscribe again with the last cursor."""
    if error is not None:
        return error_members(error)
    message, retry = _ENDS[cause]
    return {"code": cause, "message": message, "retry": retry}


def ended(sid: Id, cause: EndCause, error: LinkspanError | None) -> bytes:
    return b'{"sid":%b,"end":%b}' % (sid, _encode(end_members(cause, error)))
