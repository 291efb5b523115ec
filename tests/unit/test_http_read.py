"""Reading: pages that lead on, streams that start where they said and end with word of why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from gateway.cli.sse import Message, SseParser
from gateway.config.model import Limits
from protocols.http import sse
from tests.conftest import eventually
from tests.unit.http_support import House, client, house, stored_event

pytestmark = pytest.mark.timeout(20)
STREAM = {"Accept": "text/event-stream"}
EVENTS = "/v1/topics/t/events"


@pytest.fixture
async def there() -> AsyncIterator[House]:
    async with house() as made:
        yield made


@pytest.fixture
async def web(there: House) -> AsyncIterator[ClientSession]:
    async with client(there) as session:
        yield session


class Reading:
    """The client's end of one stream."""

    def __init__(self, answer: ClientResponse) -> None:
        self.answer, self.parser, self.raw = answer, SseParser(), b""
        self.messages: list[Message] = []

    async def until(self, count: int) -> list[Message]:
        async with asyncio.timeout(10):
            while len(self.messages) < count:
                chunk = await self.answer.content.readany()
                assert chunk, "the stream ended early"
                self.raw += chunk
                self.messages += self.parser.feed(chunk)
        return self.messages

    async def rest(self) -> list[Message]:
        async with asyncio.timeout(10):
            self.messages += self.parser.feed(await self.answer.content.read())
        return self.messages

    def ids(self) -> list[str]:
        return [json.loads(message.data)["id"] for message in self.messages if message.event == "message"]


async def follow(web: ClientSession, path: str, **headers: str) -> Reading:
    answer = await web.get(path, headers=STREAM | headers)
    assert answer.status == 200, await answer.text()
    return Reading(answer)


async def test_pages_lead_on_to_the_end(there: House, web: ClientSession) -> None:
    await there.store(*(stored_event(number) for number in range(5)))
    path, seen = f"{EVENTS}?limit=2", []
    for _ in range(4):
        answer = await web.get(path)
        assert answer.headers["Content-Type"] == "application/cloudevents-batch+json"
        seen += [event["id"] for event in await answer.json(content_type=None)]
        path = str(answer.links["next"]["url"])
        assert answer.headers["Linkspan-Cursor"] in path
    assert seen == ["0", "1", "2", "3", "4"]
    await there.store(stored_event(5))
    assert [event["id"] for event in await (await web.get(path)).json(content_type=None)] == ["5"]


async def test_a_page_can_be_plain_json_and_head_has_no_body(there: House, web: ClientSession) -> None:
    await there.store(stored_event(1))
    answer = await web.get(EVENTS, headers={"Accept": "application/json"})
    assert answer.headers["Content-Type"] == "application/json"
    head = await web.head(EVENTS)
    assert (head.status, await head.read()) == (200, b"")
    assert int(head.headers["Content-Length"]) > 2
    assert (await web.head(EVENTS, headers=STREAM)).headers["Content-Type"] == "text/event-stream"
    assert (await web.head("/v1/topics/missing/events", headers=STREAM)).status == 404
    assert not there.reader._streams, "nothing stays open for it"


async def test_a_long_poll_waits_for_the_first_event(there: House, web: ClientSession) -> None:
    asking = asyncio.create_task(web.get(f"{EVENTS}?start=latest&wait=10s"))
    readings = there.listener._door.readings
    await eventually(lambda: readings._polls and there.hub.followed)
    assert readings.pages.budget.free == readings.pages.budget.size, "who waits holds nothing"
    await there.store(stored_event(1))
    async with asyncio.timeout(5):
        assert [event["id"] for event in await (await asking).json(content_type=None)] == ["1"]
    assert await (await web.get(f"{EVENTS}?start=latest&wait=10ms")).json(content_type=None) == []


async def test_patterns_narrow_what_is_read(there: House, web: ClientSession) -> None:
    await web.put("/v1/topics/u")
    await there.store(stored_event(1, subject="a/b"), stored_event(2, subject="a/c/d"), stored_event(3))
    await there.store(stored_event(4, subject="a/x"), topic="u")

    async def ids(path: str) -> list[str]:
        return [event["id"] for event in await (await web.get(path)).json(content_type=None)]

    assert await ids(f"{EVENTS}?subject=a/*") == ["1"]
    assert await ids(f"{EVENTS}?subject=a/**") == ["1", "2"]
    assert await ids("/v1/events?from=t") == ["3"]
    assert sorted(await ids("/v1/events?from=t/a/b&from=u/**")) == ["1", "4"]
    assert sorted(await ids("/v1/events?from=*/a/*")) == ["1", "4"]


async def test_a_stream_misses_nothing_after_its_headers(there: House, web: ClientSession) -> None:
    await there.store(stored_event(1))
    stream = await follow(web, EVENTS)
    await there.store(stored_event(2), stored_event(3))
    await stream.until(2)
    assert stream.ids() == ["2", "3"]
    assert stream.raw.startswith(b"retry: 1000\n\n")
    assert stream.answer.headers["Cache-Control"] == "no-store"
    stream.answer.close()
    await eventually(lambda: not there.listener._door.readings.clients, what="the stream ends with its client")


async def test_last_event_id_resumes_and_wins_over_start(there: House, web: ClientSession) -> None:
    await there.store(*(stored_event(number) for number in range(4)))
    first = await follow(web, f"{EVENTS}?start=earliest&limit=2")
    await first.rest()
    assert first.ids() == ["0", "1"]
    second = await follow(web, f"{EVENTS}?start=earliest&limit=2", **{"Last-Event-ID": first.parser.last_id})
    await second.rest()
    assert second.ids() == ["2", "3"]


async def test_quiet_streams_have_heartbeats(there: House, web: ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT", 0.02)
    stream = await follow(web, EVENTS)
    await eventually(lambda: _more(stream), what="a comment")
    stream.answer.close()


async def _more(stream: Reading) -> bool:
    stream.raw += await stream.answer.content.readany()
    return b"\n\n:\n" in stream.raw


async def test_a_gap_is_told_on_streams_and_pages(there: House, web: ClientSession) -> None:
    await there.store(*(stored_event(number) for number in range(3)))
    answer = await web.get(f"{EVENTS}?limit=1")
    cursor = answer.headers["Linkspan-Cursor"]
    await there.store(stored_event(3))
    there.bus.truncate("t", 0, 3)
    page = await web.get(EVENTS, params={"start": cursor})
    [gap] = json.loads(page.headers["Linkspan-Gap"])
    assert (gap["from_offset"], gap["to_offset"], gap["reason"]) == (1, 3, "retention")
    stream = await follow(web, f"{EVENTS}?limit=1&start={cursor}")
    await stream.rest()
    assert [message.event for message in stream.messages] == ["gap", "message"]


async def test_a_stream_tells_that_its_topic_was_deleted(there: House, web: ClientSession) -> None:
    stream = await follow(web, EVENTS)
    await web.delete("/v1/topics/t")
    [notice] = await stream.rest()
    assert (notice.event, json.loads(notice.data)["code"]) == ("closing", "deleted")


async def test_a_drain_ends_streams_with_word_to_come_back(there: House, web: ClientSession) -> None:
    stream = await follow(web, EVENTS)
    await there.store(stored_event(1))
    await stream.until(1)
    asking = asyncio.create_task(web.get(f"{EVENTS}?start=latest&wait=30s"))
    await eventually(lambda: there.listener._door.readings._polls)
    async with asyncio.timeout(5):
        await there.listener.drain(10)
    *_, notice = await stream.rest()
    assert (notice.event, json.loads(notice.data)["code"]) == ("closing", "draining")
    assert stream.parser.retry
    poll = await asking
    assert (poll.status, (await poll.json(content_type=None))["code"]) == (503, "draining")


async def test_a_client_that_never_reads_is_cut_and_nobody_else_notices() -> None:
    limits = Limits(write_timeout=0.3, stream_buffer=4096)
    async with house(limits) as made, client(made) as web:
        _, lazy = await asyncio.open_connection("127.0.0.1", made.port, limit=1024)
        lazy.write(b"GET /v1/topics/t/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        await eventually(lambda: made.listener._door.readings.clients)
        other = await follow(web, f"{EVENTS}?limit=40")
        for number in range(40):
            await made.store(stored_event(number, b"x" * 500_000))
        await other.rest()
        assert other.ids() == [str(number) for number in range(40)]
        await eventually(lambda: not made.listener._door.readings.clients)
        assert b"linkspan_http_slow_clients_total 1.0" in made.metrics.render()
        lazy.close()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/topics/missing/events", 404, "unknown_topic"), ("/v1/topics/bad%20name/events", 400, "invalid_address"),
        ("/v1/topics/_linkspan.topics/events", 400, "invalid_address"),
        (f"{EVENTS}?filter=a%20%3D", 400, "invalid_filter"),
        (f"{EVENTS}?start=yesterday", 400, "invalid_position"), (f"{EVENTS}?limit=0", 400, "invalid_request"),
        (f"{EVENTS}?subject=a/%2Bx", 400, "invalid_address"), (f"{EVENTS}?subject=", 400, "invalid_request"),
        (f"{EVENTS}?strat=latest", 400, "invalid_request"), ("/v1/events", 400, "invalid_request"),
        ("/v1/events?from=", 400, "invalid_request"), ("/v1/events?from=missing", 404, "unknown_topic"),
        ("/v1/events?from=t&subject=x", 400, "invalid_request"), (f"{EVENTS}?start=AAAA", 400, "invalid_position"),
        (f"{EVENTS}?start=", 400, "invalid_request"), (f"{EVENTS}?subject=a/***", 400, "invalid_address"),
        (f"{EVENTS}?wait=", 400, "invalid_request"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("accept", ["text/event-stream", "application/cloudevents-batch+json"])
async def test_bad_requests_are_refused_before_anything_is_read(
    web: ClientSession, path: str, status: int, code: str, accept: str
) -> None:
    answer = await web.get(path, headers={"Accept": accept})
    told = await answer.json(content_type=None)
    assert (answer.status, told["code"]) == (status, code), told


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("limit=10001", {}, 400, "invalid_request"), ("wait=61s", {}, 400, "invalid_request"),
        ("wait=soon", {}, 400, "invalid_request"),
        ("wait=1s", STREAM, 400, "invalid_request"), ("", {"Accept": "text/html"}, 406, "not_acceptable"),
        ("", STREAM | {"Last-Event-ID": "nonsense!"}, 400, "invalid_position"),
    ],
)  # fmt: skip
async def test_what_pages_and_streams_take_differs(
    web: ClientSession, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await web.get(f"{EVENTS}?{query}", headers=headers)
    assert (answer.status, (await answer.json(content_type=None))["code"]) == (status, code)


async def test_a_cursor_of_a_topic_made_anew_says_so(there: House, web: ClientSession) -> None:
    await there.store(stored_event(1))
    cursor = (await web.get(EVENTS)).headers["Linkspan-Cursor"]
    await web.delete("/v1/topics/t")
    await web.put("/v1/topics/t")
    answer: Any = await web.get(EVENTS, params={"start": cursor})
    told = await answer.text()
    assert (answer.status == 410 and "cursor_expired" in told) or "recreated" in answer.headers["Linkspan-Gap"]
