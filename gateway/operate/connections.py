"""Who is connected, through any door: for operators to see and to end.

A door registers an object of its own for each connection; what it shows is only put together
when somebody asks. All calls are made on the event loop's thread.
"""

from __future__ import annotations

import itertools
from typing import Protocol

import msgspec

from gateway.errors import NotFound


class Connection(msgspec.Struct, frozen=True):
    """A client as operators see it. `since` is an RFC 3339 time."""

    id: str
    protocol: str
    peer: str
    principal: str
    since: str


class Client(Protocol):
    """What a door registers."""

    def describe(self, id: str) -> Connection:
        """The client as it is now."""

    def disconnect(self) -> None:
        """End the connection; the door removes it from the registry when it has ended."""


class Connections:
    """The registry of one gateway process."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._clients)

    def add(self, protocol: str, client: Client) -> str:
        """Register a client; the identifier is unique in this process."""
        id = f"{protocol}-{next(self._numbers)}"
        self._clients[id] = client
        return id

    def remove(self, id: str) -> None:
        """Idempotent."""
        self._clients.pop(id, None)

    def list(self) -> list[Connection]:
        """All, oldest first."""
        return [client.describe(id) for id, client in self._clients.items()]

    def disconnect(self, id: str) -> None:
        """Raises NotFound."""
        client = self._clients.get(id)
        if client is None:
            raise NotFound(f"there is no connection {id[:80]!r}", connection=id[:80])
        client.disconnect()
