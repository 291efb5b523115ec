"""routing/transforms/exchange.py: convert, validate and callables."""

from __future__ import annotations

import json
from typing import Any

import cbor2
import msgspec
import pytest

from routing.schemas.compile import compile_schema
from routing.transforms import StepFailed
from tests.unit.transforms_support import (
    ATTRIBUTES,
    TRADE,
    Catalogue,
    attributes_of,
    data_of,
    failure,
    fault,
    json_of,
    transform,
)

AVRO = json.dumps(
    {
        "type": "record",
        "name": "Quote",
        "fields": [{"name": "symbol", "type": "string"}, {"name": "price", "type": "double"}],
    }
)
JSON = json.dumps({"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]})
SCHEMAS = Catalogue({"quote": compile_schema("avro", AVRO), "trade": compile_schema("json", JSON)})
QUOTE = {"symbol": "AAPL", "price": 187.5}


# convert


def test_json_becomes_messagepack_and_cbor_and_json_again() -> None:
    for to, decode in (
        ("msgpack", msgspec.msgpack.decode),
        ("messagepack", msgspec.msgpack.decode),
        ("cbor", cbor2.loads),
    ):
        attributes, data = transform({"convert": to}).apply({**ATTRIBUTES, "dataschema": "http://a.example/s"}, TRADE)
        assert data is not None
        assert attributes["datacontenttype"] == f"application/{'cbor' if to == 'cbor' else 'msgpack'}"
        assert "dataschema" not in attributes
        assert decode(data) == msgspec.json.decode(TRADE)
        assert json_of(msgspec.json.decode(TRADE), {"convert": to}, {"convert": {"to": "json"}}) == msgspec.json.decode(
            TRADE
        )


def test_avro_is_written_and_read_by_its_schema() -> None:
    step = {"convert": {"avro": "quote"}}
    attributes, data = transform(step, schemas=SCHEMAS).apply(ATTRIBUTES, msgspec.json.encode(QUOTE))
    assert attributes["datacontenttype"] == "application/avro"
    assert data is not None
    back = {"convert": {"from": {"avro": "quote"}, "to": "json"}}
    assert msgspec.json.decode(data_of(data, back, content_type="application/avro", schemas=SCHEMAS)) == QUOTE
    assert json_of(
        QUOTE, {"convert": {"to": {"avro": "quote"}}}, back, {"keep": {"data": ["price"]}}, schemas=SCHEMAS
    ) == {"price": 187.5}


def test_payloads_without_a_type_are_json_and_those_that_are_no_objects_convert_too() -> None:
    untyped = {name: value for name, value in ATTRIBUTES.items() if name != "datacontenttype"}
    assert transform({"convert": "cbor"}).apply(untyped, b"[1,2]")[1] == b"\x82\x01\x02"
    assert transform({"convert": "cbor"}).apply(untyped, None) == (untyped, None)


@pytest.mark.parametrize(
    ("data", "content_type", "step", "reason"),
    [
        (b"{", "application/json", "cbor", "the payload is not JSON"),
        (b"{}", "text/plain", "cbor", "a payload of type text/plain cannot be converted"),
        (b"{}", "application/avro", "json", "a payload of type application/avro needs its schema"),
        (b'{"a":18446744073709551616}', "application/json", "msgpack", "the payload cannot be written as MessagePack"),
        (
            msgspec.msgpack.encode({"a": [float("nan")]}),
            "application/msgpack",
            "json",
            "has the number nan, which JSON cannot hold",
        ),
        (b"\xc1", "application/msgpack", "json", "the payload is not MessagePack"),
        (b"{}", "application/json", {"avro": "quote"}, "the payload "),
        (b"{}", "application/json", {"from": {"avro": "quote"}, "to": "json"}, "the payload "),
        (b"[" * 120 + b"]" * 120, "application/json", "json", "the payload has more than 100 levels"),
    ],
)
def test_what_cannot_be_converted_fails(data: bytes, content_type: str, step: Any, reason: str) -> None:
    assert failure(data, {"convert": step}, content_type=content_type, schemas=SCHEMAS).startswith(reason)


# validate


def test_a_payload_is_judged_as_the_steps_before_left_it() -> None:
    assert json_of({"price": 1}, {"validate": "trade"}, schemas=SCHEMAS) == {"price": 1}
    assert json_of(
        {"px": 1}, {"rename": {"data": {"px": "price"}}}, {"validate": {"schema": "trade"}}, schemas=SCHEMAS
    ) == {"price": 1}
    assert failure(b'{"price":1}', {"rename": {"data": {"price": "px"}}}, {"validate": "trade"}, schemas=SCHEMAS)
    assert failure(b'{"price":"x"}', {"validate": "trade"}, schemas=SCHEMAS)
    assert failure(b"{}", {"validate": "trade"}, content_type="text/plain", schemas=SCHEMAS)
    assert failure(None, {"validate": "trade"}, schemas=SCHEMAS) == "the event has no data"


def test_a_payload_that_is_right_keeps_its_bytes() -> None:
    data = b'{ "price" : 1.10 }'
    assert data_of(data, {"validate": "trade"}, schemas=SCHEMAS) is data


# call


def upper(attributes: dict[str, Any], data: bytes | None) -> tuple[dict[str, Any], bytes | None]:
    attributes["desk"] = "a"
    return attributes, None if data is None else data.upper()


def test_a_callable_gets_the_event_and_gives_one_back() -> None:
    attributes, data = transform(
        {"set": {"data": "a", "to": "'x'"}}, {"call": "upper"}, {"keep": {"data": ["A"]}}, callables={"upper": upper}
    ).apply(ATTRIBUTES, b"{}")
    assert attributes == {**ATTRIBUTES, "desk": "a"}
    assert data == b'{"A":"X"}'
    assert "desk" not in ATTRIBUTES
    assert transform({"call": "upper"}, callables={"upper": upper}).apply(ATTRIBUTES, None)[1] is None


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no\nluck"),
        StepFailed(0, "x", "no luck"),
        SystemExit("no luck"),
        GeneratorExit("no luck"),
        RecursionError("no luck"),
    ],
)
def test_whatever_a_callable_raises_fails_the_step_and_no_more(error: BaseException) -> None:
    def broken(attributes: dict[str, Any], data: bytes | None) -> tuple[dict[str, Any], bytes | None]:
        attributes.clear()
        raise error

    reason = failure(TRADE, {"call": "broken"}, callables={"broken": broken})
    assert "no luck" in reason


def test_the_operator_can_still_interrupt() -> None:
    def broken(attributes: dict[str, Any], data: bytes | None) -> tuple[dict[str, Any], bytes | None]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attributes_of({"call": "broken"}, callables={"broken": broken})


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, "returned something other than (attributes, data)"),
        (({},), "returned something other than (attributes, data)"),
        (([], b""), "returned attributes that are no dict"),
        ((ATTRIBUTES, "text"), "returned data that is neither bytes nor None"),
        (({"id": "1"}, b""), "returned an event that is not legal: attribute source is required"),
        (
            ({**ATTRIBUTES, "A": 1}, b""),
            "returned an event that is not legal: attribute 'A': an attribute name has 1 to 64",
        ),
        ((ATTRIBUTES, b"x" * 3_000_000), "the payload grows to 3000000 bytes"),
    ],
)
def test_what_a_callable_returns_is_looked_at(result: Any, reason: str) -> None:
    assert failure(TRADE, {"call": "f"}, callables={"f": lambda attributes, data: result}).startswith(reason)


# Refused when made


@pytest.mark.parametrize(
    ("step", "where", "message"),
    [
        ({"convert": "xml"}, "convert.to", "is one of 'json', 'msgpack' or 'cbor', not 'xml'"),
        ({"convert": "avro"}, "convert.to", "needs a schema: {avro: NAME}"),
        ({"convert": {}}, "convert", "needs 'to'"),
        ({"convert": {"from": "json"}}, "convert", "needs 'to'"),
        ({"convert": {"to": {"avro": "nope"}}}, "convert.to.avro", "there is no schema 'nope'"),
        ({"convert": {"to": {"avro": "trade"}}}, "convert.to.avro", "schema 'trade' is of kind json"),
        ({"convert": {"to": {"avro": "quote", "protobuf": "quote"}}}, "convert.to", "is one format"),
        ({"validate": "nope"}, "validate.schema", "there is no schema 'nope'"),
        ({"validate": {}}, "validate", "needs 'schema'"),
        ({"call": "uper"}, "call", "no plug-in has a transform 'uper' (did you mean 'upper'?)"),
    ],
)
def test_a_step_that_cannot_be_meant_is_refused(step: Any, where: str, message: str) -> None:
    error = fault(step, schemas=SCHEMAS, callables={"upper": upper})
    assert (error.where, error.message) == (f"transform[0].{where}", message)


def test_without_schemas_there_is_nothing_to_validate_with() -> None:
    assert fault({"validate": "trade"}).message == "there are no schemas here"
    assert fault({"convert": {"avro": "quote"}}).message == "there are no schemas here"


def test_another_version_of_a_schema_makes_another_transform() -> None:
    other = Catalogue({"trade": compile_schema("json", "{}")})
    assert transform({"validate": "trade"}, schemas=SCHEMAS).key != transform({"validate": "trade"}, schemas=other).key
