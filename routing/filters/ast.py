"""The tree of an expression, the same for CESQL and `expr`.

`at` is the position of what a person would point at (an operator, a name), and is no part of
equality or of `repr`, so that the `repr` of a tree is a key: equal keys mean the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal as OneOf
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool | datetime
Path: TypeAlias = tuple[str | int, ...]
LogicOp: TypeAlias = OneOf["AND", "OR", "XOR"]


@dataclass(frozen=True, slots=True)
class Literal:
    """Written as it is, or found when an expression of literals alone was evaluated."""

    value: Scalar
    at: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str
    at: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Payload:
    """A place in the data; the empty path is the data itself."""

    path: Path
    at: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: tuple[Node, ...]
    at: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Unary:
    operator: OneOf["NOT", "-"]
    operand: Node
    at: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """Arithmetic or a comparison; `<>` is `!=`."""

    operator: str
    left: Node
    right: Node
    at: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Logic:
    """Two or more terms, evaluated from left to right until one decides (XOR: all)."""

    operator: LogicOp
    terms: tuple[Node, ...]
    at: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Like:
    operand: Node
    pattern: str
    negated: bool
    at: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class In:
    operand: Node
    items: tuple[Node, ...]
    negated: bool
    at: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class InArray:
    """Whether an array of the payload holds a value (`expr` alone)."""

    operand: Node
    array: Payload
    negated: bool
    at: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Exists:
    what: Attribute | Payload
    at: int = field(default=0, compare=False, repr=False)


Node: TypeAlias = Literal | Attribute | Payload | Call | Unary | Binary | Logic | Like | In | InArray | Exists

COMPARISONS = frozenset({"=", "!=", "<", "<=", ">", ">="})
ARITHMETIC = frozenset({"+", "-", "*", "/", "%"})


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below, in the order of evaluation; what EXISTS asks for is not evaluated."""
    match node:
        case Unary():
            return (node.operand,)
        case Binary():
            return (node.left, node.right)
        case Logic():
            return node.terms
        case Call():
            return node.arguments
        case Like():
            return (node.operand,)
        case In():
            return (node.operand, *node.items)
        case InArray():
            return (node.operand, node.array)
        case _:
            return ()


def walk(node: Node) -> list[Node]:
    """The node and all below it, from above and from left to right."""
    found, stack = [], [node]
    while stack:
        node = stack.pop()
        found.append(node)
        stack.extend(reversed(children(node)))
        if type(node) is Exists:
            found.append(node.what)
    return found
