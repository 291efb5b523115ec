"""The listener: sockets, and the way of a request from its headers to its answer.

host and origin, CORS, who is asking, path and method, the handler; errors become problems. The
handlers are in `publish`, `read`, `topics` and `clients`. There is no logging or task of ours per request.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from aiohttp.web import BaseRequest

from gateway.plugin import (
    BoundAddress,
    Counter,
    Forbidden,
    Gateway,
    HostGuard,
    LinkspanError,
    Principal,
    Unauthenticated,
    WebListenerSettings,
)
from protocols.http.body import BodyReader
from protocols.http.clients import ClientPages
from protocols.http.connection import HttpConnection, HttpServer
from protocols.http.cors import Cors
from protocols.http.docs import DocumentPages
from protocols.http.problem import (
    HeadersTooLarge,
    InternalError,
    Malformed,
    MethodNotAllowed,
    NotImplementedCoding,
    VersionNotSupported,
    reply_of,
)
from protocols.http.publish import Publisher
from protocols.http.read import Readings
from protocols.http.reply import Reply
from protocols.http.routes import Answer, Handler, Route, Routes
from protocols.http.routing import RoutingPages
from protocols.http.schemas import SchemaPages
from protocols.http.topics import TopicPages

BACKLOG = 1024
#: Seconds in which a TLS handshake must be done.
HANDSHAKE = 10.0
_MAX_HOSTS = 1000
_VERSIONS = ((1, 1), (1, 0))
_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)


class Door:
    """What is served: everything between a parsed request and its answer. No sockets."""

    def __init__(self, settings: WebListenerSettings, gateway: Gateway) -> None:
        self._gateway = gateway
        self._guard = HostGuard((settings.host,), settings.allowed_hosts, settings.allowed_origins)
        self._cors = Cors(settings.allowed_origins)
        self._header_limit = gateway.limits.header
        self._write_timeout = gateway.limits.write_timeout
        bodies = self.bodies = BodyReader(gateway.limits)
        self.readings = Readings(gateway, self._cors)
        self._anonymous: Principal | None = None
        self._hosts: dict[str | None, Forbidden | None] = {}
        self._counters: dict[tuple[str, int], Counter] = {}
        publisher, topics = Publisher(gateway, bodies), TopicPages(gateway, bodies)
        clients, documents, schemas = ClientPages(gateway), DocumentPages(), SchemaPages(gateway, bodies)
        routing = RoutingPages(gateway, bodies)
        self.table: dict[str, dict[str, Handler]] = {
            "/v1/topics": {"GET": topics.list},
            "/v1/topics/{topic}": {
                "GET": topics.get,
                "PUT": topics.put,
                "PATCH": topics.patch,
                "DELETE": topics.delete,
            },
            "/v1/topics/{topic}/events": {"POST": publisher.publish, "GET": self.readings.topic},
            "/v1/events": {"GET": self.readings.several},
            "/v1/schemas": {"GET": schemas.list},
            "/v1/schemas/{name}": {"GET": schemas.get, "PATCH": schemas.patch, "DELETE": schemas.delete},
            "/v1/schemas/{name}/versions": {"GET": schemas.versions, "POST": schemas.add},
            "/v1/schemas/{name}/versions/{version}": {"GET": schemas.version},
            "/v1/routes": {"GET": routing.routes},
            "/v1/workflows": {"GET": routing.workflows},
            "/v1/routing/evaluate": {"POST": routing.evaluate},
            "/v1/routing/try": {"POST": routing.try_out},
            "/v1/connections": {"GET": clients.list},
            "/v1/connections/{id}": {"DELETE": clients.disconnect},
            "/v1/openapi.json": {"GET": documents.openapi},
            "/v1/docs": {"GET": documents.page},
        }
        # Who looks around begins at the root: it leads to the documentation.
        self._routes = Routes({**self.table, **{path: {"GET": documents.lead} for path in ("/", "/v1", "/v1/")}})
        self.draining = False

    async def serve(self, request: BaseRequest) -> Answer:
        """Never raises but ConnectionError and cancellation."""
        label = "other"
        origin = request.headers.get("Origin")
        try:
            target = request.raw_path
            self._check_host(request.headers.get("Host"), origin)
            if target[:1] != "/" and target != "*":
                authority, target = _absolute(target)
                self._check_host(authority, origin)
            self._check_headers(request)
            path, _, query = target.partition("?")
            route, parameters = self._routes.find(path)
            label = route.name
            answer = await self._handle(request, route, query, parameters)
        except LinkspanError as error:
            answer = reply_of(error)
        except ConnectionError:
            raise
        except Exception as error:
            # A defect of ours must not take the connection's other requests with it.
            self._gateway.logger.exception(
                "request_failed", method=request.method, path=request.path[:200], error=repr(error)
            )
            answer = reply_of(InternalError("something went wrong in the gateway; its log says what"))
        self._count(label, answer.status)
        return self._finish(answer, origin)

    async def _handle(self, request: BaseRequest, route: Route, query: str, parameters: tuple[str, ...]) -> Answer:
        handler = route.handlers.get(request.method)
        if handler is None:
            return self._no_handler(request, route)
        principal = self._who(request)
        return await handler(request, principal, query, parameters)

    def _no_handler(self, request: BaseRequest, route: Route) -> Reply:
        allow = (("Allow", ", ".join(route.methods)),)
        if request.method != "OPTIONS":
            raise MethodNotAllowed(
                f"{request.method[:20]} is not possible here; {', '.join(route.methods)} are", headers=allow
            )
        if "Access-Control-Request-Method" in request.headers:
            return self._cors.preflight(route.methods, request.headers.get("Access-Control-Request-Headers"))
        return Reply(204, headers=allow)

    def _check_host(self, host: str | None, origin: str | None) -> None:
        if origin is not None:
            self._guard.check(host, origin)
            return
        if host not in self._hosts:
            if len(self._hosts) >= _MAX_HOSTS:
                self._hosts.clear()
            self._hosts[host] = self._guard.refusal(host, None)
        refused = self._hosts[host]
        if refused is not None:
            raise refused

    def _check_headers(self, request: BaseRequest) -> None:
        if request.version not in _VERSIONS:
            _refuse_version(request)
        coding = request.headers.get("Transfer-Encoding")
        if coding is not None and coding.strip().lower() != "chunked":
            raise NotImplementedCoding(f"the transfer coding {coding[:40]!r} is not understood; chunked alone is")
        size = 0
        for name, value in request.raw_headers:
            size += len(name) + len(value)
        if size > self._header_limit:
            raise HeadersTooLarge(f"the headers have {size} bytes together, at most {self._header_limit} are taken")

    def _who(self, request: BaseRequest) -> Principal:
        credentials = request.headers.get("Authorization")
        if credentials is None:
            if self._anonymous is None:
                self._anonymous = self._gateway.authenticate(None)
            return self._anonymous
        scheme, _, token = credentials.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("the Authorization header holds no bearer token")
        principal = self._gateway.authenticate(token.strip())
        if isinstance(request.protocol, HttpConnection):
            request.protocol.belongs_to(principal.id)
        return principal

    def _count(self, label: str, status: int) -> None:
        counter = self._counters.get((label, status))
        if counter is None:
            counter = self._counters[label, status] = self._gateway.metrics.counter(
                "linkspan_http_requests_total", "Requests answered.", route=label, status=str(status)
            )
        counter.value += 1

    def _finish(self, answer: Answer, origin: str | None) -> Answer:
        if isinstance(answer, Reply):
            answer.bound(self._write_timeout)
            if origin is not None:
                answer.headers += self._cors.headers(origin)
            if self.draining:
                answer.force_close()
        return answer


def _absolute(target: str) -> tuple[str, str]:
    """The authority and the rest of a request target in absolute form (RFC 9112, 3.2.2).

    Raises Malformed for what is neither that nor a path.
    """
    found = _ABSOLUTE.match(target)
    if found is None:
        raise Malformed(f"the request target {target[:100]!r} is neither a path nor an http URL")
    rest = target[found.end() :]
    return found[1], rest if rest[:1] == "/" else "/" + rest


def _refuse_version(request: BaseRequest) -> None:
    major, minor = request.version
    if major < 1:
        raise Malformed("the request line has no HTTP version")
    raise VersionNotSupported(f"HTTP/{major}.{minor} is not understood; HTTP/1.1 is")


class HttpListener:
    """One address. See gateway.plugin.Listener."""

    def __init__(self, settings: WebListenerSettings, gateway: Gateway) -> None:
        self._settings, self._gateway = settings, gateway
        self._door = Door(settings, gateway)
        self._server: HttpServer | None = None
        self._sockets: asyncio.Server | None = None

    async def start(self) -> list[BoundAddress]:
        """Raises OSError when the port cannot be had."""
        loop = asyncio.get_running_loop()
        settings, tls = self._settings, self._gateway.tls(self._settings)
        self._server = HttpServer(self._door.serve, self._gateway.limits, self._gateway.connections)
        options: dict[str, Any] = {} if tls is None else {"ssl": tls, "ssl_handshake_timeout": HANDSHAKE}
        self._sockets = await loop.create_server(
            self._server, settings.host, settings.port, backlog=BACKLOG, reuse_address=True, **options
        )
        addresses = []
        for socket in self._sockets.sockets:
            host, port = socket.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            scheme = "http" if tls is None else "https"
            addresses.append(BoundAddress("http", f"{scheme}://{shown}:{port}", host, port, tls is not None))
        return addresses

    async def drain(self, seconds: float) -> None:
        """Accept nothing, close idle connections, end streams with a notice, finish what was begun."""
        self._door.draining = True
        if self._sockets is not None:
            self._sockets.close()
        if self._server is None:
            return
        self._server.drain()
        self._door.readings.drain()
        try:
            async with asyncio.timeout(seconds):
                await self._server.empty.wait()
        except TimeoutError:
            self._gateway.logger.warning("http_drain_cut", connections=len(self._server.connections))

    async def close(self) -> None:
        if self._sockets is not None:
            self._sockets.close()
            self._sockets = None
        if self._server is not None:
            server, self._server = self._server, None
            for connection in server.connections:
                connection.force_close()
            await server.shutdown(0.5)
