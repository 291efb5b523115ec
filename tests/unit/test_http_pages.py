"""Pages: bounded together in memory, and encoded without holding anybody up."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator

import pytest

from gateway.config.model import Limits
from protocols.http import budget as budget_module
from protocols.http.pages import PageReply, encode_page
from tests.conftest import eventually
from tests.unit.http_support import House, client, house, raw, split, stored_event

pytestmark = pytest.mark.timeout(30)
EVENTS = "/v1/topics/t/events"
GET = b"GET /v1/topics/t/events?limit=3 HTTP/1.1\r\nHost: localhost\r\n"
#: Six bytes each in JSON: a page that is more than the sockets on both sides take.
DATA = b"\x01" * 900_000
HUGE = 3 * 6 * len(DATA)


@pytest.fixture
async def tight() -> AsyncIterator[House]:
    """One page that nobody reads fills the budget."""
    async with house(Limits(memory=2**20, publish_deadline=0.6, write_timeout=20)) as made:
        await fill(made)
        yield made


async def fill(house: House) -> None:
    await house.store(*(stored_event(number, DATA, datacontenttype="text/plain") for number in range(3)))


async def lazy(house: House, request: bytes = GET) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that asks and takes nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port, limit=1024)
    writer.write(request + b"\r\n")
    return reader, writer


async def test_pages_under_way_share_a_budget_until_they_are_taken(
    tight: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "STALL", 60)
    budget = tight.listener._door.readings.pages.budget
    clients = [await lazy(tight) for _ in range(20)]
    await eventually(lambda: budget.free < 0)
    assert budget.size - budget.free < 2 * HUGE, "one page is under way, the others have not been read"
    async with client(tight) as web:
        refused = await web.get(f"{EVENTS}?limit=3")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert (await refused.json(content_type=None))["code"] == "unavailable"
        for _, writer in clients:
            writer.transport.abort()
        await eventually(lambda: budget.free == budget.size)
        assert len(await (await web.get(f"{EVENTS}?limit=3")).read()) > HUGE
        await eventually(lambda: budget.free == budget.size)


async def test_a_client_that_takes_nothing_gives_way_to_those_who_do(
    tight: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "STALL", 0.2)
    _, writer = await lazy(tight)
    await eventually(lambda: tight.listener._door.readings.pages.budget.free < 0)
    async with client(tight) as web:
        assert len(await (await web.get(f"{EVENTS}?limit=3")).read()) > HUGE
    writer.close()


async def test_an_idle_connection_does_not_keep_its_last_page(tight: House) -> None:
    async with client(tight) as web:
        await (await web.get(f"{EVENTS}?limit=3")).read()
        kept = [each.body for each in gc.get_objects() if type(each) is PageReply]
        assert kept == [b""]


async def test_a_slow_client_that_takes_something_is_not_cut() -> None:
    async with house(Limits(memory=2**20, write_timeout=0.3)) as made:
        await fill(made)
        reader, writer = await lazy(made, GET + b"Connection: close\r\n")
        size = 0
        while part := await reader.read(2**20):
            size += len(part)
            await asyncio.sleep(0.05)
        assert size > HUGE
        writer.close()


async def test_a_read_that_takes_long_lends_its_room(tight: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_module, "STALL", 0.1)
    held, budget = tight.bus.hold("read"), tight.listener._door.readings.pages.budget
    async with client(tight) as web:
        slow = asyncio.create_task(web.get(f"{EVENTS}?limit=3"))
        await eventually(lambda: budget.free == 0)
        quick = await web.get("/v1/topics/t/events?start=latest")
        assert (quick.status, await quick.json(content_type=None)) == (200, [])
        assert (slow.done(), budget.free) == (False, budget.size)
        held()
        assert len(await (await slow).read()) > HUGE
    await eventually(lambda: budget.free == budget.size)


async def test_a_page_that_fails_gives_its_room_back(tight: House) -> None:
    budget = tight.listener._door.readings.pages.budget
    async with client(tight) as web:
        assert (await web.get("/v1/topics/missing/events")).status == 404
        assert (await web.head(f"{EVENTS}?limit=3")).status == 200
    await eventually(lambda: budget.free == budget.size)


async def test_encoding_a_page_lets_others_have_their_turn() -> None:
    events = [stored_event(number, b'{"text":"%b"}' % (b"x" * 400)) for number in range(10_000)]
    longest = last = 0.0
    loop = asyncio.get_running_loop()
    encoding = asyncio.create_task(encode_page(events))
    last = loop.time()
    turns = 0
    while not encoding.done():
        await asyncio.sleep(0)
        now = loop.time()
        longest, last, turns = max(longest, now - last), now, turns + 1
    assert turns >= 40
    assert longest < 0.05
    assert len(json.loads(await encoding)) == 10_000


@pytest.mark.parametrize("count", [0, 1, 2, 500])
async def test_a_page_is_an_array_of_structured_events(count: int) -> None:
    page = json.loads(await encode_page([stored_event(number) for number in range(count)]))
    assert [event["id"] for event in page] == [str(number) for number in range(count)]


async def test_requests_behind_a_page_are_answered_on_the_same_connection(tight: House) -> None:
    last = b"GET /v1/topics/t/events?start=latest HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = await raw(tight.port, GET + b"\r\n" + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert split(answer[answer.rindex(b"HTTP/1.1") :])[2] == b"[]"
