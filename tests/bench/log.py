"""The bare bus, in this process: appends of 500 ready events from 8 callers, and one reader.

Prints one JSON line. `--kafka HOST:PORT` measures Kafka, else the embedded log in `--path`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path

import uvloop

from gateway.bus.contract import Bus, TopicSettings
from gateway.delivery.window import CHUNK
from gateway.event import Event
from gateway.formats import decode_batch
from gateway.operate.runtime import tune_collector
from tests.bench.load import batch_body

TOPIC = "bench-bare"


def make_bus(path: Path, kafka: str | None) -> Bus:
    if kafka:
        from gateway.bus.kafka import KafkaBus

        return KafkaBus(kafka)
    from gateway.bus.embedded import EmbeddedBus

    return EmbeddedBus(path)


async def append(bus: Bus, seconds: float) -> tuple[float, list[float]]:
    """Events a second, and how long each append took."""
    ready = decode_batch(batch_body(500, 200), 1000)
    took: list[float] = []
    stored = 0
    end = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal stored
        while time.perf_counter() < end:
            began = time.perf_counter()
            positions = await bus.append(TOPIC, [Event(event.raw, event.value) for event in ready])
            took.append(time.perf_counter() - began)
            stored += len(positions)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(8)))
    return stored / (time.perf_counter() - began), sorted(took)


async def read(bus: Bus, seconds: float) -> float:
    """Decoded events a second of one reader, from the first offset on, again and again."""
    count = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for partition, bounds in enumerate(await bus.bounds(TOPIC)):
            offset = bounds.first
            while time.perf_counter() - began < seconds:
                batches = await bus.read(TOPIC, partition, offset, CHUNK)
                if not batches:
                    break
                count += sum(len(batch.events) for batch in batches)
                offset = batches[-1].next_offset
    return count / (time.perf_counter() - began)


async def run(path: Path, kafka: str | None, seconds: float) -> None:
    bus = make_bus(path, kafka)
    await bus.start()
    tune_collector()
    try:
        await bus.create_topic(TOPIC, TopicSettings(partitions=1))
        rate, took = await append(bus, seconds)
        read_rate = await read(bus, seconds)
        await bus.delete_topic(TOPIC)
    finally:
        await bus.close()
    middle, late = took[len(took) // 2], took[int(len(took) * 0.99)]
    print(
        json.dumps(
            {
                "append_events_per_s": rate,
                "read_events_per_s": read_rate,
                "append_p50_ms": middle * 1000,
                "append_p99_ms": late * 1000,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--kafka")
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    uvloop.run(run(options.path, options.kafka, options.seconds))


if __name__ == "__main__":
    main()
