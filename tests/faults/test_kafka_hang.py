"""Kafka hangs: its connections stay, nothing answers. Whoever asks the gateway is told in time.

What was given to Kafka may land once it goes on: that is reported as unknown. Nothing that was
acknowledged is lost, nothing that was refused is stored, and nothing is stored twice.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from gateway.app import App
from gateway.bus.kafka import admin
from gateway.config.load import load
from gateway.plugins import infos, installed
from tests.conftest import eventually
from tests.harness.kafka import KafkaServer

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]

DEADLINE, BEYOND = 4.0, 1.5
OPTIONS = [
    f"limits.publish_deadline={DEADLINE}s",
    *(f"listeners.{door}.port=0" for door in ("http", "websocket", "admin")),
]
BATCH = "application/cloudevents-batch+json"


@pytest.fixture(scope="module")
def server() -> Iterator[KafkaServer]:
    """A Kafka of this module's own."""
    server = KafkaServer()
    server.start()
    yield server
    server.close()


@asynccontextmanager
async def gateway(server: KafkaServer, *options: str) -> AsyncIterator[ClientSession]:
    """A gateway on it, and a client of its HTTP door."""
    plugins = installed()
    app = App.build(load(None, kafka=server.bootstrap, overrides=[*OPTIONS, *options], plugins=infos(plugins)), plugins)
    try:
        addresses = await app.start()
        url = next(address.url for address in addresses if address.listener == "http")
        async with ClientSession(url, connector=TCPConnector(limit=0), timeout=ClientTimeout(60)) as client:
            await eventually(lambda: app.bus.health().ready)
            yield client
    finally:
        await app.drain()
        await app.close()


class Told(NamedTuple):
    """What a publisher or reader was told, and after how many seconds."""

    number: int
    status: int
    code: str
    seconds: float


async def publish(client: ClientSession, topic: str, number: int) -> Told:
    event = {"specversion": "1.0", "id": str(number), "source": "/test", "type": "test", "subject": f"s/{number % 7}"}
    began = time.monotonic()
    async with client.post(f"/v1/topics/{topic}/events", json=[event], headers={"Content-Type": BATCH}) as answer:
        body = await answer.json(content_type=None)
    return Told(number, answer.status, body.get("code", ""), time.monotonic() - began)


async def read(client: ClientSession, query: str) -> Told:
    began = time.monotonic()
    async with client.get(query) as answer:
        body = await answer.json(content_type=None)
    code = body.get("code", "") if isinstance(body, dict) else ""
    return Told(0, answer.status, code, time.monotonic() - began)


async def stored(client: ClientSession, topic: str) -> list[int]:
    async with client.get(f"/v1/topics/{topic}/events?limit=10000") as answer:
        assert answer.status == 200
        events: list[dict[str, Any]] = await answer.json(content_type=None)
    return [int(event["id"]) for event in events]


async def make(client: ClientSession, topic: str) -> None:
    async with client.put(f"/v1/topics/{topic}", json={"partitions": 2}) as answer:
        assert answer.status == 201
    assert (await publish(client, topic, 0)).status == 200


def check(told: list[Told], numbers: list[int]) -> None:
    """Nothing lost, nothing twice, no refusal that was stored all the same."""
    assert len(numbers) == len(set(numbers)), "stored twice"
    assert {each.number for each in told if each.status == 200} <= set(numbers), "acknowledged and lost"
    refused = {each.number for each in told if each.code == "bus_unavailable"}
    assert not refused & set(numbers), "refused and stored all the same"
    assert {each.code for each in told if each.status != 200} <= {"bus_unavailable", "outcome_unknown"}


async def test_publishers_and_readers_are_answered_in_time(
    server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Settings that are stale are asked for again; that question hangs with the others.
    monkeypatch.setattr(admin, "FRESH", 0.1)
    async with gateway(server) as client:
        await make(client, "single")
        server.node.signal(signal.SIGSTOP)
        try:
            publishing = []
            for number in range(1, 16):
                publishing.append(asyncio.create_task(publish(client, "single", number)))
                await asyncio.sleep(0.3)
            reading = [
                asyncio.create_task(read(client, query))
                for query in (
                    "/v1/topics/single/events?limit=1",
                    "/v1/topics/single/events?limit=1&start=-5m",
                    "/v1/topics/single/events?limit=1&start=last:1",
                    "/v1/events?from=*/**&limit=1",
                    "/v1/topics/single",
                )
            ]
            told, answers = await asyncio.gather(*publishing), await asyncio.gather(*reading)
        finally:
            server.node.signal(signal.SIGCONT)
        slowest = max(each.seconds for each in told), max(each.seconds for each in answers)
        print("\nslowest publish {:.1f} s, slowest read {:.1f} s".format(*slowest))  # noqa: T201  # figures
        assert max(slowest) < DEADLINE + BEYOND
        assert "outcome_unknown" in {each.code for each in told}
        after = await _until_stored(client, "single", 100)
        check([*told, after], await stored(client, "single"))


async def test_under_load_too(server: KafkaServer) -> None:
    async with gateway(server) as client:
        await make(client, "load")
        told: list[Told] = []
        stopping = False
        numbers = iter(range(1, 10**9))

        async def publisher() -> None:
            while not stopping:
                told.append(await publish(client, "load", next(numbers)))
                if told[-1].status != 200:
                    await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as group:
            for _ in range(60):
                group.create_task(publisher())
            await eventually(lambda: len(told) > 500)
            server.node.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(3 * DEADLINE)
            finally:
                server.node.signal(signal.SIGCONT)
            back = len(told)
            await eventually(lambda: any(each.status == 200 for each in told[back:]), 20)
            stopping = True
        print(f"\n{len(told)} publishes, slowest {max(each.seconds for each in told):.1f} s")  # noqa: T201  # figures
        assert max(each.seconds for each in told) < DEADLINE + BEYOND
        await _until_stored(client, "load", 10**9)
        check(told, await stored(client, "load"))


async def _until_stored(client: ClientSession, topic: str, number: int) -> Told:
    """Publish until Kafka takes it again; what was under way before is decided then."""
    for more in range(100):
        told = await publish(client, topic, number + more)
        if told.status == 200:
            return told
        await asyncio.sleep(0.2)
    raise AssertionError(f"Kafka goes on and nothing is stored: {told}")
