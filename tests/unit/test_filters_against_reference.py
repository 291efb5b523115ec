"""Compiled expressions give what a plain interpreter gives, for whatever expression and event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.batch import Batch, Paths, Plain
from routing.errors import InvalidFilter
from routing.filters.ast import (
    Attribute,
    Binary,
    Call,
    Exists,
    In,
    InArray,
    Like,
    Literal,
    Logic,
    Node,
    Payload,
    Unary,
)
from routing.filters.compile import Expression
from routing.filters.functions import CESQL, EXPR
from routing.filters.generate import path_text
from routing.filters.lexer import Dialect
from routing.filters.parser import parse
from tests.unit.filters_reference import ABSENT, interpret

TEXTS = [
    "", "a", "abc", "A", "5", "-7", "0.5", "5.0", "1e3", "true", "FALSE", "99999999999", "a%b", "it's", 'q"', "b_c",
    "é", "2024-02-29T12:00:00Z", "2024-02-29T13:00:00.25+01:00", "2016-12-31T23:59:60Z",
]  # fmt: skip
NUMBERS = [0, 1, 5, -7, 1000, 2**31 - 1, -(2**31)]
NAMES = ["a", "b", "n", "type", "id", "time"]
PATHS: list[tuple[str | int, ...]] = [("x",), ("y", "z"), ("list", 0), ("list",), ("odd name",), ()]

texts = st.sampled_from(TEXTS)
integers = st.sampled_from(NUMBERS)
decimals = st.sampled_from([0.1, 0.2, 0.3, 0.5, 5.0, 187.5, 1e15, -2.5])
scalars = st.one_of(texts, integers, st.booleans())
values = st.one_of(scalars, decimals, st.none(), st.integers(-(2**70), 2**70))
payloads = st.one_of(
    st.just(ABSENT),
    values,
    st.fixed_dictionaries(
        {},
        optional={
            "x": values,
            "y": st.one_of(values, st.fixed_dictionaries({}, optional={"z": values})),
            "list": st.one_of(values, st.lists(values, max_size=3)),
            "odd name": values,
        },
    ),
)
events = st.tuples(st.dictionaries(st.sampled_from(["a", "b", "n", "time"]), scalars), payloads)


def trees(dialect: Dialect) -> st.SearchStrategy[Node]:
    attributes = st.builds(Attribute, st.sampled_from(NAMES))
    literals = st.builds(Literal, st.one_of(texts, integers, st.booleans()))
    variables: st.SearchStrategy[Any] = attributes
    if dialect == "expr":
        paths = st.builds(Payload, st.sampled_from(PATHS))
        variables = st.one_of(attributes, paths)
        literals = st.one_of(literals, st.builds(Literal, st.sampled_from([0.1, 0.3, 5.0, 187.5])))
    leaves = st.one_of(variables, variables, literals, st.builds(Exists, variables))
    functions = EXPR if dialect == "expr" else CESQL
    calls = [
        (name, len(overload.parameters) + (1 if overload.rest else 0))
        for name, overloads in sorted(functions.items())
        for overload in overloads
        if overload.pure
    ]

    def wider(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        def call(which: tuple[str, int]) -> st.SearchStrategy[Node]:
            return st.builds(Call, st.just(which[0]), st.tuples(*[inner] * which[1]))

        operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"])
        several = st.lists(inner, min_size=2, max_size=3).map(tuple)
        items = st.lists(st.one_of(literals, literals, inner), min_size=1, max_size=3).map(tuple)
        options: list[st.SearchStrategy[Any]] = [
            st.builds(Unary, st.sampled_from(["NOT", "-"]), inner),
            st.builds(Binary, operators, inner, inner),
            st.builds(Binary, operators, variables, literals),
            st.builds(Logic, st.sampled_from(["AND", "OR", "XOR"]), several),
            st.builds(
                Like, inner, st.sampled_from(["a%", "%c", "%b%", "_b_", "a\\%b", "%_b%c", "5", ""]), st.booleans()
            ),
            st.builds(In, inner, items, st.booleans()),
            st.sampled_from(calls).flatmap(call),
        ]
        if dialect == "expr":
            options += [
                st.builds(InArray, inner, paths, st.booleans()),
                st.builds(Call, st.just("IF"), st.tuples(inner, inner, inner)),
                st.builds(Call, st.just("COALESCE"), st.tuples(variables, inner)),
            ]
        return st.one_of(options)

    return st.recursive(leaves, wider, max_leaves=12)


def written(node: Node) -> str:
    """The tree as text, in parentheses wherever it is not a leaf."""
    match node:
        case Literal(value=bool() as value):
            return str(value)
        case Literal(value=str() as value):
            escaped = value.replace("'", "\\'")
            return f"'{escaped}'"
        case Literal(value=value):
            return repr(value) if "e" not in repr(value) else f"{value:f}"
        case Attribute(name=name):
            return name
        case Payload(path=path):
            return path_text(path)
        case Exists(what=what):
            return f"EXISTS {written(what)}"
        case Unary(operator=operator, operand=operand):
            return f"({operator} {written(operand)})"
        case Binary(operator=operator, left=left, right=right):
            return f"({written(left)} {operator} {written(right)})"
        case Logic(operator=operator, terms=terms):
            return "(" + f" {operator} ".join(written(term) for term in terms) + ")"
        case Like(operand=operand, pattern=pattern, negated=negated):
            return f"({written(operand)} {'NOT ' * negated}LIKE '{pattern}')"
        case In(operand=operand, items=items, negated=negated):
            return f"({written(operand)} {'NOT ' * negated}IN ({', '.join(map(written, items))}))"
        case InArray(operand=operand, array=array, negated=negated):
            return f"({written(operand)} {'NOT ' * negated}IN {written(array)})"
        case Call(name=name, arguments=arguments):
            return f"{name}({', '.join(map(written, arguments))})"


def compared(tree: Node, dialect: Dialect, samples: list[tuple[dict[str, Any], Any]]) -> None:
    expression = Expression(written(tree), dialect, strict=False)
    plain = [
        Plain({"type": "t", "id": "5", **attributes}, None if data is ABSENT else json.dumps(data).encode())
        for attributes, data in samples
    ]
    expected = []
    for event, (_, data) in zip(plain, samples, strict=True):
        value, kind = interpret(tree, dialect, event.attributes, data)
        found, error = expression.one(event.attributes, event.data)
        # Of two errors in one expression, which is told first is nobody's business.
        assert (error is None) == (kind is None), (written(tree), event, error, value)
        if kind is None:
            assert (type(found), found) == (type(value), value), (written(tree), event)
        expected.append((value, kind))
    batch = Batch(plain, Paths(expression.paths))
    true = [place for place, (value, kind) in enumerate(expected) if kind is None and value is True]
    failed = sum(kind is not None for _, kind in expected)
    if expression.result == "bool" or not expression.paths:
        assert expression.places(batch) == (true, failed), written(tree)
    odd = range(1, len(plain), 2)
    assert expression.places(batch, odd)[0] == [place for place in true if place in odd]
    column, errors = expression.column(Batch(plain))
    assert errors == failed
    assert [value for value, (_, kind) in zip(column, expected, strict=True) if kind is None] == [
        value for value, kind in expected if kind is None
    ]


@pytest.mark.parametrize("dialect", ["cesql", "expr"])
def test_a_tree_is_read_back_from_its_text(dialect: Dialect) -> None:
    @settings(max_examples=150, deadline=None)
    @given(trees(dialect))
    def check(tree: Node) -> None:
        assert repr(parse(written(tree), dialect)) == repr(tree)

    check()


@pytest.mark.parametrize("dialect", ["cesql", "expr"])
def test_compiled_and_interpreted_expressions_agree(dialect: Dialect) -> None:
    @settings(max_examples=300, deadline=None)
    @given(trees(dialect), st.lists(events, min_size=1, max_size=5))
    def check(tree: Node, samples: list[tuple[dict[str, Any], Any]]) -> None:
        compared(tree, dialect, samples)

    check()


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("dialect", ["cesql", "expr"])
def test_compiled_and_interpreted_expressions_agree_for_long(dialect: Dialect) -> None:
    @settings(max_examples=20_000, deadline=None)
    @given(trees(dialect), st.lists(events, min_size=1, max_size=5))
    def check(tree: Node, samples: list[tuple[dict[str, Any], Any]]) -> None:
        compared(tree, dialect, samples)

    check()


def test_what_cannot_be_parsed_is_refused_in_both_dialects() -> None:
    for dialect in ("cesql", "expr"):
        with pytest.raises(InvalidFilter):
            Expression("a = ", dialect)
