"""What `linkspan demo` knows of the stream, and how it shows it: a live table, plain lines, or JSON lines."""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.cli.output import visible
from gateway.cli.subscribe import as_written, data_of
from gateway.cli.telemetry import TYPE

if TYPE_CHECKING:
    from rich.console import RenderableType

HISTORY = 32
#: Seconds over which rates are shown.
WINDOW = 5.0
BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-=+*#@"


class Row:
    """One address: its last value and the ones before."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.unit = ""
        self.values: deque[float] = deque(maxlen=HISTORY)
        self.arrivals: deque[float] = deque(maxlen=256)
        self.since: float | None = None

    def rate(self, now: float) -> float:
        """Events a second over the last WINDOW seconds, or over what there was of them."""
        if self.since is None:
            return 0.0
        return sum(now - arrival <= WINDOW for arrival in self.arrivals) / min(WINDOW, max(1.0, now - self.since))


class Board:
    """Takes events as they arrive; keeps rows, counts and latencies (seconds, publish to arrival)."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.rows: dict[str, Row] = {}
        self.count = 0
        self.latencies: deque[float] = deque(maxlen=100_000)
        self.recent: deque[float] = deque(maxlen=256)
        #: What others published meanwhile, as text.
        self.notes: deque[str] = deque(maxlen=3)

    def take(self, event: dict[str, Any], arrived: float, now: float) -> float | None:
        """Note one event; `arrived` is wall clock, `now` monotonic. Returns the latency of one of ours."""
        if event["type"] != TYPE:
            self.notes.append(f"{address_of(event, self.topic)}  {data_of(event)}")
            return None
        latency = max(0.0, arrived - datetime.fromisoformat(event["time"]).timestamp())
        row = self.rows.setdefault(event["subject"], Row(f"{self.topic}/{event['subject']}"))
        value = event["data"]
        row.values.append(float(value["value"]))
        row.unit = value["unit"]
        row.arrivals.append(now)
        if row.since is None:
            row.since = now
        self.count += 1
        self.latencies.append(latency)
        self.recent.append(latency)
        return latency

    def rate(self, now: float) -> float:
        return sum(row.rate(now) for row in self.rows.values())


def quantile(values: Sequence[float], q: float) -> float:
    """The nearest-rank quantile; 0 for nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


def sparkline(values: Sequence[float], unit: str, bars: str = BARS) -> str:
    """Values as a row of bars, oldest first; percentages against 100, the rest against their own maximum."""
    top = 100.0 if unit == "%" else max(values, default=0.0)
    if top <= 0:
        return bars[0] * len(values)
    last = len(bars) - 1
    return "".join(bars[min(last, max(0, round(value / top * last)))] for value in values)


def amount(value: float, unit: str) -> str:
    """`37.5 %`, `1.4 GiB`, `820.0 KiB/s`."""
    if not unit.startswith("B"):
        return f"{value:.1f} {unit}"
    for prefix in ("", "Ki", "Mi", "Gi", "Ti"):
        if abs(value) < 1024 or prefix == "Ti":
            break
        value /= 1024
    return f"{value:.1f} {prefix}{unit}" if prefix else f"{value:.0f} {unit}"


def address_of(event: dict[str, Any], topic: str) -> str:
    return visible(f"{topic}/{event['subject']}" if "subject" in event else topic)


def plain(event: dict[str, Any], topic: str, latency: float | None) -> str:
    """One event on one line, for a pipe or a log."""
    clock = visible(str(event.get("time", "")))[11:23]
    end = "" if latency is None else f" {latency * 1000:7.1f} ms"
    return f"{clock:<12}  {address_of(event, topic):<24} {data_of(event):<36}{end}"


def summary(board: Board, published: int, seconds: float) -> dict[str, Any]:
    """The figures of a whole run; latencies in milliseconds."""
    return {
        "published": published,
        "received": board.count,
        "seconds": round(seconds, 1),
        "rate": round(board.count / seconds, 1) if seconds else 0.0,
        "latency_p50_ms": round(quantile(board.latencies, 0.50) * 1000, 2),
        "latency_p99_ms": round(quantile(board.latencies, 0.99) * 1000, 2),
    }


def summary_text(figures: dict[str, Any]) -> str:
    return (
        f"{figures['received']:,} of {figures['published']:,} events received in {figures['seconds']} s "
        f"({figures['rate']}/s); latency p50 {figures['latency_p50_ms']} ms, p99 {figures['latency_p99_ms']} ms"
    )


def _heat(percent: float) -> str:
    return "bold red" if percent >= 90 else "yellow" if percent >= 60 else ""


def picture(board: Board, now: float, head: Sequence[str], foot: Sequence[str], bars: str = BARS) -> RenderableType:
    """The whole screen as rich shows it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    grid.add_column("ADDRESS", style="cyan", no_wrap=True)
    grid.add_column("VALUE", justify="right", no_wrap=True)
    grid.add_column("LAST", style="green", no_wrap=True, width=HISTORY)
    grid.add_column("EVENTS/S", justify="right", style="dim", no_wrap=True)
    for row in sorted(board.rows.values(), key=lambda row: row.address):
        line = sparkline(row.values, row.unit, bars).rjust(HISTORY)
        value = Text(amount(row.values[-1], row.unit), style=_heat(row.values[-1]) if row.unit == "%" else "")
        grid.add_row(row.address, value, line, f"{row.rate(now):.1f}")
    recent = board.recent
    status = (
        f"{board.count:,} events, {board.rate(now):.0f}/s, end to end "
        f"p50 {quantile(recent, 0.5) * 1000:.1f} ms, p99 {quantile(recent, 0.99) * 1000:.1f} ms"
    )
    return Group(
        *(Text(text, style="bold" if at == 0 else "dim", no_wrap=True) for at, text in enumerate(head)),
        Text(),
        grid,
        Text(),
        Text(status),
        *(Text(text, style="yellow", no_wrap=True, overflow="ellipsis") for text in board.notes),
        Text(),
        *(Text(text, style="dim", no_wrap=True, overflow="ignore") for text in foot),
    )


def decode(data: str) -> dict[str, Any]:
    """The structured event in a message; our own may come with its JSON data as base64."""
    event: dict[str, Any] = json.loads(data)
    if event["type"] != TYPE:
        return as_written(data)
    if "data_base64" in event:
        event["data"] = json.loads(base64.b64decode(event["data_base64"]))
    return event


def now_text() -> str:
    """The current time as the `time` attribute, with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
