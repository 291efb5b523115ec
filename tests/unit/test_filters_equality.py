"""Which attribute ties an expression down: what the index of filters relies on."""

from __future__ import annotations

import pytest

from routing.batch import Plain, Value
from routing.filters.compile import compile_expr
from routing.filters.equality import Equality

BASE: dict[str, Value] = {"id": "1", "source": "/s", "type": "x", "specversion": "1.0"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type = 'x'", ("type", {"x"})),
        ("n = '5'", ("n", {"5"})),
        ("symbol IN ('A', 'B')", ("symbol", {"A", "B"})),
        ("type LIKE 'a\\%b'", ("type", {"a%b"})),
        ("type = 'x' AND data.n > 5", ("type", {"x"})),
        ("symbol IN ('A', 'B') AND n > 5 AND type = 'x'", ("type", {"x"})),
        ("type = 'x' OR type IN ('y', 'z')", ("type", {"x", "y", "z"})),
        ("(type = 'x' OR type = 'y') AND EXISTS n", ("type", {"x", "y"})),
        ("n IN ('5', 'true')", ("n", {"5", "true"})),
        # Not sure enough, or not one attribute.
        ("n = 5", None),
        ("n IN ('05', 'a')", None),
        ("n IN ('TRUE')", None),
        ("n IN ('5.0')", None),
        ("n IN ('a', 5)", None),
        ("n IN ('a', type)", None),
        ("type != 'x'", None),
        ("type NOT IN ('x')", None),
        ("NOT (type = 'x')", None),
        ("type LIKE 'x%'", None),
        ("type NOT LIKE 'x'", None),
        ("type = 'x' OR n = 'y'", None),
        ("type = 'x' OR EXISTS n", None),
        ("type = 'x' XOR type = 'y'", None),
        ("data.type = 'x'", None),
        ("TRUE", None),
    ],
)
def test_equality_of(text: str, expected: Equality | None) -> None:
    assert compile_expr(text).equality == expected


@pytest.mark.parametrize("value", ["5", 5, "05", True, "true", "TRUE", 1, "a"])
@pytest.mark.parametrize(
    "text", ["n = '5'", "n IN ('5', 'true')", "n = 'TRUE' OR n = '1'", "n = '5' AND n IN ('5', 'a')"]
)
def test_no_event_is_true_whose_attribute_is_another(text: str, value: Value) -> None:
    expression = compile_expr(text)
    assert expression.equality is not None
    passed, _ = expression.one(Plain({**BASE, "n": value}).attributes)
    canonical = str(value).lower() if isinstance(value, bool) else str(value)
    assert not passed or canonical in expression.equality[1]
