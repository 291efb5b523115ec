"""What literals alone make is made when an expression is compiled."""

from __future__ import annotations

import pytest

from routing.errors import InvalidFilter
from routing.filters.ast import Attribute, Binary, Call, Literal
from routing.filters.fold import fold
from routing.filters.lexer import Dialect
from routing.filters.parser import parse


def folded(text: str, dialect: Dialect = "expr", strict: bool = True) -> object:
    return fold(parse(text, dialect, strict=strict), dialect, strict)


def test_parts_without_an_attribute_become_their_value() -> None:
    assert folded("a = 2 * 3 + 1") == Binary("=", Attribute("a"), Literal(7))
    assert folded("LOWER('ABC')", "cesql") == Literal("abc")
    assert repr(folded("a IN (1 + 1, 'x') AND NOT b LIKE 'y'", strict=False)).count("Literal") == 2
    assert folded("IF(a, 1 + 1, LOWER('X'))") == Call("IF", (Attribute("a"), Literal(2), Literal("x")))
    assert repr(folded("LOWER('X') IN data.tags")).count("Literal(value='x')") == 1
    assert repr(folded("LOWER('X') LIKE 'x' AND -(1 + 1) = -a")).count("Literal(value=True)") == 1


def test_equal_meanings_have_equal_trees() -> None:
    assert repr(folded("TIME('2024-01-01T01:00:00+01:00') < TIME(time)")) == repr(
        folded("TIME('2024-01-01T00:00:00Z') < TIME(time)")
    )


def test_the_time_of_the_clock_is_left_to_each_evaluation() -> None:
    assert folded("NOW()") == Call("NOW", ())
    assert folded("IF(TRUE, NOW(), 5)") == Call("IF", (Literal(True), Call("NOW", ()), Literal(5)))


def test_what_fails_is_refused_or_left() -> None:
    with pytest.raises(InvalidFilter, match="this fails for every event: 1 / 0") as refused:
        folded("a = 1 / 0")
    assert (refused.value.kind, refused.value.position) == ("math", 6)
    assert folded("a = 1 / 0", strict=False) == Binary("=", Attribute("a"), Binary("/", Literal(1), Literal(0)))
    assert folded("FALSE AND 1 / 0 = 1") == Literal(False)
