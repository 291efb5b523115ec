"""The functions of CESQL v1 (3.5) and those that `expr` has beyond them.

Each takes its site and arguments that were cast to its parameters' types. One that fails raises
EvaluationError with the value that it gives all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from routing.filters.arithmetic import ceil, floor, round_to
from routing.filters.cast import INT64, EvaluationError, Site, Type, present, show

#: More characters than any string has.
_MANY: Final = 2**62
#: Characters of a string that a function makes: expressions cannot make something large of little.
MAX_RESULT: Final = 1024 * 1024

# White_Space of Unicode; Python's own set has four control characters beyond it (CESQL v1, 3.5.1).
_SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


class Function(NamedTuple):
    """`rest`: the type of any number of further arguments. `pure`: the same for the same arguments."""

    parameters: tuple[Type, ...]
    result: Type
    call: Callable[..., Any]
    rest: Type | None = None
    pure: bool = True

    def takes(self, count: int) -> bool:
        return count == len(self.parameters) or (self.rest is not None and count > len(self.parameters))

    def parameter(self, place: int) -> Type:
        if place < len(self.parameters):
            return self.parameters[place]
        assert self.rest is not None
        return self.rest


def _failed(message: str, site: Site, value: object) -> EvaluationError:
    return EvaluationError("functionEvaluation", f"{site.what}: {message}", site, value)


def _bounded(size: int, site: Site) -> None:
    if size > MAX_RESULT:
        raise _failed(f"a string is at most {MAX_RESULT} characters", site, "")


# Strings


def _length(site: Site, x: str) -> int:
    return len(x)


def _concat(site: Site, *parts: str) -> str:
    _bounded(sum(map(len, parts)), site)
    return "".join(parts)


def _concat_ws(site: Site, between: str, *parts: str) -> str:
    _bounded(sum(map(len, parts)) + len(between) * len(parts), site)
    return between.join(parts)


def _lower(site: Site, x: str) -> str:
    return x.lower()


def _upper(site: Site, x: str) -> str:
    return x.upper()


def _trim(site: Site, x: str) -> str:
    return x.strip(_SPACE)


def _left(site: Site, x: str, count: float) -> str:
    return x[: _count(count, site, x)]


def _right(site: Site, x: str, count: float) -> str:
    return x[max(0, len(x) - _count(count, site, x)) :]


def _count(count: float, site: Site, value: str) -> int:
    """A number of characters, NaN and infinity excluded; `value` is what the function gives for a bad one."""
    if not 0 <= count < _MANY:
        raise _failed(f"{show(count)} characters", site, value)
    return int(count)


def _substring(site: Site, x: str, position: float, count: float = _MANY - 1) -> str:
    if not abs(position) <= len(x):
        raise _failed(f"position {show(position)} is outside of a string of {len(x)}", site, "")
    wanted = _count(count, site, "")
    if position == 0:
        return ""
    start = int(position) - 1 if position > 0 else len(x) + int(position)
    return x[start : start + wanted]


def _starts_with(site: Site, x: str, part: str) -> bool:
    return x.startswith(part)


def _ends_with(site: Site, x: str, part: str) -> bool:
    return x.endswith(part)


def _contains(site: Site, x: str, part: str) -> bool:
    return part in x


def _position(site: Site, x: str, part: str) -> int:
    return x.find(part) + 1


def _replace(site: Site, x: str, part: str, by: str) -> str:
    if not part:
        return x
    _bounded(len(x) + x.count(part) * (len(by) - len(part)), site)
    return x.replace(part, by)


# Numbers


def _itself(site: Site, x: Any) -> Any:
    return x


def _abs32(site: Site, x: int) -> int:
    if x == -(2**31):
        raise EvaluationError("math", f"the absolute value of {x} has more than 32 bits", site, 2**31 - 1)
    return abs(x)


def _abs(site: Site, x: float) -> float:
    if isinstance(x, int) and abs(x) not in INT64:
        raise EvaluationError("math", f"the absolute value of {show(x)} has more than 64 bits", site, 2**63 - 1)
    return abs(x)


def _whole(site: Site, x: float) -> int:
    return floor(x, site) if x >= 0 else ceil(x, site)


def _floor(site: Site, x: float) -> int:
    return floor(x, site)


def _ceil(site: Site, x: float) -> int:
    return ceil(x, site)


def _round(site: Site, x: float, places: float = 0) -> float:
    if not 0 <= places <= 15:
        raise _failed("rounds to 0 to 15 places", site, x)
    return round_to(x, int(places), site)


def _least(site: Site, *values: float) -> float:
    return min(values)


def _greatest(site: Site, *values: float) -> float:
    return max(values)


# Times


def _now(site: Site) -> datetime:
    return datetime.now(UTC)


def _epoch(site: Site, x: datetime) -> float:
    seconds, micros = divmod(round((x - _START).total_seconds() * 1_000_000), 1_000_000)
    return seconds if not micros else seconds + micros / 1_000_000


_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _part(name: str) -> Callable[[Site, datetime], int]:
    def part(site: Site, x: datetime) -> int:
        return int(getattr(x, name))

    return part


def _weekday(site: Site, x: datetime) -> int:
    return x.isoweekday()


# Payloads


def _size(site: Site, x: object) -> int:
    """Of an array its items, of an object its fields, else the characters of a string."""
    present(x, site)
    if isinstance(x, list | dict | str | bytes):
        return len(x)
    raise EvaluationError("cast", "a size have strings, arrays and objects", site)


CESQL: Final[dict[str, tuple[Function, ...]]] = {
    "INT": (Function(("int",), "int", _itself),),
    "BOOL": (Function(("bool",), "bool", _itself),),
    "STRING": (Function(("str",), "str", _itself),),
    "LENGTH": (Function(("str",), "int", _length),),
    "CONCAT": (Function((), "str", _concat, rest="str"),),
    "CONCAT_WS": (Function(("str",), "str", _concat_ws, rest="str"),),
    "LOWER": (Function(("str",), "str", _lower),),
    "UPPER": (Function(("str",), "str", _upper),),
    "TRIM": (Function(("str",), "str", _trim),),
    "LEFT": (Function(("str", "int"), "str", _left),),
    "RIGHT": (Function(("str", "int"), "str", _right),),
    "SUBSTRING": (Function(("str", "int"), "str", _substring), Function(("str", "int", "int"), "str", _substring)),
    "ABS": (Function(("int",), "int", _abs32),),
}


def _wider(function: Function) -> Function:
    """A function of CESQL with the numbers of `expr`."""
    parameters: tuple[Type, ...] = tuple("num" if kind == "int" else kind for kind in function.parameters)
    return function._replace(parameters=parameters, result="num" if function.result == "int" else function.result)


EXPR: Final[dict[str, tuple[Function, ...]]] = {
    **{name: tuple(map(_wider, overloads)) for name, overloads in CESQL.items()},
    "INT": (Function(("num",), "num", _whole),),
    "ABS": (Function(("num",), "num", _abs),),
    "NUMBER": (Function(("num",), "num", _itself),),
    "ROUND": (Function(("num",), "num", _round), Function(("num", "num"), "num", _round)),
    "FLOOR": (Function(("num",), "num", _floor),),
    "CEIL": (Function(("num",), "num", _ceil),),
    "LEAST": (Function(("num",), "num", _least, rest="num"),),
    "GREATEST": (Function(("num",), "num", _greatest, rest="num"),),
    "STARTS_WITH": (Function(("str", "str"), "bool", _starts_with),),
    "ENDS_WITH": (Function(("str", "str"), "bool", _ends_with),),
    "CONTAINS": (Function(("str", "str"), "bool", _contains),),
    "POSITION": (Function(("str", "str"), "num", _position),),
    "REPLACE": (Function(("str", "str", "str"), "str", _replace),),
    "SIZE": (Function(("any",), "num", _size),),
    "TIME": (Function(("time",), "time", _itself),),
    "NOW": (Function((), "time", _now, pure=False),),
    "EPOCH": (Function(("time",), "num", _epoch),),
    "YEAR": (Function(("time",), "num", _part("year")),),
    "MONTH": (Function(("time",), "num", _part("month")),),
    "DAY": (Function(("time",), "num", _part("day")),),
    "HOUR": (Function(("time",), "num", _part("hour")),),
    "MINUTE": (Function(("time",), "num", _part("minute")),),
    "SECOND": (Function(("time",), "num", _part("second")),),
    "WEEKDAY": (Function(("time",), "num", _weekday),),
}
