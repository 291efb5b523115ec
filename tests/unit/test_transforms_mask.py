"""routing/transforms/mask.py: what is masked is nowhere in what comes out."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.attributes import event_fault
from routing.transforms import StepFailed
from tests.unit.transforms_support import ATTRIBUTES, TRADE, attributes_of, data_of, failure, fault, json_of, transform

KEY = "a key of the tests, long enough"
HASH = {"hash": {"key": KEY, "key_id": "k1"}}
ENCODERS: dict[str, Any] = {
    "application/json": msgspec.json.encode,
    "application/msgpack": msgspec.msgpack.encode,
    "application/cbor": cbor2.dumps,
}
SECRETS = st.text("PQRSTUVWXYZ", min_size=12, max_size=20) | st.integers(10**15, 10**16)
OTHERS = st.recursive(
    st.text("abcxyz", max_size=5) | st.integers(0, 999) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
WAYS = st.sampled_from(["redact", HASH, {"truncate": 4}, {"truncate": {"last": 3}}])


def shown(value: object) -> list[bytes]:
    """The forms in which a value could stand in a payload."""
    if isinstance(value, str):
        return [value.encode()]
    forms = [str(value).encode(), msgspec.msgpack.encode(value), cbor2.dumps(value)]
    return [form for form in forms if len(form) > 4]


@given(st.sampled_from(sorted(ENCODERS)), st.dictionaries(st.sampled_from("abc"), OTHERS), SECRETS, WAYS)
def test_a_masked_value_is_nowhere_in_the_bytes(
    content_type: str, others: dict[str, Any], secret: Any, way: Any
) -> None:
    value = {**others, "account": secret, "deep": {"l": [{"account": secret, "x": 1}, {"x": 2}]}}
    step = {"mask": {"data": ["account", "deep.l[*].account"], "with": way}}
    result = data_of(ENCODERS[content_type](value), step, content_type=content_type)
    for form in shown(secret):
        assert form not in result


@given(SECRETS, OTHERS, st.sampled_from(["account", "a.account", "l[*]", "l[*].account"]))
def test_redacting_hides_whatever_there_is(secret: Any, other: Any, path: str) -> None:
    hidden = {"o": secret, "l": [secret]}
    value = {"account": hidden, "a": {"account": hidden, "x": other}, "l": [{"account": hidden}, {"account": secret}]}
    once = json_of(value, {"mask": {"data": [path]}})
    assert json_of(once, {"mask": {"data": [path]}}) == once
    everything = msgspec.json.encode(json_of(value, {"mask": {"data": ["account", "a.account", "l[*].account"]}}))
    assert str(secret).encode() not in everything


@given(st.binary(max_size=80))
def test_no_payload_comes_out_that_was_not_masked(data: bytes) -> None:
    """Whatever the bytes are: either they fail, or there is no such member any more."""
    try:
        result = data_of(data, {"mask": {"data": ["account"]}})
    except StepFailed:
        return
    assert msgspec.json.decode(result).get("account", "[redacted]") == "[redacted]"


@pytest.mark.parametrize(
    "text",
    [
        b'{"account":"SECRET-1","account":"SECRET-2"}',
        b'{"acc\\u006funt":"SECRET-1"}',
        b'{"account":{"a":"SECRET-1"},"account":["SECRET-2"]}',
        b'{ "account" : "SECRET-1" , "x" : 1 }',
        b'{"account":"\\u0053ECRET-1"}',
    ],
)
def test_odd_ways_to_write_a_member_hide_nothing(text: bytes) -> None:
    result = data_of(text, {"mask": {"data": ["account"]}})
    assert b"ECRET" not in result
    assert msgspec.json.decode(result)["account"] == "[redacted]"


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b'[{"account":"SECRET"}]', "application/json"),
        (b'{"account":"SECRET"', "application/json"),
        (b'{"account":"SECRET"}', "text/plain"),
        (b"SECRET", "application/octet-stream"),
        (b'{"account":"SECRET","x":"\xff"}', "application/json"),
        (b"\x00", "application/avro"),
    ],
)
def test_what_cannot_be_looked_into_is_not_passed_on(data: bytes, content_type: str) -> None:
    assert failure(data, {"mask": {"data": ["account"]}}, content_type=content_type)


def test_without_data_there_is_nothing_to_hide() -> None:
    assert transform({"mask": {"data": ["account"]}}).apply(ATTRIBUTES, None) == (ATTRIBUTES, None)


def test_a_hash_is_hmac_sha_256_under_the_identifier_of_its_key() -> None:
    def expected(text: str) -> str:
        return "k1:" + hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest()

    value = {"account": "ACC-1", "n": 5, "b": True, "z": None}
    masked = json_of(value, {"mask": {"data": ["account", "n", "b", "z", "nope"], "with": HASH}})
    assert masked == {"account": expected("ACC-1"), "n": expected("5"), "b": expected("true"), "z": None}
    assert attributes_of({"mask": {"attributes": ["symbol", "nope"], "with": HASH}})["symbol"] == expected("AAPL")
    exact = data_of(b'{"a":1.10}', {"mask": {"data": ["a"], "with": HASH}})
    assert msgspec.json.decode(exact)["a"] == expected("1.10")
    binary = data_of(
        msgspec.msgpack.encode({"a": b"ACC-1"}),
        {"mask": {"data": ["a"], "with": HASH}},
        content_type="application/msgpack",
    )
    assert msgspec.msgpack.decode(binary)["a"] == expected("ACC-1")


def test_cutting_short_leaves_no_more_than_it_says() -> None:
    value = {"account": "ACC-12345", "short": "ACC", "n": 123456, "z": None}
    paths = ["account", "short", "n", "z"]
    first = json_of(value, {"mask": {"data": paths, "with": {"truncate": 4}}})
    assert first == {"account": "ACC-", "short": "[redacted]", "n": "1234", "z": None}
    last = json_of(value, {"mask": {"data": paths, "with": {"truncate": {"last": 4}}}})
    assert last == {"account": "2345", "short": "[redacted]", "n": "3456", "z": None}


def test_an_object_is_redacted_but_neither_hashed_nor_cut() -> None:
    assert json_of({"a": {"b": 1}}, {"mask": {"data": ["a"]}}) == {"a": "[redacted]"}
    for way in (HASH, {"truncate": 4}):
        for value in (b'{"a":{"b":"SECRET"}}', b'{"a":["SECRET"]}'):
            assert failure(value, {"mask": {"data": ["a"], "with": way}}).startswith("a: is an ")


def test_attributes_are_masked() -> None:
    masked = attributes_of({"mask": {"attributes": ["symbol", "subject"], "data": ["account"]}})
    assert (masked["symbol"], masked["subject"], masked["id"]) == ("[redacted]", "[redacted]", "1")
    assert attributes_of({"mask": {"attributes": ["subject"], "with": {"truncate": 8}}})["subject"] == "equities"
    assert str(attributes_of({"mask": {"attributes": ["id"], "with": HASH}})["id"]).startswith("k1:")


@pytest.mark.parametrize("name", ["source", "type", "subject", "desk"])
def test_what_is_redacted_is_legal(name: str) -> None:
    attributes = transform({"mask": {"attributes": [name]}}).apply({**ATTRIBUTES, name: "x"}, None)[0]
    assert attributes[name] == "[redacted]"
    assert event_fault(attributes) is None


def test_what_is_masked_cannot_be_brought_back_by_later_steps() -> None:
    steps = (
        {"mask": {"data": ["account"]}},
        {"set": {"data": "x", "to": "data.account"}},
        {"set": {"attribute": "x", "to": "data.account"}},
    )
    attributes, data = transform(*steps).apply(ATTRIBUTES, TRADE)
    assert data is not None
    assert b"ACC-1" not in data
    assert attributes["x"] == "[redacted]"


def test_the_key_of_a_hash_is_part_of_what_makes_transforms_equal_but_cannot_be_read() -> None:
    def made(key: str) -> str:
        return transform({"mask": {"data": ["a"], "with": {"hash": {"key": key, "key_id": "k1"}}}}).key

    assert made(KEY) == made(KEY)
    assert made(KEY) != made(KEY + "2")
    assert KEY not in made(KEY)


@pytest.mark.parametrize(
    ("step", "where", "message"),
    [
        ({}, "", "needs 'attributes' or 'data'"),
        (
            {"data": ["data.account"]},
            ".data[0]",
            "paths begin below the data: write 'account', or '[\"data\"].account' for a member 'data'",
        ),
        ({"attributes": ["time"]}, ".attributes", "'time' cannot be masked; drop it"),
        ({"attributes": ["specversion"]}, ".attributes", "'specversion' cannot be masked"),
        (
            {"attributes": ["id"]},
            ".attributes",
            "'id' can only be hashed: events with the same id and source are the same event",
        ),
        ({"data": ["a"], "with": "hash"}, ".with", "needs more than its name: {hash: ...}"),
        (
            {"data": ["a"], "with": "redcat"},
            ".with",
            "is one of 'redact', 'hash' or 'truncate', not 'redcat' (did you mean 'redact'?)",
        ),
        ({"data": ["a"], "with": {}}, ".with", "is one of redact, {hash: ...} and {truncate: ...}"),
        ({"data": ["a"], "with": {"hash": {"key": KEY}}}, ".with.hash", "needs 'key_id'"),
        (
            {"data": ["a"], "with": {"hash": {"key": "short", "key_id": "k"}}},
            ".with.hash.key",
            "a key has at least 16 bytes",
        ),
        (
            {"data": ["a"], "with": {"hash": {"key": KEY, "key_id": "a b"}}},
            ".with.hash.key_id",
            "has only letters, digits, '-', '.' and '_'",
        ),
        ({"data": ["a"], "with": {"truncate": 0}}, ".with.truncate.first", "is a number of characters from 1 to 1000"),
        ({"data": ["a"], "with": {"truncate": {}}}, ".with.truncate", "needs 'first' or 'last'"),
        (
            {"data": ["a"], "with": {"truncate": {"last": True}}},
            ".with.truncate.last",
            "is a number of characters from 1 to 1000",
        ),
    ],
)
def test_a_mask_that_cannot_be_meant_is_refused(step: Any, where: str, message: str) -> None:
    error = fault({"mask": step})
    assert (error.where, error.message) == (f"transform[0].mask{where}", message)
    assert KEY not in str(error)
