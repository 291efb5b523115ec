"""A door of under 100 lines: events as lines of text over TCP.

PUB signals/equities/AAPL {"price": 189.5}   is answered   OK 0 17
SUB signals/equities/*                       from then on  EVENT signals/equities/AAPL {"price": 189.5}
"""

from __future__ import annotations

import asyncio

from gateway.plugin import (
    BoundAddress,
    Delivery,
    Gateway,
    LinkspanError,
    Listener,
    ListenerSettings,
    Principal,
    ReadRequest,
    adapt,
    parse_pattern,
    parse_start,
    split_address,
)


class LinesSettings(ListenerSettings):
    """`lines: {host, port, tls, start}` under `listeners:` in the configuration."""

    start: str = "latest"


class LinesListener:
    def __init__(self, settings: LinesSettings, gateway: Gateway) -> None:
        self._settings, self._gateway = settings, gateway
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> list[BoundAddress]:
        tls = self._gateway.tls(self._settings)
        self._server = await asyncio.start_server(
            self._serve, self._settings.host, self._settings.port, ssl=tls, limit=self._gateway.limits.event
        )
        host, port = self._server.sockets[0].getsockname()[:2]
        return [BoundAddress("lines", f"tcp://{host}:{port}", host, port, tls=tls is not None)]

    async def drain(self, seconds: float) -> None:
        await self.close()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            principal = self._gateway.authenticate(None)
            while line := await reader.readline():
                try:
                    await self._answer(line.rstrip(b"\r\n"), principal, writer)
                except LinkspanError as error:
                    writer.write(f"ERR {error.code} {error.message}\n".encode())
                await writer.drain()
        except (ConnectionError, ValueError, asyncio.CancelledError) as error:
            # The client left, sent a line above the limit, or the listener closes: this connection ends.
            self._gateway.logger.debug("lines connection ended", reason=repr(error))
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, line: bytes, principal: Principal, writer: asyncio.StreamWriter) -> None:
        verb, _, rest = line.partition(b" ")
        where, _, data = rest.partition(b" ")
        address = where.decode(errors="replace")
        if verb == b"PUB":
            topic, subject = split_address(address)
            event = adapt("lines", self._gateway.name, principal.id, data, None, subject, None)
            [(partition, offset)] = await self._gateway.ingress.submit(topic, [event], principal)
            writer.write(f"OK {partition} {offset}\n".encode())
        elif verb == b"SUB":
            start = parse_start(self._settings.start)
            stream = await self._gateway.reader.open(ReadRequest((parse_pattern(address),), start), principal)
            try:
                while (delivery := await stream.next(timeout=15.0)) or not writer.is_closing():
                    writer.write(encode(delivery) if delivery else b"\n")
                    await writer.drain()  # a client that does not read holds up nobody but itself
            finally:
                await stream.close()
        else:
            writer.write(b"ERR invalid_request say PUB address data, or SUB pattern\n")


def encode(delivery: Delivery) -> bytes:
    """Pure: a batch of events to the bytes on the wire. Line breaks in the data would forge lines."""
    lines = []
    for event in delivery.events:
        address = event.topic if event.subject is None else f"{event.topic}/{event.subject}"
        lines.append(b"EVENT %s %s\n" % (address.encode(), (event.data or b"").replace(b"\r", b" ").replace(b"\n", b" ")))
    return b"".join(lines)


class LinesPlugin:
    name = "lines"
    default_port = 7007
    settings = LinesSettings

    def build(self, settings: LinesSettings, gateway: Gateway) -> Listener:
        return LinesListener(settings, gateway)


plugin = LinesPlugin()
