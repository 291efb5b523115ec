"""Whether one JSON Schema takes all that another takes: a subset that can be told for sure.

Understood are `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`,
the bounds of numbers, texts, lists and objects, and local references. Every other keyword is a
reason unless it is the same in both. One liberty: a property that the writer's schema does not
name counts as not written, unless its `additionalProperties` is a schema.
"""

from __future__ import annotations

from typing import Any

from routing.schemas.json_bounds import pointed
from routing.schemas.json_schema import JsonSchema

#: Reasons that are told, and pairs of subschemas that are compared.
MAX_REASONS = 20
MAX_PAIRS = 20_000

_ANNOTATIONS = frozenset({
    "$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$comment", "$defs", "definitions", "$vocabulary", "title",
    "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "contentMediaType", "contentEncoding",
    "contentSchema",
})  # fmt: skip
_AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_OWN = ("type", "enum", "const", "properties", "required", "additionalProperties", "items", "$ref")
_MISSING = object()


def cannot_read(writer: JsonSchema, reader: JsonSchema) -> list[str]:
    """What the reader's schema may refuse of what the writer's takes; empty: nothing."""
    comparison = _Comparison(writer.document, reader.document)
    comparison.compare(writer.document, reader.document, "")
    return comparison.reasons[:MAX_REASONS]


class _Comparison:
    def __init__(self, writer: Any, reader: Any) -> None:
        self._writer, self._reader = writer, reader
        self._seen: set[tuple[int, int]] = set()
        self.reasons: list[str] = []

    def compare(self, writer: Any, reader: Any, where: str) -> None:
        if len(self.reasons) > MAX_REASONS:
            return
        writer, reader = _followed(self._writer, writer), _followed(self._reader, reader)
        if reader is True or reader == {} or writer is False:
            return
        if reader is False:
            self._say(where, "is not taken any more")
            return
        writer = {} if writer is True else writer
        pair = (id(writer), id(reader))
        if pair in self._seen:
            return
        self._seen.add(pair)
        if len(self._seen) > MAX_PAIRS:
            self._say(where, "is too large to compare")
            return
        self._values(writer, reader, where)
        self._bounds(writer, reader, where)
        self._objects(writer, reader, where)
        self._lists(writer, reader, where)
        for word in reader:
            understood = word in _ANNOTATIONS or word in _OWN or word in _AT_LEAST or word in _AT_MOST
            if not understood and writer.get(word, _MISSING) != reader[word]:
                self._say(where, f"has another {word}, of which it cannot be told what it takes")

    def _values(self, writer: Any, reader: Any, where: str) -> None:
        values = _values_of(writer)
        allowed = _values_of(reader)
        if allowed is not None:
            lost = None if values is None else [value for value in values if not _among(value, allowed)]
            if lost is None:
                self._say(where, "takes only certain values now")
            elif lost:
                self._say(where, f"does not take {', '.join(str(value)[:40] for value in lost[:5])} any more")
        now = _types_of(reader)
        before = _types_of(writer) if values is None else {_type(value) for value in values}
        gone = sorted(one for one in before if one not in now and not (one == "integer" and "number" in now))
        if gone:
            self._say(where, f"does not take {', '.join(gone)} any more")

    def _bounds(self, writer: Any, reader: Any, where: str) -> None:
        if _values_of(writer) is not None:
            return  # the values were looked at one by one
        for words, narrower in ((_AT_LEAST, 1), (_AT_MOST, -1)):
            for word in words:
                before, now = writer.get(word), reader.get(word)
                if now is None or before == now:
                    continue
                numbers = all(type(one) in (int, float) for one in (before, now))
                if not numbers or (now - before) * narrower > 0:
                    self._say(where, f"has the {word} {now}, which was {'not there' if before is None else before}")

    def _objects(self, writer: Any, reader: Any, where: str) -> None:
        if "object" not in _types_of(writer):
            return
        ours, theirs = writer.get("properties", {}), reader.get("properties", {})
        needed = [name for name in reader.get("required", ()) if name not in writer.get("required", ())]
        for name in needed:
            self._say(f"{where}.{name}", "is required and was not")
        rest, others = writer.get("additionalProperties", True), reader.get("additionalProperties", True)
        for name in {**ours, **theirs}:
            if name in ours:
                self.compare(ours[name], theirs.get(name, others), f"{where}.{name}")
            elif isinstance(rest, dict):
                self.compare(rest, theirs[name], f"{where}.{name}")
        if others is not True and others != {} and rest is not False:
            if others is False:
                self._say(where, "takes no additional properties any more")
            else:
                self.compare(rest, others, f"{where}.*")

    def _lists(self, writer: Any, reader: Any, where: str) -> None:
        if "items" not in reader or "array" not in _types_of(writer):
            return
        ours, theirs = writer.get("items", True), reader["items"]
        if isinstance(ours, list) or isinstance(theirs, list) or "prefixItems" in writer or "prefixItems" in reader:
            same = all(writer.get(word) == reader.get(word) for word in ("items", "prefixItems", "additionalItems"))
            if not same:
                self._say(where, "is another tuple, of which it cannot be told what it takes")
            return
        self.compare(ours, theirs, f"{where}[]")

    def _say(self, where: str, reason: str) -> None:
        self.reasons.append(f"{where.removeprefix('.') or 'the schema'} {reason}")


def _followed(root: Any, schema: Any) -> Any:
    """The subschema that a plain reference means; with other keywords beside it, it stays as it is."""
    while isinstance(schema, dict) and "$ref" in schema and _ANNOTATIONS.issuperset(schema.keys() - {"$ref"}):
        reference = schema["$ref"]
        if reference == "#":
            schema = root
        elif reference.startswith("#/"):
            schema = pointed(root, reference)
        else:
            return schema
    return schema


def _types_of(schema: Any) -> set[str]:
    types = schema.get("type", _TYPES)
    return {types} if isinstance(types, str) else set(types)


def _values_of(schema: Any) -> list[Any] | None:
    """The values that a schema names one by one, or None."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "integer" if float(value).is_integer() else "number"
        case str():
            return "string"
    return "array" if isinstance(value, list) else "object"


def _among(value: Any, values: list[Any]) -> bool:
    # 1 and True are equal in Python, and different in JSON.
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values)
