"""Bodies: bounded in size, time and memory, and read only when they may be."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.config.model import Limits
from protocols.http.body import MAX_MEMBERS, PIECE, Inflater
from protocols.http.problem import Malformed
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


@pytest.mark.parametrize("pause", [0, 0.05])
@pytest.mark.parametrize("coding", [b"", b"Content-Encoding: gzip\r\n"])
async def test_a_transfer_coding_that_breaks_on_the_way_is_told(small: House, pause: float, coding: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", small.port)
    writer.write(PATH + coding + b"Transfer-Encoding: chunked\r\n\r\n3\r\n\x1f\x8b\x08\r\n")
    await eventually(lambda: len(small.connections) == 1)
    await asyncio.sleep(pause)
    writer.write(b"zz\r\n")
    status, headers, body = split(await reader.read())
    writer.close()
    assert (status, headers["connection"]) == (400, "close")
    assert json.loads(body)["detail"] == "the body's transfer coding is broken"
    assert await small.stored() == []


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


async def test_several_gzip_members_are_one_body(small: House) -> None:
    members = b"".join(gzip.compress(text) for text in (b"one,", b"", b"two,", b"x" * 90_000))
    async with client(small) as web:
        answer = await web.post("/v1/topics/t/events", data=members, headers={"Content-Encoding": "gzip"})
        assert answer.status == 200
        assert [found.data for found in await small.stored()] == [b"one,two," + b"x" * 90_000]
        refused = await web.post(
            "/v1/topics/t/events", data=gzip.compress(b"x" * 60_000) * 2, headers={"Content-Encoding": "gzip"}
        )
        assert refused.status == 413, "the bound is that of all members together"


def test_members_are_bounded_and_other_codings_have_one() -> None:
    many = Inflater(31)
    with pytest.raises(Malformed, match="more than"):
        list(many.pieces(gzip.compress(b"", mtime=0) * (MAX_MEMBERS + 1)))
    one = Inflater(15)
    with pytest.raises(Malformed, match="behind"):
        list(one.pieces(zlib.compress(b"a") * 2))


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE, 5 * PIECE + 257])
@pytest.mark.parametrize("cut", [1, 7, 4096, 10**9])
def test_whatever_the_pieces_what_was_packed_comes_out(size: int, cut: int) -> None:
    plain = b"ab" * (size // 2) + b"c" * (size % 2)
    packed = gzip.compress(plain)
    inflater = Inflater(31)
    parts = [piece for at in range(0, len(packed), cut) for piece in inflater.pieces(packed[at : at + cut])]
    inflater.finish()
    assert b"".join(parts) == plain
    assert all(len(part) <= PIECE for part in parts)


async def test_an_expectation_is_looked_at_though_the_body_is_there(small: House) -> None:
    request = PATH + b"Content-Length: 1\r\nConnection: close\r\n"
    assert split(await raw(small.port, request + b"Expect: magic\r\n\r\nx"))[0] == 417
    assert (await raw(small.port, request + b"Expect: 100-Continue\r\n\r\nx")).startswith(b"HTTP/1.1 200")
    assert len(await small.stored()) == 1


BIG = Limits(body=2**20, memory=2**20, request_timeout=20, publish_deadline=8)
GZIP = b"Content-Encoding: gzip\r\n"


@pytest.mark.parametrize(
    "stalled",
    [b"Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n", b"Content-Length: 1000000\r\n\r\n0123456789",
     GZIP + b"Content-Length: 1000000\r\n\r\n" + gzip.compress(b"x")[:10],
     GZIP + b"Transfer-Encoding: chunked\r\n\r\na\r\n" + gzip.compress(b"x")[:10] + b"\r\n"],
)  # fmt: skip
async def test_a_client_that_stalls_costs_only_itself(stalled: bytes) -> None:
    async with house(BIG) as made, client(made) as web:
        holders = [await asyncio.open_connection("127.0.0.1", made.port) for _ in range(20)]
        for _, writer in holders:
            writer.write(PATH + stalled)
        await eventually(lambda: len(made.connections) == 20)
        began = asyncio.get_running_loop().time()
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        writer.write(PATH + b"Content-Length: 200000\r\nConnection: close\r\n\r\n" + b"x" * 100_000)
        await asyncio.sleep(0.1)
        writer.write(b"x" * 100_000)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        assert (await web.post("/v1/topics/t/events", data=b"x" * 900_000)).status == 200
        assert asyncio.get_running_loop().time() - began < 1
        for _, each in [*holders, (reader, writer)]:
            each.close()


async def test_who_holds_much_and_stalls_gives_way_when_others_wait() -> None:
    """The budget is full of bodies that stopped just before their end; a new one is served all the same."""
    async with house(BIG) as made, client(made) as web:
        budget = made.listener._door.bodies.budget
        holders = [await asyncio.open_connection("127.0.0.1", made.port) for _ in range(2)]
        for _, writer in holders:
            writer.write(PATH + b"Content-Length: 1000000\r\n\r\n" + b"x" * 999_999)
        await eventually(lambda: budget._senior is not None and budget._senior.held > 900_000 and budget._waiting)
        assert (await web.post("/v1/topics/t/events", data=b"small")).status == 200
        assert (await web.post("/v1/topics/t/events", data=b"x" * 900_000)).status == 200
        for reader, writer in holders:
            answer = split(await reader.read())
            assert (answer[0], answer[1]["retry-after"], answer[1]["connection"]) == (503, "1", "close")
            writer.close()
        await eventually(lambda: budget.free == budget.size and not budget._shares)


async def test_a_body_that_is_inflated_lets_others_have_their_turn() -> None:
    plain = batch([event(number, data="x" * 100_000) for number in range(100)])
    async with house(Limits(memory=2**20)) as made, client(made) as web:
        headers = {"Content-Type": BATCH, "Content-Encoding": "gzip"}
        answer = await web.post("/v1/topics/t/events", data=gzip.compress(plain), headers=headers)
        assert (answer.status, (await answer.json())["count"]) == (200, 100)
        budget = made.listener._door.bodies.budget
        assert budget.free == budget.size


async def test_many_large_bodies_at_once_are_all_taken_one_after_the_other() -> None:
    async with house(BIG) as made, client(made) as web:
        posts = [web.post("/v1/topics/t/events", data=b"x" * 1_000_000) for _ in range(20)]
        assert [answer.status for answer in await asyncio.gather(*posts)] == [200] * 20
        budget = made.listener._door.bodies.budget
        assert (budget.free, budget._shares, budget._senior) == (budget.size, {}, None)
