"""`linkspan.v1` over a real socket: subscriptions, publishing and answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from auth.principal import ANONYMOUS
from gateway.bus.contract import TopicSettings
from gateway.config.model import Limits
from gateway.errors import BusUnavailable
from gateway.validation import TopicSchema
from tests.conftest import eventually
from tests.unit.websocket_support import Client, event, port, stored_event


async def publish(client: Client, *events: dict[str, Any], id: int | str = "p", topic: str = "t", **more: Any) -> Any:
    client.send({"id": id, "publish": {"topic": topic, "events": list(events), **more}})
    while True:
        told = await client.text()
        if told.get("id") == id:
            return told


async def test_what_is_published_after_the_answer_is_delivered_with_a_cursor() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        told = await client.subscribe()
        assert set(told) == {"sid", "cursor"}
        await gateway.store(stored_event(1, subject="a"), stored_event(2, subject="b"))
        message = await client.text()
        assert (message["sid"], [found["id"] for found in message["events"]]) == (1, ["1", "2"])
        await gateway.store(stored_event(3))
        assert [found["id"] for found in (await client.text())["events"]] == ["3"]
        await client.subscribe(id="again", start=message["cursor"])
        again = await client.text()
        assert (again["sid"], [found["id"] for found in again["events"]]) == ("again", ["3"])


async def test_the_cursor_of_the_answer_resumes_from_there() -> None:
    async with port() as gateway:
        async with Client.open(gateway) as client:
            cursor = (await client.subscribe())["cursor"]
        await gateway.store(stored_event(1))
        async with Client.open(gateway) as client:
            await client.subscribe(start=cursor)
            assert (await client.text())["events"][0]["id"] == "1"


async def test_subjects_and_topics_are_chosen_by_patterns() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        await client.subscribe(["t/a/*", "t/b"], id="x")
        await gateway.store(
            *(stored_event(number, subject=subject) for number, subject in enumerate(["a/1", "a", "b"]))
        )
        assert [found["subject"] for found in (await client.text())["events"]] == ["a/1", "b"]


async def test_a_limit_ends_the_subscription_with_a_word() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        await gateway.store(*(stored_event(number) for number in range(5)))
        await client.subscribe(start="earliest", limit=3)
        assert [found["id"] for found in (await client.text())["events"]] == ["0", "1", "2"]
        assert await client.text() == {
            "sid": 1,
            "end": {"code": "limit", "message": "the limit of events was reached", "retry": False},
        }
        await client.subscribe(start="last:1")  # the id is free again
        assert [found["id"] for found in (await client.text())["events"]] == ["4"]
        assert gateway.metric("linkspan_websocket_subscriptions") == 1


async def test_a_deleted_topic_ends_the_subscription_and_nothing_else() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        await client.subscribe()
        await gateway.bus.delete_topic("t")
        told = await client.text()
        assert (told["sid"], told["end"]["code"], told["end"]["retry"]) == (1, "deleted", False)
        assert (await client.ask({"id": 2, "ping": {}})) == {"id": 2, "ok": {}}


async def test_after_an_unsubscribe_nothing_comes_and_its_cursor_resumes() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        await client.subscribe()
        await gateway.store(stored_event(1))
        await client.text()
        told = await client.ask({"id": 2, "unsubscribe": {"sid": 1}})
        assert (told["id"], told["ok"]["sid"]) == (2, 1)
        await gateway.store(stored_event(2))
        assert (await client.ask({"id": 3, "ping": {}}))["id"] == 3
        await client.subscribe(start=told["ok"]["cursor"])
        assert [found["id"] for found in (await client.text())["events"]] == ["2"]


async def test_an_unsubscribe_that_overtakes_its_subscribe_ends_it() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        client.send({"id": 1, "subscribe": {"from": "t/**"}})
        client.send({"id": 2, "unsubscribe": {"sid": 1}})
        first, second = await client.text(), await client.text()
        if "error" in first:  # both came in one read
            assert (first["id"], first["error"]["code"]) == (1, "unsubscribed")
        assert second == {"id": 2, "ok": {"sid": 1}} or second["ok"]["sid"] == 1
        await gateway.store(stored_event(1))
        assert (await client.ask({"id": 3, "ping": {}}))["id"] == 3
        assert gateway.metric("linkspan_websocket_subscriptions") == 0


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"id": 2, "subscribe": {"from": "nowhere/**"}}, "unknown_topic"),
        ({"id": 2, "subscribe": {"from": "_internal/**"}}, "invalid_address"),
        ({"id": 2, "subscribe": {"from": "t/**", "start": "soon"}}, "invalid_position"),
        ({"id": 2, "subscribe": {"from": "t/**", "limit": 0}}, "invalid_request"),
        ({"id": 2, "subscribe": {"from": []}}, "invalid_request"),
        ({"id": 2, "subscribe": {"name": "desk-a"}}, "not_available"),
        ({"id": 1, "subscribe": {"from": "t/**"}}, "duplicate_id"),
        ({"id": 2, "unsubscribe": {"sid": 7}}, "unknown_subscription"),
        ({"id": 2, "unsubscribe": {"sid": "1"}}, "unknown_subscription"),
        ({"id": 2, "publish": {"topic": "nowhere", "events": [event()]}}, "unknown_topic"),
        ({"id": 2, "publish": {"topic": "a/b", "events": [event()]}}, "invalid_address"),
        ({"id": 2, "publish": {"topic": "_x", "events": [event()]}}, "invalid_address"),
        ({"id": 2, "publish": {"topic": "t", "events": [{"id": "1"}]}}, "invalid_event"),
        ({"id": 2, "publish": {"topic": "t", "events": {}}}, "invalid_event"),
        ({"id": 2, "publish": {"topic": "t", "subject": "a+", "events": [event()]}}, "invalid_address"),
        ({"id": 2, "publish": {"topic": "t", "subject": "a", "events": [event(subject="b")]}}, "invalid_event"),
        ({"id": 2, "ack": {"sid": 1, "tokens": ["x"]}}, "not_available"),
        ({"id": 2, "nack": {"sid": 1, "tokens": ["x"]}}, "not_available"),
        ({"id": 2, "auth": {"token": "x"}}, "not_available"),
        ({"id": 2, "acknowledge": {}}, "invalid_message"),
        ({"ping": {}}, "invalid_message"),
    ],
)
async def test_what_cannot_be_done_is_an_error_and_the_connection_goes_on(message: Any, code: str) -> None:
    async with port() as gateway, Client.open(gateway) as client:
        await client.subscribe()
        told = await client.ask(message)
        assert (told["id"], told["error"]["code"], told["error"]["retry"]) == (message.get("id"), code, False)
        assert await client.ask({"id": "still", "ping": {}}) == {"id": "still", "ok": {}}
        await gateway.store(stored_event(1))
        assert (await client.text())["sid"] == 1


async def test_a_batch_is_stored_before_it_is_answered_with_positions() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        told = await publish(client, event(1), event(2, data="x", datacontenttype="text/plain"), subject="a/b")
        assert told == {"id": "p", "ok": {"count": 2, "positions": [[0, 0], [0, 1]]}}
        stored = await gateway.stored()
        assert [(found.attributes["id"], found.subject, found.data) for found in stored] == [
            ("1", "a/b", b'{"n": 1}'),
            ("2", "a/b", b"x"),
        ]
        assert (await publish(client)) == {"id": "p", "ok": {"count": 0, "positions": []}}
        assert gateway.metric("linkspan_websocket_published_events_total") == 2
        assert gateway.metric("linkspan_websocket_messages_received_total", kind="publish") == 2


async def test_faults_of_a_batch_have_their_place() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        bad = event(2)
        del bad["source"]
        told = await publish(client, event(1), bad)
        assert told["error"]["faults"] == [{"where": "events[1].source", "message": "is required", "index": 1}]
        assert await gateway.stored() == []


async def test_the_answer_tells_which_events_a_schema_diverted() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        await gateway.schemas.add("s", "json", '{"type": "object"}', None, None, ANONYMOUS)
        await gateway.bus.create_topic("bad", TopicSettings(partitions=1))
        setting = TopicSchema("s", on_invalid="divert", divert_to="bad")
        await gateway.topics.put("t", TopicSettings(), None, ANONYMOUS, schema=setting)
        told = await publish(client, event(1, data=5), event(2))
        diverted = {"index": 0, "topic": "bad", "position": [0, 0], "reason": '5 is not of type "object"'}
        assert told["ok"] == {"count": 2, "positions": [None, [0, 0]], "diverted": [diverted]}


async def test_a_topic_is_made_on_first_use_and_order_is_kept_meanwhile() -> None:
    async with port(auto_create=True) as gateway, Client.open(gateway) as client:
        for number in range(20):
            client.send({"id": number, "publish": {"topic": "new", "subject": "k", "events": [event(number)]}})
        client.send({"id": "p", "ping": {}})
        told = [await client.text() for _ in range(21)]
        assert sorted(str(answer["id"]) for answer in told) == sorted([*map(str, range(20)), "p"])
        assert all("ok" in answer for answer in told)
        assert [found.attributes["id"] for found in await gateway.stored("new")] == [str(n) for n in range(20)]


async def test_two_unknown_topics_in_a_row_are_looked_up_one_after_the_other() -> None:
    async with port(auto_create=True) as gateway, Client.open(gateway) as client:
        for topic in ("one", "a b", "two", "one"):
            client.send({"id": topic, "publish": {"topic": topic, "events": [event()]}})
        told = [await client.text() for _ in range(4)]
        assert sorted(answer["id"] for answer in told if "ok" in answer) == ["one", "one", "two"]
        assert [answer["error"]["code"] for answer in told if "error" in answer] == ["invalid_address"]
        assert len(await gateway.stored("one")) == 2


async def test_the_publisher_is_told_when_an_event_is_too_large_and_others_are_not_hurt() -> None:
    async with port(Limits(event=1024)) as gateway, Client.open(gateway) as client:
        told = await publish(client, event(1), event(2, data="x" * 2000))
        assert (told["error"]["code"], told["error"]["faults"][0]["index"]) == ("too_large", 1)
        assert (await publish(client, event(1)))["ok"]["count"] == 1


async def test_there_are_only_so_many_subscriptions() -> None:
    async with port(subscriptions=2) as gateway, Client.open(gateway) as client:
        await client.subscribe(id=1)
        await client.subscribe(id=2)
        told = await client.ask({"id": 3, "subscribe": {"from": "t/**"}})
        assert (told["error"]["code"], told["error"]["retry"]) == ("limit_exceeded", True)
        await client.ask({"id": 4, "unsubscribe": {"sid": 1}})
        await client.subscribe(id=3)
        assert gateway.metric("linkspan_websocket_subscriptions") == 2


async def test_ten_messages_beyond_understanding_in_a_row_end_the_connection() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        for round_ in range(2):
            for _ in range(9):
                assert (await client.ask(b"{"))["id"] is None
            assert await client.ask({"id": round_, "ping": {}}) == {"id": round_, "ok": {}}
        for _ in range(10):
            await client.ask(b"[]")
        assert await client.closed() == (4400, "10 messages in a row could not be understood")
        assert gateway.metric("linkspan_websocket_messages_received_total", kind="invalid") == 28


async def test_equal_subscriptions_share_a_view_and_others_do_not() -> None:
    async with port() as gateway:
        async with Client.open(gateway) as one, Client.open(gateway) as two, Client.open(gateway) as three:
            await one.subscribe()
            await two.subscribe()
            await three.subscribe(id="x")
            await gateway.store(stored_event(1))
            assert (await one.text()) == (await two.text())
            assert (await three.text())["sid"] == "x"
            assert sorted(view.members for view in gateway.views.views()) == [1, 2]
        await eventually(lambda: not gateway.clients)


async def test_who_leaves_takes_its_subscriptions_along() -> None:
    async with port() as gateway:
        async with Client.open(gateway) as client:
            for id in range(5):
                await client.subscribe(id=id)
            client.send({"id": 9, "subscribe": {"from": "t/**"}})
        await eventually(lambda: not gateway.clients)
        assert gateway.metric("linkspan_websocket_subscriptions") == 0
        assert gateway.views.views() == []


async def test_a_gap_is_told_where_events_were_removed() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        cursor = (await client.subscribe())["cursor"]
        await client.ask({"id": 2, "unsubscribe": {"sid": 1}})
        await gateway.store(*(stored_event(number) for number in range(3)))
        await gateway.store(stored_event(3))
        gateway.bus.truncate("t", 0, 3)
        await client.subscribe(start=cursor)
        told = await client.text()
        gap = {"topic": "t", "partition": 0, "from_offset": 0, "to_offset": 3, "reason": "retention"}
        assert (told["sid"], told["gap"]) == (1, gap)
        assert [found["id"] for found in (await client.text())["events"]] == ["3"]


async def test_a_cursor_of_a_topic_made_anew_is_expired_or_told_as_a_gap() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        await gateway.store(stored_event(1))
        cursor = (await client.subscribe())["cursor"]
        await gateway.bus.delete_topic("t")
        assert (await client.text())["end"]["code"] == "deleted"
        told = await client.ask({"id": 2, "subscribe": {"from": "t/**", "start": cursor}})
        assert told["error"]["code"] in ("unknown_topic", "cursor_expired")


async def test_a_defect_in_views_ends_the_connection_with_1011(monkeypatch: pytest.MonkeyPatch) -> None:
    async with port() as gateway, Client.open(gateway) as client, Client.open(gateway) as other:

        async def broken(self: Any, *args: Any) -> None:
            raise ZeroDivisionError("a defect")

        monkeypatch.setattr(type(gateway.views), "subscribe", broken)
        client.send({"id": 1, "subscribe": {"from": "t/**"}})
        assert (await client.closed())[0] == 1011
        assert await other.ask({"id": 2, "ping": {}}) == {"id": 2, "ok": {}}


async def test_blocks_are_compressed_where_that_was_agreed_and_answers_are_not() -> None:
    headers: dict[str, str | None] = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    async with port() as gateway, Client.open(gateway, headers=headers) as client:
        assert "permessage-deflate" in client.headers["sec-websocket-extensions"]
        await client.subscribe()
        await gateway.store(*(stored_event(number, json.dumps("x" * 100).encode()) for number in range(20)))
        first, payload = await client.frame()
        assert first == 0xC1
        assert len(payload) < 1000


async def test_a_bus_that_fails_is_told_with_retry() -> None:
    async with port() as gateway, Client.open(gateway) as client:
        assert (await publish(client, event(1)))["ok"]
        gateway.bus.fail_next("append", BusUnavailable("the log is away"))
        told = await publish(client, event(2))
        assert (told["error"]["code"], told["error"]["retry"]) == ("bus_unavailable", True)
