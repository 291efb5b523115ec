"""Values read as other types, and compared."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from routing.filters import cast
from routing.filters.cast import EvaluationError, Site
from routing.shape import MISSING

SITE = Site(3, "the value")
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (5, "5"), (True, "true"), (False, "false"), (0.5, "0.5"), (5.0, "5"), (1e-7, "0.0000001"),
     (1e22, "10000000000000000000000"), (-2.50, "-2.5"), (NOON, "2024-02-29T12:00:00Z"), (Decimal("1.50"), "1.5")],
)  # fmt: skip
def test_as_a_string(value: object, text: str) -> None:
    assert cast.as_str(value, SITE) == text


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("5", 5),
        ("+5", 5),
        ("-0.50", -0.5),
        ("1e3", 1000.0),
        (True, 1),
        (0.5, 0.5),
        (Decimal("0.1"), 0.1),
        (Decimal(7), 7),
    ],
)
def test_as_a_number(value: object, number: float) -> None:
    assert cast.as_num(value, SITE) == number


@pytest.mark.parametrize(
    "value",
    ["", "five", "0x5", "1_000", " 5", "5 ", "nan", "inf", "1e999", "\u0665", "5.", ".5", "9" * 30, [], {}, b"5", NOON],
)
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(EvaluationError) as failed:
        cast.as_num(value, SITE)
    assert failed.value.kind == "cast"


def test_as_an_integer_of_cesql() -> None:
    assert [cast.as_int(value, SITE) for value in (5, "-5", "+7", True, "0005")] == [5, -5, 7, 1, 5]
    for value in ("2147483648", "5.0", "", "\u0665"):
        with pytest.raises(EvaluationError):
            cast.as_int(value, SITE)


def test_as_a_boolean() -> None:
    assert [cast.as_bool(value, SITE) for value in (True, "TRUE", "False", 5, 0, 0.0)] == [
        True,
        True,
        False,
        True,
        False,
        False,
    ]
    with pytest.raises(EvaluationError, match="cast"):
        cast.as_bool("yes", SITE)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-02-29T12:00:00Z", NOON),
        ("2024-02-29t13:00:00+01:00", NOON),
        ("2024-02-29 12:00:00.000z", NOON),
        ("2024-02-29T12:00:00.1234567Z", NOON.replace(microsecond=123456)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2024-02-30T12:00:00Z", None),
        ("2024-02-29T12:00:00", None),
        ("2024-02-29", None),
        ("0000-02-29T12:00:00Z", None),
        ("9999-12-31T23:59:60Z", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("2024-02-29T12:00:00Z\n", None),
    ],
)
def test_as_a_time(text: str, time: datetime | None) -> None:
    assert cast.read_time(text) == time
    if time is None:
        with pytest.raises(EvaluationError):
            cast.as_time(text, SITE)


def test_a_time_without_a_zone_is_utc() -> None:
    assert cast.as_time(NOON.replace(tzinfo=None), SITE) == NOON
    assert cast.equal(NOON.replace(tzinfo=None), "2024-02-29T12:00:00Z", SITE)
    assert cast.order(NOON, "2024-02-29T12:00:01Z", SITE) == -1


def test_what_is_not_there_is_told_by_name() -> None:
    nothing: list[object] = [None, MISSING]
    for value in nothing:
        with pytest.raises(EvaluationError) as failed:
            cast.present(value, SITE)
        assert (failed.value.kind, failed.value.message) == ("missingAttribute", "the value is not there")
        assert (failed.value.site, failed.value.value) == (SITE, None)


def test_order_of_texts_is_by_what_both_are() -> None:
    assert cast.order("9", "10", SITE) == -1
    assert cast.order("9", "10x", SITE) == 1
    assert cast.order("2024-02-29T13:00:00+01:00", "2024-02-29T12:00:00Z", SITE) == 0
    assert cast.order("b", "a", SITE) == 1
    assert cast.order(5, "5.0", SITE) == 0


def test_values_are_shown_short() -> None:
    values: list[object] = [True, 5, {}, [], b"", None]
    assert cast.show("x" * 100).endswith("...")
    assert [cast.show(value) for value in values] == [
        "true",
        "5",
        "an object",
        "an array",
        "bytes",
        "NoneType",
    ]
    assert cast.show(NOON) == "2024-02-29T12:00:00+00:00"


def test_the_numbers_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cast, "_MEMO", 5)
    cast._numbers.clear()
    for number in range(20):
        assert cast.as_num(f"{number}.5", SITE) == number + 0.5
        assert len(cast._numbers) <= 5
    cast.as_num("1." + "5" * 39, SITE)
    assert "1." + "5" * 39 not in cast._numbers
