"""What connections share: the clock that looks after them, and their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
import structlog

from gateway.config.model import Limits
from protocols.websocket import door as module
from protocols.websocket.door import Door
from protocols.websocket.settings import WebSocketSettings
from tests.conftest import eventually
from tests.unit.websocket_support import Port


class Looked:
    """A connection that counts how often it is looked at."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def check(self, now: float) -> None:
        self.times.append(now)

    def abort(self) -> None:
        self.times.append(-1)


def door(limits: Limits | None = None) -> Door:
    return Door(WebSocketSettings(), Port(limits or Limits()))


async def test_every_connection_is_looked_at_at_every_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP", 0.01)
    monkeypatch.setattr(module, "_AT_ONCE", 7)
    made = door()
    connections = [Looked() for _ in range(21)]
    for connection in connections:
        made.add(connection)  # type: ignore[arg-type]
    made.start()
    await eventually(lambda: all(len(connection.times) >= 3 for connection in connections))
    assert made.now > 0
    assert len({len(connection.times) for connection in connections}) <= 2
    await made.close()
    await made.close()
    assert all(connection.times[-1] == -1 for connection in connections)


async def test_the_door_is_full_beyond_its_bound_and_empty_when_all_left() -> None:
    made = door(Limits(connections=1))
    one, two = Looked(), Looked()
    assert made.empty.is_set()
    made.add(one)  # type: ignore[arg-type]
    assert not made.full
    made.add(two)  # type: ignore[arg-type]
    assert made.full
    assert not made.empty.is_set()
    made.remove(one)
    made.remove(two)
    made.remove(two)
    assert made.empty.is_set()


def test_a_handshake_has_ten_seconds_at_most() -> None:
    assert door().handshake_timeout == 10
    assert door(Limits(request_timeout=2.0)).handshake_timeout == 2


def test_events_of_the_door_name_the_gateway() -> None:
    notice = door().notice("io.linkspan.error", b'{"a":1}')
    assert notice.attributes["source"] == door().source == "//test/websocket/gateway"
    assert (notice.attributes["type"], notice.data) == ("io.linkspan.error", b'{"a":1}')


async def test_tasks_end_with_the_door_and_their_defects_are_told() -> None:
    made = door()
    started = asyncio.Event()

    async def waits() -> None:
        started.set()
        await asyncio.Event().wait()

    async def breaks() -> None:
        raise ZeroDivisionError("a defect")

    def run(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return made.spawn(work, "a task")

    with structlog.testing.capture_logs() as logs:
        waiting, broken = run(waits()), run(breaks())
        await started.wait()
        await asyncio.wait({broken})
        await made.close()
    assert waiting.cancelled()
    assert [entry["event"] for entry in logs] == ["websocket_task_failed"]
