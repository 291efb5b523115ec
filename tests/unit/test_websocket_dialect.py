"""A subscription of a connection: the sink of a session."""

from __future__ import annotations

import asyncio
from typing import Any

from protocols.websocket.dialect import Subscription


class Fake:
    """A session, and an owner, that write down what happens to them."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.calls.append(name)


def test_a_session_that_begins_on_a_full_connection_is_paused_first() -> None:
    for paused, calls in ((True, ["pause", "begin"]), (False, ["begin"])):
        session = Fake()
        Subscription(Fake(), b"1", print, print).begin(session, paused=paused)  # type: ignore[arg-type]
        assert session.calls == calls


async def test_closing_ends_the_session_or_what_opens_it_once() -> None:
    session, owner = Fake(), Fake()
    subscription = Subscription(owner, b"1", print, print)

    async def opens() -> None:
        await asyncio.Event().wait()

    task = subscription.task = asyncio.create_task(opens())
    subscription.close()
    await asyncio.wait({task})
    assert task.cancelled()
    subscription.begin(session, paused=False)  # type: ignore[arg-type]
    subscription.close()
    subscription.close()
    assert session.calls == ["begin", "close"]
    subscription.ended("limit", None)
    assert owner.calls == ["ended"]
