"""Payload formats: plain objects out of bytes, and nothing else out of hostile ones."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid
from contextlib import suppress
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.formats import (
    CONTENT_TYPES,
    Undecodable,
    Unencodable,
    decode_cbor,
    decode_json,
    decode_msgpack,
    decoder_for,
    encode_cbor,
    encode_json,
    encode_msgpack,
    encoder_for,
    format_of,
)
from routing.schemas import compile_schema

pytestmark = pytest.mark.timeout(30)
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
AVRO = compile_schema("avro", '"int"')
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.text() | NUMBERS
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@pytest.mark.parametrize(
    ("content_type", "format_"),
    [
        ("application/json", "json"), ("Application/JSON; charset=utf-8", "json"), ("application/ld+json", "json"),
        ("application/cbor", "cbor"), ("application/senml+cbor", "cbor"), ("application/x-msgpack", "msgpack"),
        ("application/avro", "avro"), ("avro/binary", "avro"), ("application/x-protobuf", "protobuf"),
        ("text/plain", None), ("json", None), ("image/svg+xml", None),
    ],
)  # fmt: skip
def test_content_types_name_formats(content_type: str, format_: str | None) -> None:
    assert format_of(content_type) == format_


@given(PLAIN)
def test_plain_objects_go_round_in_every_format(value: object) -> None:
    for encode, decode in ((encode_cbor, decode_cbor), (encode_msgpack, decode_msgpack)):
        assert decode(encode(value)) == value
    if not isinstance(value, float):  # 1e16 comes back as an integer of the same value
        assert decode_json(encode_json(value)) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    for decode in (decode_json, decode_msgpack, decode_cbor):
        with suppress(Undecodable, Unencodable):
            encode_json(decode(data))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"hi", "aGk="), (NOW, "2026-01-02T03:04:05Z"), ({"a": [b"", None]}, {"a": ["", None]}),
        (cbor2.CBORTag(55799, {"a": 1}), {"a": 1}), (cbor2.CBORTag(32, "http://x"), "http://x"),
        (cbor2.CBORTag(1, 1363896240), 1363896240),
    ],
)  # fmt: skip
def test_cbor_becomes_plain(value: Any, expected: object) -> None:
    assert decode_cbor(cbor2.dumps(value)) == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (cbor2.dumps(2**70), "beyond 64 bits"), (cbor2.dumps(-(2**70)), "beyond 64 bits"),
        (cbor2.dumps(re.compile("(a+)+")), "tag 35"), (cbor2.dumps(decimal.Decimal("1.5")), "tag 4"),
        (cbor2.dumps(uuid.uuid4()), "tag 37"), (cbor2.dumps(cbor2.CBORTag(777, 1)), "tag 777"),
        (b"\xd8\x1c\x81\xd8\x1d\x00", "tag 29"), (cbor2.dumps({1: 2}), "key must be"),
        (cbor2.dumps(cbor2.undefined), "UndefinedType"), (b"\xa2\x61a\x01\x61a\x02", "Duplicate"),
        (b"", "premature"), (b"\x01\x02", "goes on after byte 1"), (b"\x81" * 100_000, "depth"),
        (b"\x9b" + b"\xff" * 8, "premature"), (b"\x61\xff", "utf-8"),
    ],
)  # fmt: skip
def test_cbor_that_is_more_or_less_than_plain_data_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        decode_cbor(data)


def test_msgpack_becomes_plain_or_is_refused() -> None:
    assert decode_msgpack(msgspec.msgpack.encode({"a": b"x", "t": NOW})) == {"a": "eA==", "t": "2026-01-02T03:04:05Z"}
    assert decode_msgpack(b"\x81\x01\x02") == {"1": 2}
    for data in (b"", b"\x01\x02", b"\x91" * 100_000, b"\x81\x90\x02", b"\xd4\x05x", b"\xdd\xff\xff\xff\xff"):
        with pytest.raises(Undecodable):
            decode_msgpack(data)


def test_json_is_refused_with_its_place() -> None:
    with pytest.raises(Undecodable, match=r"is not JSON: trailing characters \(byte 3\)"):
        decode_json(b"1 2")
    for data in (b"", b"{", b"[" * 100_000, b"\xff", b"1e999", b"1" * 5000):
        with pytest.raises(Undecodable):
            decode_json(data)


@pytest.mark.parametrize("encode", [encode_json, encode_msgpack, encode_cbor])
def test_what_has_no_place_in_a_format_is_refused(encode: Any) -> None:
    with pytest.raises(Unencodable, match="cannot be written as"):
        encode(object())
    with pytest.raises(Unencodable):
        encode_msgpack(2**80)


def test_the_decoder_follows_the_content_type_then_the_schema() -> None:
    assert decoder_for("application/json", AVRO)(b"1") == 1
    assert decoder_for("application/avro", AVRO)(b"\x02") == 1
    assert decoder_for(None, AVRO)(b"\x02") == 1
    assert decoder_for(None)(b"1") == 1
    with pytest.raises(Undecodable, match="needs the avro schema"):
        decoder_for("application/avro")(b"\x02")
    with pytest.raises(Undecodable, match="text/plain is not a format"):
        decoder_for("text/plain")(b"x")


def test_the_encoder_of_a_format_that_needs_a_schema_has_one_of_its_kind() -> None:
    assert encoder_for("avro", AVRO)(1) == b"\x02"
    assert encoder_for("json", AVRO)([1]) == b"[1]"
    for schema in (None, AVRO):
        with pytest.raises(Unencodable, match="needs a schema"):
            encoder_for("protobuf", schema)
    assert {format_of(content_type) for content_type in CONTENT_TYPES.values()} == set(CONTENT_TYPES)
