"""Patterns of LIKE, matched in time linear in the text for all but one shape, which is bounded.

A pattern is cut at its `%` into pieces: the first and the last stand at the ends of the text,
each of the others is sought from where the one before it ended. The leftmost place of each is
the best, so nothing is ever tried twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

Matcher: TypeAlias = Callable[[str], bool]

#: Characters of the text times those of a piece with `_` that is sought in it: such a search may
#: have to look at each of the piece's characters at every place.
MAX_STEPS: Final = 4_000_000


class TooLong(Exception):
    """The text is too long for a pattern with `_` between two `%`."""


def split_pattern(pattern: str) -> list[list[str | None]]:
    """The pieces between `%`, as characters; None is `_` (any one character)."""
    pieces: list[list[str | None]] = [[]]
    escaped = False
    for place, char in enumerate(pattern):
        if escaped:
            escaped = False
            pieces[-1].append(char)
        elif char == "\\" and pattern[place + 1 : place + 2] in ("%", "_"):
            escaped = True
        elif char == "%":
            pieces.append([])
        else:
            pieces[-1].append(None if char == "_" else char)
    return pieces


def plain(piece: list[str | None]) -> str | None:
    """The text of a piece without `_`, else None."""
    return None if None in piece else "".join(char for char in piece if char is not None)


def matcher(pattern: str) -> Matcher:
    """Whether a text matches the pattern as a whole. The matcher raises TooLong (see MAX_STEPS)."""
    first, *rest = split_pattern(pattern)
    if not rest:
        return _whole(first)
    *middle, last = rest
    starts, ends = _fixed(first), _fixed(last)
    finders = [_finder(piece) for piece in middle if piece]
    head, tail = len(first), len(last)

    def matches(text: str) -> bool:
        end = len(text) - tail
        if head > end or not starts(text, 0) or not ends(text, end):
            return False
        at = head
        for find in finders:
            at = find(text, at, end)
            if at < 0:
                return False
        return True

    return matches


def _whole(piece: list[str | None]) -> Matcher:
    text = plain(piece)
    if text is not None:
        return text.__eq__
    match = _regex(piece).fullmatch
    return lambda text: match(text) is not None


def _fixed(piece: list[str | None]) -> Callable[[str, int], bool]:
    """Whether a piece stands at a place."""
    text = plain(piece)
    if text is not None:
        known = text
        return lambda value, at: value.startswith(known, at)
    match = _regex(piece).match
    return lambda value, at: match(value, at) is not None


def _finder(piece: list[str | None]) -> Callable[[str, int, int], int]:
    """Where a piece that is sought in text[at:end] ends; negative where it is not."""
    size, text = len(piece), plain(piece)
    if text is not None:
        known = text

        def find(value: str, at: int, end: int) -> int:
            found = value.find(known, at, end)
            return found + size if found >= 0 else -1

        return find
    search = _regex(piece).search

    def seek(value: str, at: int, end: int) -> int:
        if (end - at) * size > MAX_STEPS:
            raise TooLong
        found = search(value, at, end)
        return found.end() if found else -1

    return seek


def _regex(piece: list[str | None]) -> re.Pattern[str]:
    """A piece has one length, so there is nothing to go back to."""
    return re.compile("".join("." if char is None else re.escape(char) for char in piece), re.DOTALL)
