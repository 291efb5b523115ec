"""Logs: one JSON object a line, or lines for people; no secrets, no forged lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway.operate.logs import MASK, configure


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_elsewhere_than_on_a_terminal_a_line_is_one_json_object() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    structlog.get_logger("x").info("started", port=80, path="a\nb", odd={1, 2}.__class__)
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["port"], line["path"]) == ("started", "info", 80, "a\nb")
    assert str(line["timestamp"]).endswith("Z")


def test_the_level_is_kept_to() -> None:
    stream = io.StringIO()
    configure("warning", "json", stream)
    log = structlog.get_logger()
    log.info("no")
    log.warning("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


def test_what_libraries_log_comes_in_the_same_form_but_only_warnings() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    configure(stream=stream)
    logging.getLogger("aiokafka").info("chatter")
    logging.getLogger("aiokafka").warning("broker %s is gone", "b1")
    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["level"]) == ("broker b1 is gone", "aiokafka", "warning")


def test_debug_shows_the_chatter_of_libraries_too() -> None:
    stream = io.StringIO()
    configure("debug", "json", stream)
    logging.getLogger("aiokafka").debug("chatter")
    assert [line["event"] for line in lines(stream)] == ["chatter"]


def test_an_exception_is_in_its_line() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    try:
        raise ValueError("boom")
    except ValueError as error:
        structlog.get_logger().error("failed", exc_info=error)
    (line,) = lines(stream)
    assert "ValueError: boom" in str(line["exception"])


@pytest.mark.parametrize("format_", ["json", "console"])
def test_secrets_are_masked(format_: str) -> None:
    stream = io.StringIO()
    configure("info", format_, stream)  # type: ignore[arg-type]
    structlog.get_logger().info("hello", password="hunter2", headers={"Authorization": "hunter2"}, api_key="hunter2")
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count(MASK) == 3


def test_text_from_outside_cannot_forge_a_line_or_drive_a_terminal() -> None:
    stream = io.StringIO()
    configure("info", "console", stream)
    structlog.get_logger().info("published", subject="a\n12:00 forged\x1b[2J", long="x" * 10_000)
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert "a\N{SYMBOL FOR LINE FEED}12:00 forged\N{SYMBOL FOR ESCAPE}[2J" in stream.getvalue()
    assert len(stream.getvalue()) < 5000


def test_a_terminal_gets_coloured_lines() -> None:
    stream = _Terminal()
    configure(stream=stream)
    structlog.get_logger().info("started")
    assert "\x1b[" in stream.getvalue()
    assert "started" in stream.getvalue()
