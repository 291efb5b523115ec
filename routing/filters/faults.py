"""What is wrong with a filter, in words, and the small checks that all its parts share. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Final

from routing.attributes import canonical
from routing.errors import InvalidFilter

#: Characters of a text that attributes are compared with.
MOST_CHARACTERS = 4096


def fault(where: str, message: str) -> InvalidFilter:
    return InvalidFilter(message, kind="generic", where=where)


def kind_of(value: object) -> str:
    """What a value is, in the words of JSON."""
    if value is None:
        return "null"
    return next((word for types, word in _WORDS if isinstance(value, types)), type(value).__name__)


_WORDS: Final[list[tuple[type | tuple[type, ...], str]]] = [
    (bool, "a boolean"),
    ((int, float), "a number"),
    ((str, bytes), "a text"),
    (Mapping, "an object"),
    (Sequence, "a list"),
]


def suggestion(word: str, known: Sequence[str]) -> str:
    """What may have been meant, as the end of a message."""
    near = difflib.get_close_matches(word.lower()[:80], known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def text_of(value: object, at: str) -> str:
    """The canonical text that an attribute is compared with. Raises InvalidFilter."""
    if not isinstance(value, str | int):
        raise fault(at, f"is a text, an integer or a boolean, not {_told(value)}")
    try:
        text = canonical(value)
    except ValueError:  # an integer of thousands of digits
        text = " " * (MOST_CHARACTERS + 1)
    if not text:
        raise fault(at, "is not empty")
    if len(text) > MOST_CHARACTERS:
        raise fault(at, f"has more than {MOST_CHARACTERS} characters")
    return text


def _told(value: object) -> str:
    return f"the number {value}" if isinstance(value, float) else kind_of(value)
