"""Avro schemas taken apart: what they weigh, and plain objects fitted to them and back.

All of it works on what `fastavro.parse_schema` makes: named types have full names, and later
mentions of them are these names.
"""

from __future__ import annotations

from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from routing.schemas.schema import InvalidSchema

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED = ("record", "error", "enum", "fixed")
#: Parts that take no bytes: of a whole schema, and of one item of an array.
MAX_FREE = 10_000
MAX_FREE_ITEM = 64
#: Steps of fitting one object: unions within unions are tried one after the other.
MAX_STEPS = 1_000_000

Names = dict[str, Any]
_RANGES = {"int": range(-(2**31), 2**31), "long": range(-(2**63), 2**63)}
_ENDLESS = 2**62


def kind_of(schema: Any) -> str:
    """`union`, a primitive, a complex type, or the name of a named type."""
    if isinstance(schema, list):
        return "union"
    return str(schema if isinstance(schema, str) else schema["type"])


def children(schema: Any) -> Iterator[Any]:
    """The types that a type is made of."""
    match kind_of(schema):
        case "union":
            yield from schema
        case "array":
            yield schema["items"]
        case "map":
            yield schema["values"]
        case "record" | "error":
            yield from (field["type"] for field in schema["fields"])


def named(schema: Any) -> Names:
    """All named types by their full names."""
    names: Names = {}
    todo = [schema]
    while todo:
        one = todo.pop()
        if isinstance(one, dict) and kind_of(one) in NAMED:
            names[one["name"]] = one
        todo += children(one)
    return names


def resolved(schema: Any, names: Names) -> Any:
    """The type itself where it is told by its name."""
    return names.get(schema, schema) if isinstance(schema, str) else schema


def weigh(schema: Any, names: Names) -> bool:
    """Whether the schema is recursive. Raises InvalidSchema where a few bytes could cost much."""
    scales = _Scales(names)
    _, free = scales.weigh(schema)
    if free > MAX_FREE:
        raise InvalidSchema(f"has more than {MAX_FREE} parts that take no bytes")
    return scales.recursive


class _Scales:
    """Weighs types: the fewest bytes that one takes, and its parts that take none."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._known: dict[str, tuple[int, int] | None] = {}
        self.recursive = False

    def weigh(self, schema: Any) -> tuple[int, int]:
        schema = resolved(schema, self._names)
        name = schema["name"] if isinstance(schema, dict) and kind_of(schema) in NAMED else None
        if name is None:
            return self._weigh(schema)
        if name not in self._known:
            self._known[name] = None
            self._known[name] = self._weigh(schema)
        weight = self._known[name]
        if weight is None:
            self.recursive = True
            return _ENDLESS, 0
        return weight

    def _weigh(self, schema: Any) -> tuple[int, int]:
        match kind_of(schema):
            case "null":
                return 0, 1
            case "fixed":
                if type(schema["size"]) is not int or schema["size"] < 0:
                    raise InvalidSchema(f"the size of {schema['name']} is no number of bytes")
                return schema["size"], int(schema["size"] == 0)
            case "float":
                return 4, 0
            case "double":
                return 8, 0
            case "union":
                kinds = [kind_of(resolved(one, self._names)) for one in schema]
                if not kinds or "union" in kinds or any(kinds.count(kind) > 1 for kind in kinds if kind not in NAMED):
                    raise InvalidSchema(f"a union has one branch or more, each of another type: {kinds}")
                weights = [self.weigh(one) for one in schema]
                return 1 + min(weight for weight, _ in weights), max(free for _, free in weights)
            case "array":
                weight, free = self.weigh(schema["items"])
                if weight == 0 or free > MAX_FREE_ITEM:
                    raise InvalidSchema("items of an array must take bytes: else a few ask for any number of items")
                return 1, 0
            case "map":
                if self.weigh(schema["values"])[1] > MAX_FREE_ITEM:
                    raise InvalidSchema(f"values of a map have more than {MAX_FREE_ITEM} parts that take no bytes")
                return 1, 0
            case "record" | "error":
                return self._record(schema)
        return 1, 0

    def _record(self, schema: Any) -> tuple[int, int]:
        weights = [self.weigh(field["type"]) for field in schema["fields"]]
        size = sum(weight for weight, _ in weights)
        if size >= _ENDLESS:
            raise InvalidSchema(f"{schema['name']} contains itself without an end")
        return size, sum(free for _, free in weights) + (size == 0)


def needs_plain(schema: Any, names: Names) -> bool:
    """Whether what is read has values that are not plain."""
    todo, seen = [schema], set()
    while todo:
        one = resolved(todo.pop(), names)
        if isinstance(one, dict) and one.get("name"):
            if one["name"] in seen:
                continue
            seen.add(one["name"])
        if kind_of(one) in ("bytes", "fixed") or (isinstance(one, dict) and "logicalType" in one):
            return True
        todo += children(one)
    return False


def plain(value: Any) -> Any:
    """As JSON would have it: bytes as base64, times as RFC 3339, decimals as numbers where they keep their digits."""
    kind = type(value)
    if kind is dict:
        return {name: plain(one) for name, one in value.items()}
    if kind is list:
        return [plain(one) for one in value]
    if kind is bytes:
        return b64encode(value).decode()
    if kind is Decimal:
        return _number(value)
    if kind is datetime:
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if kind in (date, time) else str(value) if kind is UUID else value


def _number(value: Decimal) -> int | float | str:
    if value == value.to_integral_value() and abs(value) < 2**53:
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


class Misfit(ValueError):
    """A plain object has no place in the schema."""


class Fit:
    """Fits one plain object to a schema, as the writer of fastavro wants it. For one use."""

    def __init__(self, names: Names) -> None:
        self._names, self._left = names, MAX_STEPS

    def fit(self, schema: Any, value: Any, where: str = "") -> Any:
        """Raises Misfit and RecursionError."""
        self._left -= 1
        if self._left < 0:
            raise Misfit("the object takes too many steps to fit")
        schema = resolved(schema, self._names)
        kind = kind_of(schema)
        if isinstance(schema, dict) and "logicalType" in schema:
            made = _logical(schema["logicalType"], value, where)
            if made is not None:
                return made
        match kind:
            case "union":
                return self._union(schema, value, where)
            case "record" | "error":
                return self._record(schema, value, where)
            case "array" if isinstance(value, list):
                return [self.fit(schema["items"], one, f"{where}[{place}]") for place, one in enumerate(value)]
            case "map" if isinstance(value, dict):
                return {str(name): self.fit(schema["values"], one, f"{where}.{name}") for name, one in value.items()}
            case "enum" if value in schema["symbols"]:
                return value
            case "bytes" | "fixed" if isinstance(value, str):
                return _bytes(schema, value, where)
            case "null" if value is None:
                return value
            case "boolean" if type(value) is bool:
                return value
            case "int" | "long" if type(value) is int and value in _RANGES[kind]:
                return value
            case "float" | "double" if type(value) in (int, float):
                return value
            case "string" if type(value) is str:
                return value
        raise Misfit(f"{where.removeprefix('.') or 'the object'} is no {kind}: {str(value)[:60]}")

    def _record(self, schema: Any, value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise Misfit(f"{where.removeprefix('.') or 'the object'} is no {schema['name']}: {str(value)[:60]}")
        fields = {field["name"]: field for field in schema["fields"]}
        for name in value:
            if name not in fields:
                raise Misfit(f"{f'{where}.{name}'[1:]} is unknown to {schema['name']}")
        made = {}
        for name, field in fields.items():
            if name in value:
                made[name] = self.fit(field["type"], value[name], f"{where}.{name}")
            elif "default" not in field:
                raise Misfit(f"{f'{where}.{name}'[1:]} is missing")
        return made

    def _union(self, schema: Any, value: Any, where: str) -> Any:
        # Text is text before it is base64.
        order = sorted(schema, key=lambda one: kind_of(resolved(one, self._names)) in ("bytes", "fixed"))
        reasons = []
        for branch in order:
            try:
                fitted = self.fit(branch, value, where)
            except Misfit as misfit:
                reasons.append(str(misfit))
                continue
            if fitted is None:
                return None
            one = resolved(branch, self._names)
            return (one["name"] if kind_of(one) in NAMED else kind_of(one)), fitted
        told = f"{where.removeprefix('.') or 'the object'} fits no branch: {'; '.join(reasons)}"
        raise Misfit(reasons[0] if len(reasons) == 1 else told)


def _bytes(schema: Any, value: str, where: str) -> bytes:
    try:
        made = a2b_base64(value.encode("ascii"), strict_mode=True)
    except (Base64Error, UnicodeError):
        raise Misfit(f"{where.removeprefix('.') or 'the object'} is no base64: {value[:60]}") from None
    if kind_of(schema) == "fixed" and len(made) != schema["size"]:
        raise Misfit(f"{where.removeprefix('.') or 'the object'} has {len(made)} bytes, not {schema['size']}")
    return made


def _logical(logical: str, value: Any, where: str) -> Any:
    """What the writer wants for text of a logical type; None: it is not one of these, or no text."""
    try:
        if logical == "decimal" and type(value) in (int, float, str):
            return Decimal(str(value))
        if type(value) is not str:
            return None
        if logical.startswith("timestamp-"):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if logical.startswith("local-timestamp-"):
            return datetime.fromisoformat(value).replace(tzinfo=None)
        if logical == "date":
            return date.fromisoformat(value)
        if logical.startswith("time-"):
            return time.fromisoformat(value)
        return str(UUID(value)) if logical == "uuid" else None
    except (ValueError, InvalidOperation):
        raise Misfit(f"{where.removeprefix('.') or 'the object'} is no {logical}: {str(value)[:60]}") from None
