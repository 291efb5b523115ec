"""routing/transforms/assign.py: set and enrich."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import cbor2
import msgspec
import pytest

from routing.transforms.assign import attribute_value
from routing.transforms.failure import Refusal
from tests.unit.transforms_support import (
    ATTRIBUTES,
    TRADE,
    Rows,
    attributes_of,
    data_of,
    failure,
    fault,
    json_of,
    transform,
)

ROWS = Rows(
    {
        "AAPL": {"name": "Apple", "lot": 100, "tick": 0.01, "venue": {"mic": "XNAS"}, "tags": ["a"], "note": None},
        "12": {"name": "Twelve"},
        "true": {"name": "True"},
    }
)


# set


def test_an_attribute_is_set_to_what_an_expression_gives() -> None:
    assert attributes_of({"set": {"attribute": "desk", "to": "'a'"}})["desk"] == "a"
    assert (
        attributes_of({"set": {"attribute": "label", "to": "CONCAT(symbol, '-', data.account)"}})["label"]
        == "AAPL-ACC-1"
    )
    assert attributes_of({"set": {"attribute": "size", "to": "SIZE(data.legs)"}})["size"] == 2
    assert attributes_of({"set": {"attribute": "big", "to": "data.price > 100"}})["big"] is True
    assert attributes_of({"set": {"attribute": "price", "to": "data.price"}})["price"] == "187.50"
    assert attributes_of({"set": {"attribute": "volume", "to": "data.volume"}})["volume"] == "12345678901234567890"
    assert attributes_of({"set": {"attribute": "q", "to": "data.legs[0].q"}})["q"] == 5
    assert attributes_of({"set": {"attribute": "subject", "to": "data.legs[0].q"}})["subject"] == "5"


def test_a_member_is_set_to_what_an_expression_gives() -> None:
    assert data_of(b'{"a":1.10}', {"set": {"data": "b.c", "to": "data.a"}}) == b'{"a":1.10,"b":{"c":1.10}}'
    assert json_of({"a": 2}, {"set": {"data": "a", "to": "data.a * 2.5"}}) == {"a": 5}
    assert json_of({"a": [1]}, {"set": {"data": "a[0]", "to": "'x'"}}) == {"a": ["x"]}
    assert json_of({}, {"set": {"data": "s", "to": "symbol"}}) == {"s": "AAPL"}
    assert json_of({}, {"set": {"data": "s", "to": "TRUE"}}) == {"s": True}
    assert json_of({}, {"set": {"data": "s", "to": "7"}}) == {"s": 7}


def test_a_step_sees_what_the_steps_before_it_left() -> None:
    steps = (
        {"rename": {"data": {"a": "b"}}},
        {"set": {"data": "c", "to": "data.b + 1"}},
        {"set": {"attribute": "c", "to": "data.c"}},
    )
    attributes, data = transform(*steps).apply(ATTRIBUTES, b'{"a":1}')
    assert (attributes["c"], data) == (2, b'{"b":1,"c":2}')
    assert (
        failure(b'{"a":1}', steps[0], {"set": {"data": "c", "to": "data.a + 1"}}) == "'data.a + 1': data.a is not there"
    )


def test_a_copy_does_not_follow_what_it_was_copied_from() -> None:
    value = {"a": {"b": [1]}}
    steps = [
        {"set": {"data": "a.c", "to": "data.a"}},
        {"set": {"data": "a.b[0]", "to": "2"}},
        {"set": {"data": "a.c.d", "to": "data.a.c"}},
    ]
    expected = {"a": {"b": [2], "c": {"b": [1], "d": {"b": [1]}}}}
    assert json_of(value, *steps) == expected
    for content_type, encode, decode in (
        ("application/msgpack", msgspec.msgpack.encode, msgspec.msgpack.decode),
        ("application/cbor", cbor2.dumps, cbor2.loads),
    ):
        assert decode(data_of(encode(value), *steps, content_type=content_type)) == expected


def test_doubling_a_payload_fifty_times_is_stopped() -> None:
    double = {"set": {"data": "a", "to": "CONCAT(data.a, data.a)"}}
    assert "more than" in failure(b'{"a":"' + b"x" * 1000 + b'"}', *[double] * 50)
    nest = {"set": {"data": "a.x", "to": "data.a"}}
    again = {"set": {"data": "a.y", "to": "data.a"}}
    assert "more than" in failure(b'{"a":{"b":"' + b"x" * 1000 + b'"}}', *[nest, again] * 25)


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("data.nope", "data.nope is missing"),
        ("data.a.b", "data.a.b is missing"),
        ("nope", "'nope': the attribute nope is not there"),
        ("data.s * 2", "'data.s * 2': "),
        ("data.a / 0.0", "'data.a / 0.0': "),
    ],
)
def test_an_expression_without_a_value_fails_the_step(to: str, reason: str) -> None:
    for target in ({"attribute": "x"}, {"data": "x"}):
        assert failure(b'{"a":1,"s":"text"}', {"set": {**target, "to": to}}).startswith(reason)


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("data.o", "attribute x: must be a string, an integer or a boolean, not dict"),
        ("data.n", "attribute x: must be a string, an integer or a boolean, not NoneType"),
        ("data.c", "attribute x: has a control character, surrogate or noncharacter"),
    ],
)
def test_what_no_attribute_can_hold_fails_the_step(to: str, reason: str) -> None:
    assert failure(b'{"o":{},"n":null,"c":"\\n"}', {"set": {"attribute": "x", "to": to}}) == reason


def test_required_attributes_stay_legal() -> None:
    assert failure(b'{"a":""}', {"set": {"attribute": "id", "to": "data.a"}}) == "attribute id: must not be empty"
    assert failure(b'{"a":"2.0"}', {"set": {"attribute": "specversion", "to": "data.a"}}).startswith(
        "attribute specversion"
    )
    assert fault({"set": {"attribute": "id", "to": "''"}}).message == "attribute id: must not be empty"
    assert fault({"set": {"attribute": "time", "to": "TRUE"}}).message == "attribute time: is not an RFC 3339 time"


def test_values_without_a_type_in_cloudevents_become_text() -> None:
    assert attribute_value("x", 2**31) == str(2**31)
    assert attribute_value("x", True) is True
    assert attribute_value("subject", True) == "true"
    assert attribute_value("x", 1.5) == "1.5"
    assert attribute_value("x", Decimal("1.50")) == "1.50"
    for value in (float("inf"), Decimal("NaN")):
        with pytest.raises(Refusal, match="no number that an event can hold"):
            attribute_value("x", value)


def test_the_content_type_may_be_corrected() -> None:
    step = {"set": {"attribute": "datacontenttype", "to": "'application/json'"}}
    assert data_of(b'{"a":1}', step, {"set": {"data": "b", "to": "2"}}, content_type="text/plain") == b'{"a":1,"b":2}'


def test_an_attribute_is_set_without_data_and_a_member_is_not() -> None:
    assert attributes_of({"set": {"attribute": "desk", "to": "'a'"}}, data=None)["desk"] == "a"
    assert attributes_of({"set": {"attribute": "has", "to": "EXISTS data.a"}}, data=None)["has"] is False
    assert failure(None, {"set": {"data": "a", "to": "1"}}) == "the event has no data"


# enrich


def enriched(data: bytes, **spec: Any) -> Any:
    step = {"enrich": {"table": "instruments", "key": "symbol", **spec}}
    return msgspec.json.decode(data_of(data, step, tables=ROWS))


def test_a_row_is_put_into_the_data() -> None:
    assert enriched(b"{}", into={"data": "instrument"}) == {"instrument": ROWS.rows["AAPL"]}
    fields = {"name": "name", "where.mic": "venue.mic", "tag": "tags[0]", "note": "note"}
    assert enriched(b"{}", into={"data": fields}) == {
        "name": "Apple",
        "where": {"mic": "XNAS"},
        "tag": "a",
        "note": None,
    }
    assert enriched(b'{"k":"12"}', key="data.k", into={"data": {"n": "name"}}) == {"k": "12", "n": "Twelve"}
    assert enriched(b'{"k":12}', key="data.k", into={"data": {"n": "name"}}) == {"k": 12, "n": "Twelve"}
    assert enriched(b'{"o.d":[true]}', key='data["o.d"][0]', into={"data": {"n": "name"}}) == {
        "o.d": [True],
        "n": "True",
    }


def test_fields_of_a_row_become_attributes() -> None:
    step = {"enrich": {"table": "instruments", "key": "symbol", "into": {"attributes": {"lot": "lot", "tick": "tick"}}}}
    attributes = attributes_of(step, tables=ROWS, data=None)
    assert (attributes["lot"], attributes["tick"]) == (100, "0.01")


def test_a_miss_is_dealt_with_as_the_policy_says() -> None:
    into = {"data": {"n": "name"}}
    miss = {"table": "instruments", "key": "data.k", "into": into}
    for data, reason in (
        (b'{"k":"x"}', "table instruments has no row 'x'"),
        (b"{}", "data.k is missing"),
        (b'{"k":null}', "data.k is missing"),
    ):
        assert failure(data, {"enrich": miss}, tables=ROWS) == reason
        assert enriched(data, key="data.k", into=into, miss="skip") == msgspec.json.decode(data)
        found = enriched(data, key="data.k", into=into, miss="default", default={"name": "?"})
        assert found == {**msgspec.json.decode(data), "n": "?"}
    assert (
        failure(None, {"enrich": {**miss, "into": {"attributes": {"n": "name"}}}}, tables=ROWS) == "data.k is missing"
    )
    assert failure(b"{}", {"enrich": {**miss, "key": "nope"}}, tables=ROWS) == "nope is missing"


def test_a_field_that_the_row_lacks_is_a_miss() -> None:
    spec = {"key": "data.k", "into": {"data": {"n": "name", "l": "lot", "x": "name.y"}}}
    assert (
        failure(b'{"k":"12"}', {"enrich": {"table": "instruments", **spec}}, tables=ROWS)
        == "the row '12' of table instruments has no lot"
    )
    assert enriched(b'{"k":"12"}', **spec, miss="skip") == {"k": "12", "n": "Twelve"}
    assert enriched(b'{"k":"12"}', **spec, miss="default", default={"lot": 1}) == {"k": "12", "n": "Twelve", "l": 1}


def test_a_default_row_is_put_as_a_whole() -> None:
    assert enriched(b'{"k":1}', key="data.k", into={"data": "row"}, miss="default", default={"a": 1}) == {
        "k": 1,
        "row": {"a": 1},
    }


def test_a_key_is_a_single_value() -> None:
    step = {"enrich": {"table": "instruments", "key": "data.o", "into": {"data": "x"}}}
    assert failure(b'{"o":{}}', step, tables=ROWS) == "the key at data.o is an object, not a single value"


def test_a_row_cannot_be_put_where_nothing_fits() -> None:
    step = {"enrich": {"table": "instruments", "key": "symbol", "into": {"data": "a.b"}}}
    assert failure(b'{"a":1}', step, tables=ROWS) == "a is a single value, so a.b cannot be set"
    bad = {"enrich": {"table": "instruments", "key": "symbol", "into": {"attributes": {"x": "venue"}}}}
    assert failure(b"{}", bad, tables=ROWS).startswith("attribute x: must be a string")


def test_the_table_is_not_changed_by_later_steps() -> None:
    steps = (
        {"enrich": {"table": "instruments", "key": "symbol", "into": {"data": "i"}}},
        {"drop": {"data": ["i.venue.mic"]}},
    )
    data_of(b"{}", *steps, tables=ROWS)
    assert ROWS.rows["AAPL"]["venue"] == {"mic": "XNAS"}


# Refused when made

INTO = {"data": "x"}


@pytest.mark.parametrize(
    ("step", "where", "message"),
    [
        ({"set": {"to": "1"}}, "set", "needs 'attribute' or 'data', one of them"),
        ({"set": {"attribute": "a", "data": "b", "to": "1"}}, "set", "needs 'attribute' or 'data', one of them"),
        ({"set": {"attribute": "a"}}, "set", "needs 'to'"),
        ({"set": {"attribute": "a", "to": 5}}, "set.to", "expected text, not a number"),
        (
            {"set": {"attribute": "A", "to": "1"}},
            "set.attribute",
            "'A': an attribute name has 1 to 64 characters of a-z and 0-9",
        ),
        ({"set": {"data": "a[*]", "to": "1"}}, "set.data", "'[*]' is for keep, drop and mask"),
        ({"enrich": {"table": "x", "key": "k", "into": INTO}}, "enrich.table", "there is no table 'x'"),
        (
            {"enrich": {"table": "instruments", "key": "K-", "into": INTO}},
            "enrich.key",
            "is an attribute or a path such as 'data.symbol', not 'K-'",
        ),
        ({"enrich": {"table": "instruments", "key": "k"}}, "enrich", "needs 'into'"),
        ({"enrich": {"table": "instruments", "key": "k", "into": {}}}, "enrich.into", "needs 'attributes' or 'data'"),
        (
            {"enrich": {"table": "instruments", "key": "k", "into": INTO, "miss": "fail"}},
            "enrich.miss",
            "is one of 'error', 'skip' or 'default', not 'fail'",
        ),
        (
            {"enrich": {"table": "instruments", "key": "k", "into": INTO, "default": {}}},
            "enrich",
            "'default', a row, goes with miss: default",
        ),
        (
            {"enrich": {"table": "instruments", "key": "k", "into": INTO, "miss": "default"}},
            "enrich",
            "'default', a row, goes with miss: default",
        ),
        (
            {"enrich": {"table": "instruments", "key": "k", "into": INTO, "miss": "default", "default": 5}},
            "enrich.default",
            "expected a row, a mapping, not '5'",
        ),
        (
            {
                "enrich": {
                    "table": "instruments",
                    "key": "k",
                    "into": INTO,
                    "miss": "default",
                    "default": {"a": object()},
                }
            },
            "enrich.default",
            "cannot be written as JSON: Encoding objects of type object is unsupported",
        ),
    ],
)
def test_a_step_that_cannot_be_meant_is_refused(step: Any, where: str, message: str) -> None:
    error = fault(step, tables=ROWS)
    assert (error.where, error.message) == (f"transform[0].{where}", message)


def test_without_tables_there_is_nothing_to_enrich_from() -> None:
    assert (
        fault({"enrich": {"table": "instruments", "key": "k", "into": INTO}}).message
        == "there is no table 'instruments'"
    )


def test_a_wrong_expression_is_refused_with_its_place() -> None:
    error = fault({"set": {"attribute": "a", "to": "data.price +"}})
    assert (error.where, error.kind, error.position) == ("transform[0].set.to", "parse", 12)
    assert fault({"set": {"attribute": "a", "to": "NOPE(1)"}}).kind == "missingFunction"
    assert fault({"set": {"attribute": "a", "to": "x" * 9000}}).message.startswith("has more than")
    assert TRADE
