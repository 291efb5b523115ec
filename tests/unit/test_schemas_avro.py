"""Avro: one datum and nothing more, plain objects in and out, and bytes that ask for too much."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.formats import Undecodable, Unencodable
from routing.schemas import InvalidSchema, Schema, compile_schema
from routing.schemas.avro_types import Fit, Misfit

pytestmark = pytest.mark.timeout(60)
INNER = {"type": "record", "name": "Inner", "fields": [{"name": "y", "type": "int"}]}
TICK = {
    "type": "record", "name": "Tick", "namespace": "market", "fields": [
        {"name": "symbol", "type": "string"},
        {"name": "price", "type": "double"},
        {"name": "size", "type": "long", "default": 7},
        {"name": "side", "type": {"type": "enum", "name": "Side", "symbols": ["BUY", "SELL"]}, "default": "BUY"},
        {"name": "tags", "type": {"type": "map", "values": "boolean"}, "default": {}},
        {"name": "legs", "type": {"type": "array", "items": "float"}, "default": []},
        {"name": "note", "type": ["null", "bytes", "string", INNER], "default": None},
    ],
}  # fmt: skip
FULL = {
    "symbol": "A", "price": 1.5, "size": 3, "side": "SELL", "tags": {"x": True}, "legs": [0.5], "note": {"y": 1},
}  # fmt: skip
LOGICAL = {
    "type": "record", "name": "L", "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "local", "type": ["null", {"type": "long", "logicalType": "local-timestamp-micros"}]},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "hour", "type": {"type": "int", "logicalType": "time-millis"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "raw", "type": {"type": "fixed", "name": "F", "size": 2}},
    ],
}  # fmt: skip
MOMENT: dict[str, Any] = {
    "at": "2026-01-01T00:00:00Z", "local": "2026-01-01T00:00:00", "day": "2026-01-01", "hour": "01:02:03",
    "price": 12.5, "id": "12345678-1234-1234-1234-123456789012", "raw": "eHg=",
}  # fmt: skip


def schema(document: Any) -> Schema:
    return compile_schema("avro", document if isinstance(document, str) else json.dumps(document))


def test_a_datum_goes_round() -> None:
    tick = schema(TICK)
    data = tick.encode(FULL)
    assert tick.decode(data) == FULL
    assert tick.validate(data, "application/avro") is None
    assert tick.validate(data, "application/json") == "is application/json, where the schema asks for application/avro"
    assert (tick.format, tick.message) == ("avro", None)


def test_missing_fields_get_their_defaults() -> None:
    tick = schema(TICK)
    assert tick.decode(tick.encode({"symbol": "A", "price": 1})) == {
        "symbol": "A", "price": 1.0, "size": 7, "side": "BUY", "tags": {}, "legs": [], "note": None,
    }  # fmt: skip


def test_text_for_bytes_is_base64_unless_text_will_do() -> None:
    tick = schema(TICK)
    assert tick.decode(tick.encode(FULL | {"note": "eA=="})) == FULL | {"note": "eA=="}
    only = schema(["null", "bytes"])
    assert only.encode("eA==") == b"\x02\x02x"
    assert only.decode(b"\x02\x02x") == "eA=="


def test_logical_types_are_text_and_numbers() -> None:
    logical = schema(LOGICAL)
    assert logical.decode(logical.encode(MOMENT)) == MOMENT
    exact = MOMENT | {"price": "123456789012345678.12", "local": None}
    assert logical.decode(logical.encode(exact)) == exact
    assert logical.decode(logical.encode(MOMENT | {"price": 5, "at": 1000})) == MOMENT | {
        "price": 5, "at": "1970-01-01T00:00:01Z",
    }  # fmt: skip
    naive = logical.decode(logical.encode(MOMENT | {"at": "2026-01-01T00:00:00"}))
    assert naive == MOMENT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"price": "x"}, "price is no double: x"), ({"price": True}, "price is no double"),
        ({"size": 2**63}, "size is no long"), ({"size": 1.5}, "size is no long"), ({"side": "HOLD"}, "side is no enum"),
        ({"z": 1}, "z is unknown to market.Tick"), ({"symbol": None}, "symbol is no string"),
        ({"tags": {"x": 1}}, "tags.x is no boolean"), ({"legs": [1, "x"]}, r"legs\[1\] is no float"),
        ({"note": {"y": "k"}}, "note fits no branch"), ({"tags": []}, "tags is no map"),
        ({"note": {"y": 1, "z": 2}}, "note fits no branch.*note.z is unknown"),
    ],
)  # fmt: skip
def test_an_object_that_does_not_fit_is_told_where(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unencodable, match=f"does not fit the schema: {reason}"):
        schema(TICK).encode(FULL | change)


@pytest.mark.parametrize(
    "change",
    [{"day": "soon"}, {"raw": "eA=="}, {"raw": "?"}, {"price": "1.234"}, {"price": "NaN"}, {"price": "x"}, {"id": "x"},
     {"at": "never"}, {"hour": 5.5}, {"price": None}],
)  # fmt: skip
def test_text_that_is_none_of_its_logical_type_does_not_fit(change: dict[str, Any]) -> None:
    with pytest.raises(Unencodable, match="does not fit the schema"):
        schema(LOGICAL).encode(MOMENT | change)


def test_an_object_of_another_kind_does_not_fit() -> None:
    value: Any
    for value in (5, [], None):
        with pytest.raises(Unencodable, match=r"the object is no market\.Tick"):
            schema(TICK).encode(value)
    with pytest.raises(Unencodable, match="symbol is missing"):
        schema(TICK).encode({})


def test_bytes_before_the_end_and_after_it_are_told() -> None:
    tick = schema(TICK)
    data = tick.encode(FULL)
    assert tick.check(data + b"xx") == f"goes on after byte {len(data)}, where what the schema says ends"
    for end in range(len(data)):
        reason = tick.check(data[:end])
        assert reason is not None
        assert "ends too early" in reason
    with pytest.raises(Undecodable):
        tick.decode(b"")
    assert tick.check(b"\x02\xff" + data[2:]) is not None


@given(st.binary(max_size=100))
def test_any_bytes_are_judged(data: bytes) -> None:
    for judge in _JUDGES:
        reason = judge.check(data)
        if reason is None:
            judge.encode(judge.decode(data))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("5", "no Avro schema"), ("[]", "one branch or more"), ('"nope"', "nope is no type"), ({"type": 5}, "no type"),
        ({"type": "array"}, "lacks 'items'"), ({"type": "record", "name": "R", "fields": 5}, "no Avro schema"),
        ({"type": "record", "name": "R", "fields": [{}]}, "missing 'name'"), (["int", "int"], "each of another type"),
        ([["null"]], "each of another type"), ({"type": "fixed", "name": "F", "size": -1}, "no number of bytes"),
        ({"type": "enum", "name": "E", "symbols": ["A", "A"]}, "unique"),
        ({"type": "array", "items": "null"}, "must take bytes"),
        ({"type": "array", "items": {"type": "record", "name": "E", "fields": []}}, "must take bytes"),
        ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}, "must take bytes"),
        ({"type": "record", "name": "N", "fields": [{"name": "n", "type": "N"}]}, "without an end"),
        ({"type": "map", "values": {"type": "record", "name": "W", "fields": [
            {"name": f"n{n}", "type": "null"} for n in range(100)]}}, "that take no bytes"),
        ({"type": "record", "name": "W", "fields": [{"name": f"n{n}", "type": "null"} for n in range(10_001)]},
         "more than 10000 parts"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_used_is_refused(document: Any, reason: str) -> None:
    with pytest.raises(InvalidSchema, match=reason):
        schema(document)


def test_schemas_nested_too_deeply_are_refused() -> None:
    with pytest.raises(InvalidSchema, match="nested too deeply"):
        schema('{"type":"array","items":' * 900 + '"int"' + "}" * 900)


def test_types_that_double_without_bytes_are_refused() -> None:
    fields = [{"name": "n", "type": {"type": "record", "name": "R0", "fields": [{"name": "z", "type": "null"}]}}]
    for n in range(40):
        inner = {"type": "record", "name": f"S{n}", "fields": [*fields]}
        fields = [{"name": "a", "type": inner}, {"name": "b", "type": f"S{n}"}]
    with pytest.raises(InvalidSchema, match="parts that take no bytes"):
        schema({"type": "record", "name": "Top", "fields": fields})


def test_recursion_in_the_data_has_an_end() -> None:
    node = schema({"type": "record", "name": "N", "fields": [{"name": "next", "type": ["null", "N"]}]})
    assert node.check(b"\x02" * 20 + b"\0") is None
    reason = node.check(b"\x02" * 1_000_000 + b"\0")
    assert reason is not None
    assert "nested too deeply" in reason
    value: Any = None
    for _ in range(5000):
        value = {"next": value}
    with pytest.raises(Unencodable, match="nested too deeply"):
        node.encode(value)


def test_lengths_and_counts_of_billions_cost_nothing() -> None:
    began = time.process_time()
    for document, data in (
        ('"bytes"', b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ({"type": "array", "items": "int"}, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02"),
        ({"type": "map", "values": "int"}, b"\x01\x02" * 20), ('"long"', b"\xff" * 50), ('"string"', b"\x03"),
    ):  # fmt: skip
        assert schema(document).check(data) is not None
    assert time.process_time() - began < 1


def test_fitting_an_object_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routing.schemas.avro_types.MAX_STEPS", 10)
    with pytest.raises(Misfit, match="too many steps"):
        Fit({}).fit({"type": "array", "items": "int"}, [1] * 20)


_JUDGES = [schema(TICK), schema(LOGICAL)]
