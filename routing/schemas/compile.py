"""Schemas of every kind: from text, and one against another."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast

from routing.schemas import json_compat
from routing.schemas.json_schema import JsonSchema
from routing.schemas.schema import MAX_TEXT, InvalidSchema, Schema, SchemaKind

Level: TypeAlias = Literal["none", "backward", "forward", "full"]
LEVELS: tuple[Level, ...] = ("none", "backward", "forward", "full")


def compile_schema(kind: SchemaKind, text: str, message: str | None = None, descriptors: str | None = None) -> Schema:
    """A schema from its text. Protobuf alone has a `message`, and `descriptors` made of this text before.

    Compiling the text of a .proto file runs a program; everything else takes as long as the text.
    Raises InvalidSchema.
    """
    if len(text) > MAX_TEXT or len(text.encode(errors="surrogatepass")) > MAX_TEXT:
        raise InvalidSchema(f"a schema has at most {MAX_TEXT} bytes")
    # The libraries of Avro and Protobuf take 100 ms to import: only who uses them waits for that.
    if kind == "protobuf":
        from routing.schemas.protobuf import ProtobufSchema

        return ProtobufSchema(text, message, descriptors)
    if message is not None:
        raise InvalidSchema(f"a message is named for protobuf, not for {kind}")
    if kind == "json":
        return JsonSchema(text)
    from routing.schemas.avro import AvroSchema

    return AvroSchema(text)


def compatible(old: Schema, new: Schema, level: Level) -> list[str]:
    """Why `new` may not follow `old` at this level; empty: it may.

    backward: the new schema takes what the old one took. forward: the old schema takes what the
    new one takes. full: both.
    """
    if level == "none":
        return []
    if old.kind != new.kind:
        return [f"the schema was {old.kind} and is {new.kind}"]
    reasons = []
    if level in ("backward", "full"):
        reasons += [f"backward: {reason}" for reason in _cannot_read(old, new)]
    if level in ("forward", "full"):
        reasons += [f"forward: {reason}" for reason in _cannot_read(new, old)]
    return reasons


def _cannot_read(writer: Schema, reader: Schema) -> list[str]:
    """Both are of one kind."""
    if isinstance(writer, JsonSchema):
        return json_compat.cannot_read(writer, cast(JsonSchema, reader))
    if writer.kind == "avro":
        from routing.schemas import avro_compat

        return avro_compat.cannot_read(cast(Any, writer), cast(Any, reader))
    from routing.schemas import protobuf_compat

    return protobuf_compat.cannot_read(cast(Any, writer), cast(Any, reader))
