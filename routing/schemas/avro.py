"""Avro (1.11), binary encoding: one datum, without a header or a fingerprint.

fastavro reads and writes; what it takes on trust is checked here, since publishers choose the
bytes: that nothing follows the datum, that items of arrays take bytes (else four bytes ask for a
billion of them) and that recursion has an end.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

import fastavro
from fastavro import _read_py
from fastavro.schema import SchemaParseException, UnknownType

from routing.formats import Undecodable, Unencodable
from routing.schemas.avro_types import Fit, named, needs_plain, plain, weigh
from routing.schemas.json_schema import parse_json
from routing.schemas.schema import InvalidSchema, Schema, short

_UNREADABLE = (EOFError, IndexError, ValueError, TypeError, OverflowError, ArithmeticError, RecursionError)
_UNWRITABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, ArithmeticError, RecursionError)
_Read = Callable[[BytesIO, Any, Any], Any]


class AvroSchema(Schema):
    kind = "avro"

    def __init__(self, text: str) -> None:
        """Raises InvalidSchema."""
        super().__init__(text)
        document = parse_json(text)
        try:
            self.parsed: Any = fastavro.parse_schema(document)
            self.names = named(self.parsed)
            recursive = weigh(self.parsed, self.names)
            self._plain = needs_plain(self.parsed, self.names)
        except (SchemaParseException, UnknownType, *_UNWRITABLE) as error:
            raise InvalidSchema(short(_refusal(error))) from None
        # The compiled reader recurses on the stack of C without an end; the plain one has Python's bound.
        self._read = cast(_Read, _read_py.schemaless_reader if recursive else fastavro.schemaless_reader)

    def check(self, data: bytes) -> str | None:
        try:
            self._datum(data)
        except Undecodable as error:
            return short(str(error))
        return None

    def decode(self, data: bytes) -> object:
        value = self._datum(data)
        return plain(value) if self._plain else value

    def encode(self, value: object) -> bytes:
        """Missing fields get their defaults."""
        stream = BytesIO()
        try:
            fitted = Fit(self.names).fit(self.parsed, value)
            fastavro.schemaless_writer(stream, self.parsed, fitted, strict_allow_default=True)
        except _UNWRITABLE as error:
            raise Unencodable(short(f"does not fit the schema: {_told(error)}")) from None
        return stream.getvalue()

    def _datum(self, data: bytes) -> object:
        stream = BytesIO(data)
        try:
            value: object = self._read(stream, self.parsed, None)
        except _UNREADABLE as error:
            raise Undecodable(f"is not what the schema says, near byte {stream.tell()}: {_told(error)}") from None
        if stream.tell() != len(data):
            raise Undecodable(f"goes on after byte {stream.tell()}, where what the schema says ends")
        return value


def _refusal(error: Exception) -> str:
    if isinstance(error, UnknownType):
        return f"{error} is no type, and none with this name was defined before"
    if isinstance(error, SchemaParseException):
        return str(error)
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    return f"a type lacks {error}" if isinstance(error, KeyError) else f"is no Avro schema: {error}"


def _told(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, (EOFError, IndexError)):
        return "it ends too early, or an index is out of its list"
    return str(error) or type(error).__name__
