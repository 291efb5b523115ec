"""`cloudevents.json` over a real socket: every message is one CloudEvent, both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.bus.contract import TopicChange
from gateway.config.model import Limits
from gateway.errors import BusUnavailable
from tests.conftest import eventually
from tests.unit.websocket_support import (
    CLOUDEVENTS,
    PING,
    TEXT,
    Client,
    Refused,
    event,
    frame,
    handshake,
    port,
    stored_event,
)

BOTH = "/v1/ws?from=t/**&to=t"


def together(*events: dict[str, Any]) -> bytes:
    """Messages that arrive in one read."""
    return b"".join(frame(TEXT, json.dumps(found).encode()) for found in events)


async def test_events_come_one_to_a_message_from_the_start_that_was_asked_for() -> None:
    async with port() as gateway:
        await gateway.store(stored_event(1), stored_event(2))
        async with Client.open(gateway, CLOUDEVENTS, "/v1/ws?from=t/**&start=earliest") as client:
            assert client.headers["sec-websocket-protocol"] == CLOUDEVENTS
            assert [(await client.text())["id"] for _ in range(2)] == ["1", "2"]
            await gateway.store(stored_event(3))
            assert (await client.text())["id"] == "3"


async def test_the_start_is_fixed_before_the_handshake_is_answered() -> None:
    async with port() as gateway:
        release = gateway.bus.hold("bounds")
        async with Client.connected(gateway) as client:
            client.write(handshake(CLOUDEVENTS, "/v1/ws?from=t/**"))
            await eventually(lambda: gateway.clients)
            await gateway.store(stored_event(1))
            release()
            await client.answer()
            await gateway.store(stored_event(2))
            seen = [(await client.text())["id"]]
            if seen == ["1"]:  # it was published before the answer
                seen.append((await client.text())["id"])
            assert seen[-1] == "2"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("from=nowhere/**", 404, "unknown_topic"),
        ("from=_internal", 400, "invalid_address"),
        ("from=t/**&start=soon", 400, "invalid_position"),
        ("from=t/**&filter=a%20%3D", 400, "invalid_filter"),
        ("to=t&filter=a", 400, "invalid_request"),
        ("to=nowhere", 404, "unknown_topic"),
        ("from=t/**&token=x", 400, "invalid_request"),
        ("from=t/**&access_token=wrong", 401, "unauthenticated"),
    ],
)
async def test_what_cannot_be_read_is_an_http_answer(query: str, status: int, code: str) -> None:
    async with port() as gateway:
        with pytest.raises(Refused) as refused:
            async with Client.open(gateway, CLOUDEVENTS, f"/v1/ws?{query}"):
                pass
        assert (refused.value.status, refused.value.problem["code"]) == (status, code)
        assert refused.value.headers["content-type"] == "application/problem+json"
        await eventually(lambda: not gateway.clients)
        assert gateway.metric("linkspan_websocket_subscriptions") == 0
        assert gateway.metric("linkspan_websocket_handshakes_total", status=str(status)) == 1


async def test_a_defect_while_it_is_opened_is_a_500(monkeypatch: pytest.MonkeyPatch) -> None:
    async with port() as gateway:

        async def broken(self: Any, *args: Any) -> None:
            raise ZeroDivisionError("a defect")

        monkeypatch.setattr(type(gateway.views), "subscribe", broken)
        with pytest.raises(Refused) as refused:
            async with Client.open(gateway, CLOUDEVENTS, "/v1/ws?from=t/**"):
                pass
        assert (refused.value.status, refused.value.problem["code"]) == (500, "internal")


async def test_events_that_are_sent_are_stored_and_not_answered() -> None:
    async with port() as gateway, Client.open(gateway, CLOUDEVENTS, BOTH) as client:
        client.send(event(1, subject="a"))
        client.send(event(2))
        assert [(await client.text())["id"] for _ in range(2)] == ["1", "2"]
        assert [found.subject for found in await gateway.stored()] == ["a", None]
        assert gateway.metric("linkspan_websocket_published_events_total") == 2
        assert gateway.metric("linkspan_websocket_messages_received_total", kind="event") == 2


async def test_a_refused_event_is_answered_by_an_event_that_names_it() -> None:
    async with port() as gateway, Client.open(gateway, CLOUDEVENTS, BOTH) as client:
        bad = event(7)
        del bad["source"]
        told = await client.ask(bad)
        assert (told["specversion"], told["type"], told["source"]) == (
            "1.0",
            "io.linkspan.error",
            "//test/websocket/gateway",
        )
        assert (told["data"]["code"], told["data"]["id"], told["data"]["retry"]) == ("invalid_event", "7", False)
        told = await client.ask(b"no json")
        assert (told["data"]["code"], "id" in told["data"]) == ("invalid_event", False)
        client.send(event(8))
        assert (await client.text())["id"] == "8"


async def test_of_several_events_only_those_at_fault_are_refused() -> None:
    async with port(Limits(event=1024)) as gateway, Client.open(gateway, CLOUDEVENTS, "/v1/ws?to=t") as client:
        client.write(together(event(1), event(2, data="x" * 2000), event(3)))
        told = await client.text()
        assert (told["data"]["code"], told["data"]["id"]) == ("too_large", "2")
        await eventually(lambda: gateway.metric("linkspan_websocket_published_events_total") == 2)
        assert [found.attributes["id"] for found in await gateway.stored()] == ["1", "3"]


async def test_more_events_than_a_batch_holds_are_several() -> None:
    async with port(Limits(batch=2)) as gateway, Client.open(gateway, CLOUDEVENTS, BOTH) as client:
        client.write(together(*map(event, range(5))))
        assert [(await client.text())["id"] for _ in range(5)] == ["0", "1", "2", "3", "4"]


async def test_what_the_bus_refuses_is_told_for_each_event() -> None:
    async with port() as gateway, Client.open(gateway, CLOUDEVENTS, "/v1/ws?to=t") as client:
        gateway.bus.fail_next("append", BusUnavailable("the log is away"))
        client.write(together(*map(event, range(2))))
        told = [await client.text(), await client.text()]
        assert [(found["data"]["code"], found["data"]["id"], found["data"]["retry"]) for found in told] == [
            ("bus_unavailable", "0", True),
            ("bus_unavailable", "1", True),
        ]


async def test_a_topic_is_made_on_first_use_and_one_that_went_is_told() -> None:
    async with port(auto_create=True) as gateway, Client.open(gateway, CLOUDEVENTS, "/v1/ws?to=new") as client:
        client.send(event(1))
        await eventually(lambda: gateway.metric("linkspan_websocket_published_events_total") == 1)
    async with port() as gateway, Client.open(gateway, CLOUDEVENTS, "/v1/ws?to=t") as client:
        await gateway.bus.delete_topic("t")
        told = await client.ask(event(1))
        assert (told["data"]["code"], told["data"]["id"]) == ("unknown_topic", "1")


async def test_who_only_reads_is_told_so_and_cut_when_it_goes_on() -> None:
    async with port() as gateway, Client.open(gateway, CLOUDEVENTS, "/v1/ws?from=t/**") as client:
        for number in range(10):
            told = await client.ask(event(number))
            assert (told["data"]["code"], told["data"]["id"]) == ("invalid_request", str(number))
        assert await client.closed() == (4400, "10 messages in a row were refused")


async def test_a_gap_is_an_event() -> None:
    async with port() as gateway:
        await gateway.store(stored_event(0))
        await gateway.store(stored_event(1))
        async with Client.open(gateway) as other:
            cursor = (await other.subscribe(start="earliest"))["cursor"]
        gateway.bus.truncate("t", 0, 1)
        async with Client.open(gateway, CLOUDEVENTS, f"/v1/ws?from=t/**&start={cursor}") as client:
            told = await client.text()
            assert (told["type"], told["data"]["to_offset"]) == ("io.linkspan.gap", 1)
            assert (await client.text())["id"] == "1"


async def test_the_connection_ends_with_its_topic() -> None:
    async with port() as gateway, Client.open(gateway, CLOUDEVENTS, "/v1/ws?from=t/**") as client:
        client.write(frame(PING))
        assert (await client.frame())[0] == 0x8A
        await gateway.bus.delete_topic("t")
        told = await client.text()
        assert (told["type"], told["data"]["code"]) == ("io.linkspan.error", "deleted")
        code, reason = await client.closed()
        assert (code, "deleted" in reason) == (4401, True)


async def test_a_subscription_that_the_gateway_ends_may_be_resumed_elsewhere() -> None:
    async with port() as gateway, Client.open(gateway, CLOUDEVENTS, "/v1/ws?from=t/**") as client:
        await gateway.views.close()
        assert (await client.text())["data"]["code"] == "closed"
        assert (await client.closed())[0] == 4500


async def test_two_readers_of_the_same_share_a_view() -> None:
    async with (
        port() as gateway,
        Client.open(gateway, CLOUDEVENTS, "/v1/ws?from=t/**") as one,
        Client.open(gateway, CLOUDEVENTS, "/v1/ws?from=t/**") as two,
    ):
        await gateway.store(stored_event(1))
        assert await one.text() == await two.text()
        assert [view.members for view in gateway.views.views()] == [2]


async def test_a_topic_that_changed_is_looked_up_again_and_one_that_cannot_be_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*args: Any) -> None:
        raise BusUnavailable("the log is away")

    async with port() as gateway, Client.open(gateway, CLOUDEVENTS, BOTH) as client:
        gateway.topics.on_topic("t", TopicChange.PARTITIONS)  # it is known no longer
        client.write(together(event(1), event(2)))
        assert [(await client.text())["id"] for _ in range(2)] == ["1", "2"]
        gateway.topics.on_topic("t", TopicChange.PARTITIONS)
        monkeypatch.setattr(gateway.topics, "ensure", away)
        client.write(together(event(3), event(4)))
        told = [(await client.text())["data"] for _ in range(2)]
        assert [(found["code"], found["id"]) for found in told] == [("bus_unavailable", "3"), ("bus_unavailable", "4")]


async def test_who_stops_reading_gets_every_event_when_it_reads_again() -> None:
    count = 3000
    async with (
        port(Limits(stream_buffer=64 * 1024)) as gateway,
        Client.open(gateway, CLOUDEVENTS, "/v1/ws?from=t/**") as client,
    ):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for first in range(0, count, 50):
            await gateway.store(*(stored_event(number, b'"%b"' % (b"x" * 5000)) for number in range(first, first + 50)))
        assert gateway.clients[0].paused
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert [int((await client.text())["id"]) for _ in range(count)] == list(range(count))
