"""`linkspan.v1`: many subscriptions and publishing on one connection; every message is answered by its id."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.plugin import (
    EndCause,
    Limited,
    LinkspanError,
    Outcome,
    check_subject,
    decode_batch,
    published_members,
    with_subject,
)
from protocols.websocket.closing import MAX_BAD, Code
from protocols.websocket.codec import (
    Asked,
    DuplicateId,
    Id,
    InvalidMessage,
    Publish,
    Subscribe,
    UnknownSubscription,
    Unsubscribed,
    decode,
    ended,
    failed,
    not_available,
    ok,
    plain,
    subscribe_of,
    unsubscribe_of,
)
from protocols.websocket.dialect import Subscription
from protocols.websocket.forms import native_form

if TYPE_CHECKING:
    from protocols.websocket.connection import Connection


class NativeDialect:
    """See protocols.websocket.dialect.Dialect."""

    __slots__ = ("_bad", "_connection", "_subscriptions")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._subscriptions: dict[Id, Subscription] = {}
        self._bad = 0

    async def prepare(self) -> None:
        """Nothing: subscriptions come later."""

    def begin(self) -> None:
        """Nothing, likewise."""

    def settle(self) -> None:
        """Nothing: every message was handled as it came."""

    def take(self, data: bytes) -> None:
        counters = self._connection.door.counters
        try:
            asked = decode(data)
        except InvalidMessage as error:
            counters.received("invalid")
            self._refuse(error.id, error)
            self._bad += 1
            if self._bad >= MAX_BAD:
                self._connection.close(Code.BAD_MESSAGES, f"{MAX_BAD} messages in a row could not be understood")
            return
        self._bad = 0
        counters.received(asked.kind)
        try:
            self._do(asked)
        except LinkspanError as error:
            self._refuse(asked.id, error)

    def pause(self) -> None:
        for subscription in list(self._subscriptions.values()):
            if subscription.session is not None:
                subscription.session.pause()

    def resume(self) -> None:
        for subscription in list(self._subscriptions.values()):
            if subscription.session is not None:
                subscription.session.resume()

    def close(self) -> None:
        subscriptions, self._subscriptions = self._subscriptions, {}
        for subscription in subscriptions.values():
            self._drop(subscription)

    def ended(self, subscription: Subscription, cause: EndCause, error: LinkspanError | None) -> None:
        if self._subscriptions.get(subscription.sid) is subscription:
            del self._subscriptions[subscription.sid]
            self._drop(subscription)
            self._connection.door.counters.sent("end")
            self._connection.send(ended(subscription.sid, cause, error))

    def _do(self, asked: Asked) -> None:
        """Raises LinkspanError."""
        if isinstance(asked.body, Publish):
            self._publish(asked.id, asked.body)
        elif asked.kind == "subscribe":
            self._subscribe(asked.id, subscribe_of(asked.body, asked.id))
        elif asked.kind == "unsubscribe":
            self._unsubscribe(asked.id, unsubscribe_of(asked.body, asked.id))
        elif asked.kind == "ping":
            self._agree(asked.id, {})
        else:
            raise not_available(asked.kind)

    # Subscriptions

    def _subscribe(self, id: Id, wanted: Subscribe) -> None:
        connection = self._connection
        most = connection.door.settings.subscriptions
        if id in self._subscriptions:
            raise DuplicateId(f"there is a subscription with the id {id.decode()} on this connection")
        if len(self._subscriptions) >= most:
            raise Limited(f"a connection has at most {most} subscriptions; end one, or open another connection")
        subscription = self._subscriptions[id] = Subscription(self, id, connection.write, connection.bound)
        connection.door.counters.subscriptions.inc()
        subscription.task = connection.door.spawn(self._open(subscription, wanted), "websocket subscribe")

    async def _open(self, subscription: Subscription, wanted: Subscribe) -> None:
        connection, id = self._connection, subscription.sid
        form = native_form(id, connection.window_bits)
        gateway, principal = connection.door.gateway, connection.principal
        try:
            refinement = await gateway.refiner.make(wanted.filters, wanted.transform, wanted.errors_to, principal)
            request = msgspec.structs.replace(wanted.request, refinement=refinement)
            session = await gateway.views.subscribe(request, principal, form, subscription, wanted.overflow)
        except LinkspanError as error:
            subscription.task = None
            del self._subscriptions[id]  # whoever ends it before has cancelled this
            self._drop(subscription)
            self._refuse(id, error)
            return
        except Exception as error:  # noqa: BLE001  # told, and the client does not wait for ever
            connection.failed(error)
            return
        self._agree(id, {"sid": plain(id), "cursor": session.cursor})
        subscription.begin(session, paused=connection.paused)

    def _unsubscribe(self, id: Id, sid: Id) -> None:
        subscription = self._subscriptions.pop(sid, None)
        if subscription is None:
            raise UnknownSubscription(f"there is no subscription with the id {sid.decode()} on this connection")
        session = subscription.session
        result: dict[str, Any] = {"sid": plain(sid)}
        if session is None:
            self._refuse(sid, Unsubscribed("it was unsubscribed before it had begun"))
        else:
            result["cursor"] = session.cursor
        self._drop(subscription)
        self._agree(id, result)

    def _drop(self, subscription: Subscription) -> None:
        subscription.close()
        self._connection.door.counters.subscriptions.dec()

    # Publishing

    def _publish(self, id: Id, publish: Publish) -> None:
        connection = self._connection
        topics = connection.door.gateway.topics
        if topics.known(publish.topic) is None:
            connection.wait_for(
                lambda: topics.ensure(publish.topic, connection.principal), partial(self._looked_up, id, publish)
            )
        else:
            self._submit(id, publish)

    def _looked_up(self, id: Id, publish: Publish, error: LinkspanError | None) -> None:
        try:
            if error is not None:
                raise error
            self._submit(id, publish)
        except LinkspanError as refusal:
            self._refuse(id, refusal)

    def _submit(self, id: Id, publish: Publish) -> None:
        connection = self._connection
        gateway = connection.door.gateway
        events = decode_batch(bytes(publish.events), gateway.limits.batch)
        if publish.subject is not None:
            events = with_subject(events, check_subject(publish.subject), batch=True)
        if not events:
            self._agree(id, {"count": 0, "positions": []})
            return
        gateway.ingress.publish(publish.topic, events, connection.principal, partial(self._published, id))
        connection.publishing()

    def _published(self, id: Id, outcome: Outcome) -> None:
        if isinstance(outcome, LinkspanError):
            self._refuse(id, outcome)
        else:
            self._connection.door.counters.events.inc(len(outcome))
            self._agree(id, published_members(outcome))
        self._connection.published()

    # Answers

    def _agree(self, id: Id, result: dict[str, Any]) -> None:
        self._connection.door.counters.sent("ok")
        self._connection.send(ok(id, result))

    def _refuse(self, id: Id, error: LinkspanError) -> None:
        self._connection.door.counters.sent("error")
        self._connection.send(failed(id, error))
