"""What an expression computes of literals alone is computed once, when it is compiled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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
    walk,
)
from routing.filters.cast import EvaluationError
from routing.filters.functions import CESQL, EXPR
from routing.filters.generate import Generator
from routing.filters.lexer import Dialect
from routing.filters.runtime import code_of


def fold(node: Node, dialect: Dialect, strict: bool) -> Node:
    """The tree with such parts replaced by their values. Raises InvalidFilter, if strict, where one fails."""
    if isinstance(node, Literal | Attribute | Payload | Exists):
        return node
    if _constant(node, dialect):
        return _evaluated(node, dialect, strict)
    match node:
        case Unary():
            return replace(node, operand=fold(node.operand, dialect, strict))
        case Binary():
            return replace(node, left=fold(node.left, dialect, strict), right=fold(node.right, dialect, strict))
        case Logic():
            return replace(node, terms=tuple(fold(term, dialect, strict) for term in node.terms))
        case Call():
            return replace(node, arguments=tuple(fold(argument, dialect, strict) for argument in node.arguments))
        case Like():
            return replace(node, operand=fold(node.operand, dialect, strict))
        case In():
            items = tuple(fold(item, dialect, strict) for item in node.items)
            return replace(node, operand=fold(node.operand, dialect, strict), items=items)
        case InArray():
            return replace(node, operand=fold(node.operand, dialect, strict))


def _constant(node: Node, dialect: Dialect) -> bool:
    functions = CESQL if dialect == "cesql" else EXPR
    for part in walk(node):
        if isinstance(part, Attribute | Payload | Exists | InArray):
            return False
        if isinstance(part, Call) and not all(function.pure for function in functions.get(part.name, ())):
            return False
    return True


def _evaluated(node: Node, dialect: Dialect, strict: bool) -> Node:
    generator = Generator(dialect, strict=False)
    text = generator.text(node)
    names: dict[str, Any] = generator.names
    try:
        exec(code_of(f"{generator.definitions()}value = {text}"), names)
    except EvaluationError as error:
        if strict:
            raise InvalidFilter(
                f"this fails for every event: {error.message}", kind=error.kind, position=error.site.at
            ) from None
        return node
    return Literal(names["value"], node.at)
