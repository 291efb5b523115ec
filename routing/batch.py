"""Events under evaluation as columns, with all that was decoded of them. Pure.

All filters over a batch share it: an attribute is looked up and a payload decoded at most once
for each event, and of a JSON payload only the fields that any of the filters needs. Nothing here
raises on what an event holds: a payload that cannot be decoded has no fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any, Final, Protocol, TypeAlias, cast

import msgspec

from routing.attributes import Value, canonical
from routing.formats import decode_cbor, decode_json, decode_msgpack, format_of
from routing.shape import MISSING, Path, Plan, plan_of, walk

__all__ = ["MISSING", "Batch", "Decode", "EventLike", "Path", "Paths", "Plain", "Value", "walk"]


class EventLike(Protocol):
    """What is asked of an event. One with `raw` and `value` as the gateway's is read quicker."""

    @property
    def attributes(self) -> dict[str, Value]: ...
    @property
    def data(self) -> bytes | None: ...


Decode: TypeAlias = Callable[[EventLike], object]
"""Decodes the payload of an event whose content type tells of no format known here, by what its
topic declares. MISSING is "no such payload", any exception "cannot be decoded"."""


class Plain(msgspec.Struct, frozen=True):
    """An event made of its attributes and data, for those who have no other."""

    attributes: dict[str, Value]
    data: bytes | None = None


class Paths:
    """The payload paths that a changing set of filters needs: what is added twice is removed twice."""

    __slots__ = ("_counts", "_plan")

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._counts: Counter[Path] = Counter(paths)
        self._plan: Plan | None = None

    def add(self, paths: Iterable[Path]) -> None:
        for path in paths:
            if path not in self._counts:
                self._plan = None
            self._counts[path] += 1

    def remove(self, paths: Iterable[Path]) -> None:
        """Raises KeyError for a path that is not there."""
        for path in paths:
            if path not in self._counts:
                raise KeyError(path)
            self._counts[path] -= 1
            if not self._counts[path]:
                del self._counts[path]
                self._plan = None

    def __contains__(self, path: Path) -> bool:
        return path in self._counts

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def plan(self) -> Plan:
        """How to decode what is needed now. Made when it is first asked for after a change."""
        if self._plan is None:
            self._plan = plan_of(frozenset(self._counts))
        return self._plan


_NO_PATHS: Final = Paths()
_UNKNOWN: Final = object()
_TEXT: Final = {str, type(None)}
_attributes_of = attrgetter("attributes")
_raw_of = attrgetter("raw")


class Batch:
    """The events, in their order, as columns. All columns are shared: nobody changes them.

    Without `paths`, or for a path that is not in them, payloads are decoded as a whole.
    """

    __slots__ = (
        "_columns",
        "_datas",
        "_decode",
        "_fields",
        "_groups",
        "_paths",
        "_payloads",
        "_plan",
        "_records",
        "_rows",
        "_texts",
        "events",
        "undecodable",
    )

    def __init__(self, events: Sequence[EventLike], paths: Paths | None = None, decode: Decode | None = None) -> None:
        self.events = events
        #: How many payloads could not be decoded, of those that were tried so far.
        self.undecodable = 0
        self._paths, self._decode = paths or _NO_PATHS, decode
        self._plan: Plan | None = None
        self._rows: Sequence[dict[str, Value]] | None = None
        self._columns: dict[str, list[Value | None]] = {}
        self._texts: dict[str, list[str | None]] = {}
        self._groups: dict[str, dict[str, list[int]] | None] = {}
        self._datas: Sequence[bytes | None] | None = None
        self._records: list[Any] | None = None
        self._payloads: list[object] | None = None
        self._fields: dict[Path, list[object]] = {}

    def __len__(self) -> int:
        return len(self.events)

    # Attributes

    @property
    def decode(self) -> Decode | None:
        """How payloads of formats unknown here are decoded."""
        return self._decode

    @property
    def rows(self) -> Sequence[dict[str, Value]]:
        """The attributes of each event."""
        if self._rows is None:
            self._rows = _rows(self.events)
        return self._rows

    def attribute(self, name: str) -> list[Value | None]:
        """The attribute of each event; None where there is none."""
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = self._column(name)
        return column

    def _column(self, name: str) -> list[Value | None]:
        rows = self._rows
        try:
            if rows is not None:
                return list(map(itemgetter(name), rows))
            # What has the name as a key is no list of headers: that it was read proves the rows.
            raws = list(map(_raw_of, self.events))
            column: list[Value | None] = list(map(itemgetter(name), raws))
        except (AttributeError, KeyError, TypeError):
            return [row.get(name) for row in self.rows]
        self._rows = raws
        return column

    def text(self, name: str) -> list[str | None]:
        """As `attribute`, in the canonical strings of the values (CloudEvents 1.0.2, 2.4)."""
        column = self._texts.get(name)
        if column is None:
            values = self.attribute(name)
            if set(map(type, values)) <= _TEXT:
                column = cast("list[str | None]", values)
            else:
                column = [None if value is None else canonical(value) for value in values]
            self._texts[name] = column
        return column

    def equal(self, name: str, values: frozenset[str], *, words: bool = False) -> Sequence[int]:
        """The places, in order, of events whose attribute has one of the values as its text.

        `words`: none of the values is the text of an integer or a boolean. The second who asks
        for an attribute pays for an index over the batch, the others use it.
        """
        if name not in self._groups:
            self._groups[name] = None
            return _equal(self.attribute(name) if words else self.text(name), values)
        groups = self._groups[name]
        if groups is None:
            groups = self._groups[name] = {}
            for place, text in enumerate(self.text(name)):
                if text is not None:
                    groups.setdefault(text, []).append(place)
        if len(values) == 1:
            (value,) = values
            return groups.get(value, ())
        return sorted(chain.from_iterable(groups[value] for value in groups.keys() & values))

    # Payloads

    @property
    def datas(self) -> Sequence[bytes | None]:
        """The data of each event as it is."""
        if self._datas is None:
            _ = self.rows  # a structured event's value is its data only after that
            events = self.events
            try:
                self._datas = [event.value for event in events]  # type: ignore[attr-defined]
            except AttributeError:
                self._datas = [event.data for event in events]
        return self._datas

    def payload(self, place: int) -> object:
        """The decoded data of one event; MISSING where there is none, or it cannot be decoded."""
        payloads = self._payloads
        if payloads is None:
            payloads = self._payloads = [_UNKNOWN] * len(self.events)
        payload = payloads[place]
        if payload is _UNKNOWN:
            payload = payloads[place] = self._whole(place)
        return payload

    def field(self, path: Path) -> list[object]:
        """What is at a path of each payload; MISSING where there is nothing."""
        column = self._fields.get(path)
        if column is None:
            plan = self.plan
            if path in plan.steps:
                column = plan.column(path, self._decoded(None))
            else:
                column = [walk(self.payload(place), path) for place in range(len(self.events))]
            self._fields[path] = column
        return column

    def values(self, path: Path, places: Sequence[int]) -> list[object]:
        """As `field`, but of some events, in the order of the places; the others stay undecoded."""
        column = self._fields.get(path)
        if column is None and 2 * len(places) > len(self.events):
            column = self.field(path)
        if column is not None:
            return [column[place] for place in places]
        plan = self.plan
        if path in plan.steps:
            records = self._decoded(places)
            return plan.column(path, [records[place] for place in places])
        return [walk(self.payload(place), path) for place in places]

    @property
    def plan(self) -> Plan:
        """What is decoded of JSON payloads: fixed when the batch first needs it."""
        if self._plan is None:
            self._plan = self._paths.plan
        return self._plan

    def _decoded(self, places: Sequence[int] | None) -> list[Any]:
        """The records of the plan; those of `places` at least (None: all) are there."""
        records = self._records
        if records is None:
            if places is None and not self.plan.whole and self._all_json():
                records, bad = self.plan.decode(self.datas)
                self.undecodable += bad
                self._records = records
                return records
            records = self._records = [None] * len(self.events)
        for place in range(len(records)) if places is None else places:
            if records[place] is None:
                records[place] = self._record(place)
        return records

    def _all_json(self) -> bool:
        return all(self._format(kind) == "json" for kind in set(self.attribute("datacontenttype")))

    def _record(self, place: int) -> object:
        plan = self.plan
        if plan.whole or self._format(self.attribute("datacontenttype")[place]) != "json":
            return self.payload(place)
        (record,), bad = plan.decode((self.datas[place],))
        self.undecodable += bad
        return record

    def _format(self, kind: Value | None) -> str | None:
        # Data without a content type is JSON unless the topic says what else.
        if kind is None:
            return "json" if self._decode is None else None
        return format_of(str(kind))

    def _whole(self, place: int) -> object:
        data, content_type = self.datas[place], self.attribute("datacontenttype")[place]
        if data is None:
            return MISSING
        known = _DECODERS.get(self._format(content_type))
        try:
            if known is not None:
                return known(data)
            payload = MISSING if self._decode is None else self._decode(self.events[place])
            return decode_json(data) if payload is MISSING and content_type is None else payload
        except Exception:  # noqa: BLE001
            # What others sent, read by a decoder that others may have written: counted, and a MISSING.
            self.undecodable += 1
            return MISSING


def _equal(column: Sequence[Value | None], values: frozenset[str]) -> list[int]:
    if len(values) == 1:
        (value,) = values
        return [place for place, text in enumerate(column) if text == value]
    return [place for place, text in enumerate(column) if text in values]


def _rows(events: Sequence[EventLike]) -> Sequence[dict[str, Value]]:
    try:
        raws = list(map(_raw_of, events))
    except AttributeError:
        return list(map(_attributes_of, events))
    if set(map(type, raws)) <= {dict}:
        return cast("list[dict[str, Value]]", raws)
    return list(map(_attributes_of, events))


_DECODERS: Final[dict[str | None, Callable[[bytes], object]]] = {
    "json": decode_json,
    "msgpack": decode_msgpack,
    "cbor": decode_cbor,
}
