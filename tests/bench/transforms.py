"""What a transform costs an event: the steps in this process, over batches of 200-byte JSON payloads.

Prints one JSON line: microseconds an event for each transform, in a batch and one by one, the
median of several rounds; `floor` is decoding the payload's outermost level and encoding it again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from gateway.operate.runtime import tune_collector
from routing.batch import Plain, Value
from routing.transforms import Transform, compile_transform

BATCH = 200
ATTRIBUTES: dict[str, Value] = {
    "id": "7",
    "source": "/desk/9",
    "type": "trade",
    "specversion": "1.0",
    "datacontenttype": "application/json",
    "subject": "equities/AAPL",
    "symbol": "AAPL",
    "time": "2026-11-24T13:00:00Z",
}
DATA = (
    b'{"symbol":"AAPL","price":187.50,"volume":12345678901234567890,"account":"ACC-104-332","side":"buy","venue":"XNAS",'
    b'"note":"at best","legs":[{"px":1.10,"q":5}],"ts":"2026-11-24T13:00:00Z","ok":true}'
)
TRANSFORMS: dict[str, list[Any]] = {
    "keep": [{"keep": {"data": ["symbol", "price", "ts"]}}],
    "keep, rename, set": [
        {"keep": {"data": ["symbol", "price", "ts"]}},
        {"rename": {"data": {"price": "px"}}},
        {"set": {"attribute": "desk", "to": "'a'"}},
    ],
    "keep, rename, set to a member": [
        {"keep": {"data": ["symbol", "price", "ts"]}},
        {"rename": {"data": {"price": "px"}}},
        {"set": {"data": "last", "to": "data.px"}},
    ],
    "set to a product": [{"set": {"data": "double", "to": "data.price * 2"}}],
    "mask": [{"mask": {"data": ["account"]}}],
    "mask with a hash": [
        {"mask": {"data": ["account"], "with": {"hash": {"key": "a key of the benchmark", "key_id": "k1"}}}}
    ],
    "drop deep": [{"drop": {"data": ["legs[*].q", "note"]}}],
    "flatten": ["flatten"],
    "convert to MessagePack": [{"convert": "msgpack"}],
}


def cost(run: Callable[[], object], events: int, rounds: int) -> float:
    """Microseconds an event."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times) / events * 1e6, 3)


def one_by_one(transform: Transform) -> None:
    for _ in range(BATCH):
        transform.apply(ATTRIBUTES, DATA)


def floor() -> None:
    decode, encode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode, msgspec.json.Encoder().encode
    for _ in range(BATCH):
        encode(decode(DATA))


def measure(rounds: int) -> dict[str, Any]:
    events = [Plain(ATTRIBUTES, DATA)] * BATCH
    figures: dict[str, Any] = {"bytes": len(DATA), "floor": cost(floor, BATCH, rounds)}
    for name, steps in TRANSFORMS.items():
        transform = compile_transform(steps)
        batch = cost(partial(transform.apply_batch, events), BATCH, rounds)
        figures[name] = {"batch": batch, "single": cost(partial(one_by_one, transform), BATCH, rounds)}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    tune_collector()
    print(json.dumps(measure(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
