"""Primitive types both ways, and connections that break."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from io import BytesIO

import pytest
from aiokafka.errors import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.kafka import messages, wire
from gateway.bus.kafka.errors import Unreachable
from gateway.bus.kafka.wire import Cursor, Request, array, string, uarray, uvarint
from tests.harness.fake_kafka import FakeKafka

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
async def fake() -> AsyncIterator[FakeKafka]:
    fake = FakeKafka()
    await fake.start()
    yield fake
    await fake.close()


@given(st.integers(0, 2**35))
def test_a_varint_comes_back(number: int) -> None:
    assert Cursor(uvarint(number)).uvarint() == number


@given(st.none() | st.text(max_size=50))
def test_a_string_comes_back(text: str | None) -> None:
    assert Cursor(string(text)).string() == text


def test_numbers_of_every_width_come_one_after_another() -> None:
    cursor = Cursor(struct.pack(">bbhiq", -1, 7, -2, -3, -4))
    assert [cursor.int8(), cursor.int8(), cursor.int16(), cursor.int32(), cursor.int64()] == [-1, 7, -2, -3, -4]


def test_arrays_count_and_null_ones_count_nothing() -> None:
    cursor = Cursor(array([b"a", b"b"]) + b"\xff\xff\xff\xff" + uarray([struct.pack(">i", 5)]) + b"\x00")
    assert cursor.count() == 2
    assert cursor.take(2) == b"ab"
    assert cursor.count() == 0
    assert cursor.uint32s() == (5,)
    assert cursor.ucount() == 0


def test_tagged_fields_are_skipped() -> None:
    cursor = Cursor(b"\x02\x00\x03abc\x05\x01x\x09")
    cursor.tags()
    assert cursor.int8() == 9
    assert Cursor(b"\x00").ustring() is None


def test_a_short_buffer_is_an_error_and_never_a_value() -> None:
    with pytest.raises(struct.error):
        Cursor(b"\x00").int32()
    with pytest.raises(IndexError):
        Cursor(b"\x80").uvarint()


def test_a_request_that_the_broker_does_not_know_is_refused_with_what_is_needed() -> None:
    request = messages.metadata()
    assert request.prepare({3: (0, 12)}) is request
    with pytest.raises(KafkaError, match=r"Kafka 3\.1 or newer"):
        request.prepare({3: (0, 9)})
    with pytest.raises(KafkaError):
        request.prepare({})


@pytest.mark.parametrize("flexible", [False, True])
def test_the_response_begins_after_its_header(flexible: bool) -> None:
    request = Request("X", 1, 1, b"body", lambda cursor: cursor.int16(), flexible=flexible)
    frame = BytesIO(struct.pack(">i", 42) + (b"\x00" if flexible else b"") + struct.pack(">h", 7))
    assert request.parse_response_header(frame).correlation_id == 42
    assert request.RESPONSE_TYPE.decode(frame) == 7
    header = request.build_request_header(correlation_id=1, client_id="c").encode()
    assert header.endswith(b"\x00\x01c" + (b"\x00" if flexible else b""))
    assert repr(request) == "X v1"


async def test_nobody_at_the_address_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1: "):
        await wire.connect("127.0.0.1", 1, "c", 1, {"security_protocol": "PLAINTEXT"})


async def test_a_server_that_says_nothing_is_unreachable_in_time() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    silent = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
    async with server, silent:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable, match=r"closed|Connection"):
            await wire.connect("127.0.0.1", port, "c", 5, {"security_protocol": "PLAINTEXT"})
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable, match="does not answer within"):
            await wire.connect("127.0.0.1", port, "c", 0.1, {"security_protocol": "PLAINTEXT"})


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def test_an_answer_that_does_not_come_closes_the_connection(fake: FakeKafka) -> None:
    for step, says in (("hang", "did not answer Metadata in time"), ("drop", "closed")):
        connection = await wire.connect("127.0.0.1", fake.ports[1], "c", 5, {"security_protocol": "PLAINTEXT"})
        fake.script["Metadata"].append(step)
        with pytest.raises(Unreachable, match=says):
            await wire.exchange(connection, messages.metadata(), 0.1 if step == "hang" else 5)
        assert not connection.connected()
