"""Errors as RFC 9457 problem details, for every door that answers by HTTP.

    {"type": "/v1/docs#unknown_topic", "title": "Not Found", "status": 404, "detail": "...",
     "code": "unknown_topic", "retriable": false, "faults": [{"where": "...", "message": "..."}]}

`code` is stable and the same at every door; `type` is where it is explained.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from gateway.errors import Kind, LinkspanError

PROBLEM = "application/problem+json"
#: Seconds, for errors that say nothing better in `detail["retry_after"]`.
RETRY_AFTER = 1

STATUS: dict[Kind, int] = {
    Kind.INVALID: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.GONE: 410,
    Kind.PRECONDITION: 412,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED: 415,
    Kind.LIMITED: 429,
    Kind.INTERNAL: 500,
    Kind.UNAVAILABLE: 503,
    # A parameter whose part is missing; a door may have another status for a whole resource.
    Kind.NOT_AVAILABLE: 400,
}
_RESERVED = frozenset(("type", "title", "status", "detail", "code", "retriable", "faults"))


def problem_members(error: LinkspanError, status: int) -> dict[str, Any]:
    """The members of the problem; those of `error.detail` come along (RFC 9457, 3.2)."""
    members: dict[str, Any] = {
        "type": f"/v1/docs#{error.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.message,
        "code": error.code,
        "retriable": error.retriable,
    }
    if error.faults:
        members["faults"] = error.faults
    members.update((name, value) for name, value in error.detail.items() if name not in _RESERVED)
    return members


def problem_headers(error: LinkspanError, status: int) -> list[tuple[str, str]]:
    """The headers that the error itself asks for: when to come again, how to say who one is."""
    headers = []
    if error.retriable:
        headers.append(("Retry-After", str(error.detail.get("retry_after", RETRY_AFTER))))
    if status == 401:
        headers.append(("WWW-Authenticate", "Bearer"))
    return headers
