"""Start positions: what is understood, and what the refusal of anything else says."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.position import EARLIEST, LATEST, MAX_LAST, Start, parse_start
from gateway.delivery.writer import CursorWriter
from gateway.errors import InvalidPosition

pytestmark = pytest.mark.timeout(30)


def ms(*place: int) -> int:
    return int(datetime(*place, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc,arg-type]


def test_the_two_words() -> None:
    assert parse_start("latest") == LATEST
    assert parse_start("earliest") == EARLIEST


@pytest.mark.parametrize(
    ("text", "value"),
    [("-250ms", 250), ("-5s", 5000), ("-5m", 300_000), ("-2h", 7_200_000), ("-1d", 86_400_000), ("-0s", 0)],
)
def test_durations_back(text: str, value: int) -> None:
    assert parse_start(text) == Start("back", value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-01-31T12:00:00Z", ms(2026, 1, 31, 12)),
        ("2026-01-31t12:00:00.5z", ms(2026, 1, 31, 12) + 500),
        ("2026-01-31T12:00:00.123999999Z", ms(2026, 1, 31, 12) + 123),
        ("2016-12-31T23:59:60Z", ms(2017, 1, 1)),
        ("1969-12-31T23:59:59Z", 0),
    ],
)
def test_times_are_cut_to_milliseconds_so_that_nothing_is_missed(text: str, value: int) -> None:
    assert parse_start(text) == Start("time", value)


def test_the_last_events() -> None:
    assert parse_start("last:10") == Start("last", 10)
    assert parse_start(f"last:{MAX_LAST}").value == MAX_LAST


def test_a_cursor() -> None:
    writer = CursorWriter()
    writer.add("t", "e", 7)
    start = parse_start(writer.cursor())
    assert start.kind == "cursor"
    assert start.cursor is not None
    assert next(iter(start.cursor.marks.values())).offsets == (7,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "earliest"),
        ("latset", "use 'latest', 'earliest'"),
        ("LATEST", "use 'latest'"),
        ("5m", "'-5m'"),
        ("-5", "'-5m'"),
        ("-5w", "'-5m'"),
        ("-5m ", "'-5m'"),
        ("-\u0665m", "'-5m'"),
        ("last:0", "1 to 10,000"),
        ("last:10001", "1 to 10,000"),
        ("last:", "1 to 10,000"),
        ("last:ten", "1 to 10,000"),
        ("last:-1", "1 to 10,000"),
        ("2026-01-31T12:00:00", "in UTC"),
        ("2026-01-31T12:00:00+01:00", "in UTC"),
        ("2026-01-31 12:00:00Z", "in UTC"),
        ("2026-02-31T12:00:00Z", "no such day"),
        ("2026-01-31T25:00:00Z", "no such day or hour"),
        ("2026-01-31T12:00:61Z", "no second 61"),
        ("2026-01-31", "'2026-01-31T12:00:00Z'"),
        ("AQAAAAAB", "checksum"),
        ("a/b", "not a cursor"),
        ("x" * 5000, "4 KB"),
        ("\x00", "not a cursor"),
    ],
)
def test_anything_else_is_refused_with_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(InvalidPosition) as caught:
        parse_start(text)
    assert says in caught.value.message
    assert len(caught.value.message) < 400


@given(st.text(max_size=60))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    with contextlib.suppress(InvalidPosition):
        assert isinstance(parse_start(text), Start)
