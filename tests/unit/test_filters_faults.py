"""The words for what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from routing.errors import InvalidFilter
from routing.filters.faults import fault, kind_of, suggestion, text_of


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, "null"),
        (True, "a boolean"),
        (1, "a number"),
        (1.5, "a number"),
        ("x", "a text"),
        ({}, "an object"),
        ([], "a list"),
        (object(), "object"),
    ],
)
def test_values_are_told_in_the_words_of_json(value: Any, word: str) -> None:
    assert kind_of(value) == word


def test_a_fault_tells_its_place() -> None:
    error = fault("filters[0]", "is wrong")
    assert str(error) == "filters[0]: is wrong"
    assert error.kind == "generic"


def test_a_word_that_is_near_a_known_one_is_suggested() -> None:
    assert suggestion("Prefx", ["exact", "prefix"]) == "; did you mean 'prefix'?"
    assert suggestion("q" * 10_000, ["exact", "prefix"]) == "; known are exact, prefix"


def test_texts_are_canonical() -> None:
    assert [text_of(value, "") for value in ("x", 5, True, False)] == ["x", "5", "true", "false"]
    with pytest.raises(InvalidFilter):
        text_of(b"x", "")
