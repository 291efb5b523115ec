"""Durations, sizes and rates as people write them: `7d`, `1h30m`, `16MiB`, `1000/s`.

The same words in the configuration, in the HTTP API and in the commands. A duration or a
rate needs its unit (`retention: 604800000` has misled too many); a size without one is
bytes. Inside, times are seconds as float, sizes bytes as int, rates a float per second.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo

#: What stands for "no limit" in retention settings; -1 is Kafka's spelling of it.
UNLIMITED = "unlimited"

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_MILLISECONDS = {unit: round(seconds * 1000) for unit, seconds in _SECONDS.items()}
_BYTES = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_FOLDED_BYTES = {unit.lower(): size for unit, size in _BYTES.items()}

_DURATION_PART = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)(ms|s|m|h|d|w)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+\Z")
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]{0,3})\Z")
_RATE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)/(s|m|h)\Z")
_LONGEST = 100 * 365 * 86400.0
_LARGEST = 2**62


def parse_duration(text: str) -> float:
    """`500ms`, `30s`, `1h30m`, `7d`, `2w` -> seconds. Raises ValueError, which says how to write it."""
    if text == "0":
        return 0.0
    if not _DURATION.match(text):
        raise ValueError(
            f"{text[:40]!r} is not a duration: write a number and a unit, such as 500ms, 30s, 5m, 12h or 7d"
        )
    milliseconds = sum(float(number) * _MILLISECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    if milliseconds > _LONGEST * 1000:
        raise ValueError(f"{text[:40]!r} is longer than 100 years")
    return milliseconds / 1000


def format_duration(seconds: float) -> str:
    """The shortest exact spelling with one unit, to the millisecond: 604800 -> `7d`, 90 -> `90s`, 0.5 -> `500ms`."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        if milliseconds % _MILLISECONDS[unit] == 0:
            return f"{milliseconds // _MILLISECONDS[unit]}{unit}"
    return f"{milliseconds}ms"


def parse_size(text: str) -> int:
    """`16MiB`, `1.5GiB`, `10MB`, `4096` -> bytes. Raises ValueError, which says how to write it."""
    match = _SIZE.match(text)
    unit = _FOLDED_BYTES.get((match[2] or "B").lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{text[:40]!r} is not a size: write a number and a unit, such as 64KiB, 16MiB or 10GiB")
    size = int(match[1]) * unit if match[1].isdecimal() else round(float(match[1]) * unit)
    if size > _LARGEST:
        raise ValueError(f"{text[:40]!r} is more than any disk holds")
    return size


def format_size(size: int) -> str:
    """The shortest exact spelling in powers of 1024: 16777216 -> `16MiB`, 1000 -> `1000B`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def parse_rate(text: str) -> float:
    """`1000/s`, `60/m`, `10/h` -> per second. Raises ValueError, which says how to write it."""
    match = _RATE.match(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a rate: write a number and a time, such as 1000/s, 60/m or 10/h")
    return float(match[1]) / _SECONDS[match[2]]


def format_rate(per_second: float) -> str:
    """1000.0 -> `1000/s`."""
    for unit in ("s", "m", "h"):
        scaled = per_second * _SECONDS[unit]
        if abs(scaled - round(scaled)) < 1e-9 * max(1.0, scaled):
            return f"{round(scaled)}/{unit}"
    return f"{per_second:g}/s"


def parse_retention_ms(text: str) -> int:
    """A duration, or `unlimited` (-1), as the milliseconds of `TopicSettings.retention_ms`."""
    return -1 if _is_unlimited(text) else round(parse_duration(text) * 1000)


def format_retention_ms(milliseconds: int) -> str:
    """The inverse of `parse_retention_ms`."""
    return UNLIMITED if milliseconds < 0 else format_duration(milliseconds / 1000)


def parse_retention_bytes(text: str) -> int:
    """A size, or `unlimited` (-1), as the bytes of `TopicSettings.retention_bytes`."""
    return -1 if _is_unlimited(text) else parse_size(text)


def format_retention_bytes(size: int) -> str:
    """The inverse of `parse_retention_bytes`."""
    return UNLIMITED if size < 0 else format_size(size)


def _is_unlimited(text: str) -> bool:
    return text in (UNLIMITED, "-1")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds(value: Any, info: ValidationInfo) -> Any:
    # A bare number in a file is refused; in Python code (no context) it is seconds.
    if _number(value):
        if info.context is not None and value != 0:
            raise ValueError(f"{value} needs a unit, such as {value}s or {value}ms")
        return float(value)
    return parse_duration(_text(value, "a duration such as 30s or 7d"))


def _size(value: Any) -> Any:
    if _number(value):
        return value
    return parse_size(_text(value, "a size such as 64KiB or 16MiB"))


def _per_second(value: Any, info: ValidationInfo) -> Any:
    if _number(value):
        if info.context is not None:
            raise ValueError(f"{value} needs a time, such as {value}/s")
        return float(value)
    return parse_rate(_text(value, "a rate such as 1000/s"))


def _retention_ms(value: Any, info: ValidationInfo) -> Any:
    if value == -1 or isinstance(value, str):
        return parse_retention_ms(str(value))
    return round(_seconds(value, info) * 1000) if info.context is not None else value


def _retention_bytes(value: Any) -> Any:
    if _number(value):
        return value
    return parse_retention_bytes(_text(value, "a size such as 10GiB, or 'unlimited'"))


def _text(value: Any, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected {expected}")
    return value.strip()


Duration = Annotated[float, BeforeValidator(_seconds), PlainSerializer(format_duration, when_used="json")]
"""Seconds as float. Files write `30s`; a number without a unit is refused there."""

Size = Annotated[int, BeforeValidator(_size), PlainSerializer(format_size, when_used="json")]
"""Bytes as int. Files write `16MiB`; a number without a unit is bytes."""

Rate = Annotated[float, BeforeValidator(_per_second), PlainSerializer(format_rate, when_used="json")]
"""A float per second. Files write `1000/s`."""

RetentionTime = Annotated[int, BeforeValidator(_retention_ms), PlainSerializer(format_retention_ms, when_used="json")]
"""Milliseconds as int, -1 without limit. Files write `7d` or `unlimited`."""

RetentionBytes = Annotated[
    int, BeforeValidator(_retention_bytes), PlainSerializer(format_retention_bytes, when_used="json")
]
"""Bytes as int, -1 without limit. Files write `10GiB` or `unlimited`."""
