"""Paths into payloads as steps write them: `price`, `legs[0].px`, `legs[*].px`, `["odd key"].a`.

They begin below the data, where an expression writes `data.price`. Names that have a dot, a
bracket, a quotation mark or a space stand in brackets, quoted as in JSON.
"""

from __future__ import annotations

import json
import re
from typing import Final, TypeAlias

MAX_TEXT: Final = 1000
MAX_STEPS: Final = 32


class Every:
    """The type of EVERY: the step `[*]`, all elements of an array."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "EVERY"


EVERY: Final = Every()
PathStep: TypeAlias = str | int | Every
Path: TypeAlias = tuple[PathStep, ...]

_NAME = r"""(?P<dot>\.?)(?P<name>[^\s.\[\]"]+)"""
_QUOTED = r"""(?P<quoted>\["(?:[^"\\]|\\.)*"\])"""
_TOKEN = re.compile(rf"{_NAME}|{_QUOTED}|\[(?P<index>\d{{1,9}}|\*)\]")
_PLAIN = re.compile(r'[^\s.\[\]"]+\Z')


class BadPath(ValueError):
    """Not a path; `position` is the place in its text, from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


def parse_path(text: str) -> Path:
    """Raises BadPath."""
    if not text:
        raise BadPath("a path has at least one name", 0)
    if len(text) > MAX_TEXT:
        raise BadPath(f"a path has at most {MAX_TEXT} characters", MAX_TEXT)
    steps: list[PathStep] = []
    place = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None or (token["name"] is not None and bool(token["dot"]) != bool(steps)):
            raise BadPath("expected a name" if not steps else "expected '.' and a name, or '[' and an index", place)
        if len(steps) == MAX_STEPS:
            raise BadPath(f"a path has at most {MAX_STEPS} steps", place)
        steps.append(_step(token, place))
        place = token.end()
    return tuple(steps)


def _step(token: re.Match[str], place: int) -> PathStep:
    if token["name"] is not None:
        return token["name"]
    if token["quoted"] is not None:
        try:
            return str(json.loads(token["quoted"])[0])
        except ValueError:
            raise BadPath("is not a JSON string", place + 1) from None
    return EVERY if token["index"] == "*" else int(token["index"])


def path_text(path: Path) -> str:
    """The canonical text of a path: `parse_path` makes the same path of it."""
    text = ""
    for step in path:
        if step is EVERY:
            text += "[*]"
        elif type(step) is int:
            text += f"[{step}]"
        elif type(step) is str and _PLAIN.match(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step)}]"
    return text


def order(path: Path) -> tuple[tuple[int, str | int], ...]:
    """A sorting key: `[*]` first, then high indices before low ones, so that dropping one moves no later one."""
    return tuple((0, 0) if step is EVERY else (1, -step) if isinstance(step, int) else (2, str(step)) for step in path)


def without_covered(paths: list[Path]) -> list[Path]:
    """The paths in `order`, but those below another one and those given twice."""
    kept: list[Path] = []
    known: set[Path] = set()
    for path in sorted(set(paths), key=lambda each: (len(each), order(each))):
        if not any(path[:length] in known for length in range(1, len(path))):
            known.add(path)
            kept.append(path)
    return sorted(kept, key=order)
