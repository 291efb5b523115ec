"""The messages of `linkspan.v1`, without a connection."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import DiskFull, Fault, InvalidEvent, InvalidInput, LinkspanError, NotAvailable, UnknownTopic
from protocols.websocket.codec import (
    KINDS,
    Asked,
    InvalidMessage,
    Publish,
    Subscribe,
    decode,
    ended,
    failed,
    not_available,
    ok,
    plain,
    subscribe_of,
    unsubscribe_of,
)


def asked(message: Any) -> Asked:
    return decode(json.dumps(message).encode())


def refused(message: Any) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as error:
        decode(message if isinstance(message, bytes) else json.dumps(message).encode())
    return error.value


def subscribe(**members: Any) -> Subscribe:
    message = asked({"id": 1, "subscribe": members})
    assert not isinstance(message.body, Publish)
    return subscribe_of(message.body, message.id)


def subscribe_refused(**members: Any) -> LinkspanError:
    with pytest.raises(LinkspanError) as error:
        subscribe(**members)
    return error.value


def test_publishing_keeps_the_events_as_they_came() -> None:
    message = decode(b'{"id": 7, "publish": {"topic": "t", "subject": "a/b", "events": [ {"id" : "1"} ]}}')
    assert isinstance(message.body, Publish)
    assert (message.id, message.kind, message.body.topic, message.body.subject) == (b"7", "publish", "t", "a/b")
    assert bytes(message.body.events) == b'[ {"id" : "1"} ]'


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "publish"])
def test_every_other_kind_is_known(kind: str) -> None:
    message = asked({kind: {}, "id": "x"})
    assert (message.id, message.kind) == (b'"x"', kind)


@pytest.mark.parametrize("id", [0, -1, 2**53, "1", "x" * 64, "ü", 'a"b'])
def test_an_id_is_an_integer_or_a_short_string_and_comes_back(id: int | str) -> None:
    message = asked({"id": id, "ping": {}})
    assert plain(message.id) == id
    assert json.loads(ok(message.id, {})) == {"id": id, "ok": {}}


def test_the_number_and_the_text_are_two_ids() -> None:
    assert asked({"id": 1, "ping": {}}).id != asked({"id": "1", "ping": {}}).id


@pytest.mark.parametrize("id", [None, True, 1.5, "", "x" * 65, [], {}])
@pytest.mark.parametrize("body", [{"ping": {}}, {"publish": {"topic": "t", "events": []}}])
def test_other_ids_are_refused_without_an_id(id: Any, body: dict[str, Any]) -> None:
    assert refused({"id": id, **body}).id == b"null"


@pytest.mark.parametrize(
    ("message", "id", "told"),
    [
        (b"", b"null", "not JSON"),
        (b"{", b"null", "not JSON"),
        (b'{"id":1,"ping":{}} x', b"null", "not JSON"),
        (b"[]", b"null", "JSON object"),
        (b"null", b"null", "JSON object"),
        (b'"x"', b"null", "JSON object"),
        (b'{"ping":{}}', b"null", "needs an id"),
        (b'{"id":1}', b"1", "nothing"),
        (b'{"id":1,"ping":{},"subscribe":{}}', b"1", "ping, subscribe"),
        (b'{"id":1,"pong":{}}', b"1", "'ping' was meant?"),
        (b'{"id":1,"zzz":{}}', b"1", "there are subscribe"),
        (b'{"id":1,"publish":{"topic":"t"}}', b"1", "events"),
        (b'{"id":1,"publish":{"topic":1,"events":[]}}', b"1", "topic"),
        (b'{"id":1,"publish":{"topic":"t","events":[],"subjects":"x"}}', b"1", "subjects"),
        (b'{"id":1,"publish":[]}', b"1", "publish"),
        (b'{"id":"\\ud800","ping":{}}', b"null", "surrogate"),
        (b'{"id":1,"ping":' + b"[" * 5000 + b"]" * 5000 + b"}", b"null", "deep"),
        (b"[" * 5000, b"null", ""),
    ],
)
def test_what_cannot_be_understood_is_told_with_its_id_where_it_has_one(message: bytes, id: bytes, told: str) -> None:
    error = refused(message)
    assert (error.code, error.id) == ("invalid_message", id)
    assert told in error.message


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        decode(data)
    except InvalidMessage as error:
        json.loads(failed(error.id, error))


# Subscribing


def test_a_subscription_names_addresses_and_has_defaults() -> None:
    wanted = subscribe(**{"from": "signals/+/#"})
    assert [str(source) for source in wanted.request.sources] == ["signals/*/**"]
    assert (wanted.request.start.kind, wanted.request.limit, wanted.overflow) == ("latest", None, "catch-up")


def test_everything_that_may_be_said_is_heard() -> None:
    wanted = subscribe(**{"from": ["a", "b/**"], "start": "last:3", "limit": 5, "delivery": {"overflow": "drop"}})
    assert [str(source) for source in wanted.request.sources] == ["a", "b/**"]
    assert (wanted.request.start.kind, wanted.request.start.value) == ("last", 3)
    assert (wanted.request.limit, wanted.overflow) == (5, "drop")
    assert subscribe(**{"from": "a", "delivery": {}}).overflow == "catch-up"


@pytest.mark.parametrize("key", ["name", "sink", "expires"])
def test_what_comes_later_is_named(key: str) -> None:
    error = subscribe_refused(**{"from": "t", key: "x"})
    assert isinstance(error, NotAvailable)
    assert repr(key) in error.message


@pytest.mark.parametrize(
    "key", ["ordering", "in_flight", "ack_timeout", "attempts", "backoff", "dead_letter", "priority"]
)
def test_delivery_settings_that_come_later_are_named(key: str) -> None:
    error = subscribe_refused(**{"from": "t", "delivery": {key: 1}})
    assert isinstance(error, NotAvailable)
    assert repr(key) in error.message


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({}, "from"),
        ({"from": 1}, "from"),
        ({"from": ["a", 1]}, "from"),
        ({"from": "a", "form": "b"}, "form"),
        ({"from": "a", "start": 1}, "start"),
        ({"from": "a", "limit": "5"}, "limit"),
        ({"from": "a", "limit": 1.5}, "limit"),
        ({"from": "a", "delivery": {"overflow": "ctach-up"}}, "overflow"),
        ({"from": "a", "delivery": {"overflwo": "drop"}}, "overflwo"),
    ],
)
def test_what_is_wrong_with_a_subscription_is_named(members: dict[str, Any], where: str) -> None:
    error = subscribe_refused(**members)
    assert isinstance(error, InvalidInput)
    assert error.faults[0].where == where


@pytest.mark.parametrize("body", [1, [], "x", None])
def test_a_subscription_is_an_object(body: Any) -> None:
    message = asked({"id": 1, "subscribe": body})
    with pytest.raises(InvalidMessage):
        subscribe_of(message.body, message.id)  # type: ignore[arg-type]
    with pytest.raises(InvalidMessage):
        subscribe(**{"from": "t", "delivery": body})


def test_an_unsubscribe_names_a_subscription() -> None:
    message = asked({"id": 2, "unsubscribe": {"sid": "a"}})
    assert unsubscribe_of(message.body, message.id) == b'"a"'  # type: ignore[arg-type]
    bodies: list[Any] = [{}, {"sid": None}, {"sid": 1, "x": 1}, []]
    for body in bodies:
        message = asked({"id": 2, "unsubscribe": body})
        with pytest.raises(InvalidMessage) as error:
            unsubscribe_of(message.body, message.id)  # type: ignore[arg-type]
        assert error.value.id == b"2"


# Answers


def test_errors_say_whether_to_try_again_and_bring_faults_and_details() -> None:
    assert json.loads(failed(b"1", UnknownTopic("t"))) == {
        "id": 1,
        "error": {"code": "unknown_topic", "message": "topic 't' does not exist", "retry": False, "topic": "t"},
    }
    told = json.loads(failed(b'"x"', InvalidEvent("no", faults=(Fault("events[1].id", "is required", 1),))))
    assert told["error"]["faults"] == [{"where": "events[1].id", "message": "is required", "index": 1}]
    assert json.loads(failed(b"1", DiskFull("full", code="other")))["error"]["retry"] is True
    assert json.loads(failed(b"1", DiskFull("full", code="other")))["error"]["code"] == "disk_full"


def test_an_end_has_its_cause_or_its_error() -> None:
    assert json.loads(ended(b"1", "limit", None)) == {
        "sid": 1,
        "end": {"code": "limit", "message": "the limit of events was reached", "retry": False},
    }
    assert json.loads(ended(b"1", "failed", DiskFull("full")))["end"]["code"] == "disk_full"
    for cause in ("deleted", "recreated", "closed", "overflow", "failed"):
        assert json.loads(ended(b"1", cause, None))["end"]["code"] == cause


def test_kinds_of_later_versions_say_so() -> None:
    assert not_available("ack").code == "not_available"
    assert "'ack'" in not_available("ack").message
