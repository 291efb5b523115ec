"""The listener: sockets, and the end of all connections."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from gateway.plugin import BoundAddress, Gateway
from protocols.websocket.connection import Connection
from protocols.websocket.door import PROTOCOL, Door
from protocols.websocket.handshake import PATH
from protocols.websocket.settings import WebSocketSettings

BACKLOG = 4096
#: Seconds in which a TLS handshake must be done.
HANDSHAKE = 10.0


class WebSocketListener:
    """One address. See gateway.plugin.Listener."""

    def __init__(self, settings: WebSocketSettings, gateway: Gateway) -> None:
        self._settings, self._gateway = settings, gateway
        self.door = Door(settings, gateway)
        self._sockets: asyncio.Server | None = None

    async def start(self) -> list[BoundAddress]:
        """Raises OSError when the port cannot be had."""
        loop = asyncio.get_running_loop()
        settings, tls = self._settings, self._gateway.tls(self._settings)
        options: dict[str, Any] = {} if tls is None else {"ssl": tls, "ssl_handshake_timeout": HANDSHAKE}
        self._sockets = await loop.create_server(
            partial(Connection, self.door), settings.host, settings.port, backlog=BACKLOG, reuse_address=True, **options
        )
        self.door.start()
        addresses = []
        for socket in self._sockets.sockets:
            host, port = socket.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            scheme = "ws" if tls is None else "wss"
            url = f"{scheme}://{shown}:{port}{PATH}"
            addresses.append(BoundAddress(PROTOCOL, url, host, port, tls is not None))
        return addresses

    async def drain(self, seconds: float) -> None:
        """Accept nothing; close all with 1012, each when what it published is answered."""
        self.door.draining = True
        if self._sockets is not None:
            self._sockets.close()
        for connection in list(self.door.connections):
            connection.drain()
        try:
            async with asyncio.timeout(seconds):
                await self.door.empty.wait()
        except TimeoutError:
            self._gateway.logger.warning("websocket_drain_cut", connections=len(self.door.connections))

    async def close(self) -> None:
        if self._sockets is not None:
            self._sockets.close()
            self._sockets = None
        await self.door.close()
