"""A small load client: prebuilt requests over raw connections, one after another on each.

It parses no more of an answer than its status and length, so that it leaves the processor to the
server. Run as a program it prints one JSON line: requests, errors, seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import cast

import uvloop

SYMBOLS = ("AAPL", "MSFT", "BRK.B", "TSLA", "NVDA", "AMZN", "GOOG", "META", "JPM", "V")


def cloud_event(number: int, size: int) -> dict[str, object]:
    """An event of the intelligence profile with `size` bytes of data."""
    filler = "x" * (size - len('{"price":101.25,"note":""}'))
    return {
        "specversion": "1.0",
        "id": f"0190a3c4-7b2e-7000-8000-{number:012x}",
        "source": "//bench/publisher",
        "type": "bench.signal",
        "subject": f"equities/{SYMBOLS[number % len(SYMBOLS)]}",
        "datacontenttype": "application/json",
        "data": {"price": 101.25, "note": filler},
    }


def batch_body(events: int, size: int) -> bytes:
    """A CloudEvents JSON batch."""
    return json.dumps([cloud_event(n, size) for n in range(events)], separators=(",", ":")).encode()


def request(path: str, body: bytes, content_type: str, port: int) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client(asyncio.Protocol):
    """Sends the request again as soon as the answer is whole."""

    def __init__(self, request: bytes, tally: dict[str, int]) -> None:
        self._request, self._tally = request, tally
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._buffer) < end + 4 + length:
            return
        self._tally["requests"] += 1
        if not head.startswith(b"http/1.1 200"):
            self._tally["errors"] += 1
            if self._tally["errors"] == 1:
                print(self._buffer[:600].decode(errors="replace"), file=sys.stderr)
        self._buffer = b""
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tally["closed"] += 1


async def run(port: int, message: bytes, connections: int, seconds: float, warm: float) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    tally = {"requests": 0, "errors": 0, "closed": 0}
    made = [await loop.create_connection(lambda: Client(message, tally), "127.0.0.1", port) for _ in range(connections)]
    await asyncio.sleep(warm)
    before, began = tally["requests"], time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    result = {"requests_per_s": (tally["requests"] - before) / took, "errors": tally["errors"] + tally["closed"]}
    for transport, _ in made:
        transport.abort()
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/v1/topics/bench/events")
    parser.add_argument("--batch", type=int, default=500, help="events in one request; 0: a single binary-mode event")
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warm", type=float, default=1)
    options = parser.parse_args()
    if options.batch:
        body, kind = batch_body(options.batch, options.size), "application/cloudevents-batch+json"
    else:
        body, kind = json.dumps(cloud_event(0, options.size)).encode(), "application/cloudevents+json"
    message = request(options.path, body, kind, options.port)
    result = uvloop.run(run(options.port, message, options.connections, options.seconds, options.warm))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
