"""What the text of compiled expressions calls, by name, and the code of such texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any, Final

from routing.filters import arithmetic, cast
from routing.filters.cast import EvaluationError, Site
from routing.filters.lexer import Dialect
from routing.filters.like import TooLong
from routing.shape import MISSING

#: Longer texts are rarely alike, and would fill the memory of those that are.
_LONGEST_KEPT: Final = 4000


def like(match: Callable[[str], bool], value: str, site: Site) -> bool:
    try:
        return match(value)
    except TooLong:
        message = f"a string of {len(value)} is too long for a pattern with _ between two %"
        raise EvaluationError("functionEvaluation", message, site) from None


#: Shared by all texts, so that 100,000 expressions do not each hold them.
HELPERS: Final[dict[str, Any]] = {
    "EvaluationError": EvaluationError, "MISSING": MISSING, "zip": zip, "str": str, "int": int, "float": float,
    "bool": bool, "present": cast.present, "as_str": cast.as_str, "as_bool": cast.as_bool, "as_int": cast.as_int,
    "as_num": cast.as_num, "as_time": cast.as_time, "known_number": cast.known_number, "order": cast.order,
    "order_text": cast.order_text, "holds": cast.holds, "like": like,
}  # fmt: skip
OPERATIONS: Final[dict[Dialect, dict[str, Callable[..., Any]]]] = {
    "cesql": {
        "+": arithmetic.add32, "-": arithmetic.subtract32, "*": arithmetic.multiply32, "/": arithmetic.divide32,
        "%": arithmetic.remainder32, "negate": arithmetic.negate32, "equal": cast.equal32, "same": cast.same32,
        "member": cast.member32,
    },
    "expr": {
        "+": arithmetic.add, "-": arithmetic.subtract, "*": arithmetic.multiply, "/": arithmetic.divide,
        "%": arithmetic.remainder, "negate": arithmetic.negate, "equal": cast.equal, "same": cast.same,
        "member": cast.member,
    },
}  # fmt: skip
HELPERS.update({one.__name__: one for some in OPERATIONS.values() for one in some.values()})
HELPERS["divide_exactly"] = arithmetic.divide_exactly


def code_of(source: str) -> CodeType:
    """Literals are not in the text, so expressions that differ in them alone share their code."""
    return _kept_code(source) if len(source) <= _LONGEST_KEPT else _code(source)


def _code(source: str) -> CodeType:
    return compile(source, "<expression>", "exec")


_kept_code = lru_cache(512)(_code)
