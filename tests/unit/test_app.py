"""The whole: started in order, drained, closed in reverse, and honest while something is missing."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from auth.principal import ANONYMOUS
from gateway import app as module
from gateway.app import App, StartFailed, make_bus, run
from gateway.bus.contract import TopicSettings
from gateway.bus.memory import MemoryBus
from gateway.config.load import load
from gateway.config.model import ListenerSettings
from gateway.errors import BusUnavailable, InvalidSetting, Unauthenticated, UnknownTopic
from gateway.event import Event
from gateway.operate.health import Phase
from gateway.plugin import BoundAddress, Gateway
from gateway.plugins import infos
from gateway.topics import TABLE
from tests.conftest import eventually

pytestmark = pytest.mark.timeout(30)


class Door:
    """A listener that only notes what happens to it."""

    def __init__(self, settings: ListenerSettings, gateway: Gateway) -> None:
        self.settings, self.gateway = settings, gateway
        self.life: list[str] = []

    async def start(self) -> list[BoundAddress]:
        self.life.append("start")
        if self.settings.port == 1:
            raise PermissionError(13, "Permission denied")
        return [BoundAddress("http", "fake://127.0.0.1:7", "127.0.0.1", 7)]

    async def drain(self, seconds: float) -> None:
        self.life.append("drain")
        if self.settings.port == 2:
            raise RuntimeError("this door cannot drain")

    async def close(self) -> None:
        self.life.append("close")
        if self.settings.port == 2:
            raise RuntimeError("this door cannot close")


class Doors:
    """The plug-in that makes them."""

    name = "http"
    default_port = 8080
    settings = ListenerSettings

    def __init__(self) -> None:
        self.made: list[Door] = []

    def build(self, settings: Any, gateway: Gateway) -> Door:
        self.made.append(Door(settings, gateway))
        return self.made[-1]


def build(plugin: Doors, *overrides: str, config: str = "", folder: Path | None = None) -> App:
    path = None
    if config:
        assert folder is not None
        path = folder / "linkspan.yaml"
        path.write_text(config)
    given = ["listeners.admin.port=0", *overrides]
    plugins = {"http": plugin}
    return App.build(load(path, overrides=given, data=folder, plugins=infos(plugins)), plugins)


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> MemoryBus:
    bus = MemoryBus()
    monkeypatch.setattr(module, "make_bus", lambda config: bus)
    return bus


@pytest.fixture
async def closing() -> AsyncIterator[Callable[[App], App]]:
    apps: list[App] = []

    def keep(app: App) -> App:
        apps.append(app)
        return app

    yield keep
    for app in apps:
        await app.close()


async def get(app: App, path: str) -> httpx.Response:
    url = next(address.url for address in app.addresses if address.listener == "admin")
    async with httpx.AsyncClient() as client:
        return await client.get(url + path)


async def test_its_life_is_build_start_drain_close(bus: MemoryBus, closing: Callable[[App], App]) -> None:
    plugin = Doors()
    app = closing(build(plugin))
    assert plugin.made[0].life == []
    assert not app.health.readiness().ready
    addresses = await app.start()
    assert [address.listener for address in addresses] == ["admin", "http"]
    assert (await get(app, "/health/ready")).status_code == 200
    assert [row["listener"] for row in (await get(app, "/listeners")).json()] == ["admin", "http"]
    debug = (await get(app, "/debug")).json()
    assert debug["config"]["name"] == "linkspan"
    assert b"linkspan_build_info" in (await get(app, "/metrics")).content
    await app.drain()
    assert app.health.phase is Phase.DRAINING
    assert (await get(app, "/health/ready")).status_code == 503
    await app.close()
    await app.close()
    assert plugin.made[0].life == ["start", "drain", "close", "close"]


async def test_events_go_through_it(bus: MemoryBus, closing: Callable[[App], App]) -> None:
    app = closing(build(Doors(), "topics.auto_create=true"))
    await app.start()
    event = Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b"x")
    assert await app.ingress.submit("fresh", [event], ANONYMOUS) == [(0, 0)]


async def test_credentials_that_nobody_can_verify_are_refused(bus: MemoryBus) -> None:
    app = build(Doors())
    assert app.authenticate(None) is ANONYMOUS
    with pytest.raises(Unauthenticated):
        app.authenticate("Bearer x")
    assert app.tls(ListenerSettings()) is None


async def test_every_listener_that_cannot_be_served_is_named(bus: MemoryBus, closing: Callable[[App], App]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        app = closing(build(Doors(), f"listeners.admin.port={port}", "listeners.http.port=1"))
        with pytest.raises(StartFailed) as caught:
            await app.start()
    message = str(caught.value)
    assert f"listener admin at 127.0.0.1:{port}" in message
    assert "listener http at 127.0.0.1:1: Permission denied" in message


async def test_a_door_that_fails_to_drain_or_close_keeps_nothing_open(bus: MemoryBus) -> None:
    app = build(Doors(), "listeners.http.port=2")
    await app.start()
    await app.drain()
    await app.close()
    assert [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


CONFIG = """
topics:
  made: {partitions: 3, defaults: {type: my.type}}
  there: {partitions: 3}
"""


async def test_configured_topics_are_made_and_existing_ones_left_alone(
    bus: MemoryBus, closing: Callable[[App], App], tmp_path: Path
) -> None:
    await bus.create_topic("there", TopicSettings(partitions=1))
    app = closing(build(Doors(), config=CONFIG, folder=tmp_path))
    await app.start()
    made = await app.topics.get("made", ANONYMOUS)
    assert (made.info.partitions, made.defaults.type) == (3, "my.type")
    assert (await app.topics.get("there", ANONYMOUS)).info.partitions == 1


async def test_a_topic_that_the_bus_refuses_keeps_it_from_being_ready(
    bus: MemoryBus, closing: Callable[[App], App], tmp_path: Path
) -> None:
    await bus.create_topic(TABLE, TopicSettings(cleanup="compact"))
    bus.fail_next("create_topic", InvalidSetting("three replicas are asked of one broker"))
    app = closing(build(Doors(), config=CONFIG, folder=tmp_path))
    await app.start()
    reasons = [reason.message for reason in app.health.readiness().reasons]
    assert any("made" in reason for reason in reasons)


async def test_without_its_bus_it_serves_says_why_and_recovers(
    bus: MemoryBus, closing: Callable[[App], App], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_WAIT", 0.05)
    monkeypatch.setattr(module, "RETRY", 0.01)

    async def start() -> None:
        bus.away("no broker answers")  # as Kafka does: it starts all the same and keeps trying

    monkeypatch.setattr(bus, "start", start)
    app = closing(build(Doors(), config=CONFIG, folder=tmp_path))
    with capture_logs() as logs:
        await app.start()
    [waiting] = [entry for entry in logs if entry["event"] == "started_without_log"]
    assert "bus: no broker answers" in waiting["waiting_for"]
    answer = await get(app, "/health/ready")
    assert answer.status_code == 503
    assert "no broker answers" in answer.text
    bus.back()
    await eventually(lambda: app.health.readiness().ready)
    await app.topics.get("made", ANONYMOUS)


async def test_a_bus_that_hangs_is_waited_for_a_moment_with_the_admin_listener_open(
    bus: MemoryBus, closing: Callable[[App], App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_WAIT", 0.5)
    there = asyncio.Event()
    seen: list[tuple[int, int, str]] = []

    async def start() -> None:
        bus.away("nobody answers yet")
        live, ready = await get(app, "/health/live"), await get(app, "/health/ready")
        seen.append((live.status_code, ready.status_code, ready.text))
        await there.wait()

    monkeypatch.setattr(bus, "start", start)
    doors = Doors()
    plugins = {"http": doors}
    given = ["listeners.admin.port=0"]
    app = closing(App.build(load(overrides=given, kafka="127.0.0.1:9", plugins=infos(plugins)), plugins))
    addresses = await asyncio.wait_for(app.start(), 5)
    assert [address.listener for address in addresses] == ["admin", "http"]
    [(live, ready, text)] = seen
    assert (live, ready) == (200, 503)
    assert "starting" in text
    assert "nobody answers yet" in text
    there.set()
    bus.back()
    await eventually(lambda: app.health.readiness().ready)


async def test_the_admin_listener_answers_while_the_embedded_log_is_being_opened(
    bus: MemoryBus, closing: Callable[[App], App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_WAIT", 0.0)
    opened = asyncio.Event()

    async def start() -> None:
        await opened.wait()

    monkeypatch.setattr(bus, "start", start)
    doors = Doors()
    app = closing(build(doors))
    starting = asyncio.create_task(app.start())
    await eventually(lambda: app.addresses)
    assert (await get(app, "/health/live")).status_code == 200
    assert (await get(app, "/health/ready")).status_code == 503
    assert doors.made[0].life == []
    opened.set()
    await starting


async def test_a_signal_ends_a_start_that_takes_long(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)

    monkeypatch.setattr(bus, "start", start)
    plugin = Doors()
    await asyncio.wait_for(run(build(plugin), lambda _: pytest.fail("it did not start")), 10)
    assert plugin.made[0].life == ["close"]


async def test_start_and_stop_are_logged_once(bus: MemoryBus) -> None:
    app = build(Doors())
    with capture_logs() as logs:
        await app.start()
        await app.drain()
        await app.close()
        await app.close()
    assert [entry["event"] for entry in logs] == ["started", "draining", "stopped"]
    assert logs[0]["version"]
    assert [url.partition(":")[0] for url in logs[0]["addresses"]] == ["http", "fake"]


async def test_a_damaged_topic_is_told_everywhere_and_keeps_nobody_out(
    closing: Callable[[App], App], tmp_path: Path
) -> None:
    app = build(Doors(), "topics.auto_create=true", folder=tmp_path / "data")
    await app.start()
    event = Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b"x")
    await app.ingress.submit("good", [event], ANONYMOUS)
    await app.close()
    (tmp_path / "data" / "topics" / "stray").mkdir()
    with capture_logs() as logs:
        app = closing(build(Doors(), folder=tmp_path / "data"))
        await app.start()
    assert "stray" in [entry.get("topic") for entry in logs]
    ready = await get(app, "/health/ready")
    assert ready.status_code == 200
    [degraded] = ready.json()["degraded"]
    assert degraded["part"] == "bus"
    assert "topic 'stray'" in degraded["message"]
    assert "topic 'stray'" in (await get(app, "/debug")).json()["bus"]["degraded"][0]
    assert "linkspan_bus_degraded 1.0" in (await get(app, "/metrics")).text
    assert [view.info.name for view in await app.topics.list(ANONYMOUS)] == ["good"]


async def test_without_its_own_topics_it_is_not_ready_and_says_where_they_are(
    closing: Callable[[App], App], tmp_path: Path
) -> None:
    app = build(Doors(), folder=tmp_path / "data")
    await app.start()
    await app.close()
    settings = tmp_path / "data" / "topics" / TABLE / "topic"
    settings.write_bytes(b"nonsense")
    app = closing(build(Doors(), folder=tmp_path / "data"))
    await app.start()
    answer = await get(app, "/health/ready")
    assert answer.status_code == 503
    assert [reason["part"] for reason in answer.json()["reasons"]] == ["topics"]
    assert str(settings) in answer.text


@pytest.fixture
def collector() -> Iterator[None]:
    """`run` tunes the garbage collector for a whole process; the tests after this one get it back."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("collector")
async def test_run_serves_until_a_signal_and_drains(bus: MemoryBus) -> None:
    plugin = Doors()
    app = build(plugin)

    def ready(addresses: list[BoundAddress]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    await asyncio.wait_for(run(app, ready), 10)
    assert plugin.made[0].life == ["start", "drain", "close"]


@pytest.mark.usefixtures("collector")
async def test_a_second_signal_ends_the_drain(bus: MemoryBus) -> None:
    app = build(Doors())
    release = bus.hold("append")

    async def slow() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)

    app.drain = slow  # type: ignore[method-assign]
    await asyncio.wait_for(run(app, lambda _: os.kill(os.getpid(), signal.SIGINT)), 10)
    release()


async def test_the_embedded_log_keeps_what_was_published(tmp_path: Path, closing: Callable[[App], App]) -> None:
    app = closing(build(Doors(), "topics.auto_create=true", folder=tmp_path / "data"))
    await app.start()
    with pytest.raises(UnknownTopic):
        await app.topics.get("never", ANONYMOUS)
    second = build(Doors(), folder=tmp_path / "data")
    with pytest.raises(BusUnavailable, match=str(os.getpid())):
        await second.start()
    await second.close()


def test_the_bus_is_the_one_that_is_configured(tmp_path: Path) -> None:
    assert type(make_bus(load(data=tmp_path).config)).__name__ == "EmbeddedBus"
    assert type(make_bus(load(kafka="127.0.0.1:9").config)).__name__ == "KafkaBus"
