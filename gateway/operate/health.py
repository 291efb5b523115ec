"""Health: whether to restart the process (live), and whether to send it clients (ready)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, TypeAlias

import msgspec
import structlog

_Says: TypeAlias = Callable[[], Iterable[str]]


class Phase(Enum):
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Reason(msgspec.Struct, frozen=True):
    """Why the gateway is not ready: which part says so, and what."""

    part: str
    message: str


class Readiness(msgspec.Struct, frozen=True):
    """`degraded` is what does not work while everything else does; it is no reason to send clients elsewhere."""

    ready: bool
    phase: str
    reasons: tuple[Reason, ...] = ()
    degraded: tuple[Reason, ...] = ()


class Health:
    """Collects what every part says of itself. All calls on the loop's thread; nothing blocks."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self._reasons: dict[str, _Says] = {}
        self._degraded: dict[str, _Says] = {}
        self._log: Any = structlog.get_logger("linkspan.health")

    def watch(self, part: str, reasons: _Says, degraded: _Says = tuple) -> None:
        """Asked each time, from memory: why the part is not ready, and what of it does not work although it is."""
        self._reasons[part] = reasons
        self._degraded[part] = degraded

    def unwatch(self, part: str) -> None:
        self._reasons.pop(part, None)
        self._degraded.pop(part, None)

    def readiness(self) -> Readiness:
        """Ready only while serving and with no reason against it."""
        found = [] if self.phase is Phase.SERVING else [Reason("gateway", self.phase.value)]
        found += self._ask(self._reasons)
        return Readiness(not found, self.phase.value, tuple(found), tuple(self._ask(self._degraded)))

    def _ask(self, parts: dict[str, _Says]) -> list[Reason]:
        found: list[Reason] = []
        for part, says in parts.items():
            try:
                found.extend(Reason(part, message) for message in says())
            except Exception as error:  # noqa: BLE001
                # A part that cannot say how it is, is not well; the others are still asked.
                self._log.error("health_check_failed", part=part, exc_info=error)
                found.append(Reason(part, f"its health check failed: {type(error).__name__}"))
        return found
