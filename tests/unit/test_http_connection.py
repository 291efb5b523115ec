"""Connections: bounded in number, seen by operators, and ended by them."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from gateway.config.model import Limits
from protocols.http.connection import PROBE, refusal_of
from tests.conftest import eventually
from tests.unit.http_support import client, event, house, raw, split, stored_event

pytestmark = pytest.mark.timeout(20)
GET = b"GET /v1/topics HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def test_one_connection_too_many_is_told_to_come_again() -> None:
    async with house(Limits(connections=2)) as made:
        held = [await asyncio.open_connection("127.0.0.1", made.port) for _ in range(2)]
        await eventually(lambda: len(made.connections) == 2)
        status, headers, body = split(await raw(made.port, b""))
        assert (status, headers["retry-after"], json.loads(body)["code"]) == (503, "1", "unavailable")
        held[0][1].close()
        await eventually(lambda: len(made.connections) == 1)
        held[1][1].write(GET)
        assert (await held[1][0].readline()).startswith(b"HTTP/1.1 200")
        held[1][1].close()


async def test_a_client_that_sends_nothing_or_half_a_request_is_let_go() -> None:
    async with house(Limits(idle_timeout=0.3)) as made:
        assert await raw(made.port, b"") == b""
        assert await raw(made.port, b"GET /v1/topics HTTP/1.1\r\nHost: loc") == b""
        assert (await raw(made.port, GET)).startswith(b"HTTP/1.1 200"), "kept alive, then closed"


async def test_operators_see_connections_and_end_them() -> None:
    async with house() as made, client(made) as web:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        mine = writer.get_extra_info("sockname")
        await eventually(lambda: len(made.connections) == 1)
        listed = (await (await web.get("/v1/connections")).json())["connections"]
        [found] = [entry for entry in listed if entry["peer"] == f"{mine[0]}:{mine[1]}"]
        assert (found["protocol"], found["principal"]) == ("http", "anonymous")
        assert found["since"].endswith("Z")
        assert (await web.delete(f"/v1/connections/{found['id']}")).status == 204
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        missing = await web.delete(f"/v1/connections/{found['id']}")
        assert (missing.status, (await missing.json(content_type=None))["code"]) == (404, "not_found")
        writer.close()


def test_what_aiohttp_refuses_is_a_problem_of_ours() -> None:
    assert refusal_of(400, LineTooLong(b"x", 10)).status == 431
    assert refusal_of(400, BadHttpMessage("Too many headers received")).status == 431
    assert refusal_of(400, BadHttpMessage("odd")).status == 400
    assert refusal_of(500, KeyError("secret")).status == 500
    assert b"secret" not in refusal_of(500, KeyError("secret")).body


async def half_closed(port: int, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request and that nothing follows, as `nc -N` does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    writer.write_eof()
    return reader, writer


def post(number: int, more: bytes = b"") -> bytes:
    body = json.dumps(event(number)).encode()
    head = b"POST /v1/topics/t/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/cloudevents+json\r\n"
    return head + b"Content-Length: %d\r\n%b\r\n" % (len(body), more) + body


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
async def test_a_client_that_sends_nothing_more_gets_its_answers(more: bytes) -> None:
    async with house() as made:
        release = made.bus.hold("append")
        reader, writer = await half_closed(made.port, post(1) + post(2, more))
        await eventually(lambda: made.bus.calls.get("append"))
        release()
        async with asyncio.timeout(5):
            answers = await reader.read()
        assert answers.count(b"HTTP/1.1 200 OK") == 2
        assert b"[[0,0]]" in answers
        assert b"[[0,1]]" in answers
        writer.close()
        await eventually(lambda: len(made.connections) == 0)


async def test_a_client_that_sends_nothing_more_gets_the_page_it_waits_for() -> None:
    async with house() as made:
        ask = b"GET /v1/topics/t/events?start=latest&wait=10s HTTP/1.1\r\nHost: localhost\r\n\r\n"
        reader, writer = await half_closed(made.port, ask)
        await eventually(lambda: made.hub.followed)
        await made.store(stored_event(7))
        async with asyncio.timeout(5):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b'"id":"7"' in answer
        writer.close()


async def test_a_client_that_goes_before_its_request_is_whole_is_let_go_at_once() -> None:
    async with house() as made:
        for part in (b"", b"GET / HT", post(1)[:-3]):
            reader, writer = await half_closed(made.port, part)
            async with asyncio.timeout(2):
                assert await reader.read() == b""
            writer.close()
        await eventually(lambda: len(made.connections) == 0)


async def test_a_stream_goes_on_for_a_client_that_only_reads() -> None:
    async with house() as made:
        ask = b"GET /v1/topics/t/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        reader, writer = await half_closed(made.port, ask)
        await reader.readuntil(b"retry: ")
        for number in range(3):
            await made.store(stored_event(number))
            async with asyncio.timeout(5):
                await reader.readuntil(b'"id":"%d"' % number)
            await asyncio.sleep(PROBE / 2)
        writer.close()

        async def gone() -> bool:
            await made.store(stored_event())  # whatever is written to it shows that it has gone
            return len(made.connections) == 0

        await eventually(gone)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_stream_ends_soon_when_its_client_has_gone(at_once: bool) -> None:
    async with house() as made:
        ask = b"GET /v1/topics/t/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        writer.write(ask)
        if at_once:
            await writer.drain()
        else:
            await reader.readuntil(b"retry: ")
            await eventually(lambda: made.listener._door.readings.clients)
        writer.close()
        await eventually(lambda: len(made.connections) == 0, 5)
        assert not made.listener._door.readings.clients
