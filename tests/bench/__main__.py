"""`make bench`: every figure beside its floor, measured in the same run.

Server and clients share the machine, so rates say as much about it as about the gateway: the
ratios are what to watch. Server CPU is user and system time of the gateway's process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

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
        # Addresses are printed once all doors are open.
        if (port := listening(log, "http")) is not None:
            return port
        time.sleep(0.05)
    sys.exit(f"the gateway did not start:\n{log.read_text()}")


def listening(log: Path, door: str) -> int | None:
    """The port of a door, as the gateway printed it."""
    found = re.search(rf'"listener": ?"{door}".*?"port": ?(\d+)', log.read_text())
    return None if found is None else int(found.group(1))


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
def floor(module: str) -> Iterator[tuple[psutil.Process, int]]:
    """One of this folder's servers; it prints its port."""
    command = [sys.executable, "-m", f"tests.bench.{module}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield psutil.Process(child.pid), int(child.stdout.readline())
        finally:
            child.terminate()


def say(what: str, value: float, unit: str, floor: str = "") -> None:
    print(f"{what:<58}{value:>12,.0f} {unit:<13}{floor}", flush=True)


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
        with floor("bare") as (server, port):
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


# Live delivery


@contextmanager
def live(folder: Path, *flags: str) -> Iterator[Sequence[str | int]]:
    """A gateway with the topic; the flags that lead the counting client to it."""
    with gateway(folder, *flags) as (server, port):
        make_topic(port)
        yield "--port", port, "--ws-port", listening(folder / "gateway.log", "websocket") or 0, "--pid", server.pid


def fanout(where: Sequence[str | int], seconds: float, *flags: str | int) -> Figures:
    figures = program("fanout", *where, "--seconds", seconds, *flags)
    if figures["lost"] or figures["duplicated"] or figures["closed"]:
        sys.exit(f"not every subscriber got every event once: {figures}")
    return figures


def say_live(what: str, figures: Figures, floor: Figures | None, rate: float, cpu_ns: float) -> None:
    """Rate and server CPU of a delivery, beside the floor and the targets; 0: there is none."""
    beside = f"target {rate:,.0f}" if rate else ""
    if floor is not None:
        beside = f"{figures['deliveries_per_s'] / floor['deliveries_per_s']:.2f} of a bare relay, {beside}"
    say(what, figures["deliveries_per_s"], "deliveries/s", beside.removesuffix(", "))
    cpu, beside = figures["server_cpu_us_per_delivery"] * 1000, f"target {cpu_ns:,.0f}" if cpu_ns else ""
    if floor is not None:
        beside = f"a bare relay {floor['server_cpu_us_per_delivery'] * 1000:,.0f}, {beside}"
    say("  server CPU of a delivery", cpu, "ns", beside.removesuffix(", "))
    other = figures["other_cores"]
    say("  p99 from publish to receipt", figures["p99_ms"] * 1000, "us", f"other_cores {other:.2f}" * (other > 0.2))


SINGLE = ("--rate", 1000, "--batch", 1, "--publishers", 8)
BURSTS: tuple[tuple[str, tuple[str | int, ...], float, float], ...] = (
    ("bursts of 100", ("--batch", 100), 5_000_000, 150),
    ("bursts of 500", ("--batch", 500, "--window", 2000), 0, 0),
    ("bursts of 16", ("--batch", 16), 0, 0),
    ("1,000 single events/s", SINGLE, 500_000, 800),
)


def websockets(folder: Path, seconds: float) -> None:
    with floor("relay") as (server, port):
        relay = ("--port", port, "--ws-port", port, "--pid", server.pid)
        floors = [fanout(relay, seconds, *flags) for _, flags, _, _ in BURSTS]
    with live(folder) as where:
        for (name, flags, rate, cpu), bare in zip(BURSTS, floors, strict=True):
            say_live(f"500 WebSockets, one view, {name}", fanout(where, seconds, *flags), bare, rate, cpu)
        exact = fanout(where, seconds, "--exact", "--subs", 50)
        say("  of them 50, parsed: out of order", exact["out_of_order"], "events", "target 0")
        say("  gateway memory", exact["server_rss_mb"], "MiB")


def views(folder: Path, seconds: float) -> None:
    spread = ("--views", 500, "--batch", 500, "--window", 50_000, "--publishers", 4)
    with live(folder) as where:
        say_live("500 WebSockets, 500 views, bursts of 500", fanout(where, seconds, *spread), None, 200_000, 0)


def filters(folder: Path, seconds: float) -> None:
    """500 subscribers of one topic, each with a filter that no index helps: a tenth passes."""
    apart = ("--filters", "--batch", 500, "--window", 4000, "--publishers", 4)
    with live(folder) as where:
        figures = fanout(where, seconds, *apart)
    say_live("500 WebSockets, 500 filters, bursts of 500", figures, None, 200_000, 0)
    say("  evaluations of a filter", figures["evaluations_per_s"], "per s", "target 2,000,000")
    say("  server CPU of an evaluation, its deliveries included", figures["server_cpu_us_per_evaluation"] * 1000, "ns")


def streams(folder: Path, seconds: float) -> None:
    with live(folder) as where:
        for name, flags, _, _ in BURSTS:
            say_live(f"500 event streams, {name}", fanout(where, seconds, "--mode", "sse", *flags), None, 0, 0)


def connections(folder: Path, seconds: float) -> None:
    with live(folder, "--set", "limits.connections=11000") as where:
        figures = program("fanout", "idle", *where, "--subs", 10_000, "--seconds", seconds)
    say("10,000 idle WebSockets, each", figures["server_rss_kb_per_connection"] * 1024, "bytes", "target under 10,000")
    say("  server CPU", figures["server_cores"] * 1000, "mcores")
    say("  opened and subscribed", figures["opened_per_s"], "per s")


def slow(folder: Path, seconds: float) -> None:
    with live(folder) as where:
        figures = fanout_slow(where, seconds)
    before, during = figures["deliveries_per_s_before"], figures["deliveries_per_s_during"]
    say("499 WebSockets beside one that reads", before, "deliveries/s")
    say("  beside one that does not read", during, "deliveries/s", f"ratio {during / before:.2f}, target 1")
    say("  beside one that catches up", figures["deliveries_per_s_after"], "deliveries/s")
    grown = figures["rss_mb_after"] - figures["rss_mb_before"]
    say("  gateway memory grew by", grown, "MiB")
    behind, took = figures["slow_events_behind"], figures["slow_caught_up_after_s"]
    say("  it was behind by", behind, "events", f"had all in order after {took:.1f} s")


def fanout_slow(where: Sequence[str | int], seconds: float) -> Figures:
    figures = program("fanout", "slow", *where, "--subs", 499, "--seconds", seconds)
    wrong = ("lost", "duplicated", "closed", "slow_lost", "slow_duplicated", "slow_out_of_order")
    if any(figures[name] for name in wrong):
        sys.exit(f"not every subscriber got every event once and in order: {figures}")
    return figures


DISTINCT = {
    "subjects": (),
    "patterns": ("--pattern", "s/{}/*", "--subject", "s/{}/a"),
    "symbols": ("--symbols", "--pattern", "s/**", "--subject", "s/x"),
}


def index() -> None:
    for name, flags in DISTINCT.items():
        figures = program("index", *flags)
        say(f"an event among 100 subscriptions on distinct {name}", figures["few_us_per_event"] * 1000, "ns")
        ratio = f"ratio {figures['ratio']:.2f}, target under 2"
        say("  among 100,000", figures["many_us_per_event"] * 1000, "ns", ratio)
        say("  memory of a subscription", figures["kb_per_subscription"] * 1024, "bytes")


# Filters, transforms, schemas: the programs that measure them, in their own processes


def routing() -> None:
    """What each costs an event, beside what is asked for and a floor of the same run."""
    rules, dialects = program("filters", "--json"), program("dialects")
    for row in cast(list[dict[str, Any]], rules["filters"]):
        compared = f"by hand {row['by_hand_us'] * 1000:,.0f}"
        if row["cel_us"] is not None:
            compared += f", cel-python {row['cel_us'] * 1000:,.0f}"
        say_cost(f"filter: {row['name']}", row["cold_us"], row["at_most_us"], compared)
    plain, payload = (f"floor {dialects[name] * 1000:,.0f}" for name in ("floor_attribute", "floor_payload"))
    for name in ("exact", "exact_three", "prefix", "shorthand", "sql"):
        say_cost(f"filters: {name}", dialects[name], DIALECTS.get(name), plain)
    say_cost("filters: payload", dialects["payload"], 0.6, payload)
    for name in ("prefixes", "prices"):
        say_cost(f"one of 500 different filters: {name}", dialects[f"different_500_{name}"], 0.5, "")
    say_cost("the one among 100 that wants a symbol", dialects["equal_100"], None, "")
    ratio = f"ratio {dialects['equal_ratio']:.2f}, target under 2"
    say_cost("  among 100,000", dialects["equal_100000"], None, ratio)
    transforms, schemas = cast(dict[str, Any], program("transforms")), program("schemas")
    floor = f"decode and encode {transforms['floor'] * 1000:,.0f}"
    for name in (name for name, row in transforms.items() if isinstance(row, dict)):
        target = 3.0 if name.startswith("keep") else None
        say_cost(f"transform: {name}", transforms[name]["batch"], target, floor)
    floor = f"read the payload {schemas['floor_us'] * 1000:,.0f}"
    for name, what in SCHEMAS.items():
        say_cost(f"schema: {what}", schemas[name], 1.0 if name == "json_compiled_us" else None, floor)


DIALECTS = {"exact": 0.15, "sql": 0.15, "exact_three": 0.5}
SCHEMAS = {
    "json_compiled_us": "JSON Schema, compiled",
    "json_us": "JSON Schema, from bytes",
    "json_batch_us": "JSON Schema, in a publish of 500",
    "avro_us": "Avro, from bytes",
    "protobuf_us": "Protobuf, from bytes",
}


def say_cost(what: str, us: float, target_us: float | None, beside: str) -> None:
    """Of an event, in nanoseconds."""
    target = "" if target_us is None else f"target under {target_us * 1000:,.0f}"
    say(what, us * 1000, "ns an event", ", ".join(part for part in (beside, target) if part))


LIVE: dict[str, Callable[[Path, float], None]] = {
    "live": websockets,
    "views": views,
    "filters": filters,
    "sse": streams,
    "connections": connections,
    "slow": slow,
    "index": lambda folder, seconds: index(),
}


def main() -> None:
    # Ten thousand connections need descriptors, in the gateway as well.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--only", choices=("embedded", "single", "kafka", "idle", "routing", *LIVE))
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
        if options.only in (None, "routing"):
            routing()
        if options.only in (None, "single"):
            for turn in range(2):
                (folder / f"single{turn}").mkdir()
            single(folder, options.seconds)
        if options.only in (None, "idle"):
            (folder / "idle").mkdir()
            idle(folder / "idle")
        for name, bench in LIVE.items():
            if options.only in (None, name):
                (folder / name).mkdir()
                bench(folder / name, options.seconds)
        if options.only in (None, "kafka"):
            (folder / "kafka").mkdir()
            kafka(folder / "kafka", options.seconds)


if __name__ == "__main__":
    main()
