"""`make bench`: every figure beside its floor, measured in the same run.

Server and clients share the machine, so rates say as much about it as about the gateway: the
ratios are what to watch. Server CPU is user and system time of the gateway's process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
Figures = dict[str, float]


@contextmanager
def gateway(folder: Path, *flags: str) -> Iterator[tuple[psutil.Process, int]]:
    """A gateway as a user starts it; its process and the port of its HTTP door."""
    log_of = () if "--kafka" in flags else ("--data", str(folder / "data"))
    command = [
        sys.executable, "-m", "gateway.cli.main", "up", "--set", "listeners.http.port=0",
        "--set", "listeners.websocket.port=0", "--set", "listeners.admin.port=0", "--json", *log_of, *flags,
    ]  # fmt: skip
    log = (folder / "gateway.log").open("w+")
    with subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as child:
        try:
            yield psutil.Process(child.pid), _port(folder / "gateway.log", child)
        finally:
            child.terminate()
            child.wait(30)
            log.close()


def _port(log: Path, child: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        found = re.search(r'"listener": ?"http".*?"port": ?(\d+)', log.read_text())
        if found:
            return int(found.group(1))
        time.sleep(0.05)
    sys.exit(f"the gateway did not start:\n{log.read_text()}")


def make_topic(port: int) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/topics/bench",
        b'{"partitions": 1}',
        {"Content-Type": "application/json"},
        method="PUT",
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(request, timeout=10).read()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def program(module: str, *arguments: str | float | Path) -> Figures:
    """Run one of this folder's programs and read its JSON line."""
    command = [sys.executable, "-m", f"tests.bench.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def load(port: int, server: psutil.Process, seconds: float, *arguments: str | float) -> Figures:
    """Drive the server with the load client; adds the server's CPU per request."""
    before = server.cpu_times()
    figures = program("load", "--port", port, "--seconds", seconds, "--warm", 1, *arguments)
    after = server.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    figures["cpu_us_per_request"] = cpu * 1e6 / max(1.0, figures["requests_per_s"] * (seconds + 1))
    if figures["errors"]:
        sys.exit(f"{figures['errors']:.0f} requests failed")
    return figures


@contextmanager
def bare_server() -> Iterator[tuple[psutil.Process, int]]:
    command = [sys.executable, "-m", "tests.bench.bare"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield psutil.Process(child.pid), int(child.stdout.readline())
        finally:
            child.terminate()


def say(what: str, value: float, unit: str, floor: str = "") -> None:
    print(f"{what:<58}{value:>12,.0f} {unit:<11}{floor}", flush=True)


def published(what: str, folder: Path, seconds: float, flags: Sequence[str], bare: float, target: float) -> None:
    with gateway(folder, *flags) as (server, port):
        make_topic(port)
        figures = load(port, server, seconds, "--batch", 500, "--connections", 8)
    rate = figures["requests_per_s"] * 500
    floor = f"{rate / bare:.2f} of the bare bus, {rate / target:.2f} of the target {target:,.0f}"
    say(what, rate, "events/s", floor)
    say("  server CPU of an event", figures["cpu_us_per_request"] / 500 * 1000, "ns")


def single(folder: Path, seconds: float) -> None:
    # In turn, twice: the machine's speed drifts.
    ratios = []
    for turn in range(2):
        with bare_server() as (server, port):
            bare = load(port, server, seconds, "--batch", 0, "--connections", 100)["requests_per_s"]
        with gateway(folder / f"single{turn}") as (server, port):
            make_topic(port)
            figures = load(port, server, seconds, "--batch", 0, "--connections", 100)
        ratios.append(figures["requests_per_s"] / bare)
    say("single-event POST, 100 connections", figures["requests_per_s"], "requests/s")
    say("  a bare aiohttp handler", bare, "requests/s", f"ratio {min(ratios):.2f}, target 0.5")


def idle(folder: Path) -> None:
    with gateway(folder) as (server, port):
        make_topic(port)
        time.sleep(2)
        say("idle gateway", server.memory_info().rss / 2**20, "MiB", "target under 120 MB")


def bare(what: str, folder: Path, seconds: float, *flags: str) -> Figures:
    figures = program("log", "--path", folder / "bare", "--seconds", seconds, *flags)
    say(f"{what}, appends of 500 from 8 callers", figures["append_events_per_s"], "events/s")
    say("  append p50", figures["append_p50_ms"] * 1000, "us")
    say("  append p99", figures["append_p99_ms"] * 1000, "us")
    read = figures["read_events_per_s"]
    say(f"{what}, one reader to decoded batches", read, "events/s", f"{read / 500_000:.2f} of the target 500,000")
    return figures


def kafka(folder: Path, seconds: float) -> None:
    from tests.harness.kafka import KafkaServer

    server = KafkaServer(quick=False)
    try:
        server.start()
        flags = ("--kafka", server.bootstrap)
        figures = bare("bare Kafka bus", folder, seconds, *flags)
        published(
            "POST of 500 events, 8 connections, Kafka", folder, seconds, flags, figures["append_events_per_s"], 150_000
        )
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--only", choices=("embedded", "single", "kafka", "idle"))
    options = parser.parse_args()
    os.environ["PYTHONUNBUFFERED"] = "1"
    with tempfile.TemporaryDirectory(prefix="linkspan-bench-") as place:
        folder = Path(place)
        if options.only in (None, "embedded"):
            figures = bare("bare embedded log (fsync)", folder, options.seconds)
            (folder / "embedded").mkdir()
            published(
                "POST of 500 events, 8 connections, embedded log (fsync)",
                folder / "embedded", options.seconds, (), figures["append_events_per_s"], 300_000,
            )  # fmt: skip
        if options.only in (None, "single"):
            for turn in range(2):
                (folder / f"single{turn}").mkdir()
            single(folder, options.seconds)
        if options.only in (None, "idle"):
            (folder / "idle").mkdir()
            idle(folder / "idle")
        if options.only in (None, "kafka"):
            (folder / "kafka").mkdir()
            kafka(folder / "kafka", options.seconds)


if __name__ == "__main__":
    main()
