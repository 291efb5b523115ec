"""Expressions as trees: how they group, and what is refused with which advice."""

from __future__ import annotations

import pytest

from routing.errors import InvalidFilter
from routing.filters.ast import Attribute, Binary, Exists, InArray, Like, Literal, Logic, Payload, Unary, children, walk
from routing.filters.lexer import Dialect
from routing.filters.parser import parse

A, B, C = Attribute("a"), Attribute("b"), Attribute("c")


def refusal(text: str, dialect: Dialect = "expr") -> tuple[int | None, str]:
    with pytest.raises(InvalidFilter) as refused:
        parse(text, dialect)
    return refused.value.position, refused.value.message


def loose(text: str) -> object:
    return parse(text, "expr", strict=False)


class TestGrouping:
    def test_arithmetic_groups_to_the_left_and_products_first(self) -> None:
        assert parse("a - b * c - 1", "expr") == Binary("-", Binary("-", A, Binary("*", B, C)), Literal(1))

    def test_equal_logic_operators_are_one_node(self) -> None:
        assert parse("a AND b AND c", "expr") == Logic("AND", (A, B, C))

    def test_mixed_logic_operators_group_to_the_right(self) -> None:
        assert loose("a AND b OR c") == Logic("AND", (A, Logic("OR", (B, C))))
        assert loose("a XOR b XOR c AND a") == Logic("XOR", (A, B, Logic("AND", (C, A))))

    def test_not_and_the_sign_bind_tightest(self) -> None:
        assert loose("NOT a = b") == Binary("=", Unary("NOT", A), B)
        assert parse("NOT a AND b", "expr") == Logic("AND", (Unary("NOT", A), B))
        assert parse("NOT NOT a", "expr") == Unary("NOT", Unary("NOT", A))
        assert parse("--5", "expr") == Unary("-", Literal(-5))
        assert parse("a -1", "expr") == Binary("-", A, Literal(1))
        assert parse("a = +5", "expr") == Binary("=", A, Literal(5))
        assert parse("-2147483648", "cesql") == Literal(-(2**31))

    def test_like_and_in_bind_tighter_than_arithmetic(self) -> None:
        assert loose("a + b LIKE 'x'") == Binary("+", A, Like(B, "x", False))
        assert parse("a NOT LIKE 'x'", "expr") == Like(A, "x", True)

    def test_comparisons_group_to_the_left(self) -> None:
        assert loose("a < b < c") == Binary("<", Binary("<", A, B), C)

    def test_names_of_attributes_are_in_lower_case_whatever_is_written(self) -> None:
        assert parse("EXISTS SOURCE", "cesql") == Exists(Attribute("source"))

    def test_the_data_is_an_attribute_only_to_lenient_cesql(self) -> None:
        assert parse("data", "cesql", strict=False) == Attribute("data")
        assert refusal("data = 5", "cesql") == (0, "CESQL does not read the payload: the 'expr' dialect does")

    def test_paths(self) -> None:
        assert parse("data.a.AND[0]['odd \\'name\\'']", "expr") == Payload(("a", "AND", 0, "odd 'name'"))
        assert parse("a IN data.tags", "expr") == InArray(A, Payload(("tags",)), False)
        assert parse("a NOT IN data", "expr") == InArray(A, Payload(()), True)
        assert parse("EXISTS data.0", "expr") == Exists(Payload(("0",)))

    def test_a_tree_can_be_walked(self) -> None:
        tree = parse("a + 1 IN (2, b) OR a IN data.x OR EXISTS c OR LOWER(a) LIKE 'x' OR NOT b", "expr", strict=False)
        names = [node.name for node in walk(tree) if isinstance(node, Attribute)]
        assert sorted(names) == ["a", "a", "a", "b", "b", "c"]
        assert children(A) == ()


class TestAdvice:
    @pytest.mark.parametrize(
        ("text", "position", "told"),
        [
            ("a AND b OR c", 8, "write (a AND b) OR c, or a AND (b OR c)"),
            (
                "a = 1 OR b = 2 OR c = 3 AND a = 4",
                24,
                "write (b = 2 OR c = 3) AND a = 4, or b = 2 OR (c = 3 AND a = 4)",
            ),
            ("NOT a = b", 0, "NOT binds tighter than =: write NOT (a = ...), or (NOT a) = ..."),
            ("NOT a LIKE 'x'", 0, "write a NOT LIKE ..., or NOT (a LIKE ...)"),
            ("NOT a IN (b)", 0, "write a NOT IN ..., or NOT (a IN ...)"),
            ("NOT a NOT IN (b)", 0, "write a NOT IN ..."),
            ("NOT a + 1", 0, "NOT binds tighter than +"),
            ("a < b < c", 6, "write a < b AND b < c"),
            ("a + b IN (c)", 6, "IN binds tighter than +: write (... + b) IN ..."),
            ("a * b LIKE 'x'", 6, "LIKE binds tighter than *"),
        ],
    )
    def test_what_reads_otherwise_than_it_looks_is_refused(self, text: str, position: int, told: str) -> None:
        at, message = refusal(text)
        assert at == position
        assert told in message
        parse(text, "expr", strict=False)

    def test_parentheses_are_all_that_it_takes(self) -> None:
        for text in ("(a AND b) OR c", "NOT (a = b)", "(NOT a) = b", "(a < b) < c", "(a + b) IN (c)", "a + (b IN (c))"):
            assert parse(text, "expr") == loose(text)

    def test_long_parts_are_not_repeated(self) -> None:
        assert refusal(f"{'a' * 60} = '{'x' * 90}' AND b OR c")[1].count("x") < 10


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "position", "told"),
        [
            ("", 0, "expected a value"),
            ("a =", 3, "expected a value"),
            ("a b", 2, "expected an operator (AND, OR, =, <, LIKE, IN, ...) or the end, found b"),
            ("(a", 2, "expected an operator, or ) for the ( at position 0, found the end"),
            ("a)", 1, "this parenthesis was never opened"),
            ("a = = b", 4, "expected a value"),
            ("AND a", 0, "expected a value"),
            ("a LIKE b", 7, "expected a pattern in quotes after LIKE, found b"),
            ("a IN b", 5, "expected ( and a list of values after IN"),
            ("a IN ()", 6, "a list of IN is not empty"),
            ("a IN (b", 7, "expected , or ) to end the list"),
            ("LOWER(a", 7, "expected , or ) to end the arguments"),
            ("EXISTS 'a'", 7, "expected the name of an attribute after EXISTS"),
            ("a_b = 1", 0, "fields of the payload are written data.a_b"),
            ("price.x = 1", 5, "fields of the payload are written data.price"),
            ("f1(a)", 0, "a function name has letters and _"),
            ("data. = 1", 6, "expected the name of a field after ."),
            ("data[-1] = 1", 5, "expected a place in an array (from 0)"),
            ("data[0 = 1", 7, "expected ], found ="),
            ("+ 5", 2, "expected a number right after the sign +"),
            ("9223372036854775808", 0, "integers are -9223372036854775808 to 9223372036854775807"),
            ("1" * 41, 0, "a number has at most 40 digits"),
            ("1.5e999", 0, "this number is too large"),
            ("a" * 65, 0, "at most 64 characters"),
            ("data" + ".a" * 66, 0, "a path has at most 64 steps"),
            ("(" * 65 + "a", 64, "nested deeper than 64 levels"),
            ("NOT " * 65 + "a", 252, "nested deeper than 64 levels"),
            ("a = 'x' " + "b" * 70, 8, "..."),
        ],
    )
    def test_the_place_and_what_was_expected_are_told(self, text: str, position: int, told: str) -> None:
        at, message = refusal(text)
        assert at == position
        assert told in message

    def test_integers_of_cesql_have_32_bits(self) -> None:
        assert refusal("a = 2147483648", "cesql") == (4, "integers are -2147483648 to 2147483647")
        assert refusal("a_b = 1", "cesql") == (0, "an attribute name has letters and digits, no _")
