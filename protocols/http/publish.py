"""`POST /v1/topics/{topic}/events`: one event, a batch, or plain data; answered when it is stored."""

from __future__ import annotations

import time

import msgspec
from aiohttp.web import BaseRequest

from gateway.plugin import (
    Event,
    Gateway,
    Principal,
    Query,
    adapt,
    published_members,
)
from protocols.http.binding import decode
from protocols.http.body import BodyReader
from protocols.http.reply import Reply

_encode = msgspec.json.Encoder().encode
_PROTOCOL = "http"


class Publisher:
    def __init__(self, gateway: Gateway, bodies: BodyReader) -> None:
        self._gateway, self._bodies = gateway, bodies
        self._limits = gateway.limits

    async def publish(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        """Raises what the ingress, the binding and the body reader raise.

        A topic that does not exist is refused before the body is read; nothing is read while
        the ingress is above its watermark.
        """
        topic = path[0]
        subject = Query(query, ("subject",)).get("subject") if query else None
        began = time.monotonic()
        view = self._gateway.topics.known(topic)
        if view is None:
            view = await self._gateway.topics.ensure(topic, principal)
        if not self._gateway.ingress.writable:
            await self._gateway.ingress.room(time.monotonic() - began)
        waited = time.monotonic() - began  # for the log; the time of the body is the client's own
        body = await self._bodies.read(request)
        default_type = view.defaults.type

        def adapted(data: bytes | None, content_type: str | None, address: str | None) -> Event:
            return adapt(_PROTOCOL, self._gateway.name, principal.id, data, content_type, address, default_type)

        headers = request.headers
        events = decode(
            [(name.lower(), value) for name, value in headers.items()],
            headers.get("Content-Type"),
            body,
            subject,
            self._limits.batch,
            adapted,
        )
        del body  # the events hold what is needed of it
        if not events:
            return Reply(200, b'{"count":0,"positions":[]}')
        pending = self._gateway.ingress.submit(topic, events, principal, waited=waited)
        del events  # the ingress lets go of them as soon as they are encoded
        positions = await pending
        if len(positions) == 1 and positions[0] is not None:
            partition, offset = positions[0]
            return Reply(200, b'{"count":1,"positions":[[%d,%d]]}' % (partition, offset))
        return Reply(200, _encode(published_members(positions)))
