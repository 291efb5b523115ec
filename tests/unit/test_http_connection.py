"""Connections: bounded in number, seen by operators, and ended by them."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from gateway.config.model import Limits
from protocols.http.connection import refusal_of
from tests.conftest import eventually
from tests.unit.http_support import client, house, raw, split

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
