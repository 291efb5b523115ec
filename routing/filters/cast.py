"""Values from one type to another (CESQL v1, 3.7), and how values of unlike types compare.

Compiled expressions come here only where a value is not of the type that is wanted; all of it
raises EvaluationError. `expr` has, beyond CESQL's strings, integers and booleans, decimals and
times. A number is an int or a float: a float stands for the shortest decimal that reads back as
it, which is what JSON says, so 0.1 in a payload equals 0.1 in an expression.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from routing.errors import Kind
from routing.shape import MISSING

Type: TypeAlias = Literal["str", "int", "num", "bool", "time", "any"]
"""What is known of a value before it is there; "int" is CESQL's, "num" is `expr`'s."""

ZEROS: Final[dict[Type, str | int | bool]] = {"str": "", "int": 0, "num": 0, "bool": False, "time": "", "any": False}
"""The value of what could not be evaluated (CESQL v1, 3.1); a time is told as a string."""

INT32: Final = range(-(2**31), 2**31)
INT64: Final = range(-(2**63), 2**63)
#: Python writes no longer integers than of some thousand digits, and nobody reads them.
_SHOWN_BITS: Final = 128
_MEMO: Final = 10_000
_MEMO_LENGTH: Final = 40
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}\Z")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?\Z")
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:\.(\d{1,6})\d*)?(?:[Zz]|([+-]\d\d:\d\d))\Z", re.ASCII
)


class Site(NamedTuple):
    """A place of an expression: where an error is told, and what it is about."""

    at: int
    what: str


class EvaluationError(Exception):
    """What went wrong with one event. `value`: what the function gives all the same (CESQL v1, 3.5), or None."""

    # Missing attributes are common, so making one costs little: only who tells of it makes the text.
    args: tuple[Any, ...]

    @property
    def kind(self) -> Kind:
        return self.args[0]  # type: ignore[no-any-return]

    @property
    def message(self) -> str:
        if self.kind == "missingAttribute":
            return f"{self.site.what} is not there"
        return self.args[1]  # type: ignore[no-any-return]

    @property
    def site(self) -> Site:
        return self.args[2]  # type: ignore[no-any-return]

    @property
    def value(self) -> object:
        return self.args[3] if len(self.args) > 3 else None


def show(value: object) -> str:
    """A value for a message, cut short."""
    if value is True or value is False:
        return str(value).lower()
    if type(value) is int and value.bit_length() > _SHOWN_BITS:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value) if type(value) in (str, int, float) else _name(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _name(value: object) -> str:
    kinds: dict[type, str] = {dict: "an object", list: "an array", bytes: "bytes"}
    return value.isoformat() if isinstance(value, datetime) else kinds.get(type(value), type(value).__name__)


def _cannot(value: object, wanted: str, site: Site) -> EvaluationError:
    if value is None or value is MISSING:
        return EvaluationError("missingAttribute", "", site)
    return EvaluationError("cast", f"{show(value)} cannot be read as {wanted}", site)


def present(value: Any, site: Site) -> Any:
    """The value, if there is one; JSON's null is none."""
    if value is None or value is MISSING:
        raise _cannot(value, "", site)
    return value


# Strings


def as_str(value: object, site: Site) -> str:
    kind = type(value)
    if kind is str:
        return value  # type: ignore[return-value]
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return _digits(value, site)  # type: ignore[arg-type]
    if kind is float:
        return float_text(value)  # type: ignore[arg-type]
    if kind is Decimal:
        return as_str(as_num(value, site), site)
    if isinstance(value, datetime):
        return time_text(as_time(value, site))
    raise _cannot(value, "a string", site)


def _digits(value: int, site: Site) -> str:
    if value.bit_length() > _SHOWN_BITS:
        raise _cannot(value, "a string", site)
    return str(value)


def float_text(value: float) -> str:
    """A decimal without an exponent; a whole one without a point, as an integer."""
    if value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


# Booleans


def as_bool(value: object, site: Site) -> bool:
    kind = type(value)
    if kind is bool:
        return value  # type: ignore[return-value]
    if kind is str:
        lower = value.lower()  # type: ignore[attr-defined]
        if lower in ("true", "false"):
            return bool(lower == "true")
    elif kind is int or kind is float:
        return value != 0
    raise _cannot(value, "true or false", site)


# Numbers


def as_int(value: object, site: Site) -> int:
    """CESQL's INT: 32 bits."""
    kind = type(value)
    if kind is int:
        return value  # type: ignore[return-value]
    if kind is bool:
        return 1 if value else 0
    if isinstance(value, str) and _INTEGER.match(value):
        number = int(value)
        if number in INT32:
            return number
    raise _cannot(value, "an integer of 32 bits", site)


_numbers: dict[Any, int | float] = {}
known_number = _numbers.get
"""The number of a string that was read before, else None; for hashable values alone."""


def as_num(value: object, site: Site) -> int | float:
    """A number of `expr`: an integer, or a decimal."""
    kind = type(value)
    if kind is int or kind is float:
        return value  # type: ignore[return-value]
    if kind is bool:
        return 1 if value else 0
    if kind is str:
        number = _read_number(value)  # type: ignore[arg-type]
    elif kind is Decimal:
        number = _read_number(str(value))
    else:
        number = None
    if number is None:
        raise _cannot(value, "a number", site)
    return number


def _read_number(text: str) -> int | float | None:
    number = _numbers.get(text)
    if number is not None:
        return number
    match = _NUMBER.match(text)
    if match is None:
        return None
    if match.group(1) is None and match.group(2) is None:
        number = int(text)
        if number not in INT64:
            return None
    else:
        number = float(text)
        if number in (float("inf"), float("-inf")):
            return None
    if len(text) <= _MEMO_LENGTH:
        if len(_numbers) >= _MEMO:
            _numbers.clear()
        _numbers[text] = number
    return number


# Times


def read_time(text: str) -> datetime | None:
    """An RFC 3339 time to the microsecond, in UTC; None if it is none."""
    match = _TIME.match(text)
    if match is None:
        return None
    day, minute, second, fraction, offset = match.groups()
    leap = second == "60"
    try:
        found = datetime.fromisoformat(f"{day}T{minute}:{'59' if leap else second}{offset or '+00:00'}")
        if fraction:
            found = found.replace(microsecond=int(fraction.ljust(6, "0")))
        # RFC 3339, 5.6: a leap second is the second after :59.
        return found.astimezone(UTC) + timedelta(seconds=1) if leap else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def as_time(value: object, site: Site) -> datetime:
    if type(value) is str:
        found = read_time(value)
        if found is not None:
            return found
    elif isinstance(value, datetime):
        if value.tzinfo is UTC:
            return value
        try:
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError:
            raise _cannot(value, "a time of the years 1 to 9999 in UTC", site) from None
    raise _cannot(value, "a time (RFC 3339)", site)


def time_text(value: datetime) -> str:
    """RFC 3339, of a time in UTC, with what there is of a fraction of a second."""
    text = value.replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


# Comparing values whose types are known only when they are there


def equal(x: object, y: object, site: Site) -> bool:
    """`x = y`: x is read as what y is (CESQL v1, 3.7); with a time on either side both are times."""
    kind = type(y)
    if isinstance(x, datetime) or isinstance(y, datetime):
        return as_time(x, site) == as_time(y, site)
    if kind is str:
        return as_str(x, site) == y
    if kind is bool:
        return as_bool(x, site) is y
    if kind is int or kind is float or kind is Decimal:
        return as_num(x, site) == as_num(y, site)
    present(x, site)
    raise _cannot(y, "something to compare with", site)


def equal32(x: object, y: object, site: Site) -> bool:
    """`x = y` of CESQL, whose integers have 32 bits and no fraction."""
    if type(y) is int:
        return as_int(x, site) == y
    return equal(x, y, site)


def same(x: object, item: object, site: Site) -> bool:
    """Whether x is the item of IN, which is read as what x is (CESQL v1, 3.4.5)."""
    return equal(item, x, site)


def same32(x: object, item: object, site: Site) -> bool:
    return equal32(item, x, site)


def member(x: object, items: Sequence[object], site: Site) -> bool:
    """IN of literals, from left to right until one is equal."""
    return any(equal(item, x, site) for item in items)


def member32(x: object, items: Sequence[object], site: Site) -> bool:
    return any(equal32(item, x, site) for item in items)


def holds(x: object, array: object, site: Site) -> bool:
    """IN of an array of the payload; items that cannot be read as what x is are not x."""
    present(array, site)
    if type(array) is not list:
        raise _cannot(array, "an array", site)
    if type(x) is str and x in array:
        return True
    for item in array:
        if item is None or type(item) is type(x) is str:
            continue
        try:
            if equal(item, x, site):
                return True
        except EvaluationError:
            if isinstance(x, dict | list | bytes):
                raise
    return False


def order(x: object, y: object, site: Site) -> int:
    """Negative, 0, or positive as x comes before, with or after y (see docs/filters.md, "Order")."""
    if isinstance(x, datetime) or isinstance(y, datetime):
        return _sign(as_time(x, site), as_time(y, site))
    if type(x) is str and type(y) is str:
        numbers = _read_number(x), _read_number(y)
        if numbers[0] is not None and numbers[1] is not None:
            return _sign(*numbers)
        times = read_time(x), read_time(y)
        if times[0] is not None and times[1] is not None:
            return _sign(*times)
        return _sign(x, y)
    return _sign(as_num(x, site), as_num(y, site))


def order_text(x: object, y: str, site: Site) -> int:
    """Against a text that is neither a number nor a time."""
    if type(x) is not str:
        raise _cannot(x, f"a text to compare with {show(y)}", site)
    return _sign(x, y)


def _sign(x: Any, y: Any) -> int:
    return int(x > y) - int(x < y)
