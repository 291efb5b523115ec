"""What all tests share: the event loop, waiting for a condition, and what must not be left behind."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.harness.kafka import KafkaServer, close_shared, shared_kafka

ROOT = Path(__file__).resolve().parent.parent
#: Test data that several checkouts share, laid beside this one.
CONFORMANCE = ROOT.parent / "shared" / "conformance"
GRACE = 2.0


async def eventually(
    condition: Callable[[], object] | Callable[[], Awaitable[object]], deadline: float = 10.0, what: str = ""
) -> object:
    """Poll `condition` (plain or async) until it is true and return its value; fail after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline:g} s: {what or inspect.getsource(condition).strip()}")
        await asyncio.sleep(0.01)


def wait_until(condition: Callable[[], object], deadline: float = 10.0, what: str = "") -> object:
    """`eventually` for tests without a loop."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline:g} s: {what or inspect.getsource(condition).strip()}")
        time.sleep(0.01)
    return value


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that the gateway runs on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_report_header() -> str:
    if CONFORMANCE.is_dir():
        return f"conformance data: {CONFORMANCE}"
    return "conformance data: NOT THERE (../shared/conformance): the tests that need it are skipped"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    soaking = bool(os.environ.get("LINKSPAN_SOAK"))
    left_out = [item for item in items if item.get_closest_marker("soak") and not soaking]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            # Early in, so late out: after the other fixtures have let go, before the loop is closed.
            item.fixturenames.insert(item.fixturenames.index("no_stray_threads") + 1, "no_stray_tasks")


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """The one Kafka of the session, started on first use; its secure listeners are open too."""
    yield shared_kafka()
    close_shared()


@pytest.fixture
def conformance() -> Path:
    """The folder of shared conformance data, or a skip that says so."""
    if not CONFORMANCE.is_dir():
        pytest.skip("../shared/conformance is not there")
    return CONFORMANCE


@pytest.fixture
async def no_stray_tasks() -> AsyncIterator[None]:
    """Fail a test that leaves a task behind: every task has an owner that ends it."""
    before = asyncio.all_tasks()
    yield
    end = time.monotonic() + GRACE
    while stray := {task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()}:
        if time.monotonic() > end:
            pytest.fail("tasks left behind: " + ", ".join(sorted(str(task) for task in stray)))
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def no_stray_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    if request.node.get_closest_marker("leaves_threads"):
        return
    end = time.monotonic() + GRACE
    while stray := [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]:
        if time.monotonic() > end:
            pytest.fail("threads left behind: " + ", ".join(sorted(thread.name for thread in stray)))
        time.sleep(0.01)
