"""The seam: all that a protocol plug-in may import from the gateway.

A plug-in is an object found through the entry-point group `linkspan.protocols`, under the name
of its listener. It is constructed without side effects; `build` makes a listener from settings
that were already checked; `start`, `drain` and `close` are its life.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from auth.principal import ANONYMOUS, Principal
from gateway.address import Pattern, check_subject, check_topic, parse_pattern, parse_subject_pattern, split_address
from gateway.bus.contract import Batch, Position, TopicInfo, TopicSettings
from gateway.config.model import Limits, ListenerSettings, WebListenerSettings
from gateway.config.units import (
    Duration,
    Size,
    format_retention_bytes,
    format_retention_ms,
    parse_duration,
    parse_retention_bytes,
    parse_retention_ms,
)
from gateway.delivery.form import EndCause, Form, Overflow, Sink
from gateway.delivery.live import Views
from gateway.delivery.outcome import EndOfStream
from gateway.delivery.position import Start, parse_start
from gateway.delivery.reader import Delivery, Gap, Page, Reader, ReadRequest, Stream
from gateway.delivery.refine import Refinement
from gateway.delivery.session import Session
from gateway.envelope import encode_batch, encode_event, encode_events
from gateway.errors import (
    Draining,
    Fault,
    Forbidden,
    InvalidEvent,
    InvalidInput,
    InvalidSetting,
    Kind,
    Limited,
    LinkspanError,
    NotAvailable,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedContent,
)
from gateway.event import Event, event_faults, now_rfc3339
from gateway.formats import adapt, decode_batch, decode_event, with_subject
from gateway.ingress import Ingress, Outcome
from gateway.operate.connections import Connection, Connections
from gateway.operate.host_guard import HostGuard
from gateway.operate.metrics import Counter, Gauge, Histogram, Metrics
from gateway.problems import PROBLEM, STATUS, problem_headers, problem_members
from gateway.query import Query, query_fault
from gateway.refining import Refiner
from gateway.routes import Router
from gateway.schemas import SchemaInfo, Schemas, SchemaVersion
from gateway.topics import TopicDefaults, Topics, TopicView
from gateway.trial import Trial
from gateway.validation import ON_INVALID, TopicSchema, published_members
from routing.attributes import Value
from routing.schemas import KINDS, LEVELS, MAX_TEXT


class BoundAddress(msgspec.Struct, frozen=True):
    """Where a listener can be reached, as printed at start and served at admin `/listeners`."""

    listener: str
    url: str
    host: str
    port: int
    tls: bool = False


class Gateway(Protocol):
    """What the core gives to a plug-in."""

    name: str
    ingress: Ingress
    reader: Reader
    views: Views
    refiner: Refiner
    schemas: Schemas
    router: Router
    trial: Trial
    topics: Topics
    connections: Connections
    metrics: Metrics
    limits: Limits
    logger: Any
    anonymous: bool
    """Whether a client without credentials is served (as ANONYMOUS)."""

    def tls(self, settings: ListenerSettings) -> ssl.SSLContext | None:
        """The context for a listener, reloaded when its files change; None without TLS."""

    def authenticate(self, credentials: str | None) -> Principal:
        """Raises Unauthenticated."""


class Listener(Protocol):
    async def start(self) -> list[BoundAddress]:
        """Bind and serve. Raises OSError when a port cannot be had (reported with its place)."""

    async def drain(self, seconds: float) -> None:
        """Accept nothing new, finish what was begun, tell clients to reconnect elsewhere."""

    async def close(self) -> None:
        """Let go of everything at once. Idempotent; also called after a failed start."""


class Plugin(Protocol):
    name: str
    default_port: int
    settings: type[ListenerSettings]
    """A subclass with the plug-in's own keys; its faults are reported by file and line."""

    def build(self, settings: Any, gateway: Gateway) -> Listener: ...


OnClose = Callable[[], None]

__all__ = [
    "ANONYMOUS", "KINDS", "LEVELS", "MAX_TEXT", "ON_INVALID", "PROBLEM", "STATUS", "Batch", "BoundAddress",
    "Connection", "Connections", "Counter", "Delivery", "Draining", "Duration", "EndCause", "EndOfStream", "Event",
    "Fault", "Forbidden", "Form", "Gap", "Gateway", "Gauge", "Histogram", "HostGuard", "Ingress", "InvalidEvent",
    "InvalidInput", "InvalidSetting", "Kind", "Limited", "Limits", "LinkspanError", "Listener", "ListenerSettings",
    "Metrics", "NotAvailable", "NotFound", "OnClose", "Outcome", "Overflow", "Page", "Pattern", "Plugin", "Position",
    "Principal", "Query", "ReadRequest", "Reader", "Refinement", "Refiner", "Router", "SchemaInfo", "SchemaVersion",
    "Schemas", "Session", "Sink", "Size", "Start", "Stream", "TooLarge", "TopicDefaults", "TopicInfo", "TopicSchema",
    "TopicSettings", "TopicView", "Topics", "Trial", "Unauthenticated", "Unavailable", "UnsupportedContent", "Value",
    "Views", "WebListenerSettings", "adapt", "check_subject", "check_topic", "decode_batch", "decode_event",
    "encode_batch", "encode_event", "encode_events", "event_faults", "format_retention_bytes", "format_retention_ms",
    "now_rfc3339", "parse_duration", "parse_pattern", "parse_retention_bytes", "parse_retention_ms", "parse_start",
    "parse_subject_pattern", "problem_headers", "problem_members", "published_members", "query_fault", "split_address",
    "with_subject",
]  # fmt: skip
