"""Paths to handlers: a table, and a bounded memory of paths already looked up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias
from urllib.parse import unquote

from aiohttp.web import BaseRequest, StreamResponse

from gateway.plugin import Principal
from protocols.http.problem import NoSuchPath, NotBuilt
from protocols.http.reply import Reply

Answer: TypeAlias = Reply | StreamResponse
Handler: TypeAlias = Callable[[BaseRequest, Principal, str, tuple[str, ...]], Awaitable[Answer]]
"""(request, principal, query string, path parameters) -> answer."""

ROOT = "v1"
#: Parts of the public interface that this version does not have yet.
LATER = ("subscriptions", "intelligence", "policies", "bridges", "cluster")
_MAX_KNOWN = 4096


class Route:
    """One path pattern: its handlers by method; `name` is its label in metrics."""

    def __init__(self, pattern: str, handlers: Mapping[str, Handler]) -> None:
        self.name = pattern
        self.segments = tuple(pattern.removeprefix("/").split("/"))
        self.handlers = dict(handlers)
        if "GET" in self.handlers:
            self.handlers.setdefault("HEAD", self.handlers["GET"])

    @property
    def methods(self) -> list[str]:
        return sorted([*self.handlers, "OPTIONS"])

    def match(self, segments: list[str]) -> tuple[str, ...] | None:
        """The parameters, or None."""
        if len(segments) != len(self.segments):
            return None
        found = []
        for expected, given in zip(self.segments, segments, strict=True):
            if expected[:1] == "{":
                found.append(given)
            elif expected != given:
                return None
        return tuple(found)


class Routes:
    """All paths of the door."""

    def __init__(self, routes: Mapping[str, Mapping[str, Handler]]) -> None:
        self._routes = [Route(pattern, handlers) for pattern, handlers in routes.items()]
        self._known: dict[str, tuple[Route, tuple[str, ...]]] = {}

    def find(self, path: str) -> tuple[Route, tuple[str, ...]]:
        """The route of a raw path and its decoded parameters. Raises NoSuchPath and NotBuilt."""
        found = self._known.get(path)
        if found is None:
            found = self._look(path)
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[path] = found
        return found

    def _look(self, path: str) -> tuple[Route, tuple[str, ...]]:
        try:
            segments = [unquote(segment, errors="strict") for segment in path.removeprefix("/").split("/")]
        except UnicodeDecodeError:
            raise NoSuchPath("the path is not UTF-8 in percent-encoding") from None
        for route in self._routes:
            parameters = route.match(segments)
            if parameters is not None:
                return route, parameters
        if len(segments) > 1 and segments[0] == ROOT and segments[1] in LATER:
            raise NotBuilt(f"/{ROOT}/{segments[1]} is not available in this version")
        if segments[0] != ROOT:
            raise NoSuchPath(f"{path[:100]!r} does not exist: everything is under /{ROOT}, see /{ROOT}/docs")
        raise NoSuchPath(f"{path[:100]!r} does not exist; see /{ROOT}/docs")
