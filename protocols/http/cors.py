"""Which pages of other origins may use the door (Fetch standard, CORS), and what they are told."""

from __future__ import annotations

from collections.abc import Iterable

from protocols.http.reply import Reply

_EXPOSED = "Linkspan-Cursor, Linkspan-Gap, Link, Location, Retry-After"
_MAX_AGE = "600"


class Cors:
    """`allowed`: origins such as `https://example.org`, `https://*.example.org`, or `*`.

    Only these get CORS headers. Which requests are served at all is the host guard's business.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._all = False
        self._exact: set[str] = set()
        self._below: list[tuple[str, str]] = []
        for origin in allowed:
            folded = origin.lower().rstrip("/")
            scheme, wildcard, parent = folded.partition("://*")
            if folded == "*":
                self._all = True
            elif wildcard:
                self._below.append((f"{scheme}://", parent))
            else:
                self._exact.add(folded)

    def allows(self, origin: str) -> bool:
        folded = origin.lower()
        return (
            self._all
            or folded in self._exact
            or any(folded.startswith(scheme) and folded.endswith(parent) for scheme, parent in self._below)
        )

    def headers(self, origin: str) -> list[tuple[str, str]]:
        """For every answer to a page of `origin`; empty when it is not allowed."""
        if not self.allows(origin):
            return []
        return [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", _EXPOSED),
            ("Vary", "Origin"),
        ]

    def preflight(self, methods: Iterable[str], requested_headers: str | None) -> Reply:
        """The answer to an OPTIONS request with `Access-Control-Request-Method`.

        Without the origin's headers (see `headers`) it permits nothing.
        """
        told = [("Access-Control-Allow-Methods", ", ".join(methods)), ("Access-Control-Max-Age", _MAX_AGE)]
        if requested_headers:
            told.append(("Access-Control-Allow-Headers", requested_headers))
        return Reply(204, headers=told)
