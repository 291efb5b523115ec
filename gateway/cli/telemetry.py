"""This machine's own telemetry as events: what `linkspan demo` streams."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import psutil

TOPIC = "host"
TYPE = "io.linkspan.demo.telemetry"


class Sample(NamedTuple):
    """One reading. `unit` is `%`, `B` or `B/s`; `confidence` 0 to 1 says how much of the interval it covers."""

    subject: str
    datatype: str
    value: float
    unit: str
    quality: str
    confidence: float


class Machine:
    """Reads loads and gauges, and makes rates of what the kernel only counts."""

    def __init__(self, clock: Any = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._counts = dict(_counters())
        psutil.cpu_percent(percpu=True)  # the first call has nothing to compare with

    def sample(self) -> list[Sample]:
        """Everything once. Rates are over the time since the last call."""
        now = self._clock()
        elapsed, self._last = max(now - self._last, 1e-6), now
        # The kernel counts CPU time in ticks of 10 ms: the shorter the interval, the coarser the load.
        sure = round(max(0.5, 1 - 0.01 / elapsed), 2)
        samples = [
            Sample(f"cpu/{core}", "load", load, "%", "sampled", sure)
            for core, load in enumerate(psutil.cpu_percent(percpu=True))
        ]
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        samples += [
            Sample("memory/used", "gauge", memory.percent, "%", "exact", 1.0),
            Sample("memory/available", "gauge", memory.available, "B", "exact", 1.0),
            Sample("memory/swap", "gauge", swap.percent, "%", "exact", 1.0),
        ]
        before, self._counts = self._counts, dict(_counters())
        for subject, count in self._counts.items():
            # A counter that went back was reset (a device came or went): no rate this time.
            if count >= before.get(subject, count + 1):
                rate = (count - before[subject]) / elapsed
                samples.append(Sample(subject, "rate", rate, "B/s", "derived", sure))
        return samples


def _counters() -> Iterator[tuple[str, int]]:
    disk = psutil.disk_io_counters()
    if disk is not None:
        yield "disk/read", disk.read_bytes
        yield "disk/written", disk.write_bytes
    network = psutil.net_io_counters()
    if network is not None:
        yield "network/received", network.bytes_recv
        yield "network/sent", network.bytes_sent


def event_of(sample: Sample, moment: str) -> dict[str, Any]:
    """The sample as a structured CloudEvent of the intelligence profile."""
    return {
        "specversion": "1.0",
        "id": os.urandom(12).hex(),
        "source": f"//{quote(socket.gethostname())}/linkspan/demo",
        "type": TYPE,
        "subject": sample.subject,
        "time": moment,
        "datatype": sample.datatype,
        "qualitytier": sample.quality,
        "confidence": f"{sample.confidence:g}",
        "datacontenttype": "application/json",
        "data": {"value": round(sample.value, 2), "unit": sample.unit},
    }


def batch_of(samples: list[Sample], moment: str) -> bytes:
    """The body of one `POST`: a CloudEvents batch."""
    return json.dumps([event_of(sample, moment) for sample in samples], separators=(",", ":")).encode()
