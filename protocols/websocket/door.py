"""What the connections of one listener share: settings, counters, tasks, and the one clock that asks after them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from gateway.plugin import Event, Gateway, HostGuard, adapt
from protocols.websocket.counters import Counters
from protocols.websocket.settings import WebSocketSettings

if TYPE_CHECKING:
    from protocols.websocket.connection import Connection

PROTOCOL = "websocket"
#: Seconds between two looks at all connections.
SWEEP = 1.0
#: Seconds in which a handshake must be done, whatever `limits.request_timeout` says.
HANDSHAKE = 10.0
#: Connections that are looked at in one turn of the loop: a thousand pings take some milliseconds.
_AT_ONCE = 1000


class Door:
    """Shared by reference; a connection keeps only what is its own."""

    def __init__(self, settings: WebSocketSettings, gateway: Gateway) -> None:
        self.settings, self.gateway, self.limits = settings, gateway, gateway.limits
        self.guard = HostGuard((settings.host,), settings.allowed_hosts, settings.allowed_origins)
        self.handshake_timeout = min(gateway.limits.request_timeout, HANDSHAKE)
        self.counters = Counters(gateway.metrics)
        self.connections: set[Connection] = set()
        self.draining = False
        self.empty = asyncio.Event()
        self.empty.set()
        #: The loop's time at the latest look: exact enough for whatever is counted in seconds.
        self.now = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None

    @property
    def source(self) -> str:
        """The `source` of events that the door itself makes."""
        return f"//{self.gateway.name}/{PROTOCOL}/gateway"

    def notice(self, type_: str, data: bytes) -> Event:
        """An event of the door's own: `data` is JSON."""
        return adapt(PROTOCOL, self.gateway.name, "gateway", data, "application/json", None, type_)

    # Connections

    @property
    def full(self) -> bool:
        return len(self.connections) > self.limits.connections

    def add(self, connection: Connection) -> None:
        self.connections.add(connection)
        self.empty.clear()

    def remove(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self.empty.set()

    # Tasks

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task that lives as long as the door at most; its connection cancels it before."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.gateway.logger.error("websocket_task_failed", task=task.get_name(), exc_info=error)

    # The clock

    def start(self) -> None:
        self._tick()

    async def close(self) -> None:
        """End everything at once. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self.connections):
            connection.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        self._timer = loop.call_later(SWEEP, self._tick)
        if self.connections:
            self._look(iter(list(self.connections)))

    def _look(self, left: Iterator[Connection]) -> None:
        seen = 0
        for connection in islice(left, _AT_ONCE):
            connection.check(self.now)
            seen += 1
        if seen == _AT_ONCE:
            asyncio.get_running_loop().call_soon(self._look, left)
