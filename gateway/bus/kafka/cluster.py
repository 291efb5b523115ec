"""The connections to a Kafka cluster, and what is known about it, kept fresh.

Every `refresh` seconds, and at once when somebody finds his knowledge wrong, the metadata of all
topics is asked for. That is also the heartbeat: while it succeeds, Kafka is there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal

import structlog

from gateway.bus.contract import BusHealth, TopicChange
from gateway.bus.kafka import messages, wire
from gateway.bus.kafka.errors import Unreachable
from gateway.bus.kafka.metadata import Merger, Metadata, TopicMeta, parse
from gateway.bus.kafka.security import connection_options
from gateway.bus.kafka.wire import Connection, Request
from gateway.config.model import KafkaSecurity
from gateway.errors import InvalidSetting

#: Brokers answer the requests of one connection one after another: what waits has its own.
Channel = Literal["control", "produce", "read", "tail"]
OnChanges = Callable[[list[tuple[str, TopicChange]]], None]

log = structlog.get_logger("kafka")

_FIRST_BACKOFF, _LAST_BACKOFF = 0.1, 1.0
#: Seconds that a broker has to answer a request for metadata.
_PATIENCE, _PATIENCE_WITH_OTHERS = 5.0, 1.5
#: Requests for fresh metadata are answered together, not more often than this.
_PACE = 0.05


def parse_bootstrap(text: str) -> list[tuple[str, int]]:
    """`host:port,host` -> addresses; the port defaults to 9092. Raises InvalidSetting."""
    hosts = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        host, colon, port = part.rpartition(":")
        if not colon or (part.startswith("[") and part.endswith("]")):
            host, port = part, "9092"
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise InvalidSetting(f"Kafka bootstrap {part!r} is not host:port")
        hosts.append((host.removeprefix("[").removesuffix("]"), int(port)))
    if not hosts:
        raise InvalidSetting("Kafka bootstrap names no host")
    return hosts


class Cluster:
    """Constructing does nothing; `start` connects, or goes on trying in the background."""

    def __init__(
        self,
        bootstrap: str,
        *,
        security: KafkaSecurity | None = None,
        client_id: str = "linkspan",
        request_timeout: float = 10.0,
        refresh: float = 3.0,
    ) -> None:
        self.metadata = Metadata()
        self.timeout = request_timeout
        self.ready = False
        self.down_since = time.monotonic()
        self.on_changes: list[OnChanges] = []
        """Called after each refresh, with what changed (often nothing)."""
        self.on_ready: list[Callable[[BusHealth], None]] = []
        self._reasons: tuple[str, ...] = (f"Kafka at {bootstrap} has not answered yet",)
        self._bootstrap = parse_bootstrap(bootstrap)
        self._client_id = client_id
        self._options = connection_options(security)
        self._interval = refresh
        self._connections: dict[tuple[int, str], Connection] = {}
        self._locks: dict[tuple[int, str], asyncio.Lock] = {}
        self._merger = Merger()
        self._body = b""
        self._node = -1
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._waiters: list[asyncio.Future[bool]] = []
        self._closed = False

    # -- life ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Try once, then leave it to the background. Does not raise when Kafka is out of reach."""
        self._task = asyncio.create_task(self._keep_fresh(), name="kafka metadata")
        await self.refreshed()

    async def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(False)
        closing = [future for each in self._connections.values() if (future := each.close()) is not None]
        self._connections.clear()
        if closing:
            await asyncio.wait(closing, timeout=2)

    def health(self) -> BusHealth:
        """From memory."""
        partitions = sum(len(topic.partitions) for topic in self.metadata.topics.values())
        detail: dict[str, str | int | float] = {
            "brokers": len(self.metadata.brokers),
            "topics": len(self.metadata.topics),
            "partitions": partitions,
        }
        return BusHealth(self.ready, () if self.ready else self._reasons, detail)

    @property
    def reason(self) -> str:
        """Why it is not ready, in one sentence."""
        return "; ".join(self._reasons)

    def down_for(self) -> float:
        """Seconds since Kafka was last there; 0 while it is."""
        return 0.0 if self.ready else time.monotonic() - self.down_since

    # -- metadata -----------------------------------------------------------------------

    def refresh_soon(self) -> None:
        """Somebody found the metadata wrong: fetch it again at once."""
        self._wanted.set()

    async def refreshed(self) -> bool:
        """Wait for metadata that is asked for from now on; False when that failed or took too long."""
        if self._closed or self._task is None:
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wanted.set()
        done, _ = await asyncio.wait((waiter,), timeout=self.timeout)
        return bool(done) and waiter.result()

    def forget(self, topic: TopicMeta) -> None:
        """We deleted it ourselves: it is gone, whatever a broker that lags may say."""
        self._merger.retire(topic)
        current = self.metadata.topics.get(topic.name)
        if current is not None and current.id == topic.id:
            topics = {name: meta for name, meta in self.metadata.topics.items() if name != topic.name}
            self.metadata = Metadata(self.metadata.brokers, self.metadata.controller, topics)
            self._body = b""
            self._announce([(topic.name, TopicChange.DELETED)])

    async def _keep_fresh(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            self._wanted.clear()
            waiters, self._waiters = self._waiters, []
            try:
                self._accept(await self._load())
                backoff = _FIRST_BACKOFF
            except Unreachable as error:
                self._lost(str(error))
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(self.ready)
            if self.ready:
                pause = _PACE
                waiting = 0.3 if self._merger.unsure else self._interval
            else:
                pause = waiting = backoff
                backoff = min(_LAST_BACKOFF, backoff * 2)
            await asyncio.sleep(pause)
            if not self._wanted.is_set() and waiting > pause:
                try:
                    await asyncio.wait_for(self._wanted.wait(), waiting - pause)
                except TimeoutError:
                    continue

    async def _load(self) -> bytes:
        # The node that answered last comes first, since its answers are the same bytes when
        # nothing changed; then the others, then the addresses we were given.
        failures = []
        # A hung one must not hide from us for long who took over from it.
        known = sorted(self.metadata.brokers, key=lambda node: node != self._node)
        patience = min(self.timeout, _PATIENCE if len(known) == 1 else _PATIENCE_WITH_OTHERS)
        for node in known:
            try:
                body = await self.call(node, "control", messages.metadata(), timeout=patience)
            except Unreachable as error:
                failures.append(str(error))
            else:
                self._node = node
                return bytes(body)
        for host, port in self._bootstrap:
            try:
                connection = await wire.connect(
                    host, port, self._client_id, min(_PATIENCE, self.timeout), self._options
                )
            except Unreachable as error:
                failures.append(str(error))
                continue
            try:
                return bytes(await wire.exchange(connection, messages.metadata(), self.timeout))
            except Unreachable as error:
                failures.append(str(error))
            finally:
                connection.close()
        raise Unreachable("Kafka is out of reach: " + "; ".join(dict.fromkeys(failures)))

    def _accept(self, body: bytes) -> None:
        changes: list[tuple[str, TopicChange]] = []
        if body != self._body or self._merger.unsure:
            new = parse(body)
            if not new.brokers:
                raise Unreachable("Kafka is out of reach: the broker has not joined its cluster yet")
            self.metadata, changes = self._merger.merge(self.metadata, new)
            self._body = body
        came_back = not self.ready
        self.ready, self._reasons = True, ()
        if came_back:
            log.info("kafka is there", brokers=len(self.metadata.brokers), topics=len(self.metadata.topics))
            self._tell()
        self._announce(changes)

    def _announce(self, changes: list[tuple[str, TopicChange]]) -> None:
        for listener in list(self.on_changes):
            listener(changes)

    def _lost(self, reason: str) -> None:
        was_ready, changed = self.ready, (reason,) != self._reasons
        self.ready, self._reasons = False, (reason,)
        if was_ready:
            self.down_since = time.monotonic()
        if was_ready or changed:
            log.warning("kafka is out of reach", reason=reason)
            self._tell()

    def _tell(self) -> None:
        health = self.health()
        for listener in list(self.on_ready):
            listener(health)

    # -- requests -----------------------------------------------------------------------

    async def connection(self, node: int, channel: Channel, timeout: float | None = None) -> Connection:
        """The open connection to a node for one purpose. Raises Unreachable, after `timeout` at the latest."""
        key = (node, channel)
        address = self.metadata.brokers.get(node)
        if address is None:
            raise Unreachable(f"broker {node} is not in the cluster")
        connection = self._current(key, address)
        if connection is not None:
            return connection
        timeout = self.timeout if timeout is None else timeout
        try:
            # Whoever waits for his turn waits for those before him too: all of it is bounded.
            async with asyncio.timeout(timeout), self._locks.setdefault(key, asyncio.Lock()):
                return self._current(key, address) or await self._connect(key, address)
        except TimeoutError as error:
            raise Unreachable(f"{address[0]}:{address[1]} does not answer within {timeout:g} s") from error

    async def _connect(self, key: tuple[int, str], address: tuple[str, int]) -> Connection:
        connection = await wire.connect(*address, self._client_id, self.timeout, self._options)
        if self._closed:
            connection.close()
            raise Unreachable("closed")
        self._connections[key] = connection
        return connection

    def _current(self, key: tuple[int, str], address: tuple[str, int]) -> Connection | None:
        connection = self._connections.get(key)
        if connection is None:
            return None
        if connection.connected() and (connection.host, connection.port) == address:
            return connection
        connection.close()
        del self._connections[key]
        return None

    async def call(self, node: int, channel: Channel, request: Request, *, timeout: float | None = None) -> Any:
        """Send a request to a node. Raises Unreachable, after `timeout` at the latest, and asks for
        fresh metadata then."""
        timeout = self.timeout if timeout is None else timeout
        end = time.monotonic() + timeout
        try:
            connection = await self.connection(node, channel, timeout)
            return await wire.exchange(connection, request, max(0.0, end - time.monotonic()))
        except Unreachable:
            if channel != "control":
                self.refresh_soon()
            raise

    async def call_any(self, request: Request, *, timeout: float | None = None) -> Any:
        """Send a request to whichever node answers (brokers pass it on to the controller).

        `timeout` is each node's; without it all of them together have the time of one request.
        """
        failure = Unreachable(self.reason or "Kafka names no broker")
        nodes = sorted(self.metadata.brokers, key=lambda node: node != self._node)
        timeout = self.timeout / max(1, len(nodes)) if timeout is None else timeout
        for node in nodes:
            try:
                return await self.call(node, "control", request, timeout=timeout)
            except Unreachable as error:
                failure = error
        self.refresh_soon()
        raise failure
