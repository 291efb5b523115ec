"""Learned decoders for structured CloudEvents: the fast half of `gateway.formats`.

Events of one producer look alike. A *shape* is the set of members of an event with the JSON
type of each; for a shape that comes again a Struct is generated in which every member is
required and no other is allowed. What such a Struct decodes is then vetted column by column,
since most rules hold for a whole batch at once. Nothing here reports faults: whatever is not
plainly legal returns None, and the exact path in `gateway.formats` decides and explains.
What is accepted here, the exact path accepts with the same result (a property test holds this).

Two rules need their reasons:
- Duplicate member names. A JSON decoder keeps the last of two and says nothing. A body that is
  no longer than its events need has no room for one; otherwise, outside of `data` and without
  backslashes, every quotation mark delimits a name or a string, so their number is known.
- Control characters. Raw ones below 0x20 are refused by the decoder; the others are DEL, an
  escape (a backslash) or not ASCII.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable, Sequence
from datetime import datetime
from keyword import iskeyword
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from gateway.columns import Column, Columns
from gateway.event import Event
from routing.attributes import MAX_ATTRIBUTE_BYTES, STRING_ILLEGAL, attribute_fault

MEMBER = {"data": msgspec.Raw, "data_base64": str, "specversion": Literal["1.0"]}
INT32: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_KINDS: dict[type, Any] = {str: str, bool: bool, int: INT32}
_NAME = re.compile(r"[a-z][a-z0-9]{0,63}\Z")
_MAX_SHAPES = 16
#: A shape has at most so many members.
MAX_MEMBERS = 64
# A decoder costs half a millisecond to make and drives out another: only few are made for one
# body, of shapes that came before.
_LEARNED_PER_BODY = 2
_MAX_CANDIDATES = 1024
#: So many characters can never exceed MAX_ATTRIBUTE_BYTES.
SAFE_LENGTH = MAX_ATTRIBUTE_BYTES // 4
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
        kinds = dict(members)
        fields = [(name, MEMBER.get(name) or _KINDS[kind]) for name, kind in members]
        struct = msgspec.defstruct("Structured", fields, forbid_unknown_fields=True, gc=False)
        self.decode_one = msgspec.json.Decoder(struct).decode
        self.decode_many = msgspec.json.Decoder(list[struct]).decode  # type: ignore[valid-type]
        #: Quotation marks of one event outside of `data`.
        self.quotes = 2 * len(kinds) + 2 * sum(kind is str for kind in kinds.values())
        #: Bytes of one event in compact JSON beside its strings and data; None when numbers vary it.
        self.frame: int | None = None
        if set(kinds.values()) <= {str, object}:
            self.frame = self.quotes + sum(map(len, kinds)) + 2 * len(kinds) + len("{}1.0") - 1
        self.implied_json = "data" in kinds and "datacontenttype" not in kinds
        self.dicts = _compile_dicts(
            [name for name in kinds if name not in ("data", "data_base64", "specversion")],
            implied_json=self.implied_json,
        )
        self.strings = [name for name, kind in members if kind is str and name != "specversion"]
        #: Attributes that are booleans or integers.
        self.others = [(name, _column(name)) for name, kind in members if kind in (bool, int)]
        self.columns = [_column(name) for name in self.strings]
        self.checks = [_check_of(name) for name in self.strings]
        self.datas = _column("data") if "data" in kinds else None
        self.base64s = _column("data_base64") if "data_base64" in kinds else None
        self.types = _column("datacontenttype") if "datacontenttype" in kinds else None

    def event(self, row: Any, body: bytes) -> Event | None:
        """The event of one decoded row, or None: what `events` does, without columns."""
        raw = bytes(row.data) if self.datas else b""
        if not self._counts(body, raw, 1) or not (body.isascii() or _is_text(body)):
            return None
        attributes = self.dicts((row,))[0]
        for name in self.strings:
            value = attributes.get(name)
            if value is None or value in _remembered.get(name, ()):
                continue  # None: data_base64
            if not (_remember(name, {value}) if name in _remembered else attribute_fault(name, value) is None):
                return None
        try:
            if self.base64s:
                return Event(attributes, a2b_base64(row.data_base64, strict_mode=True))
            return Event(attributes, data_of(raw, attributes["datacontenttype"]) if self.datas else None)
        except (ValueError, msgspec.DecodeError):
            return None

    def events(self, rows: Sequence[Any], body: bytes) -> Columns | None:
        """The events of decoded rows, or None when the exact path has to look at them.

        `body` is what the rows were decoded from, separators included.
        """
        columns = [column(rows) for column in self.columns]
        texts = [_JOINT.join(column) for column in columns]
        raws = self.datas(rows) if self.datas else []
        data = b"".join(raws)
        if not (self._compact(body, data, texts, len(rows)) or self._counts(body, data, len(rows))):
            return None
        if (not body.isascii() and not _is_text(body)) or (
            (b"\x7f" in body or not body.isascii()) and any(map(_is_illegal, texts))
        ):
            return None
        for check, column, text in zip(self.checks, columns, texts, strict=True):
            if not check(column, text):
                return None
        values: dict[str, Column] = {"specversion": "1.0"}
        values.update(
            (name, column) for name, column in zip(self.strings, columns, strict=True) if name != "data_base64"
        )
        values.update((name, column(rows)) for name, column in self.others)
        if self.implied_json:
            # Spec 1.0.2, 3.1: set explicitly when an event leaves the JSON format without it.
            values["datacontenttype"] = "application/json"
        try:
            return Columns(values, self._payloads(rows, raws), len(rows))
        except (ValueError, msgspec.DecodeError):
            return None

    def _payloads(self, rows: Sequence[Any], raws: Sequence[Any]) -> list[bytes | None] | None:
        if self.base64s:
            return [a2b_base64(text, strict_mode=True) for text in self.base64s(rows)]
        if not raws:
            return None
        datas: list[bytes | None] = list(map(bytes, raws))
        if self.types and not all(map(is_json, set(self.types(rows)))):
            return list(map(data_of, datas, self.types(rows)))  # type: ignore[arg-type]
        return datas

    def _compact(self, body: bytes, data: bytes, texts: list[str], count: int) -> bool:
        """Whether the body has not one byte more than these events need.

        Then there is no room for a second member of a name, nor for an escape.
        """
        if self.frame is None:
            return False
        strings = sum(map(len, texts)) - len(_JOINT) * (count - 1) * len(texts)
        return len(body) == len("[]") + count * (self.frame + 1) - 1 + strings + len(data)

    def _counts(self, body: bytes, data: bytes, count: int) -> bool:
        """Whether there are no escapes outside of data and just the quotation marks expected."""
        if b"\\" in body and body.count(b"\\") != data.count(b"\\"):
            return False
        return body.count(b'"') - data.count(b'"') == count * self.quotes


class Shapes:
    """The shapes seen, most recently used first; bounded, so that nobody can grow it."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[tuple[str, type], ...], Shape] = {}
        self._order: list[Shape] = []
        self._candidates: set[int] = set()
        self._allowance = _LEARNED_PER_BODY

    def batch(self, body: bytes) -> Sequence[Event] | None:
        """All events of a JSON array, or None."""
        for place, shape in enumerate(self._order):
            try:
                rows = shape.decode_many(body)
            except _DECODE_ERRORS:
                continue
            self._used(place)
            return shape.events(rows, body) if rows else []
        return None

    def one(self, body: bytes) -> Event | None:
        """The event of a JSON object, or None."""
        for place, shape in enumerate(self._order):
            try:
                row = shape.decode_one(body)
            except _DECODE_ERRORS:
                continue
            self._used(place)
            return shape.event(row, body)
        return None

    def replenish(self) -> None:
        """Another body begins: some shapes may be learned from it."""
        self._allowance = _LEARNED_PER_BODY

    def learn(self, members: dict[str, type]) -> None:
        """Prepare for events with these members (Python types by name), if they came before."""
        if not self._allowance:
            return
        key = tuple(members.items())  # in their order: the decoder is faster for members in order
        if key in self._shapes or not self._came_before(hash(key)) or not all(map(_can_be_a_field, members)):
            return
        self._allowance -= 1
        if len(self._shapes) >= _MAX_SHAPES:
            coldest = self._order.pop()
            self._shapes = {known: shape for known, shape in self._shapes.items() if shape is not coldest}
        shape = self._shapes[key] = Shape(key)
        self._order.insert(0, shape)

    def _used(self, place: int) -> None:
        if place:
            self._order.insert(0, self._order.pop(place))

    def _came_before(self, shape: int) -> bool:
        """Whether it did, by its hash: a mistake makes one decoder too many."""
        if shape in self._candidates:
            self._candidates.discard(shape)
            return True
        if len(self._candidates) >= _MAX_CANDIDATES:
            self._candidates.clear()
        self._candidates.add(shape)
        return False


def _can_be_a_field(name: str) -> bool:
    return name == "data_base64" or (_NAME.match(name) is not None and not iskeyword(name))


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_illegal(text: str) -> bool:
    # isprintable() is quick and sufficient: what it refuses is looked at again.
    return not text.isprintable() and STRING_ILLEGAL.search(text) is not None


_JOINT = '","'
_remembered: dict[str, set[str]] = {name: set() for name in _REMEMBERED}
_Check = Callable[[list[str], str], bool]


def _check_of(name: str) -> _Check:
    """The rule for a column of this name, as a function of (values, values joined by _JOINT)."""
    if name in _TIMES:
        return _are_times
    if name == "data_base64":
        return lambda values, text: True
    if name == "id":
        return lambda values, text: all(values) and _are_short(values, text)
    if name not in _remembered:
        return _are_short
    known = _remembered[name]
    return lambda values, text: known.issuperset(values) or _remember(name, set(values) - known)


def _remember(name: str, fresh: set[str]) -> bool:
    """Whether all fresh values are legal; legal ones are remembered, up to a bound."""
    if any(attribute_fault(name, value) for value in fresh):
        return False
    known = _remembered[name]
    if len(known) + len(fresh) > _MAX_REMEMBERED:
        known.clear()
    if len(fresh) <= _MAX_REMEMBERED:
        known.update(value for value in fresh if len(value) <= _MAX_REMEMBERED_LENGTH)
    return True


def _are_short(values: list[str], text: str) -> bool:
    return len(text) <= SAFE_LENGTH or max(map(len, values)) <= SAFE_LENGTH


def _are_times(values: list[str], text: str) -> bool:
    """Whether all are RFC 3339 times; cheap for times in UTC, as one JSON array."""
    # The decoder also takes a blank for the T and "+0100".
    if " " not in text and text.count('Z"') == len(values) - 1 and text[-1:] == "Z":
        try:
            _times.decode(f'["{text}"]')
        except _DECODE_ERRORS:
            return False
        return _are_short(values, text)
    return not any(attribute_fault("time", value) for value in values)


def _column(name: str) -> Callable[[Sequence[Any]], list[Any]]:
    """A function rows -> list of one member; generated, since getattr by name costs twice."""
    return eval(f"lambda rows: [row.{name} for row in rows]", {})  # type: ignore[no-any-return]


def _compile_dicts(names: list[str], *, implied_json: bool) -> Callable[[Sequence[Any]], list[dict[str, Any]]]:
    """A function rows -> list of attribute dicts; the names were matched against _NAME."""
    entries = ["'specversion': '1.0'", *(f"'{name}': row.{name}" for name in names)]
    if implied_json:
        # Spec 1.0.2, 3.1: set explicitly when an event leaves the JSON format without it.
        entries.append("'datacontenttype': 'application/json'")
    return eval(f"lambda rows: [{{{', '.join(entries)}}} for row in rows]", {})  # type: ignore[no-any-return]
