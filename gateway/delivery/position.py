"""Where to start reading, as a client writes it (design, section 14: Common rules).

`latest`, `earliest`, an RFC 3339 time with `Z`, a duration back (`-5m`), `last:10`, or a cursor.
Pure: what a start means on a bus is worked out by `gateway.delivery.resolve`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from gateway.delivery.cursor import Cursor, decode_cursor
from gateway.errors import InvalidPosition

#: The most events that `last:N` may ask for.
MAX_LAST = 10_000

_RIGHT = "use 'latest', 'earliest', a time such as '2026-01-31T12:00:00Z', '-5m', 'last:10' or a cursor"
_BACK = re.compile(r"-(\d{1,12})(ms|s|m|h|d)\Z", re.ASCII)
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}):(\d{2})(?:\.(\d{1,9})\d*)?[Zz]\Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Start(msgspec.Struct, frozen=True):
    """A parsed start position.

    `value` is milliseconds since 1970 for `time`, milliseconds back for `back`, the number of
    events for `last`; `cursor` is set for `cursor` alone.
    """

    kind: Literal["latest", "earliest", "time", "back", "last", "cursor"]
    value: int = 0
    cursor: Cursor | None = None


LATEST = Start("latest")
EARLIEST = Start("earliest")


def parse_start(text: str) -> Start:
    """Parse a start position. Raises InvalidPosition, which names what would be right."""
    if text == "latest":
        return LATEST
    if text == "earliest":
        return EARLIEST
    if text.startswith("last:"):
        return Start("last", _last(text))
    if text.startswith("-"):
        back = _BACK.match(text)
        if back is not None:
            return Start("back", int(back[1]) * _UNITS[back[2]])
        # A cursor may begin with a dash, too; its decoder has the last word.
    elif text[:5].replace("-", "0").isdigit() and ":" in text:
        return Start("time", _time(text))
    return _cursor(text)


def _last(text: str) -> int:
    digits = text[5:]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 6 and 1 <= int(digits) <= MAX_LAST):
        raise InvalidPosition(f"{text[:40]!r}: 'last:N' takes a whole number from 1 to {MAX_LAST:,}")
    return int(digits)


def _time(text: str) -> int:
    # Milliseconds are cut, not rounded, so that nothing at or after the time is missed.
    match = _TIME.match(text)
    if match is None:
        raise InvalidPosition(f"{text[:40]!r} is no RFC 3339 time in UTC: write it as '2026-01-31T12:00:00Z'")
    date, clock, seconds, fraction = match.groups()
    try:
        minute = datetime.strptime(f"{date} {clock}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidPosition(f"{text[:40]!r}: there is no such day or hour") from error
    if int(seconds) > 60:  # 60 is a leap second (RFC 3339, 5.7)
        raise InvalidPosition(f"{text[:40]!r}: a minute has no second {seconds}")
    whole = (minute - _EPOCH) // timedelta(milliseconds=1) + int(seconds) * 1000
    return max(0, whole + int(((fraction or "") + "000")[:3]))


def _cursor(text: str) -> Start:
    try:
        return Start("cursor", cursor=decode_cursor(text))
    except InvalidPosition as error:
        raise InvalidPosition(f"{text[:40]!r} is no start position ({error.message}); {_RIGHT}") from error
