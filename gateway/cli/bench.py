"""`linkspan bench`: how fast a running gateway takes events over HTTP, and gives them back."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from gateway.cli.client import Client, problem, trusting
from gateway.cli.options import DEFAULT_URL, Ca, Json, Token, Url
from gateway.cli.output import CANNOT_CONNECT, CommandError, Progress, command, line, record

if TYPE_CHECKING:
    import aiohttp

_BATCH = "application/cloudevents-batch+json"
#: Events asked for in one page when reading back.
_PAGE = 5000


def body_of(events: int, size: int) -> bytes:
    """One batch; each event has about `size` bytes of data. Sent again and again, so that making it costs nothing."""
    filler = os.urandom(size // 2 + 1).hex()[: max(0, size - 20)]
    return json.dumps(
        [
            {
                "specversion": "1.0",
                "id": f"bench-{index}",
                "source": "/linkspan/bench",
                "type": "io.linkspan.bench",
                "subject": f"s/{index % 16}",
                "datacontenttype": "application/json",
                "data": {"n": index, "x": filler},
            }
            for index in range(events)
        ],
        separators=(",", ":"),
    ).encode()


async def publish_for(
    session: aiohttp.ClientSession, url: str, body: bytes, connections: int, seconds: float, progress: Progress
) -> tuple[int, list[float], float]:
    """POST `body` over so many connections for so long: requests done, their times, and the time it took."""
    times: list[float] = []
    began = time.perf_counter()
    end = began + seconds

    async def one() -> None:
        while (start := time.perf_counter()) < end:
            async with session.post(url, data=body, headers={"Content-Type": _BATCH}) as response:
                answer = await response.read()
                if response.status >= 400:
                    raise problem(response.status, answer)
            times.append(time.perf_counter() - start)
            progress.show(f"{len(times):,} requests")

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(connections):
                group.create_task(one(), name=f"bench {number}")
    except ExceptionGroup as failures:
        # They fail alike, when the gateway goes away: the first one tells it all.
        raise failures.exceptions[0] from None
    return len(times), times, time.perf_counter() - began


async def read_for(session: aiohttp.ClientSession, url: str, seconds: float) -> tuple[int, float]:
    """Read pages from the beginning: events, and the time it took. Ends early at the end of the topic."""
    count, start = 0, "earliest"
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        query = {"start": start, "limit": str(_PAGE)}
        async with session.get(url, params=query, headers={"Accept": _BATCH}) as response:
            body = await response.read()
            if response.status >= 400:
                raise problem(response.status, body)
            start = response.headers["Linkspan-Cursor"]
        got = body.count(b'"bench-')
        count += got
        if got == 0:
            break
    return count, time.perf_counter() - began


async def measure(
    url: str, token: str | None, ca: Path | None, topic: str, connections: int, batch: int, size: int, seconds: float
) -> dict[str, Any]:
    """Both directions. Raises CommandError."""
    import aiohttp

    from gateway.cli.board import quantile

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    progress = Progress("bench")
    connector = aiohttp.TCPConnector(limit=connections, ssl=trusting(ca) if url.startswith("https:") else True)
    try:
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            body = body_of(batch, size)
            where = f"{url}/v1/topics/{topic}/events"
            requests, times, took = await publish_for(session, where, body, connections, seconds, progress)
            read, read_took = await read_for(session, f"{where}?subject=**", seconds)
    except (aiohttp.ClientError, OSError) as error:
        raise CommandError(f"{url} went away: {error}", CANNOT_CONNECT, code="cannot_connect") from None
    finally:
        progress.clear()
    return {
        "connections": connections,
        "batch": batch,
        "event_bytes": size,
        "publish_events_per_s": round(requests * batch / took),
        "publish_requests_per_s": round(requests / took, 1),
        "publish_p50_ms": round(quantile(times, 0.5) * 1000, 2),
        "publish_p99_ms": round(quantile(times, 0.99) * 1000, 2),
        "read_events_per_s": round(read / read_took) if read_took else 0,
    }


@command
def bench(
    connections: Annotated[int, typer.Option(min=1, max=1000)] = 8,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Events in one request.")] = 500,
    size: Annotated[int, typer.Option(min=20, max=100_000, help="Bytes of data in one event.")] = 200,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600.0, help="For each direction.")] = 5.0,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca: Ca = None,
    as_json: Json = False,
) -> None:
    """Measure a running gateway from here. Makes a topic of its own and deletes it."""
    topic = f"bench-{os.getpid()}-{os.urandom(3).hex()}"
    client = Client(url, token, ca)
    client.request("PUT", f"/topics/{topic}", body=b'{"partitions": 1}')
    try:
        figures = asyncio.run(measure(client.url, token, ca, topic, connections, batch, size, seconds))
    finally:
        client.request("DELETE", f"/topics/{topic}")
        client.close()
    if as_json:
        record(figures)
        return
    line(f"{connections} connections, {batch} events of {size} bytes a request, to {urlsplit(client.url).netloc}")
    line(
        f"  publish  {figures['publish_events_per_s']:>9,} events/s   "
        f"p50 {figures['publish_p50_ms']} ms, p99 {figures['publish_p99_ms']} ms a request"
    )
    line(f"  read     {figures['read_events_per_s']:>9,} events/s   in pages of {_PAGE:,}")
