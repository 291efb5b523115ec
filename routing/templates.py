"""Texts with places for what an event has: `alerts/{symbol}/{data.side:-none}`. Pure.

A template is checked when it is made, and filled for a whole batch at once. What enters the name of
a topic or a subject is held to be one segment: with a `/` or a wildcard in it an event could choose
an address that nobody meant. The one exception is `{subject}`, the subject as it is, within a subject.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from routing.attributes import canonical
from routing.batch import MISSING, Batch
from routing.errors import InvalidRoute
from routing.shape import Path

Use: TypeAlias = Literal["topic", "subject", "text"]
"""What a template becomes: the name of a topic, a subject, or the value of an attribute."""

MAX_TEMPLATE: Final = 1024
MAX_FIELDS: Final = 16

_NAME = re.compile(r"[a-z0-9]{1,64}\Z")
_STEP = re.compile(r"\.([A-Za-z0-9_$@-]+)|\[(\d{1,6})\]|\['([^'\\{}]+)'\]")
_SEGMENT = re.compile(r"subject\[(-?\d{1,3})\]\Z")
_ILLEGAL: Final[dict[Use, re.Pattern[str] | None]] = {
    "topic": re.compile(r"[^A-Za-z0-9._-]"),
    "subject": re.compile(r"[/+#*\x00-\x1f\x7f-\x9f\ud800-\udfff]"),
    "text": None,
}
_WHOLE: Final = re.compile(r"[+#*\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_RULES: Final[dict[Use, str]] = {
    "topic": "the name of a topic has only A-Z a-z 0-9 . _ -",
    "subject": "what enters a subject has no / + # * and no control characters",
    "text": "",
}


class Unfilled(msgspec.Struct, frozen=True):
    """Why a template has no text for an event."""

    reason: str


Filled: TypeAlias = str | Unfilled


class Field(msgspec.Struct, frozen=True):
    """One place: `kind` says where its value is, `name`, `index` or `path` which it is."""

    text: str
    kind: Literal["attribute", "segment", "topic", "data"]
    name: str = ""
    index: int = 0
    path: Path = ()
    default: str | None = None

    def values(self, batch: Batch, topic: str, places: Sequence[int]) -> Sequence[str | Unfilled | None]:
        """The value at each place, None where there is none."""
        if self.kind == "topic":
            return [topic] * len(places)
        if self.kind == "data":
            return [self._scalar(value) for value in batch.values(self.path, places)]
        column = batch.text("subject" if self.kind == "segment" else self.name)
        if self.kind == "segment":
            return [_segment(column[place], self.index) for place in places]
        if self.name == "symbol":
            # As everywhere: the last segment of the subject where an event does not say its symbol.
            subjects = batch.text("subject")
            return [_segment(subjects[at], -1) if column[at] is None else column[at] for at in places]
        return [column[place] for place in places]

    def _scalar(self, value: object) -> str | Unfilled | None:
        if type(value) is str:
            return value
        if value is MISSING or value is None:
            return None
        if isinstance(value, bool | int):
            return (
                canonical(value) if type(value) is bool or abs(value) < 10**30 else Unfilled(f"{self.text} is too long")
            )
        if isinstance(value, dict | list):
            return Unfilled(f"{self.text} is {'an object' if isinstance(value, dict) else 'an array'}, not a value")
        return str(value)


def _segment(subject: str | None, index: int) -> str | None:
    segments = [] if subject is None else subject.split("/")
    return segments[index] if -len(segments) <= index < len(segments) else None


class Template:
    """`parts` are literal texts and fields in their order. `literal`: the text when there are no fields."""

    __slots__ = ("attributes", "literal", "parts", "paths", "text", "use")

    def __init__(self, text: str, use: Use, parts: Sequence[str | Field]) -> None:
        self.text, self.use, self.parts = text, use, tuple(parts)
        fields = [part for part in parts if isinstance(part, Field)]
        self.literal = None if fields else "".join(part for part in parts if isinstance(part, str))
        self.paths = frozenset(field.path for field in fields if field.kind == "data")
        self.attributes = frozenset(field.name for field in fields if field.kind == "attribute")

    def fill(self, batch: Batch, topic: str, places: Sequence[int]) -> Sequence[Filled]:
        """The text for the event at each place."""
        if self.literal is not None:
            return [self.literal] * len(places)
        if len(self.parts) == 1:
            (part,) = self.parts
            assert isinstance(part, Field)
            return self._checked(part, part.values(batch, topic, places))
        columns: list[Sequence[Filled]] = [
            self._checked(part, part.values(batch, topic, places)) if isinstance(part, Field) else [part] * len(places)
            for part in self.parts
        ]
        return [_joined(row) for row in zip(*columns, strict=True)]

    def _checked(self, field: Field, values: Sequence[str | Unfilled | None]) -> list[Filled]:
        return [self._one(field, value) for value in values]

    def _one(self, field: Field, value: str | Unfilled | None) -> Filled:
        if value is None or value == "":
            if field.default is None:
                return Unfilled(f"{field.text} is {'not there' if value is None else 'empty'}")
            return field.default
        if isinstance(value, Unfilled):
            return value
        fault = value_fault(self.use, field, value)
        return value if fault is None else Unfilled(fault)


def _joined(row: Sequence[Filled]) -> Filled:
    for part in row:
        if isinstance(part, Unfilled):
            return part
    return "".join(row)  # type: ignore[arg-type]  # all are texts


def value_fault(use: Use, field: Field, value: str) -> str | None:
    """What is wrong with a value that is to enter a template."""
    whole = use == "subject" and field.kind == "attribute" and field.name == "subject"
    illegal = _WHOLE if whole else _ILLEGAL[use]
    if illegal is None or illegal.search(value) is None:
        return None
    return f"{field.text} is {value[:60]!r}: {_RULES[use]}"


def parse_template(text: str, use: Use, where: str = "") -> Template:
    """Read a template; `{{` and `}}` are braces. Raises InvalidRoute with the place."""
    if len(text) > MAX_TEMPLATE:
        raise InvalidRoute(f"has {len(text)} characters, at most {MAX_TEMPLATE} are taken", where=where)
    parts: list[str | Field] = []
    literal, at = "", 0
    while at < len(text):
        here = text[at]
        if here in "{}" and text[at : at + 2] == here * 2:
            literal, at = literal + here, at + 2
        elif here == "{":
            end = text.find("}", at)
            if end < 0:
                raise InvalidRoute("a '{' that no '}' closes; write '{{' for the character", position=at, where=where)
            parts += ([literal] if literal else []) + [_field(text[at + 1 : end], at + 1, use, where)]
            literal, at = "", end + 1
        elif here == "}":
            raise InvalidRoute("a '}' that no '{' opens; write '}}' for the character", position=at, where=where)
        else:
            literal, at = literal + here, at + 1
    if literal or not parts:
        parts.append(literal)
    if sum(isinstance(part, Field) for part in parts) > MAX_FIELDS:
        raise InvalidRoute(f"has more than {MAX_FIELDS} fields", where=where)
    return Template(text, use, parts)


def split_address(text: str) -> tuple[str, str | None]:
    """The topic and the subject of an address template: the first slash outside braces parts them."""
    depth = 0
    for at, character in enumerate(text):
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
        elif character == "/" and depth <= 0:
            return text[:at], text[at + 1 :]
    return text, None


def _field(text: str, position: int, use: Use, where: str) -> Field:
    name, mark, rest = text.partition(":-")
    default = rest if mark else None
    field = _source(name, f"{{{name}}}", default, position, where)
    if default is not None and default != "":
        fault = value_fault(use, field, default)
        if fault:
            raise InvalidRoute(f"the default of {fault}", position=position + len(name) + 2, where=where)
    elif default == "" and use == "topic":
        raise InvalidRoute("the default of a topic's name is not empty", position=position, where=where)
    return field


def _source(name: str, shown: str, default: str | None, position: int, where: str) -> Field:
    if name == "topic":
        return Field(shown, "topic", default=default)
    segment = _SEGMENT.match(name)
    if segment is not None:
        return Field(shown, "segment", index=int(segment[1]), default=default)
    if name[:5] in ("data.", "data["):
        return Field(shown, "data", path=_path(name, position, where), default=default)
    if name == "data" or not _NAME.match(name):
        expected = "an attribute, subject[0], topic, or a path such as data.price or data.tags[0]"
        raise InvalidRoute(f"{name[:60]!r} is not a field: expected {expected}", position=position, where=where)
    return Field(shown, "attribute", name=name, default=default)


def _path(name: str, position: int, where: str) -> Path:
    path: list[str | int] = []
    at = len("data")
    while at < len(name):
        step = _STEP.match(name, at)
        if step is None:
            expected = ".name, [0] or ['any name']"
            raise InvalidRoute(f"expected {expected} in a path", position=position + at, where=where)
        path.append(int(step[2]) if step[2] is not None else step[1] or step[3])
        at = step.end()
    return tuple(path)
