"""Errors that only HTTP has, and errors as answers: problem details (`gateway.problems`)."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from gateway.plugin import (
    PROBLEM,
    STATUS,
    Kind,
    LinkspanError,
    problem_headers,
    problem_members,
)
from protocols.http.reply import Reply


class HttpError(LinkspanError):
    """What only HTTP knows. `status` wins over the table; `headers` go with the answer.

    `closes`: the connection cannot be used further, since what follows on it is unknown.
    """

    kind = Kind.INVALID
    code = "invalid_request"
    status: ClassVar[int] = 400
    closes: ClassVar[bool] = False

    def __init__(self, message: str, *, headers: tuple[tuple[str, str], ...] = (), **detail: Any) -> None:
        super().__init__(message, **detail)
        self.headers = headers


class Malformed(HttpError):
    """Bytes that are not HTTP."""

    closes = True


class NoSuchPath(HttpError):
    code, kind, status = "not_found", Kind.NOT_FOUND, 404


class MethodNotAllowed(HttpError):
    code, status = "method_not_allowed", 405


class NotAcceptable(HttpError):
    code, status = "not_acceptable", 406


class TooSlow(HttpError):
    """The request did not arrive in time."""

    code, status, retriable, closes = "request_timeout", 408, True, True


class BodyTooLarge(HttpError):
    code, kind, status, closes = "too_large", Kind.TOO_LARGE, 413, True


class UnsupportedCoding(HttpError):
    """A Content-Encoding that is not understood (RFC 9110, 15.5.16)."""

    code, kind, status = "unsupported_content", Kind.UNSUPPORTED, 415


class ExpectationFailed(HttpError):
    code, status = "expectation_failed", 417


class HeadersTooLarge(HttpError):
    code, kind, status, closes = "headers_too_large", Kind.TOO_LARGE, 431, True


class NotBuilt(HttpError):
    """A resource of the public interface that this version does not have yet."""

    code, kind, status = "not_available", Kind.NOT_AVAILABLE, 501


class Crowded(HttpError):
    """No memory for this request now; the rest of its body, if any, is not read."""

    code, kind, status, retriable, closes = "unavailable", Kind.UNAVAILABLE, 503, True, True


class VersionNotSupported(HttpError):
    code, status, closes = "invalid_request", 505, True


class NotImplementedCoding(HttpError):
    """A Transfer-Encoding that is not understood (RFC 9112, 6.1): where the request ends is unknown."""

    code, kind, status, closes = "unsupported_content", Kind.UNSUPPORTED, 501, True


class InternalError(LinkspanError):
    """A defect; what happened is in the log, not in the answer."""


def status_of(error: LinkspanError) -> int:
    return error.status if isinstance(error, HttpError) else STATUS[error.kind]


def problem_of(error: LinkspanError) -> dict[str, Any]:
    """The members of the problem."""
    return problem_members(error, status_of(error))


def reply_of(error: LinkspanError) -> Reply:
    """The answer for an error."""
    status = status_of(error)
    headers = [*(error.headers if isinstance(error, HttpError) else ()), *problem_headers(error, status)]
    # str() for what JSON does not know: an answer must not fail over a member of its details.
    body = msgspec.json.encode(problem_of(error), enc_hook=str)
    reply = Reply(status, body, PROBLEM, headers)
    if isinstance(error, HttpError) and error.closes:
        reply.force_close()
    return reply
