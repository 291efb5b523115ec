"""Whole answers: their bytes, and that nobody writes a header of their own into them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp.web import BaseRequest, Server

from protocols.http.reply import Reply, http_date
from tests.conftest import eventually
from tests.unit.http_support import raw, split

pytestmark = pytest.mark.timeout(20)


class Answers:
    """A bare server that gives the reply it is told to."""

    def __init__(self) -> None:
        self.reply = Reply(200, b"{}")
        self.port = 0
        self.server: Server

    async def serve(self, request: BaseRequest) -> Reply:
        await request.read()
        return self.reply


@pytest.fixture
async def answers() -> AsyncIterator[Answers]:
    made = Answers()
    server = made.server = Server(made.serve, access_log=None)  # type: ignore[arg-type]
    sockets = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    made.port = sockets.sockets[0].getsockname()[1]
    yield made
    sockets.close()
    await server.shutdown(1)


GET = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


async def test_an_answer_has_its_length_type_and_date(answers: Answers) -> None:
    answers.reply = Reply(201, b'{"a":1}', headers=[("Location", "/x")])
    status, headers, body = split(await raw(answers.port, GET))
    assert (status, body) == (201, b'{"a":1}')
    assert headers["content-length"] == "7"
    assert headers["content-type"] == "application/json"
    assert headers["location"] == "/x"
    assert headers["date"].endswith("gmt")
    assert headers["connection"] == "close"


async def test_head_and_empty_answers_have_no_body(answers: Answers) -> None:
    status, headers, body = split(await raw(answers.port, GET.replace(b"GET", b"HEAD")))
    assert (status, headers["content-length"], body) == (200, "2", b"")
    answers.reply = Reply(204)
    status, headers, body = split(await raw(answers.port, GET))
    assert (status, body) == (204, b"")
    assert "content-length" not in headers


async def test_a_header_value_cannot_end_its_line(answers: Answers) -> None:
    answers.reply = Reply(200, b"{}", headers=[("X-Told", "a\r\nX-Forged: 1"), ("X-Other", "ü\x00")])
    _, headers, _ = split(await raw(answers.port, GET))
    assert headers["x-told"] == "a??x-forged: 1"
    assert headers["x-other"] == "??"
    assert "x-forged" not in headers


async def test_http_1_0_clients_are_told_whether_the_connection_stays(answers: Answers) -> None:
    old = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    answer = await raw(answers.port, old + GET)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert b"Connection: keep-alive" in answer
    assert b"Connection: close" in await raw(answers.port, b"GET / HTTP/1.0\r\n\r\n")


async def test_a_forced_close_ends_the_connection(answers: Answers) -> None:
    answers.reply.force_close()
    answer = await raw(answers.port, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 2)
    assert answer.count(b"HTTP/1.1 200") == 1


async def test_a_client_that_takes_nothing_is_cut(answers: Answers) -> None:
    answers.reply = Reply(200, b"x" * 32_000_000)
    answers.reply.bound(0.2)
    _, writer = await asyncio.open_connection("127.0.0.1", answers.port, limit=1024)
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    await eventually(lambda: answers.server.connections)
    await eventually(lambda: not answers.server.connections)
    writer.close()


def test_the_date_is_made_once_a_second() -> None:
    assert http_date() is http_date() or http_date() is http_date()
