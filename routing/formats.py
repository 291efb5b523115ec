"""Payload formats: from bytes to plain objects and back.

Plain objects are what JSON knows: dicts with text keys, lists, text, numbers, True, False, None.
Whatever else a format knows becomes the nearest of these: bytes are base64, times RFC 3339. JSON,
MessagePack and CBOR say everything themselves; Avro and Protobuf need the schema.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import Any, Literal, Protocol, TypeAlias, cast

import cbor2
import msgspec

Format: TypeAlias = Literal["json", "msgpack", "cbor", "avro", "protobuf"]
Decoder: TypeAlias = Callable[[bytes], object]
Encoder: TypeAlias = Callable[[object], bytes]

#: What `datacontenttype` says of each format when we write it.
CONTENT_TYPES: dict[Format, str] = {
    "json": "application/json",
    "msgpack": "application/msgpack",
    "cbor": "application/cbor",
    "avro": "application/avro",
    "protobuf": "application/protobuf",
}
#: Levels of nesting in CBOR; the decoders of the other formats have bounds of their own.
MAX_DEPTH = 128

_FORMATS: dict[str, Format] = {
    "application/json": "json",
    "text/json": "json",
    "application/msgpack": "msgpack",
    "application/x-msgpack": "msgpack",
    "application/vnd.msgpack": "msgpack",
    "application/cbor": "cbor",
    "application/avro": "avro",
    "application/x-avro": "avro",
    "application/vnd.apache.avro": "avro",
    "application/vnd.apache.avro+binary": "avro",
    "avro/binary": "avro",
    "application/protobuf": "protobuf",
    "application/x-protobuf": "protobuf",
    "application/vnd.google.protobuf": "protobuf",
}
_SUFFIXES: dict[str, Format] = {"json": "json", "cbor": "cbor", "msgpack": "msgpack"}
_decode_json = msgspec.json.Decoder().decode
_decode_msgpack = msgspec.msgpack.Decoder().decode
_encode_json = msgspec.json.Encoder().encode
_encode_msgpack = msgspec.msgpack.Encoder().encode
_INT64 = range(-(2**63), 2**64)


class Undecodable(ValueError):
    """The bytes are not of their format, or nothing says which it is; `str()` is the reason."""


class Unencodable(ValueError):
    """The format, or the schema, has no place for the object; `str()` is the reason."""


class Coded(Protocol):
    """What a schema knows of its format."""

    @property
    def format(self) -> Format: ...

    def decode(self, data: bytes) -> object: ...

    def encode(self, value: object) -> bytes: ...


@lru_cache(1024)
def format_of(content_type: str) -> Format | None:
    """The format that a content type names, or None. Parameters do not count."""
    essence = content_type.partition(";")[0].strip().lower()
    return _FORMATS.get(essence) or _SUFFIXES.get(essence.rpartition("+")[2] if "+" in essence else "")


def decoder_for(content_type: str | None, schema: Coded | None = None) -> Decoder:
    """How to read a payload; the decoder raises Undecodable.

    Without a content type it is what the schema describes, and JSON without a schema either
    (CloudEvents 1.0.2, JSON format, 3.1). What nobody can read has a decoder that says so.
    """
    if content_type is None:
        return decode_json if schema is None else schema.decode
    format_ = format_of(content_type)
    if schema is not None and schema.format == format_:
        return schema.decode
    if format_ in _DECODERS:
        return _DECODERS[format_]
    reason = "is not a format that can be read" if format_ is None else f"needs the {format_} schema of its topic"
    return _refusing(f"{content_type[:80]} {reason}")


def encoder_for(format_: Format, schema: Coded | None = None) -> Encoder:
    """How to write a payload; the encoder raises Unencodable.

    Raises Unencodable at once where the format needs a schema of its own kind and has none.
    """
    if format_ in _ENCODERS:
        return _ENCODERS[format_]
    if schema is None or schema.format != format_:
        raise Unencodable(f"{format_} needs a schema of its kind")
    return schema.encode


def decode_json(data: bytes) -> object:
    """Integers keep every digit; floats are doubles. Raises Undecodable."""
    try:
        return _decode_json(data)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Undecodable(f"is not JSON: {str(error).removeprefix('JSON is malformed: ')}") from None
    except RecursionError:
        raise Undecodable("is nested too deeply") from None


def decode_msgpack(data: bytes) -> object:
    """Raises Undecodable, for extension types as well."""
    try:
        return plain(_decode_msgpack(data))
    except (msgspec.MsgspecError, UnicodeError, TypeError, ValueError) as error:
        raise Undecodable(f"is not MessagePack: {error}") from None
    except RecursionError:
        raise Undecodable("is nested too deeply") from None


def decode_cbor(data: bytes) -> object:
    """Raises Undecodable; also for tags that stand for something other than plain data."""
    try:
        stream = BytesIO(data)
        value = cbor2.CBORDecoder(
            stream,
            tag_hook=_refused_tag,
            semantic_decoders=_TAGS,
            max_depth=MAX_DEPTH,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        ).decode()
        if stream.tell() != len(data):
            raise Undecodable(f"is not CBOR that can be read: data goes on after byte {stream.tell()}")
        return plain(value)
    except Undecodable:
        raise
    except (cbor2.CBORError, UnicodeError, TypeError, ValueError, OverflowError) as error:
        raise Undecodable(f"is not CBOR that can be read: {_cause(error)}") from None
    except RecursionError:
        raise Undecodable("is nested too deeply") from None


def encode_json(value: object) -> bytes:
    """Numbers that JSON does not have (NaN, infinity) become null. Raises Unencodable, as the others."""
    return _encoded(_encode_json, value, "JSON")


def encode_msgpack(value: object) -> bytes:
    return _encoded(_encode_msgpack, value, "MessagePack")


def encode_cbor(value: object) -> bytes:
    return _encoded(cbor2.dumps, value, "CBOR")


def plain(value: object) -> object:
    """With bytes, times and the like as text. Raises TypeError for what has no such form."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_no_form)


def _no_form(value: object) -> object:
    raise TypeError(f"{type(value).__name__} has no place in plain data")


def _encoded(encode: Callable[[object], bytes], value: object, name: str) -> bytes:
    try:
        return encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, cbor2.CBORError) as error:
        raise Unencodable(f"cannot be written as {name}: {error}") from None


def _refusing(reason: str) -> Decoder:
    def refuse(data: bytes) -> object:
        raise Undecodable(reason)

    return refuse


def _cause(error: BaseException) -> str:
    """What the library wraps an error in says less than the error."""
    return str(error.__cause__ or error)


def _inner(value: object, immutable: bool) -> object:
    return value


def _bignum(value: object, immutable: bool) -> object:
    raise Undecodable("has a number beyond 64 bits")


def _refused(tag: int) -> Callable[[object, bool], object]:
    def refuse(value: object, immutable: bool) -> object:
        raise Undecodable(f"has the CBOR tag {tag}, which is not plain data")

    return refuse


def _refused_tag(tag: cbor2.CBORTag, immutable: bool) -> object:
    raise Undecodable(f"has the CBOR tag {tag.tag}, which is not plain data")


# The library's own meaning of tags makes regular expressions, numbers of any size and objects that
# contain themselves out of a few bytes. Kept: times and URIs as what they are written in, hints for
# converters, and the mark of CBOR itself.
_PLAIN_TAGS = (0, 1, 21, 22, 23, 32, 33, 34, 55799)
_OTHER_TAGS = (4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000)
_TAGS: dict[int, Any] = {
    **dict.fromkeys(_PLAIN_TAGS, _inner),
    **dict.fromkeys((2, 3), _bignum),
    **{tag: _refused(tag) for tag in _OTHER_TAGS},
}
_DECODERS = cast(dict[Format | None, Decoder], {"json": decode_json, "msgpack": decode_msgpack, "cbor": decode_cbor})
_ENCODERS: dict[Format, Encoder] = {"json": encode_json, "msgpack": encode_msgpack, "cbor": encode_cbor}
