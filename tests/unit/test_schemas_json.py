"""JSON Schema: what it refuses, why, and what no schema may do to the gateway."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.schemas import MAX_REASON, InvalidSchema, Schema, compile_schema
from routing.schemas.json_bounds import depth_of

pytestmark = pytest.mark.timeout(60)
TICK = {
    "type": "object",
    "properties": {
        "symbol": {"type": "string", "pattern": "^[A-Z]{1,5}$"},
        "price": {"type": "number", "exclusiveMinimum": 0},
        "legs": {"type": "array", "items": {"type": "integer"}},
        "at": {"type": "string", "format": "date-time"},
    },
    "required": ["symbol"],
    "additionalProperties": False,
}


def schema(document: Any) -> Schema:
    return compile_schema("json", document if isinstance(document, str) else json.dumps(document))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"symbol": "AAPL", "price": 1, "legs": [1], "at": "2026-01-01T00:00:00Z"}', None),
        (b'{"symbol": "aapl"}', 'symbol: "aapl" does not match "^[A-Z]{1,5}$"'),
        (b'{"symbol": "A", "price": 0}', "price: 0 is less than or equal to the minimum of 0"),
        (b'{"symbol": "A", "legs": [1, "x"]}', 'legs[1]: "x" is not of type "integer"'),
        (b'{"symbol": "A", "at": "soon"}', 'at: "soon" is not a "date-time"'),
        (b'{"symbol": "A", "x": 1}', "Additional properties are not allowed ('x' was unexpected)"),
        (b"{}", '"symbol" is a required property'),
        (b"[1]", '[1] is not of type "object"'),
        (b"{", "is not JSON: Input data was truncated"),
    ],
)
def test_a_payload_is_right_or_the_reason_says_where_not(data: bytes, reason: str | None) -> None:
    assert schema(TICK).validate(data, "application/json") == reason


def test_reasons_are_short_and_one_line() -> None:
    judged = schema(TICK)
    long = judged.check(json.dumps({"symbol": "a\n" * 5000}).encode())
    assert long is not None
    assert len(long) <= MAX_REASON
    assert long.isprintable()
    assert long.endswith('... does not match "^[A-Z]{1,5}$"')
    many = judged.check(json.dumps({"symbol": "A"} | {f"x\x00{n}" * 300: 1 for n in range(50)}).encode())
    assert many is not None
    assert len(many) == MAX_REASON
    assert many.isprintable()


def test_other_content_types_and_missing_data_are_told() -> None:
    judged = schema(TICK)
    assert judged.validate(b"x", "text/plain") == "is text/plain, where the schema asks for application/json"
    assert judged.validate(None, "application/json") == "is missing: the topic has a schema"
    assert judged.validate(b'{"symbol": "A"}', None) is None
    assert judged.validate(b'{"symbol": "A"}', "application/tick+json; charset=utf-8") is None


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{", "is not JSON"), ("[]", "an object or a boolean"), ('{"a": 1, "a": 2}', "'a' is given twice"),
        ('{"const": NaN}', "NaN"), ("[" * 100_000, "nested too deeply"), ('{"minimum": "x"}', "minimum"),
        ({"type": "text"}, "type"), ({"properties": 5}, "properties"), ({"items": [5]}, "subschema"),
        ({"$schema": "http://example/nope"}, "meta-schema"), ({"pattern": "(?=a)b"}, "no look-around"),
        ({"pattern": "(a)\\1"}, "no look-around"), ({"pattern": "(a{1,1000}){1,1000}"}, "bounded size"),
        ({"$ref": "http://127.0.0.1:1/x"}, "leads out of the schema"), ({"$ref": "file:///etc/passwd"}, "leads out"),
        ({"$ref": "other.json"}, "leads out"), ({"$ref": "#/nope"}, "leads nowhere"), ({"$ref": "#nope"}, "nowhere"),
        ({"$ref": "#"}, "leads back to itself"), ({"allOf": [{"$ref": "#"}]}, "leads back to itself"),
        ({"properties": {"a": {"$id": "urn:b"}}}, "outermost"),
        ({"properties": {f"p{n}": {} for n in range(10_001)}}, "more than 10000 subschemas"),
        ({"enum": ["x" * 2**20]}, "at most 1048576 bytes"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_used_is_refused(document: Any, reason: str) -> None:
    with pytest.raises(InvalidSchema, match=reason):
        schema(document)


def test_a_schema_nested_deeply_is_refused() -> None:
    document: Any = {"type": "string"}
    for _ in range(150):
        document = {"properties": {"a": document}}
    with pytest.raises(InvalidSchema, match="levels deep"):
        schema(document)


def test_a_schema_that_doubles_its_work_at_each_step_is_refused() -> None:
    steps = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    with pytest.raises(InvalidSchema, match="too many times"):
        schema({"$defs": steps | {"d40": {"type": "string"}}, "$ref": "#/$defs/d0"})


def test_data_that_would_double_the_work_at_each_level_is_refused() -> None:
    twice = {"properties": {"x": {"$ref": "#"}}}
    judged = schema({"allOf": [twice, dict(twice)]})
    began = time.process_time()
    assert judged.check(b'{"x":' * 6 + b"1" + b"}" * 6) is None
    reason = judged.check(b'{"x":' * 60 + b"1" + b"}" * 60)
    assert time.process_time() - began < 0.5
    assert reason is not None
    assert "too deep for this schema" in reason


def test_recursive_schemas_of_everyday_take_data_of_any_depth() -> None:
    tree = {
        "type": "object",
        "properties": {"value": {"type": "number"}, "left": {"$ref": "#"}, "right": {"$ref": "#/$defs/node"}},
        "additionalProperties": False,
        "$defs": {"node": {"$anchor": "node", "anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    }
    judged = schema(tree)
    assert judged.check(b'{"left":' * 20 + b'{"value":1}' + b"}" * 20) is None
    assert judged.check(b'{"left":' * 20 + b'{"value":"x"}' + b"}" * 20) is not None
    assert judged.check(b"[" * 900 + b"]" * 900) is not None


def test_references_within_the_schema_are_followed_however_they_are_written() -> None:
    document = {
        "$id": "https://example.com/tick",
        "$defs": {"a b": {"type": "string"}, "n": {"$anchor": "num", "type": "number"}},
        "properties": {
            "s": {"$ref": "#/$defs/a%20b"}, "n": {"$ref": "#num"}, "f": {"$ref": "https://example.com/tick#/$defs/n"},
            "l": {"$ref": "#/prefixItems/0"},
        },
        "dependentSchemas": {"s": {"required": ["n"]}}, "patternProperties": {"^x": False}, "if": True, "then": True,
        "prefixItems": [{"type": "null"}, True],
    }  # fmt: skip
    judged = schema(document)
    assert judged.check(b'{"s": "x", "n": 1, "f": 2, "l": null}') is None
    assert judged.check(b'{"s": "x"}') == '"n" is a required property'
    assert judged.check(b'{"f": "x"}') == 'f: "x" is not of type "number"'
    assert judged.check(b'{"xy": 1}') is not None


def test_patterns_take_linear_time() -> None:
    began = time.process_time()
    assert schema({"pattern": "(a+)+$"}).check(b'"' + b"a" * 200_000 + b'b"') is not None
    assert time.process_time() - began < 1


def test_earlier_drafts_are_understood() -> None:
    draft4 = schema({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 0, "exclusiveMinimum": True})
    assert draft4.check(b"0") is not None
    assert draft4.check(b"1") is None
    assert schema(True).check(b"5") is None
    assert schema(False).check(b"5") is not None


def test_plain_objects_out_and_in() -> None:
    judged = schema(TICK)
    assert judged.decode(b'{"symbol": "A"}') == {"symbol": "A"}
    assert judged.encode({"symbol": "A"}) == b'{"symbol":"A"}'
    assert (judged.format, judged.message) == ("json", None)


@given(st.recursive(st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=2), inner)))
def test_depth_is_counted_as_by_recursion(value: Any) -> None:
    def slow(one: Any) -> int:
        inside = list(one.values()) if isinstance(one, dict) else one
        return 0 if one is None else 1 + max(map(slow, inside), default=0)

    assert depth_of(value) == slow(value)


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_judged(data: bytes) -> None:
    reason = schema_of_tick.check(data)
    assert reason is None or (reason and reason.isprintable())


schema_of_tick = schema(TICK)
