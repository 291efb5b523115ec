"""The functions of the languages; the compatibility kit covers those of CESQL."""

from __future__ import annotations

from typing import Any

import pytest

from routing.filters.cast import EvaluationError, Site
from routing.filters.functions import CESQL, EXPR, MAX_RESULT

SITE = Site(0, "F")


def call(name: str, *arguments: Any) -> Any:
    function = next(one for one in EXPR[name] if one.takes(len(arguments)))
    return function.call(SITE, *arguments)


def test_expr_has_all_functions_of_cesql() -> None:
    assert CESQL.keys() < EXPR.keys()
    for name, overloads in CESQL.items():
        assert [one.rest for one in EXPR[name]] == [one.rest for one in overloads]
        assert all("int" not in (*one.parameters, one.result) for one in EXPR[name])


def test_trim_takes_white_space_of_unicode_and_no_control_characters() -> None:
    assert call("TRIM", "\u2003\t a \u00a0\u3000") == "a"
    assert call("TRIM", "\x1ca\x1f") == "\x1ca\x1f"


@pytest.mark.parametrize(
    ("name", "arguments", "gives"),
    [
        ("LEFT", ("abc", -1), "abc"), ("RIGHT", ("abc", -1), "abc"), ("SUBSTRING", ("abc", 4), ""),
        ("SUBSTRING", ("abc", 1, -1), ""), ("ROUND", (1.5, 20), 1.5), ("CONCAT", ("x" * MAX_RESULT, "y"), ""),
    ],
)  # fmt: skip
def test_a_function_that_fails_gives_a_value_all_the_same(name: str, arguments: tuple[Any, ...], gives: Any) -> None:
    with pytest.raises(EvaluationError) as failed:
        call(name, *arguments)
    assert (failed.value.kind, failed.value.value) == ("functionEvaluation", gives)
    assert failed.value.message.startswith("F: ")


def test_the_largest_string_is_made() -> None:
    assert len(call("CONCAT", "x" * (MAX_RESULT - 1), "y")) == MAX_RESULT


def test_parameters_beyond_the_named_ones_have_the_type_of_the_rest() -> None:
    function = EXPR["CONCAT_WS"][0]
    assert function.takes(5)
    assert not function.takes(0)
    assert function.parameter(4) == "str"
    assert EXPR["LEAST"][0].parameter(0) == "num"
    assert not EXPR["LEFT"][0].takes(3)
