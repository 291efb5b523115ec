"""A small counting client: many subscribers, one publisher, in one process of little cost.

`fanout`: deliveries a second, latency, the server's CPU for each delivery. `slow`: the same while
one more subscriber does not read for some seconds, and whether it gets everything afterwards.
`idle`: silent subscribers, and the server's memory for each. Prints one JSON line.

Latency is counted from the time an event was due to the return of the read that brought it, at
every 16th subscriber: of all its events at a rate, of the newest of each read at full speed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import psutil

from tests.bench.crowd import BUFFER, OPEN, TOPIC, Crowd, Opened, dial, upgrade
from tests.bench.feed import Connection, Feed
from tests.bench.share import PRICES, Share
from tests.bench.stream import (
    Broken,
    Exact,
    Tracker,
    event_text,
    http_answer,
    http_request,
    websocket_answer,
    websocket_request,
)

PROBES = 8
NAP = 0.0003
DRAIN_S = 10.0
Figures = dict[str, float]


class Mark(NamedTuple):
    """What was done up to a moment; CPU in seconds."""

    at: float
    sent: int
    deliveries: int
    reads: int
    server: float
    client: float
    machine: float


class Rates(NamedTuple):
    """Between two marks. `other_cores`: what else ran on the machine; much of it spoils a run."""

    published_per_s: float
    deliveries_per_s: float
    server_cpu_us_per_delivery: float
    server_cores: float
    client_cores: float
    other_cores: float
    events_per_read: float


def rates(a: Mark, b: Mark) -> Rates:
    seconds, deliveries = b.at - a.at, b.deliveries - a.deliveries
    return Rates(
        (b.sent - a.sent) / seconds,
        deliveries / seconds,
        (b.server - a.server) * 1e6 / max(1, deliveries),
        (b.server - a.server) / seconds,
        (b.client - a.client) / seconds,
        max(0.0, b.machine - a.machine - (b.server - a.server) - (b.client - a.client)) / seconds,
        deliveries / max(1, b.reads - a.reads),
    )


class Slow:
    """A subscriber beside the crowd that can stop reading; everything it gets is checked."""

    def __init__(self, opened: Opened, epoll: select.epoll) -> None:
        self._socket, self._reader = opened
        self._epoll = epoll
        self._buffer = bytearray(BUFFER)
        self.fd = self._socket.fileno()
        self.tracker = Tracker(0, 1)
        self._socket.setblocking(False)
        self.go_on()

    def stop(self) -> None:
        self._epoll.unregister(self.fd)

    def go_on(self) -> None:
        self._epoll.register(self.fd, select.EPOLLIN)

    def ready(self, mask: int) -> None:
        size = self._socket.recv_into(self._buffer)
        if not size:
            raise Broken("the slow subscriber's connection was closed")
        for number in self._reader.feed(bytes(self._buffer[:size])):
            self.tracker.add(number)

    def close(self) -> None:
        self._socket.close()


class Run:
    """The loop: one epoll for subscribers and publishers alike."""

    def __init__(self, options: argparse.Namespace, server: psutil.Process) -> None:
        self.options, self._server = options, server
        self.epoll = select.epoll()
        port = options.port if options.mode == "sse" else options.ws_port
        share = Share(options.views, filters=options.filters)
        floor = len(event_text(0, 0, "s/0", options.size))
        self.crowd = Crowd(opened(options, port, share), share, self.epoll, floor)
        publishers = [publisher(options, self.epoll) for _ in range(options.publishers)]
        self.others: dict[int, Callable[[int], None]] = {made.fd: made.ready for made in publishers}
        self.feed = Feed(
            publishers, REQUEST[options.via], share=share, size=options.size, batch=options.batch,
            rate=options.rate, window=options.window, slowest=self.crowd.slowest,
        )  # fmt: skip
        self.rss = 0.0

    def turn(self, wait: float) -> None:
        ready = self.epoll.poll(0, 1024)
        if not ready:
            # A nap is finer than epoll's milliseconds.
            if 0 < wait < 0.001:
                time.sleep(min(wait, NAP))
            ready = self.epoll.poll(0 if wait < 0.001 else wait // 0.001 * 0.001, 1024)
        self.crowd.read(ready)
        for fd, mask in ready:
            if (other := self.others.get(fd)) is not None:
                other(mask)

    def publish(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Publish and read for so long, or until something holds; whether it does."""
        now = time.monotonic_ns()
        end, look = now + int(seconds * 1e9), now
        while now < end:
            self.turn(self.feed.step(now))
            now = time.monotonic_ns()
            if now >= look:
                look = now + 50_000_000
                self.rss = max(self.rss, self._server.memory_info().rss / 2**20)
                if until():
                    return True
        return until()

    def drain(self, done: Callable[[], bool], seconds: float = DRAIN_S) -> bool:
        """Read on, without publishing, until `done`; whether it came to that in time."""
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                return False
            self.turn(0.01)
        return True

    def have_all(self) -> bool:
        """Whether every subscriber has what was published for it, so far as counts tell."""
        crowd, sent = self.crowd, self.feed.sent
        return self.feed.quiet and all(got >= crowd.share.expected(index, sent) for index, got in enumerate(crowd.got))

    def probe(self) -> None:
        """A few events that everyone must get and that are parsed."""
        for _ in range(PROBES // 2):
            count = PRICES if self.options.filters else 2 * self.options.views
            for first in range(0, count, 500):
                self.feed.publish(min(500, count - first))
                if not self.drain(lambda: self.feed.quiet):
                    raise Broken("a publisher gets no answer")
        if not self.drain(self.have_all):
            raise Broken(f"of {self.feed.sent} first events subscribers have {sorted(set(self.crowd.got))}")
        if not self.options.exact:
            self.crowd.count_only()

    def mark(self) -> Mark:
        server, client = self._server.cpu_times(), time.process_time()
        cpu, machine = server.user + server.system, psutil.cpu_times()
        busy = sum(machine) - machine.idle - machine.iowait
        return Mark(time.monotonic(), self.feed.sent, self.crowd.total, self.crowd.reads, cpu, client, busy)

    def warm(self) -> None:
        self.probe()
        self.crowd.every = self.options.rate > 0
        self.feed.begin()
        self.publish(self.options.warm)

    def verdict(self) -> Figures:
        """What went wrong for the crowd, over the whole run. Counts cannot tell a repeat beside a loss."""
        crowd, sent = self.crowd, self.feed.sent
        short = [crowd.share.expected(index, sent) - got for index, got in enumerate(crowd.got)]
        found: Figures = {
            "lost": sum(max(0, missing) for missing in short),
            "duplicated": sum(max(0, -missing) for missing in short),
            "closed": crowd.closed,
        }
        if self.options.exact:
            found["lost"] = sum(
                tracker.lost(crowd.share.expected(index, sent)) for index, tracker in enumerate(crowd.trackers)
            )
            found["duplicated"] = sum(tracker.duplicated for tracker in crowd.trackers)
            found["out_of_order"] = sum(tracker.late for tracker in crowd.trackers)
        return found


REQUEST = {
    "http": partial(http_request, f"/v1/topics/{TOPIC}/events"),
    "ws": partial(websocket_request, TOPIC),
}


def publisher(options: argparse.Namespace, epoll: select.epoll) -> Connection:
    if options.via == "http":
        return Connection(dial(options.port), epoll, http_answer)
    made = dial(options.ws_port)
    upgrade(made, options.ws_port)
    return Connection(made, epoll, websocket_answer)


def opened(options: argparse.Namespace, port: int, share: Share) -> list[Opened]:
    begin = OPEN[options.mode]
    return [begin(dial(port, index), port, share.subject(index), share.filter(index)) for index in range(options.subs)]


def percentiles(latencies: list[int]) -> Figures:
    """In milliseconds."""
    ordered = sorted(latencies) or [0]
    at = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6 for name, share in at.items()}


def fanout(run: Run) -> Figures:
    run.warm()
    before = run.mark()
    run.crowd.measuring = True
    run.publish(run.options.seconds)
    run.crowd.measuring = False
    after = run.mark()
    run.drain(run.have_all)
    figures = {"subscribers": len(run.crowd.got), **rates(before, after)._asdict(), **percentiles(run.crowd.latencies)}
    if run.options.filters:
        looked_at = figures["published_per_s"] * len(run.crowd.got)
        figures["evaluations_per_s"] = looked_at
        figures["server_cpu_us_per_evaluation"] = figures["server_cores"] * 1e6 / max(1.0, looked_at)
    return {**figures, "server_rss_mb": run.rss, **run.verdict()}


def slow(run: Run) -> Figures:
    """One subscriber more stops reading for `--seconds`, then reads again while the others go on."""
    options = run.options
    port = options.port if options.mode == "sse" else options.ws_port
    # A small receive buffer: the kernel's would hold seconds of events.
    begin = OPEN[options.mode](dial(port, receive_buffer=65536), port, Share(options.views).subject(0))
    slow = Slow(begin, run.epoll)
    run.others[slow.fd] = slow.ready
    run.warm()
    marks, rss = [run.mark()], []
    run.publish(options.seconds)
    marks.append(run.mark())
    rss.append(run.rss)
    slow.stop()
    run.publish(options.seconds)
    marks.append(run.mark())
    rss.append(run.rss)
    behind = run.feed.sent - slow.tracker.received
    slow.go_on()
    again = time.monotonic()
    caught = run.publish(DRAIN_S, lambda: run.feed.sent - slow.tracker.received <= options.window)
    took = time.monotonic() - again
    marks.append(run.mark())
    rss.append(run.rss)
    run.drain(lambda: run.have_all() and slow.tracker.received >= run.feed.sent, 60)
    figures: Figures = {"subscribers": len(run.crowd.got) + 1}
    for name, (a, b) in zip(("before", "during", "after"), pairwise(marks), strict=True):
        part = rates(a, b)
        figures[f"deliveries_per_s_{name}"] = part.deliveries_per_s
        figures[f"server_cpu_us_per_delivery_{name}"] = part.server_cpu_us_per_delivery
    figures |= dict(zip(("rss_mb_before", "rss_mb_during", "rss_mb_after"), rss, strict=True))
    figures |= {"slow_events_behind": behind, "slow_caught_up_live": caught, "slow_caught_up_after_s": took}
    figures |= {"slow_lost": slow.tracker.lost(run.feed.sent), "slow_duplicated": slow.tracker.duplicated}
    figures |= {"slow_out_of_order": slow.tracker.late, **run.verdict()}
    slow.close()
    return figures


def idle(options: argparse.Namespace, server: psutil.Process) -> Figures:
    """Memory and CPU of the server for connections that are subscribed and silent."""
    port = options.port if options.mode == "sse" else options.ws_port
    begin = OPEN[options.mode]
    held: list[tuple[socket.socket, Exact]] = [begin(dial(port), port, "**") for _ in range(50)]
    time.sleep(1)
    before, began = server.memory_info().rss, time.monotonic()
    share = Share(options.views)
    held += [begin(dial(port, index), port, share.subject(index)) for index in range(options.subs)]
    took = time.monotonic() - began
    time.sleep(options.warm)
    cpu = server.cpu_times()
    time.sleep(options.seconds)
    later = server.cpu_times()
    rss = server.memory_info().rss
    for made, _ in held:
        made.close()
    return {
        "subscribers": options.subs,
        "opened_per_s": options.subs / took,
        "server_rss_before_mb": before / 2**20,
        "server_rss_mb": rss / 2**20,
        "server_rss_kb_per_connection": (rss - before) / 1024 / options.subs,
        "server_cores": (later.user + later.system - cpu.user - cpu.system) / options.seconds,
    }


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", choices=("fanout", "slow", "idle"), nargs="?", default="fanout")
    parser.add_argument("--mode", choices=tuple(OPEN), default="ws")
    parser.add_argument("--port", type=int, required=True, help="of the HTTP door")
    parser.add_argument("--ws-port", type=int, default=0, help="of the WebSocket door")
    parser.add_argument("--pid", type=int, required=True, help="of the server")
    parser.add_argument("--subs", type=int, default=500)
    parser.add_argument("--views", type=int, default=1, help="different subjects that are subscribed to; 1: the topic")
    parser.add_argument("--filters", action="store_true", help="of all in one view, everyone has a filter of its own")
    parser.add_argument("--size", type=int, default=100, help="bytes of data in an event")
    parser.add_argument("--batch", type=int, default=100, help="events in one POST, at most")
    parser.add_argument("--rate", type=float, default=0, help="events a second; 0: as fast as subscribers follow")
    parser.add_argument("--window", type=int, default=1000, help="at full speed: events the slowest may be behind")
    parser.add_argument("--publishers", type=int, default=1, help="connections, with one request under way on each")
    parser.add_argument("--via", choices=tuple(REQUEST), default="http", help="the door that is published through")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warm", type=float, default=1)
    parser.add_argument("--exact", action="store_true", help="parse everything, check order and repeats; slow")
    return parser


def main() -> None:
    options = arguments().parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # The scheduler likes to put who is woken beside who woke it: on the server's core.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    server = psutil.Process(options.pid)
    try:
        if options.run == "idle":
            figures = idle(options, server)
        else:
            figures = (fanout if options.run == "fanout" else slow)(Run(options, server))
    except Broken as fault:
        sys.exit(f"fanout: {fault}")
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
