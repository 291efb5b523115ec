"""Publishing: answered when it is stored, refused as a whole, and never read when there is no room."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.config.model import Limits
from gateway.errors import BusUnavailable, OutcomeUnknown
from tests.conftest import eventually
from tests.unit.http_support import BATCH, STRUCTURED, House, batch, client, event, house

pytestmark = pytest.mark.timeout(20)
EVENTS = "/v1/topics/t/events"


@pytest.fixture
async def there() -> AsyncIterator[House]:
    async with house(Limits(batch=100, event=10_000, publish_deadline=1.0)) as made:
        yield made


@pytest.fixture
async def web(there: House) -> AsyncIterator[ClientSession]:
    async with client(there) as session:
        yield session


async def post(web: ClientSession, body: Any, type_: str | None, path: str = EVENTS, **headers: str) -> tuple[int, Any]:
    given = headers | ({} if type_ is None else {"Content-Type": type_})
    async with web.post(path, data=body, headers=given, skip_auto_headers=["Content-Type"]) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_a_structured_event_is_stored_with_its_bytes(there: House, web: ClientSession) -> None:
    text = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"a/b","data": {"x":  1.0} }'
    assert await post(web, text, STRUCTURED) == (200, {"count": 1, "positions": [[0, 0]]})
    [stored] = await there.stored()
    assert stored.data == b'{"x":  1.0}'
    assert (stored.subject, stored.key) == ("a/b", b"a/b")


async def test_a_batch_is_answered_with_all_positions(there: House, web: ClientSession) -> None:
    many = batch([event(number) for number in range(3)])
    assert await post(web, many, BATCH) == (200, {"count": 3, "positions": [[0, 0], [0, 1], [0, 2]]})
    assert await post(web, b"[]", BATCH) == (200, {"count": 0, "positions": []})
    assert [found.attributes["id"] for found in await there.stored()] == ["0", "1", "2"]


async def test_a_binary_event_comes_from_headers(there: House, web: ClientSession) -> None:
    headers = {"ce-specversion": "1.0", "CE-ID": "7", "ce-source": "/s", "ce-type": "t", "ce-note": "caf%C3%A9"}
    assert (await post(web, b"\x00\xff", "application/octet-stream", **headers))[0] == 200
    [stored] = await there.stored()
    assert (stored.attributes["id"], stored.attributes["note"], stored.data) == ("7", "café", b"\x00\xff")


async def test_plain_data_becomes_an_event_of_the_topics_type(there: House, web: ClientSession) -> None:
    await web.patch("/v1/topics/t", json={"defaults": {"type": "reading"}})
    assert (await post(web, b"21.5", "text/plain", EVENTS + "?subject=room/1"))[0] == 200
    [stored] = await there.stored()
    assert stored.attributes["type"] == "reading"
    assert stored.attributes["source"] == "//test/http/anonymous"
    assert (stored.subject, stored.data, stored.attributes["datacontenttype"]) == ("room/1", b"21.5", "text/plain")


async def test_one_bad_event_refuses_the_batch(there: House, web: ClientSession) -> None:
    status, told = await post(web, batch([event(1), event(2, id=""), event(3)]), BATCH)
    assert (status, told["code"]) == (400, "invalid_event")
    assert told["faults"] == [{"where": "events[1].id", "message": "must not be empty", "index": 1}]
    assert await there.stored() == []


@pytest.mark.parametrize(
    ("path", "body", "type_", "status", "code"),
    [
        ("/v1/topics/missing/events", b"x", "text/plain", 404, "unknown_topic"),
        ("/v1/topics/bad%20name/events", b"x", "text/plain", 400, "invalid_address"),
        ("/v1/topics/_linkspan.topics/events", b"x", "text/plain", 400, "invalid_address"),
        (EVENTS + "?subject=a/%2B", b"x", "text/plain", 400, "invalid_address"),
        (EVENTS + "?subject=a%00b", b"x", "text/plain", 400, "invalid_address"),
        (EVENTS + "?sbject=a", b"x", "text/plain", 400, "invalid_request"),
        (EVENTS, b"{", STRUCTURED, 400, "invalid_event"),
        (EVENTS, b'{"id":"\x00"}', STRUCTURED, 400, "invalid_event"),
        (EVENTS, b'{"id":"\xff"}', STRUCTURED, 400, "invalid_event"),
        (EVENTS, b"[]", STRUCTURED, 400, "invalid_event"),
        (EVENTS, b"{}", BATCH, 400, "invalid_event"),
        (EVENTS, b"<e/>", "application/cloudevents+xml", 415, "unsupported_content"),
        (EVENTS, b"x", "nonsense", 400, "invalid_event"),
        (EVENTS, batch([event()] * 101), BATCH, 413, "too_large"),
        (EVENTS, b"x" * 20_000, "text/plain", 413, "too_large"),
    ],
)
async def test_what_is_wrong_is_refused_and_nothing_stored(
    there: House, web: ClientSession, path: str, body: bytes, type_: str, status: int, code: str
) -> None:
    found, told = await post(web, body, type_, path)
    assert (found, told["code"]) == (status, code)
    assert await there.stored() == []
    assert (await post(web, b"good", "text/plain"))[0] == 200, "the connection and the door go on"


async def test_an_unknown_topic_may_be_made_on_first_use() -> None:
    async with house(auto_create=True) as made, client(made) as web:
        assert (await post(web, b"x", "text/plain", "/v1/topics/fresh/events"))[0] == 200
        assert len(await made.stored("fresh")) == 1


async def test_a_bus_that_is_away_is_told_and_nothing_is_claimed(there: House, web: ClientSession) -> None:
    there.bus.fail_next("append", BusUnavailable("the log is away"))
    status, told = await post(web, b"x", "text/plain")
    assert (status, told["code"], told["retriable"]) == (503, "bus_unavailable", True)
    assert await there.stored() == []


async def test_without_room_nothing_is_read_and_the_client_is_told_to_come_again() -> None:
    async with house(Limits(memory=2**20, publish_deadline=0.3)) as made, client(made) as web:
        release = made.bus.hold("append")
        filling = [asyncio.create_task(post(web, b"x" * 100_000, "text/plain")) for _ in range(4)]
        await eventually(lambda: not made.ingress.writable)
        async with web.post(EVENTS, data=b"x" * 50_000) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert (await answer.json(content_type=None))["code"] == "unavailable"
        release()
        await asyncio.gather(*filling)
        assert (await post(web, b"x", "text/plain"))[0] == 200


async def test_who_waits_for_room_goes_on_when_there_is_some() -> None:
    async with house(Limits(memory=2**20, publish_deadline=10)) as made, client(made) as web:
        release = made.bus.hold("append")
        filling = [asyncio.create_task(post(web, b"x" * 100_000, "text/plain")) for _ in range(4)]
        await eventually(lambda: not made.ingress.writable)
        waiting = asyncio.create_task(post(web, b"last", "text/plain"))
        await asyncio.sleep(0)
        release()
        assert [status for status, _ in await asyncio.gather(*filling, waiting)] == [200] * 5


async def test_positions_that_are_known_are_told_when_the_outcome_is_not(there: House, web: ClientSession) -> None:
    await web.put("/v1/topics/wide", json={"partitions": 2})
    keys = [event(number, partitionkey=str(number)) for number in range(8)]
    there.bus.fail_next("append", OutcomeUnknown("one partition did not answer"), partitions=[1])
    status, told = await post(web, batch(keys), BATCH, "/v1/topics/wide/events")
    assert (status, told["code"]) == (503, "outcome_unknown")
    known = [position for position in told["positions"] if position is not None]
    assert known
    assert {partition for partition, _ in known} == {0}
    assert len(told["positions"]) == 8
    assert json.dumps(told)
