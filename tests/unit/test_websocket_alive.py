"""What the kernel knows of the other side."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from protocols.websocket.alive import seconds_since_ack
from tests.conftest import eventually


class Transport(asyncio.BaseTransport):
    def __init__(self, sock: Any) -> None:
        super().__init__({"socket": sock})


@pytest.fixture
def pair() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            yield accepted, client


async def test_an_acknowledgement_is_seen_though_the_program_reads_nothing(pair: Any) -> None:
    transport = Transport(pair[0])
    await asyncio.sleep(0.3)
    silence = seconds_since_ack(transport)
    assert silence is not None
    assert silence >= 0.2
    pair[0].send(b"x")
    await eventually(lambda: (seconds_since_ack(transport) or 0) < 0.2)


def test_what_the_system_does_not_tell_is_none(
    pair: tuple[socket.socket, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seconds_since_ack(Transport(None)) is None
    one, two = socket.socketpair()
    with one, two:
        assert seconds_since_ack(Transport(one)) is None
    assert seconds_since_ack(Transport(one)) is None
    monkeypatch.delattr(socket, "TCP_INFO")
    assert seconds_since_ack(Transport(pair[0])) is None


def test_a_kernel_that_tells_less_is_not_misread() -> None:
    class Old:
        def getsockopt(self, *args: int) -> bytes:
            return b"\0" * 20

    assert seconds_since_ack(Transport(Old())) is None
