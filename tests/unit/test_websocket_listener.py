"""The listener: its address, TLS, and how it lets go of its connections."""

from __future__ import annotations

import asyncio
import ssl
import time

import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gateway.config.model import Limits
from protocols.websocket.listener import WebSocketListener
from protocols.websocket.settings import WebSocketSettings
from tests.conftest import eventually
from tests.unit.websocket_support import (
    CLOSE,
    CLOUDEVENTS,
    NATIVE,
    Client,
    Port,
    event,
    frame,
    handshake,
    port,
    stored_event,
)


async def test_the_address_tells_the_whole_url() -> None:
    gateway = Port(Limits())
    await gateway.bus.start()
    for host, shown in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
        listener = WebSocketListener(WebSocketSettings(host=host), gateway)
        try:
            [address] = await listener.start()
        finally:
            await listener.close()
        assert address.listener == "websocket"
        assert address.url == f"ws://{shown}:{address.port}/v1/ws"
    await gateway.bus.close()


async def test_a_port_that_is_taken_is_told() -> None:
    async with port() as gateway:
        second = WebSocketListener(WebSocketSettings(port=gateway.port), gateway)
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
    gateway = Port(Limits())
    gateway.context = context
    await gateway.start(WebSocketSettings(max_message=2048))
    try:
        url = f"wss://127.0.0.1:{gateway.port}/v1/ws"
        async with connect(url, ssl=trusting, subprotocols=[Subprotocol(NATIVE)], proxy=None) as client:
            await client.send('{"id":1,"ping":{}}')
            assert await client.recv() == '{"id":1,"ok":{}}'
            await client.send("x" * 3000)
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
    finally:
        await gateway.close()


async def test_a_drain_accepts_nobody_and_tells_everybody_to_come_back() -> None:
    async with port() as gateway:
        async with (
            Client.open(gateway) as native,
            Client.open(gateway, CLOUDEVENTS, "/v1/ws?from=t/**") as plain,
            Client.connected(gateway) as silent,
        ):
            await native.subscribe()
            await eventually(lambda: len(gateway.clients) == 3)
            draining = asyncio.create_task(gateway.listener.drain(10))
            for client in (native, plain):
                code, reason = await client.closed()
                assert (code, "shutting down" in reason) == (1012, True)
                client.write(frame(CLOSE, b"\x03\xf4"))
                assert await client.gone()
            assert (await silent.reader.read()).startswith(b"HTTP/1.1 503")
            silent.writer.close()
            began = time.monotonic()
            await draining
            assert time.monotonic() - began < 5
            with pytest.raises(OSError, match=r".*"):
                await asyncio.open_connection("127.0.0.1", gateway.port)
        assert gateway.metric("linkspan_websocket_closes_total", code="1012") == 2


async def test_a_drain_answers_what_was_published_before() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        client.send({"id": 1, "publish": {"topic": "t", "events": [event()]}})
        await client.text()
        release = gateway.bus.hold("append")
        client.send({"id": 2, "publish": {"topic": "t", "events": [event()]}})
        [connection] = gateway.clients
        await eventually(lambda: connection._pending)
        draining = asyncio.create_task(gateway.listener.drain(10))
        await asyncio.sleep(0.05)
        release()
        assert (await client.text())["ok"]["count"] == 1
        assert (await client.closed())[0] == 1012
        client.write(frame(CLOSE, b"\x03\xf4"))
        await draining
        assert len(await gateway.stored()) == 2


async def test_a_handshake_during_a_drain_is_sent_away() -> None:
    async with port() as gateway, Client.connected(gateway) as client:
        await eventually(lambda: gateway.clients)
        gateway.listener.door.draining = True
        client.write(handshake())
        assert (await client.reader.read()).startswith(b"HTTP/1.1 503")


async def test_who_does_not_answer_is_left_when_the_time_is_up() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        await client.subscribe()
        await gateway.listener.drain(0.1)
        assert len(gateway.clients) == 1
        await gateway.listener.close()
        await eventually(lambda: not gateway.clients)
        assert await client.gone()


async def test_closing_lets_go_of_everything_at_once() -> None:
    async with port() as gateway:
        async with Client.open(gateway) as client, Client.connected(gateway) as silent:
            await client.subscribe()
            gateway.bus.hold("bounds")
            client.send({"id": 2, "subscribe": {"from": "t/**", "start": "earliest"}})
            await asyncio.sleep(0.02)
            await gateway.listener.close()
            assert await client.gone()
            assert await silent.gone()
        await eventually(lambda: not gateway.clients)
        assert gateway.views.views() == []


async def test_delivery_goes_on_while_others_are_looked_after() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        await client.subscribe()
        await asyncio.sleep(1.2)  # the clock has ticked
        await gateway.store(stored_event(1))
        assert (await client.text())["events"][0]["id"] == "1"
