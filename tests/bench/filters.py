"""What the expressions of filters cost an event, beside plain Python and another expression engine.

`python -m tests.bench.filters`: every figure is the best of `--rounds` over a batch of `--events`
events with a JSON payload of about 200 bytes. "cold" makes the columns and decodes the payloads,
as the first filter over a batch does; "warm" is what each further filter costs. "by hand" is the
loop that a person would write for the one expression. cel-python, if it is installed
(`pip install cel-python`), evaluates the same condition of CEL, over a part of the events; the
CPU's other users show in all columns alike, so the ratios are what to watch.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from routing.batch import Batch, Paths
from routing.filters.compile import Expression, compile_cesql, compile_expr


class Event(msgspec.Struct):
    """Shaped as the gateway's."""

    raw: dict[str, Any]
    value: bytes

    @property
    def attributes(self) -> dict[str, Any]:
        return self.raw

    @property
    def data(self) -> bytes:
        return self.value


class Case(NamedTuple):
    name: str
    text: str
    cel: str
    by_hand: Callable[[Sequence[Event]], list[int]]
    floor_us: float | None
    """What the issue asks for: at most so many microseconds."""
    compiled: Callable[[str], Expression] = compile_expr


_decode = msgspec.json.Decoder().decode


def _type_by_hand(events: Sequence[Event]) -> list[int]:
    return [k for k, event in enumerate(events) if event.raw["type"] == "x"]


def _three_by_hand(events: Sequence[Event]) -> list[int]:
    return [
        k
        for k, event in enumerate(events)
        if (a := event.raw)["datatype"] == "signal"
        and a["symbol"] in ("AAPL", "MSFT", "S3")
        and float(a["confidence"]) >= 0.8
    ]


def _price_by_hand(events: Sequence[Event]) -> list[int]:
    return [k for k, event in enumerate(events) if _decode(event.value)["price"] > 100]


def _both_by_hand(events: Sequence[Event]) -> list[int]:
    return [k for k, event in enumerate(events) if event.raw["type"] == "x" and _decode(event.value)["price"] > 100]


CASES = [
    Case("equality (CESQL)", "type = 'x'", "type == 'x'", _type_by_hand, 0.15, compile_cesql),
    Case("equality", "type = 'x'", "type == 'x'", _type_by_hand, 0.15),
    Case(
        "three terms",
        "datatype = 'signal' AND symbol IN ('AAPL', 'MSFT', 'S3') AND confidence >= 0.8",
        "datatype == 'signal' && symbol in ['AAPL', 'MSFT', 'S3'] && double(confidence) >= 0.8",
        _three_by_hand,
        0.5,
    ),
    Case("payload", "data.price > 100", "data.price > 100.0", _price_by_hand, 0.6),
    Case(
        "attribute and payload",
        "type = 'x' AND data.price > 100",
        "type == 'x' && data.price > 100.0",
        _both_by_hand,
        None,
    ),
]


def events(count: int) -> list[Event]:
    made = []
    for k in range(count):
        attributes = {
            "specversion": "1.0", "id": str(k), "source": "/desk", "type": "x" if k % 10 == 0 else f"y{k % 7}",
            "time": "2026-03-02T09:30:00Z", "symbol": "AAPL" if k % 5 == 0 else f"S{k % 13}", "datatype": "signal",
            "confidence": f"0.{k % 100:02d}",
        }  # fmt: skip
        payload = {
            "symbol": "AAPL", "price": k % 200 + 0.5, "qty": k, "side": "buy", "venue": "XNAS", "tags": ["a", "b"],
            "note": "a note of the desk, as desks write them, and more", "at": "2026-03-02T09:30:00Z",
            "account": f"acc-{k:06d}",
        }  # fmt: skip
        made.append(Event(attributes, msgspec.json.encode(payload)))
    return made


def best(run: Callable[[], object], rounds: int) -> float:
    """Seconds of the quickest of so many runs."""
    found = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        found = min(found, time.perf_counter() - started)
    return found


def cel_seconds(case: Case, sample: Sequence[Event]) -> float | None:
    """What cel-python takes for the sample, payloads decoded only where the condition names one."""
    if importlib.util.find_spec("celpy") is None:
        return None
    celpy: Any = importlib.import_module("celpy")
    environment = celpy.Environment()
    program = environment.program(environment.compile(case.cel))
    with_data = "data." in case.cel

    def run() -> list[int]:
        found = []
        for k, event in enumerate(sample):
            values = dict(event.raw, data=_decode(event.value)) if with_data else event.raw
            if program.evaluate(celpy.json_to_cel(values)):
                found.append(k)
        return found

    assert run() == case.by_hand(sample), case.cel
    return best(run, 3)


def measure(case: Case, made: Sequence[Event], rounds: int) -> dict[str, Any]:
    expression = case.compiled(case.text)
    paths, sample = Paths(expression.paths), made[:50]
    warm = Batch(made, paths)
    assert expression.places(warm) == (case.by_hand(made), 0), case.text
    per_us = 1_000_000 / len(made)
    cold_us = best(lambda: expression.places(Batch(made, paths)), rounds) * per_us
    warm_us = best(lambda: expression.places(warm), rounds) * per_us
    hand_us = best(lambda: case.by_hand(made), rounds) * per_us
    cel = cel_seconds(case, sample)
    return {
        "name": case.name, "expression": case.text, "cold_us": cold_us, "warm_us": warm_us, "by_hand_us": hand_us,
        "cel_us": None if cel is None else cel * 1_000_000 / len(sample), "at_most_us": case.floor_us,
        "compile_us": best(lambda: case.compiled(case.text), 20) * 1_000_000,
    }  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> str:
    heads = f"{'cold':>8}{'warm':>8}{'at most':>9}{'by hand':>9}{'ratio':>7}{'cel-python':>12}{'ratio':>8}"
    lines = [f"{'us an event':22}{heads}"]
    for row in rows:
        at_most = "" if row["at_most_us"] is None else f"{row['at_most_us']:.2f}"
        cel = "" if row["cel_us"] is None else f"{row['cel_us']:12.1f}{row['cel_us'] / row['cold_us']:7.0f}x"
        lines.append(
            f"{row['name']:22}{row['cold_us']:8.3f}{row['warm_us']:8.3f}{at_most:>9}"
            f"{row['by_hand_us']:9.3f}{row['by_hand_us'] / row['cold_us']:6.1f}x{cel}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    made = events(options.events)
    rows = [measure(case, made, options.rounds) for case in CASES]
    print(json.dumps({"filters": rows}) if options.json else table(rows))
    if not options.json and rows[0]["cel_us"] is None:
        print("cel-python is not installed: not compared")


if __name__ == "__main__":
    main()
