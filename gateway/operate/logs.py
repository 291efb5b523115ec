"""Structured logs: one JSON object a line for machines, coloured lines for people at a terminal.

Everything goes to standard error, ours through structlog, and what libraries say through
`logging` in the same form. Values of keys that name a secret are masked, control characters
are escaped, so that nobody forges a line.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog

MASK: Final = "**********"

_SECRET = re.compile(r"password|passwd|secret|token|authorization|credential|api_?key|cookie", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_TEXT = 4096
_EventDict = MutableMapping[str, Any]


def configure(
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["auto", "json", "console"] = "auto",
    stream: TextIO | None = None,
) -> None:
    """Set up logging for the process. `auto` is console on a terminal, JSON elsewhere. May be called again."""
    out = sys.stderr if stream is None else stream
    console = format == "console" or (format == "auto" and out.isatty())
    number = getattr(logging, level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if console else "iso", utc=not console),
        mask_secrets,
    ]
    last = _console(out) if console else _json()
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _configure_libraries(number, shared, last, out)


def _console(out: TextIO) -> list[Any]:
    renderer = structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=28)
    return [structlog.processors.format_exc_info, escape_controls, renderer]


def _json() -> list[Any]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]


def _to_json(value: Any, **_: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _configure_libraries(number: int, shared: list[Any], last: list[Any], out: TextIO) -> None:
    handler = logging.StreamHandler(out)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared], processors=[remove, *last]
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    # Libraries tell every retry at INFO; what they warn of is worth a line.
    root.setLevel(max(number, logging.WARNING) if number > logging.DEBUG else number)


def mask_secrets(_logger: Any, _method: str, event: _EventDict) -> _EventDict:
    """Mask the values of keys that name a secret, in nested mappings too."""
    for key, value in event.items():
        if isinstance(value, dict):
            event[key] = dict(mask_secrets(None, "", dict(value)))
        elif key != "event" and isinstance(value, str) and _SECRET.search(key):
            event[key] = MASK
    return event


def _picture(control: re.Match[str]) -> str:
    """The control picture of Unicode: a line break is shown as U+240A."""
    number = ord(control[0])
    return chr(0x2400 + number) if number < 0x20 else "\N{REPLACEMENT CHARACTER}"


def escape_controls(_logger: Any, _method: str, event: _EventDict) -> _EventDict:
    """Make text from outside harmless on a terminal, and short enough to read."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception":
            short = value if len(value) <= _MAX_TEXT else value[:_MAX_TEXT] + "..."
            event[key] = _CONTROL.sub(_picture, short)
    return event
