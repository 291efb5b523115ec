"""gateway/cli/board.py: what the demo knows and shows."""

from __future__ import annotations

import base64
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.cli.board import (
    BARS,
    Board,
    amount,
    decode,
    now_text,
    picture,
    plain,
    quantile,
    sparkline,
    summary,
    summary_text,
)
from gateway.cli.telemetry import TYPE


def telemetry(
    subject: str = "cpu/0", value: float = 50.0, moment: str = "2026-11-24T08:00:00.000000Z"
) -> dict[str, Any]:
    return {"type": TYPE, "subject": subject, "time": moment, "data": {"value": value, "unit": "%"}}


def wall(moment: str) -> float:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()


def test_the_board_keeps_values_counts_and_latencies() -> None:
    board = Board("host")
    arrived = wall("2026-11-24T08:00:00") + 0.005
    assert board.take(telemetry(), arrived, 1.0) == pytest.approx(0.005, abs=1e-6)
    board.take(telemetry(value=75.0), arrived, 1.5)
    row = board.rows["cpu/0"]
    assert list(row.values) == [50.0, 75.0]
    assert row.address == "host/cpu/0"
    assert board.count == 2
    assert board.rate(1.5) == 2.0  # two in the first second
    assert board.rate(4.0) == pytest.approx(2 / 3)
    assert board.rate(6.0) == pytest.approx(2 / 5)
    assert board.rate(100.0) == 0


def test_what_others_publish_is_a_note_and_no_row() -> None:
    board = Board("host")
    assert board.take({"type": "x", "subject": "note", "data": "hello\x1b"}, 0.0, 0.0) is None
    assert board.take({"type": "x", "data": 3}, 0.0, 0.0) is None
    assert list(board.notes) == ["host/note  hello\\x1b", "host  3"]
    assert board.count == 0


def test_quantiles_are_nearest_rank() -> None:
    assert quantile([], 0.5) == 0
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(range(100), 0.99) == 99


def test_percentages_are_drawn_against_100_and_the_rest_against_their_maximum() -> None:
    assert sparkline([0, 50, 100, 120], "%") == BARS[0] + BARS[4] + BARS[7] + BARS[7]
    assert sparkline([1, 2], "B/s") == BARS[4] + BARS[7]
    assert sparkline([0, 0], "B/s") == BARS[0] * 2
    assert sparkline([], "B/s") == ""


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (37.456, "%", "37.5 %"),
        (12, "B/s", "12 B/s"),
        (2048, "B/s", "2.0 KiB/s"),
        (1.5 * 2**30, "B", "1.5 GiB"),
        (2.0**52, "B", "4096.0 TiB"),
    ],
)
def test_amounts_are_readable(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_a_plain_line_has_time_address_data_and_latency() -> None:
    words = plain(telemetry(), "host", 0.0012).split()
    assert words == ["08:00:00.000", "host/cpu/0", '{"value":', "50.0,", '"unit":', '"%"}', "1.2", "ms"]
    assert plain({"type": "x", "data": "hi"}, "host", None).split() == ["host", "hi"]


def test_the_summary_counts_what_was_published_and_received() -> None:
    board = Board("host")
    board.take(telemetry(), wall("2026-11-24T08:00:00") + 0.002, 0.0)
    figures = summary(board, 2, 10.0)
    assert figures == {
        "published": 2, "received": 1, "seconds": 10.0, "rate": 0.1, "latency_p50_ms": 2.0, "latency_p99_ms": 2.0,
    }  # fmt: skip
    assert summary_text(figures).startswith("1 of 2 events received in 10.0 s (0.1/s); latency p50 2.0 ms")
    assert summary(board, 0, 0.0)["rate"] == 0


def test_the_picture_has_a_row_for_each_address_in_order() -> None:
    from rich.console import Console

    board = Board("host")
    for subject in ("memory/used", "cpu/1", "cpu/0"):
        board.take(telemetry(subject), 0.0, 0.0)
    board.take({"type": "x", "subject": "note", "data": "hello"}, 0.0, 0.0)
    out = io.StringIO()
    Console(file=out, width=100).print(picture(board, 0.0, ["head", "more"], ["foot"]))
    lines = out.getvalue().splitlines()
    rows = [line.split()[0] for line in lines if line.startswith("host/")]
    assert rows == ["host/cpu/0", "host/cpu/1", "host/memory/used", "host/note"]
    assert lines[0] == "head"
    assert lines[-1].rstrip() == "foot"
    assert "3 events" in out.getvalue()


def test_our_events_are_read_whether_their_data_came_as_json_or_base64() -> None:
    event = telemetry()
    packed = {name: value for name, value in event.items() if name != "data"}
    packed["data_base64"] = base64.b64encode(json.dumps(event["data"]).encode()).decode()
    assert decode(json.dumps(packed))["data"] == event["data"]
    assert decode(json.dumps(event)) == event


def test_the_time_is_rfc_3339() -> None:
    assert datetime.fromisoformat(now_text()).tzinfo is UTC
    assert now_text().endswith("Z")
