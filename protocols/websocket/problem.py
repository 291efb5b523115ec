"""What is refused before there is a WebSocket: an HTTP answer with a problem, and the end of the connection."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import ClassVar

import msgspec

from gateway.plugin import PROBLEM, STATUS, Kind, LinkspanError, problem_headers, problem_members


class HandshakeError(LinkspanError):
    """What only the handshake knows. `status` wins over that of the kind; `headers` go with the answer."""

    code, kind = "invalid_request", Kind.INVALID
    status: ClassVar[int] = 400
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()


class Malformed(HandshakeError):
    """Bytes that are no handshake."""


class NoSuchPath(HandshakeError):
    code, kind, status = "not_found", Kind.NOT_FOUND, 404


class NotBuilt(HandshakeError):
    """A path of the public interface that this version does not have yet."""

    code, kind, status = "not_available", Kind.NOT_AVAILABLE, 501


class MethodNotAllowed(HandshakeError):
    code, status, headers = "method_not_allowed", 405, (("Allow", "GET"),)


class UpgradeRequired(HandshakeError):
    """A request for something else than a WebSocket (RFC 9110, 15.5.22)."""

    code, status, headers = "upgrade_required", 426, (("Upgrade", "websocket"),)


class HeadersTooLarge(HandshakeError):
    code, kind, status = "headers_too_large", Kind.TOO_LARGE, 431


class TooSlow(HandshakeError):
    """The request did not arrive in time."""

    code, status, retriable = "request_timeout", 408, True


class VersionNotSupported(HandshakeError):
    status = 505


class InternalError(LinkspanError):
    """A defect; what happened is in the log, not in the answer."""


def status_of(error: LinkspanError) -> int:
    return error.status if isinstance(error, HandshakeError) else STATUS[error.kind]


def answer(error: LinkspanError) -> bytes:
    """The whole answer; the connection ends with it."""
    status = status_of(error)
    # str() for what JSON does not know: an answer must not fail over a member of its details.
    body = msgspec.json.encode(problem_members(error, status), enc_hook=str)
    headers = [
        ("Date", formatdate(usegmt=True)),
        ("Server", "linkspan"),
        ("Content-Type", PROBLEM),
        ("Content-Length", str(len(body))),
        *problem_headers(error, status),
        *(error.headers if isinstance(error, HandshakeError) else ()),
        ("Connection", "Upgrade, close" if status == 426 else "close"),
    ]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n".encode() + body
