"""Patterns of LIKE match as they say, in bounded time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.filters.compile import compile_cesql
from routing.filters.like import MAX_STEPS, TooLong, matcher
from tests.unit.filters_reference import like


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("abc", ["abc"], ["", "abcd", "ab"]),
        ("", [""], ["a"]),
        ("%", ["", "a", "a\nb"], []),
        ("a%", ["a", "abc"], ["", "ba"]),
        ("%a", ["a", "ba"], ["", "ab"]),
        ("%a%", ["a", "bab"], ["", "b"]),
        ("a%a", ["aa", "aba"], ["a", "ab"]),
        ("_", ["a", "\n", "é"], ["", "ab"]),
        ("a_c%e", ["abce", "abcde"], ["ace", "abcd"]),
        ("%_b%c", ["abc", "xxabyyc"], ["bc", "ab"]),
        ("a\\%\\_b", ["a%_b"], ["axxb"]),
        ("a\\b\\", ["a\\b\\"], ["ab"]),
        ("%ab%ab%", ["abab", "xabyabz"], ["ab", "aab"]),
    ],
)
def test_a_pattern_matches(pattern: str, yes: list[str], no: list[str]) -> None:
    matches = matcher(pattern)
    assert all(matches(text) for text in yes)
    assert not any(matches(text) for text in no)


@settings(max_examples=500, deadline=None)
@given(st.text("ab%_\\", max_size=8), st.text("ab%\\", max_size=12))
def test_every_pattern_matches_what_it_says(pattern: str, text: str) -> None:
    assert matcher(pattern)(text) == like(pattern, text)


def test_patterns_that_make_others_backtrack_take_no_time() -> None:
    started = time.perf_counter()
    assert not matcher("%a" * 50 + "%b")("a" * 100_000)
    assert not matcher("%a_a" * 20 + "%b")("a" * 10_000)
    assert time.perf_counter() - started < 2


def test_a_search_that_could_take_long_is_an_error() -> None:
    with pytest.raises(TooLong):
        matcher("%a_" + "a" * 100 + "%")("a" * (MAX_STEPS // 100))
    expression = compile_cesql("n LIKE '%a_" + "a" * 100 + "%'")
    value, error = expression.one({"n": "a" * (MAX_STEPS // 100)})
    assert value is False
    assert error is not None
    assert error.kind == "functionEvaluation"
    assert expression.one({"n": "b" + "a" * 200})[0] is True
