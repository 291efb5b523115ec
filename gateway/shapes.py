"""Learned decoders for structured CloudEvents: the fast half of `gateway.formats`.

Events of one producer look alike. A *shape* is the set of members of an event with the JSON
type of each; for a shape that was seen before a Struct is generated in which every member is
required and no other is allowed. What such a Struct decodes is then vetted column by column,
since most rules hold for a whole batch at once. Nothing here reports faults: whatever is not
plainly legal returns None, and the exact path in `gateway.formats` decides and explains.
What is accepted here, the exact path accepts with the same result (a property test holds this).

Two rules need their reasons:
- Duplicate member names. A JSON decoder keeps the last of two and says nothing. Outside of
  `data` and without backslashes every quotation mark delimits a name or a string, so their
  number is known from the shape; a duplicate adds at least two.
- Control characters. Raw ones below 0x20 are refused by the decoder; the others are DEL, an
  escape (a backslash) or not ASCII.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Sequence
from datetime import datetime
from keyword import iskeyword
from typing import Annotated, Any, Literal

import msgspec

from gateway.event import MAX_ATTRIBUTE_BYTES, STRING_ILLEGAL, Event, attribute_fault

MEMBER = {"data": msgspec.Raw, "data_base64": str, "specversion": Literal["1.0"]}
_KINDS: dict[type, Any] = {str: str, bool: bool, int: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]}
_NAME = re.compile(r"[a-z][a-z0-9]{0,63}\Z")
_MAX_SHAPES = 16
#: So many characters can never exceed MAX_ATTRIBUTE_BYTES.
_SAFE_LENGTH = MAX_ATTRIBUTE_BYTES // 4
#: Attributes with few distinct values: each legal value is remembered.
_REMEMBERED = ("source", "type", "subject", "datacontenttype", "dataschema")
_TIMES = ("time", "expirytime")
_MAX_REMEMBERED = 4096
_MAX_REMEMBERED_LENGTH = 256

_DECODE_ERRORS = (msgspec.DecodeError, UnicodeError, RecursionError)
_times = msgspec.json.Decoder(list[Annotated[datetime, msgspec.Meta(tz=True)]])
_string = msgspec.json.Decoder(str)

_JSON_TYPE = re.compile(r"(?:application|text)/json\Z|[^/]+/[^/;]+\+json\Z")
_json_types: dict[str | None, bool] = {None: True}


def is_json(content_type: str | None) -> bool:
    """Whether a media type declares JSON; no media type implies it (JSON format 1.0.2, 3.1)."""
    known = _json_types.get(content_type)
    if known is None:
        essence = (content_type or "").partition(";")[0].strip().lower()
        known = bool(_JSON_TYPE.match(essence))
        if len(_json_types) < 1000:
            _json_types[content_type] = known
    return known


def data_of(raw: bytes, content_type: str | None) -> bytes | None:
    """The payload of a `data` member: untouched when it is JSON, else the text of the string.

    A value that is no string under another content type stays JSON; null is then no data.
    Raises msgspec.DecodeError for a string with a lone surrogate.
    """
    if is_json(content_type):
        return raw
    if raw[:1] == b'"':
        return _string.decode(raw).encode()
    return None if raw == b"null" else raw


class Shape:
    """A generated decoder for events with exactly these members."""

    def __init__(self, members: tuple[tuple[str, type], ...]) -> None:
        names = [name for name, _ in members]
        fields = [(name, MEMBER.get(name) or _KINDS[kind]) for name, kind in members]
        struct = msgspec.defstruct("Structured", fields, forbid_unknown_fields=True, gc=False)
        self.decode_one = msgspec.json.Decoder(struct).decode
        self.decode_many = msgspec.json.Decoder(list[struct]).decode  # type: ignore[valid-type]
        self.has_data = "data" in names
        self.has_base64 = "data_base64" in names
        self.has_type = "datacontenttype" in names
        #: Quotation marks of one event outside of `data`.
        self.quotes = 2 * len(names) + 2 * sum(kind is str for _, kind in members)
        attributes = [name for name in names if name not in ("data", "data_base64")]
        self.dicts = _compile_dicts(attributes, implied_json=self.has_data and not self.has_type)
        strings = [name for name, kind in members if kind is str and name not in ("data_base64", "specversion")]
        self.strings = [_column(name) for name in strings]
        self.remembered = [(name, _column(name), _remembered[name]) for name in _REMEMBERED if name in strings]
        self.times = [_column(name) for name in _TIMES if name in strings]
        self.plain = [_column(name) for name in strings if name not in _REMEMBERED and name not in _TIMES]
        self.ids = _column("id")
        self.datas = _column("data")
        self.base64s = _column("data_base64")
        self.types = _column("datacontenttype")

    def events(self, rows: Sequence[Any], body: bytes) -> list[Event] | None:
        """The events of decoded rows, or None when the exact path has to look at them.

        `body` is what the rows were decoded from, separators included.
        """
        raws = self.datas(rows) if self.has_data else []
        if not (self._envelope(rows, body, raws) and self._values(rows)):
            return None
        datas: list[bytes] | list[bytes | None]
        if self.has_base64:
            try:
                datas = [a2b_base64(text, strict_mode=True) for text in self.base64s(rows)]
            except (Base64Error, ValueError):
                return None
        elif not raws:
            return list(map(Event, self.dicts(rows)))
        else:
            datas = list(map(bytes, raws))
            if self.has_type and not all(map(is_json, set(self.types(rows)))):
                try:
                    datas = list(map(data_of, datas, self.types(rows)))
                except msgspec.DecodeError:
                    return None
        return list(map(Event, self.dicts(rows), datas))

    def _envelope(self, rows: Sequence[Any], body: bytes, raws: list[msgspec.Raw]) -> bool:
        """UTF-8, and all that is decided by counting characters outside of `data`."""
        data = b"".join(raws)
        if b"\\" in body and body.count(b"\\") != data.count(b"\\"):
            return False
        if body.count(b'"') - data.count(b'"') != len(rows) * self.quotes:
            return False
        if body.isascii():
            return b"\x7f" not in body or not self._has_illegal(rows)
        try:
            body.decode()
        except UnicodeDecodeError:
            return False
        return not self._has_illegal(rows)

    def _has_illegal(self, rows: Sequence[Any]) -> bool:
        text = "".join(["".join(column(rows)) for column in self.strings])
        # isprintable() is a quick and sufficient condition: what it refuses is looked at again.
        return not text.isprintable() and STRING_ILLEGAL.search(text) is not None

    def _values(self, rows: Sequence[Any]) -> bool:
        """The rules of single attributes, column by column."""
        for name, column, known in self.remembered:
            fresh = set(column(rows)) - known
            if fresh and not _remember(name, fresh, known):
                return False
        for column in self.plain:
            if max(map(len, column(rows))) > _SAFE_LENGTH:
                return False
        return all(self.ids(rows)) and all(_times_hold(column(rows)) for column in self.times)


class Shapes:
    """The shapes seen, most recently used first; bounded, so that nobody can grow it."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[tuple[str, type], ...], Shape] = {}
        self._order: list[Shape] = []

    def batch(self, body: bytes) -> list[Event] | None:
        """All events of a JSON array, or None."""
        for place, shape in enumerate(self._order):
            try:
                rows = shape.decode_many(body)
            except _DECODE_ERRORS:
                continue
            if place:
                self._order.insert(0, self._order.pop(place))
            return shape.events(rows, body) if rows else []
        return None

    def one(self, body: bytes) -> Event | None:
        """The event of a JSON object, or None."""
        for shape in self._order:
            try:
                row = shape.decode_one(body)
            except _DECODE_ERRORS:
                continue
            events = shape.events([row], body)
            return events[0] if events else None
        return None

    def learn(self, members: dict[str, type]) -> None:
        """Prepare for events with these members (names in any order, Python types)."""
        key = tuple(sorted(members.items(), key=lambda item: item[0]))
        if key in self._shapes or not all(map(_can_be_a_field, members)):
            return
        if len(self._shapes) >= _MAX_SHAPES:
            coldest = self._order.pop()
            self._shapes = {known: shape for known, shape in self._shapes.items() if shape is not coldest}
        shape = self._shapes[key] = Shape(key)
        self._order.insert(0, shape)


def _can_be_a_field(name: str) -> bool:
    return name == "data_base64" or (_NAME.match(name) is not None and not iskeyword(name))


_remembered: dict[str, set[str]] = {name: set() for name in _REMEMBERED}


def _remember(name: str, fresh: set[str], known: set[str]) -> bool:
    """Whether all fresh values are legal; legal ones are remembered, up to a bound."""
    if any(attribute_fault(name, value) for value in fresh):
        return False
    if len(known) + len(fresh) > _MAX_REMEMBERED:
        known.clear()
    if len(fresh) <= _MAX_REMEMBERED:
        known.update(value for value in fresh if len(value) <= _MAX_REMEMBERED_LENGTH)
    return True


def _times_hold(values: list[str]) -> bool:
    """Whether all are RFC 3339 times; cheap for times in UTC, as one JSON array."""
    text = '","'.join(values)
    # The decoder also takes a blank for the T and "+0100".
    if " " not in text and text.count('Z"') == len(values) - 1 and text[-1:] == "Z" and len(text) < _SAFE_LENGTH:
        try:
            _times.decode(f'["{text}"]')
        except _DECODE_ERRORS:
            return False
        return True
    return not any(attribute_fault("time", value) for value in values)


def _column(name: str) -> Callable[[Sequence[Any]], list[Any]]:
    """A function rows -> list of one member; generated, since getattr by name costs twice."""
    return eval(f"lambda rows: [row.{name} for row in rows]", {})  # type: ignore[no-any-return]  # noqa: S307


def _compile_dicts(names: list[str], *, implied_json: bool) -> Callable[[Sequence[Any]], list[dict[str, Any]]]:
    """A function rows -> list of attribute dicts; the names were matched against _NAME."""
    entries = [f"'{name}': row.{name}" for name in names]
    if implied_json:
        # Spec 1.0.2, 3.1: set explicitly when an event leaves the JSON format without it.
        entries.append("'datacontenttype': 'application/json'")
    return eval(f"lambda rows: [{{{', '.join(entries)}}} for row in rows]", {})  # type: ignore[no-any-return]  # noqa: S307
