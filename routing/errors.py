"""What can be wrong with an expression, a filter, a transform or a route, and where."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal[
    "parse", "math", "cast", "missingAttribute", "missingFunction", "functionEvaluation", "generic"
]
"""Kinds of error (CESQL v1, 3.3)."""

#: Characters of the text that `caret` shows on each side of the place.
_AROUND: Final = 60


class RoutingError(Exception):
    """An error with its place: `position` counts characters of the text from 0, None is "nowhere in it"."""

    def __init__(self, message: str, *, kind: Kind = "generic", position: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind: Kind = kind
        self.position = position

    def caret(self, text: str) -> str:
        """The line of `text` that the error is in, cut to what is near, and under it a caret; "" without a place."""
        if self.position is None:
            return ""
        place = min(self.position, len(text))
        start = max(text.rfind("\n", 0, place) + 1, place - _AROUND)
        end = text.find("\n", place)
        shown = text[start : min(len(text) if end < 0 else end, place + _AROUND)]
        # A tab is as wide as the terminal likes: one space keeps the caret under its character.
        return f"{shown.translate(_BLANKS)}\n{' ' * (place - start)}^"


_BLANKS: Final = dict.fromkeys([*range(32), 127], " ")


class Invalid(RoutingError):
    """Refused when it was made; `where` is the path within the object, such as `filters[1].expr`."""

    def __init__(self, message: str, *, kind: Kind = "parse", position: int | None = None, where: str = "") -> None:
        super().__init__(message, kind=kind, position=position)
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class InvalidFilter(Invalid):
    """A filter, or an expression of one, cannot be used."""


class InvalidTransform(Invalid):
    """A transform cannot be used."""


class InvalidRoute(Invalid):
    """A route or workflow cannot be used."""
