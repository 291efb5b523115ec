"""The shorthand: symbol, data type, quality tier, and the least confidence."""

from __future__ import annotations

from typing import Any

import pytest

from routing.errors import InvalidFilter
from routing.filters.filter import compile_filters
from routing.filters.shorthand import MOST_VALUES, read_shorthand


def passes(written: dict[str, Any], attributes: dict[str, Any]) -> bool:
    return compile_filters([written]).passes(attributes)


def test_all_that_is_given_must_be_so() -> None:
    written = {"symbol": ["AAPL", "MSFT"], "datatype": "signal", "qualitytier": ("gold", "silver"), "confidence": 0.8}
    event = {"symbol": "MSFT", "datatype": "signal", "qualitytier": "gold", "confidence": "0.80"}
    assert passes(written, event)
    for name, other in {"symbol": "X", "datatype": "news", "qualitytier": "lead", "confidence": "0.79"}.items():
        assert not passes(written, {**event, name: other})
        assert not passes(written, {key: value for key, value in event.items() if key != name})


def test_the_symbol_is_the_end_of_the_subject_where_there_is_no_other() -> None:
    assert passes({"symbol": "AAPL"}, {"subject": "equities/AAPL"})
    assert passes({"symbol": "AAPL"}, {"subject": "AAPL"})
    assert not passes({"symbol": "AAPL"}, {"subject": "equities/AAPL", "symbol": "MSFT"})
    assert not passes({"symbol": "AAPL"}, {"subject": "AAPL/x"})
    assert not passes({"symbol": "AAPL"}, {})


@pytest.mark.parametrize(
    ("least", "text", "passed"),
    [
        (0.8, "0.8", True),
        ("0.8", "0.8", True),
        (0.8, "8e-1", True),
        (0.8, "0.7999999", False),
        (1, 1, True),
        (0, "0", True),
        (0, "-0.1", False),
        (0, "", False),
        (0, "nan", False),
        (0, "inf", False),
        (0, " 1", False),
        (0, "1_0", False),
        (0, True, False),
        (0, "9" * 100, False),
    ],
)
def test_a_confidence_is_compared_as_a_number(least: Any, text: Any, passed: bool) -> None:
    assert passes({"confidence": least}, {"confidence": text}) is passed


@pytest.mark.parametrize(
    ("written", "where", "message"),
    [
        ({"symbol": []}, "f.symbol", "has at least one text"),
        ({"symbol": ["A", ""]}, "f.symbol[1]", "is not empty"),
        ({"datatype": None}, "f.datatype", "is a text, an integer or a boolean, not null"),
        ({"datatype": {"a": 1}}, "f.datatype", "is a text, an integer or a boolean, not an object"),
        ({"qualitytier": ["x", ["y"]]}, "f.qualitytier[1]", "is a text, an integer or a boolean, not a list"),
        ({"symbol": ["A"] * (MOST_VALUES + 1)}, "f.symbol", "has 1001 texts; 1000 are the most"),
        ({"confidence": "high"}, "f.confidence", "is a number from 0 to 1, the least one, not a text"),
        ({"confidence": True}, "f.confidence", "is a number from 0 to 1, the least one, not a boolean"),
        ({"confidence": [0.5]}, "f.confidence", "is a number from 0 to 1, the least one, not a list"),
        ({"confidence": 80}, "f.confidence", "is from 0 to 1"),
        ({"confidence": -0.1}, "f.confidence", "is from 0 to 1"),
        ({"confidence": float("nan")}, "f.confidence", "is from 0 to 1"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(written: dict[str, Any], where: str, message: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        read_shorthand(written, "f")
    assert (caught.value.where, caught.value.message) == (where, message)
