"""`linkspan demo`: a gateway, this machine's telemetry published to it over HTTP, and the stream read back live."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import Data, Json
from gateway.cli.output import WRONG_USE, CommandError, command, line, note, record, styled, wants_color

if TYPE_CHECKING:
    from gateway.cli.board import Board
    from gateway.plugin import BoundAddress

#: Seconds between two readings of the machine, and between two looks at what arrived.
INTERVAL, REFRESH = 0.25, 0.1
#: Seconds that the end waits for events that are still under way.
LAST_WAIT = 3.0
_WORDS = "linkspan"


class Feed:
    """The two clients of the demo, each in a thread with a connection of its own, as any client would be."""

    def __init__(self, url: str, topic: str) -> None:
        from gateway.cli.client import Client

        self._topic = topic
        self._writer, self._reader = Client(url), Client(url)
        self._stop, self._listening = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=f"demo {work.__name__.strip('_')}", daemon=True)
            for work in (self._read, self._publish)
        ]
        #: (event, the same as JSON text, wall clock at arrival), oldest first.
        self.arrived: deque[tuple[dict[str, Any], str, float]] = deque()
        self.received = 0
        self.published = 0
        self.failure: CommandError | None = None

    def start(self) -> None:
        self._writer.request("PUT", f"/topics/{self._topic}", body=b'{"partitions": 1}')
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Publish no more and wait for what is still under way."""
        self._stop.set()
        self._threads[1].join(LAST_WAIT)
        end = time.monotonic() + LAST_WAIT
        while self.received < self.published and time.monotonic() < end and self._threads[0].is_alive():
            time.sleep(0.01)

    def close(self) -> None:
        self._stop.set()
        for client in (self._reader, self._writer):
            client.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(LAST_WAIT)

    def _guard(self, work: Any) -> None:
        try:
            work()
        except CommandError as error:
            if not self._stop.is_set():
                self.failure = error

    def _read(self) -> None:
        from gateway.cli.board import decode
        from gateway.cli.telemetry import TYPE

        def lost(error: CommandError, pause: float) -> None:
            if self._stop.is_set():
                raise error  # `close` cut it: no reconnect

        query = [("from", f"{self._topic}/**"), ("start", "latest")]
        stream = self._reader.follow(
            "/events", query=query, on_open=self._listening.set, on_lost=lost, wait=self._stop.wait
        )
        for messages in stream:
            arrived = time.time()
            events = [decode(message.data) for message in messages if message.event == "message"]
            texts = [message.data for message in messages if message.event == "message"]
            self.arrived.extend((event, text, arrived) for event, text in zip(events, texts, strict=True))
            self.received += sum(event["type"] == TYPE for event in events)
            if self._stop.is_set() and self.received >= self.published:
                return

    def _publish(self) -> None:
        from gateway.cli.board import now_text
        from gateway.cli.telemetry import Machine, batch_of

        self._listening.wait()
        machine, path = Machine(), f"/topics/{self._topic}/events"
        while not self._stop.wait(INTERVAL):
            samples = machine.sample()
            body = batch_of(samples, now_text())
            self._writer.request("POST", path, body=body, content_type="application/cloudevents-batch+json")
            self.published += len(samples)


class Lines:
    """Shows each event as a line: for pipes, logs and `--json`."""

    def __init__(self, board: Board, as_json: bool) -> None:
        self._board, self._as_json = board, as_json

    def show(self, feed: Feed) -> None:
        from gateway.cli.board import plain

        while feed.arrived:
            event, text, arrived = feed.arrived.popleft()
            latency = self._board.take(event, arrived, time.monotonic())
            line(text if self._as_json else plain(event, self._board.topic, latency))
        sys.stdout.flush()


class Screen:
    """Shows the stream as a table that changes in place."""

    def __init__(self, board: Board, head: Sequence[str], foot: Sequence[str], live: Any) -> None:
        from gateway.cli.board import BARS, PLAIN_BARS

        self._board, self._head, self._foot, self._live = board, head, foot, live
        self._bars = BARS if "utf" in (sys.stdout.encoding or "").lower() else PLAIN_BARS

    def show(self, feed: Feed) -> None:
        from gateway.cli.board import picture

        now = time.monotonic()
        while feed.arrived:
            event, _, arrived = feed.arrived.popleft()
            self._board.take(event, arrived, now)
        self._live.update(picture(self._board, now, self._head, self._foot, self._bars), refresh=True)


@contextmanager
def view(board: Board, url: str, log: str, as_json: bool) -> Iterator[Lines | Screen]:
    """A table on a terminal, lines elsewhere."""
    head = [f"Linkspan demo: this machine through {url}", f"the log is {log}; end with Ctrl-C"]
    foot = ["Try in a second terminal:", *(f"  {text}" for text in commands(url, board.topic))]
    if as_json or not wants_color(sys.stdout):
        for text in () if as_json else (*head, *foot):
            line(text, flush=True)
        yield Lines(board, as_json)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(), auto_refresh=False, vertical_overflow="crop") as live:
        yield Screen(board, head, foot, live)


def commands(url: str, topic: str) -> list[str]:
    """The three commands to try; they work as they stand."""
    from gateway.cli.options import DEFAULT_URL

    program = sys.argv[0] if sys.argv[0].endswith(_WORDS) else _WORDS
    flag = "" if url == DEFAULT_URL else f" --url {url}"
    return [
        f"curl -N -H 'Accept: text/event-stream' '{url}/v1/topics/{topic}/events?subject=cpu/*'",
        f"{program} subscribe '{topic}/memory/*' --start last:5{flag}",
        f"{program} publish {topic}/note 'hello from the second terminal'{flag}",
    ]


def seconds_of(text: str | None) -> float | None:
    """`--for 20s` in seconds."""
    from gateway.config.units import parse_duration

    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CommandError(f"--for {text!r}: {error}", WRONG_USE, code="wrong_use") from None


def taken(host: str, port: int) -> bool:
    """Whether a port of this machine is in use."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def demo_settings(folder: Path) -> tuple[Any, Any, list[str]]:
    """A configuration on loopback whose ports are free, and what had to be moved for it."""
    from gateway.cli.settings import load_settings

    quiet = ["telemetry.logs.level=warning", "name=demo"]
    loaded, plugins = load_settings(data=folder, overrides=quiet)
    moved = {
        name: settings.port
        for name, many in loaded.config.listeners.items()
        for settings in many
        if taken(settings.host, settings.port)
    }
    if moved:
        free = [f"listeners.{name}.port=0" for name in moved]
        loaded, plugins = load_settings(data=folder, overrides=quiet + free)
    said = [f"port {port} is taken: {name} is on a free one" for name, port in moved.items()]
    return loaded, plugins, said


async def watch(feed: Feed, shown: Lines | Screen, stop: asyncio.Event, seconds: float | None) -> None:
    """Show what arrives until the time is over, a signal came or a client failed."""
    end = None if seconds is None else time.monotonic() + seconds
    while not stop.is_set() and feed.failure is None and (end is None or time.monotonic() < end):
        shown.show(feed)
        try:
            await asyncio.wait_for(stop.wait(), REFRESH)
        except TimeoutError:
            continue
    await asyncio.to_thread(feed.finish)
    shown.show(feed)


async def play(app: Any, log: str, board: Board, seconds: float | None, as_json: bool) -> dict[str, Any]:
    """The whole demo on a running loop; returns the summary. Raises CommandError when a client failed."""
    from gateway.cli.board import summary

    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    feed: Feed | None = None
    try:
        url = http_url(await app.start())
        feed = Feed(url, board.topic)
        began = time.monotonic()
        await asyncio.to_thread(feed.start)
        with view(board, url, log, as_json) as shown:
            await watch(feed, shown, stop, seconds)
        if feed.failure is not None:
            raise feed.failure
        return summary(board, feed.published, time.monotonic() - began)
    finally:
        if feed is not None:
            await asyncio.to_thread(feed.close)
        await app.drain()
        await app.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def http_url(addresses: Sequence[BoundAddress]) -> str:
    """Where the demo's clients connect: the HTTP listener."""
    for address in addresses:
        if address.listener == "http":
            return address.url
    raise CommandError("the HTTP plug-in is not installed: install Linkspan itself, not its files alone")


@command
def demo(
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="End after so long, such as 20s.", show_default=False)
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Watch this machine's telemetry flow through a gateway: published over HTTP, read back live."""
    seconds = seconds_of(for_)
    import uvloop

    from gateway.app import App
    from gateway.cli.board import Board, summary_text
    from gateway.cli.telemetry import TOPIC
    from gateway.cli.up import what_is_the_log
    from gateway.errors import LinkspanError
    from gateway.operate.logs import configure

    with ExitStack() as kept:
        folder = data or Path(kept.enter_context(TemporaryDirectory(prefix="linkspan-demo-")))
        loaded, plugins, said = demo_settings(folder)
        configure("warning")
        for text in said:
            note(styled(text, "yellow", sys.stderr))
        log = what_is_the_log(loaded.config.bus)
        try:
            figures = uvloop.run(play(App.build(loaded, plugins), log, Board(TOPIC), seconds, as_json))
        except LinkspanError as error:
            raise CommandError(error.message, code=error.code) from None
    if as_json:
        record({"summary": figures})
    else:
        line(summary_text(figures))
