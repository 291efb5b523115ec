"""The opening handshake (RFC 6455, 4.2): from the bytes of a request to what the client wants.

Pure. Everything that is wrong is an error with an HTTP status, since until the 101 this is HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import msgspec
from websockets.exceptions import InvalidHandshake
from websockets.extensions import Extension
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from gateway.plugin import (
    HostGuard,
    Pattern,
    Query,
    Start,
    Unauthenticated,
    check_topic,
    parse_pattern,
    parse_start,
    query_fault,
)
from protocols.websocket.problem import (
    HandshakeError,
    Malformed,
    MethodNotAllowed,
    NoSuchPath,
    NotBuilt,
    UpgradeRequired,
    VersionNotSupported,
)
from protocols.websocket.wire import Deflate

PATH = "/v1/ws"
NATIVE, CLOUDEVENTS = "linkspan.v1", "cloudevents.json"
SUBPROTOCOLS = (NATIVE, CLOUDEVENTS)
END = "\r\n\r\n"


class Wish(msgspec.Struct, frozen=True):
    """What a client asks for in its handshake. `token` is not verified yet.

    `sources`, `start`, `filter` and `to` are for `cloudevents.json`: what to read, and the topic to
    publish to.
    """

    subprotocol: str
    token: str | None
    sources: tuple[Pattern, ...]
    start: Start
    to: str | None
    filter: str | None = None


class Opening:
    """One handshake under way: what was asked, and the answer that accepts it."""

    __slots__ = ("_protocol", "_response", "wish")

    def __init__(self, protocol: ServerProtocol, response: Response, wish: Wish) -> None:
        self._protocol, self._response, self.wish = protocol, response, wish

    @property
    def extensions(self) -> Sequence[Extension]:
        return self._protocol.extensions

    def accept(self) -> bytes:
        """The 101."""
        self._response.headers["Server"] = "linkspan"
        return self._response.serialize()


def open_handshake(head: bytes, guard: HostGuard, *, compression: bool) -> Opening:
    """Read a whole request head. Raises LinkspanError; `HandshakeError` carries its own status."""
    protocol = ServerProtocol(extensions=[Deflate()] if compression else None)
    protocol.receive_data(head)
    requests = protocol.events_received()
    if not requests or not isinstance(requests[0], Request):
        raise Malformed("this is not a request by HTTP/1.1 without a body")
    request = requests[0]
    guard.check(_single(request, "Host"), _single(request, "Origin"))
    path, _, query = request.path.partition("?")
    _check_path(path)
    if request.method != "GET":
        raise MethodNotAllowed(f"{request.method[:20]} is not possible here; GET is, with an upgrade to WebSocket")
    # Its answer to what it refuses is plain text: only the status and the reason are taken.
    response = protocol.accept(request)
    if response.status_code != 101:
        raise _refusal(response.status_code, protocol.handshake_exc)
    chosen = _choose(request)
    response.headers["Sec-WebSocket-Protocol"] = chosen
    return Opening(protocol, response, _wish(chosen, query, _bearer(request)))


def _check_path(path: str) -> None:
    if path == PATH:
        return
    if path == "/mqtt":
        raise NotBuilt("MQTT over WebSocket is not available in this version")
    if path.rstrip("/") == PATH:
        raise NoSuchPath(f"{path[:100]!r} does not exist; {PATH} without the slash at its end does")
    raise NoSuchPath(
        f"{path[:100]!r} does not exist here: WebSocket is at {PATH}, everything else on the HTTP listener"
    )


def _single(request: Request, name: str) -> str | None:
    values = request.headers.get_all(name)
    if len(values) > 1:
        raise Malformed(f"the header {name} is there {len(values)} times")
    return values[0] if values else None


def _refusal(status: int, reason: Exception | None) -> HandshakeError:
    detail = str(reason) if isinstance(reason, InvalidHandshake) else "the handshake is not one of WebSocket"
    if status == HTTPStatus.UPGRADE_REQUIRED:
        return UpgradeRequired(
            f"this address is for WebSocket ({detail}): connect with a WebSocket client and one of the subprotocols "
            f"{NATIVE} and {CLOUDEVENTS}"
        )
    if status == HTTPStatus.HTTP_VERSION_NOT_SUPPORTED:
        return VersionNotSupported("WebSocket needs HTTP/1.1")
    return Malformed(f"the handshake is not one of WebSocket: {detail}")


def _choose(request: Request) -> Subprotocol:
    """The first of the client's that is spoken here."""
    offered = [name.strip() for line in request.headers.get_all("Sec-WebSocket-Protocol") for name in line.split(",")]
    for name in offered:
        if name in SUBPROTOCOLS:
            return Subprotocol(name)
    said = f"none of {', '.join(offered)[:100]!r} is spoken here" if any(offered) else "no subprotocol was offered"
    raise HandshakeError(
        f"{said}: offer {NATIVE} (subscribe and publish) or {CLOUDEVENTS} (each message is one CloudEvent)",
        subprotocols=list(SUBPROTOCOLS),
    )


def _bearer(request: Request) -> str | None:
    credentials = _single(request, "Authorization")
    if credentials is None:
        return None
    scheme, _, token = credentials.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("the Authorization header holds no bearer token")
    return token.strip()


def _wish(subprotocol: str, text: str, bearer: str | None) -> Wish:
    if subprotocol == NATIVE:
        query = Query(text, ("access_token",))
        return Wish(subprotocol, _token(query, bearer), (), parse_start("latest"), None)
    query = Query(text, ("start", "filter", "to", "access_token"), repeated=("from",))
    sources = tuple(parse_pattern(source) for source in query.all("from"))
    start, to = query.get("start"), query.get("to")
    if not sources and to is None:
        raise query_fault("from", "is missing: name what to read (from=signals/**), where to publish (to=), or both")
    if not sources and start is not None:
        raise query_fault("start", "says where reading begins, but there is no 'from'")
    if not sources and query.get("filter") is not None:
        raise query_fault("filter", "says what to read, but there is no 'from'")
    if to is not None:
        check_topic(to)
    return Wish(subprotocol, _token(query, bearer), sources, parse_start(start or "latest"), to, query.get("filter"))


def _token(query: Query, bearer: str | None) -> str | None:
    token = query.get("access_token")
    if token is not None and bearer is not None:
        raise query_fault("access_token", "is given beside an Authorization header: one of them is enough")
    return bearer if token is None else token
