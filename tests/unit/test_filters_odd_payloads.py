"""Payloads of CBOR, MessagePack and Avro hold what JSON does not: never more than an evaluation error."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.batch import Batch, Plain
from routing.filters.ast import Node
from routing.filters.compile import Expression, compile_expr
from tests.unit.test_filters_against_reference import trees, written

FAR = dt.timezone(dt.timedelta(hours=14))
ODD: list[Any] = [
    float("nan"),
    float("inf"),
    float("-inf"),
    -0.0,
    10**5000,
    -(10**5000),
    b"",
    b"5",
    Decimal("0.1"),
    Decimal("NaN"),
    Decimal("1e999999"),
    Fraction(1, 3),
    uuid.UUID(int=5),
    {1, 2},
    {b"x": 1, 5: 2},
    [[[]]],
    (1, 2),
    object,
    dt.date(2024, 1, 1),
    dt.datetime(2024, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None),
    dt.datetime(1, 1, 1, tzinfo=FAR),
    dt.datetime(9999, 12, 31, 23, tzinfo=dt.UTC),
    "\ud800",
    "5" * 5000,
    True,
    None,
]
odd = st.sampled_from(ODD)


@settings(max_examples=500, deadline=None)
@given(trees("expr"), st.fixed_dictionaries({"x": odd, "y": odd, "list": st.lists(odd, max_size=2), "odd name": odd}))
def test_no_expression_raises(tree: Node, data: dict[str, Any]) -> None:
    event = Plain({"type": "t", "id": "1", "datacontenttype": "a/odd", "a": "5"}, b"")
    expression = Expression(written(tree), "expr", strict=False)
    batch = Batch([event], decode=lambda _: data)
    places, errors = expression.places(batch)
    _, failed = expression.column(batch)
    _, error = expression.one(event.attributes, event.data, decode=lambda _: data)
    assert len(places) + errors <= 1
    assert failed == (error is not None)
    assert error is None or error.message


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_every_operator_and_function_takes_it(value: Any) -> None:
    texts = [
        "data.x = 5",
        "data.x = 'x'",
        "data.x = TRUE",
        "data.x = data.x",
        "data.x < 5",
        "data.x < 'x'",
        "data.x < data.x",
        "data.x < '2024-01-01T00:00:00Z'",
        "TIME(data.x) > TIME(a)",
        "data.x + 1",
        "1 - data.x",
        "data.x * 2",
        "data.x / 3",
        "data.x % 3",
        "-data.x",
        "TIME(a) + data.x",
        "TIME(a) - data.x",
        "LEFT(a, data.x)",
        "RIGHT(a, data.x)",
        "SUBSTRING(a, data.x)",
        "SUBSTRING(a, 1, data.x)",
        "ROUND(data.x)",
        "ROUND(1.5, data.x)",
        "FLOOR(data.x)",
        "ABS(data.x)",
        "INT(data.x)",
        "STRING(data.x)",
        "BOOL(data.x)",
        "EPOCH(data.x)",
        "HOUR(data.x)",
        "SIZE(data.x)",
        "data.x LIKE '%a_%'",
        "data.x IN (1, 'x')",
        "a IN data.x",
        "data.x IN (data.x, a)",
        "NOT data.x",
        "LEAST(data.x, 1)",
        "COALESCE(data.x, 1)",
        "IF(data.x, 1, 2)",
        "CONCAT(data.x, a)",
        "data.x AND TRUE",
        "5 IN data.x",
        "data.x IN data.l",
    ]
    event = Plain({"a": "2024-01-01T00:00:00Z", "datacontenttype": "a/odd"}, b"")
    for text in texts:
        _, error = compile_expr(text).one(event.attributes, event.data, decode=lambda _: {"x": value, "l": [value]})
        assert error is None or error.message, text
