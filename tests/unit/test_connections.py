"""The registry of clients."""

from __future__ import annotations

import pytest

from gateway.errors import NotFound
from gateway.operate.connections import Connection, Connections


class Client:
    def __init__(self) -> None:
        self.ended = False

    def describe(self, id: str) -> Connection:
        return Connection(id, "test", "peer", "who", "now")

    def disconnect(self) -> None:
        self.ended = True


def test_clients_are_listed_in_order_and_have_names_of_their_own() -> None:
    connections = Connections()
    first, second = connections.add("a", Client()), connections.add("b", Client())
    assert [found.id for found in connections.list()] == [first, second]
    connections.remove(first)
    connections.remove(first)
    assert len(connections) == 1
    assert connections.add("a", Client()) != first


def test_a_client_is_ended_by_its_name() -> None:
    connections, client = Connections(), Client()
    connections.disconnect(connections.add("a", client))
    assert client.ended
    with pytest.raises(NotFound):
        connections.disconnect("a-999")
