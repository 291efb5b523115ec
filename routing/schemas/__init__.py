"""JSON Schema, Avro and Protobuf: what payloads are judged, read and written by. Pure."""

from routing.schemas.compile import LEVELS, Level, compatible, compile_schema
from routing.schemas.schema import KINDS, MAX_REASON, MAX_TEXT, InvalidSchema, Schema, SchemaKind, short

__all__ = [
    "KINDS", "LEVELS", "MAX_REASON", "MAX_TEXT", "InvalidSchema", "Level", "Schema", "SchemaKind", "compatible",
    "compile_schema", "short",
]  # fmt: skip
