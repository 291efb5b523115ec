"""What judging an event by a schema costs: payloads of 200 bytes in this process.

Prints one JSON line, microseconds an event, the median of several rounds. `compiled` is the
compiled validator alone; `floor` is reading the payload, which everything else includes; `batch`
is a publish of 500 events in columns, judged as the ingress does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

from auth.principal import ANONYMOUS
from gateway.bus.memory import MemoryBus
from gateway.bus.tables import Table
from gateway.delivery.tail import TailHub
from gateway.formats import decode_batch
from gateway.judging import judge
from gateway.schemas import TABLE, Schemas
from gateway.validation import TopicSchema
from routing.formats import decode_json
from routing.schemas import compile_schema
from routing.schemas.json_schema import JsonSchema

BATCH = 500
VALUE: dict[str, Any] = {
    "symbol": "AAPL", "price": 187.5, "volume": 12345, "account": "ACC-104-332", "side": "buy", "venue": "XNAS",
    "note": "at best, before the close", "ts": "2026-11-24T13:00:00Z", "ok": True, "lots": [1, 2, 5],
}  # fmt: skip
JSON = {
    "type": "object",
    "properties": {
        "symbol": {"type": "string", "maxLength": 8}, "price": {"type": "number", "exclusiveMinimum": 0},
        "volume": {"type": "integer", "minimum": 0}, "account": {"type": "string"}, "side": {"enum": ["buy", "sell"]},
        "venue": {"type": "string"}, "note": {"type": "string"}, "ts": {"type": "string"}, "ok": {"type": "boolean"},
        "lots": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["symbol", "price", "side"],
    "additionalProperties": False,
}  # fmt: skip
_TYPES = {"price": "double", "volume": "long", "ok": "boolean", "lots": {"type": "array", "items": "long"}}
AVRO = {
    "type": "record", "name": "Trade", "fields": [{"name": name, "type": _TYPES.get(name, "string")} for name in VALUE]
}  # fmt: skip
PROTO = """
syntax = "proto3";
message Trade {
  string symbol = 1; double price = 2; int64 volume = 3; string account = 4; string side = 5; string venue = 6;
  string note = 7; string ts = 8; bool ok = 9; repeated int64 lots = 10;
}
"""


def cost(call: Callable[[], object], rounds: int, of: int = 1) -> float:
    """Microseconds for each of `of` events."""
    found = []
    for _ in range(rounds):
        count = max(1, 20_000 // of)
        began = time.perf_counter()
        for _ in range(count):
            call()
        found.append((time.perf_counter() - began) / count / of * 1e6)
    return round(statistics.median(found), 3)


async def batch(rounds: int) -> float:
    """A publish in columns; what decoding it costs is not in it."""
    bus = MemoryBus()
    await bus.start()
    hub = TailHub(bus)
    hub.start()
    table = Table(bus, TABLE, hub.wake_on, "//bench")
    table.start()
    schemas = Schemas(table, lambda who, name: True)
    await schemas.add("trade", "json", json.dumps(JSON), None, None, ANONYMOUS)
    event = {"specversion": "1.0", "source": "/bench", "type": "trade", "data": VALUE}
    text = json.dumps([{**event, "id": str(n)} for n in range(BATCH)]).encode()
    decode_batch(text, BATCH)
    events = decode_batch(text, BATCH)
    setting = TopicSchema("trade")
    figure = cost(lambda: judge(schemas, setting, events, tombstones=False), rounds, BATCH)
    await table.close()
    await hub.close()
    await bus.close()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    data = json.dumps(VALUE, separators=(",", ":")).encode()
    made = cast(JsonSchema, compile_schema("json", json.dumps(JSON)))
    avro, proto = compile_schema("avro", json.dumps(AVRO)), compile_schema("protobuf", PROTO)
    avro_data, proto_data = avro.encode(VALUE), proto.encode(VALUE)
    figures: dict[str, float] = {
        "bytes": len(data),
        "floor_us": cost(lambda: decode_json(data), rounds),
        "json_compiled_us": cost(lambda: made.valid(VALUE), rounds),
        "json_us": cost(lambda: made.validate(data, "application/json"), rounds),
        "json_batch_us": asyncio.run(batch(rounds)),
        "avro_us": cost(lambda: avro.validate(avro_data, "application/avro"), rounds),
        "avro_decode_us": cost(lambda: avro.decode(avro_data), rounds),
        "avro_encode_us": cost(lambda: avro.encode(VALUE), rounds),
        "protobuf_us": cost(lambda: proto.validate(proto_data, "application/protobuf"), rounds),
        "protobuf_decode_us": cost(lambda: proto.decode(proto_data), rounds),
        "protobuf_encode_us": cost(lambda: proto.encode(VALUE), rounds),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
