"""What filters cost: microseconds an event in a batch, beside a floor from the same run.

The floor of attributes is a list comprehension over values that are at hand, that of payloads the
mere decoding of one field. Batches are made anew each time, so that nothing of an earlier round
is known. `equal_100` and `equal_100000` find the subscriptions of an event among so many with an
equality each, `different_500` evaluates 500 filters that no index helps.
Prints one JSON line; each figure is the least of several rounds, as the machine is shared.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import msgspec

from gateway.address import parse_pattern
from gateway.delivery.index import SubjectIndex
from gateway.event import Event
from routing.batch import Batch, Paths
from routing.filters.filter import Filter, Written, compile_filters

FILTERS: dict[str, list[Written]] = {
    "exact": [{"exact": {"type": "t1"}}],
    "exact_three": [{"exact": {"type": "t1", "source": "/s", "datatype": "signal"}}],
    "prefix": [{"prefix": {"type": "t1"}}],
    "any_three": [{"any": [{"exact": {"type": "t1"}}, {"suffix": {"source": "x"}}, {"prefix": {"subject": "s/9"}}]}],
    "not": [{"not": {"exact": {"type": "t1"}}}],
    "shorthand": [{"symbol": ["S1", "S2"], "datatype": "signal", "qualitytier": "gold", "confidence": 0.8}],
    "confidence": [{"confidence": 0.8}],
    "sql": [{"sql": "type = 't1'"}],
    "payload": ["data.price > 100"],
    "attribute_and_payload": [{"exact": {"type": "t1"}}, "data.price > 100"],
}


def made(count: int) -> list[Event]:
    """Events with a JSON payload of 200 bytes; one in ten is of type t1."""
    events = []
    for number in range(count):
        data = {"symbol": f"S{number % 50}", "price": number % 200 + 0.5, "size": 100, "side": "buy", "venue": "XNAS"}
        text = json.dumps({**data, "account": "acc-123456", "tags": ["a", "b"], "book": {"bid": 187.51, "ask": 187.53}})
        text = text[:-1] + ', "note": "' + "x" * (200 - len(text) - 12) + '"}'
        attributes: dict[str, str | int | bool] = {
            "id": str(number), "source": "/s", "type": f"t{number % 10}", "specversion": "1.0",
            "subject": f"s/S{number % 50}", "datacontenttype": "application/json", "datatype": "signal",
            "qualitytier": "gold", "confidence": f"0.{number % 100:02}",
        }  # fmt: skip
        events.append(Event(attributes, text.encode()))
    return events


def least(run: Callable[[], object], events: int, rounds: int, repeat: int = 20) -> float:
    """Microseconds an event."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(repeat):
            run()
        times.append((time.perf_counter() - began) * 1e6 / repeat / events)
    return min(times)


def filters(events: list[Event], rounds: int) -> dict[str, float]:
    figures = {}
    for name, written in FILTERS.items():
        chosen = compile_filters(written)
        paths = Paths(chosen.paths)

        def run(chosen: Filter = chosen, paths: Paths = paths) -> object:
            return chosen.places(Batch(events, paths))

        figures[name] = least(run, len(events), rounds)
    return figures


def floors(events: list[Event], rounds: int) -> dict[str, float]:
    types = [event.attributes["type"] for event in events]
    datas = [event.data or b"" for event in events]
    one = msgspec.defstruct("One", [("price", float)], gc=False)
    decode = msgspec.json.Decoder(one).decode
    return {
        "floor_attribute": least(lambda: [i for i, text in enumerate(types) if text == "t1"], len(events), rounds),
        "floor_payload": least(lambda: list(map(decode, datas)), len(events), rounds),
    }


def prefixes(number: int) -> list[Written]:
    return [{"prefix": {"type": "t1"}}, {"prefix": {"id": str(number % 10)}}]


def prices(number: int) -> list[Written]:
    return [f"data.price > {180 + number / 1000}"]


def numbers(number: int) -> list[Written]:
    return [{"exact": {"type": "t1", "id": str(number)}}]


def different(events: list[Event], rounds: int) -> dict[str, float]:
    """500 different filters over the same batch: microseconds an evaluation."""
    figures = {}
    for written in (prefixes, prices, numbers):
        chosen = [compile_filters(written(number)) for number in range(500)]
        paths = Paths(path for one in chosen for path in one.paths)

        def run(chosen: list[Filter] = chosen, paths: Paths = paths) -> None:
            batch = Batch(events, paths)
            for one in chosen:
                one.places(batch)

        figures[f"different_500_{written.__name__}"] = least(run, len(events) * 500, rounds, 1)
    return figures


def equalities(many: int, rounds: int, pattern: str = "t/**") -> dict[str, float]:
    """Microseconds for an event to find the one subscription that wants its symbol."""
    figures = {}
    for known in (100, many):
        index: SubjectIndex[int] = SubjectIndex("t")
        patterns = (parse_pattern(pattern),)
        for number in range(known):
            index.add(number, patterns, compile_filters([{"symbol": f"S{number}"}]).equality)
        rows: list[dict[str, str | int | bool]] = [
            {"type": "t", "symbol": f"S{number * (known // 100)}", "subject": "s/x"} for number in range(100)
        ]
        match = index.match_event
        figures[f"equal_{known}"] = least(lambda match=match, rows=rows: [match(row) for row in rows], 100, rounds)  # type: ignore[misc]
    figures["equal_ratio"] = figures[f"equal_{many}"] / figures["equal_100"]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--many", type=int, default=100_000)
    options = parser.parse_args()
    events = made(options.batch)
    figures = floors(events, options.rounds) | filters(events, options.rounds)
    figures |= different(events, options.rounds) | equalities(options.many, options.rounds)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
