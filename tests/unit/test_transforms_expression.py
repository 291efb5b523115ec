"""routing/transforms/expression.py: expressions over an event that is being changed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from routing.errors import InvalidTransform
from routing.filters.compile import compile_expr
from routing.shape import MISSING
from routing.transforms.document import Document
from routing.transforms.expression import Lens, compile_value
from routing.transforms.failure import Refusal
from tests.unit.transforms_support import ATTRIBUTES, TRADE

EXPRESSIONS = [
    "data.price * 2",
    "CONCAT(symbol, data.account)",
    "EXISTS data.nope",
    "SIZE(data.legs)",
    "data.legs[1].px + data.legs[0].q",
    "data.price > 100 AND symbol = 'AAPL'",
    "symbol IN ('AAPL', 'MSFT')",
    "1 + 2",
]


def document(data: bytes | None = TRADE) -> Document:
    return Document(dict(ATTRIBUTES), data, data)


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_a_document_gives_what_its_event_would(text: str) -> None:
    expected, error = compile_expr(text).one(dict(ATTRIBUTES), TRADE)
    assert error is None
    assert compile_value(text, "to", exact=False).run(document()) == expected


def test_a_lens_is_a_batch_of_one() -> None:
    lens = Lens(document())
    assert len(lens) == 1
    assert lens.attribute("symbol") == ["AAPL"]
    assert lens.attribute("nope") == [None]
    assert lens.field(("price",)) == [187.5]
    assert lens.values(("legs", 1, "px"), (0,)) == [2]
    assert lens.payload(0) == msgspec.json.decode(TRADE)
    assert Lens(document(None)).field(("price",)) == [MISSING]
    assert list(compile_expr("data.price > 100").places(lens)[0]) == [0]


def test_literals_are_constants_and_copies_are_exact() -> None:
    assert compile_value("'a'", "to", exact=True).constant == "a"
    assert compile_value("data.price", "to", exact=True).constant is MISSING
    assert bytes(compile_value("data.price", "to", exact=True).run(document())) == b"187.50"
    assert compile_value("data.price", "to", exact=False).run(document()) == "187.50"
    assert compile_value("data.legs", "to", exact=True).run(document()) == msgspec.Raw(b'[{"px":1.10,"q":5},{"px":2}]')


def test_a_time_becomes_text() -> None:
    text: Any = compile_value("NOW()", "to", exact=True).run(document())
    assert text.endswith("Z")
    assert (
        compile_value("TIME('2026-11-24T14:00:00+01:00')", "to", exact=True).run(document()) == "2026-11-24T13:00:00Z"
    )


def test_equal_expressions_have_equal_keys() -> None:
    assert compile_value("data.a+1", "to", exact=True).key == compile_value(" data.a  + 1", "to", exact=True).key
    assert compile_value("data.a", "to", exact=True).key != compile_value("data.b", "to", exact=True).key


def test_an_error_of_an_event_is_a_refusal() -> None:
    with pytest.raises(Refusal, match=r"'data.nope \* 2': data.nope is not there"):
        compile_value("data.nope * 2", "to", exact=False).run(document())


def test_an_error_of_the_text_is_a_fault() -> None:
    with pytest.raises(InvalidTransform) as caught:
        compile_value("data.", "step.to", exact=False)
    assert caught.value.where == "step.to"
    assert caught.value.position == 5
