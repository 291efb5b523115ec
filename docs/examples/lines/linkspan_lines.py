"""A door of under 100 lines: events as lines of text over TCP.

PUB signals/equities/AAPL {"price": 189.5}   is answered   OK 0 17
SUB signals/equities/*                       from then on  EVENT signals/equities/AAPL {"price": 189.5}
"""

from __future__ import annotations

import asyncio

from gateway import plugin as seam

BREAKS = bytes.maketrans(b"\r\n", b"  ")


class LinesSettings(seam.ListenerSettings):
    """`lines: {host, port, tls, start}` under `listeners:` in the configuration."""

    start: str = "latest"


class LinesListener:
    def __init__(self, settings: LinesSettings, gateway: seam.Gateway) -> None:
        self._settings, self._gateway = settings, gateway
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None] | None] = set()

    async def start(self) -> list[seam.BoundAddress]:
        at, tls = self._settings, self._gateway.tls(self._settings)
        self._server = await asyncio.start_server(self._serve, at.host, at.port, ssl=tls, limit=1024 * 1024)
        host, port = self._server.sockets[0].getsockname()[:2]
        return [seam.BoundAddress("lines", f"tcp://{host}:{port}", host, port, tls=tls is not None)]

    async def drain(self, seconds: float) -> None:
        await self.close()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        tasks = [task for task in self._clients if task and task.cancel()]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(task := asyncio.current_task())
        try:
            principal = self._gateway.authenticate(None)
            while line := await reader.readline():
                try:
                    await self._answer(line.rstrip(b"\r\n"), principal, writer)
                except seam.LinkspanError as error:
                    writer.write(f"ERR {error.code} {error.message}\n".encode())
                await writer.drain()
        except (ConnectionError, ValueError, seam.EndOfStream, asyncio.CancelledError) as error:
            # The client left, sent a line above the limit, its topic went, or the listener closes.
            self._gateway.logger.debug("lines connection ended", reason=repr(error))
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, line: bytes, principal: seam.Principal, writer: asyncio.StreamWriter) -> None:
        verb, where, data = [*line.split(b" ", 2), b"", b""][:3]
        address = where.decode(errors="replace")
        if verb == b"PUB":
            topic, subject = seam.split_address(address)
            event = seam.adapt("lines", self._gateway.name, principal.id, data, None, subject, None)
            [position] = await self._gateway.ingress.submit(topic, [event], principal)
            # Without a position the topic's schema diverted it to another topic.
            writer.write(b"OK %d %d\n" % position if position else b"OK diverted\n")
        elif verb == b"SUB":
            asked = seam.ReadRequest((seam.parse_pattern(address),), seam.parse_start(self._settings.start))
            stream = await self._gateway.reader.open(asked, principal)
            try:
                while not writer.is_closing():
                    delivery = await stream.next(timeout=15.0)
                    writer.write(b"".join(map(encode, delivery.events)) if delivery else b"\n")
                    await writer.drain()  # a client that does not read holds up nobody but itself
            finally:
                await stream.close()
        else:
            writer.write(b"ERR invalid_request say PUB address data, or SUB pattern\n")


def encode(event: seam.Event) -> bytes:
    """Pure: one event as it goes on the wire. Line breaks in its data would forge lines."""
    address = event.topic if event.subject is None else f"{event.topic}/{event.subject}"
    return b"EVENT %s %s\n" % (address.encode(), (event.data or b"").translate(BREAKS))


class LinesPlugin:
    name = "lines"
    default_port = 7007
    settings = LinesSettings

    def build(self, settings: LinesSettings, gateway: seam.Gateway) -> seam.Listener:
        return LinesListener(settings, gateway)


plugin = LinesPlugin()
