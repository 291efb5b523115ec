"""What the process itself shows: its version, and how late its event loop runs."""

from __future__ import annotations

import asyncio
import gc
import platform
from typing import Final

from gateway.operate.metrics import Metrics

LAG_INTERVAL: Final = 0.5
_LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


def register_build_info(metrics: Metrics, version: str) -> None:
    """`linkspan_build_info{version, python} 1`."""
    metrics.gauge(
        "linkspan_build_info", "The version that runs.", version=version, python=platform.python_version()
    ).set(1)


async def watch_loop(metrics: Metrics, interval: float = LAG_INTERVAL) -> None:
    """Measure by how much a sleep is late, until cancelled. Run it as one task of the gateway."""
    lag = metrics.histogram(
        "linkspan_event_loop_lag_seconds", "How late the event loop runs what is due.", _LAG_BUCKETS
    )
    tasks = metrics.gauge("linkspan_event_loop_tasks", "Tasks of the event loop.")
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        lag.observe(max(0.0, loop.time() - due))
        tasks.set(len(asyncio.all_tasks(loop)))


def tune_collector() -> None:
    """Let the garbage collector run by what is really garbage. Call once, when all is built.

    Batches are thousands of young objects that reference counting frees; with the default thresholds
    the collector walks them, and all that lives for ever, several times per batch.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
