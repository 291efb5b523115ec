"""What is known of values before there is an event."""

from __future__ import annotations

import pytest

from routing.filters.cast import Type
from routing.filters.inference import Types, literal_form, may_be_whole
from routing.filters.lexer import Dialect
from routing.filters.parser import parse


@pytest.mark.parametrize(
    ("text", "dialect", "expected"),
    [
        ("a", "cesql", "any"),
        ("5", "cesql", "int"),
        ("5", "expr", "num"),
        ("'x'", "expr", "str"),
        ("TRUE", "expr", "bool"),
        ("-a", "cesql", "int"),
        ("NOT a", "expr", "bool"),
        ("a < b", "expr", "bool"),
        ("a + 1", "cesql", "int"),
        ("a + 1", "expr", "any"),
        ("a * b", "expr", "num"),
        ("1 + EPOCH(a)", "expr", "num"),
        ("NOW() + 5", "expr", "time"),
        ("NOW() - 5", "expr", "any"),
        ("NOW() + a", "expr", "any"),
        ("LENGTH(a)", "cesql", "int"),
        ("LENGTH(a)", "expr", "num"),
        ("IF(a, 1, 2)", "expr", "num"),
        ("IF(a, 1, 'x')", "expr", "any"),
        ("COALESCE(a, 'x')", "expr", "any"),
        ("data.x", "expr", "any"),
        ("a IN (1)", "expr", "bool"),
        ("EXISTS a", "expr", "bool"),
        ("a LIKE 'x'", "expr", "bool"),
    ],
)
def test_the_type_of(text: str, dialect: Dialect, expected: Type) -> None:
    assert Types(dialect).of(parse(text, dialect)) == expected


def test_a_text_in_an_ordering_tells_what_is_meant() -> None:
    texts = ("'10'", "'1.5'", "'2024-01-01T00:00:00Z'", "'x'", "5", "a")
    assert [literal_form(parse(text, "expr")) for text in texts] == ["num", "num", "time", None, None, None]


def test_a_division_truncates_unless_a_payload_takes_part() -> None:
    assert may_be_whole(parse("a + 5", "expr"))
    assert not may_be_whole(parse("a + LENGTH(data.x)", "expr"))
