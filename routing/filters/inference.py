"""What is known of the values of an expression before there is an event."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from routing.errors import InvalidFilter
from routing.filters import cast
from routing.filters.ast import COMPARISONS, Attribute, Binary, Call, Literal, Node, Payload, Unary, walk
from routing.filters.cast import EvaluationError, Site, Type
from routing.filters.functions import CESQL, EXPR, Function
from routing.filters.lexer import Dialect

#: Special forms of `expr`: not all of their arguments are evaluated.
SPECIAL: Final = frozenset({"COALESCE", "IF"})


class Types:
    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.functions = CESQL if dialect == "cesql" else EXPR
        self.special: frozenset[str] = SPECIAL if dialect == "expr" else frozenset()
        #: CESQL's integers, or numbers of `expr`.
        self.number: Type = "int" if dialect == "cesql" else "num"

    def of(self, node: Node) -> Type:
        """What is known of a node's value before there is an event. Raises InvalidFilter for an unknown function."""
        match node:
            case Literal(value=value):
                return literal_type(value, self.number)
            case Attribute() | Payload():
                return "any"
            case Call():
                return self._call_type(node)
            case Unary(operator="-"):
                return self.number
            case Binary(operator=operator):
                return "bool" if operator in COMPARISONS else self._arithmetic_type(node)
            case _:
                return "bool"

    def _call_type(self, node: Call) -> Type:
        if node.name in self.special:
            types = {self.of(argument) for argument in node.arguments[node.name == "IF" :]}
            return types.pop() if len(types) == 1 else "any"
        return self.function(node).result

    def _arithmetic_type(self, node: Binary) -> Type:
        if self.dialect == "cesql" or node.operator not in ("+", "-"):
            return self.number
        types = {self.of(node.left), self.of(node.right)}
        if types <= {"num", "bool"}:
            return "num"
        return "time" if "time" in types and types <= {"time", "num"} and node.operator == "+" else "any"

    def function(self, node: Call) -> Function:
        """The function that a call means, by its name and the number of its arguments."""
        overloads = self.functions.get(node.name)
        if overloads is None:
            raise InvalidFilter(self._unknown(node.name), kind="missingFunction", position=node.at)
        count = len(node.arguments)
        for function in overloads:
            if function.takes(count):
                return function
        wanted = " or ".join(_arity(function) for function in overloads)
        message = f"{node.name} takes {wanted}, not {count}"
        raise InvalidFilter(message, kind="missingFunction", position=node.at)

    def _unknown(self, name: str) -> str:
        if self.dialect == "cesql" and (name in EXPR or name in SPECIAL):
            return f"{name} is a function of the 'expr' dialect, not of CESQL"
        return f"there is no function {name}; there are {', '.join(sorted({*self.functions, *self.special}))}"


def literal_type(value: object, number: Type) -> Type:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "str"
    return "time" if isinstance(value, datetime) else number


def literal_form(node: Node) -> Type | None:
    """What a text in an ordering is: it tells what is meant, so the other side has to be the same."""
    if not isinstance(node, Literal) or not isinstance(node.value, str):
        return None
    try:
        cast.as_num(node.value, Site(0, ""))
    except EvaluationError:
        return "time" if cast.read_time(node.value) is not None else None
    return "num"


def may_be_whole(node: Node) -> bool:
    """Whether a division of it truncates: no number of a payload takes part."""
    return not any(isinstance(part, Payload) for part in walk(node))


def _arity(function: Function) -> str:
    count = len(function.parameters)
    return f"{count} or more arguments" if function.rest else f"{count} argument{'' if count == 1 else 's'}"
