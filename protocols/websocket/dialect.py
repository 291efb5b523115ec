"""What a subprotocol makes of messages, and what it holds for its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.plugin import EndCause, LinkspanError, Session


class Dialect(Protocol):
    """One connection's. All but `prepare` are synchronous; errors of clients are answered, not raised."""

    async def prepare(self) -> None:
        """Whatever must be done before the handshake is accepted. Raises LinkspanError."""

    def begin(self) -> None:
        """The handshake was accepted."""

    def take(self, data: bytes) -> None:
        """One text message, in UTF-8."""

    def settle(self) -> None:
        """All messages of a read were taken."""

    def pause(self) -> None:
        """The client takes nothing more for now."""

    def resume(self) -> None:
        """It does again."""

    def close(self) -> None:
        """End all subscriptions: nothing more is written. Idempotent."""


class Owner(Protocol):
    def ended(self, subscription: Subscription, cause: EndCause, error: LinkspanError | None) -> None: ...


class Subscription:
    """The sink of a session, and the session. `sid` is the JSON text of its id."""

    __slots__ = ("_owner", "bound", "session", "sid", "task", "write")

    def __init__(
        self, owner: Owner, sid: bytes, write: Callable[[bytes], object], bound: Callable[[int], object]
    ) -> None:
        self._owner, self.sid, self.write, self.bound = owner, sid, write, bound
        self.session: Session | None = None
        self.task: asyncio.Task[None] | None = None

    def ended(self, cause: EndCause, error: LinkspanError | None) -> None:
        self._owner.ended(self, cause, error)

    def begin(self, session: Session, *, paused: bool) -> None:
        self.session, self.task = session, None
        if paused:
            session.pause()
        session.begin()

    def close(self) -> None:
        """Idempotent; also while the session is still being opened."""
        if self.task is not None:
            self.task.cancel()
            self.task = None
        if self.session is not None:
            self.session.close()
            self.session = None
