"""One schema after another: what may change at which level, and the reason when it may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.schemas import Schema, avro_compat, compatible, compile_schema, json_compat
from routing.schemas.schema import SchemaKind

pytestmark = pytest.mark.timeout(60)


def schema(kind: SchemaKind, document: Any) -> Schema:
    if kind == "protobuf":
        return compile_schema(kind, f'syntax = "proto3"; {document}')
    return compile_schema(kind, json.dumps(document))


def told(kind: SchemaKind, old: Any, new: Any) -> tuple[list[str], list[str]]:
    """What speaks against `new` after `old`: backward, and forward."""
    before, after = schema(kind, old), schema(kind, new)
    backward, forward = compatible(before, after, "backward"), compatible(before, after, "forward")
    assert compatible(before, after, "full") == backward + forward
    assert compatible(before, after, "none") == []
    return [one.removeprefix("backward: ") for one in backward], [one.removeprefix("forward: ") for one in forward]


def obj(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties} | more


@pytest.mark.parametrize(
    ("old", "new", "backward", "forward"),
    [
        (obj({"a": {"type": "string"}}), obj({"a": {"type": "string", "title": "A"}}), [], []),
        (obj({}), obj({"a": {"type": "string"}}), [], []),
        (obj({}), obj({"a": {"type": "string"}}, required=["a"]), ["a is required and was not"], []),
        (obj({}, additionalProperties=False), obj({"a": True}, additionalProperties=False), [],
         ["a is not taken any more"]),
        (obj({}), obj({}, additionalProperties=False), ["the schema takes no additional properties any more"], []),
        (obj({}), obj({}, additionalProperties={"type": "null"}),
         ["* does not take array, boolean, integer, number, object, string any more"], []),
        (obj({}, additionalProperties={"type": "string"}), obj({"a": {"type": "null"}}),
         ["a does not take string any more"],
         ["a does not take null any more", "* does not take array, boolean, integer, null, number, object any more"]),
        ({"type": "integer"}, {"type": "number"}, [], ["the schema does not take number any more"]),
        ({"type": "string"}, {"type": ["string", "null"]}, [], ["the schema does not take null any more"]),
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, ["the schema does not take b any more"], []),
        ({"const": 1}, {"type": "integer", "minimum": 0}, [], ["the schema takes only certain values now"]),
        ({"enum": [1]}, {"enum": [True]}, ["the schema does not take 1 any more",
         "the schema does not take integer any more"][:1], ["the schema does not take True any more"]),
        ({"enum": [None, 1.5, [], {}, "a", True]}, {"type": ["null", "number", "array", "object"]},
         ["the schema does not take boolean, string any more"], ["the schema takes only certain values now"]),
        ({"minimum": 1}, {"minimum": 0}, [], ["the schema has the minimum 1, which was 0"]),
        ({}, {"maxLength": 5}, ["the schema has the maxLength 5, which was not there"], []),
        ({"exclusiveMinimum": True, "minimum": 1, "$schema": "http://json-schema.org/draft-04/schema#"}, {"minimum": 1},
         [], ["the schema has the exclusiveMinimum True, which was not there"]),
        ({"pattern": "a"}, {"pattern": "b"},
         ["the schema has another pattern, of which it cannot be told what it takes"],
         ["the schema has another pattern, of which it cannot be told what it takes"]),
        ({"items": {"type": "integer"}}, {"items": {"type": "number"}}, [], ["[] does not take number any more"]),
        ({"prefixItems": [True]}, {"prefixItems": [True], "items": False},
         ["the schema is another tuple, of which it cannot be told what it takes"], []),
        (True, False, ["the schema is not taken any more"], []),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}, {"type": "null"}, [], []),
        (obj({"a": {"$ref": "#"}}), obj({"a": {"$ref": "#"}, "b": {"type": "null"}}), [], []),
        ({"$ref": "#x", "$defs": {"a": {"$anchor": "x", "type": "null"}}}, {"type": "null"},
         ["the schema does not take array, boolean, integer, number, object, string any more"], []),
    ],
)  # fmt: skip
def test_json_schemas(old: Any, new: Any, backward: list[str], forward: list[str]) -> None:
    assert told("json", old, new) == (backward, forward)


def rec(*fields: Any, name: str = "R", **more: Any) -> dict[str, Any]:
    made = [{"name": one[0], "type": one[1]} | (one[2] if len(one) > 2 else {}) for one in fields]
    return {"type": "record", "name": name, "fields": made} | more


ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
LIST = ["null", "R"]


@pytest.mark.parametrize(
    ("old", "new", "backward", "forward"),
    [
        (rec(("a", "int")), rec(("a", "long")), [], ["a was long and is int"]),
        (rec(("a", "int")), rec(("a", "int"), ("b", "int", {"default": 1})), [], []),
        (rec(("a", "int")), rec(("a", "int"), ("b", "int")), ["b was not there, and has no default"], []),
        (rec(("a", "int")), rec(("c", "int", {"aliases": ["a"]})), [], ["a was not there, and has no default"]),
        (rec(("a", "int")), rec(("a", ["null", "int"])), [], ["a was null and is int"]),
        (rec(("a", ["null", "int"])), rec(("a", ["null", "string"])),
         ["a was int, which no branch of the union takes"], ["a was string, which no branch of the union takes"]),
        (rec(("n", LIST)), rec(("n", LIST), ("b", "int")), ["b was not there, and has no default"], []),
        (rec(("a", "int")), rec(("a", "int"), name="S"), ["the schema was named R and is S, without an alias"],
         ["the schema was named S and is R, without an alias"]),
        (rec(("a", "int")), rec(("a", "int"), name="S", aliases=["R"]), [],
         ["the schema was named S and is R, without an alias"]),
        (ENUM, ENUM | {"symbols": ["A"]}, ["the schema lacks B, and has no default for it"], []),
        (ENUM, ENUM | {"symbols": ["A"], "default": "A"}, [], []),
        ({"type": "fixed", "name": "F", "size": 2}, {"type": "fixed", "name": "F", "size": 3},
         ["the schema had 2 bytes and has 3"], ["the schema had 3 bytes and has 2"]),
        ({"type": "array", "items": "int"}, {"type": "array", "items": "string"}, ["[] was int and is string"],
         ["[] was string and is int"]),
        ({"type": "map", "values": "string"}, {"type": "map", "values": "bytes"}, [], []),
        ("long", {"type": "long", "logicalType": "timestamp-millis"}, ["the schema was plain and is timestamp-millis"],
         ["the schema was timestamp-millis and is plain"]),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
         {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 1},
         ["the schema was decimal(4, 2) and is decimal(4, 1)"], ["the schema was decimal(4, 1) and is decimal(4, 2)"]),
        ([rec(("a", "int"))], [rec(("a", "string"))], ["a was int and is string"], ["a was string and is int"]),
    ],
)  # fmt: skip
def test_avro_schemas(old: Any, new: Any, backward: list[str], forward: list[str]) -> None:
    assert told("avro", old, new) == (backward, forward)


ENUMS = "enum E { X = 0; Y = 1; }"


@pytest.mark.parametrize(
    ("old", "new", "backward", "forward"),
    [
        ("message T { int32 a = 1; }", "message T { int64 a = 1; }", [], ["T.a was int64 and is int32"]),
        ("message T { int32 a = 1; }", "message T { int32 a = 1; string b = 2; }", [],
         ["T.b is gone, and its number 2 is not reserved"]),
        ("message T { int32 a = 1; reserved 2; }", "message T { int32 a = 1; string b = 2; }", [], []),
        ("message T { int32 a = 1; }", "message T { int32 b = 1; }",
         ["T.a is named b now: the number 1 belongs to another name"],
         ["T.b is named a now: the number 1 belongs to another name"]),
        ("message T { int32 a = 1; }", "message T { repeated int32 a = 1; }", ["T.a is repeated now"],
         ["T.a is single now"]),
        ("message T { int32 a = 1; }", "message T { oneof o { int32 a = 1; } }", ["T.a moved from no oneof to o"],
         ["T.a moved from o to none"]),
        ("message T { int32 a = 1; }", "message T { optional int32 a = 1; }", [], []),
        ("message T { E e = 1; } " + ENUMS, "message T { E e = 1; } enum E { X = 0; Z = 1; }",
         ["T.e has Z for 1, which was Y"], ["T.e has Y for 1, which was Z"]),
        ("message T { E e = 1; } " + ENUMS, "message T { E e = 1; } enum E { X = 0; }", [], []),
        ("message T { U u = 1; message U { int32 a = 1; T t = 2; } }",
         "message T { U u = 1; message U { sint32 a = 1; T t = 2; } }", ["T.U.a was int32 and is sint32"],
         ["T.U.a was sint32 and is int32"]),
    ],
)  # fmt: skip
def test_protobuf_schemas(old: Any, new: Any, backward: list[str], forward: list[str]) -> None:
    assert told("protobuf", old, new) == (backward, forward)


def test_protobuf_schemas_of_proto2_and_of_well_known_types() -> None:
    def two(text: str) -> Schema:
        return compile_schema("protobuf", f'syntax = "proto2"; {text}')

    old, new = two("message T { optional int32 a = 1; }"), two("message T { required int32 a = 1; }")
    assert compatible(old, new, "backward") == ["backward: T.a is required now"]
    assert compatible(two("message T {}"), new, "backward") == ["backward: T.a is required and was not there"]
    closed = two("message T { optional E e = 1; enum E { X = 0; Y = 1; } }")
    assert compatible(closed, two("message T { optional E e = 1; enum E { X = 0; } }"), "backward") == [
        "backward: T.e lacks Y, which the closed enum E cannot read"
    ]
    timed = 'import "google/protobuf/timestamp.proto"; message T { optional google.protobuf.Timestamp t = 1; }'
    own = "message T { optional U t = 1; } message U { optional int64 seconds = 1; optional int32 nanos = 2; }"
    assert compatible(two(timed), compile_schema("protobuf", f'syntax = "proto2"; {own}', "T"), "backward") == [
        "backward: T.t was google.protobuf.Timestamp and is U"
    ]


def test_another_kind_is_another_schema() -> None:
    assert compatible(schema("json", {}), schema("avro", "int"), "backward") == ["the schema was json and is avro"]
    assert compatible(schema("json", {}), schema("avro", "int"), "none") == []


def test_comparing_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_compat, "MAX_PAIRS", 3)
    many = obj({f"p{n}": {"type": "string", "title": str(n)} for n in range(10)})
    assert "too large to compare" in told("json", many, many)[0][0]
    gone = obj({f"p{n}": {"type": "string"} for n in range(50)}, required=[])
    monkeypatch.setattr(json_compat, "MAX_PAIRS", 1000)
    assert len(told("json", gone, obj({f"p{n}": {"type": "null"} for n in range(50)}))[0]) == 20
    monkeypatch.setattr(avro_compat, "MAX_STEPS", 3)
    wide = rec(*[(f"f{n}", "int") for n in range(10)])
    assert "too large to compare" in told("avro", wide, wide)[0][0]


NAMES = st.sampled_from("abc")
SMALL = st.none() | st.booleans() | st.integers(-2, 2) | NAMES
DATA = st.recursive(SMALL, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2))
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])


def closed(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return obj(properties, required=required, additionalProperties=False)


SCHEMAS: Any = st.recursive(
    st.booleans() | TYPES.map(lambda one: {"type": one})
    | st.lists(SMALL, min_size=1, max_size=3).map(lambda values: {"enum": values})
    | st.integers(-2, 2).map(lambda n: {"minimum": n}) | st.integers(0, 2).map(lambda n: {"maxItems": n}),
    lambda inner: st.builds(closed, st.dictionaries(NAMES, inner, max_size=2), st.lists(NAMES, max_size=1))
    | inner.map(lambda one: {"items": one}) | inner.map(lambda one: {"type": "object", "additionalProperties": one}),
    max_leaves=6,
)  # fmt: skip


@given(SCHEMAS, SCHEMAS, st.lists(DATA, max_size=10))
def test_what_is_called_compatible_takes_what_the_other_took(old: Any, new: Any, values: list[Any]) -> None:
    before, after = schema("json", old), schema("json", new)
    if not compatible(before, after, "backward"):
        for value in values:
            data = json.dumps(value).encode()
            assert before.check(data) is not None or after.check(data) is None, value
