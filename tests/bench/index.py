"""What an event costs with many subscriptions of which one wants it: the delivery engine in this process.

Every batch has one event for each of `--batch` subjects, spread evenly over the subscriptions,
so that each event goes to one view and one sink whatever their number. With `--symbols` each
subscription wants one symbol, by a filter, and their patterns may all be alike. Prints one JSON
line: CPU of the loop's thread for each event, the bus's own share (the same without
subscriptions) taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import psutil
import uvloop

from auth.principal import ANONYMOUS
from gateway.address import parse_pattern
from gateway.bus.contract import TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.config.model import Limits
from gateway.delivery.form import EndCause
from gateway.delivery.live import Views
from gateway.delivery.position import LATEST
from gateway.delivery.reader import Reader, ReadRequest
from gateway.delivery.refine import Refinement
from gateway.delivery.tail import TailHub
from gateway.errors import LinkspanError
from gateway.formats import decode_batch
from gateway.operate.metrics import Metrics
from gateway.operate.runtime import tune_collector
from protocols.websocket.forms import native_form
from routing.filters.filter import compile_filters
from tests.bench.stream import event_text

TOPIC = "bench"
WAIT_S = 60.0


def symbol(number: int) -> str:
    return f"S{number}"


def wanted(symbol: str) -> Refinement:
    """The filter of a subscription that wants one symbol."""
    chosen = compile_filters([{"exact": {"type": "bench.signal", "symbol": symbol}}])
    return Refinement(chosen, None, lambda event, failure: None)


class Tally:
    """A sink for all subscriptions; one block brings one event."""

    def __init__(self) -> None:
        self._left = 0
        self._all: asyncio.Future[None] | None = None

    def expect(self, blocks: int) -> asyncio.Future[None]:
        """Done once so many blocks have come; nothing is polled, which would count as cost."""
        self._left, self._all = blocks, asyncio.get_running_loop().create_future()
        return self._all

    def write(self, data: bytes) -> None:
        self._left -= 1
        if self._left == 0 and self._all is not None:
            self._all.set_result(None)

    def bound(self, size: int) -> None:
        """Nothing ever waits."""

    def ended(self, cause: EndCause, error: LinkspanError | None) -> None:
        if cause != "closed":
            raise RuntimeError(f"a subscription ended: {cause}, {error}")


class Bench:
    def __init__(self, folder: Path) -> None:
        limits, metrics = Limits(), Metrics(process=False)
        self._bus = EmbeddedBus(folder, durability="os")
        self._hub = TailHub(self._bus)
        self._reader = Reader(self._bus, self._hub, limits, metrics=metrics)
        self.views = Views(self._reader, self._hub, limits, metrics)
        self.tally = Tally()
        self._sent = 0

    async def start(self) -> None:
        await self._bus.start()
        await self._bus.create_topic(TOPIC, TopicSettings(partitions=1))
        self._hub.start()

    async def close(self) -> None:
        await self.views.close()
        await self._reader.close()
        await self._hub.close()
        await self._bus.close()

    async def subscribe(self, first: int, end: int, pattern: str, symbols: bool) -> None:
        for number in range(first, end):
            source = parse_pattern(f"{TOPIC}/{pattern.format(number)}")
            request = ReadRequest((source,), LATEST, wanted(symbol(number)) if symbols else None)
            session = await self.views.subscribe(request, ANONYMOUS, native_form(b"1", 0), self.tally)
            session.begin()

    async def batch(self, numbers: list[int], subject: str, *, symbols: bool, delivered: bool) -> None:
        """Append one event for each of some subscriptions, and wait until all were delivered."""
        texts = [event_text(self._sent + at, 0, subject.format(number), 100) for at, number in enumerate(numbers)]
        self._sent += len(texts)
        events = decode_batch(b"[" + b",".join(texts) + b"]", len(texts))
        if symbols:
            for event, number in zip(events, numbers, strict=True):
                event.attributes["symbol"] = symbol(number)
        came = self.tally.expect(len(events))
        await self._bus.append(TOPIC, events)
        if delivered:
            await asyncio.wait_for(came, WAIT_S)

    async def cost(self, subscriptions: int, options: argparse.Namespace) -> float:
        """Microseconds of CPU for each event; the least of five rounds, as the machine is shared."""
        size: int = options.batch
        known = max(subscriptions, size)
        rounds: list[float] = []
        for turn in range(6):
            began = time.thread_time()
            for number in range(options.batches):
                numbers = [(number + at * (known // size)) % known for at in range(size)]
                await self.batch(numbers, options.subject, symbols=options.symbols, delivered=subscriptions > 0)
            if turn:  # the first one warms up
                rounds.append((time.thread_time() - began) * 1e6 / (options.batches * size))
        return min(rounds)


async def run(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    bench = Bench(folder)
    await bench.start()
    try:
        tune_collector()
        process = psutil.Process()
        floor = await bench.cost(0, options)
        await bench.subscribe(0, options.few, options.pattern, options.symbols)
        few = await bench.cost(options.few, options)
        before, began = process.memory_info().rss, time.monotonic()
        await bench.subscribe(options.few, options.many, options.pattern, options.symbols)
        took, held = time.monotonic() - began, process.memory_info().rss - before
        many = await bench.cost(options.many, options)
    finally:
        await bench.close()
    return {
        "bus_us_per_event": floor,
        "few_us_per_event": few - floor,
        "many_us_per_event": many - floor,
        "ratio": (many - floor) / (few - floor),
        "subscribed_per_s": (options.many - options.few) / took,
        "kb_per_subscription": held / 1024 / (options.many - options.few),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=100)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=100, help="events in a batch, each with a subject of its own")
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--pattern", default="s/{}", help="what subscription {} subscribes to")
    parser.add_argument("--symbols", action="store_true", help="each subscription wants one symbol of its pattern")
    parser.add_argument("--subject", default="s/{}", help="the subject of an event for subscription {}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="linkspan-index-") as place:
        figures = uvloop.run(run(options, Path(place)))
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
