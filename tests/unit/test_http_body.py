"""Bodies: bounded in size, time and memory, and read only when they may be."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.config.model import Limits
from gateway.errors import Unavailable
from protocols.http.body import Budget
from tests.conftest import eventually
from tests.unit.http_support import BATCH, House, batch, client, event, house, raw, split

pytestmark = pytest.mark.timeout(30)
PATH = b"POST /v1/topics/t/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"


@pytest.fixture
async def small() -> AsyncIterator[House]:
    limits = Limits(body=100_000, request_timeout=0.5, publish_deadline=0.5, memory=2**20)
    async with house(limits) as made:
        yield made


async def test_a_body_over_the_limit_is_refused_before_it_is_read(small: House) -> None:
    answer = await raw(small.port, PATH + b"Content-Length: 100000000000\r\n\r\n")
    status, headers, body = split(answer)
    assert (status, headers["connection"]) == (413, "close")
    assert json.loads(body)["code"] == "too_large"
    assert json.loads(body)["limit"] == 100_000


async def test_a_chunked_body_is_cut_at_the_limit(small: House) -> None:
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    status, _, body = split(await raw(small.port, PATH + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 8))
    assert (status, json.loads(body)["code"]) == (413, "too_large")


async def test_a_chunked_body_that_was_there_at_once_is_bounded_too(small: House) -> None:
    tight = Limits(body=1024)
    async with house(tight) as made:
        whole = (
            PATH + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n800\r\n" + b"x" * 0x800 + b"\r\n0\r\n\r\n"
        )
        assert split(await raw(made.port, whole))[0] == 413


async def test_chunks_are_put_together(small: House) -> None:
    chunks = b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n"
    request = PATH + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks
    assert split(await raw(small.port, request))[0] == 200
    assert [found.data for found in await small.stored()] == [b"abcde"]


async def test_a_body_that_never_ends_is_given_up(small: House) -> None:
    status, headers, body = split(await raw(small.port, PATH + b"Content-Length: 50\r\n\r\nhalf"))
    assert (status, headers["retry-after"], headers["connection"]) == (408, "1", "close")
    assert json.loads(body)["code"] == "request_timeout"


async def test_a_client_that_leaves_within_its_body_disturbs_nobody(small: House) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", small.port)
    writer.write(PATH + b"Content-Length: 50\r\n\r\nhalf")
    await eventually(lambda: len(small.connections) == 1)
    writer.close()
    await eventually(lambda: len(small.connections) == 0)
    assert await small.stored() == []
    async with client(small) as web:
        assert (await web.post("/v1/topics/t/events", data=b"x")).status == 200


async def test_a_broken_transfer_coding_is_told(small: House) -> None:
    status, headers, body = split(await raw(small.port, PATH + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"))
    assert (status, headers["connection"]) == (400, "close")
    assert json.loads(body)["code"] == "invalid_request"


async def test_a_client_that_expects_it_is_told_to_go_on(small: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", small.port)
    writer.write(PATH + b"Content-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"data")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_a_refused_body_is_never_asked_for(small: House) -> None:
    refused = PATH.replace(b"/t/", b"/missing/") + b"Content-Length: 4\r\nExpect: 100-continue\r\n"
    answer = await raw(small.port, refused + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404")
    odd = await raw(small.port, PATH + b"Content-Length: 4\r\nExpect: magic\r\nConnection: close\r\n\r\n")
    assert odd.startswith(b"HTTP/1.1 417")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity", "GZIP"])
async def test_compressed_bodies_are_inflated(small: House, coding: str) -> None:
    plain = batch([event(1), event(2)])
    pack: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}
    packed = pack[coding.lower()](plain)
    async with client(small) as web:
        headers = {"Content-Type": BATCH, "Content-Encoding": coding}
        answer = await web.post("/v1/topics/t/events", data=packed, headers=headers)
        assert (answer.status, (await answer.json())["count"]) == (200, 2)


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("gzip", gzip.compress(b"x" * 200_000), 413), ("gzip", gzip.compress(b"x")[:-4], 400),
        ("gzip", gzip.compress(b"x") + b"behind", 400), ("gzip", b"not gzip", 400), ("br", b"x", 415),
        ("gzip, gzip", b"x", 415),
    ],
)  # fmt: skip
async def test_what_cannot_be_inflated_within_bounds_is_refused(
    small: House, coding: str, body: bytes, status: int
) -> None:
    async with client(small) as web:
        answer = await web.post("/v1/topics/t/events", data=body, headers={"Content-Encoding": coding})
        assert answer.status == status
        if status == 415:
            assert answer.headers["Accept-Encoding"] == "gzip, deflate"


async def test_bodies_together_have_a_bound(small: House) -> None:
    """One request holds all of the budget; the next one waits its time and is told to come again."""
    big = Limits(body=2**20, memory=2**20, request_timeout=20, publish_deadline=0.3)
    async with house(big) as made:
        _, holder = await asyncio.open_connection("127.0.0.1", made.port)
        holder.write(PATH + b"Content-Length: 1000000\r\n\r\n")
        door = made.listener._door
        await eventually(lambda: door.bodies.budget.free < 100_000)
        async with client(made) as web:
            answer = await web.post("/v1/topics/t/events", data=b"x" * 500_000, headers={"Expect": "100-continue"})
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert (await web.post("/v1/topics/t/events", data=b"small")).status == 200
            holder.close()
            await eventually(lambda: door.bodies.budget.free == door.bodies.budget.size)
            assert (await web.post("/v1/topics/t/events", data=b"x" * 500_000)).status == 200


async def test_the_budget_is_given_out_in_turn() -> None:
    budget = Budget(10)
    await budget.take(8, 1)
    order: list[int] = []

    async def take(amount: int) -> None:
        await budget.take(amount, 5)
        order.append(amount)

    tasks = [asyncio.create_task(take(amount)) for amount in (9, 1, 2)]
    await asyncio.sleep(0)
    assert order == [], "a small one does not overtake, or a large one would wait for ever"
    budget.give(8)
    await eventually(lambda: order == [9, 1])
    budget.give(9)
    await asyncio.gather(*tasks)
    assert budget.free == 7


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    budget = Budget(10)
    await budget.take(10, 1)
    with pytest.raises(Unavailable):
        await budget.take(5, 0.01)
    waiting = asyncio.create_task(budget.take(5, 5))
    behind = asyncio.create_task(budget.take(1, 5))
    await asyncio.sleep(0)
    waiting.cancel()
    budget.give(5)
    await behind
    await asyncio.gather(waiting, return_exceptions=True)
    assert budget.free == 4


async def test_a_grant_in_the_moment_of_giving_up_is_given_back() -> None:
    budget = Budget(10)
    await budget.take(10, 1)
    waiting = asyncio.create_task(budget.take(5, 5))
    await asyncio.sleep(0)
    budget.give(10)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert budget.free == 10
