"""`cloudevents.json`: every message is one CloudEvent, both ways.

What is read and published to stands in the address. Refused events are answered by an event of
the type `io.linkspan.error`; those that are stored are not answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from gateway.plugin import (
    EndCause,
    Event,
    InvalidInput,
    LinkspanError,
    Outcome,
    ReadRequest,
    Value,
    decode_event,
    encode_event,
)
from protocols.websocket.closing import MAX_BAD, Code
from protocols.websocket.codec import end_members, error_members
from protocols.websocket.dialect import Subscription
from protocols.websocket.forms import cloudevents_form
from protocols.websocket.handshake import Wish

if TYPE_CHECKING:
    from protocols.websocket.connection import Connection

ERROR = "io.linkspan.error"

_encode = msgspec.json.Encoder(enc_hook=str).encode


class _Identified(msgspec.Struct):
    id: str


class CloudEventsDialect:
    """See protocols.websocket.dialect.Dialect."""

    __slots__ = ("_bad", "_connection", "_events", "_subscription", "_wish")

    def __init__(self, connection: Connection, wish: Wish) -> None:
        self._connection, self._wish = connection, wish
        self._subscription: Subscription | None = None
        self._events: list[Event] = []
        self._bad = 0

    async def prepare(self) -> None:
        connection, wish = self._connection, self._wish
        gateway = connection.door.gateway
        if wish.to is not None:
            await gateway.topics.ensure(wish.to, connection.principal)
        if not wish.sources:
            return
        subscription = Subscription(self, b"", connection.write, connection.bound)
        refinement = None if wish.filter is None else await gateway.refiner.expression(wish.filter)
        request = ReadRequest(wish.sources, wish.start, refinement)
        form = cloudevents_form(connection.door.source, connection.window_bits)
        subscription.session = await gateway.views.subscribe(request, connection.principal, form, subscription)
        self._subscription = subscription
        connection.door.counters.subscriptions.inc()

    def begin(self) -> None:
        subscription = self._subscription
        if subscription is not None and subscription.session is not None:
            subscription.begin(subscription.session, paused=self._connection.paused)

    def take(self, data: bytes) -> None:
        counters = self._connection.door.counters
        try:
            event = decode_event(data)
            if self._wish.to is None:
                raise InvalidInput("this connection only reads: its address names no topic to publish to (to=)")
        except LinkspanError as error:
            counters.received("invalid")
            self._refuse(_id_in(data), error)
            self._bad += 1
            if self._bad >= MAX_BAD:
                self._connection.close(Code.BAD_MESSAGES, f"{MAX_BAD} messages in a row were refused")
            return
        self._bad = 0
        counters.received("event")
        self._events.append(event)

    def settle(self) -> None:
        """Publish what came together, as one batch or as several."""
        if not self._events or self._wish.to is None:
            return
        connection, topic = self._connection, self._wish.to
        topics = connection.door.gateway.topics
        if topics.known(topic) is None:
            connection.wait_for(lambda: topics.ensure(topic, connection.principal), self._looked_up)
        else:
            self._looked_up(None)

    def _looked_up(self, error: LinkspanError | None) -> None:
        events, self._events = self._events, []
        if error is not None:
            self._refuse_all([event.attributes["id"] for event in events], error)
            return
        most = self._connection.door.limits.batch
        for begin in range(0, len(events), most):
            self._publish(events[begin : begin + most])

    def _publish(self, events: Sequence[Event]) -> None:
        connection, topic = self._connection, self._wish.to
        assert topic is not None
        ids = [event.attributes["id"] for event in events]
        try:
            connection.door.gateway.ingress.publish(topic, events, connection.principal, partial(self._published, ids))
        except LinkspanError as error:
            if len(events) == 1:
                self._refuse(ids[0], error)
                return
            for event in events:  # each by itself: only those that are at fault are refused
                self._publish([event])
        else:
            connection.publishing()

    def _published(self, ids: list[Value], outcome: Outcome) -> None:
        if isinstance(outcome, LinkspanError):
            self._refuse_all(ids, outcome)
        else:
            self._connection.door.counters.events.inc(len(outcome))
        self._connection.published()

    def pause(self) -> None:
        if self._subscription is not None and self._subscription.session is not None:
            self._subscription.session.pause()

    def resume(self) -> None:
        if self._subscription is not None and self._subscription.session is not None:
            self._subscription.session.resume()

    def close(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()
            self._connection.door.counters.subscriptions.dec()

    def ended(self, subscription: Subscription, cause: EndCause, error: LinkspanError | None) -> None:
        """The connection was for this subscription: it ends with it."""
        if self._subscription is not subscription:
            return
        told = end_members(cause, error)
        self._notify(told)
        if error is not None:
            code = Code.FAILED if error.retriable else Code.REFUSED
        else:
            code = Code.FAILED if told["retry"] else Code.NOTHING_LEFT
        self._connection.close(code, told["message"])

    def _refuse(self, id: Value | None, error: LinkspanError) -> None:
        self._notify(error_members(error) | ({} if id is None else {"id": id}))

    def _refuse_all(self, ids: Sequence[Value], error: LinkspanError) -> None:
        for id in ids:
            self._refuse(id, error)

    def _notify(self, members: dict[str, object]) -> None:
        self._connection.door.counters.sent("error")
        self._connection.send(encode_event(self._connection.door.notice(ERROR, _encode(members))))


def _id_in(data: bytes) -> str | None:
    """The id of an event that was refused, where it has one."""
    try:
        return msgspec.json.decode(data, type=_Identified).id
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
