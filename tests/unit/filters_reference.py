"""A plain and slow interpreter of the expression languages: what the compiled form is compared with.

It walks the tree for one event, and shares with the compiler nothing but the tree and the table
of functions' bodies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from routing.filters.ast import (
    COMPARISONS,
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
from routing.filters.cast import EvaluationError, Site
from routing.filters.functions import CESQL, EXPR

ABSENT = object()
_CONTEXT = Context(prec=60)


class Failed(Exception):
    """An evaluation error: its kind, and what the failing function gives all the same."""

    def __init__(self, kind: str, value: object = None) -> None:
        super().__init__(kind)
        self.kind, self.value = kind, value


def like(pattern: str, text: str) -> bool:
    """By dynamic programming over every prefix of both."""
    parts: list[str | None] = []
    place = 0
    while place < len(pattern):
        if pattern[place] == "\\" and pattern[place + 1 : place + 2] in ("%", "_"):
            parts.append(pattern[place + 1])
            place += 1
        else:
            parts.append({"%": "", "_": None}.get(pattern[place], pattern[place]))
        place += 1
    reached = {0}
    for part in parts:
        if part == "":
            reached = set(range(min(reached), len(text) + 1)) if reached else set()
        else:
            reached = {at + 1 for at in reached if at < len(text) and part in (None, text[at])}
    return len(text) in reached


class Interpreter:
    def __init__(self, dialect: str, attributes: dict[str, Any], data: Any = ABSENT) -> None:
        self.wide = dialect == "expr"
        self.attributes, self.data = attributes, data

    # Types

    def number(self, value: Any) -> Any:
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, int | float):
            return value
        if isinstance(value, str):
            number = self.written_number(value)
            if number is not None:
                return number
        raise Failed("cast")

    def written_number(self, text: str) -> Any:
        if re.fullmatch(r"[+-]?[0-9]{1,40}", text):
            bits = 64 if self.wide else 32
            return int(text) if -(2 ** (bits - 1)) <= int(text) < 2 ** (bits - 1) else None
        if self.wide and re.fullmatch(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", text):
            return float(text) if abs(float(text)) != float("inf") else None
        return None

    def string(self, value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, datetime):
            text = value.astimezone(UTC).isoformat().removesuffix("+00:00")
            return (text.rstrip("0") if "." in text else text) + "Z"
        if isinstance(value, float):
            text = format(Decimal(repr(value)), "f")
            if "." in text:
                text = text.rstrip("0").rstrip(".")
            return "0" if text == "-0" else text
        if isinstance(value, str | int):
            return str(value)
        raise Failed("cast")

    def boolean(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return value != 0
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise Failed("cast")

    def time(self, value: Any) -> datetime:
        if isinstance(value, datetime):
            return value
        if isinstance(value, str):
            time = self.written_time(value)
            if time is not None:
                return time
        raise Failed("cast")

    def written_time(self, text: str) -> datetime | None:
        form = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
        if not re.fullmatch(form, text):
            return None
        leap = text[17:19] == "60"
        try:
            time = datetime.fromisoformat((text[:17] + "59" + text[19:] if leap else text).upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            return None
        return time + timedelta(seconds=1) if leap else time

    def to(self, kind: str, value: Any) -> Any:
        if kind == "any":
            return value
        by: dict[str, Callable[[Any], Any]] = {"str": self.string, "bool": self.boolean, "time": self.time}
        return by.get(kind, self.number)(value)

    # Values

    def value(self, node: Node) -> Any:
        found = self.found(node)
        if found is ABSENT or found is None:
            raise Failed("missingAttribute")
        return found

    def found(self, node: Node) -> Any:
        """The value, or ABSENT."""
        match node:
            case Literal(value=value):
                return value
            case Attribute(name=name):
                return self.attributes.get(name, ABSENT)
            case Payload(path=path):
                return self.at(path)
            case Exists(what=what):
                return self.found(what) not in (ABSENT, None)
            case Unary(operator="NOT", operand=operand):
                return not self.boolean(self.value(operand))
            case Unary(operand=operand):
                return self.bounded(-self.number(self.value(operand)))
            case Logic():
                return self.logic(node)
            case Like(operand=operand, pattern=pattern, negated=negated):
                return like(pattern, self.string(self.value(operand))) != negated
            case In(operand=operand, items=items, negated=negated):
                value = self.value(operand)
                return any(self.equal(self.value(item), value) for item in items) != negated
            case InArray():
                return self.in_array(node)
            case Call():
                return self.call(node)
            case Binary(operator=operator) if operator in COMPARISONS:
                return self.comparison(node)
            case Binary():
                return self.arithmetic(node)
        raise AssertionError(node)

    def at(self, path: tuple[str | int, ...]) -> Any:
        value = self.data
        for step in path:
            if isinstance(step, str):
                value = value.get(step, ABSENT) if isinstance(value, dict) else ABSENT
            else:
                value = value[step] if isinstance(value, list) and step < len(value) else ABSENT
        return value

    def logic(self, node: Logic) -> bool:
        if node.operator == "XOR":
            return sum([self.boolean(self.value(term)) for term in node.terms]) % 2 == 1
        decides = node.operator == "OR"
        for term in node.terms:
            if self.boolean(self.value(term)) is decides:
                return decides
        return not decides

    def in_array(self, node: InArray) -> bool:
        value, array = self.value(node.operand), self.value(node.array)
        if not isinstance(array, list):
            raise Failed("cast")
        if array and not isinstance(value, str | int | float | datetime):
            raise Failed("cast")
        for item in array:
            try:
                if item is not None and self.equal(item, value):
                    return not node.negated
            except Failed:
                continue
        return node.negated

    # Comparisons

    def equal(self, x: Any, y: Any) -> bool:
        if isinstance(x, datetime) or isinstance(y, datetime):
            return self.time(x) == self.time(y)
        if isinstance(y, bool):
            return self.boolean(x) == y
        if isinstance(y, int | float):
            return bool(self.number(x) == y)
        if isinstance(y, str):
            return self.string(x) == y
        raise Failed("cast")

    def comparison(self, node: Binary) -> bool:
        x, y, operator = self.value(node.left), self.value(node.right), node.operator
        if operator in ("=", "!="):
            return self.equal(x, y) == (operator == "=")
        x, y = self.comparable(node, x, y)
        return bool({"<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y}[operator])

    def comparable(self, node: Binary, x: Any, y: Any) -> tuple[Any, Any]:
        if not self.wide:
            return self.number(x), self.number(y)
        if isinstance(x, datetime) or isinstance(y, datetime):
            return self.time(x), self.time(y)
        if not isinstance(x, str) or not isinstance(y, str):
            return self.number(x), self.number(y)
        told = [side.value for side in (node.left, node.right) if isinstance(side, Literal)]
        for read in (self.written_number, self.written_time):
            a, b = read(x), read(y)
            if a is not None and b is not None:
                return a, b
            if any(isinstance(text, str) and read(text) is not None for text in told):
                raise Failed("cast")
        return x, y

    # Arithmetic

    def bounded(self, value: Any) -> Any:
        bits = 64 if self.wide else 32
        if isinstance(value, int) and not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise Failed("math")
        return value

    def arithmetic(self, node: Binary) -> Any:
        x, y = self.value(node.left), self.value(node.right)
        if isinstance(x, datetime) or isinstance(y, datetime):
            return self.of_times(node.operator, x, y)
        x, y = self.bounded(self.number(x)), self.bounded(self.number(y))
        whole = isinstance(x, int) and isinstance(y, int)
        if node.operator in "/%" and y == 0:
            raise Failed("math")
        if node.operator == "/" and self.wide and any(isinstance(part, Payload) for part in walk(node)):
            whole = False
        if whole and node.operator in "/%":
            quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
            return self.bounded(quotient if node.operator == "/" else x - quotient * y)
        if whole:
            return self.bounded({"+": x + y, "-": x - y, "*": x * y}[node.operator])
        a, b = Decimal(repr(x)), Decimal(repr(y))
        operations = {"+": _CONTEXT.add, "-": _CONTEXT.subtract, "*": _CONTEXT.multiply, "/": _CONTEXT.divide}
        try:
            result = float(operations.get(node.operator, _CONTEXT.remainder)(a, b))
        except ArithmeticError:
            raise Failed("math") from None
        if abs(result) == float("inf"):
            raise Failed("math")
        return result

    def of_times(self, operator: str, x: Any, y: Any) -> Any:
        try:
            if operator == "+" and isinstance(x, datetime):
                return x + timedelta(seconds=self.number(y))
            if operator == "+":
                return y + timedelta(seconds=self.number(x))
            if operator == "-" and isinstance(x, datetime) and not isinstance(y, datetime | str):
                return x - timedelta(seconds=self.number(y))
        except OverflowError:
            raise Failed("math") from None
        if operator == "-":
            span = self.time(x) - self.time(y)
            micros = span // timedelta(microseconds=1)
            return micros // 1_000_000 if micros % 1_000_000 == 0 else micros / 1_000_000
        raise Failed("cast")

    # Functions

    def call(self, node: Call) -> Any:
        if node.name == "IF":
            return self.value(node.arguments[1 if self.boolean(self.value(node.arguments[0])) else 2])
        if node.name == "COALESCE":
            *tried, last = node.arguments
            for one in tried:
                if self.found(one) not in (ABSENT, None):
                    return self.found(one)
            return self.value(last)
        overloads = (EXPR if self.wide else CESQL)[node.name]
        function = next(one for one in overloads if one.takes(len(node.arguments)))
        arguments = [self.to(function.parameter(k), self.value(one)) for k, one in enumerate(node.arguments)]
        try:
            return function.call(Site(node.at, node.name), *arguments)
        except EvaluationError as error:
            raise Failed(error.kind, error.value) from None


def interpret(root: Node, dialect: str, attributes: dict[str, Any], data: Any = ABSENT) -> tuple[Any, str | None]:
    """The value and the kind of error; the value is None where it is the zero value of an unknown type."""
    try:
        return Interpreter(dialect, attributes, data).value(root), None
    except Failed as failed:
        return None, failed.kind
