"""Health: whether to restart the process (live), and whether to send it clients (ready)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

import msgspec
import structlog


class Phase(Enum):
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Reason(msgspec.Struct, frozen=True):
    """Why the gateway is not ready: which part says so, and what."""

    part: str
    message: str


class Readiness(msgspec.Struct, frozen=True):
    ready: bool
    phase: str
    reasons: tuple[Reason, ...] = ()


class Health:
    """Collects what every part says of itself. All calls on the loop's thread; nothing blocks."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self._parts: dict[str, Callable[[], Iterable[str]]] = {}
        self._log: Any = structlog.get_logger("linkspan.health")

    def watch(self, part: str, reasons: Callable[[], Iterable[str]]) -> None:
        """`reasons` is asked each time, from memory; it gives nothing when the part is well."""
        self._parts[part] = reasons

    def unwatch(self, part: str) -> None:
        self._parts.pop(part, None)

    def readiness(self) -> Readiness:
        """Ready only while serving and with no reason against it."""
        found: list[Reason] = []
        if self.phase is not Phase.SERVING:
            found.append(Reason("gateway", self.phase.value))
        for part, reasons in self._parts.items():
            try:
                found.extend(Reason(part, message) for message in reasons())
            except Exception as error:  # noqa: BLE001
                # A part that cannot say how it is, is not well; the others are still asked.
                self._log.error("health_check_failed", part=part, exc_info=error)
                found.append(Reason(part, f"its health check failed: {type(error).__name__}"))
        return Readiness(not found, self.phase.value, tuple(found))
