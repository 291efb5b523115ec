"""Expressions of `set`: they see the event as the steps before have left it, never as it came.

Were a masked value still to be seen, `set` would bring it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from routing.attributes import Value
from routing.batch import Batch, Plain
from routing.errors import InvalidFilter, InvalidTransform
from routing.filters.ast import Literal, Payload
from routing.filters.compile import Expression, compile_expr
from routing.filters.lexer import MAX_LENGTH
from routing.filters.parser import parse
from routing.shape import MISSING
from routing.shape import Path as PayloadPath
from routing.transforms.document import Document
from routing.transforms.failure import Refusal
from routing.transforms.paths import path_text

MAX_EXPRESSION: Final = MAX_LENGTH
_INT_DIGITS: Final = 18
_IMMUTABLE: Final = (msgspec.Raw, str)


class Compute(NamedTuple):
    """A compiled expression. `constant` is its value where that is the same for every event, else MISSING."""

    key: str
    constant: object
    run: Callable[[Document], Any]


def compile_value(text: str, where: str, *, exact: bool) -> Compute:
    """With `exact`, what merely copies a place of the payload gives the node there, untouched.

    Raises InvalidTransform with the place in the text.
    """
    try:
        expression = compile_expr(text)
        node = parse(text, "expr")
    except InvalidFilter as error:
        raise InvalidTransform(error.message, kind=error.kind, position=error.position, where=where) from None
    if isinstance(node, Literal):
        value = node.value
        return Compute(expression.key, value, lambda document: value)
    if isinstance(node, Payload):
        return Compute(expression.key, MISSING, _copy_node(node.path) if exact else _copy_value(node.path))
    return Compute(expression.key, MISSING, _evaluate(expression))


def _copy_node(path: PayloadPath) -> Callable[[Document], Any]:
    name = path[0] if len(path) == 1 else None

    def run_flat(document: Document) -> Any:
        node = root.get(name) if type(root := document.root) is dict else None
        return node if type(node) in _IMMUTABLE else run(document)

    def run(document: Document) -> Any:
        node = _present(document, path)
        # What was opened may be changed later: a copy of it must not be.
        return document.codec.plain(node) if type(node) in (dict, list) else node

    return run if name is None else run_flat


def _copy_value(path: PayloadPath) -> Callable[[Document], Any]:
    def run(document: Document) -> Any:
        node = _present(document, path)
        number = document.codec.number(node)
        if number is None:
            return document.codec.plain(node)
        # Digits as they came; whole numbers stay numbers.
        return int(number) if len(number) <= _INT_DIGITS and number.lstrip("-").isdigit() else number

    return run


def _present(document: Document, path: PayloadPath) -> Any:
    node = document.get(path)
    if node is MISSING:
        raise Refusal(f"data.{path_text(path)} is missing")
    return node


def _evaluate(expression: Expression) -> Callable[[Document], Any]:
    def run(document: Document) -> Any:
        (value,), errors = expression.column(Lens(document))
        if errors:
            _, error = expression.one(document.attributes, document.payload())
            raise Refusal(f"{expression.text[:80]!r}: {'failed' if error is None else error.message}")
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return value

    return run


class Lens(Batch):
    """A document as a batch of one event, without what a batch keeps for many."""

    __slots__ = ("_document",)

    def __init__(self, document: Document) -> None:
        self.events = (_NOBODY,)
        self._document = document

    def attribute(self, name: str) -> list[Value | None]:
        return [self._document.attributes.get(name)]

    def payload(self, place: int) -> object:
        return self._at(())

    def field(self, path: PayloadPath) -> list[object]:
        return [self._at(path)]

    def values(self, path: PayloadPath, places: Sequence[int]) -> list[object]:
        return [self._at(path) for _ in places]

    def _at(self, path: PayloadPath) -> object:
        document = self._document
        return MISSING if document.data is None else document.plain(path)


_NOBODY: Final = Plain({})
