"""Arithmetic: CESQL's on integers of 32 bits, and `expr`'s on integers of 64 bits and decimals.

Decimals are computed in base ten and rounded once, to the nearest that a payload can hold, so
0.1 + 0.2 = 0.3. All of it raises EvaluationError of kind "math".
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, DecimalException
from math import isfinite, isinf
from typing import Any, Final

from routing.filters.cast import INT32, INT64, EvaluationError, Site, as_num, as_time

_CONTEXT: Final = Context(prec=60)
Number = int | float


def _math(message: str, site: Site) -> EvaluationError:
    return EvaluationError("math", message, site)


# CESQL


def _bits32(value: int, site: Site) -> int:
    if value not in INT32:
        raise _math(f"{value} has more than 32 bits", site)
    return value


def add32(x: int, y: int, site: Site) -> int:
    return _bits32(x + y, site)


def subtract32(x: int, y: int, site: Site) -> int:
    return _bits32(x - y, site)


def multiply32(x: int, y: int, site: Site) -> int:
    return _bits32(x * y, site)


def divide32(x: int, y: int, site: Site) -> int:
    return _bits32(_truncated(x, y, site), site)


def _truncated(x: int, y: int, site: Site) -> int:
    if y == 0:
        raise _math(f"{x} / 0", site)
    quotient = abs(x) // abs(y)
    return quotient if (x < 0) == (y < 0) else -quotient


def remainder32(x: int, y: int, site: Site) -> int:
    """With the sign of x (CESQL v1, 3.4.2)."""
    if y == 0:
        raise _math(f"{x} % 0", site)
    rest = abs(x) % abs(y)
    return -rest if x < 0 else rest


def negate32(x: int, site: Site) -> int:
    return _bits32(-x, site)


# expr


def _bits64(value: int, site: Site) -> int:
    if value not in INT64:
        raise _math("a result of more than 64 bits", site)
    return value


def _decimal(operation: Callable[[Any, Any], Decimal], x: Number, y: Number, site: Site) -> float:
    try:
        result = float(operation(Decimal(repr(x)), Decimal(repr(y))))
    except DecimalException as error:
        raise _math(f"{type(error).__name__} of {x} and {y}", site) from None
    if isinf(result):
        raise _math("a result that is too large", site)
    return result


def _fits(x: Number, site: Site) -> Number:
    """Payloads may hold integers of any number of digits and, but for JSON, NaN: not computed with."""
    if isinstance(x, int):
        return _bits64(x, site)
    if not isfinite(x):
        raise _math(f"{x} is no number to compute with", site)
    return x


def add(x: Any, y: Any, site: Site) -> Any:
    """Numbers; or a time and seconds."""
    if isinstance(x, datetime):
        return _moved(x, as_num(y, site), site)
    if isinstance(y, datetime):
        return _moved(y, as_num(x, site), site)
    x, y = _fits(as_num(x, site), site), _fits(as_num(y, site), site)
    return _bits64(x + y, site) if isinstance(x, int) and isinstance(y, int) else _decimal(_CONTEXT.add, x, y, site)


def subtract(x: Any, y: Any, site: Site) -> Any:
    """Numbers; a time and seconds; or two times, which gives seconds."""
    if isinstance(x, datetime) or isinstance(y, datetime):
        if isinstance(x, datetime) and not isinstance(y, datetime | str):
            return _moved(x, negate(_fits(as_num(y, site), site), site), site)
        return _seconds(as_time(x, site) - as_time(y, site))
    x, y = _fits(as_num(x, site), site), _fits(as_num(y, site), site)
    return (
        _bits64(x - y, site) if isinstance(x, int) and isinstance(y, int) else _decimal(_CONTEXT.subtract, x, y, site)
    )


def _moved(time: datetime, seconds: Number, site: Site) -> datetime:
    try:
        return as_time(time, site) + timedelta(seconds=_fits(seconds, site))
    except OverflowError:
        raise _math("a time outside of the years 1 to 9999", site) from None


def _seconds(span: timedelta) -> Number:
    whole = span.days * 86_400 + span.seconds
    return whole + span.microseconds / 1_000_000 if span.microseconds else whole


def multiply(x: Number, y: Number, site: Site) -> Number:
    x, y = _fits(x, site), _fits(y, site)
    return (
        _bits64(x * y, site) if isinstance(x, int) and isinstance(y, int) else _decimal(_CONTEXT.multiply, x, y, site)
    )


def divide(x: Number, y: Number, site: Site) -> Number:
    """Two integers of the expression or of attributes divide as in CESQL: truncated."""
    x, y = _fits(x, site), _fits(y, site)
    if isinstance(x, int) and isinstance(y, int):
        return _bits64(_truncated(x, y, site), site)
    return divide_exactly(x, y, site)


def divide_exactly(x: Number, y: Number, site: Site) -> Number:
    """Where a payload's number takes part: JSON does not tell 6 from 6.0, so neither does this."""
    x, y = _fits(x, site), _fits(y, site)
    if y == 0:
        raise _math(f"{x} / 0", site)
    return _decimal(_CONTEXT.divide, x, y, site)


def remainder(x: Number, y: Number, site: Site) -> Number:
    """With the sign of x."""
    x, y = _fits(x, site), _fits(y, site)
    if y == 0:
        raise _math(f"{x} % 0", site)
    if isinstance(x, int) and isinstance(y, int):
        return remainder32(x, y, site)
    return _decimal(_CONTEXT.remainder, x, y, site)


def negate(x: Number, site: Site) -> Number:
    return _bits64(-x, site) if isinstance(x, int) else -x


def floor(x: Number, site: Site) -> int:
    return _bits64(int(Decimal(repr(_fits(x, site))).to_integral_value(ROUND_FLOOR)), site)


def ceil(x: Number, site: Site) -> int:
    return _bits64(int(Decimal(repr(_fits(x, site))).to_integral_value(ROUND_CEILING)), site)


def round_to(x: Number, places: int, site: Site) -> Number:
    """Halves away from zero. To 0 places it is an integer."""
    x = _fits(x, site)
    if isinstance(x, int):
        return x
    value = Decimal(repr(x))
    if not places:
        return _bits64(int(value.to_integral_value(ROUND_HALF_UP)), site)
    if value.as_tuple().exponent >= -places:  # type: ignore[operator]  # floats of payloads are finite
        return x
    return float(value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _CONTEXT))
