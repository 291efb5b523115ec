"""docs/filters.md: every example gives what the page says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from routing.errors import InvalidFilter
from routing.filters.compile import compile_cesql, compile_expr
from routing.filters.functions import CESQL, EXPR
from routing.filters.inference import SPECIAL
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "filters.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


EVENT: dict[str, Any] = json.loads(blocks("json")[0])
DATA = json.dumps(EVENT.pop("data")).encode()
LINES = [line.split(" -> ") for block in blocks("expr") for line in block.splitlines()]


@pytest.mark.parametrize(("text", "told"), LINES)
def test_an_example_gives_what_the_page_says(text: str, told: str) -> None:
    value, error = compile_expr(text.strip()).one(EVENT, DATA)
    assert (f"{error.kind}: {error.message}" if error else json.dumps(value)) == told


@pytest.mark.parametrize("block", blocks("refused"))
def test_a_refusal_reads_as_the_page_says(block: str) -> None:
    text, caret, message = block.splitlines()
    with pytest.raises(InvalidFilter) as refused:
        compile_expr(text)
    assert refused.value.caret(text) == f"{text}\n{caret}"
    assert refused.value.message == message


def test_what_is_an_expression_of_cesql_means_the_same_there() -> None:
    told = 0
    for text, expected in LINES:
        try:
            value, error = compile_cesql(text.strip()).one(EVENT)
        except InvalidFilter:
            continue
        if error is None:
            told += 1
            assert json.dumps(value) == expected
    assert told > 10


def test_the_page_names_every_function() -> None:
    for name in {*CESQL, *EXPR, *SPECIAL}:
        assert re.search(rf"`{name}[`(]", PAGE), name


def test_there_are_examples() -> None:
    assert len(LINES) > 50
    assert len(blocks("refused")) == 4
