"""`/v1/connections`: the clients of every protocol, to see and to end."""

from __future__ import annotations

import msgspec
from aiohttp.web import BaseRequest

from gateway.plugin import (
    Gateway,
    Principal,
    Query,
)
from protocols.http.reply import Reply


class ClientPages:
    def __init__(self, gateway: Gateway) -> None:
        self._connections = gateway.connections

    async def list(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        return Reply(200, msgspec.json.encode({"connections": self._connections.list()}))

    async def disconnect(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        """Cuts the connection; a client may come back. Raises NotFound."""
        Query(query, ())
        self._connections.disconnect(path[0])
        return Reply(204)
