"""Events and payloads by their topic's schema: whether they are right, and how to read them."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

from gateway.columns import Columns
from gateway.errors import TooLarge, UnknownSchema
from gateway.event import Event
from gateway.schemas import Schemas
from gateway.validation import REASON, TopicSchema
from routing.attributes import Value
from routing.formats import decoder_for
from routing.schemas import Schema

#: What `dataschema` holds of events that were judged by a version of ours: this, name and version.
URN = "urn:linkspan:schema:"
#: Seconds that judging one publish may take.
JUDGE = 1.0

_URN = re.compile(rf"{URN}([A-Za-z0-9._-]+):([1-9][0-9]{{0,6}})\Z")


def judge(schemas: Schemas, setting: TopicSchema, events: Sequence[Event], *, tombstones: bool) -> dict[int, str]:
    """Why events are not what the schema says, by their place.

    An event whose `dataschema` names a version of the topic's schema is judged by that one. Right
    events of binary formats get it, since nobody can read them without. `tombstones`: events
    without data pass. Raises UnknownSchema, BusUnavailable, CorruptData and TooLarge.
    """
    number = schemas.number(setting.name, setting.version)
    schema = schemas.compiled(setting.name, number)
    columns = events if isinstance(events, Columns) and events.intact else None
    datas, types, names = _columns(columns) if columns is not None else _rows(events)
    until = time.monotonic() + JUDGE
    reasons: dict[int, str] = {}
    for place, (data, content_type, named) in enumerate(zip(datas, types, names, strict=True)):
        if data is None and tombstones:
            continue
        using = schema
        if named is not None and named.startswith(URN):
            other = _named(schemas, named, setting)
            if isinstance(other, str):
                reasons[place] = other
                continue
            using = other
        reason = using.validate(data, content_type)
        if reason is not None:
            reasons[place] = reason
        if time.monotonic() > until:
            raise TooLarge(f"checking {len(events)} events takes longer than {JUDGE:g} s; publish fewer at once")
    if schema.kind != "json":
        _name_schema(events, columns, reasons, f"{URN}{setting.name}:{number}")
    return reasons


def decode(schemas: Schemas, setting: TopicSchema | None, event: Event) -> object:
    """The payload of an event of a topic with this setting, as a plain object (None: the topic has none).

    An event whose `dataschema` names a version of ours is read by that one. Raises Undecodable;
    UnknownSchema, BusUnavailable, CorruptData.
    """
    attributes = event.attributes
    schema = None
    named = _URN.match(str(attributes.get("dataschema", "")))
    if named is not None:
        schema = schemas.compiled(named[1], int(named[2]))
    elif setting is not None:
        schema = schemas.compiled(setting.name, setting.version)
    content_type = attributes.get("datacontenttype")
    return decoder_for(None if content_type is None else str(content_type), schema)(event.data or b"")


def _named(schemas: Schemas, named: str, setting: TopicSchema) -> Schema | str:
    """The version that an event names, or why it may not."""
    found = _URN.match(named)
    if found is None or found[1] != setting.name:
        return f"names another schema than {setting.name}: {named[:80]}"
    if setting.version not in ("latest", int(found[2])):
        return f"names version {found[2]}, where the topic has version {setting.version}"
    try:
        return schemas.compiled(setting.name, int(found[2]))
    except UnknownSchema as error:
        return error.message


_Judged: TypeAlias = tuple[Sequence[bytes | None], Sequence[str | None], Sequence[str | None]]
"""Of each event its data, its content type and what its `dataschema` says."""


def _rows(events: Sequence[Event]) -> _Judged:
    attributes = [event.attributes for event in events]
    for one in attributes:
        one.pop(REASON, None)
    types = [one.get("datacontenttype") for one in attributes]
    return (
        [event.data for event in events],
        [_text(one) for one in types],
        [_text(one.get("dataschema")) for one in attributes],
    )


def _columns(columns: Columns) -> _Judged:
    columns.values.pop(REASON, None)
    none: list[Any] = [None] * len(columns)

    def column(name: str) -> Sequence[str | None]:
        values = columns.values.get(name)
        if values is None:
            return none
        return [values] * len(columns) if isinstance(values, str) else [_text(value) for value in values]

    return columns.datas or none, column("datacontenttype"), column("dataschema")


def _text(value: Value | None) -> str | None:
    return None if value is None else str(value)


def _name_schema(events: Sequence[Event], columns: Columns | None, reasons: dict[int, str], urn: str) -> None:
    if columns is not None and not reasons:
        columns.values.setdefault("dataschema", urn)
        return
    for place, event in enumerate(events):
        if place not in reasons:
            event.attributes.setdefault("dataschema", urn)
