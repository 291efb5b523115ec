"""How fast a connection is read: reasons that come and go, on a transport that may be gone."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.config.model import Limits
from protocols.websocket.door import Door
from protocols.websocket.limits import Bucket
from protocols.websocket.pace import EVERY_HOLD, REPLIES, Hold, Paced
from protocols.websocket.settings import WebSocketSettings
from tests.conftest import eventually
from tests.unit.websocket_support import Port


class Wires:
    """A transport that writes down what is asked of it, and refuses everything once it is closed."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **more: Any) -> None:
            if self.closed:
                raise RuntimeError("the handler is closed")
            self.calls.append(name)

        return call


def paced() -> tuple[Paced, Wires]:
    made, wires = Paced(Door(WebSocketSettings(), Port(Limits()))), Wires()
    made._transport = wires  # type: ignore[assignment]
    return made, wires


def test_reading_stops_with_the_first_reason_and_goes_on_with_the_last() -> None:
    made, wires = paced()
    made.hold(Hold.RATE)
    made.hold(Hold.RATE)
    made.hold(Hold.INGRESS)
    made.release(Hold.RATE)
    assert wires.calls == ["pause_reading"]
    made.release(Hold.INGRESS)
    made.release(Hold.INGRESS)
    assert wires.calls == ["pause_reading", "resume_reading"]


def test_every_reason_is_among_all_of_them() -> None:
    made, wires = paced()
    for reason in Hold:
        made.hold(reason)
        assert reason in EVERY_HOLD
    made.release(EVERY_HOLD)
    assert wires.calls == ["pause_reading", "resume_reading"]


def test_a_closed_transport_is_asked_for_nothing() -> None:
    made, wires = paced()
    made.hold(Hold.RATE)
    wires.closed = True
    made.lost()
    made.release(Hold.RATE)
    made.hold(Hold.INGRESS)
    made.bound(1000)
    made.release(EVERY_HOLD)
    assert wires.calls == ["pause_reading"]


def test_who_takes_no_answers_is_not_read_until_it_does() -> None:
    made, wires = paced()
    made.write_frames(b"x" * (REPLIES + 1))
    assert wires.calls == ["write"]
    made.paused = True
    made.write_frames(b"x" * REPLIES)
    made.write_frames(b"x")
    assert wires.calls == ["write", "write", "write", "pause_reading"]
    made.taken()
    assert wires.calls[-1] == "resume_reading"
    assert not made.paused


async def test_beyond_the_rate_reading_rests_for_as_long_as_it_takes() -> None:
    made, wires = paced()
    loop = asyncio.get_running_loop()
    bucket = Bucket(100_000, loop.time())
    made.slow_down(bucket, 100_000)
    assert wires.calls == []
    began = loop.time()
    made.slow_down(bucket, 10_000)
    await eventually(lambda: wires.calls == ["pause_reading", "resume_reading"])
    assert loop.time() - began > 0.08
