"""gateway/cli/telemetry.py: this machine as events."""

from __future__ import annotations

import json
from collections import namedtuple
from typing import Any

import psutil
import pytest

from gateway.cli import telemetry
from gateway.cli.board import now_text
from gateway.cli.telemetry import Machine, Sample, batch_of, event_of
from gateway.formats import decode_batch

Disk = namedtuple("Disk", "read_bytes write_bytes")
Net = namedtuple("Net", "bytes_recv bytes_sent")


def test_a_sample_has_every_core_and_the_memory() -> None:
    samples = {sample.subject: sample for sample in Machine().sample()}
    assert {f"cpu/{core}" for core in range(psutil.cpu_count() or 0)} <= samples.keys()
    assert 0 < samples["memory/used"].value < 100
    assert samples["memory/available"].unit == "B"
    assert all(0 <= sample.confidence <= 1 for sample in samples.values())


def test_rates_are_differences_over_the_time_between(monkeypatch: pytest.MonkeyPatch) -> None:
    disks = iter([Disk(0, 0), Disk(3000, 500), Disk(100, 600)])
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: next(disks))
    monkeypatch.setattr(psutil, "net_io_counters", lambda: Net(0, 0))
    now = iter([0.0, 2.0, 3.0])
    machine = Machine(clock=lambda: next(now))
    rates = {sample.subject: sample.value for sample in machine.sample() if sample.datatype == "rate"}
    assert rates == {"disk/read": 1500.0, "disk/written": 250.0, "network/received": 0.0, "network/sent": 0.0}
    # The counter of reads went back: no rate is better than a wrong one.
    rates = {sample.subject: sample.value for sample in machine.sample() if sample.datatype == "rate"}
    assert "disk/read" not in rates
    assert rates["disk/written"] == 100.0


def test_a_machine_without_disks_or_network_has_no_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: None)
    monkeypatch.setattr(psutil, "net_io_counters", lambda: None)
    assert list(telemetry._counters()) == []
    assert all(sample.datatype != "rate" for sample in Machine().sample())


def test_events_are_of_the_intelligence_profile_and_valid() -> None:
    sample = Sample("cpu/0", "load", 12.345, "%", "sampled", 0.96)
    made: dict[str, Any] = event_of(sample, now_text())
    assert made["data"] == {"value": 12.35, "unit": "%"} or made["data"] == {"value": 12.34, "unit": "%"}
    assert (made["datatype"], made["qualitytier"], made["confidence"]) == ("load", "sampled", "0.96")
    [event] = decode_batch(batch_of([sample], now_text()), 10)
    assert event.subject == "cpu/0"
    assert json.loads(event.data or b"")["unit"] == "%"
