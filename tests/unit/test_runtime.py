"""The process shows its version and how late its loop runs."""

from __future__ import annotations

import asyncio
import gc
import time

from gateway.operate.metrics import Metrics
from gateway.operate.runtime import register_build_info, tune_collector, watch_loop
from tests.conftest import eventually


def test_the_version_is_a_metric() -> None:
    metrics = Metrics(process=False)
    register_build_info(metrics, "1.2.3")
    assert b'version="1.2.3"' in metrics.render()


async def test_a_blocked_loop_shows_as_lag() -> None:
    metrics = Metrics(process=False)
    task = asyncio.create_task(watch_loop(metrics, interval=0.01))
    try:
        await asyncio.sleep(0)
        time.sleep(0.15)  # the very thing that is measured
        await eventually(lambda: b"linkspan_event_loop_lag_seconds_sum" in metrics.render())
        lag = metrics.histogram(
            "linkspan_event_loop_lag_seconds", "How late the event loop runs what is due.", buckets=(1.0,)
        )
        await eventually(lambda: lag.sum > 0.1)
        assert metrics.gauge("linkspan_event_loop_tasks", "Tasks of the event loop.").value >= 2
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_the_collector_runs_seldom_and_leaves_alone_what_lives_for_ever() -> None:
    before = gc.get_threshold()
    try:
        tune_collector()
        assert gc.get_threshold()[0] == 100_000
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
