"""Whether one Avro schema can read what another wrote: schema resolution (Avro 1.11, "Schema Resolution").

Stricter than the specification in one point: a branch of a writer's union that the reader does
not have is a reason, although data without that branch could be read.
"""

from __future__ import annotations

from typing import Any

from routing.schemas.avro import AvroSchema
from routing.schemas.avro_types import NAMED, Names, kind_of, resolved

#: Reasons that are told, and types that are compared.
MAX_REASONS = 20
MAX_STEPS = 20_000
_PROMOTIONS = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}


def cannot_read(writer: AvroSchema, reader: AvroSchema) -> list[str]:
    """Why the reader's schema cannot read what was written by the writer's; empty when it can."""
    return _Comparison(writer.names, reader.names).compare(writer.parsed, reader.parsed, "")[:MAX_REASONS]


class _Comparison:
    """Of named types each pair is compared once; a pair within itself counts as fitting."""

    def __init__(self, writers: Names, readers: Names) -> None:
        self._writers, self._readers = writers, readers
        self._known: dict[tuple[str, str], list[str]] = {}
        self._left = MAX_STEPS

    def compare(self, writer: Any, reader: Any, where: str) -> list[str]:
        self._left -= 1
        if self._left < 0:
            return ["the schemas are too large to compare"]
        writer, reader = resolved(writer, self._writers), resolved(reader, self._readers)
        ours, theirs = kind_of(writer), kind_of(reader)
        if ours == "union":
            return [reason for branch in writer for reason in self.compare(branch, reader, where)]
        if theirs == "union":
            return self._into_union(writer, reader, where)
        if ours != theirs:
            fits = theirs in _PROMOTIONS.get(ours, ())
            return [] if fits else [_told(where, f"was {ours} and is {theirs}")]
        reasons: list[str] = []
        match ours:
            case "array":
                reasons = self.compare(writer["items"], reader["items"], f"{where}[]")
            case "map":
                reasons = self.compare(writer["values"], reader["values"], f"{where}{{}}")
            case "record" | "error" | "enum" | "fixed":
                reasons = self._named(writer, reader, where)
        return reasons + _logical(writer, reader, where)

    def _into_union(self, writer: Any, reader: Any, where: str) -> list[str]:
        nearest: list[str] | None = None
        for branch in reader:
            before = dict(self._known)
            reasons = self.compare(writer, branch, where)
            if not reasons:
                return []
            self._known = before  # what was found while a pair counted as fitting that does not
            if kind_of(resolved(branch, self._readers)) == kind_of(writer):
                nearest = nearest or reasons
        return nearest or [_told(where, f"was {_name(writer)}, which no branch of the union takes")]

    def _named(self, writer: Any, reader: Any, where: str) -> list[str]:
        pair = (writer["name"], reader["name"])
        if pair not in self._known:
            self._known[pair] = []
            self._known[pair] = self._compare_named(writer, reader, where)
        return self._known[pair]

    def _compare_named(self, writer: Any, reader: Any, where: str) -> list[str]:
        aliases = [*reader.get("aliases", ()), reader["name"]]
        if _last(writer["name"]) not in map(_last, aliases):
            return [_told(where, f"was named {writer['name']} and is {reader['name']}, without an alias")]
        if kind_of(writer) == "fixed":
            same = writer["size"] == reader["size"]
            return [] if same else [_told(where, f"had {writer['size']} bytes and has {reader['size']}")]
        if kind_of(writer) == "enum":
            lost = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
            fits = not lost or "default" in reader
            return [] if fits else [_told(where, f"lacks {', '.join(lost[:10])}, and has no default for it")]
        return self._fields(writer, reader, where)

    def _fields(self, writer: Any, reader: Any, where: str) -> list[str]:
        written = {field["name"]: field for field in writer["fields"]}
        reasons = []
        for field in reader["fields"]:
            name = next((name for name in (field["name"], *field.get("aliases", ())) if name in written), None)
            if name is not None:
                reasons += self.compare(written[name]["type"], field["type"], f"{where}.{field['name']}")
            elif "default" not in field:
                reasons.append(_told(f"{where}.{field['name']}", "was not there, and has no default"))
        return reasons


def _logical(writer: Any, reader: Any, where: str) -> list[str]:
    ours, theirs = (_logical_of(one) for one in (writer, reader))
    return [] if ours == theirs else [_told(where, f"was {ours or 'plain'} and is {theirs or 'plain'}")]


def _told(where: str, reason: str) -> str:
    return f"{where.removeprefix('.') or 'the schema'} {reason}"


def _last(name: str) -> str:
    """Unqualified: Avro 1.11 compares names without their namespace."""
    return name.rpartition(".")[2]


def _name(schema: Any) -> str:
    return str(schema["name"]) if kind_of(schema) in NAMED else kind_of(schema)


def _logical_of(schema: Any) -> str:
    if not isinstance(schema, dict) or "logicalType" not in schema:
        return ""
    size = [str(schema[name]) for name in ("precision", "scale") if name in schema]
    return f"{schema['logicalType']}({', '.join(size)})" if size else str(schema["logicalType"])
