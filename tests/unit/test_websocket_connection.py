"""One connection from its first byte to its end, over real sockets; rude and slow clients included."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import pytest

from gateway.config.model import Limits
from protocols.websocket import connection as module
from protocols.websocket import door
from protocols.websocket.native import NativeDialect
from tests.conftest import eventually
from tests.unit.http_support import split
from tests.unit.websocket_support import (
    BINARY,
    CLOSE,
    CLOUDEVENTS,
    CONT,
    PING,
    PONG,
    TEXT,
    Client,
    Port,
    Refused,
    event,
    frame,
    handshake,
    port,
    stored_event,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the connections every 20 ms; closing takes less time, too."""
    monkeypatch.setattr(door, "SWEEP", 0.02)
    monkeypatch.setattr(module, "CLOSING", 0.3)
    monkeypatch.setattr(module, "LINGER", 1.0)


async def refusal(gateway: Port, request: bytes) -> tuple[int, str]:
    """Status and code of what a request is answered with."""
    async with Client.connected(gateway) as client:
        client.write(request)
        with pytest.raises(Refused) as refused:
            await client.answer()
        assert await client.gone()
        return refused.value.status, refused.value.problem["code"]


async def still_served(client: Client) -> None:
    assert await client.ask({"id": "still", "ping": {}}) == {"id": "still", "ok": {}}


# The handshake


async def test_a_handshake_byte_by_byte_is_one() -> None:
    async with port() as gateway, Client.connected(gateway) as client:
        for byte in handshake():
            client.write(bytes([byte]))
            await asyncio.sleep(0)
        await client.answer()
        await still_served(client)
        assert gateway.metric("linkspan_websocket_handshakes_total", status="101") == 1
        assert gateway.metric("linkspan_websocket_connections", subprotocol="linkspan.v1") == 1


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (handshake("mqtt"), 400, "invalid_request"),
        (handshake(path="/v1/topics"), 404, "not_found"),
        (handshake(path="/mqtt"), 501, "not_available"),
        (handshake(method="POST"), 405, "method_not_allowed"),
        (handshake(headers={"Upgrade": None}), 426, "upgrade_required"),
        (handshake(headers={"Host": "evil.example"}), 403, "host_not_allowed"),
        (handshake(headers={"Origin": "http://evil.example"}), 403, "origin_not_allowed"),
        (handshake(headers={"Authorization": "Bearer who"}), 401, "unauthenticated"),
        (b"GET /" + b"x" * 20_000, 431, "headers_too_large"),
        (handshake(headers={"X": "x" * 20_000}), 431, "headers_too_large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "invalid_request"),
        (handshake() + frame(TEXT, b"early"), 400, "invalid_request"),
    ],
)
async def test_what_is_no_handshake_is_answered_by_http(request_: bytes, status: int, code: str) -> None:
    async with port() as gateway:
        assert await refusal(gateway, request_) == (status, code)
        await eventually(lambda: not gateway.clients)
        assert gateway.metric("linkspan_websocket_handshakes_total", status=str(status)) == 1
        assert len(gateway.connections) == 0


async def test_who_says_nothing_or_too_slowly_is_told_and_cut() -> None:
    async with port(Limits(request_timeout=0.2)) as gateway:
        async with Client.connected(gateway) as silent, Client.connected(gateway) as slow:
            slow.write(handshake()[:20])
            for client in (silent, slow):
                status, headers, body = split(await client.reader.read())
                assert (status, headers["connection"]) == (408, "close")
                assert json.loads(body)["code"] == "request_timeout"
        await eventually(lambda: not gateway.clients)


async def test_a_subscription_that_cannot_be_opened_in_time_is_given_up() -> None:
    async with port(Limits(request_timeout=0.2)) as gateway:
        release = gateway.bus.hold("bounds")
        assert await refusal(gateway, handshake(CLOUDEVENTS, "/v1/ws?from=t/**")) == (408, "request_timeout")
        release()
        await eventually(lambda: not gateway.clients)
        assert gateway.views.views() == []


async def test_the_principal_is_that_of_the_token() -> None:
    async with port() as gateway, Client.open(gateway, path="/v1/ws?access_token=alice"), Client.open(gateway):
        assert [client.principal for client in gateway.connections.list()] == ["alice", "anonymous"]


async def test_over_the_bound_of_connections_others_are_sent_away_and_those_there_stay() -> None:
    async with port(Limits(connections=2)) as gateway:
        async with Client.open(gateway) as one, Client.open(gateway) as two:
            assert await refusal(gateway, handshake()) == (503, "unavailable")
            await still_served(one)
            await still_served(two)
        await eventually(lambda: not gateway.clients)
        async with Client.open(gateway) as client:
            await still_served(client)


async def test_a_thousand_connects_at_once_are_all_served() -> None:
    async with port() as gateway:
        loop = asyncio.get_running_loop()
        sockets = [socket.socket() for _ in range(1000)]
        try:
            for made in sockets:
                made.setblocking(False)

            async def connect(made: socket.socket) -> bytes:
                await loop.sock_connect(made, ("127.0.0.1", gateway.port))
                await loop.sock_sendall(made, handshake())
                return await loop.sock_recv(made, 1000)

            async with asyncio.timeout(30):
                answers = await asyncio.gather(*map(connect, sockets))
            assert all(answer.startswith(b"HTTP/1.1 101") for answer in answers)
            assert len(gateway.connections) == 1000
        finally:
            for made in sockets:
                made.close()
        await eventually(lambda: not gateway.clients)


# What breaks RFC 6455


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"{}", mask=False), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(TEXT, b"{}", rsv=4), 1002),
        (frame(BINARY, b"{}"), 1003),
        (frame(TEXT, b'{"id":"\xff"}'), 1007),
        (frame(TEXT, b'{"id":"\xc3', fin=False) + frame(CONT, b'\x28"}'), 1007),
        (frame(TEXT, b"x" * 5000), 1009),
        (b"\x81\xff" + b"\x7f" * 8, 1009),
    ],
)
async def test_a_client_that_breaks_the_protocol_gets_its_code_and_nobody_else_is_disturbed(
    sent: bytes, code: int
) -> None:
    async with port(max_message=4096) as gateway, Client.open(gateway) as other:
        await other.subscribe()
        for whole in (True, False):
            async with Client.open(gateway) as client:
                await client.subscribe()
                if whole:
                    client.write(sent)
                else:
                    for byte in sent:
                        client.write(bytes([byte]))
                        await asyncio.sleep(0)
                assert (await client.closed())[0] == code
                assert await client.gone()
        await still_served(other)
        await gateway.store(stored_event(1))
        assert (await other.text())["sid"] == 1
        await eventually(lambda: len(gateway.clients) == 1)
        assert gateway.metric("linkspan_websocket_closes_total", code=str(code)) == 2


async def test_a_message_in_fragments_with_pings_between_is_one() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        whole = '{"id":"ü","ping":{}}'.encode()
        for at, byte in enumerate(whole):
            client.write(frame(CONT if at else TEXT, bytes([byte]), fin=at == len(whole) - 1))
        client.write(frame(PING, b"after"))
        assert await client.text() == {"id": "ü", "ok": {}}
        assert await client.frame() == (0x80 | PONG, b"after")


# The end


async def test_the_closing_handshake_of_a_client_is_answered_and_the_socket_closed() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        await client.subscribe()
        client.write(frame(TEXT, b'{"id":2,"ping":{}}') + frame(CLOSE, b"\x03\xe8bye"))
        assert await client.text() == {"id": 2, "ok": {}}, "what came before the close frame is answered before it"
        assert await client.closed() == (1000, "bye")
        assert await client.gone()
        await eventually(lambda: not gateway.clients)
        assert gateway.metric("linkspan_websocket_closes_total", code="1000") == 1
        assert gateway.views.views() == []


async def test_a_close_without_a_code_is_echoed() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        client.write(frame(CLOSE))
        assert await client.frame() == (0x80 | CLOSE, b"")
        assert await client.gone()
        await eventually(lambda: gateway.metric("linkspan_websocket_closes_total", code="1005") == 1)


async def test_an_unknown_close_code_is_counted_with_others() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        client.write(frame(CLOSE, (3999).to_bytes(2, "big")))
        assert (await client.closed())[0] == 3999
        await eventually(lambda: gateway.metric("linkspan_websocket_closes_total", code="other") == 1)


async def test_a_client_that_just_goes_or_half_closes_is_let_go() -> None:
    async with port() as gateway:
        async with Client.open(gateway) as client:
            await client.subscribe()
        async with Client.open(gateway) as client:
            await client.subscribe()
            client.writer.write_eof()
            assert await client.gone()
        await eventually(lambda: not gateway.clients)
        assert gateway.metric("linkspan_websocket_closes_total", code="1006") == 2


async def test_an_operator_sees_and_ends_a_connection() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        [shown] = gateway.connections.list()
        own = client.writer.get_extra_info("sockname")
        assert (shown.protocol, shown.peer) == ("websocket", f"{own[0]}:{own[1]}")
        assert shown.since.endswith("Z")
        gateway.connections.disconnect(shown.id)
        assert await client.closed() == (4501, "an operator ended the connection")
        client.write(frame(CLOSE, b"\x11\x95"))
        assert await client.gone()
        assert gateway.connections.list() == []


async def test_a_client_that_does_not_answer_a_close_frame_is_cut() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        gateway.connections.list()
        gateway.clients[0].disconnect()
        assert (await client.closed())[0] == 4501
        client.send({"id": 1, "ping": {}})  # is not answered any more
        assert await client.gone()


async def test_a_defect_ends_only_the_connection_that_met_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: NativeDialect, data: bytes) -> None:
        if b"defect" in data:
            raise ZeroDivisionError("a defect")
        take(self, data)

    take = NativeDialect.take
    monkeypatch.setattr(NativeDialect, "take", broken)
    async with port() as gateway, Client.open(gateway) as client, Client.open(gateway) as other:
        client.send({"id": "defect", "ping": {}})
        assert (await client.closed())[0] == 1011
        await still_served(other)


async def test_a_defect_in_the_handshake_is_a_500(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **more: Any) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(module, "open_handshake", broken)
    async with port() as gateway:
        assert await refusal(gateway, handshake()) == (500, "internal")


async def test_a_defect_while_a_topic_is_looked_up_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with port() as gateway, Client.open(gateway) as client:

        async def broken(*args: Any) -> None:
            raise ZeroDivisionError("a defect")

        monkeypatch.setattr(gateway.topics, "ensure", broken)
        client.send({"id": 1, "publish": {"topic": "new", "events": [event()]}})
        assert (await client.closed())[0] == 1011


# Whether it is there


async def test_a_silent_client_is_asked_and_goes_on_when_it_answers() -> None:
    async with (
        port(ping_interval="100ms", ping_timeout="200ms", slow_timeout="300ms") as gateway,
        Client.open(gateway) as client,
    ):
        began = time.monotonic()
        for _ in range(5):
            assert await client.frame() == (0x80 | PING, b"")
            client.write(frame(PONG))
        assert time.monotonic() - began > 0.4
        await still_served(client)
        assert gateway.metric("linkspan_websocket_pings_total") >= 5


async def test_a_machine_that_is_gone_is_cut_after_the_ping_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "seconds_since_ack", lambda transport: 3600.0)
    async with port(ping_interval="50ms", ping_timeout="100ms") as gateway, Client.open(gateway) as client:
        assert await client.frame() == (0x80 | PING, b"")
        assert await client.closed() == (4502, "no answer to a ping")
        assert await client.gone()
        assert gateway.metric("linkspan_websocket_closes_total", code="4502") == 1


async def test_a_program_that_stopped_on_a_machine_that_answers_is_given_longer() -> None:
    async with (
        port(ping_interval="50ms", ping_timeout="250ms", slow_timeout="1s") as gateway,
        Client.open(gateway) as client,
    ):
        began = time.monotonic()
        pings = 0
        while (await client.frame()) == (0x80 | PING, b""):
            pings += 1
        assert time.monotonic() - began >= 1
        assert pings > 2
        assert gateway.metric("linkspan_websocket_closes_total", code="1006") == 0


async def test_a_connection_that_we_do_not_read_is_not_blamed_for_its_silence() -> None:
    async with (
        port(ping_interval="50ms", ping_timeout="50ms", publish_rate=1024) as gateway,
        Client.open(gateway) as client,
    ):
        client.write(frame(TEXT, b" " * 2000) + frame(PING, b"late"))
        told = await client.text()
        assert told["error"]["code"] == "invalid_message"
        assert await client.frame() == (0x80 | PONG, b"late")
        [held] = gateway.clients
        assert held._holds
        await asyncio.sleep(0.3)
        assert gateway.metric("linkspan_websocket_pings_total") == 0


# Slow clients


async def fill(gateway: Port, client: Client, count: int, size: int = 5000) -> None:
    """Store events until the client's connection is paused; all have increasing ids."""
    await client.subscribe()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for first in range(0, count, 50):
        await gateway.store(*(stored_event(number, b'"%b"' % (b"x" * size)) for number in range(first, first + 50)))
        await asyncio.sleep(0)


async def test_who_stops_reading_gets_every_event_in_order_when_it_reads_again() -> None:
    count = 4000
    async with (
        port(Limits(stream_buffer=64 * 1024)) as gateway,
        Client.open(gateway) as client,
        Client.open(gateway) as other,
    ):
        await other.subscribe()
        await fill(gateway, client, count)
        slow = next(found for found in gateway.clients if found.paused)
        assert slow._transport.get_write_buffer_size() < 2 * 1024 * 1024
        seen: list[int] = []
        while len(seen) < count:
            seen += [int(found["id"]) for found in (await other.text())["events"]]
        assert seen == list(range(count))
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        seen = []
        while len(seen) < count:
            seen += [int(found["id"]) for found in (await client.text())["events"]]
        assert seen == list(range(count))
        await still_served(client)


async def test_who_takes_nothing_for_too_long_is_cut() -> None:
    async with port(Limits(stream_buffer=64 * 1024), slow_timeout="500ms") as gateway, Client.open(gateway) as client:
        began = time.monotonic()
        await fill(gateway, client, 3000)
        await eventually(lambda: not gateway.clients)
        assert time.monotonic() - began >= 0.5
        assert gateway.metric("linkspan_websocket_closes_total", code="4503") == 1


async def test_who_asks_on_without_taking_the_answers_is_not_read_any_more() -> None:
    async with port(Limits(stream_buffer=4096)) as gateway, Client.open(gateway) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        ping = frame(PING, b"x" * 125) * 1000

        async def ask() -> None:
            for _ in range(1000):
                client.write(ping)
                await client.writer.drain()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await ask()
        [held] = gateway.clients
        assert held._holds
        assert held._transport.get_write_buffer_size() < 2 * 1024 * 1024
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await client.frame() == (0x80 | PONG, b"x" * 125)
        await eventually(lambda: not held._holds or held.paused)


async def test_a_client_is_read_as_fast_as_its_rate_permits() -> None:
    async with port(publish_rate=100_000) as gateway, Client.open(gateway) as client:
        began = time.monotonic()
        for number in range(10):
            client.send({"id": number, "publish": {"topic": "t", "events": [event(data="x" * 20_000)]}})
        for _ in range(10):
            assert "ok" in await client.text()
        # 200,000 bytes, of which a second's worth was there at once: what comes then has to wait for the rest.
        await still_served(client)
        assert time.monotonic() - began > 0.7
        assert len(await gateway.stored()) == 10


async def test_nothing_is_read_while_the_ingress_is_full_and_everything_afterwards() -> None:
    async with port(Limits(memory=2**20)) as gateway, Client.open(gateway) as client:
        client.send({"id": "first", "publish": {"topic": "t", "events": [event()]}})
        await client.text()
        release = gateway.bus.hold("append")
        for number in range(40):
            client.send({"id": number, "publish": {"topic": "t", "events": [event(number, data="x" * 50_000)]}})
        [held] = gateway.clients
        await eventually(lambda: held._holds)
        assert not gateway.ingress.writable
        waiting = gateway.metric("linkspan_ingress_waiting_bytes")
        await asyncio.sleep(0.1)
        assert gateway.metric("linkspan_ingress_waiting_bytes") == waiting < 2**20
        release()
        for _ in range(40):
            assert "ok" in await client.text()
        assert not held._holds
        assert len(await gateway.stored()) == 41


# Fairness


async def test_others_have_their_turn_while_thousands_of_frames_are_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN", 1024)
    async with port() as gateway, Client.open(gateway) as busy, Client.open(gateway) as other:
        count = 10_000
        message = frame(TEXT, b'{"id":1,"ping":{}}')
        busy.write(message * count)
        for number in range(20):
            assert await other.ask({"id": number, "ping": {}}) == {"id": number, "ok": {}}
        for _ in range(count):
            assert await busy.text() == {"id": 1, "ok": {}}
        assert not any(found._holds for found in gateway.clients)


async def test_a_connection_that_ends_in_the_middle_of_a_large_read_handles_no_more_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TURN", 1024)
    async with port() as gateway, Client.open(gateway) as client:
        client.write(frame(TEXT, b'{"id":1,"ping":{}}') + frame(BINARY, b"x") + frame(TEXT, b"{}") * 20_000)
        assert (await client.text())["id"] == 1
        assert (await client.closed())[0] == 1003
        client.write(frame(CLOSE, b"\x03\xeb"))
        assert await client.gone()
        await eventually(lambda: not gateway.clients)
        assert gateway.metric("linkspan_websocket_messages_received_total", kind="ping") == 1
        assert gateway.metric("linkspan_websocket_messages_received_total", kind="invalid") == 0


async def test_a_connection_that_went_while_the_ingress_was_full_hurts_nobody() -> None:
    async with port(Limits(memory=2**20)) as gateway, Client.open(gateway) as client, Client.open(gateway) as other:
        await other.ask({"id": 0, "publish": {"topic": "t", "events": [event()]}})
        release = gateway.bus.hold("append")
        for number in range(40):
            client.send({"id": number, "publish": {"topic": "t", "events": [event(number, data="x" * 50_000)]}})
        await eventually(lambda: not gateway.ingress.writable)
        other.send({"id": 1, "publish": {"topic": "t", "events": [event()]}})
        await eventually(lambda: all(found._holds for found in gateway.clients))
        next(found for found in gateway.clients if found._pending > 1).abort()
        await eventually(lambda: len(gateway.clients) == 1)
        release()
        assert "ok" in await other.text()
        await still_served(other)
        assert gateway.ingress.writable
