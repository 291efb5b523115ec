"""`/v1/routes`, `/v1/workflows`: what there is and what it has done. `/v1/routing`: trying things out."""

from __future__ import annotations

import msgspec
from aiohttp.web import BaseRequest

from gateway.plugin import Gateway, Principal, Query
from protocols.http.body import BodyReader
from protocols.http.reply import Reply
from protocols.http.topics import read_json

#: Bytes of a body beside the event that is tried.
MAX_RULES = 256 * 1024
_encode = msgspec.json.Encoder().encode


class RoutingPages:
    """The handlers. What is wrong with what is tried is an answer (200), what is wrong with the request an error."""

    def __init__(self, gateway: Gateway, bodies: BodyReader) -> None:
        self._router, self._trial, self._bodies = gateway.router, gateway.trial, bodies
        self._most = gateway.limits.event + MAX_RULES

    async def routes(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        return Reply(200, _encode({"routes": self._router.described()}))

    async def workflows(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        return Reply(200, _encode({"workflows": self._router.described_workflows()}))

    async def evaluate(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        body = await read_json(request, self._bodies, self._most, "expressions and events")
        return Reply(200, self._trial.evaluate(body))

    async def try_out(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        body = await read_json(request, self._bodies, self._most, "rules and events")
        return Reply(200, await self._trial.try_out(body, principal))
