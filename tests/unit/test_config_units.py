"""Durations, sizes and rates as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from gateway.config.units import (
    Duration,
    Rate,
    RetentionBytes,
    RetentionTime,
    Size,
    format_duration,
    format_rate,
    format_retention_bytes,
    format_retention_ms,
    format_size,
    parse_duration,
    parse_rate,
    parse_retention_bytes,
    parse_retention_ms,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("12h", 43200), ("7d", 604800), ("2w", 1209600), ("1h30m", 5400),
     ("1.5s", 1.5), ("0", 0), ("0s", 0), ("1d12h", 129600)],
)  # fmt: skip
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "s", "30 s", "-5s", "5sec", "1h-30m", "٣s", "1e3s", "infs", "99999999d", "5s\n", "5M"]
)
def test_what_is_no_duration_is_refused_with_advice(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|100 years"):
        parse_duration(text)


@given(st.integers(0, 10**12))
def test_a_formatted_duration_reads_back_to_the_millisecond(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


@pytest.mark.parametrize(("seconds", "text"), [(604800, "7d"), (90, "90s"), (0.5, "500ms"), (0, "0s"), (7200, "2h")])
def test_a_duration_is_shown_in_one_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("1KiB", 1024), ("16MiB", 16 * 2**20), ("1.5GiB", 3 * 2**29), ("10MB", 10**7), ("2 GiB", 2**31),
     ("5b", 5), ("7kib", 7168), ("1TiB", 2**40), ("3TB", 3 * 10**12)],
)  # fmt: skip
def test_a_size_is_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "5MG", "-1", "1e6", "5 Mi B", "99999999999TiB", "²MiB", "5MiB\n"])
def test_what_is_no_size_is_refused_with_advice(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|disk"):
        parse_size(text)


@given(st.integers(0, 2**60))
def test_a_formatted_size_reads_back_exactly(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(("text", "rate"), [("1000/s", 1000), ("60/m", 1), ("36/h", 0.01), ("0.5/s", 0.5)])
def test_a_rate_is_read_as_per_second(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "1000", "1000/d", "/s", "-1/s"])
def test_what_is_no_rate_is_refused_with_advice(text: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        parse_rate(text)


@pytest.mark.parametrize(("rate", "text"), [(1000.0, "1000/s"), (0.5, "30/m"), (0.01, "36/h"), (0.12345, "0.12345/s")])
def test_a_rate_is_shown_with_a_whole_number_if_there_is_one(rate: float, text: str) -> None:
    assert format_rate(rate) == text


def test_retention_may_be_unlimited() -> None:
    assert parse_retention_ms("unlimited") == parse_retention_ms("-1") == -1
    assert parse_retention_bytes("unlimited") == parse_retention_bytes("-1") == -1
    assert parse_retention_ms("7d") == 604_800_000
    assert parse_retention_bytes("10GiB") == 10 * 2**30
    assert format_retention_ms(-1) == format_retention_bytes(-1) == "unlimited"
    assert format_retention_ms(604_800_000) == "7d"
    assert format_retention_bytes(10 * 2**30) == "10GiB"


class _Model(BaseModel):
    duration: Duration = 0
    size: Size = 0
    rate: Rate = 0
    time: RetentionTime = 0
    bytes: RetentionBytes = 0


def test_code_may_give_numbers() -> None:
    model = _Model(duration=2, size=10, rate=5, time=1000, bytes=-1)
    assert (model.duration, model.size, model.rate, model.time, model.bytes) == (2.0, 10, 5.0, 1000, -1)


def test_a_file_may_not_leave_out_the_unit_where_it_matters() -> None:
    for key in ("duration", "rate", "time"):
        with pytest.raises(ValidationError, match="needs a"):
            _Model.model_validate({key: 60}, context={})
    assert _Model.model_validate({"size": 60, "bytes": 61, "duration": 0}, context={}).size == 60


def test_a_file_may_spell_no_limit_as_kafka_does() -> None:
    model = _Model.model_validate({"time": -1, "bytes": -1}, context={})
    assert (model.time, model.bytes) == (-1, -1)


@pytest.mark.parametrize("value", [True, [], {}, None])
def test_other_types_are_refused_with_an_example(value: object) -> None:
    for key in ("duration", "size", "rate", "time", "bytes"):
        with pytest.raises(ValidationError, match="expected a"):
            _Model.model_validate({key: value}, context={})


def test_a_dump_for_people_has_units() -> None:
    model = _Model(duration=30, size=2**20, rate=10, time=-1, bytes=1024)
    assert model.model_dump(mode="json") == {
        "duration": "30s", "size": "1MiB", "rate": "10/s", "time": "unlimited", "bytes": "1KiB",
    }  # fmt: skip
