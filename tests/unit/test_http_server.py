"""The way of a request: who may come in, which path, which method, and what a defect looks like."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme
from aiohttp import ClientSession, TCPConnector

from gateway.config.model import Limits
from gateway.plugin import Principal
from protocols.http.plugin import HttpSettings
from tests.conftest import eventually
from tests.unit.http_support import House, client, house, raw, split

pytestmark = pytest.mark.timeout(20)
EVENTS = "/v1/topics/t/events"
GET = b"GET /v1/topics HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
async def there() -> AsyncIterator[House]:
    settings = HttpSettings(allowed_hosts=("gate.example",), allowed_origins=("https://app.example",))
    async with house(Limits(header=4096, idle_timeout=20), settings) as made:
        yield made


@pytest.fixture
async def web(there: House) -> AsyncIterator[ClientSession]:
    async with client(there) as session:
        yield session


async def code(answer: Any) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status, (await answer.json(content_type=None))["code"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "gate.example.evil", "localhost@evil", ""])
async def test_a_foreign_host_is_refused(web: ClientSession, host: str) -> None:
    assert await code(await web.get("/v1/topics", headers={"Host": host})) == (403, "host_not_allowed")


async def test_own_and_allowed_hosts_are_served(web: ClientSession) -> None:
    for host in ("localhost", "127.0.0.1:1", "[::1]:80", "gate.example:8080"):
        assert (await web.get("/v1/topics", headers={"Host": host})).status == 200


async def test_pages_of_other_origins_are_refused_whatever_they_send(there: House, web: ClientSession) -> None:
    for origin in ("https://evil.example", "null", "http://app.example"):
        answer = await web.post(EVENTS, data=b"x", headers={"Origin": origin})
        assert await code(answer) == (403, "origin_not_allowed")
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert await there.stored() == []


async def test_pages_of_allowed_origins_may(web: ClientSession) -> None:
    origin = {"Origin": "https://app.example"}
    asked = origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "ce-id"}
    preflight = await web.options(EVENTS, headers=asked)
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert preflight.headers["Access-Control-Allow-Headers"] == "ce-id"
    answer = await web.post(EVENTS, data=b"x", headers=origin)
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, "https://app.example")
    stream = await web.get(f"{EVENTS}?start=earliest&limit=1", headers=origin | {"Accept": "text/event-stream"})
    assert stream.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert b"data:" in await stream.read()


async def test_other_methods_are_told_what_is_possible(web: ClientSession) -> None:
    answer = await web.delete(EVENTS)
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert await code(answer) == (405, "method_not_allowed")
    options = await web.options(EVENTS)
    assert (options.status, options.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")


@pytest.mark.parametrize(
    ("path", "status", "found"),
    [("/topics", 404, "not_found"), ("/v1/nothing", 404, "not_found"),
     ("/v1/subscriptions/x/events", 501, "not_available"), ("/v1/intelligence/latest", 501, "not_available"),
     ("/v1/bridges", 501, "not_available"), ("/v1/%FF", 404, "not_found"), ("/v1/policies", 501, "not_available"),
     ("/v1/bridges/x", 501, "not_available"), ("/v1/cluster", 501, "not_available")],
)  # fmt: skip
async def test_paths_that_are_not_there(web: ClientSession, path: str, status: int, found: str) -> None:
    from yarl import URL

    assert await code(await web.get(URL(path, encoded=True))) == (status, found)


async def test_credentials_are_verified_or_refused(there: House, web: ClientSession) -> None:
    async with web.post(EVENTS, data=b"x", headers={"Authorization": "Bearer alice"}) as answer:
        assert answer.status == 200
    [stored] = await there.stored()
    assert stored.attributes["authid"] == "alice"
    assert [connection.principal for connection in there.connections.list()] == ["alice"]
    for wrong in ("Bearer mallory", "Basic eDp5", "Bearer", "Bearer "):
        answer = await web.get("/v1/topics", headers={"Authorization": wrong})
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert await code(answer) == (401, "unauthenticated")


async def test_headers_have_a_bound(there: House) -> None:
    long_value = GET + b"X-Long: " + b"x" * 5000 + b"\r\n\r\n"
    many = GET + b"".join(b"X-%d: x\r\n" % number for number in range(300)) + b"\r\n"
    together = GET + b"".join(b"X-%d: %b\r\n" % (number, b"x" * 900) for number in range(6)) + b"\r\n"
    long_path = b"GET /v1/topics?x=" + b"x" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for request in (long_value, many, together, long_path):
        status, headers, body = split(await raw(there.port, request))
        assert (status, json.loads(body)["code"], headers["connection"]) == (431, "headers_too_large", "close")


@pytest.mark.parametrize(
    "request_", [b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", GET + b"Bad Header: x\r\n\r\n",
    GET + b"Content-Length: x\r\n\r\n",
                 GET + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
)  # fmt: skip
async def test_what_is_no_http_is_told_so(there: House, request_: bytes) -> None:
    status, headers, body = split(await raw(there.port, request_ + b"\r\n\r\n"))
    assert (status, json.loads(body)["code"]) == (400, "invalid_request")
    assert headers["content-type"] == "application/problem+json"


async def test_requests_of_one_connection_are_answered_in_order(there: House) -> None:
    request = b"POST /v1/topics/t/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n"
    last = GET + b"Connection: close\r\n\r\n"
    answer = await raw(there.port, b"".join(request + b"%d" % n for n in range(5)) + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 6
    assert [event.data for event in await there.stored()] == [b"0", b"1", b"2", b"3", b"4"]


async def test_an_absolute_request_target_is_understood(there: House) -> None:
    request = b"GET http://localhost/v1/topics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert split(await raw(there.port, request))[0] == 200


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/"])
async def test_who_looks_around_is_led_to_the_documentation(there: House, web: ClientSession, path: str) -> None:
    answer = await web.get(path, allow_redirects=False)
    assert (answer.status, answer.headers["Location"], answer.headers["Content-Length"]) == (307, "/v1/docs", "0")
    assert (await web.get(path)).headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("target", "status"),
    [("http://evil.example/v1/topics", 403), ("http://localhost@evil.example/v1/topics", 403), ("http:///v1", 400),
     ("HTTP://gate.example:1/v1/topics", 200), ("https://localhost/v1/topics?a=1", 400), ("http://localhost", 307),
     ("ftp://localhost/v1/topics", 400), ("localhost", 400)],
)  # fmt: skip
async def test_the_authority_of_an_absolute_target_is_guarded_as_the_host_is(
    there: House, target: str, status: int
) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert split(await raw(there.port, request.encode()))[0] == status
    foreign = request.replace("Host: localhost", "Host: evil.example")
    assert split(await raw(there.port, foreign.encode()))[0] in (400, 403)


async def test_other_versions_of_http_are_refused(there: House) -> None:
    for line, status in (
        (b"GET /v1/topics", 400),
        (b"GET /v1/topics HTTP/0.9", 400),
        (b"GET /v1/topics HTTP/2.0", 505),
    ):
        found, headers, _ = split(await raw(there.port, line + b"\r\n\r\n"))
        assert (found, headers["connection"]) == (status, "close")


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"gzip,chunked", b"xchunked, chunked"])
async def test_a_transfer_coding_that_is_not_undone_is_refused(there: House, coding: bytes) -> None:
    request = b"POST /v1/topics/t/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
    status, headers, body = split(await raw(there.port, request + b"1\r\nx\r\n0\r\n\r\n"))
    assert (status, json.loads(body)["code"], headers["connection"]) == (501, "unsupported_content", "close")
    assert await there.stored() == []


async def test_a_defect_is_an_answer_without_details_and_the_door_goes_on(
    there: House, web: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(principal: Principal) -> None:
        raise KeyError("secret detail")

    with monkeypatch.context() as patched:
        patched.setattr(there.topics, "list", broken)
        answer = await web.get("/v1/topics")
        assert "secret" not in await answer.text()
        assert await code(answer) == (500, "internal")
    assert (await web.get("/v1/topics")).status == 200


async def test_requests_are_counted_by_route_and_status(there: House, web: ClientSession) -> None:
    await web.get("/v1/topics/t")
    await web.get("/v1/topics/missing")
    rendered = there.metrics.render().decode()
    assert 'linkspan_http_requests_total{route="/v1/topics/{topic}",status="200"} 1.0' in rendered
    assert 'linkspan_http_requests_total{route="/v1/topics/{topic}",status="404"} 1.0' in rendered


async def test_a_drain_finishes_what_was_begun_and_takes_nothing_new(there: House) -> None:
    held = there.bus.hold("append")
    reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
    writer.write(b"POST /v1/topics/t/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
    idle_reader, idle = await asyncio.open_connection("127.0.0.1", there.port)
    await eventually(lambda: there.bus.calls.get("append"))
    draining = asyncio.create_task(there.listener.drain(10))
    async with asyncio.timeout(5):
        assert await idle_reader.read() == b"", "idle connections are closed"
    with pytest.raises(OSError, match=r".*"):
        await asyncio.open_connection("127.0.0.1", there.port)
    held()
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Connection: close" in answer
    await draining
    for each in (writer, idle):
        each.close()


async def test_a_drain_has_a_deadline(there: House) -> None:
    held = there.bus.hold("append")
    _, writer = await asyncio.open_connection("127.0.0.1", there.port)
    writer.write(b"POST /v1/topics/t/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
    await eventually(lambda: there.bus.calls.get("append"))
    async with asyncio.timeout(5):
        await there.listener.drain(0.1)
        await there.listener.close()
    held()
    writer.close()


async def test_a_port_in_use_is_told_and_close_is_harmless(there: House) -> None:
    from protocols.http.server import HttpListener

    second = HttpListener(HttpSettings(port=there.port), there)
    with pytest.raises(OSError, match=r".*"):
        await second.start()
    await second.drain(0.1)
    await second.close()
    await second.close()


async def test_the_door_speaks_tls() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    made = House(Limits())
    made.context = context
    await made.start(HttpSettings())
    try:
        assert made.url.startswith("https://127.0.0.1:")
        async with ClientSession(made.url, connector=TCPConnector(ssl=trusting)) as web:
            assert (await web.get("/v1/topics")).status == 200
            await asyncio.sleep(0)
    finally:
        await made.close()
