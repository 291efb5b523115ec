"""Every error that Linkspan tells a client or an operator about.

LinkspanError
├── InvalidInput              the caller's fault: `faults` say what and where
│   ├── InvalidEvent          a malformed CloudEvent, or one that a validator refuses
│   ├── InvalidAddress        an illegal topic name, subject or pattern
│   ├── InvalidPosition       an unreadable start position or cursor
│   ├── InvalidSetting        topic settings that cannot hold
│   └── InvalidSchema         a schema that cannot be used
├── TooLarge                  a body, batch, header or event above its limit
├── Forbidden                 the principal may not do this
│   ├── HostNotAllowed        the listener does not answer to this Host
│   └── OriginNotAllowed      a foreign web page asks
├── NotFound
│   ├── UnknownTopic
│   └── UnknownSchema
├── Conflict                  exists already, or changed meanwhile
├── Expired                   what the position refers to is gone for good
├── Limited                   over a rate or a bound; try again later
├── NotAvailable              a part that this build does not have
└── Unavailable               the gateway cannot serve this now
    ├── BusUnavailable        the log is out of reach; nothing was stored
    │   └── DiskFull          the embedded log has no room
    ├── Draining              the gateway is shutting down
    └── OutcomeUnknown        the append may or may not have landed

`code` is stable and the same at every door; `kind` is what a door maps to its own
status (an HTTP status, an MQTT reason code, ...), so that a new error needs no
change in any door. `retriable` tells whether the same request may succeed later.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar

import msgspec


class Kind(Enum):
    """What a door has to tell its client, independent of any protocol."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    PRECONDITION = "precondition"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    GONE = "gone"
    LIMITED = "limited"
    NOT_AVAILABLE = "not_available"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong: `where` is a path such as `events[3].source`."""

    where: str
    message: str
    index: int | None = None


class LinkspanError(Exception):
    """Base of all; `str()` is one sentence that a person can act on."""

    code: ClassVar[str] = "internal"
    kind: ClassVar[Kind] = Kind.INTERNAL
    retriable: ClassVar[bool] = False

    def __init__(self, message: str, *, faults: tuple[Fault, ...] = (), **detail: Any) -> None:
        super().__init__(message)
        self.message = message
        self.faults = faults
        #: Further members for the answer (JSON values), such as `positions`.
        self.detail: dict[str, Any] = detail


class InvalidInput(LinkspanError):
    code = "invalid_request"
    kind = Kind.INVALID


class InvalidEvent(InvalidInput):
    code = "invalid_event"


class InvalidAddress(InvalidInput):
    code = "invalid_address"


class InvalidPosition(InvalidInput):
    code = "invalid_position"


class InvalidSetting(InvalidInput):
    code = "invalid_setting"


class InvalidFilter(InvalidInput):
    """A filter, or an expression of one; `detail["position"]` is the place in its text."""

    code = "invalid_filter"


class InvalidTransform(InvalidInput):
    code = "invalid_transform"


class InvalidSchema(InvalidInput):
    """A schema that cannot be used; `detail["position"]` is the place in its text, where it is known."""

    code = "invalid_schema"


class UnsupportedContent(InvalidInput):
    code = "unsupported_content"
    kind = Kind.UNSUPPORTED


class TooLarge(LinkspanError):
    code = "too_large"
    kind = Kind.TOO_LARGE


class Unauthenticated(LinkspanError):
    code = "unauthenticated"
    kind = Kind.UNAUTHENTICATED


class Forbidden(LinkspanError):
    code = "forbidden"
    kind = Kind.FORBIDDEN


class HostNotAllowed(Forbidden):
    """The request names a host that the listener does not answer to (DNS rebinding)."""

    code = "host_not_allowed"


class OriginNotAllowed(Forbidden):
    """A web page of a foreign origin made the request."""

    code = "origin_not_allowed"


class NotFound(LinkspanError):
    code = "not_found"
    kind = Kind.NOT_FOUND


class UnknownTopic(NotFound):
    code = "unknown_topic"

    def __init__(self, topic: str, **detail: Any) -> None:
        super().__init__(f"topic {topic!r} does not exist", topic=topic, **detail)


class UnknownSchema(NotFound):
    code = "unknown_schema"


class Conflict(LinkspanError):
    code = "conflict"
    kind = Kind.CONFLICT


class TopicExists(Conflict):
    code = "topic_exists"


class IncompatibleSchema(Conflict):
    """A version that breaks its schema's level of compatibility; `faults` say where."""

    code = "incompatible_schema"


class Expired(LinkspanError):
    """What a cursor or an offset refers to is gone: its topic was deleted and made anew."""

    code = "cursor_expired"
    kind = Kind.GONE


class OffsetOutOfRange(LinkspanError):
    """The offset is below the first or above the next one of its partition."""

    code = "offset_out_of_range"
    kind = Kind.GONE

    def __init__(self, topic: str, partition: int, offset: int, first: int, next_: int) -> None:
        super().__init__(
            f"offset {offset} of {topic}/{partition} is outside {first}..{next_}",
            topic=topic,
            partition=partition,
        )
        self.topic, self.partition, self.offset = topic, partition, offset
        self.first, self.next = first, next_


class Limited(LinkspanError):
    code = "limit_exceeded"
    kind = Kind.LIMITED
    retriable = True


class NotAvailable(LinkspanError):
    """A part of the public interface that this version does not have yet."""

    code = "not_available"
    kind = Kind.NOT_AVAILABLE


class Unavailable(LinkspanError):
    code = "unavailable"
    kind = Kind.UNAVAILABLE
    retriable = True


class BusUnavailable(Unavailable):
    """The bus is out of reach or refuses; nothing of this append was stored."""

    code = "bus_unavailable"


class DiskFull(BusUnavailable):
    code = "disk_full"


class Draining(Unavailable):
    code = "draining"


class OutcomeUnknown(Unavailable):
    """The append may still land. `detail["positions"]` holds what is known to be stored.

    A repeat can store an event twice; its `id` is the same, so readers can tell.
    """

    code = "outcome_unknown"


class CorruptData(LinkspanError):
    """Stored bytes fail their checksum; `detail` says the file, place and offsets."""

    code = "corrupt_data"
