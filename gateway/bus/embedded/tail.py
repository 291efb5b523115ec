"""The tail of the embedded log: who listens, and telling them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from gateway.bus.contract import Batch, BusHealth, TailSink, TopicChange

log = structlog.get_logger("linkspan.log")


class Listeners:
    """All tails of a log. A listener's defect is logged and keeps nobody from being told."""

    def __init__(self) -> None:
        self._tails: list[EmbeddedTail] = []

    def add(self, sink: TailSink, check: Callable[[str], object]) -> EmbeddedTail:
        """`check` raises for a topic that cannot be followed."""
        tail = EmbeddedTail(self, sink, check)
        self._tails.append(tail)
        return tail

    def remove(self, tail: EmbeddedTail) -> None:
        """Idempotent."""
        if tail in self._tails:
            self._tails.remove(tail)

    def of(self, topic: str) -> list[TailSink]:
        """Who follows a topic."""
        return [tail.sink for tail in self._tails if topic in tail.topics]

    def tell_batch(self, sinks: list[TailSink], batch: Batch) -> None:
        for sink in sinks:
            _guarded(sink.on_batch, batch)

    def tell_topic(self, topic: str, change: TopicChange) -> None:
        """A topic that was deleted is followed no more."""
        for tail in list(self._tails):
            if change is TopicChange.DELETED:
                tail.unfollow(topic)
            _guarded(tail.sink.on_topic, topic, change)

    def tell_health(self, health: BusHealth) -> None:
        for tail in list(self._tails):
            _guarded(tail.sink.on_health, health)


class EmbeddedTail:
    """See `gateway.bus.contract.Tail`."""

    def __init__(self, listeners: Listeners, sink: TailSink, check: Callable[[str], object]) -> None:
        self._listeners, self._check = listeners, check
        self.sink = sink
        self.topics: set[str] = set()

    async def follow(self, topic: str) -> None:
        self._check(topic)
        self.topics.add(topic)

    def unfollow(self, topic: str) -> None:
        self.topics.discard(topic)

    async def close(self) -> None:
        self.topics.clear()
        self._listeners.remove(self)


def _guarded(call: Callable[..., None], *arguments: Any) -> None:
    try:
        call(*arguments)
    except Exception:  # a listener's defect must not keep others from their acknowledgements
        log.exception("a listener of the tail failed")
