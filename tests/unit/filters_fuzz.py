"""Texts for the parser of expressions, whatever they hold: what must be true of every one."""

from __future__ import annotations

from routing.batch import Batch, Plain
from routing.errors import InvalidFilter
from routing.filters.compile import Expression
from routing.filters.lexer import Dialect

PIECES = [
    "a", "type", "data", "data.x", "data.x[0]", "data['y z']", "0", "1", "2147483648", "99999999999999999999", "1.5",
    "1.5e9", "'x'", '"y"', "'", '"', "\\'", "TRUE", "false", "AND", "or", "Xor", "NOT", "LIKE", "IN", "EXISTS",
    "(", ")", ",", "[", "]", ".", "+", "-", "*", "/", "%", "=", "!=", "<>", "<", "<=", ">", ">=", "==", "INT(",
    "CONCAT_WS(", "SUBSTRING(", "TIME(", "NOW()", "IF(", "COALESCE(", "no_such(", "'a%_b%c'", "\n", "\t", "\0", "é",
    "'2024-01-01T00:00:00Z'", "__import__", "{}",
]  # fmt: skip

EVENTS = [
    Plain({"id": "1", "source": "/s", "type": "x", "specversion": "1.0"}),
    Plain({"id": "1", "source": "/s", "type": "5", "a": 5}, b'{"x": [1.5, "x"], "y z": null}'),
    Plain({"id": "1", "source": "/s", "type": "", "a": True}, b"not JSON"),
]


def check(text: str, dialect: Dialect, strict: bool) -> None:
    """Refused with a place inside of the text, or evaluated without any other exception."""
    try:
        expression = Expression(text, dialect, strict=strict)
    except InvalidFilter as error:
        refused = error
    else:
        evaluate(expression, text)
        return
    assert refused.position is not None, text
    assert 0 <= refused.position <= len(text), text
    assert refused.message, text
    assert refused.caret(text).endswith("^"), text


def evaluate(expression: Expression, text: str) -> None:
    batch = Batch(EVENTS)
    places, errors = expression.places(batch)
    assert places == sorted(set(places)), text
    assert len(places) + errors <= len(EVENTS), text
    column, failed = expression.column(batch)
    assert len(column) == len(EVENTS), text
    for event, value in zip(EVENTS, column, strict=True):
        alone, error = expression.one(event.attributes, event.data)
        assert error is not None or "NOW" in text.upper() or (alone, type(alone)) == (value, type(value)), text
    assert failed <= len(EVENTS), text


def check_bytes(data: bytes) -> None:
    if not data:
        return
    text = "".join(PIECES[byte % len(PIECES)] + " " * (byte >= 128) for byte in data[1:400]) if data[0] & 1 else ""
    text = text or data[1:].decode("utf-8", "replace")
    check(text, "expr" if data[0] & 2 else "cesql", bool(data[0] & 4))
