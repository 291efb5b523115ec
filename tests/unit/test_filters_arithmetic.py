"""Arithmetic of CESQL and of `expr`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from routing.filters import arithmetic as a
from routing.filters.cast import EvaluationError, Site

SITE = Site(0, "the value")
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("operation", "x", "y", "result"),
    [
        (a.divide32, -5, 3, -1), (a.remainder32, -5, 3, -2), (a.remainder32, 5, -3, 2), (a.divide32, 5, -3, -1),
        (a.add, 0.1, 0.2, 0.3), (a.add, 2**62, 1, 2**62 + 1), (a.subtract, 0.3, 0.1, 0.2), (a.multiply, 1.1, 3, 3.3),
        (a.divide, -7, 2, -3), (a.divide, 7.0, 2, 3.5), (a.divide_exactly, 7, 2, 3.5), (a.remainder, 5.5, 2, 1.5),
        (a.remainder, -5.5, 2, -1.5), (a.remainder, -7, 3, -1), (a.add, "0.1", True, 1.1),
        (a.add, 60, NOON, NOON.replace(minute=1)),
        (a.subtract, NOON, 60.5, datetime(2024, 2, 29, 11, 58, 59, 500000, UTC)),
        (a.subtract, NOON, "2024-02-29T11:00:00Z", 3600), (a.subtract, "2024-02-29T12:00:00.25Z", NOON, 0.25),
    ],
)  # fmt: skip
def test_a_result(operation: Callable[..., Any], x: Any, y: Any, result: Any) -> None:
    found = operation(x, y, SITE)
    assert (type(found), found) == (type(result), result)


@pytest.mark.parametrize(
    ("operation", "x", "y"),
    [
        (a.add32, 2**31 - 1, 1), (a.subtract32, -(2**31), 1), (a.multiply32, 2**16, 2**16), (a.divide32, 1, 0),
        (a.divide32, -(2**31), -1), (a.remainder32, 1, 0), (a.add, 2**63 - 1, 1), (a.multiply, 2**62, 2),
        (a.divide, 1, 0), (a.divide_exactly, 1, 0.0), (a.remainder, 1.5, 0), (a.remainder, 1, 0),
        (a.multiply, 1e300, 1e300),
        (a.add, float("nan"), 1), (a.add, float("inf"), 1), (a.add, 2**64, 1), (a.add, NOON, 10**15),
        (a.divide, -(2**63), -1),
    ],
)  # fmt: skip
def test_what_has_no_result_is_a_math_error(operation: Callable[..., Any], x: Any, y: Any) -> None:
    with pytest.raises(EvaluationError) as failed:
        operation(x, y, SITE)
    assert failed.value.kind == "math"


def test_a_remainder_of_numbers_too_far_apart_is_an_error_not_a_wrong_one() -> None:
    with pytest.raises(EvaluationError, match="math"):
        a.remainder(1e300, 0.1, SITE)


def test_the_sign_is_turned_within_the_range() -> None:
    assert (a.negate32(5, SITE), a.negate(0.5, SITE), a.negate(-(2**62), SITE)) == (-5, -0.5, 2**62)
    for operation, x in ((a.negate32, -(2**31)), (a.negate, -(2**63))):
        with pytest.raises(EvaluationError, match="math"):
            operation(x, SITE)


def test_rounding() -> None:
    assert [a.floor(-1.5, SITE), a.ceil(-1.5, SITE), a.floor(2, SITE)] == [-2, -1, 2]
    assert [a.round_to(x, 0, SITE) for x in (0.5, -0.5, 1.4999, 7)] == [1, -1, 1, 7]
    assert [a.round_to(x, 2, SITE) for x in (2.675, 1.005, -0.125, 0.1, 3)] == [2.68, 1.01, -0.13, 0.1, 3]
    for operation in (a.floor, a.ceil):
        with pytest.raises(EvaluationError, match="math"):
            operation(1e300, SITE)
    with pytest.raises(EvaluationError, match="math"):
        a.round_to(float("nan"), 0, SITE)
